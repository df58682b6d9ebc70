"""Adam and what is made of it: momentum divided by the size of the gradients."""

from __future__ import annotations

import math
from typing import Any

from fusedlstm.optimizers.kernel import KernelOptimizer


class _Moments(KernelOptimizer):
    """Base of those with a decaying mean of the gradients, and one of their size."""

    paired = 2

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *common: Any,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.beta_1 = self._number("beta_1", beta_1, below=1)
        self.beta_2 = self._number("beta_2", beta_2, below=1)
        self.epsilon = self._number("epsilon", epsilon)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Adam(_Moments):
    """m += (1 - beta_1)(g - m); v += (1 - beta_2)(g^2 - v); w -= lr_t m / (sqrt(v) + epsilon).

    lr_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t) at update t = 1, 2 ... Source: Kingma and Ba 2015, section 2's
    last form; Reddi et al. 2018 for `amsgrad`.

    Parameters
    ----------
    learning_rate : float or schedule
    beta_1, beta_2 : float
        At least 0, below 1.
    epsilon : float
    amsgrad : bool
        Divide by the largest v so far.
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "adam_update"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *common: Any,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, *common, **options)
        self.amsgrad = bool(amsgrad)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0, 0.0, 0.0 if self.amsgrad else None)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        t = self.iterations + 1
        return {
            "learning_rate": learning_rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amsgrad": self.amsgrad}


class AdamW(Adam):
    """`Adam` with weight decay (Loshchilov and Hutter 2019).

    Parameters
    ----------
    learning_rate : float or schedule
    weight_decay : float
    beta_1, beta_2, epsilon, amsgrad
        As in `Adam`.
    *common, **options
        clipnorm and all that follows it in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *common: Any,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise TypeError("AdamW: expected weight_decay to be a number, got None (Adam has no decay)")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, *common, **options)


class Nadam(_Moments):
    """`Adam` with Nesterov's momentum: the step looks ahead by the momentum that comes next.

    m and v as in `Adam`; with u_t = beta_1 (1 - 0.96^t / 2) and U_t = u_1 ... u_t,
    w -= lr (u_(t+1) m / (1 - U_(t+1)) + (1 - u_t) g / (1 - U_t)) / (sqrt(v / (1 - beta_2^t)) + epsilon).

    Source: Dozat 2016.

    Parameters
    ----------
    learning_rate : float or schedule
    beta_1, beta_2 : float
        At least 0, below 1.
    epsilon : float
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "nadam_update"
    scalars = ("_product",)
    _product = 1.0  # U_t

    def _momentum(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**t)

    def before_update(self) -> None:
        self._product *= self._momentum(self.iterations + 1)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        t = self.iterations + 1
        ahead = self._momentum(t + 1)
        return {
            "learning_rate": learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "m_factor": ahead / (1 - self._product * ahead),
            "g_factor": (1 - self._momentum(t)) / (1 - self._product),
            "v_factor": 1 / (1 - self.beta_2**t),
        }


class Adamax(_Moments):
    """`Adam` by the largest gradient in place of the mean square: u = max(beta_2 u, |g|).

    w -= lr / (1 - beta_1^t) m / (u + epsilon). Source: Kingma and Ba 2015, section 7.1.

    Parameters
    ----------
    learning_rate : float or schedule
    beta_1, beta_2 : float
        At least 0, below 1.
    epsilon : float
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "adamax_update"

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate / (1 - self.beta_1 ** (self.iterations + 1)),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

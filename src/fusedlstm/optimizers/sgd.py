"""Gradient descent, and of its signs."""

from __future__ import annotations

from typing import Any

from fusedlstm.optimizers.kernel import KernelOptimizer


class SGD(KernelOptimizer):
    """Gradient descent: w -= lr g; or v = momentum v - lr g and w += v, or with Nesterov w += momentum v - lr g.

    Source: Sutskever et al. 2013.

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float
        In 0 ... 1; 0 keeps no velocity.
    nesterov : bool
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "sgd_update"

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *common: Any,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.momentum = self._share("momentum", momentum)
        self.nesterov = bool(nesterov)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0 if self.momentum else None,)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class Lion(KernelOptimizer):
    """w -= lr sign(beta_1 m + (1 - beta_1) g); then m = beta_2 m + (1 - beta_2) g.

    Every step has the size of the learning rate, which is best 3 to 10 times smaller than Adam's.

    Source: Chen et al. 2023.

    Parameters
    ----------
    learning_rate : float or schedule
    beta_1 : float
        Above 0, up to 1.
    beta_2 : float
        In 0 ... 1.
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "lion_update"

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, *common: Any, **options: Any
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.beta_1 = self._share("beta_1", beta_1)
        if self.beta_1 == 0:
            raise ValueError("Lion: expected beta_1 > 0 (0: the signs of single gradients), got 0")
        self.beta_2 = self._share("beta_2", beta_2)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0,)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}

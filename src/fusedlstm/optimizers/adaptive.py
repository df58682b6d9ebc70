"""Optimizers with a step size of its own for every weight."""

from __future__ import annotations

import math
from typing import Any

from fusedlstm import backends
from fusedlstm.optimizers.base import Array, Optimizer


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2; w -= lr g / sqrt(v + epsilon).

    Source: Tieleman and Hinton 2012; Graves 2013 for `centered`.

    Parameters
    ----------
    learning_rate : float
    rho : float
        At least 0, below 1.
    momentum : float
        Where not 0, the steps accumulate: m = momentum m + step; w -= m.
    epsilon : float
    centered : bool
        Divide by the variance of the gradients instead of their mean square.
    weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.rho = self._number("rho", rho, below=1)
        self.momentum = self._number("momentum", momentum)
        self.epsilon = self._number("epsilon", epsilon)
        self.centered = bool(centered)

    def slots(self) -> tuple[bool, ...]:
        return (True, self.momentum != 0, self.centered)

    def update(self, w: Array, g: Array, buffers: tuple[Array | None, ...], scale: float, decay: float) -> None:
        mean_square, velocity, average = buffers
        backends.current().rmsprop_update(
            w,
            g,
            mean_square,
            average,
            velocity,
            learning_rate=self._learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            gradient_scale=scale,
            decay=decay,
        )

    def get_config(self) -> dict[str, Any]:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}
        return {**super().get_config(), **own}


class Adam(Optimizer):
    """m += (1 - beta_1)(g - m); v += (1 - beta_2)(g^2 - v); w -= lr_t m / (sqrt(v) + epsilon).

    lr_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t) at update t = 1, 2 ... Source: Kingma and Ba 2015, section 2's
    last form; Reddi et al. 2018 for `amsgrad`.

    Parameters
    ----------
    learning_rate : float
    beta_1, beta_2 : float
        At least 0, below 1.
    epsilon : float
    amsgrad : bool
        Divide by the largest v so far.
    weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.beta_1 = self._number("beta_1", beta_1, below=1)
        self.beta_2 = self._number("beta_2", beta_2, below=1)
        self.epsilon = self._number("epsilon", epsilon)
        self.amsgrad = bool(amsgrad)

    def slots(self) -> tuple[bool, ...]:
        return (True, True, self.amsgrad)

    def update(self, w: Array, g: Array, buffers: tuple[Array | None, ...], scale: float, decay: float) -> None:
        t = self.iterations + 1
        backends.current().adam_update(
            w,
            g,
            *buffers,
            learning_rate=self._learning_rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            gradient_scale=scale,
            decay=decay,
        )

    def _ordered(self) -> list[Array]:
        # Keras keeps m and v of a variable side by side, and the maxima after all of them.
        pairs = [buffer for buffers in self._slots for buffer in buffers[:2] if buffer is not None]
        return pairs + [buffers[2] for buffers in self._slots if buffers[2] is not None]

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad}
        return {**super().get_config(), **own}


class AdamW(Adam):
    """`Adam` with weight decay (Loshchilov and Hutter 2019).

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
    beta_1, beta_2, epsilon, amsgrad
        As in `Adam`.
    clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if weight_decay is None:
            raise TypeError("AdamW: expected weight_decay to be a number, got None (Adam has no decay)")
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            name=name,
        )

"""Optimizers that divide each weight's gradient by the size of those before."""

from __future__ import annotations

from typing import Any

from fusedlstm.optimizers.base import Array
from fusedlstm.optimizers.kernel import KernelOptimizer


class RMSprop(KernelOptimizer):
    """v = rho v + (1 - rho) g^2; w -= lr g / sqrt(v + epsilon).

    Source: Tieleman and Hinton 2012; Graves 2013 for `centered`.

    Parameters
    ----------
    learning_rate : float or schedule
    rho : float
        At least 0, below 1.
    momentum : float
        Where not 0, the steps accumulate: m = momentum m + step; w -= m.
    epsilon : float
    centered : bool
        Divide by the variance of the gradients instead of their mean square.
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "rmsprop_update"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *common: Any,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.rho = self._number("rho", rho, below=1)
        self.momentum = self._number("momentum", momentum)
        self.epsilon = self._number("epsilon", epsilon)
        self.centered = bool(centered)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0, 0.0 if self.momentum else None, 0.0 if self.centered else None)

    def arrange(self, buffers: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
        mean_square, velocity, average = buffers
        return mean_square, average, velocity

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate,
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }

    def get_config(self) -> dict[str, Any]:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}
        return {**super().get_config(), **own}


class Adagrad(KernelOptimizer):
    """s += g^2; w -= lr g / sqrt(s + epsilon).

    Source: Duchi et al. 2011.

    Parameters
    ----------
    learning_rate : float or schedule
    initial_accumulator_value : float
        What s starts from.
    epsilon : float
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "adagrad_update"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *common: Any,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.initial_accumulator_value = self._number("initial_accumulator_value", initial_accumulator_value)
        self.epsilon = self._number("epsilon", epsilon)

    def slots(self) -> tuple[float | None, ...]:
        return (self.initial_accumulator_value,)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate,
            "epsilon": self.epsilon,
        }

    def get_config(self) -> dict[str, Any]:
        own = {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


class Adadelta(KernelOptimizer):
    """s = rho s + (1 - rho) g^2; step = g sqrt(d + epsilon) / sqrt(s + epsilon); d = rho d + (1 - rho) step^2.

    w -= lr step. Source: Zeiler 2012, where lr is 1.

    Parameters
    ----------
    learning_rate : float or schedule
    rho : float
        At least 0, below 1.
    epsilon : float
    *common, **options
        weight_decay and all that follows it in `Optimizer`.
    """

    kernel = "adadelta_update"
    paired = 2

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, *common: Any, **options: Any
    ) -> None:
        super().__init__(learning_rate, *common, **options)
        self.rho = self._number("rho", rho, below=1)
        self.epsilon = self._number("epsilon", epsilon)

    def slots(self) -> tuple[float | None, ...]:
        return (0.0, 0.0)

    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        return {
            "learning_rate": learning_rate,
            "rho": self.rho,
            "epsilon": self.epsilon,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}

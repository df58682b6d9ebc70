"""Losses as metrics: cross-entropies, divergences, hinges and the errors that are only told apart by their loss."""

from __future__ import annotations

from typing import Any

from fusedlstm import losses
from fusedlstm.metrics.base import LossMetric


class _Fixed(LossMetric):
    """A metric of one kind of loss: the arguments of its constructor stand in the config, not the loss."""

    _arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self.loss, name) for name in self._arguments}
        return {"name": self.name, "dtype": self.dtype, **own}


class MeanAbsolutePercentageError(_Fixed):
    """The mean of 100 |y_true - y_pred| / |y_true|."""

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__("mean_absolute_percentage_error", name, dtype)


class MeanSquaredLogarithmicError(_Fixed):
    """The mean of (log(1 + y_true) - log(1 + y_pred))^2."""

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__("mean_squared_logarithmic_error", name, dtype)


class LogCoshError(_Fixed):
    """The mean of log(cosh(y_pred - y_true))."""

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__("log_cosh", name, dtype)


class Hinge(_Fixed):
    """The mean of max(1 - y_true y_pred, 0), for labels -1 and 1, or 0 and 1."""

    def __init__(self, name: str | None = "hinge", dtype: Any = None) -> None:
        super().__init__("hinge", name, dtype)


class SquaredHinge(_Fixed):
    """The mean of max(1 - y_true y_pred, 0)^2, for labels -1 and 1, or 0 and 1."""

    def __init__(self, name: str | None = "squared_hinge", dtype: Any = None) -> None:
        super().__init__("squared_hinge", name, dtype)


class CategoricalHinge(_Fixed):
    """The mean of how far the best wrong class comes within 1 of the right one, for one-hot labels."""

    def __init__(self, name: str | None = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__("categorical_hinge", name, dtype)


class KLDivergence(_Fixed):
    """The mean of sum y_true log(y_true / y_pred)."""

    def __init__(self, name: str | None = "kl_divergence", dtype: Any = None) -> None:
        super().__init__("kl_divergence", name, dtype)


class Poisson(_Fixed):
    """The mean of y_pred - y_true log(y_pred)."""

    def __init__(self, name: str | None = "poisson", dtype: Any = None) -> None:
        super().__init__("poisson", name, dtype)


class BinaryCrossentropy(_Fixed):
    """The mean of `losses.BinaryCrossentropy`, whose arguments these are."""

    _arguments = ("from_logits", "label_smoothing")

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name, dtype)


class CategoricalCrossentropy(_Fixed):
    """The mean of `losses.CategoricalCrossentropy`, whose arguments these are."""

    _arguments = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing, axis), name, dtype)


class SparseCategoricalCrossentropy(_Fixed):
    """The mean of `losses.SparseCategoricalCrossentropy`, whose arguments these are.

    Entries of `ignore_class` do not count. Keras agrees where there are sample weights, else counts them as 0.
    """

    _arguments = ("from_logits", "ignore_class", "axis")

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis), name, dtype)

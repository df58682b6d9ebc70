"""Metrics: values that accumulate over batches, weighted as Keras weights them, in float64."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import losses
from fusedlstm.losses.base import spread

Array = NDArray[Any]


class Metric(ABC):
    """Base class: implement `update_state`, `result` and `reset_state`.

    Attributes
    ----------
    name : str
    direction : {"up", "down", None}
        Which way is better, for `EarlyStopping`; None: unknown.
    """

    direction: str | None = None

    def __init__(self, name: str | None = None) -> None:
        self.name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def update_state(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred : array
        sample_weight : (B,), (B,1) or (B,T) array, optional
        mask : (B,T) array, optional
            False: the step does not count.
        """

    @abstractmethod
    def result(self) -> float:
        """The value over all that was counted since the last `reset_state`."""

    @abstractmethod
    def reset_state(self) -> None:
        """Forget everything."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric that `get_config` described."""
        return cls(**config)


class Mean(Metric):
    """The weighted mean of values; 0 where nothing was counted.

    Every sample counts the same, whatever its number of steps.
    """

    def __init__(self, name: str | None = "mean") -> None:
        super().__init__(name)
        self._total = self._count = 0.0

    def update_state(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None, mask: ArrayLike | None = None
    ) -> None:
        """Count values (B, ...), or one value.

        Parameters
        ----------
        values : array or float
        sample_weight : array or float, optional
            Of the first axes of values.
        mask : array, optional
            Likewise; False: does not count.
        """
        if isinstance(values, float) and mask is None and (sample_weight is None or isinstance(sample_weight, float)):
            weight = 1.0 if sample_weight is None else sample_weight
            self._total += values * weight
            self._count += weight
            return
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"metric '{self.name}': expected numbers, got dtype {array.dtype}")
        per_sample = max(math.prod(array.shape[1:]), 1)
        if sample_weight is None and mask is None:
            self._total += float(array.sum(dtype=np.float64)) / per_sample
            self._count += array.size / per_sample
            return
        owner, weights = f"metric '{self.name}'", np.ones(array.shape)
        if sample_weight is not None:
            weights = spread(owner, "sample_weight", sample_weight, array.shape).astype(np.float64)
        if mask is not None:
            used = spread(owner, "mask", mask, array.shape) != 0
            weights, array = np.where(used, weights, 0), np.where(used, array, 0)
        self._total += float((array * weights).sum()) / per_sample
        self._count += float(weights.sum()) / per_sample

    def result(self) -> float:
        return self._total / self._count if self._count else 0.0

    def reset_state(self) -> None:
        self._total = self._count = 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred) that returns a value for each sample, or each step.

    Parameters
    ----------
    fn : callable
    name : str, optional
        By default the function's.
    **kwargs
        Passed to the function.
    """

    def __init__(self, fn: Callable[..., ArrayLike], name: str | None = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise TypeError(f"MeanMetricWrapper: expected fn to be a function, got {fn!r}")
        super().__init__(name or getattr(fn, "__name__", None))
        self._fn, self._kwargs = fn, kwargs

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        super().update_state(self._values(y_true, y_pred, sample_weight, mask), sample_weight, mask)

    def _values(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, mask: ArrayLike | None
    ) -> ArrayLike:
        """What the mean is of; the weights and the mask are applied to it."""
        return self._fn(y_true, y_pred, **self._kwargs)


class _LossMetric(MeanMetricWrapper):
    """The mean of a loss's values, which are one for each step where there are weights or a mask per step."""

    direction = "down"

    def __init__(self, loss: losses.Loss, name: str) -> None:
        super().__init__(loss.call, name)
        self._loss = loss

    def _values(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, mask: ArrayLike | None
    ) -> ArrayLike:
        return self._loss.values(y_true, y_pred, sample_weight, mask)


def _aligned(owner: str, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Both as arrays of y_pred's shape: a last axis of 1 may be missing in either."""
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    for name, array in (("y_true", true), ("y_pred", pred)):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{owner}: expected {name} to be numbers, got dtype {array.dtype}")
    if true.shape != pred.shape:
        if true.shape + (1,) != pred.shape and true.shape != pred.shape + (1,):
            raise ValueError(f"{owner}: expected y_true shaped like y_pred {pred.shape}, got {true.shape}")
        true = true.reshape(pred.shape)
    return true, pred


class _Errors(Mean):
    """The mean of errors[element], which `_errors` gives."""

    direction = "down"

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        true, pred = _aligned(f"metric '{self.name}'", y_true, y_pred)
        super().update_state(self._errors(true, pred), sample_weight, mask)

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        error = np.subtract(y_pred, y_true, dtype=np.result_type(y_true, y_pred, np.float32))
        return error * error


class MeanSquaredError(_Errors):
    """The mean of (y_true - y_pred)^2."""

    def __init__(self, name: str | None = "mean_squared_error") -> None:
        super().__init__(name)


class RootMeanSquaredError(_Errors):
    """The square root of the mean, over everything counted, of (y_true - y_pred)^2."""

    def __init__(self, name: str | None = "root_mean_squared_error") -> None:
        super().__init__(name)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(_Errors):
    """The mean of |y_true - y_pred|."""

    def __init__(self, name: str | None = "mean_absolute_error") -> None:
        super().__init__(name)

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        return np.abs(np.subtract(y_pred, y_true, dtype=np.result_type(y_true, y_pred, np.float32)))


class Accuracy(_Errors):
    """The share of elements that are equal."""

    direction = "up"

    def __init__(self, name: str | None = "accuracy") -> None:
        super().__init__(name)

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        return y_true == y_pred


class BinaryAccuracy(_Errors):
    """The share of elements whose prediction is above `threshold` where the label is 1, and not above where it is 0."""

    direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)):
            raise TypeError(f"BinaryAccuracy: expected threshold to be a number, got {threshold!r}")
        self.threshold = float(threshold)

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        return y_true == (y_pred > self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(_Errors):
    """How often the largest prediction is that of the largest label; both (..., classes)."""

    direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy") -> None:
        super().__init__(name)

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(y_true.argmax(axis=-1) == y_pred.argmax(axis=-1))


class SparseCategoricalAccuracy(Mean):
    """How often the largest prediction (..., classes) is that of the label, an integer (...) or (..., 1)."""

    direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        best = np.asarray(y_pred).argmax(axis=-1)
        true, best = _aligned(f"metric '{self.name}'", y_true, best)
        super().update_state(true == best, sample_weight, mask)


_BY_CLASS: tuple[type[Metric], ...] = (
    Mean,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
_BY_NAME: dict[str, type[Metric]] = {
    **{cls.__name__: cls for cls in _BY_CLASS},
    **{re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower(): cls for cls in _BY_CLASS},
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
}
_LOSSES = (
    "binary_crossentropy",
    "bce",
    "BCE",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "huber",
)


def get(
    identifier: Any,
    y_true_shape: tuple[int, ...] | None = None,
    y_pred_shape: tuple[int, ...] | None = None,
) -> Metric:
    """The metric that `identifier` names, under the name that it was asked by.

    Parameters
    ----------
    identifier : str, Metric, type, callable or dict
        A name, a metric, its class, a function of (y_true, y_pred) with a value for each sample, or what `serialize`
        gave. "accuracy" and "acc" are `BinaryAccuracy` for predictions with one output, else
        `SparseCategoricalAccuracy` for labels of fewer axes than the predictions or with one number to their many,
        else `CategoricalAccuracy`.
    y_true_shape, y_pred_shape : tuple of int, optional
        Needed for "accuracy".

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is none of this name, or "accuracy" lacks the shapes.
    TypeError
        If `identifier` is nothing of the above.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        if identifier.lower() in ("accuracy", "acc"):
            return _accuracy(identifier, y_true_shape, y_pred_shape)
        if identifier in _LOSSES:
            return _LossMetric(losses.get(identifier), identifier)
        metric = _class(identifier)()
        metric.name = identifier
        return metric
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        if inspect.isabstract(identifier):
            raise TypeError(f"metric: {identifier.__name__} lacks methods")
        return identifier()
    if callable(identifier) and not isinstance(identifier, type):
        if losses.is_function(identifier):
            return _LossMetric(losses.get(identifier), identifier.__name__)
        return MeanMetricWrapper(identifier)
    raise TypeError(f"metric: expected a name, a Metric or a function, got {identifier!r}")


def _accuracy(name: str, y_true: tuple[int, ...] | None, y_pred: tuple[int, ...] | None) -> Metric:
    if not y_true or not y_pred:
        raise ValueError(f"metric '{name}': which accuracy it is depends on the shapes of y_true and y_pred")
    if y_pred[-1] == 1:
        return BinaryAccuracy(name)
    if len(y_true) < len(y_pred) or y_true[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def _class(name: Any) -> type[Metric]:
    cls = _BY_NAME.get(name)
    if cls is None:
        expected = sorted(n for n in {*_BY_NAME, *_LOSSES, "acc"} if n.islower())
        raise ValueError(f"unknown metric {name!r}: expected one of {', '.join(map(repr, expected))}")
    return cls


def serialize(metric: Metric) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal metric."""
    if not isinstance(metric, Metric):
        raise TypeError(f"serialize: expected a Metric, got {metric!r}")
    return {"class_name": type(metric).__name__, "config": metric.get_config()}

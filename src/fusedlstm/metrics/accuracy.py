"""How often predictions are right: of numbers, of two classes, of many, and among the best k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.backends import placement
from fusedlstm.metrics.base import Array, ElementMean, aligned
from fusedlstm.utils.numbers import integer


class Accuracy(ElementMean):
    """The share of elements that are equal."""

    direction = "up"

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_true == y_pred


class BinaryAccuracy(ElementMean):
    """The share of elements whose prediction is above `threshold` where the label is 1, and not above where it is 0."""

    direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)):
            raise TypeError(f"BinaryAccuracy: expected threshold to be a number, got {threshold!r}")
        self.threshold = float(threshold)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_true == (y_pred > self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(ElementMean):
    """How often the largest prediction is that of the largest label; both (..., classes)."""

    direction = "up"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return placement.as_array(y_true.argmax(axis=-1) == y_pred.argmax(axis=-1))  # type: ignore[no-any-return]


class SparseCategoricalAccuracy(ElementMean):
    """How often the largest prediction (..., classes) is that of the label, an integer (...) or (..., 1)."""

    direction = "up"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def align(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
        return aligned(f"metric '{self.name}'", y_true, placement.as_array(y_pred).argmax(axis=-1))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_true == y_pred


class TopKCategoricalAccuracy(ElementMean):
    """How often fewer than k predictions are above that of the largest label; both (..., classes)."""

    direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.k = integer(type(self).__name__, "k", k, 1)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _among_best(y_true.argmax(axis=-1), y_pred, self.k)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class SparseTopKCategoricalAccuracy(ElementMean):
    """How often fewer than k predictions (..., classes) are above that of the label, an integer (...) or (..., 1).

    Parameters
    ----------
    k : int
    name, dtype
        As in `Metric`.
    from_sorted_ids : bool
        y_pred (..., n) are the numbers of classes, the best first, instead of a prediction for each.
    """

    direction = "up"

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        self.k, self.from_sorted_ids = integer(type(self).__name__, "k", k, 1), bool(from_sorted_ids)

    def align(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
        pred = placement.as_array(y_pred)
        labels, _ = aligned(f"metric '{self.name}'", y_true, np.empty(pred.shape[:-1]))
        return labels, pred

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if self.from_sorted_ids:
            found: Array = (y_pred[..., : self.k] == y_true[..., None]).any(axis=-1)
            return found
        return _among_best(y_true, y_pred, self.k)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k, "from_sorted_ids": self.from_sorted_ids}


def _among_best(labels: Array, y_pred: Array, k: int) -> Array:
    """Whether fewer than k numbers of a row are above that of its label, and it is finite."""
    known = (labels >= 0) & (labels < y_pred.shape[-1])
    chosen = np.take_along_axis(y_pred, np.where(known, labels, 0).astype(np.intp)[..., None], axis=-1)
    best: Array = known & np.isfinite(chosen[..., 0]) & ((y_pred > chosen).sum(axis=-1) < k)
    return best


def _values(metric: ElementMean, y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    return metric.values(*metric.align(y_true, y_pred)).astype(np.float32)


def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> Array:
    """1 where `BinaryAccuracy` counts an element as right, 0 elsewhere."""
    return _values(BinaryAccuracy(threshold=threshold), y_true, y_pred)


def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """1 where `CategoricalAccuracy` counts a sample or step as right, 0 elsewhere."""
    return _values(CategoricalAccuracy(), y_true, y_pred)


def sparse_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """1 where `SparseCategoricalAccuracy` counts a sample or step as right, 0 elsewhere."""
    return _values(SparseCategoricalAccuracy(), y_true, y_pred)


def top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Array:
    """1 where `TopKCategoricalAccuracy` counts a sample or step as right, 0 elsewhere."""
    return _values(TopKCategoricalAccuracy(k), y_true, y_pred)


def sparse_top_k_categorical_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, from_sorted_ids: bool = False
) -> Array:
    """1 where `SparseTopKCategoricalAccuracy` counts a sample or step as right, 0 elsewhere."""
    return _values(SparseTopKCategoricalAccuracy(k, from_sorted_ids=from_sorted_ids), y_true, y_pred)

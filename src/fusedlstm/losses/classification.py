"""Cross-entropies of classes, from probabilities or logits.

Probabilities are clipped to 1e-7 ... 1 - 1e-7 as in Keras, so beyond these the gradient is 0: a loss with
``from_logits=True`` on a linear output has no such limit and is more exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.backends import placement
from fusedlstm.losses.base import Array, Backward, ElementwiseLoss, Loss, at, check_axis
from fusedlstm.utils.numbers import number

EPSILON = 1e-7


def clip(p: Array) -> tuple[Array, Array]:
    """Probabilities within bounds, and which of them were."""
    clipped = np.minimum(np.maximum(p, EPSILON), 1 - EPSILON)
    return clipped, clipped == p


def _check_smoothing(owner: str, value: Any) -> float:
    smoothing = number(owner, "label_smoothing", value)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{owner}: expected label_smoothing in 0 ... 1, got {value!r}")
    return smoothing


class BinaryCrossentropy(ElementwiseLoss):
    """The mean over `axis` of -(t log p + (1 - t) log(1 - p)).

    Parameters
    ----------
    from_logits : bool
        y_pred is x with p = sigmoid(x), instead of p itself.
    label_smoothing : float
        In 0 ... 1: the labels are drawn this far towards 1/2.
    axis : int
    reduction, name, dtype
        As in `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = _check_smoothing(type(self).__name__, label_smoothing)
        self.axis = self._axis = check_axis(type(self).__name__, axis)

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.from_logits:
            softplus = np.maximum(y_pred, 0) + np.log1p(np.exp(-np.abs(y_pred)))
            return softplus - y_pred * y_true, lambda: 0.5 * np.tanh(0.5 * y_pred) + 0.5 - y_true
        p, inside = clip(y_pred)
        losses = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
        return losses, lambda: inside * ((p - y_true) / (p * (1 - p)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


def log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis=axis, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return log_p


class CategoricalCrossentropy(Loss):
    """-sum t log p over the classes, for labels t given as one number a class (one-hot, or probabilities).

    Parameters
    ----------
    from_logits : bool
        y_pred is x with p = softmax(x). Otherwise y_pred is divided by its sum first.
    label_smoothing : float
        In 0 ... 1: the labels are drawn this far towards 1 / classes.
    axis : int
        That of the classes.
    reduction, name, dtype
        As in `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = _check_smoothing(type(self).__name__, label_smoothing)
        self.axis = self._axis = check_axis(type(self).__name__, axis)

    def _mismatch(self, y_true: tuple[int, ...], y_pred: tuple[int, ...]) -> str:
        return super()._mismatch(y_true, y_pred) + " (for labels that are integers use SparseCategoricalCrossentropy)"

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        if y_true.shape != y_pred.shape:
            raise ValueError(self._mismatch(y_true.shape, y_pred.shape))
        if y_pred.shape[self.axis] == 1:
            raise ValueError(
                f"{type(self).__name__}: one class has nothing to learn, got y_pred of shape {y_pred.shape} "
                "(for two classes with one output use BinaryCrossentropy)"
            )
        return y_true.astype(y_pred.dtype, copy=False), y_pred

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        axis = self.axis
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_pred.shape[axis]
        if self.from_logits:
            log_p = log_softmax(y_pred, axis)

            def backward_logits(d_values: Any) -> Array:
                d_x = np.exp(log_p) * y_true.sum(axis=axis, keepdims=True) - y_true
                return d_x * at(d_values, axis)

            return -(y_true * log_p).sum(axis=axis), backward_logits
        total = y_pred.sum(axis=axis, keepdims=True)
        q = y_pred / total
        p, inside = clip(q)

        def backward(d_values: Any) -> Array:
            d_q = inside * (-y_true / p)
            return (d_q - (d_q * q).sum(axis=axis, keepdims=True)) / total * at(d_values, axis)

        return -(y_true * np.log(p)).sum(axis=axis), backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


class SparseCategoricalCrossentropy(Loss):
    """-log p[label], for labels that are integers from 0 to classes - 1.

    Parameters
    ----------
    from_logits : bool
        As in `CategoricalCrossentropy`.
    ignore_class : int, optional
        Entries with this label (which may be any integer) are masked.
    reduction : str or None
    axis : int
        That of the classes.
    name, dtype
        As in `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if ignore_class is not None and not isinstance(ignore_class, (int, np.integer)):
            raise TypeError(
                f"SparseCategoricalCrossentropy: expected ignore_class to be an integer, got {ignore_class!r}"
            )
        self.from_logits = bool(from_logits)
        self.ignore_class = None if ignore_class is None else int(ignore_class)
        self.axis = self._axis = check_axis(type(self).__name__, axis)

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        """Labels as integers, of y_pred's shape without the axis of the classes."""
        expected = list(y_pred.shape)
        classes = expected.pop(self.axis)
        labels = y_true
        if labels.ndim == y_pred.ndim and labels.shape[self.axis] == 1:
            labels = labels.squeeze(self.axis)
        if labels.shape != tuple(expected):
            raise ValueError(
                f"SparseCategoricalCrossentropy: expected labels of shape {tuple(expected)} for y_pred "
                f"{y_pred.shape}, got {y_true.shape} (for one-hot labels use CategoricalCrossentropy)"
            )
        if labels.dtype.kind == "f":
            whole = np.isfinite(labels)
            whole &= labels == np.where(whole, np.rint(labels), 0)
            if not whole.all():
                wrong = placement.fetch(labels[~whole]).flat[0]
                raise ValueError(f"SparseCategoricalCrossentropy: expected labels to be integers, got {wrong}")
        labels = labels.astype(np.int64, copy=False)
        used = labels if self.ignore_class is None else labels[labels != self.ignore_class]
        if used.size and used.view(np.uint64).max() >= classes:  # where negative ones are large
            raise ValueError(
                f"SparseCategoricalCrossentropy: expected labels in 0 ... {classes - 1} for y_pred {y_pred.shape}, "
                f"got {placement.fetch(used.min())} ... {placement.fetch(used.max())}"
            )
        return labels, y_pred

    def compute_mask(self, y_true: Array) -> Array | None:
        return None if self.ignore_class is None else y_true != self.ignore_class

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        valid = self.compute_mask(y_true)
        # One row for each label, the classes last.
        moved = y_pred if self.axis in (-1, y_pred.ndim - 1) else np.moveaxis(y_pred, self.axis, -1)
        rows = moved.reshape(-1, moved.shape[-1])
        labels = (y_true if valid is None else np.where(valid, y_true, 0)).reshape(-1)
        chosen = np.arange(len(rows), like=labels), labels
        if self.from_logits:
            log_p = log_softmax(rows, -1)
            values = -log_p[chosen]
        else:
            total = rows.sum(axis=-1)
            q = rows[chosen] / total
            p, inside = clip(q)
            values = -np.log(p)

        def backward(d_values: Any) -> Array:
            d = d_values if isinstance(d_values, float) else d_values.reshape(-1)
            if valid is not None:
                d = d * valid.reshape(-1).astype(values.dtype)
            if self.from_logits:
                d_rows = np.exp(log_p)
                d_rows[chosen] -= 1
                d_rows *= d if isinstance(d, float) else d[:, None]
            else:
                # d value / d q is -1 / p, and q falls with every y_pred of the row because of the sum.
                d_q = inside * (-d / p) / total
                d_rows = np.empty_like(rows)
                d_rows[:] = (-q * d_q)[:, None]
                d_rows[chosen] += d_q
            d_moved = d_rows.reshape(moved.shape)
            return d_moved if moved is y_pred else np.moveaxis(d_moved, -1, self.axis)

        if valid is not None:
            values = np.where(valid.reshape(-1), values, values.dtype.type(0))
        return values.reshape(y_true.shape), backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "axis": self.axis,
        }


def binary_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """`BinaryCrossentropy` of every sample or step, without reduction."""
    return BinaryCrossentropy(from_logits, label_smoothing, axis).call(y_true, y_pred)


def categorical_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """`CategoricalCrossentropy` of every sample or step, without reduction."""
    return CategoricalCrossentropy(from_logits, label_smoothing, axis).call(y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Array:
    """`SparseCategoricalCrossentropy` of every sample or step, without reduction."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis).call(y_true, y_pred)

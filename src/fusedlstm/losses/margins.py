"""Losses that ask for a margin between right and wrong, and the divergence of distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.losses.base import Array, Backward, Loss, PlainLoss

_EPSILON = 1e-7


class _OfSigns(PlainLoss):
    """Base of the losses for labels -1 and 1; those that are 0 and 1, all of them, are converted."""

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        true, pred = super().align(y_true, y_pred, weighted)
        return 2 * true - 1 if ((true == 0) | (true == 1)).all() else true, pred


class Hinge(_OfSigns):
    """The mean over the last axis of max(1 - t y_pred, 0), for labels t of -1 and 1, or 0 and 1 (then 2 t - 1)."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        lacking = np.maximum(1 - y_true * y_pred, 0)
        return lacking, lambda: -y_true * (lacking > 0)


class SquaredHinge(_OfSigns):
    """The mean over the last axis of the squares of what `Hinge` takes the mean of."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        lacking = np.maximum(1 - y_true * y_pred, 0)
        return lacking * lacking, lambda: -2 * y_true * lacking


class CategoricalHinge(Loss):
    """max(1 + the largest y_pred of a wrong class - that of the right one, 0), for one-hot labels.

    In numbers max(1 + max((1 - y_true) y_pred) - sum(y_true y_pred), 0), over the last axis.
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        wrong = (1 - y_true) * y_pred
        best = np.expand_dims(wrong.argmax(axis=-1), -1)
        largest = np.take_along_axis(wrong, best, axis=-1)[..., 0]
        values = np.maximum(largest - np.add.reduce(y_true * y_pred, axis=-1) + 1, 0)

        def backward(d_values: Any) -> Array:
            d = -y_true
            np.put_along_axis(d, best, 1 - 2 * np.take_along_axis(y_true, best, axis=-1), axis=-1)
            return d * ((values > 0).astype(d.dtype) * d_values)[..., None]

        return values, backward


class KLDivergence(PlainLoss):
    """sum t log(t / p) over the last axis, y_true t and y_pred p clipped to 1e-7 ... 1 (Kullback and Leibler 1951)."""

    _sums = True

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        t, p = (np.minimum(np.maximum(x, _EPSILON), 1) for x in (y_true, y_pred))
        return t * np.log(t / p), lambda: (p == y_pred) * (-t / p)


def hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`Hinge` of every sample or step, without reduction."""
    return Hinge().call(y_true, y_pred)


def squared_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`SquaredHinge` of every sample or step, without reduction."""
    return SquaredHinge().call(y_true, y_pred)


def categorical_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`CategoricalHinge` of every sample or step, without reduction."""
    return CategoricalHinge().call(y_true, y_pred)


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`KLDivergence` of every sample or step, without reduction."""
    return KLDivergence().call(y_true, y_pred)

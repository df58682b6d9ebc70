"""Losses of predicted quantities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.losses.base import Array, ElementwiseLoss


class MeanSquaredError(ElementwiseLoss):
    """The mean of (y_true - y_pred)^2 over the last axis."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_squared_error") -> None:
        super().__init__(reduction, name)

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        return error * error, lambda: 2 * error


class MeanAbsoluteError(ElementwiseLoss):
    """The mean of |y_true - y_pred| over the last axis; the gradient is 0 where they are equal."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_absolute_error") -> None:
        super().__init__(reduction, name)

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        return np.abs(error), lambda: np.sign(error)


class Huber(ElementwiseLoss):
    """The mean over the last axis of e^2 / 2 where |e| <= delta, and of delta |e| - delta^2 / 2 elsewhere.

    Source: Huber 1964. e is y_pred - y_true.

    Parameters
    ----------
    delta : float
        Positive.
    reduction, name
        As in `Loss`.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
    ) -> None:
        if isinstance(delta, bool) or not isinstance(delta, (int, float, np.number)):
            raise TypeError(f"Huber: expected delta to be a number, got {delta!r}")
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"Huber: expected delta > 0, got {delta!r}")
        super().__init__(reduction, name)
        self.delta = float(delta)

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        bounded = np.minimum(np.maximum(error, -self.delta), self.delta)  # also the derivative
        return bounded * (error - 0.5 * bounded), lambda: bounded

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`MeanSquaredError` of every sample or step, without reduction."""
    return MeanSquaredError().call(y_true, y_pred)


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`MeanAbsoluteError` of every sample or step, without reduction."""
    return MeanAbsoluteError().call(y_true, y_pred)


def huber(y_true: ArrayLike, y_pred: ArrayLike, delta: float = 1.0) -> Array:
    """`Huber` of every sample or step, without reduction."""
    return Huber(delta).call(y_true, y_pred)

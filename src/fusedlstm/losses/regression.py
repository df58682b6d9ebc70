"""Losses of predicted quantities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.losses.base import Array, Backward, ElementwiseLoss, Loss, PlainLoss, at, check_axis
from fusedlstm.utils.numbers import number

_EPSILON = 1e-7  # as in Keras, wherever something is divided by or a logarithm is taken


class MeanSquaredError(PlainLoss):
    """The mean of (y_true - y_pred)^2 over the last axis."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        return error * error, lambda: error + error


class MeanAbsoluteError(PlainLoss):
    """The mean of |y_true - y_pred| over the last axis; the gradient is 0 where they are equal."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        return np.abs(error), lambda: np.sign(error)


class MeanAbsolutePercentageError(PlainLoss):
    """The mean over the last axis of 100 |y_true - y_pred| / max(|y_true|, 1e-7)."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error, scale = y_pred - y_true, 100 / np.maximum(np.abs(y_true), _EPSILON)
        return np.abs(error) * scale, lambda: np.sign(error) * scale


class MeanSquaredLogarithmicError(PlainLoss):
    """The mean over the last axis of (log(1 + y_true) - log(1 + y_pred))^2, both at least 1e-7."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        pred = np.maximum(y_pred, _EPSILON)
        error = np.log1p(pred) - np.log1p(np.maximum(y_true, _EPSILON))
        return error * error, lambda: (y_pred > _EPSILON) * (2 * error / (1 + pred))


class LogCosh(PlainLoss):
    """The mean over the last axis of log(cosh(y_pred - y_true)): e^2 / 2 near 0, |e| - log 2 far from it."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        error = y_pred - y_true
        size = np.abs(error)
        return size + np.log1p(np.exp(-2 * size)) - y_pred.dtype.type(math.log(2)), lambda: np.tanh(error)


class Poisson(PlainLoss):
    """The mean over the last axis of y_pred - y_true log(y_pred + 1e-7), for counts and their expected values."""

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        rate = y_pred + _EPSILON
        return y_pred - y_true * np.log(rate), lambda: 1 - y_true / rate


class CosineSimilarity(Loss):
    """The cosine of the angle between y_true and y_pred, negative: -1 for the same direction, 1 for opposite ones.

    Parameters
    ----------
    axis : int
        That of the vectors' components. A vector of zeros has the similarity 0 with any.
    reduction, name, dtype
        As in `Loss`.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = self._axis = check_axis("CosineSimilarity", axis)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        axis = self.axis
        true, _, _ = _unit(y_true, axis)
        pred, scale, bent = _unit(y_pred, axis)
        values = -np.add.reduce(true * pred, axis=axis)

        def backward(d_values: Any) -> Array:
            # Only what is across y_pred turns it; below the smallest length it is scaled, not normalized.
            across = np.where(bent, pred * np.expand_dims(values, axis), y_pred.dtype.type(0))
            return -(true + across) * scale * at(d_values, axis)

        return values, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _unit(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """x as vectors of length 1, what they were multiplied by, and whether that is because of their length."""
    length = np.sqrt(np.add.reduce(x * x, axis=axis, keepdims=True))
    scale = 1 / np.maximum(length, x.dtype.type(_EPSILON))
    return x * scale, scale, length > _EPSILON


class Huber(ElementwiseLoss):
    """The mean over the last axis of e^2 / 2 where |e| <= delta, and of delta |e| - delta^2 / 2 elsewhere.

    Source: Huber 1964. e is y_pred - y_true.

    Parameters
    ----------
    delta : float
        Positive.
    reduction, name, dtype
        As in `Loss`.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = number("Huber", "delta", delta)
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise ValueError(f"Huber: expected delta > 0, got {delta!r}")

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


def mean_absolute_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`MeanAbsolutePercentageError` of every sample or step, without reduction."""
    return MeanAbsolutePercentageError().call(y_true, y_pred)


def mean_squared_logarithmic_error(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`MeanSquaredLogarithmicError` of every sample or step, without reduction."""
    return MeanSquaredLogarithmicError().call(y_true, y_pred)


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`LogCosh` of every sample or step, without reduction."""
    return LogCosh().call(y_true, y_pred)


def poisson(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`Poisson` of every sample or step, without reduction."""
    return Poisson().call(y_true, y_pred)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Array:
    """`CosineSimilarity` of every sample or step, without reduction."""
    return CosineSimilarity(axis).call(y_true, y_pred)

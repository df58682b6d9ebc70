"""Focal cross-entropies: those of classes, with what is predicted well already counting less (Lin et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.losses.base import Array, Backward, at
from fusedlstm.losses.classification import BinaryCrossentropy, CategoricalCrossentropy, clip
from fusedlstm.utils.numbers import number


def _check_gamma(owner: str, value: Any) -> float:
    gamma = number(owner, "gamma", value)
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"{owner}: expected gamma >= 0, got {value!r}")
    return gamma


def _slope_of_power(base: Array, exponent: float) -> Array:
    """The derivative of base^exponent, base >= 0; 0 at 0, where that of an exponent below 1 has none."""
    if exponent == 0:
        return np.zeros_like(base)
    inside = base > 0
    return np.where(inside, exponent * np.where(inside, base, 1) ** (exponent - 1), base.dtype.type(0))


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """The mean over `axis` of w (1 - q)^gamma (-log q), q = p where the label is 1 and 1 - p where it is 0.

    Parameters
    ----------
    apply_class_balancing : bool
        w is alpha for the label 1 and 1 - alpha for 0; otherwise it is 1.
    alpha : float
    gamma : float
        At least 0; 0 gives `BinaryCrossentropy`.
    from_logits, label_smoothing, axis, reduction, name, dtype
        As in `BinaryCrossentropy`. As in Keras, the probabilities of logits are clipped to 1e-7 ... 1 - 1e-7 too.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = bool(apply_class_balancing)
        self.alpha = number("BinaryFocalCrossentropy", "alpha", alpha)
        self.gamma = _check_gamma("BinaryFocalCrossentropy", gamma)

    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        t = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        probability = 0.5 * np.tanh(0.5 * y_pred) + 0.5 if self.from_logits else y_pred
        p, inside = clip(probability)
        entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        missed = 1 - (t * probability + (1 - t) * (1 - probability))
        weight = t * self.alpha + (1 - t) * (1 - self.alpha) if self.apply_class_balancing else 1.0
        factor = weight * missed**self.gamma

        def derivative() -> Array:
            d_entropy = inside * ((p - t) / (p * (1 - p)))
            d = factor * d_entropy + weight * _slope_of_power(missed, self.gamma) * (1 - 2 * t) * entropy
            return d * probability * (1 - probability) if self.from_logits else d

        return factor * entropy, derivative

    def get_config(self) -> dict[str, Any]:
        own = {"apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}
        return {**super().get_config(), **own}


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """sum alpha (1 - p)^gamma (-t log p) over the classes, for labels t given as one number a class.

    Parameters
    ----------
    alpha : float or sequence of float
        One number, or one for each class of the last axis.
    gamma : float
        At least 0; 0 and alpha 1 give `CategoricalCrossentropy`.
    from_logits, label_smoothing, axis, reduction, name, dtype
        As in `CategoricalCrossentropy`. As in Keras, the probabilities of logits are clipped to 1e-7 ... 1 - 1e-7 too.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        owner = "CategoricalFocalCrossentropy"
        self.alpha: float | list[float] = (
            [number(owner, "alpha", value) for value in alpha]
            if isinstance(alpha, (list, tuple, np.ndarray))
            else number(owner, "alpha", alpha)
        )
        self.gamma = _check_gamma(owner, gamma)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        axis = self.axis
        alpha = np.asarray(self.alpha, y_pred.dtype)
        if alpha.ndim and alpha.size != y_pred.shape[-1]:
            raise ValueError(
                f"CategoricalFocalCrossentropy: expected alpha to have {y_pred.shape[-1]} numbers for y_pred "
                f"{y_pred.shape}, got {alpha.size}"
            )
        t = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_pred.shape[axis]
        if self.from_logits:
            y_pred = np.exp(y_pred - y_pred.max(axis=axis, keepdims=True))
        total = y_pred.sum(axis=axis, keepdims=True)
        q = y_pred / total
        p, inside = clip(q)
        log_p, missed = np.log(p), 1 - p
        factor = -alpha * t

        def backward(d_values: Any) -> Array:
            d_q = inside * factor * (missed**self.gamma / p - _slope_of_power(missed, self.gamma) * log_p)
            d_q -= (d_q * q).sum(axis=axis, keepdims=True)
            # The derivative of the softmax is q times that of the division by the sum.
            return d_q * (q if self.from_logits else 1 / total) * at(d_values, axis)

        return (factor * missed**self.gamma * log_p).sum(axis=axis), backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


def binary_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """`BinaryFocalCrossentropy` of every sample or step, without reduction."""
    loss = BinaryFocalCrossentropy(apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis)
    return loss.call(y_true, y_pred)


def categorical_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """`CategoricalFocalCrossentropy` of every sample or step, without reduction."""
    loss = CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing, axis)
    return loss.call(y_true, y_pred)

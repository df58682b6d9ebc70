"""The loss protocol: values per sample or step, their gradient, and how weights, masks and reduction combine them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Backward = Callable[[Any], Array]

_MEANS = ("sum_over_batch_size", "mean")
_REDUCTIONS = (*_MEANS, "sum", "mean_with_sample_weight", "none", None)


class Loss(ABC):
    """Base class: implement `forward`, and `get_config` if there are further arguments.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None}
        How the values of samples (or of steps) become one. The first two are the mean over all of them, whatever their
        weights; "mean_with_sample_weight" divides by the sum of the weights instead. Without a reduction there is no
        gradient.
    name : str, optional
        By default made from the class's name.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        if reduction not in _REDUCTIONS:
            expected = ", ".join(map(repr, _REDUCTIONS))
            raise ValueError(f"{type(self).__name__}: expected reduction to be one of {expected}, got {reduction!r}")
        self.reduction = reduction
        self.name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        """The loss of every sample, or of every step of every sample.

        Parameters
        ----------
        y_true, y_pred : array
            As `align` returned them; y_pred float32 or float64.

        Returns
        -------
        values : array
            y_pred's shape without the axis of the outputs, in its dtype.
        backward : callable
            Called with d_values, shaped like values or one number for all, it returns d_y_pred.
        """

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        """y_true in y_pred's shape and dtype; an axis of size 1 at the end of only one of them does not matter.

        Where y_pred has that axis and y_true has not, the values are, as in Keras, means over the last axis of y_true,
        unless it is the batch. Weights and masks per step need a value per step, so with `weighted` the axis is kept.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        if y_true.shape == y_pred.shape and not (weighted and y_pred.ndim == 1):
            return y_true.astype(y_pred.dtype, copy=False), y_pred
        original = y_true.shape, y_pred.shape
        if weighted and y_pred.ndim == 1:
            y_pred = y_pred[:, None]
        if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
            y_true, y_pred = (y_true, y_pred[:, None]) if y_pred.ndim == 1 else (y_true[..., 0], y_pred)
        elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
            if y_true.ndim == 1 or weighted:
                y_true = y_true[..., None]
            else:
                y_pred = y_pred[..., 0]
        if y_true.shape != y_pred.shape:
            raise ValueError(self._mismatch(*original))
        return y_true.astype(y_pred.dtype, copy=False), y_pred

    def _mismatch(self, y_true: tuple[int, ...], y_pred: tuple[int, ...]) -> str:
        return f"{type(self).__name__}: expected y_true shaped like y_pred {y_pred}, got {y_true}"

    def compute_mask(self, y_true: Array) -> Array | None:
        """Which values count, shaped like them; None if all do."""
        return None

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Array:
        """The values without weights and reduction: one for each sample, or for each step of each sample."""
        return self.values(y_true, y_pred)

    def values(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Array:
        """As `call`, one for each step where these weights, or a mask, need that; they are not applied."""
        true, pred, _ = self._prepare(y_true, y_pred, sample_weight, mask)
        return self.forward(true, pred)[0]

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Any:
        """The loss as a float, or without a reduction the array of weighted values.

        Parameters and errors are those of `value_and_gradient`.
        """
        true, pred, weighted = self._prepare(y_true, y_pred, sample_weight, mask)
        values, _ = self.forward(true, pred)
        if self.reduction in ("none", None):
            weights = self._weights(true, values, sample_weight, mask) if weighted else None
            return values if weights is None else values * weights
        return self._reduce(true, values, weighted, sample_weight, mask)[0]

    def value_and_gradient(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """The loss and its gradient with respect to y_pred.

        Parameters
        ----------
        y_true : array
            What was to be predicted.
        y_pred : (B, ...) array
            The predictions.
        sample_weight : (B,), (B,1) or (B,T) array, optional
            Per sample or per step; multiplied into the values.
        mask : (B,T) array, optional
            True: the step counts. With the mean reductions the valid entries weigh total / valid, which makes the loss
            the mean over the valid ones; the values of the others are not looked at, NaN included.

        Returns
        -------
        loss : float
        d_y_pred : array
            Of y_pred's shape and dtype.

        Raises
        ------
        ValueError
            If shapes do not fit, or there is no reduction.
        TypeError
            If something is not numbers.
        """
        if self.reduction in ("none", None):
            raise ValueError(f"{type(self).__name__}: a gradient needs a reduction, got reduction={self.reduction!r}")
        true, pred, weighted = self._prepare(y_true, y_pred, sample_weight, mask)
        values, backward = self.forward(true, pred)
        loss, d_values = self._reduce(true, values, weighted, sample_weight, mask)
        d_pred = backward(d_values)
        if mask is not None or self.compute_mask(true) is not None:  # 0 * NaN
            unused = np.expand_dims(np.broadcast_to(d_values, values.shape) == 0, self._axis)
            d_pred = np.where(unused, d_pred.dtype.type(0), d_pred)
        return loss, d_pred.reshape(np.shape(y_pred))

    _axis = -1  # of y_pred: that over which a value is taken

    def _arrays(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
        true, pred = np.asarray(y_true), np.asarray(y_pred)
        if pred.dtype.kind not in "fiub" or true.dtype.kind not in "fiub":
            name, wrong = ("y_true", true) if pred.dtype.kind in "fiub" else ("y_pred", pred)
            raise TypeError(f"{type(self).__name__}: expected {name} to be numbers, got dtype {wrong.dtype}")
        if pred.dtype.char not in "fd":
            pred = pred.astype(np.float32 if pred.dtype == np.float16 else np.float64)
        if not -pred.ndim <= self._axis < pred.ndim:
            if not pred.ndim:
                raise ValueError(f"{type(self).__name__}: expected y_pred of at least 1 axis, got a single number")
            raise ValueError(f"{type(self).__name__}: axis {self._axis} is not one of y_pred {pred.shape}")
        return true, pred

    def _prepare(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, mask: ArrayLike | None
    ) -> tuple[Array, Array, bool]:
        true, pred = self._arrays(y_true, y_pred)
        weighted = sample_weight is not None or mask is not None
        # Weights (B,) and (B,1) are one to a sample: they fit either way, and Keras's shapes are kept.
        per_step = mask is not None or (
            sample_weight is not None and (pred.ndim == 1 or np.size(sample_weight) > len(pred))
        )
        true, pred = self.align(true, pred, per_step)
        return true, pred, weighted or self.compute_mask(true) is not None

    def _weights(
        self, y_true: Array, values: Array, sample_weight: ArrayLike | None, mask: ArrayLike | None
    ) -> Array | None:
        """Weights shaped like the values, the mask in them."""
        owner, weights, valid = type(self).__name__, None, self.compute_mask(y_true)
        if sample_weight is not None:
            weights = spread(owner, "sample_weight", sample_weight, values.shape).astype(values.dtype, copy=False)
        if mask is not None:
            given = spread(owner, "mask", mask, values.shape) != 0
            valid = given if valid is None else valid & given
        if valid is None:
            return weights
        count = int(np.count_nonzero(valid))
        factor = valid.size / count if self.reduction in _MEANS and count else 1.0
        factors = np.where(valid, values.dtype.type(factor), values.dtype.type(0))
        return factors if weights is None else weights * factors

    def _reduce(
        self,
        y_true: Array,
        values: Array,
        weighted: bool,
        sample_weight: ArrayLike | None,
        mask: ArrayLike | None,
    ) -> tuple[float, Any]:
        """The loss, and its gradient with respect to the values."""
        weights = self._weights(y_true, values, sample_weight, mask) if weighted else None
        if weights is None:
            total, divisor = float(values.sum(dtype=np.float64)), float(values.size)
        else:
            # What a mask leaves out must not come back as 0 * NaN.
            used = values if mask is None else np.where(weights == 0, values.dtype.type(0), values)
            products = used * weights
            total, divisor = float(products.sum(dtype=np.float64)), float(values.size)
            if self.reduction == "mean_with_sample_weight":
                divisor = float(weights.sum(dtype=np.float64))
        scale = 1.0 if self.reduction == "sum" else (1.0 / divisor if divisor else 0.0)
        return total * scale, scale if weights is None else weights * scale

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that `get_config` described."""
        return cls(**config)


class ElementwiseLoss(Loss):
    """A loss that is the mean, over the last axis, of a function of single elements: implement `elements`."""

    @abstractmethod
    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        """The losses of the elements, and a function that returns their derivatives with respect to y_pred."""

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        losses, derivative = self.elements(y_true, y_pred)
        axis, share = self._axis, 1.0 / max(y_pred.shape[self._axis], 1)

        def backward(d_values: Any) -> Array:
            if isinstance(d_values, float):
                return derivative() * (d_values * share)
            return derivative() * np.expand_dims(d_values * share, axis)

        return np.add.reduce(losses, axis=axis) * share, backward


def spread(owner: str, name: str, weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Weights (B,), (B,1), (B,T) ... or one number as an array of `shape`, which starts with the same axes.

    Raises
    ------
    ValueError
        If they do not fit.
    TypeError
        If they are not numbers.
    """
    given = fitted = np.asarray(weights)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: expected {name} to be numbers, got dtype {given.dtype}")
    if given.shape == shape:
        return given
    while fitted.ndim > len(shape) and fitted.shape[-1] == 1:
        fitted = fitted[..., 0]
    fitted = fitted.reshape(fitted.shape + (1,) * (len(shape) - fitted.ndim))
    pairs: list[tuple[int, int]] = list(zip(fitted.shape, shape, strict=False))
    if fitted.ndim > len(shape) or (
        given.ndim and any(w != s and (w != 1 or i == 0) for i, (w, s) in enumerate(pairs))
    ):
        raise ValueError(f"{owner}: expected {name} to fit values of shape {shape}, got shape {given.shape}")
    return np.broadcast_to(fitted, shape)

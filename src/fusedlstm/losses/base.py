"""The loss protocol: values per sample or step, their gradient, and how weights, masks and reduction combine them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm.backends import placement
from fusedlstm.utils.names import snake_case

Array = NDArray[Any]
Backward = Callable[[Any], Array]

_MEANS = ("sum_over_batch_size", "mean")
_REDUCTIONS = (*_MEANS, "sum", "mean_with_sample_weight", "none", None)


class Loss(ABC):
    """Base class: implement `forward`, and `get_config` if there are further arguments.

    Parameters
    ----------
    name : str, optional
        By default made from the class's name.
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None}
        How the values of samples (or of steps) become one. The first two are the mean over all of them, whatever their
        weights; "mean_with_sample_weight" divides by the sum of the weights instead. Without a reduction there is no
        gradient.
    dtype : {"float32", "float64"}, optional
        What the loss is computed in; that of the predictions if None.
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        if reduction not in _REDUCTIONS:
            expected = ", ".join(map(repr, _REDUCTIONS))
            raise ValueError(f"{type(self).__name__}: expected reduction to be one of {expected}, got {reduction!r}")
        self.reduction = reduction
        if dtype is not None and dtype not in ("float32", "float64", np.float32, np.float64):
            raise ValueError(f"{type(self).__name__}: expected dtype 'float32', 'float64' or None, got {dtype!r}")
        self.dtype = None if dtype is None else np.dtype(dtype).name
        self.name = name or snake_case(type(self).__name__)

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
            return y_true if y_true.dtype == y_pred.dtype else y_true.astype(y_pred.dtype), y_pred
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
        return self._evaluate(y_true, y_pred, sample_weight, mask, False)[0]

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
        values, _, weights, valid = self._evaluate(y_true, y_pred, sample_weight, mask, False)
        if self.reduction in ("none", None):
            return values if weights is None else _used(values, valid) * weights
        return float(self._reduce(values, weights, valid)[0])

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
            Of predictions that are not on the host an array without axes, where they are.
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
        values, backward, weights, valid = self._evaluate(y_true, y_pred, sample_weight, mask, True)
        loss, d_values = self._reduce(values, weights, valid)
        d_pred = backward(d_values)
        if valid is not None:  # 0 * NaN
            d_pred = np.where(self._over_outputs(valid, d_pred.ndim), d_pred, d_pred.dtype.type(0))
        if self.dtype is not None:
            d_pred = d_pred.astype(placement.as_array(y_pred).dtype, copy=False)
        shape = y_pred.shape if type(y_pred) is np.ndarray else np.shape(y_pred)
        return loss, d_pred if d_pred.shape == shape else d_pred.reshape(shape)

    _axis = -1  # of y_pred: that over which a value is taken

    def _over_outputs(self, of_values: Array, ndim: int) -> Array:
        """What there is for each value, for each number of y_pred, which has `ndim` axes."""
        if of_values.ndim == ndim - 1:
            return np.expand_dims(of_values, self._axis)
        return of_values.reshape(of_values.shape + (1,) * (ndim - of_values.ndim))

    def _arrays(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
        true, pred = placement.as_array(y_true), placement.as_array(y_pred)
        if pred.dtype == true.dtype and pred.dtype.char in "fd" and self._axis == -1 and pred.ndim and not self.dtype:
            return true, pred  # nearly always
        if pred.dtype.kind not in "fiub" or true.dtype.kind not in "fiub":
            name, wrong = ("y_true", true) if pred.dtype.kind in "fiub" else ("y_pred", pred)
            raise TypeError(f"{type(self).__name__}: expected {name} to be numbers, got dtype {wrong.dtype}")
        if self.dtype is not None:
            pred = pred.astype(self.dtype, copy=False)
        elif pred.dtype.char not in "fd":
            pred = pred.astype(np.float32 if pred.dtype == np.float16 else np.float64)
        if not -pred.ndim <= self._axis < pred.ndim:
            if not pred.ndim:
                raise ValueError(f"{type(self).__name__}: expected y_pred of at least 1 axis, got a single number")
            raise ValueError(f"{type(self).__name__}: axis {self._axis} is not one of y_pred {pred.shape}")
        return true, pred

    def _evaluate(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None,
        mask: ArrayLike | None,
        gradient: bool,
    ) -> tuple[Array, Backward, Array | None, Array | None]:
        """The values and how to go back from them, their weights with the mask in them, and which of them count."""
        true, pred = self._arrays(y_true, y_pred)
        # Weights (B,) and (B,1) are one to a sample: they fit either way, and Keras's shapes are kept.
        per_step = mask is not None or (
            sample_weight is not None and (pred.ndim == 1 or np.size(sample_weight) > len(pred))
        )
        true, pred = self.align(true, pred, per_step)
        true = placement.beside(true, pred)  # now that the labels were looked at, which is best done on the host
        values, backward, valid = self._forward(true, pred, mask, gradient)
        if sample_weight is None and valid is None:
            return values, backward, None, None
        weights = placement.beside(self._weights(values, sample_weight, valid), values)
        return values, backward, weights, None if valid is None else placement.beside(valid, values)

    def _forward(
        self, y_true: Array, y_pred: Array, mask: ArrayLike | None, gradient: bool
    ) -> tuple[Array, Backward, Array | None]:
        """As `forward`, and which of the values count, None if all do; without `gradient` none is asked for."""
        values, backward = self.forward(y_true, y_pred)
        valid = self.compute_mask(y_true)
        if mask is not None:
            given = spread(type(self).__name__, "mask", mask, values.shape) != 0
            valid = given if valid is None else valid & given
        return values, backward, valid

    def _weights(self, values: Array, sample_weight: ArrayLike | None, valid: Array | None) -> Array:
        """Weights shaped like the values, the mask in them."""
        weights: Any = None
        if sample_weight is not None:
            weights = spread(type(self).__name__, "sample_weight", sample_weight, values.shape)
            weights = weights.astype(values.dtype, copy=False)
        if valid is None:
            return weights
        factors = valid.astype(values.dtype)
        if self.reduction in _MEANS:
            factors *= (valid.size / np.maximum(np.count_nonzero(valid), 1)).astype(values.dtype)
        return factors if weights is None else weights * factors

    def _reduce(self, values: Array, weights: Array | None, valid: Array | None) -> tuple[float, Any]:
        """The loss, and its gradient with respect to the values."""
        divisor = float(values.size)
        if weights is not None:
            values = _used(values, valid) * weights
            if self.reduction == "mean_with_sample_weight":
                divisor = float(weights.sum(dtype=np.float64))
        total = placement.plain_number(np.add.reduce(values, axis=None, dtype=np.float64))
        scale = 1.0 if self.reduction == "sum" else (1.0 / divisor if divisor else 0.0)
        return total * scale, scale if weights is None else weights * scale

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        config: dict[str, Any] = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else {**config, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that `get_config` described."""
        return cls(**config)


class ElementwiseLoss(Loss):
    """A loss that is the mean, over the last axis, of a function of single elements: implement `elements`."""

    _sums = False  # the sum over that axis, instead of the mean

    @abstractmethod
    def elements(self, y_true: Array, y_pred: Array) -> tuple[Array, Callable[[], Array]]:
        """The losses of the elements, and a function that returns their derivatives with respect to y_pred."""

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        losses, derivative = self.elements(y_true, y_pred)
        axis, share = self._axis, 1.0 if self._sums else 1.0 / max(y_pred.shape[self._axis], 1)

        def backward(d_values: Any) -> Array:
            return derivative() * at(d_values * share, axis)

        if axis == -1 and losses.shape[-1] == 1:  # nothing to add up, as in most regressions
            return losses[..., 0], backward
        return np.add.reduce(losses, axis=axis) * share, backward


class PlainLoss(ElementwiseLoss):
    """An elementwise loss of this package that has no arguments of its own: reduction first, as in Keras."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)


def check_axis(owner: str, axis: Any) -> int:
    """`axis` as an int. TypeError if it is not an integer."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{owner}: expected axis to be an integer, got {axis!r}")
    return int(axis)


def at(d_values: Any, axis: int) -> Any:
    """Gradients of the values, to be multiplied with what has the axis that the values lack."""
    return d_values if isinstance(d_values, float) else np.expand_dims(d_values, axis)


def _used(values: Array, valid: Array | None) -> Array:
    """The values, 0 where they do not count: what a mask leaves out must not come back as 0 * NaN."""
    return values if valid is None else np.where(valid, values, values.dtype.type(0))


def spread(owner: str, name: str, weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Weights (B,), (B,1), (B,T) ... or one number as an array of `shape`, which starts with the same axes.

    Raises
    ------
    ValueError
        If they do not fit.
    TypeError
        If they are not numbers.
    """
    given = fitted = placement.as_array(weights)
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

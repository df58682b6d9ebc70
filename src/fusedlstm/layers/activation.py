"""ReLU and Softmax as layers with arguments of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import activations
from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape
from fusedlstm.layers.shared import axes_last


class ReLU(Layer):
    """x from `threshold` on, at most `max_value`; below, ``negative_slope (x - threshold)``.

    Parameters
    ----------
    max_value : float, optional
        No limit if None.
    negative_slope, threshold : float
        From 0 on.
    **kwargs
        Those of `Layer`.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else self._limit("max_value", max_value)
        self.negative_slope = self._limit("negative_slope", negative_slope)
        self.threshold = self._limit("threshold", threshold)
        self._plain = self.max_value is None and self.negative_slope == 0 and self.threshold == 0

    def _limit(self, argument: str, value: Any) -> float:
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise ValueError(f"{self.label}: expected {argument} to be a finite number from 0 on, got {value!r}")
        return float(value)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any shape; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        keep = training if need_backward is None else need_backward
        if self._plain:
            y = activations.relu.forward(x)
            if not keep:
                return y, None
            return y, lambda d_outputs: activations.relu.backward(self.check_gradient("y", d_outputs, y.shape), x, y)
        real = self.dtype.type
        threshold, slope = real(self.threshold), real(self.negative_slope)
        if threshold == 0 and slope <= 1:
            y = np.maximum(x, slope * x if slope else 0)
        else:
            y = np.where(x < threshold, slope * (x - threshold), x)
        if self.max_value is not None:
            np.minimum(y, real(self.max_value), out=y)
        if not keep:
            return y, None

        def backward(d_outputs: Any) -> Array:
            d_y = self.check_gradient("y", d_outputs, y.shape)
            passed = x >= threshold
            if self.max_value is not None:
                passed &= x < real(self.max_value)
            d_x: Array = d_y * passed
            if slope:
                d_x += slope * d_y * (x < threshold)
            return d_x

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


def softmax_in_place(x: Array, allowed: Array | None = None) -> Array:
    """Softmax over the last axis, written over x, of the values that `allowed` (which broadcasts) marks.

    What is not allowed becomes 0, and so does a row without any allowed value.
    """
    if allowed is not None:
        np.copyto(x, -np.inf, where=~allowed)
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    if allowed is not None:
        top[top == -np.inf] = 0
    x -= top
    np.exp(x, out=x)
    total = np.einsum("...i->...", x)[..., None]  # three times as fast as sum on the last axis
    if allowed is not None:
        total[total == 0] = 1
    x /= total
    return x


def softmax_backward(d_y: Array, y: Array, out: Array | None = None) -> Array:
    """d_x from the softmax y over the last axis and its gradient; into `out` if given, which may be d_y."""
    d_x: Array = np.subtract(d_y, np.einsum("...i,...i->...", d_y, y)[..., None], out=out)
    d_x *= y
    return d_x


class Softmax(Layer):
    """``exp(x)`` divided by its sum over an axis, or over several together.

    Parameters
    ----------
    axis : int or sequence of int
    **kwargs
        Those of `Layer`.

    Notes
    -----
    A mask, True for what counts, goes with the call. Of as many axes as the inputs, it broadcasts against them. Of
    fewer, it belongs to their leading axes, like a mask (B,T) of steps, or, if it does not fit those, to their last
    ones. What it excludes becomes 0, everything if nothing is left to add up.
    """

    mask_is_second = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        axes: list[Any] = list(axis) if isinstance(axis, list | tuple) else [axis]
        if not axes or any(isinstance(a, bool) or not isinstance(a, int | np.integer) for a in axes):
            raise ValueError(f"{self.label}: expected axis to be an integer or several, got {axis!r}")
        self.axis = [int(a) for a in axes] if isinstance(axis, list | tuple) else int(axes[0])
        self._axes = tuple(int(a) for a in axes)

    def expected_inputs(self) -> str:
        return f"with an axis {self.axis}"

    def fits(self, shape: Shape) -> bool:
        rank = len(shape)
        inside = all(-rank <= a < rank for a in self._axes)
        return inside and len({a % rank for a in self._axes}) == len(self._axes)

    def _allowed(self, mask: Any, shape: tuple[int, ...]) -> Array:
        allowed = placement.as_array(mask)
        if allowed.dtype.kind not in "biu":
            raise TypeError(f"{self.label}: expected mask to be of bool, got dtype {allowed.dtype}")
        allowed = allowed.astype(bool, copy=False)
        if allowed.ndim < len(shape) and allowed.shape == shape[: allowed.ndim]:
            return allowed.reshape(allowed.shape + (1,) * (len(shape) - allowed.ndim))
        fits = allowed.ndim <= len(shape) and all(
            a in (1, b) for a, b in zip(reversed(allowed.shape), reversed(shape), strict=False)
        )
        if not fits:
            raise ValueError(
                f"{self.label}: expected a mask that broadcasts against inputs {show_shape(shape)}, "
                f"got {show_shape(allowed.shape)}"
            )
        return allowed.reshape((1,) * (len(shape) - allowed.ndim) + allowed.shape)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any shape with these axes; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        allowed = None if mask is None else self._allowed(mask, x.shape)
        rows, back = axes_last(x.shape, self._axes)
        if allowed is not None:
            allowed = rows(np.broadcast_to(allowed, x.shape))
        y = softmax_in_place(rows(x).copy(), allowed)  # which may be written over
        outputs = back(y)
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            return back(softmax_backward(rows(self.check_gradient("y", d_outputs, outputs.shape)), y))

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}

"""Layers of several inputs and one output: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedlstm.layers.base import Array, Backward, Shape
from fusedlstm.layers.shared import SeveralInputs

Gradients = Callable[[Array], list[Array]]


def _merged(a: int | None, b: int | None) -> int | None:
    """The size of a broadcast axis; -1 if the two do not fit."""
    if a == -1 or b == 1:
        return a
    if a == 1:
        return b
    if a is None or b is None:
        return None
    return a if a == b else -1


def _sum_to(d: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of this shape from that of what it was broadcast to, of the same rank."""
    axes = tuple(k for k, (n, m) in enumerate(zip(shape, d.shape, strict=True)) if n != m)
    summed: Array = d.sum(axis=axes, keepdims=True) if axes else d
    return summed


class Merge(SeveralInputs):
    """Base of the elementwise ones; sizes of 1 broadcast, and inputs of fewer axes get new ones after the batch."""

    def expected_inputs(self) -> str:
        return "a list of arrays that broadcast, of one batch size"

    def fits_all(self, shapes: list[Shape]) -> bool:
        return -1 not in self._broadcast(shapes)

    def _broadcast(self, shapes: list[Shape]) -> Shape:
        rank = max(map(len, shapes))
        result: list[int | None] = [1] * rank
        for shape in shapes:
            aligned = (shape[0], *(1,) * (rank - len(shape)), *shape[1:])
            result = [_merged(a, b) for a, b in zip(result, aligned, strict=True)]
        batches = {shape[0] for shape in shapes} - {None}
        result[0] = -1 if len(batches) > 1 else next(iter(batches), None)
        return tuple(result)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self._broadcast(self.check_shapes(input_shape))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Array | None:
        """True where any input's mask is; None if one has none."""
        masks = self.check_masks(mask, [np.shape(x) for x in inputs])
        if masks is None or any(m is None for m in masks):
            return None
        merged: Array = masks[0]  # type: ignore[assignment]
        for other in masks[1:]:
            merged = merged | other
        return merged

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        """The outputs, and the function from their gradient to one for each input, perhaps not summed yet.

        The arrays and masks are of one rank, which masks reach with axes of size 1.
        """
        raise TypeError(f"{self.label}: a subclass of Merge has to define merge")

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """A list of arrays -> one array; backward returns a list; see `Layer.forward`."""
        arrays = self.check_arrays(inputs)
        shapes = [x.shape for x in arrays]
        masks = self.check_masks(mask, shapes)
        rank = max(x.ndim for x in arrays)
        aligned = [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in arrays]
        if masks is not None:
            # the axes that its input got, then one for the features
            masks = [
                m if m is None else m.reshape(len(m), *(1,) * (rank - x.ndim), *m.shape[1:], *(1,) * (x.ndim - m.ndim))
                for m, x in zip(masks, arrays, strict=True)
            ]
        outputs, gradients = self.merge(aligned, masks)
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> list[Array] | None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape)
            if not need_d_inputs:
                return None
            return [
                _sum_to(d, x.shape).reshape(shape) for d, x, shape in zip(gradients(d_y), aligned, shapes, strict=True)
            ]

        return outputs, backward


class Add(Merge):
    """The sum of the inputs. The outputs' mask is True where any input's is, and there is none if one has none."""

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        y = arrays[0] + arrays[1] if len(arrays) > 1 else arrays[0].copy()
        for x in arrays[2:]:
            y = y + x
        return y, lambda d_y: [d_y] * len(arrays)


class Average(Merge):
    """The mean of the inputs; masks as `Add`."""

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        share = self.dtype.type(1 / len(arrays))
        y = arrays[0]
        for x in arrays[1:]:
            y = y + x
        return y * share, lambda d_y: [d_y * share] * len(arrays)


class Subtract(Merge):
    """The first input less the second; masks as `Add`."""

    least, most = 2, 2

    def expected_inputs(self) -> str:
        return "a list of 2 arrays that broadcast, of one batch size"

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        return arrays[0] - arrays[1], lambda d_y: [d_y, -d_y]


class Multiply(Merge):
    """The product of the inputs; masks as `Add`.

    A masked step of an input counts as 1, and the product is 0 where all inputs are masked.
    """

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        factors = list(arrays)
        used: Array | None = None
        if masks is not None:
            factors = [
                x if m is None else np.where(m, x, self.dtype.type(1)) for x, m in zip(arrays, masks, strict=True)
            ]
            if all(m is not None for m in masks):
                used = np.logical_or.reduce(np.broadcast_arrays(*masks))  # type: ignore[arg-type]
        ahead = [factors[0]]  # products of the first ones
        for x in factors[1:]:
            ahead.append(ahead[-1] * x)
        y = ahead[-1] if used is None else np.where(used, ahead[-1], self.dtype.type(0))

        def gradients(d_y: Array) -> list[Array]:
            behind = d_y if used is None else np.where(used, d_y, 0)  # times the products of the last ones
            result: list[Array] = []
            for k in reversed(range(len(factors))):
                d = behind * ahead[k - 1] if k else behind
                mask = None if masks is None else masks[k]
                result.append(d if mask is None else np.where(mask, d, 0))
                behind = behind * factors[k]
            return result[::-1]

        return y, gradients


class _Extremum(Merge):
    """Base of Maximum and Minimum; of equal values the first one gets the gradient."""

    sign = 1

    def merge(self, arrays: list[Array], masks: list[Array | None] | None) -> tuple[Array, Gradients]:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        y = np.broadcast_to(arrays[0], shape).copy()
        winner = np.zeros(shape, np.intp, like=y)
        found: Any = True if masks is None or masks[0] is None else masks[0]  # whether y is of an unmasked input
        for k, x in enumerate(arrays[1:], 1):
            better = (x > y if self.sign > 0 else x < y) | (x != x)  # NaN wins, and is not beaten
            if masks is not None:
                valid: Any = True if masks[k] is None else masks[k]
                better = valid & (better | np.logical_not(found))
                found = found | valid
            np.copyto(y, x, where=better)
            np.copyto(winner, k, where=better)
        return y, lambda d_y: [np.where(winner == k, d_y, 0) for k in range(len(arrays))]


class Maximum(_Extremum):
    """The largest of the inputs; masks as `Add`. Masked steps do not take part, unless all inputs are masked."""


class Minimum(_Extremum):
    """The least of the inputs; masks as `Add`. Masked steps do not take part, unless all inputs are masked."""

    sign = -1


class Concatenate(SeveralInputs):
    """The inputs one after the other along an axis.

    The outputs' mask: with the features concatenated, True where any input's mask is (an input without one counts as
    True everywhere); with the steps concatenated, the masks one after the other.

    Parameters
    ----------
    axis : int
        Not the batch's.
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or axis == 0:
            raise ValueError(f"{self.label}: expected axis to be an integer other than 0, got {axis!r}")
        self.axis = int(axis)

    def expected_inputs(self) -> str:
        return f"a list of arrays of one shape but for axis {self.axis}"

    def fits_all(self, shapes: list[Shape]) -> bool:
        rank = len(shapes[0])
        if any(len(shape) != rank for shape in shapes) or not -rank < self.axis < rank:
            return False
        others = [k for k in range(rank) if k != self.axis % rank]
        return all(len({shape[k] for shape in shapes} - {None}) <= 1 for k in others)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self.check_shapes(input_shape)
        result = [next((n for n in sizes if n is not None), None) for sizes in zip(*shapes, strict=True)]
        along = [shape[self.axis] for shape in shapes]
        result[self.axis] = None if None in along else sum(n for n in along if n is not None)
        return tuple(result)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Array | None:
        shapes = [np.shape(x) for x in inputs]
        masks = self.check_masks(mask, shapes)
        if masks is None:
            return None
        rank = len(shapes[0])
        axis = self.axis % rank
        if axis < rank - 1 and all(m is None or m.ndim > axis for m in masks):
            depth = max(m.ndim for m in masks if m is not None)
            parts = []
            for m, shape in zip(masks, shapes, strict=True):
                m = np.ones(shape[:depth], bool) if m is None else m.reshape(m.shape + (1,) * (depth - m.ndim))
                parts.append(np.broadcast_to(m, shape[:depth]))
            return np.concatenate(parts, axis=axis)
        if any(m is None for m in masks):
            return np.ones(shapes[0][: max(m.ndim for m in masks if m is not None)], bool)
        return np.logical_or.reduce(masks)  # type: ignore[arg-type]

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """A list of arrays -> one array; backward returns a list of views; see `Layer.forward`."""
        arrays = self.check_arrays(inputs)
        outputs = np.concatenate(arrays, axis=self.axis)
        if not (training if need_backward is None else need_backward):
            return outputs, None
        ends = np.cumsum([x.shape[self.axis] for x in arrays])[:-1]

        def backward(d_outputs: Any) -> list[Array]:
            return list(np.split(self.check_gradient("y", d_outputs, outputs.shape), ends, axis=self.axis))

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


# Keras's functions, which make the layer and call it.


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Add(**kwargs)(inputs)``."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Subtract(**kwargs)(inputs)``."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Multiply(**kwargs)(inputs)``."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Average(**kwargs)(inputs)``."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Maximum(**kwargs)(inputs)``."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """``Minimum(**kwargs)(inputs)``."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """``Concatenate(axis, **kwargs)(inputs)``."""
    return Concatenate(axis, **kwargs)(inputs)

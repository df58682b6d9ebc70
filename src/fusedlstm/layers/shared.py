"""What several layers have in common: lists of inputs, masks that end, axes put at the end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Layer, Shape, real_array, show_shape


class EndsMask(Layer):
    """Base of layers whose outputs a mask does not fit: it ends there, with one warning per layer."""

    _warned = False

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None; warns the first time that there is a mask to drop."""
        if mask is not None and not self._warned:
            self._warned = True
            warnings.warn(f"{self.label}: the mask does not fit its outputs and ends here", stacklevel=2)


class SeveralInputs(Layer):
    """Base of layers that take a list of arrays; `fits_all` says which shapes go together.

    `forward` takes the list, and for `mask` None or a list that holds one mask, or None, for each input.
    """

    #: how many inputs there may be
    least, most = 1, 1000

    def expected_inputs(self) -> str:
        return "a list of arrays"

    def fits_all(self, shapes: list[Shape]) -> bool:
        """Whether inputs may have these shapes; there are as many as may be."""
        return True

    def check_shapes(self, input_shape: Any) -> list[Shape]:
        """The inputs' shapes as tuples, or a ValueError if they do not go together."""
        if not isinstance(input_shape, list | tuple) or not all(isinstance(s, list | tuple) for s in input_shape):
            raise ValueError(f"{self.label}: expected inputs {self.expected_inputs()}, got one of shape {input_shape}")
        shapes = [self._check_dimensions("input_shape", shape) for shape in input_shape]
        count = self.least <= len(shapes) <= self.most
        if not count or any(not shape for shape in shapes) or not self.fits_all(shapes):
            got = ", ".join(map(show_shape, shapes)) or "an empty list"
            raise ValueError(f"{self.label}: expected inputs {self.expected_inputs()}, got {got}")
        return shapes

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.check_shapes(input_shape)[0]

    def check_arrays(self, inputs: Any) -> list[Array]:
        """The inputs as arrays of fitting shapes and the layer's dtype; builds the layer if it is not yet."""
        if not isinstance(inputs, list | tuple):
            got = f"one of shape {show_shape(np.shape(inputs))}"
            raise ValueError(f"{self.label}: expected inputs {self.expected_inputs()}, got {got}")
        arrays = [real_array(self.label, f"inputs[{k}]", value) for k, value in enumerate(inputs)]
        shapes = [array.shape for array in arrays]
        self.check_shapes(shapes)
        if not self.built:
            self.build(shapes)
        return [placement.place(array.astype(self.dtype, copy=False)) for array in arrays]

    def check_masks(self, mask: Any, shapes: list[tuple[int, ...]]) -> list[Array | None] | None:
        """One mask or None for each input, of its leading axes; None if there is no mask at all."""
        if mask is None:
            return None
        if not isinstance(mask, list | tuple) or len(mask) != len(shapes):
            got = f"{len(mask)} masks" if isinstance(mask, list | tuple) else type(mask).__name__
            raise ValueError(f"{self.label}: expected mask to be a list of {len(shapes)}, as the inputs, got {got}")
        if all(m is None for m in mask):
            return None
        # Which axes a mask has is its own affair, the features' excepted: (B,T), or (B,), for (B,T,F).
        return [
            None if m is None else self.check_mask(m, shape[: min(np.ndim(m), max(len(shape) - 1, 1))])
            for m, shape in zip(mask, shapes, strict=True)
        ]


def axes_last(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Callable[[Array], Array], ...]:
    """Two functions: one puts these axes of an array at the end, as one; the other puts them back."""
    rank, count = len(shape), len(axes)
    last = tuple(range(rank - count, rank))
    moved = tuple(shape[k] for k in range(rank) if k not in {a % rank for a in axes})
    along = tuple(shape[a] for a in axes)

    def rows(array: Array) -> Array:
        return np.moveaxis(array, axes, last).reshape(*moved, math.prod(along))

    def back(array: Array) -> Array:
        return np.moveaxis(array.reshape(*moved, *along), last, axes)

    return rows, back

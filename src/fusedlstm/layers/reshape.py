"""Layers that put values in another order or repeat them: Reshape, Permute, RepeatVector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.layers.base import Array, Backward, Shape
from fusedlstm.layers.shared import EndsMask


class Reshape(EndsMask):
    """(B, ...) -> (B, *target_shape). A mask does not fit the outputs and is dropped, with a warning.

    Parameters
    ----------
    target_shape : tuple of int
        Of one sample; at most one size may be -1: whatever the others leave.
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = (target_shape,) if isinstance(target_shape, int | np.integer) else target_shape
        integers = isinstance(sizes, tuple | list) and all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= -1 for n in sizes
        )
        if not integers or list(sizes).count(-1) > 1:
            raise ValueError(
                f"{self.label}: expected target_shape to be a tuple of sizes, at most one of them -1, "
                f"got {target_shape!r}"
            )
        self.target_shape = tuple(int(n) for n in sizes)

    def expected_inputs(self) -> str:
        return f"(batch, ...) that reshape to (batch, {', '.join(map(str, self.target_shape))})"

    def fits(self, shape: Shape) -> bool:
        return len(shape) >= 1 and (None in shape[1:] or self._target(shape) is not None)

    def _target(self, shape: Shape) -> Shape | None:
        """The outputs' shape, with None for what is not known; None if the sizes do not divide."""
        batch, *sizes = shape
        known = [n for n in sizes if n is not None]
        fixed = math.prod(n for n in self.target_shape if n != -1)
        if len(known) < len(sizes):
            return (batch, *(None if n == -1 else n for n in self.target_shape))
        size = math.prod(known)
        if -1 not in self.target_shape:
            return (batch, *self.target_shape) if size == fixed else None
        if fixed == 0:
            return (batch, *(0 if n == -1 else n for n in self.target_shape)) if size == 0 else None
        return (batch, *(size // fixed if n == -1 else n for n in self.target_shape)) if size % fixed == 0 else None

    def compute_output_shape(self, input_shape: Any) -> Shape:
        target = self._target(self.check_shape(input_shape))
        assert target is not None  # as check_shape found
        return target

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B, ...) -> (B, *target_shape); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        target: Any = self._target(x.shape)
        outputs = x.reshape(target)
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_y: Array = self.check_gradient("y", d_outputs, outputs.shape)
            return d_y.reshape(x.shape)

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(EndsMask):
    """The axes of a sample in another order. A mask does not fit the outputs and is dropped, with a warning.

    Parameters
    ----------
    dims : tuple of int
        For each axis of the outputs, that of the inputs; the first after the batch is 1.
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        integers = isinstance(dims, tuple | list) and all(isinstance(n, int | np.integer) for n in dims)
        if not integers or sorted(dims) != list(range(1, len(dims) + 1)):
            raise ValueError(f"{self.label}: expected dims to be the axes 1, 2 ... in some order, got {dims!r}")
        self.dims = tuple(int(n) for n in dims)

    def expected_inputs(self) -> str:
        return f"of {len(self.dims) + 1} axes"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == len(self.dims) + 1

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self.check_shape(input_shape)
        return (shape[0], *(shape[k] for k in self.dims))

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """The inputs as a view with the axes in their new order; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        outputs = x.transpose(0, *self.dims)
        if not (training if need_backward is None else need_backward):
            return outputs, None
        order = np.argsort((0, *self.dims))

        def backward(d_outputs: Any) -> Array:
            d_y: Array = self.check_gradient("y", d_outputs, outputs.shape)
            return d_y.transpose(order)

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(EndsMask):
    """(B,F) -> (B,n,F): the same vector at n steps.

    Parameters
    ----------
    n : int
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = self.positive_integer("n", n)

    def expected_inputs(self) -> str:
        return "(batch, features)"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 2

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, features = self.check_shape(input_shape)
        return (batch, self.n, features)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,F) -> (B,n,F), see `Layer.forward`."""
        x = self.check_inputs(inputs)
        outputs = np.repeat(x[:, None], self.n, axis=1)
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_x: Array = self.check_gradient("y", d_outputs, outputs.shape).sum(axis=1)
            return d_x

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}

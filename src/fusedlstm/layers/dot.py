"""Dot: products of the vectors of two inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.layers.base import Array, Backward, Shape
from fusedlstm.layers.shared import SeveralInputs


class Dot(SeveralInputs):
    """For each sample, the products of two inputs' vectors along an axis of each. There is no mask.

    ``(B,a,n)`` and ``(B,b,n)`` give ``(B,a,b)`` with ``axes=-1``; (B,n) and (B,n) give (B,1).

    Parameters
    ----------
    axes : int or (int, int)
        Of both inputs, or of each; not the batch's.
    normalize : bool
        Divide the vectors by their lengths first: the outputs are cosines.
    **kwargs
        Those of `Layer`.
    """

    least, most = 2, 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        both = axes if isinstance(axes, list | tuple) else (axes, axes)
        integers = all(isinstance(a, int | np.integer) and not isinstance(a, bool) for a in both)
        if len(both) != 2 or not integers or 0 in both:
            raise ValueError(f"{self.label}: expected axes to be one or two integers other than 0, got {axes!r}")
        self.axes = tuple(int(a) for a in both) if isinstance(axes, list | tuple) else int(both[0])
        self._both = (int(both[0]), int(both[1]))
        self.normalize = self.boolean("normalize", normalize)

    def expected_inputs(self) -> str:
        a, b = self._both
        return f"a list of 2 arrays of one batch size, with axis {a} of the first as long as {b} of the second"

    def fits_all(self, shapes: list[Shape]) -> bool:
        inside = all(len(s) >= 2 and -len(s) < a < len(s) for s, a in zip(shapes, self._both, strict=True))
        if not inside or any(a % len(s) == 0 for s, a in zip(shapes, self._both, strict=True)):
            return False
        pairs = [(shapes[0][0], shapes[1][0]), (shapes[0][self._both[0]], shapes[1][self._both[1]])]
        return all(m is None or n is None or m == n for m, n in pairs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        first, second = (list(shape) for shape in self.check_shapes(input_shape))
        first.pop(self._both[0])
        second.pop(self._both[1])
        batch = first[0] if first[0] is not None else second[0]
        sizes = first[1:] + second[1:]
        return (batch, *sizes) if sizes else (batch, 1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: the outputs have other steps."""

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """A list of 2 arrays -> one array; backward returns a list; see `Layer.forward`."""
        arrays = self.check_arrays(inputs)
        moved = [np.moveaxis(x, a, -1) for x, a in zip(arrays, self._both, strict=True)]
        rows = [m.reshape(m.shape[0], math.prod(m.shape[1:-1]), m.shape[-1]) for m in moved]
        units, scales = rows, rows
        if self.normalize:
            scales = [1 / np.maximum(np.sqrt(np.einsum("bij,bij->bi", r, r)), 1e-7)[..., None] for r in rows]
            units = [r * s for r, s in zip(rows, scales, strict=True)]
        product = np.matmul(units[0], units[1].swapaxes(1, 2))
        outputs = product.reshape(self.compute_output_shape([x.shape for x in arrays]))
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> list[Array] | None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape).reshape(product.shape)
            if not need_d_inputs:
                return None
            result = []
            for k, d_unit in enumerate((np.matmul(d_y, units[1]), np.matmul(d_y.swapaxes(1, 2), units[0]))):
                d_row = d_unit
                if self.normalize:
                    along = np.einsum("bij,bij->bi", d_unit, units[k])[..., None]
                    along[scales[k] >= 1e7] = 0  # a vector this short is divided by a constant
                    d_row = (d_unit - along * units[k]) * scales[k]
                result.append(np.moveaxis(d_row.reshape(moved[k].shape), -1, self._both[k]))
            return result

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def dot(inputs: Sequence[Any], axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """``Dot(axes, **kwargs)(inputs)``."""
    return Dot(axes, **kwargs)(inputs)

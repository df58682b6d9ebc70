"""Where a model's inputs come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.layers.base import FLOATS, Array, Backward, Layer, Shape, real_array
from fusedlstm.symbolic import Node, SymbolicTensor

#: What ids and masks may come in.
DTYPES = {**FLOATS, **{name: np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64")}}


class InputLayer(Layer):
    """Names the shape of a model's inputs and passes them through.

    Parameters
    ----------
    shape : tuple of int or None, optional
        Of one sample; None for a size that varies.
    batch_size : int, optional
        If it is always the same.
    dtype : {"float32", "float64", "int32", "int64", "bool" ...}, optional
        What the data are cast to; if None, what the layers that take them compute in.
    batch_shape : tuple of int or None, optional
        Instead of `shape` and `batch_size`: (batch size, *shape).
    name : str, optional
    **kwargs
        Those of `Layer`; ``input_shape`` and ``batch_input_shape`` are older names of `shape` and `batch_shape`.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, **kwargs)
        given: Shape
        if shape is not None and batch_shape is not None:
            raise ValueError(f"{self.label}: expected shape or batch_shape, got both")
        if shape is not None:
            batch = None if batch_size is None else self.positive_integer("batch_size", batch_size)
            given = (batch, *self._check_dimensions("shape", shape))
        elif batch_shape is not None:
            given = self._check_dimensions("batch_shape", batch_shape)
        elif self.batch_input_shape is not None:
            given = self.batch_input_shape
        else:
            raise ValueError(f"{self.label}: expected shape, got None")
        self.batch_shape: Shape = given
        self.batch_input_shape = given
        self.given_dtype = None if dtype is None else self.dtype
        self.built = True
        node = Node(self)
        node.outputs = (SymbolicTensor(node, 0, given, self.dtype),)
        self.nodes.append(node)

    def _check_dtype(self, dtype: Any) -> np.dtype[Any]:
        try:
            return DTYPES["float32" if dtype is None else np.dtype(dtype).name]
        except (TypeError, KeyError):
            expected = ", ".join(map(repr, DTYPES))
            raise ValueError(f"{self.label}: expected dtype to be one of {expected}, got {dtype!r}") from None

    def expected_inputs(self) -> str:
        return "(" + ", ".join(["batch", *("any" if n is None else str(n) for n in self.batch_shape[1:])]) + ")"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == len(self.batch_shape) and all(
            a is None or b is None or a == b for a, b in zip(shape[1:], self.batch_shape[1:], strict=True)
        )

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """The inputs themselves, checked; see `Layer.forward`."""
        given = real_array(self.label, "inputs", inputs)
        self.check_shape(given.shape)
        outputs = given if self.given_dtype is None else given.astype(self.dtype, copy=False)
        keep = training if need_backward is None else need_backward
        return outputs, (lambda d_outputs: d_outputs) if keep else None

    def get_config(self) -> dict[str, Any]:
        dtype = None if self.given_dtype is None else self.dtype.name
        return {"name": self.name, "dtype": dtype, "batch_shape": self.batch_shape}


def Input(  # noqa: N802 (a function with a class's name, as in Keras)
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> SymbolicTensor:
    """The symbolic inputs of a model, of a given shape.

    Parameters
    ----------
    shape : tuple of int or None
        Of one sample, without the batch; None for a size that varies.
    batch_size : int, optional
        If it is always the same.
    dtype : {"float32", "float64", "int32", "int64", "bool" ...}, optional
        What the data are cast to; if None, what the layers that take them compute in.
    batch_shape : tuple of int or None, optional
        Instead of `shape` and `batch_size`.
    name : str, optional

    Returns
    -------
    SymbolicTensor
        To call layers on, for ``Model(inputs, outputs)``; or to stand first in ``Sequential([Input((10, 1)), ...])``.

    Raises
    ------
    ValueError
        If there is no shape, or two.
    """
    layer = InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name)
    return layer.nodes[0].outputs[0]

"""Where a model's inputs come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape


class InputLayer(Layer):
    """Names the shape of a model's inputs and passes them through.

    Parameters
    ----------
    shape : tuple of int or None, optional
        Of one sample; None for a size that varies.
    batch_size : int, optional
        If it is always the same.
    dtype : {"float32", "float64"}, optional
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
        self.built = True

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
        outputs = self.check_inputs(inputs)
        keep = training if need_backward is None else need_backward
        return outputs, (lambda d_outputs: d_outputs) if keep else None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype.name, "batch_shape": self.batch_shape}


class SymbolicTensor:
    """A place in a model that arrays will pass through: what `Input` returns.

    Attributes
    ----------
    shape : tuple of int or None
        With the batch size ahead.
    dtype : numpy dtype
    layer : InputLayer
        Where it comes from.
    """

    __slots__ = ("dtype", "layer", "shape")

    def __init__(self, layer: InputLayer) -> None:
        self.layer = layer
        self.shape: Shape = layer.batch_shape
        self.dtype: np.dtype[Any] = layer.dtype

    @property
    def name(self) -> str:
        """The name of the layer that it comes from."""
        return self.layer.name

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise TypeError(
            f"'{self.name}' is symbolic and holds no numbers: put it first in a Sequential, call that on arrays"
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor '{self.name}' shape={show_shape(self.shape)} dtype={self.dtype}>"


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
    dtype : {"float32", "float64"}, optional
    batch_shape : tuple of int or None, optional
        Instead of `shape` and `batch_size`.
    name : str, optional

    Returns
    -------
    SymbolicTensor
        To stand first in ``Sequential([Input((10, 1)), ...])``.

    Raises
    ------
    ValueError
        If there is no shape, or two.
    """
    return SymbolicTensor(InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name))

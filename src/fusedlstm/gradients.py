"""The gradient of a table of which a batch used a few rows only."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from fusedlstm.backends import placement

Array = NDArray[Any]

_wanted: ContextVar[bool] = ContextVar("row_gradients", default=False)


class RowGradient(NDArrayOperatorsMixin):
    """A (V,D) gradient that is zero but in some rows, which an optimizer takes as it is.

    In arithmetic, and as an argument of any NumPy function, it becomes the array that it stands for.

    Parameters
    ----------
    rows : (R,) array of int64
        Ascending, each once.
    values : (R,D) array
    count : int
        V.
    """

    def __init__(self, rows: Array, values: Array, count: int) -> None:
        self.rows, self.values = rows, values
        self.shape = (count, values.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def astype(self, dtype: Any) -> RowGradient:
        """The same in another dtype."""
        return RowGradient(self.rows, self.values.astype(dtype, copy=False), self.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("RowGradient: the whole array is made anew, which copy=False forbids")
        whole: Array = placement.fetch(self.whole())
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def whole(self) -> Array:
        """The array that it stands for, where its values are."""
        whole = np.zeros(self.shape, self.dtype, like=self.values)
        whole[self.rows] = self.values
        return whole

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        arrays = [value.whole() if isinstance(value, RowGradient) else value for value in inputs]
        # ``gradient += x`` passes the gradient as `out`, and takes the result for it.
        outs = [value for value in out or () if not isinstance(value, RowGradient)]
        return getattr(ufunc, method)(*arrays, **({"out": tuple(outs)} if outs else {}), **options)

    def __getitem__(self, index: Any) -> Any:
        return self.whole()[index]

    def __repr__(self) -> str:
        return f"<RowGradient of {len(self.rows)} rows, shape={self.shape} dtype={self.dtype}>"


def with_row_gradients(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function inside which layers may leave a `RowGradient` among their gradients."""
    token = _wanted.set(True)
    try:
        return function(*arguments)
    finally:
        _wanted.reset(token)


def row_gradients_wanted() -> bool:
    """Whether the caller takes a `RowGradient`."""
    return _wanted.get()

"""Arrays from what holds columns: pandas, Arrow, polars and whatever offers their protocols, without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.backends import placement

Array = NDArray[Any]

_ARROW = ("__arrow_array__", "__arrow_c_stream__", "__dataframe__")  # protocols by which pyarrow takes data


def is_columnar(value: Any) -> bool:
    """Whether it is a column or a table, which is data and not an iterable of batches."""
    return any(hasattr(value, name) for name in ("__array__", "to_numpy", *_ARROW))


def real_array(owner: str, argument: str, value: Any) -> Array:
    """`value` as an array of real numbers (N,) or (N, columns, ...), without a copy where its memory has that form.

    Parameters
    ----------
    owner, argument : str
        How errors call what it is for.
    value : array, or anything of numbers
        A pandas Series or DataFrame, an Arrow array, ChunkedArray, RecordBatch or Table, a polars Series or DataFrame,
        or an object with ``__array__``, ``to_numpy``, or one of Arrow's protocols or ``__dataframe__``, for which
        pyarrow has to be installed. Missing numbers become NaN. An array on a GPU stays there if the backend computes
        there.

    Raises
    ------
    TypeError
        If something else than numbers is in it; of a table, the columns are named.
    ValueError
        For lists of unequal lengths.
    """
    array: Array = placement.place(value) if placement.is_elsewhere(value) else _plain(owner, argument, value)
    if array.dtype.kind in "fiub":
        return array
    columns = _columns(value)
    if columns is None:
        raise TypeError(f"{owner}: expected {argument} to be an array of real numbers, got dtype {array.dtype}")
    parts = [(name, _column(column), column) for name, column in columns]
    wrong = [
        f"{name!r} ({getattr(column, 'dtype', None) or getattr(column, 'type', part.dtype)})"
        for name, part, column in parts
        if part.dtype.kind not in "fiub"
    ]
    if wrong:
        noun = "the column" if len(wrong) == 1 else "the columns"
        raise TypeError(f"{owner}: expected {argument} to have columns of real numbers, got {noun} {', '.join(wrong)}")
    return np.column_stack([part for _, part, _ in parts])


def _plain(owner: str, argument: str, value: Any) -> Array:
    if not hasattr(value, "__array__"):
        if hasattr(value, "to_numpy"):
            return np.asarray(value.to_numpy())
        if any(hasattr(value, protocol) for protocol in _ARROW):
            value = _through_arrow(owner, argument, value)
    try:
        return _column(value)
    except ValueError:
        raise ValueError(f"{owner}: expected {argument} to be an array, got a list of unequal lengths") from None


def _through_arrow(owner: str, argument: str, value: Any) -> Any:
    """A column or table of a library that makes no arrays itself."""
    try:
        import pyarrow
    except ImportError:
        raise TypeError(
            f"{owner}: expected {argument} to be an array; a {type(value).__name__} becomes one through pyarrow, "
            "which is not installed (pip install pyarrow)"
        ) from None
    if hasattr(value, "__arrow_array__"):
        return pyarrow.array(value)
    if hasattr(value, "__arrow_c_stream__"):
        return pyarrow.table(value)
    from pyarrow import interchange

    return interchange.from_dataframe(value)


def _column(column: Any) -> Array:
    """A column as an array; where pandas marks missing numbers apart, NaN."""
    array = np.asarray(column)
    if array.dtype.kind == "O" and getattr(getattr(column, "dtype", None), "kind", "O") in "fiub":
        return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan))
    return array


def _columns(table: Any) -> Iterable[tuple[Any, Any]] | None:
    """Names and columns of a table; None of anything else."""
    if hasattr(table, "column_names") and hasattr(table, "columns"):  # Arrow
        return zip(table.column_names, table.columns, strict=True)
    if hasattr(table, "columns") and hasattr(table, "items"):  # pandas
        pairs: Iterable[tuple[Any, Any]] = table.items()
        return pairs
    if hasattr(table, "get_columns"):  # polars
        return [(column.name, column) for column in table.get_columns()]
    return None

"""Cross-validation: the arguments of `fit` for each fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.utils.splitting import time_series_folds
from fusedlstm.utils.time_series import TimeseriesDataset


def arguments_of_folds(
    owner: str, cross_validation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What to call `fit` with, fold by fold.

    Parameters
    ----------
    owner : str
    cross_validation : int, iterable of (train, validation), or object with ``split(x)``
        A number of folds is cut by `time_series_folds`, of a `TimeseriesDataset` with its overlap as the gap; else the
        rows of each part, as slices or indices.
    args, kwargs
        Of the whole data: x, y and sample_weight.

    Raises
    ------
    ValueError, TypeError
        For data that have no rows to be cut, or arguments that do not go with folds.
    """
    for name in ("validation_data", "validation_split"):
        if kwargs.get(name):
            raise ValueError(f"{owner}: expected {name} to be left out with cross_validation, got both")
    data = dict(zip(("x", "y"), args[:2], strict=False))
    data |= {name: kwargs[name] for name in ("x", "y", "sample_weight") if kwargs.get(name) is not None}
    if "x" not in data:
        raise ValueError(f"{owner}: expected x with cross_validation, got none")
    takers = {name: _taker(owner, name, value) for name, value in data.items()}
    rows = {name: count for name, (count, _) in takers.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{owner}: expected x, y and sample_weight of equal length, got {rows}")
    folds = []
    # Windows that share steps are not on both sides.
    gap = data["x"].overlap if isinstance(data["x"], TimeseriesDataset) else 0
    for train, validation in _folds(owner, cross_validation, rows["x"], gap):
        parts = {name: take(train) for name, (_, take) in takers.items()}
        held_out = [take(validation) for _, take in takers.values()]
        if "sample_weight" in takers and "y" not in takers:
            held_out.insert(1, None)
        positional = tuple(parts.pop(name) for name in ("x", "y")[: len(args)]) + args[2:]
        validation_data = tuple(held_out) if len(held_out) > 1 else held_out[0]
        folds.append((positional, {**kwargs, **parts, "validation_data": validation_data}))
    if not folds:
        raise ValueError(f"{owner}: expected at least one fold in cross_validation, got none")
    return folds


def check_cross_validation(owner: str, value: Any) -> Any:
    """A number of folds, an object with ``split``, or the list of folds; TypeError or ValueError for others."""
    if isinstance(value, bool) or not (
        isinstance(value, int | np.integer) or hasattr(value, "split") or hasattr(value, "__iter__")
    ):
        raise TypeError(
            f"{owner}: expected cross_validation to be a number of folds, (train, validation) pairs or an object with "
            f"split(x), got {value!r}"
        )
    if isinstance(value, int | np.integer):
        if value < 2:
            raise ValueError(f"{owner}: expected cross_validation >= 2, got {value}")
        return int(value)
    if hasattr(value, "split"):
        return value
    pairs = list(value)  # a generator gives them once, every trial needs them
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"{owner}: expected cross_validation to hold (train, validation) pairs, got {pair!r:.60}")
    return pairs


def _folds(owner: str, cross_validation: Any, rows: int, gap: int) -> Any:
    if isinstance(cross_validation, int):
        return time_series_folds(rows, cross_validation, gap)
    if hasattr(cross_validation, "split"):
        return cross_validation.split(np.empty((rows, 1)))
    return cross_validation


def _taker(owner: str, name: str, value: Any) -> tuple[int, Callable[[Any], Any]]:
    """How many rows there are, and what takes some of them."""
    if hasattr(value, "samples") and hasattr(value, "part"):  # windows of a series
        return value.samples, value.part
    if isinstance(value, dict):
        parts = {key: _taker(owner, f"{name}[{key!r}]", part) for key, part in value.items()}
        return _rows(owner, name, parts.values()), lambda rows: {key: take(rows) for key, (_, take) in parts.items()}
    if isinstance(value, list | tuple) and value and all(hasattr(part, "__array__") for part in value):
        several = [_taker(owner, f"{name}[{k}]", part) for k, part in enumerate(value)]
        return _rows(owner, name, several), lambda rows: [take(rows) for _, take in several]
    if not isinstance(value, list | tuple) and not hasattr(value, "__array__"):
        raise TypeError(f"{owner}: expected {name} to be arrays with cross_validation, got {type(value).__name__}")
    array = np.asarray(value)
    if array.ndim == 0:
        raise ValueError(f"{owner}: expected {name} to have rows, got a single number")
    return len(array), lambda rows: array[rows]


def _rows(owner: str, name: str, parts: Any) -> int:
    counts = {count for count, _ in parts}
    if len(counts) != 1:
        raise ValueError(f"{owner}: expected the arrays of {name} to be of equal length, got {sorted(counts)}")
    return int(counts.pop())

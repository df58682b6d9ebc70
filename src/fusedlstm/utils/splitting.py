"""Data in two parts, or in the folds of a time series: `split_dataset`, `time_series_folds`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fusedlstm.random import generator
from fusedlstm.utils.numbers import integer


def time_series_folds(
    n: int,
    folds: int = 5,
    gap: int = 0,
    validation_size: int | None = None,
    max_train_size: int | None = None,
) -> Iterator[tuple[slice, slice]]:
    """The rows to train on and those to validate on, for each fold; validation always lies after training.

    The last ``folds * validation_size`` rows are validated on, part after part; a fold trains on all rows ahead of its
    part (an expanding window), or on the last `max_train_size` of them (a sliding one).

    Parameters
    ----------
    n : int
        Rows, in the order of time.
    folds : int
    gap : int
        Rows left out between the two, so that windows which share steps are not on both sides.
    validation_size : int, optional
        Rows of a validation part; ``n // (folds + 1)`` if None.
    max_train_size : int, optional

    Yields
    ------
    train, validation : slice
        ``x[train]`` is a view, and ``np.r_[train]`` the indices.

    Raises
    ------
    ValueError
        For counts that are not integers, or if a fold has nothing to train on; already at the call.

    Examples
    --------
    >>> from fusedlstm.utils import time_series_folds
    >>> for train, validation in time_series_folds(10, folds=3, gap=1):
    ...     print(train.start, train.stop, validation.start, validation.stop)
    0 3 4 6
    0 5 6 8
    0 7 8 10
    """
    owner = "time_series_folds"
    n, folds, gap = integer(owner, "n", n, 1), integer(owner, "folds", folds, 1), integer(owner, "gap", gap, 0)
    size = n // (folds + 1) if validation_size is None else integer(owner, "validation_size", validation_size, 1)
    most = n if max_train_size is None else integer(owner, "max_train_size", max_train_size, 1)
    first = n - folds * size
    if size < 1 or first - gap < 1:
        raise ValueError(
            f"{owner}: {n} rows are too few for {folds} folds of {max(size, 1)} rows with a gap of {gap}: "
            "the first has nothing to train on"
        )
    return (
        (slice(max(start - gap - most, 0), start - gap), slice(start, start + size)) for start in range(first, n, size)
    )


def _sizes(n: int, left: Any, right: Any, gap: int) -> tuple[int, int]:
    """How many of n rows are on each side of a gap."""
    owner, available = "split_dataset", n - gap
    rows: list[int | None] = []
    for argument, size in (("left_size", left), ("right_size", right)):
        if size is None:
            rows.append(None)
            continue
        if isinstance(size, bool) or not isinstance(size, int | float | np.integer | np.floating):
            raise TypeError(f"{owner}: expected {argument} to be a number of rows or a share, got {size!r}")
        whole = isinstance(size, int | np.integer)
        if not 0 < size < (available if whole else 1):
            expected = f"a number of rows from 1 to {available - 1}" if whole else "a share between 0 and 1"
            raise ValueError(f"{owner}: expected {argument} to be {expected}, got {size!r}")
        rows.append(int(size) if whole else round(size * available))
    first, second = rows
    if first is None and second is None:
        raise ValueError(f"{owner}: expected left_size or right_size, got None for both")
    if first is None:
        first = available - (second or 0)
    if second is None:
        second = available - first
    if first < 1 or second < 1 or first + second > available:
        raise ValueError(
            f"{owner}: left_size={left!r} and right_size={right!r} make {first} and {second} rows of {n}"
            + (f" with a gap of {gap}" if gap else "")
        )
    return first, second


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    gap: int = 0,
) -> tuple[Any, Any]:
    """Data in two parts, such as one to train on and one to validate on.

    Parameters
    ----------
    dataset : array, pandas frame or series, list, tuple or dict of these, `TimeseriesDataset` or `BucketedDataset`
        Of as many rows each. Other tables are taken as arrays. An object of samples with ``__len__`` and
        ``__getitem__``, such as a ``torch.utils.data.Dataset``, is read whole.
    left_size, right_size : int or float, optional
        Rows, or a share of them; the first rows and the last ones. One may be None: all that the other leaves.
    shuffle : bool
        Split the rows in a random order.
    seed : int, optional
        Of that order; that of `set_random_seed` goes on if None.
    gap : int
        Rows between the parts that are left out: for a time series, where neighbours share steps. ``windows.overlap``
        is how many it takes for a `TimeseriesDataset`.

    Returns
    -------
    left, right
        Of the kind and structure of `dataset`. Views of it where it is not shuffled.

    Raises
    ------
    ValueError, TypeError
        For sizes that do not fit, arrays of unequal length, or a gap between shuffled rows.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.utils import split_dataset
    >>> left, right = split_dataset((np.arange(10), np.arange(10) * 2), left_size=0.7, gap=1)
    >>> left[0], right[1]
    (array([0, 1, 2, 3, 4, 5]), array([14, 16, 18]))
    """
    owner = "split_dataset"
    gap = integer(owner, "gap", gap, 0)
    if shuffle and gap:
        raise ValueError(f"{owner}: expected gap 0 with shuffle=True, whose rows have no neighbours, got {gap}")
    if hasattr(dataset, "samples") and hasattr(dataset, "part"):
        n, take = dataset.samples, dataset.part
    else:
        n, take = _rows(dataset)
    first, second = _sizes(n, left_size, right_size, gap)
    if not shuffle:
        return take(slice(0, first)), take(slice(n - second, n))
    order = (generator() if seed is None else np.random.default_rng(seed)).permutation(n)
    return take(order[:first]), take(order[n - second :])


def _rows(dataset: Any) -> tuple[int, Any]:
    """How many rows there are, and a function from their indices, or a slice, to a dataset of these."""
    owner = "split_dataset"
    if isinstance(dataset, dict):
        parts = {key: _with_rows(value) for key, value in dataset.items()}
        n, _ = _same_length(list(parts.values()))
        return n, lambda rows: {key: _taken(array, rows) for key, array in parts.items()}
    if isinstance(dataset, list | tuple):
        if not all(hasattr(item, "__array__") for item in dataset):
            kind = type(dataset).__name__
            raise TypeError(f"{owner}: expected dataset to be a {kind} of arrays, got {dataset!r:.60}")
        n, arrays = _same_length([_with_rows(item) for item in dataset])
        return n, lambda rows: type(dataset)(_taken(array, rows) for array in arrays)
    if hasattr(dataset, "__array__"):
        n, (array,) = _same_length([_with_rows(dataset)])
        return n, lambda rows: _taken(array, rows)
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        samples = [dataset[k] for k in range(len(dataset))]
        if samples and isinstance(samples[0], list | tuple):
            columns = [np.stack([np.asarray(part) for part in column]) for column in zip(*samples, strict=True)]
            return _rows(tuple(columns))
        return _rows(np.stack([np.asarray(sample) for sample in samples]))
    raise TypeError(
        f"{owner}: expected dataset to be an array, a list, tuple or dict of arrays, or samples by number, got "
        f"{type(dataset).__name__}"
    )


def _with_rows(value: Any) -> Any:
    """A pandas frame or series as it is, anything else as an array."""
    return value if hasattr(value, "iloc") else np.asarray(value)


def _taken(value: Any, rows: Any) -> Any:
    return value.iloc[rows] if hasattr(value, "iloc") else value[rows]


def _same_length(arrays: list[Any]) -> tuple[int, list[Any]]:
    if not arrays or any(array.ndim == 0 for array in arrays):
        raise ValueError("split_dataset: expected dataset to hold arrays with rows, got none")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"split_dataset: expected arrays of equal length, got {', '.join(map(str, lengths))}")
    return lengths[0], arrays

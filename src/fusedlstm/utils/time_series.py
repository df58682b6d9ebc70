"""Windows of a series as batches: `timeseries_dataset_from_array`, `TimeseriesGenerator`.

The windows are one strided view of the series. Batches in the order of time are views of that, so no step is ever
stored twice; shuffled ones copy their own windows and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from fusedlstm.random import generator, generator_state
from fusedlstm.tables import real_array
from fusedlstm.utils.numbers import integer

Array = NDArray[Any]


def _series(owner: str, argument: str, value: Any) -> Array:
    series = real_array(owner, argument, value)
    if not series.ndim:
        raise ValueError(f"{owner}: expected {argument} to have an axis of time, got a single number")
    return series


def _windows(series: Array, span: int) -> Array:
    """All windows of `span` steps as a read-only view (windows, span, ...)."""
    return np.moveaxis(sliding_window_view(series, span, axis=0), -1, 1)


class TimeseriesDataset:
    """Batches of windows; `timeseries_dataset_from_array` makes them. It can be iterated and indexed, and has a length.

    Parameters
    ----------
    windows : (N, L, ...) array
    targets : (N, ...) array, optional
    batch_size : int, optional
        None: samples, without an axis of the batch.
    shuffle : numpy Generator, optional
        Draws a new order for each pass; None: the windows stay in order.
    overlap : int

    Attributes
    ----------
    samples : int
        How many windows there are.
    overlap : int
        How many of the windows that follow one share steps with it: a gap for `split_dataset`.
    """

    def __init__(
        self,
        windows: Array,
        targets: Array | None,
        batch_size: int | None,
        shuffle: np.random.Generator | None = None,
        overlap: int = 0,
    ) -> None:
        self.windows, self.targets, self.batch_size, self.overlap = windows, targets, batch_size, overlap
        self.samples = len(windows)
        self._generator = shuffle
        self._order: Array | None = None
        self._drawn_from: Any = None  # the generator's state ahead of the order
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order of the next pass, if it is to be shuffled."""
        if self._generator is not None:
            self._drawn_from = generator_state(self._generator)
            self._order = self._generator.permutation(self.samples)

    def get_state(self) -> dict[str, Any] | None:
        """What this pass's windows are drawn from, and the next one's, as plain values; None if nothing is drawn."""
        if self._generator is None:
            return None
        return {"pass": self._drawn_from, "next": generator_state(self._generator)}

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Make the passes that were made after `get_state`."""
        if self._generator is not None and state is not None:
            self._generator.bit_generator.state = state["pass"]
            self.on_epoch_end()
            self._generator.bit_generator.state = state["next"]

    def __len__(self) -> int:
        return self.samples if self.batch_size is None else -(-self.samples // self.batch_size)

    def __getitem__(self, number: int) -> Any:
        """Batch `number`: (x, y), or x alone without targets."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"TimeseriesDataset: expected a number below {len(self)}, got {number}")
        number %= len(self)
        rows: Any = number if self.batch_size is None else slice(number * self.batch_size, None)
        if self.batch_size is not None:
            rows = slice(rows.start, min(rows.start + self.batch_size, self.samples))
        if self._order is not None:
            rows = self._order[rows]
        return self.windows[rows] if self.targets is None else (self.windows[rows], self.targets[rows])

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            yield self[number]
        self.on_epoch_end()

    def part(self, rows: Any) -> TimeseriesDataset:
        """A dataset of these windows: a slice, or their numbers."""
        targets = None if self.targets is None else self.targets[rows]
        shuffle = self._generator and np.random.default_rng(self._generator.integers(1 << 63))
        return TimeseriesDataset(self.windows[rows], targets, self.batch_size, shuffle, self.overlap)


def timeseries_dataset_from_array(
    data: ArrayLike,
    targets: ArrayLike | None,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> TimeseriesDataset:
    """Batches of the windows of a series, for `fit`, `evaluate` and `predict`.

    Window i has the steps ``start_index + i * sequence_stride + k * sampling_rate`` for k = 0 ... sequence_length - 1.

    Parameters
    ----------
    data : (N, ...) array
        The series, time first. In the model's dtype it is never copied.
    targets : (M, ...) array, optional
        ``targets[j]`` belongs to the window that starts at step j.
    sequence_length : int
        Steps of a window.
    sequence_stride : int
        Steps from one window to the next.
    sampling_rate : int
        Steps from one step of a window to its next.
    batch_size : int, optional
        None: windows one by one, without an axis of the batch.
    shuffle : bool
        Draw a new order of the windows for each pass.
    seed : int, optional
        Of the orders; that of `set_random_seed` goes on if None.
    start_index, end_index : int, optional
        Only steps from here on, and before there, are in windows.

    Returns
    -------
    TimeseriesDataset

    Raises
    ------
    ValueError, TypeError
        For numbers out of range, data that are no numbers, or a series that is too short for a window.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.utils import timeseries_dataset_from_array
    >>> series = np.arange(100.0)
    >>> windows = timeseries_dataset_from_array(series[:-3], series[3:], sequence_length=3, batch_size=2)
    >>> windows[0]
    (array([[0., 1., 2.],
           [1., 2., 3.]]), array([3., 4.]))
    """
    owner = "timeseries_dataset_from_array"
    series = _series(owner, "data", data)
    n = len(series)
    length = integer(owner, "sequence_length", sequence_length, 1)
    stride = integer(owner, "sequence_stride", sequence_stride, 1)
    rate = integer(owner, "sampling_rate", sampling_rate, 1)
    size = None if batch_size is None else integer(owner, "batch_size", batch_size, 1)
    start = 0 if start_index is None else integer(owner, "start_index", start_index, 0, n)
    end = n if end_index is None else integer(owner, "end_index", end_index, start, n)
    span = (length - 1) * rate + 1
    answers = None if targets is None else _series(owner, "targets", targets)[start:]
    count = end - start - span + 1
    if answers is not None:
        count = min(count, len(answers))
    if count < 1:
        raise ValueError(
            f"{owner}: expected data and targets for at least one window of {span} steps, got {end - start} steps"
            + ("" if answers is None else f" and {len(answers)} targets from the first of them on")
        )
    windows = _windows(series[start:end], span)[:count:stride, ::rate]
    if answers is not None:
        answers = answers[:count:stride]
    order = (generator() if seed is None else np.random.default_rng(seed)) if shuffle else None
    return TimeseriesDataset(windows, answers, size, order, (span - 1) // stride)


class TimeseriesGenerator:
    """Batches of the windows that end right ahead of a step, and the targets of these steps.

    The window of step i has the steps ``i - length, i - length + sampling_rate ...`` before i.

    Parameters
    ----------
    data, targets : (N, ...) array
        Time first, of the same length.
    length : int
        Steps that a window spans.
    sampling_rate : int
        Steps from one step of a window to its next.
    stride : int
        Steps from one window to the next.
    start_index, end_index : int
        Only steps from here on, up to and with the latter, are used; the last one if None.
    shuffle : bool
        Every batch has `batch_size` windows at random, drawn anew each time.
    reverse : bool
        The last step of a window comes first.
    batch_size : int
    workers, use_multiprocessing, max_queue_size
        Accepted as in Keras, without effect.

    Raises
    ------
    ValueError, TypeError
        For numbers out of range, data that are no numbers, of unequal lengths, or too short for a window.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.preprocessing.sequence import TimeseriesGenerator
    >>> series = np.arange(10)
    >>> x, y = TimeseriesGenerator(series, series, length=3, batch_size=2)[0]
    >>> x, y
    (array([[0, 1, 2],
           [1, 2, 3]]), array([3, 4]))
    """

    def __init__(
        self,
        data: ArrayLike,
        targets: ArrayLike,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        owner = "TimeseriesGenerator"
        self.data, self.targets = _series(owner, "data", data), _series(owner, "targets", targets)
        n = len(self.data)
        if len(self.targets) != n:
            raise ValueError(f"{owner}: expected as many targets as steps, got {len(self.targets)} and {n}")
        self.length = integer(owner, "length", length, 1)
        self.sampling_rate = integer(owner, "sampling_rate", sampling_rate, 1)
        self.stride = integer(owner, "stride", stride, 1)
        self.batch_size = integer(owner, "batch_size", batch_size, 1)
        self.start_index = integer(owner, "start_index", start_index, 0) + self.length
        self.end_index = n - 1 if end_index is None else integer(owner, "end_index", end_index, 0, n - 1)
        if self.start_index > self.end_index:
            raise ValueError(
                f"{owner}: expected steps after the first window, got start_index + length {self.start_index} and "
                f"end_index {self.end_index}"
            )
        self.shuffle, self.reverse = bool(shuffle), bool(reverse)
        self._generator = generator()
        windows = _windows(self.data, self.length)[:, :: self.sampling_rate]
        self._windows = windows[:, ::-1] if self.reverse else windows

    def get_state(self) -> dict[str, Any] | None:
        """What the next windows are drawn from, as plain values; None if they are not."""
        return generator_state(self._generator) if self.shuffle else None

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Draw what was drawn after `get_state`."""
        if self.shuffle and state is not None:
            self._generator.bit_generator.state = state

    def __len__(self) -> int:
        per_batch = self.batch_size * self.stride
        return -(-(self.end_index + 1 - self.start_index) // per_batch)

    def __getitem__(self, number: int) -> tuple[Array, Array]:
        """Batch `number`: (x, y)."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"TimeseriesGenerator: expected a number below {len(self)}, got {number}")
        if self.shuffle:
            rows = self._generator.integers(self.start_index, self.end_index + 1, size=self.batch_size)
            return self._windows[rows - self.length], self.targets[rows]
        first = self.start_index + number % len(self) * self.batch_size * self.stride
        end = min(first + self.batch_size * self.stride, self.end_index + 1)
        x = self._windows[first - self.length : end - self.length : self.stride]
        return x, self.targets[first : end : self.stride]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self[number] for number in range(len(self)))

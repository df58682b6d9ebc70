"""The batches that `fit`, `evaluate` and `predict` see: cut from arrays, or as they come from an iterable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.layers.base import Array
from fusedlstm.random import generator_state, is_resumable


class Batch(NamedTuple):
    """One step's data."""

    x: list[Array]  # one per input of the model
    y: list[Any] | None  # one per output, None for one that is not judged
    weight: list[Any] | None  # one per output, or None: per row, or per row and time step

    @property
    def rows(self) -> int:
        """How many samples it holds."""
        return len(self.x[0])


def _each(arrays: list[Any] | None, take: Callable[[Array], Array]) -> list[Any] | None:
    return None if arrays is None else [None if array is None else take(array) for array in arrays]


class Arrays:
    """Batches cut from arrays in memory.

    Parameters
    ----------
    data : Batch
        Of all rows.
    batch_size : int
    generator : numpy Generator, optional
        Shuffles the rows anew for every pass; None: they stay in order.
    """

    def __init__(self, data: Batch, batch_size: int, generator: np.random.Generator | None = None) -> None:
        self.data = data
        self.batch_size = batch_size
        self.generator = generator
        self.rows = data.rows

    @property
    def steps(self) -> int | None:
        """Batches in a pass, None if not known."""
        return -(-self.rows // self.batch_size)

    def get_state(self) -> Any:
        """What the order of the next pass is drawn from, as plain values; None if it is not drawn."""
        return None if self.generator is None else generator_state(self.generator)

    def set_state(self, state: Any) -> None:
        """Draw from here on what was drawn after `get_state`."""
        if self.generator is not None:
            self.generator.bit_generator.state = state

    def sample(self) -> Batch:
        """The first row, as a batch."""
        return self._cut(slice(0, 1))

    def split(self, share: float) -> tuple[Arrays, Arrays]:
        """All but the last rows, and the last rows, in their original order."""
        at = int(np.floor(self.rows * (1 - share)))
        return (
            Arrays(self._cut(slice(0, at)), self.batch_size, self.generator),
            Arrays(self._cut(slice(at, None)), self.batch_size),
        )

    def _cut(self, rows: slice) -> Batch:
        x, y, weight = self.data
        return Batch([a[rows] for a in x], _each(y, lambda a: a[rows]), _each(weight, lambda a: a[rows]))

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size
        if self.generator is None:
            for start in range(0, self.rows, size):
                yield self._cut(slice(start, start + size))
            return
        order = self.generator.permutation(self.rows)
        x, y, weight = self.data
        # `take` is the faster one, but copies the whole of an array that is not contiguous: windows, a data frame.
        if len(x) == 1 and y is not None and len(y) == 1 and y[0] is not None and weight is None:
            first, target = x[0], y[0]
            if first.flags.c_contiguous and target.flags.c_contiguous:
                for start in range(0, self.rows, size):  # nearly every model, without the calls
                    rows = order[start : start + size]
                    yield Batch([first.take(rows, 0)], [target.take(rows, 0)], None)
                return
        for start in range(0, self.rows, size):
            rows = order[start : start + size]

            def take(array: Array, rows: Array = rows) -> Array:
                return array.take(rows, 0) if array.flags.c_contiguous else np.ascontiguousarray(array[rows])

            yield Batch([take(a) for a in x], _each(y, take), _each(weight, take))


class Stream:
    """Batches from a generator, or from an object that can be iterated or indexed again and again.

    Parameters
    ----------
    data : iterable
        Of x, (x,), (x, y) or (x, y, sample_weight). If it has `get_state` and `set_state`, which give and take plain
        values, it goes on drawing where it was.
    check : function
        (x, y, sample_weight) -> Batch.
    """

    def __init__(self, data: Any, check: Callable[[Any, Any, Any], Batch]) -> None:
        self.data = data
        self.check = check

    @property
    def steps(self) -> int | None:
        """Batches in a pass, None if not known."""
        try:
            return len(self.data)
        except TypeError:  # it has none, or wraps what has none
            return None

    def get_state(self) -> Any:
        """What the data draw from, as plain values; None if they do not tell."""
        return self.data.get_state() if is_resumable(self.data) else None

    def set_state(self, state: Any) -> None:
        """Let the data draw what they drew after `get_state`."""
        if is_resumable(self.data):
            self.data.set_state(state)

    def __iter__(self) -> Iterator[Batch]:
        data = self.data
        if hasattr(data, "on_epoch_begin"):
            data.on_epoch_begin()
        items: Iterable[Any]
        if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            items = (data[k] for k in range(len(data)))
        else:
            items = data
        for item in items:
            parts = tuple(item) if isinstance(item, tuple | list) else (item,)
            yield self.check(*(parts + (None, None))[:3])
        if hasattr(data, "on_epoch_end"):
            data.on_epoch_end()


class Passes:
    """Batches epoch by epoch: each a whole pass over the source, or `steps` batches that go on where the last ended.

    Parameters
    ----------
    source : Arrays or Stream
    steps : int, optional
        Batches in an epoch.
    beside : Arrays or Stream, optional
        What is validated on between epochs: where it is, is part of the position.
    """

    def __init__(
        self, source: Arrays | Stream, steps: int | None = None, beside: Arrays | Stream | None = None
    ) -> None:
        self.source = source
        self.beside = beside
        self.steps = steps if steps is not None else source.steps
        self._whole = steps is None
        self._going: Iterator[Batch] | None = None
        self._order: Any = None  # the state of the source ahead of the pass that is going
        self._taken = 0  # batches of that pass

    def epoch(self, done: int = 0) -> Iterator[Batch]:
        """The batches of the next epoch, but for the `done` ones that were ahead of the position in `resume`.

        They are fewer than `steps` only if a source ended that cannot start again.
        """
        if self._whole or self.steps is None:
            if not done:
                self._start()
            for following in self._going or ():
                self._taken += 1
                yield following
            self._going = None
            return
        for _ in range(done, self.steps):
            batch = None if self._going is None else self._next()
            if batch is None:
                self._start()
                batch = self._next()
                if batch is None:
                    return
            yield batch

    def position(self) -> dict[str, Any]:
        """Where in the data the next batch is, as plain values for `resume`."""
        beside = None if self.beside is None else self.beside.get_state()
        if self._going is None:
            return {"order": self.source.get_state(), "taken": 0, "beside": beside}
        return {"order": self._order, "taken": self._taken, "beside": beside}

    def resume(self, position: Mapping[str, Any]) -> Batch | None:
        """Go on from a position; the batches taken ahead of it are drawn again. Returns the last of them, if any."""
        if self.beside is not None and position.get("beside") is not None:  # first, as it may be of the same data
            self.beside.set_state(position["beside"])
        if position["order"] is not None:
            self.source.set_state(position["order"])
        self._going, last = None, None
        if position["taken"]:
            self._start()
            while self._taken < position["taken"] and (batch := self._next()) is not None:
                last = batch
        return last

    def _start(self) -> None:
        self._order, self._taken = self.source.get_state(), 0
        self._going = iter(self.source)

    def _next(self) -> Batch | None:
        assert self._going is not None
        batch = next(self._going, None)
        if batch is None:
            self._going = None
        else:
            self._taken += 1
        return batch

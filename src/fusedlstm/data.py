"""What `fit`, `evaluate` and `predict` take, checked and cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.layers.base import Array, real_array, show_shape


class Batch(NamedTuple):
    """One step's data."""

    x: list[Array]  # one per input of the model
    y: Array | None
    weight: Array | None  # per row, or per row and time step


class Spec(NamedTuple):
    """What a model takes and gives; shapes have the batch axis, None is a size that varies or is not known yet."""

    owner: str
    input_shape: tuple[int | None, ...] | None
    input_dtype: np.dtype[Any]
    output_dtype: np.dtype[Any]


def is_iterable_of_batches(x: Any) -> bool:
    """Whether `x` is a generator, a loader or the like rather than an array or what becomes one."""
    if isinstance(x, np.ndarray | list | tuple | dict | str | bytes) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def check_x(spec: Spec, x: Any) -> list[Array]:
    """The inputs as a list of arrays of the model's dtype, or an error that names the model and `x`."""
    if x is None:
        raise ValueError(f"{spec.owner}: expected x to be an array, got None")
    if isinstance(x, dict):
        raise TypeError(f"{spec.owner}: expected x to be one array, got a dict")
    if isinstance(x, list | tuple) and x and all(isinstance(item, np.ndarray) for item in x) and x[0].ndim:
        if len(x) != 1:
            raise ValueError(f"{spec.owner}: expected x to be one array, got {len(x)} arrays")
        x = x[0]
    array = real_array(spec.owner, "x", x)
    if array.ndim == 0:
        raise ValueError(f"{spec.owner}: expected x to have a batch axis, got a single number")
    shape = spec.input_shape
    if shape is not None:
        if array.ndim == len(shape) - 1 and shape[-1] == 1:
            array = array[..., None]  # one feature a step, as Keras takes it
        if array.ndim != len(shape) or any(
            n is not None and n != size for n, size in zip(shape[1:], array.shape[1:], strict=True)
        ):
            sizes = ", ".join(["batch", *("any" if n is None else str(n) for n in shape[1:])])
            raise ValueError(f"{spec.owner}: expected x ({sizes}), got {show_shape(array.shape)}")
    return [array.astype(spec.input_dtype, copy=False)]


def check_y(spec: Spec, y: Any, rows: int) -> Array:
    """The targets: floats in the model's dtype, integers as they are."""
    if isinstance(y, list | tuple) and len(y) == 1 and isinstance(y[0], np.ndarray) and y[0].ndim:
        y = y[0]
    array = _check_rows(spec, "y", y, rows)
    return array.astype(spec.output_dtype, copy=False) if array.dtype.kind == "f" else array


def check_weight(spec: Spec, weight: Any, rows: int) -> Array | None:
    """The sample weights in the model's dtype: one per row, or per row and time step."""
    if weight is None:
        return None
    array = _check_rows(spec, "sample_weight", weight, rows)
    if array.ndim > 2:
        raise ValueError(
            f"{spec.owner}: expected sample_weight ({rows},) or ({rows}, steps), got {show_shape(array.shape)}"
        )
    return array.astype(spec.output_dtype, copy=False)


def _check_rows(spec: Spec, argument: str, value: Any, rows: int) -> Array:
    array = real_array(spec.owner, argument, value)
    if array.ndim == 0:
        raise ValueError(f"{spec.owner}: expected {argument} to have a batch axis, got a single number")
    if len(array) != rows:
        raise ValueError(f"{spec.owner}: expected {argument} to have {rows} rows, as x has, got {len(array)}")
    return array


def class_weights(spec: Spec, y: Array, class_weight: Any) -> Array:
    """Each row's weight by its class: integers (B,) or (B,1), or one-hot rows (B,C); a class without one weighs 1."""
    if not isinstance(class_weight, dict):
        raise TypeError(f"{spec.owner}: expected class_weight to be a dict, got {type(class_weight).__name__}")
    for key, value in class_weight.items():
        if (
            isinstance(key, bool)
            or not isinstance(key, int | np.integer)
            or not isinstance(value, int | float | np.number)
        ):
            raise TypeError(f"{spec.owner}: expected class_weight to map classes to numbers, got {key!r}: {value!r}")
    if y.ndim > 2:
        raise ValueError(f"{spec.owner}: expected y of rank 1 or 2 with class_weight, got {show_shape(y.shape)}")
    classes = np.rint(y.reshape(len(y)) if y.ndim == 1 or y.shape[1] == 1 else y.argmax(axis=1))
    weight = np.ones(len(y), spec.output_dtype)
    for key, value in class_weight.items():
        weight[classes == key] = value
    return weight


def combine(spec: Spec, y: Any, sample_weight: Any, class_weight: Any, rows: int) -> tuple[Array | None, Array | None]:
    """Targets and weights, of which there may be `sample_weight` or `class_weight`, not both."""
    targets = None if y is None else check_y(spec, y, rows)
    weight = check_weight(spec, sample_weight, rows)
    if class_weight is not None:
        if weight is not None:
            raise ValueError(f"{spec.owner}: expected sample_weight or class_weight, got both")
        if targets is None:
            raise ValueError(f"{spec.owner}: expected y along with class_weight, got None")
        weight = class_weights(spec, targets, class_weight)
    return targets, weight


class Arrays:
    """Batches cut from arrays in memory.

    Parameters
    ----------
    x : list of arrays
    y, weight : array or None
    batch_size : int
    generator : numpy Generator, optional
        Shuffles the rows anew for every pass; None: they stay in order.
    """

    def __init__(
        self,
        x: list[Array],
        y: Array | None,
        weight: Array | None,
        batch_size: int,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.x, self.y, self.weight = x, y, weight
        self.batch_size = batch_size
        self.generator = generator
        self.rows = len(x[0])

    @property
    def steps(self) -> int | None:
        """Batches in a pass, None if not known."""
        return -(-self.rows // self.batch_size)

    def sample(self) -> Batch:
        """The first row, as a batch."""
        return self._cut(slice(0, 1))

    def split(self, share: float) -> tuple[Arrays, Arrays]:
        """All but the last rows, and the last rows, in their original order."""
        at = int(np.floor(self.rows * (1 - share)))
        parts = []
        for rows, generator in ((slice(0, at), self.generator), (slice(at, None), None)):
            batch = self._cut(rows)
            parts.append(Arrays(batch.x, batch.y, batch.weight, self.batch_size, generator))
        return parts[0], parts[1]

    def _cut(self, rows: slice) -> Batch:
        y, weight = self.y, self.weight
        return Batch(
            [x[rows] for x in self.x], None if y is None else y[rows], None if weight is None else weight[rows]
        )

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size
        if self.generator is None:
            for start in range(0, self.rows, size):
                yield self._cut(slice(start, start + size))
            return
        order = self.generator.permutation(self.rows)
        y, weight = self.y, self.weight
        for start in range(0, self.rows, size):
            rows = order[start : start + size]
            yield Batch(
                [x.take(rows, axis=0) for x in self.x],
                None if y is None else y.take(rows, axis=0),
                None if weight is None else weight.take(rows, axis=0),
            )


class Stream:
    """Batches from a generator, or from an object that can be iterated or indexed again and again.

    Parameters
    ----------
    data : iterable
        Of x, (x,), (x, y) or (x, y, sample_weight).
    check : function
        (x, y, sample_weight) -> Batch.
    """

    def __init__(self, data: Any, check: Callable[[Any, Any, Any], Batch]) -> None:
        self.data = data
        self.check = check

    @property
    def steps(self) -> int | None:
        """Batches in a pass, None if not known."""
        return len(self.data) if hasattr(self.data, "__len__") else None

    def __iter__(self) -> Iterator[Batch]:
        data = self.data
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
    """

    def __init__(self, source: Arrays | Stream, steps: int | None = None) -> None:
        self.source = source
        self.steps = steps if steps is not None else source.steps
        self._whole = steps is None
        self._going: Iterator[Batch] | None = None

    def epoch(self) -> Iterator[Batch]:
        """The batches of the next epoch; fewer than `steps` only if a source ended that cannot start again."""
        if self._whole or self.steps is None:
            yield from self.source
            return
        for _ in range(self.steps):
            batch = None if self._going is None else next(self._going, None)
            if batch is None:
                self._going = iter(self.source)
                batch = next(self._going, None)
                if batch is None:
                    return
            yield batch

"""Ragged data in batches of similar lengths: `bucket_by_length`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.random import generator, generator_state
from fusedlstm.utils.arrays import pad_sequences

Array = NDArray[Any]

_BLUR = 0.1  # sequences as much longer or shorter are taken for as long, so that batches differ from pass to pass


class BucketedDataset:
    """Batches of sequences of similar lengths; `bucket_by_length` makes them. Iterated, indexed, of known length.

    Attributes
    ----------
    samples : int
        How many sequences there are.
    """

    def __init__(
        self,
        x: list[Array],
        y: Any,
        weight: Any,
        per_step: bool,
        batch_size: int,
        boundaries: list[int] | None,
        generator: np.random.Generator | None,
        value: float,
        target_value: float,
        padding: str,
        drop_remainder: bool,
    ) -> None:
        self._x, self._y, self._weight, self._per_step = x, y, weight, per_step
        self.batch_size, self._generator, self._drop = batch_size, generator, drop_remainder
        self._value, self._target_value, self._padding = value, target_value, padding
        self.samples = len(x)
        self._lengths = np.array([len(sequence) for sequence in x])
        self._boundaries = boundaries
        self._buckets: list[Array] | None = None
        self._drawn_from: Any = None  # the generator's state ahead of the batches
        if boundaries is not None:
            bucket = np.searchsorted(boundaries, self._lengths, side="right")
            order = np.argsort(bucket, kind="stable")
            self._buckets = np.split(order, np.searchsorted(bucket[order], np.arange(1, len(boundaries) + 1)))
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Make the batches of the next pass: anew, if they are to be shuffled."""
        draw, size = self._generator, self.batch_size
        if draw is not None:
            self._drawn_from = generator_state(draw)
        if self._buckets is None:
            blurred = self._lengths * (1 if draw is None else draw.uniform(1 - _BLUR, 1 + _BLUR, self.samples))
            parts = [np.argsort(blurred, kind="stable")]
        else:
            parts = [bucket if draw is None else draw.permutation(bucket) for bucket in self._buckets]
        batches = [part[at : at + size] for part in parts for at in range(0, len(part), size)]
        if self._drop:
            batches = [batch for batch in batches if len(batch) == size]
        if draw is not None:
            batches = [batches[k] for k in draw.permutation(len(batches))]
        self._batches = batches

    def get_state(self) -> dict[str, Any] | None:
        """What this pass's batches are drawn from, and the next one's, as plain values; None if nothing is drawn."""
        if self._generator is None:
            return None
        return {"pass": self._drawn_from, "next": generator_state(self._generator)}

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Make the passes that were made after `get_state`."""
        if self._generator is not None and state is not None:
            self._generator.bit_generator.state = state["pass"]
            self.on_epoch_end()
            self._generator.bit_generator.state = state["next"]

    @property
    def padded_share(self) -> float:
        """Which share of the steps of this pass's batches is padding."""
        used = sum(int(self._lengths[rows].sum()) for rows in self._batches)
        total = sum(len(rows) * int(self._lengths[rows].max()) for rows in self._batches)
        return 1 - used / total if total else 0.0

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Any:
        """Batch `number`: x, (x, y) or (x, y, sample_weight)."""
        rows = self._batches[number]
        x = self._padded(self._x, rows, self._value)
        if self._y is None:
            return x
        y = self._padded(self._y, rows, self._target_value) if self._per_step else self._y[rows]
        if self._per_step:
            valid = np.arange(x.shape[1]) < self._lengths[rows][:, None]
            weight = (valid if self._padding == "post" else valid[:, ::-1]).astype(np.float32)
            return x, y, weight if self._weight is None else weight * self._weight[rows][:, None]
        return (x, y) if self._weight is None else (x, y, self._weight[rows])

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            yield self[number]
        self.on_epoch_end()

    def part(self, rows: Any) -> BucketedDataset:
        """A dataset of these sequences: a slice, or their numbers."""
        numbers = np.arange(self.samples)[rows]
        y = [self._y[k] for k in numbers] if self._per_step else None if self._y is None else self._y[rows]
        draw = self._generator and np.random.default_rng(self._generator.integers(1 << 63))
        return BucketedDataset(
            [self._x[k] for k in numbers],
            y,
            None if self._weight is None else self._weight[rows],
            self._per_step,
            self.batch_size,
            self._boundaries,
            draw,
            self._value,
            self._target_value,
            self._padding,
            self._drop,
        )

    def _padded(self, sequences: list[Array], rows: Array, value: float) -> Array:
        chosen = [sequences[row] for row in rows]
        return pad_sequences(chosen, dtype=chosen[0].dtype, padding=self._padding, value=value)


def bucket_by_length(
    sequences: Sequence[Any],
    targets: Any = None,
    sample_weight: Any = None,
    batch_size: int = 32,
    boundaries: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    value: float = 0,
    target_value: float = 0,
    padding: str = "post",
    drop_remainder: bool = False,
) -> BucketedDataset:
    """Batches for `fit`, `evaluate` and `predict` of sequences of similar lengths, padded to their own longest.

    Parameters
    ----------
    sequences : sequence of (T_i, ...) arrays
        Of numbers, each of its own length.
    targets : array or sequence of (T_i, ...) arrays, optional
        One for each sequence, or for each step of each.
    sample_weight : (N,) array, optional
    batch_size : int
    boundaries : sequence of int, optional
        Rising lengths at which a bucket ends and the next, which has this length, begins; a batch is from one bucket.
        None: a batch is of neighbours in the order of lengths, which are blurred by a tenth for each pass.
    shuffle : bool
        New batches in a new order for each pass. Else the same, the shortest first.
    seed : int, optional
        Of these orders; that of `set_random_seed` goes on if None.
    value, target_value : float
        What sequences, and targets of steps, are filled up with. 0 goes with ``Embedding(mask_zero=True)``; of features
        ``Masking(value)`` tells the steps that are no data.
    padding : {"post", "pre"}
        Whether to fill up at the end or at the beginning.
    drop_remainder : bool
        Leave out batches of fewer than `batch_size` sequences.

    Returns
    -------
    BucketedDataset
        Of x, (x, y), or, with targets of steps or `sample_weight`, (x, y, sample_weight): for targets of steps the
        weights (B,T) are 0 where there is none, so that they do not count, with a mask or without. Floats are float32
        unless float64 was given.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> from fusedlstm.utils import bucket_by_length
    >>> ragged = [[1, 2, 3], [4], [5, 6, 7], [8]]
    >>> for x, y in bucket_by_length(ragged, [0, 1, 0, 1], batch_size=2, boundaries=[2], shuffle=False):
    ...     print(x.tolist(), y)
    [[4], [8]] [1 1]
    [[1, 2, 3], [5, 6, 7]] [0 0]
    """
    owner = "bucket_by_length"
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"{owner}: expected batch_size to be a positive integer, got {batch_size!r}")
    if padding not in ("pre", "post"):
        raise ValueError(f"{owner}: expected padding to be 'pre' or 'post', got {padding!r}")
    x = _arrays(owner, "sequences", sequences)
    y, per_step = _targets(owner, targets, x)
    weight = None
    if sample_weight is not None:
        if y is None:
            raise ValueError(f"{owner}: expected targets along with sample_weight, got None")
        weight = np.asarray(sample_weight)
        if weight.shape != (len(x),) or weight.dtype.kind not in "fiub":
            raise ValueError(f"{owner}: expected sample_weight to be {len(x)} numbers, got shape {weight.shape}")
    edges = None
    if boundaries is not None:
        edges = [int(edge) for edge in boundaries]
        if edges != sorted(set(edges)) or edges != list(boundaries) or any(edge < 1 for edge in edges):
            raise ValueError(f"{owner}: expected boundaries to be rising positive integers, got {boundaries!r}")
    draw = (generator() if seed is None else np.random.default_rng(seed)) if shuffle else None
    return BucketedDataset(
        x, y, weight, per_step, int(batch_size), edges, draw, value, target_value, padding, bool(drop_remainder)
    )


def _arrays(owner: str, argument: str, sequences: Any) -> list[Array]:
    """The sequences as arrays of one dtype and one shape of a step."""
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError(f"{owner}: expected {argument} to have at least one sequence, got none")
    for number, array in enumerate(arrays):
        if not array.ndim:
            raise ValueError(f"{owner}: expected {argument} to be a list of sequences, got a number at {number}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{owner}: expected {argument} of numbers, got dtype {array.dtype} at {number}")
        if not len(array):
            raise ValueError(f"{owner}: expected {argument} of at least one step, got none at {number}")
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"{owner}: expected {argument} with steps of one shape, got {', '.join(map(str, shapes))}")
    dtype = np.result_type(*{array.dtype for array in arrays})
    if dtype == np.float64 and not any(isinstance(sequence, np.ndarray) for sequence in sequences):
        dtype = np.dtype(np.float32)  # Python's floats
    return [array.astype(dtype, copy=False) for array in arrays]


def _targets(owner: str, targets: Any, x: list[Array]) -> tuple[Any, bool]:
    """The targets, as one array or as arrays of steps, and whether they are the latter."""
    if targets is None:
        return None, False
    if len(targets) != len(x):
        raise ValueError(f"{owner}: expected as many targets as sequences, got {len(targets)} and {len(x)}")
    if isinstance(targets, list | tuple) and any(np.ndim(target) for target in targets):
        parts = [np.asarray(target) for target in targets]
        if all(part.ndim and len(part) == len(sequence) for part, sequence in zip(parts, x, strict=True)) and (
            len({len(sequence) for sequence in x}) > 1
        ):
            return _arrays(owner, "targets", targets), True
        if len({part.shape for part in parts}) > 1:
            number = next(k for k, (part, s) in enumerate(zip(parts, x, strict=True)) if part.shape[:1] != s.shape[:1])
            raise ValueError(
                f"{owner}: expected a target for each step of sequence {number}, {len(x[number])}, or targets of one "
                f"shape, got shape {parts[number].shape}"
            )
    return np.asarray(targets), False

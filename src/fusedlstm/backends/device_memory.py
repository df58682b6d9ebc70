"""Numbers on the device: memory that is used again, arrays of any strides in it, and what goes to the host and back."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fusedlstm.backends import cuda_api
from fusedlstm.backends.cuda_api import CudaError

#: Those that kernels compute with.
DTYPES = frozenset(np.dtype(c) for c in "?bBhHiIlLqQfd")


class Transfers:
    """How often data went between host and device, by reason: a step of training should need few."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, reason: str) -> None:
        self.counts[reason] += 1

    def clear(self) -> None:
        self.counts.clear()

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """A Counter of the transfers inside of the block; complete at its end."""
        before, inside = self.counts.copy(), Counter[str]()
        try:
            yield inside
        finally:
            inside.update(self.counts - before)


transfers = Transfers()


class Chunk:
    """Memory of its own, and the typed views on it that were asked for."""

    def __init__(self, memory: Any, address: int, nbytes: int) -> None:
        self.memory, self.address, self.nbytes = memory, address, nbytes
        self._flat: dict[np.dtype[Any], Any] = {}

    def flat(self, dtype: np.dtype[Any]) -> Any:
        array = self._flat.get(dtype)
        if array is None:
            count = self.nbytes // dtype.itemsize
            array = cuda_api.view(self.memory, self.address, dtype, (count,), (dtype.itemsize,))
            self._flat[dtype] = array
        return array


class Block:
    """A chunk in use: when the last array that has it goes, the chunk may be used again.

    Work runs in order on one stream, so what was launched before sees the old contents.
    """

    __slots__ = ("chunk", "free", "owner")

    def __init__(self, chunk: Chunk, free: list[Chunk] | None, owner: Any = None) -> None:
        self.chunk, self.free, self.owner = chunk, free, owner

    def __del__(self) -> None:
        free = getattr(self, "free", None)
        if free is not None:
            free.append(self.chunk)


class Pool:
    """Chunks by size. A step that is like the one before takes what that one gave back: nothing is allocated."""

    def __init__(self) -> None:
        self._free: dict[int, list[Chunk]] = {}
        self.allocations = 0  # so far
        self.nbytes = 0  # held, in use or free

    def take(self, nbytes: int) -> Block:
        """At least `nbytes` bytes.

        Raises
        ------
        CudaError
            If there is no memory left, even after the free chunks are given back.
        """
        # Sizes of two leading bits and a half: a quarter is wasted at most, and there are few different ones.
        step = 1 << max(nbytes.bit_length() - 3, 9)
        size = -(-max(nbytes, 1) // step) * step
        free = self._free.setdefault(size, [])
        try:
            return Block(free.pop(), free)
        except IndexError:
            return Block(self._allocate(size), free)

    def _allocate(self, size: int) -> Chunk:
        try:
            memory = cuda_api.allocate(size)
        except MemoryError:
            gc.collect()
            self.release()
            try:
                memory = cuda_api.allocate(size)
            except MemoryError:
                raise CudaError(
                    f"out of device memory: {size} bytes more were needed beside {self.nbytes} in use; the operation "
                    "was not begun: use a smaller batch_size or shorter sequences, or free other programs' memory"
                ) from None
        self.allocations += 1
        self.nbytes += size
        return Chunk(memory, cuda_api.pointer(memory), size)

    def release(self) -> None:
        """Give the free chunks back to the device."""
        for size, free in self._free.items():
            while free:
                free.pop()
                self.nbytes -= size


pool = Pool()


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """In elements, of an array in C order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class Strided:
    """Numbers in a block of device memory, from an offset on; both and the strides `steps` count elements.

    Classes made of it compute; those below them, which make the results, know nothing but this.
    """

    __slots__ = ("_numba", "block", "dtype", "offset", "shape", "steps", "writeable")

    def __init__(
        self, block: Block, dtype: np.dtype[Any], shape: tuple[int, ...], steps: tuple[int, ...], offset: int = 0
    ) -> None:
        self.block, self.dtype, self.shape, self.steps, self.offset = block, dtype, shape, steps, offset
        self.writeable = True
        self._numba: Any = None

    @classmethod
    def new(cls, shape: Sequence[int], dtype: DTypeLike) -> Any:
        """An array in C order whose numbers are any.

        Raises
        ------
        CudaError
            If there is no device, or no memory left on it.
        TypeError
            If kernels do not compute with the dtype.
        """
        dtype = np.dtype(dtype)
        if dtype not in DTYPES:
            raise TypeError(f"device array: expected a dtype of bool, integers, float32 or float64, got {dtype}")
        shape = tuple(int(n) for n in shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"device array: expected a shape without negative sizes, got {shape}")
        return cls(pool.take(math.prod(shape) * dtype.itemsize), dtype, shape, c_strides(shape))

    def seen_as(self, shape: Sequence[int], steps: Sequence[int], offset: int | None = None) -> Any:
        """A view of the same numbers."""
        view = type(self)(self.block, self.dtype, tuple(shape), tuple(steps), self.offset if offset is None else offset)
        view.writeable = self.writeable
        return view

    @property
    def flat_memory(self) -> Any:
        """All numbers of the block, for kernels that are told offset and strides."""
        return self.block.chunk.flat(self.dtype)

    @property
    def address(self) -> int:
        """Of the first number."""
        return self.block.chunk.address + self.offset * self.dtype.itemsize

    @property
    def numba(self) -> Any:
        """The array as kernels take it that index it by themselves."""
        if self._numba is None:
            self._numba = cuda_api.view(self.block.chunk.memory, self.address, self.dtype, self.shape, self.strides)
        return self._numba

    @property
    def strides(self) -> tuple[int, ...]:
        """In bytes, as NumPy's."""
        return tuple(step * self.dtype.itemsize for step in self.steps)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the numbers stand in C order without gaps."""
        expected = 1
        for n, step in zip(reversed(self.shape), reversed(self.steps), strict=True):
            if n == 0:
                return True
            if n != 1 and step != expected:
                return False
            expected *= n
        return True

    def span(self) -> tuple[int, int]:
        """The first address and the one behind the last."""
        low = sum(min(step * (n - 1), 0) for n, step in zip(self.shape, self.steps, strict=True))
        high = sum(max(step * (n - 1), 0) for n, step in zip(self.shape, self.steps, strict=True))
        if not self.size:
            return self.address, self.address
        return self.address + low * self.dtype.itemsize, self.address + (high + 1) * self.dtype.itemsize


def overlap(a: Strided, b: Strided) -> bool:
    """Whether they may have numbers in common: whether the stretches of memory do in which they lie."""
    (low, high), (other_low, other_high) = a.span(), b.span()
    return low < other_high and other_low < high


def upload(target: Strided, array: NDArray[Any], reason: str = "to_device") -> None:
    """Copy a host array into a contiguous one of the same shape and dtype."""
    transfers.count(reason)
    if array.size:
        _in_one_row(target).copy_to_device(np.ascontiguousarray(array).reshape(-1))


def download(source: Strided, reason: str = "to_host") -> NDArray[Any]:
    """A contiguous array as a host array; waits for what was launched."""
    transfers.count(reason)
    host = np.empty(source.shape, source.dtype)
    if host.size:
        _in_one_row(source).copy_to_host(host.reshape(-1))
    return host


def _in_one_row(array: Strided) -> Any:
    step = array.dtype.itemsize
    return cuda_api.view(array.block.chunk.memory, array.address, array.dtype, (array.size,), (step,))

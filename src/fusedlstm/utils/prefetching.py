"""Batches made ahead in a thread: `prefetch`."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from fusedlstm.random import is_resumable

_END = object()


class Prefetched:
    """An iterable whose items are made ahead by a thread of each pass; `prefetch` makes it."""

    def __init__(self, source: Iterable[Any], depth: int) -> None:
        self.source, self.depth = source, depth

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    def get_state(self) -> Any:
        """The source's, ahead of a pass or after it; None if it has none."""
        return self.source.get_state() if is_resumable(self.source) else None  # type: ignore[attr-defined]

    def set_state(self, state: Any) -> None:
        """Give the source its state again."""
        if is_resumable(self.source):
            self.source.set_state(state)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Any]:
        ready: queue.Queue[Any] = queue.Queue(self.depth)
        stop = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                items = iter(self.source)
                for item in items:
                    ready.put(item)
                    if stop.is_set():
                        break
                if stop.is_set() and hasattr(items, "close"):
                    items.close()
            except BaseException as error:
                failed.append(error)
            finally:
                ready.put(_END)

        thread = threading.Thread(target=work, name="fusedlstm-prefetch", daemon=True)
        thread.start()
        item = None
        try:
            while (item := ready.get()) is not _END:
                yield item
        finally:
            stop.set()
            # Lets a thread go on that waits for room. While the interpreter ends, none runs any more.
            while item is not _END and not sys.is_finalizing():
                item = ready.get()
            if not sys.is_finalizing():
                thread.join()
        if failed:
            raise failed[0]


def prefetch(iterable: Iterable[Any], depth: int = 2) -> Prefetched:
    """The same items, made by a thread up to `depth` ahead of who takes them.

    It pays where making a batch waits for a disk or a network, or works in code that releases the interpreter lock, as
    the kernels do: both then run at once. Work in Python itself gains little, as it and the training step take turns
    with the lock, and batches of arrays in memory are made faster than a thread hands them over.

    Parameters
    ----------
    iterable : iterable
        Of batches for `fit`, or of anything; a generator, or what can be iterated again and again.
    depth : int
        How many items are kept ready.

    Returns
    -------
    Prefetched
        An iterable, with the length of `iterable` if that has one. Errors of `iterable` are raised where the item would
        have come. A pass that is left early ends its thread, after the item that this is at.

    Raises
    ------
    ValueError, TypeError
        If `depth` is no positive integer, or `iterable` cannot be iterated.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"prefetch: expected depth to be a positive integer, got {depth!r}")
    if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
        raise TypeError(f"prefetch: expected an iterable, got {type(iterable).__name__}")
    return Prefetched(iterable, depth)

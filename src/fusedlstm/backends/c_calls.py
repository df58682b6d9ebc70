"""Calls of the C library's recurrent kernels: one by itself, several at once, the same at every step of a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fusedlstm._binding import lib
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.c_arguments import aligned_buffer, error_slot, from_buffer, new, pool, refuse, scratch
from fusedlstm.backends.reference_recurrent import Stream

#: What a call runs.
FORWARD, BACKWARD = lib.fusedlstm_rnn_forward, lib.fusedlstm_rnn_backward


class Call(NamedTuple):
    """A call of the library, its arguments checked."""

    entry: Any  # FORWARD or BACKWARD
    function: str
    layer: Any
    struct: Any  # of the arguments, all but the workspace
    workspace: int
    kept: Any  # what the arguments point to lives as long as this
    result: Any
    used_up: Any  # goes back to the pool after the call


class _Collected(threading.local):
    """The calls that the calling thread only wants to have made; None where each runs at once."""

    calls: list[Call] | None = None


_collected = _Collected()


@contextmanager
def collecting() -> Iterator[list[Call]]:
    """Inside, `run` leaves the calls of this thread in the list that this gives."""
    calls: list[Call] = []
    _collected.calls = calls
    try:
        yield calls
    finally:
        _collected.calls = None


def run(
    entry: Any, function: str, layer: Any, struct: Any, workspace: int, kept: Any, result: Any, used_up: Any = None
) -> Any:
    """Runs the `Call` of these, unless calls are being collected; its result, which then is not there yet."""
    calls = _collected.calls
    if calls is not None:
        calls.append(Call(entry, function, layer, struct, workspace, kept, result, used_up))
        return result
    struct.workspace = scratch.get(workspace)
    slot = error_slot()
    status = entry(layer, struct, slot)
    if status:
        refuse(function, status, slot)
    if used_up is not None:
        pool.give(used_up)
    return result


def run_together(calls: list[Call]) -> None:
    """Runs calls that do not depend on each other, all forward or all backward."""
    workspaces = [pool.take(call.workspace) for call in calls]
    for call, workspace in zip(calls, workspaces, strict=True):
        call.struct.workspace = workspace
    slot, which = error_slot(), new("int *")
    entry = lib.fusedlstm_rnn_forward_together
    if calls and calls[0].entry is BACKWARD:
        entry = lib.fusedlstm_rnn_backward_together
    status = entry(len(calls), [call.layer for call in calls], [call.struct for call in calls], which, slot)
    if status:
        refuse(calls[which[0]].function, status, slot)
    for buffer in (*workspaces, *(call.used_up for call in calls if call.used_up is not None)):
        pool.give(buffer)


class CStream(Stream):
    """A `Stream` on a struct that is made once: the library reads and writes the same arrays at every step."""

    def __init__(
        self,
        label: str,
        forward: Callable[..., Any],
        packed: Any,
        x: Array,
        states: dict[str, Array],
        options: dict[str, Any],
    ) -> None:
        super().__init__(label, forward, packed, x, states, options)
        with collecting() as collected:
            forward(x, packed, **states, **options)
        self._call = collected[0]
        self._inputs, self._shape, self._dtype = x[:, 0], (x.shape[0], x.shape[2]), x.dtype
        self._y, *after, _ = self._call.result
        for name, state, buffer in zip(states, list(states.values()), after, strict=True):
            buffer[...] = state
            self._states[name] = buffer
        self._workspace = from_buffer(aligned_buffer(self._call.workspace))
        self._struct, self._slot = self._call.struct, new("const char **")
        self._struct.workspace = self._workspace
        self._struct.h0, self._struct.c0, self._struct.g0 = self._struct.h, self._struct.c, self._struct.g

    def __call__(self, x: Array) -> Array:
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != self._dtype:
            self._checked(x)
        self._inputs[...] = x
        status = FORWARD(self._call.layer, self._struct, self._slot)
        if status:
            refuse(self._call.function, status, self._slot)
        return self._y.copy()

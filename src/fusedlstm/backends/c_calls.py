"""Calls of the C library's recurrent kernels: one by itself, several at once, the same at every step of a stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.c_arguments import aligned_buffer, error_slot, from_buffer, new, pool, refuse, scratch
from fusedlstm.backends.reference_recurrent import Stream

FORWARD, BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_forward, _backward = lib.fusedlstm_rnn_forward, lib.fusedlstm_rnn_backward


class Call(NamedTuple):
    """A call of the library, its arguments checked."""

    function: str
    layer: Any
    kind: Any  # FORWARD or BACKWARD
    args: tuple[Any, ...]  # of the struct, in two parts: the workspace comes between them
    rest: tuple[Any, ...]
    workspace: int
    kept: Any  # what the arguments point to lives as long as this
    result: Any
    used_up: Array | None = None  # goes back to the pool after the call


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


def run(call: Call) -> Any:
    """Runs a call, unless calls are being collected; its result, which then is not there yet."""
    if _collected.calls is not None:
        _collected.calls.append(call)
        return call.result
    function, layer, kind, args, rest, workspace, _, result, used_up = call
    slot = error_slot()
    struct = new(kind, (*args, scratch.get(workspace), *rest))
    status = (_forward if kind is FORWARD else _backward)(layer, struct, slot)
    if status:
        refuse(function, status, slot)
    if used_up is not None:
        pool.give(used_up)
    return result


def run_together(calls: list[Call]) -> None:
    """Runs calls that do not depend on each other, all forward or all backward."""
    structs, workspaces = [], []
    for call in calls:
        workspaces.append(pool.take(call.workspace))
        structs.append(new(call.kind, (*call.args, from_buffer(workspaces[-1]), *call.rest)))
    slot, which = error_slot(), new("int *")
    entry = lib.fusedlstm_rnn_forward_together
    if calls and calls[0].kind is BACKWARD:
        entry = lib.fusedlstm_rnn_backward_together
    status = entry(len(calls), [call.layer for call in calls], structs, which, slot)
    if status:
        refuse(calls[which[0]].function, status, slot)
    for buffer in (*workspaces, *(call.used_up for call in calls if call.used_up is not None)):
        pool.give(buffer)


class CStream(Stream):
    """A `Stream` on a struct that is made once: the library reads and writes the same arrays at every step."""

    def __init__(self, label: str, forward: Any, packed: Any, x: Array, states: dict[str, Array], options: Any) -> None:
        super().__init__(label, forward, packed, x, states, options)
        with collecting() as collected:
            forward(x, packed, **states, **options)
        self._call = collected[0]
        self._inputs, self._shape, self._dtype = x[:, 0], (x.shape[0], x.shape[2]), x.dtype
        self._y, *after, _ = self._call.result
        for name, state, buffer in zip(states, list(states.values()), after, strict=True):
            buffer[...] = state
            self._states[name] = buffer
        self._workspace = aligned_buffer(self._call.workspace)
        args = (*self._call.args, from_buffer(self._workspace), *self._call.rest)
        self._struct, self._slot = new(FORWARD, args), new("const char **")
        self._struct.h0, self._struct.c0, self._struct.g0 = self._struct.h, self._struct.c, self._struct.g

    def __call__(self, x: Array) -> Array:
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != self._dtype:
            self._checked(x)
        self._inputs[...] = x
        status = _forward(self._call.layer, self._struct, self._slot)
        if status:
            refuse(self._call.function, status, self._slot)
        return self._y.copy()

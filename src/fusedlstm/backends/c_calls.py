"""Calls of the C library's recurrent kernels: one by itself, several at once, the same at every step of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.c_arguments import here, new, new_buffer, pool, refuse
from fusedlstm.backends.reference_recurrent import Stream

#: What a call runs.
FORWARD, BACKWARD = lib.fusedlstm_rnn_forward, lib.fusedlstm_rnn_backward
_forward_together, _backward_together = lib.fusedlstm_rnn_forward_together, lib.fusedlstm_rnn_backward_together
_WHICH = ffi.typeof("int *")


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


def collect(make: Callable[[], Any]) -> tuple[Any, list[Call]]:
    """What `make` returns, whose calls are not run but returned, too."""
    own = here.own
    calls: list[Call] = []
    own.calls = calls
    try:
        return make(), calls
    finally:
        own.calls = None


def run(
    entry: Any, function: str, layer: Any, struct: Any, workspace: int, kept: Any, result: Any, used_up: Any = None
) -> Any:
    """Runs the `Call` of these, unless calls are being collected; its result, which then is not there yet."""
    own = here.own
    if own.calls is not None:
        own.calls.append(Call(entry, function, layer, struct, workspace, kept, result, used_up))
        return result
    struct.workspace = own.workspace(workspace)
    status = entry(layer, struct, own.slot)
    if status:
        refuse(function, status, own.slot)
    if used_up is not None:
        pool.give(used_up)
    return result


def run_together(calls: list[Call]) -> None:
    """Runs calls that do not depend on each other, all forward or all backward."""
    layers, structs, buffers = [], [], []
    for _, _, layer, struct, workspace, *_ in calls:
        buffers.append(pool.take(workspace))
        struct.workspace = buffers[-1]
        layers.append(layer)
        structs.append(struct)
    own, which = here.own, new(_WHICH)
    entry = _backward_together if calls and calls[0].entry is BACKWARD else _forward_together
    status = entry(len(calls), layers, structs, which, own.slot)
    if status:
        refuse(calls[which[0]].function, status, own.slot)
    for buffer in buffers:
        pool.give(buffer)
    for call in calls:
        if call.used_up is not None:
            pool.give(call.used_up)


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
        self._call = collect(lambda: forward(x, packed, **states, **options))[1][0]
        self._inputs, self._shape, self._dtype = x[:, 0], (x.shape[0], x.shape[2]), x.dtype
        self._y, *after, _ = self._call.result
        for name, state, buffer in zip(states, list(states.values()), after, strict=True):
            buffer[...] = state
            self._states[name] = buffer
        self._workspace = new_buffer(self._call.workspace)
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

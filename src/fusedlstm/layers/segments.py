"""Long sequences in segments: backward goes from the last one to the first, and may make again what it needs of each.

Forward then keeps no more than the states ahead of every segment, backward the activations of one: with segments of
about sqrt(T) steps that is memory for sqrt(T) steps instead of T, for one more forward pass (Chen et al. 2016,
arXiv:1604.06174).

A sequence of `LONG` steps or more is always run in segments, whether its activations are kept or made again: gradients
are summed over the segments in the same order, so the results are the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import numpy as np

from fusedlstm.layers.checks import Array
from fusedlstm.layers.kernel_calls import KernelCall

LONG = 8192
#: No segment is shorter, so that a call of the kernels weighs little beside its steps.
SHORTEST = 1024
#: Bytes of one call's activations from which on "auto" makes them again.
MUCH = 1 << 28

#: The kernels' arguments for the first values of the states, in the order of those.
INITIAL_STATES = ("h0", "c0", "g0")
#: Their arguments that have steps as the first axis.
_BY_STEP = ("zoneout_h_mask", "zoneout_c_mask")

#: The gradients that are not summed over the segments.
_NOT_SUMMED = ("d_x", "d_h0", "d_c0", "d_g0")

_recompute: ContextVar[bool | str] = ContextVar("recompute", default="auto")


@contextmanager
def recomputing(value: bool | str) -> Iterator[None]:
    """Inside, activations of long sequences are made again (True) or kept (False); "auto": as they are `MUCH`."""
    token = _recompute.set(value)
    try:
        yield
    finally:
        _recompute.reset(token)


def bounds(steps: int) -> list[int]:
    """Where the segments of a long sequence begin, and the end."""
    size = max(SHORTEST, math.isqrt(steps - 1) + 1)
    return [*range(0, steps, size), steps]


def ends(steps: int, training: bool, keep_after: int | None) -> list[int] | None:
    """Where a call's segments begin, and the end; None if it is not cut.

    Parameters
    ----------
    steps : int
    training : bool
        Whether there will be a backward call.
    keep_after : int, optional
        Where it is cut for the sake of the states there.
    """
    if keep_after is not None:
        return [0, keep_after, steps]
    return bounds(steps) if training and steps >= LONG else None


class Saved:
    """What forward leaves for backward: the calls of the segments, and what each saved, unless it is made again."""

    def __init__(self, call: KernelCall, ends: Sequence[int], recompute: bool) -> None:
        self.ends = list(pairwise(ends))
        self.recompute = recompute
        self.inputs_shape = call.arguments[0].shape
        self.return_sequences: bool = call.options["return_sequences"]
        self.repeats = call.options["mask"] is not None and not call.options["zero_output_for_mask"]
        self.calls: list[KernelCall] = []
        self.kept: list[Any] = []

    def states_after(self, segment: int) -> list[Array]:
        """The states after a segment that is not the last."""
        options = self.calls[segment + 1].options
        return [options[name] for name in INITIAL_STATES if name in options]


def forward(call: KernelCall, ends: Sequence[int], numbers: int) -> Generator[KernelCall, Any, tuple[Any, ...]]:
    """The results of a forward call for training, made of calls for each of its segments.

    Parameters
    ----------
    call : KernelCall
    ends : sequence of int
        Where the segments begin, and the end.
    numbers : int
        How many are saved for each step of each row, about.

    Returns
    -------
    y, *states, saved
        Of which `saved` is for `backward`.
    """
    x, options = call.arguments[0], call.options
    recompute = _recompute.get()
    if recompute == "auto":
        recompute = x.shape[0] * x.shape[1] * numbers * x.itemsize > MUCH
    saved = Saved(call, ends, bool(recompute))
    states = {name: options[name] for name in INITIAL_STATES if name in options}
    outputs: Any = None
    y: Any = None  # of the segment ahead
    for begin, end in saved.ends:
        piece = _piece(call, begin, end, states)
        y_ahead = None if y is None else y[:, -1] if saved.return_sequences else y
        y, *after, kept_of_piece = yield piece
        if saved.repeats and y_ahead is not None:
            _repeat(piece.options["mask"], y_ahead, y)
        states = dict(zip(INITIAL_STATES, after, strict=False))
        saved.calls.append(piece)
        saved.kept.append(None if recompute else kept_of_piece)
        if saved.return_sequences:
            if outputs is None:
                outputs = np.empty((*x.shape[:2], y.shape[2]), y.dtype, like=y)
            outputs[:, begin:end] = y
    return (outputs if saved.return_sequences else y, *states.values(), saved)


def backward(
    backend: Any, function: Callable[..., Any], saved: Saved, d_y: Array | None, d_states: Sequence[Any], need_d_x: bool
) -> Generator[KernelCall, Any, Any]:
    """The gradients of a call that `forward` made, as the backend's function returns them; to be called once."""
    d_last = None if saved.return_sequences else d_y  # of the output after a segment, where there is one alone
    found: Any = None
    totals: dict[str, Array] = {}
    d_x: Any = None
    for begin, end in reversed(saved.ends):
        piece, kept = saved.calls.pop(), saved.kept.pop()
        if saved.recompute:
            *_, kept = yield piece
        d_piece = _d_outputs(d_y[:, begin:end] if saved.return_sequences and d_y is not None else None, d_last, saved)
        d_last = _d_repeated(piece.options["mask"], d_piece) if saved.repeats and d_piece is not None else None
        found = yield KernelCall(backend, function, (kept, d_piece, *d_states), {"need_d_x": need_d_x})
        d_states = [d for d in (found.d_h0, found.d_c0, found.d_g0) if d is not None]
        if need_d_x:
            if d_x is None:
                d_x = np.empty(saved.inputs_shape, found.d_x.dtype, like=found.d_x)
            d_x[:, begin:end] = found.d_x
        for name, part in found._asdict().items():
            if part is not None and name not in _NOT_SUMMED:
                totals[name] = np.add(totals[name], part, out=totals[name]) if name in totals else part
    return found._replace(d_x=d_x, **totals)


def _piece(call: KernelCall, begin: int, end: int, states: dict[str, Array]) -> KernelCall:
    """The call for the steps from `begin` to `end`, from these states on."""
    x, *rest = call.arguments
    options = {**call.options, **states}
    if options["mask"] is not None:
        options["mask"] = options["mask"][:, begin:end]
    for name in _BY_STEP:
        if options.get(name) is not None:
            options[name] = options[name][begin:end]
    return call._replace(arguments=(x[:, begin:end], *rest), options=options)


def _unused_at_first(mask: Array) -> Array:
    """(B,T): which steps have no used one ahead of them in the segment, nor are used."""
    return ~np.logical_or.accumulate(mask, axis=1)


def _repeat(mask: Array, y_ahead: Array, y: Array) -> None:
    """Write the last output of the segment ahead where masked steps of y, (B,T,P) or the last step's, repeat it."""
    waiting = _unused_at_first(mask)
    if y.ndim == 2:
        np.copyto(y, y_ahead, where=waiting[:, -1:])
    elif waiting[:, 0].any():
        np.copyto(y, y_ahead[:, None], where=waiting[:, :, None])


def _d_repeated(mask: Array, d_y: Array) -> Array | None:
    """The gradient (B,P) of the last output of the segment ahead from the steps that repeated it; None: zero."""
    waiting = _unused_at_first(mask)
    if not waiting[:, 0].any():
        return None
    if d_y.ndim == 2:
        return np.where(waiting[:, -1:], d_y, d_y.dtype.type(0))
    total: Array = np.where(waiting[:, :, None], d_y, d_y.dtype.type(0)).sum(axis=1)
    return total


def _d_outputs(d_y: Array | None, d_last: Array | None, saved: Saved) -> Array | None:
    """The gradient of a segment's outputs: `d_y`, and at the last step `d_last` too."""
    if not saved.return_sequences or d_last is None:
        return d_last if not saved.return_sequences else d_y
    if d_y is None:
        return None
    d_y = d_y.copy()
    d_y[:, -1] += d_last
    return d_y

"""LSTM, GRU and simple RNN in C: the reference's functions with the same signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import reference_gru, reference_lstm, reference_simple_rnn
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.c_calls import CStream, collect, run_together
from fusedlstm.backends.c_layer import CELLS, GRU, LSTM, SIMPLE_RNN, Packing
from fusedlstm.backends.c_prepared import ARRAYS, Forward, backward
from fusedlstm.backends.recurrent_arguments import like
from fusedlstm.backends.reference_recurrent import Gradients, Stream

_CELLS = {f"{name}_{what}": cell for cell, name in CELLS.items() for what in ("pack", "forward")}


def prepare_pack(
    function: str, kernel: Array, recurrent: Array, bias: Array | None, training: bool, **options: Any
) -> Callable[[], Any]:
    """See `reference.prepare_pack`."""
    return Packing(_CELLS[function], kernel, recurrent, bias, training, **options)


def prepare_forward(
    function: str, x: Array, packed: Any, arrays: Mapping[str, Array], need_states: bool = True, **options: Any
) -> Callable[..., Sequence[Any]]:
    """See `reference.prepare_forward`."""
    return Forward(_CELLS[function], x, packed, arrays, need_states, **options)


def recurrent_together(
    calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]],
) -> list[Any]:
    """See `reference.recurrent_together`."""
    results, collected = collect(lambda: [function(*args, **options) for function, args, options in calls])
    run_together(collected)
    return results  # type: ignore[no-any-return]


def recurrent_stream(name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any) -> Stream:
    """See `reference.recurrent_stream`."""
    return CStream(label, globals()[name], packed, np.ascontiguousarray(x), states, options)


def _forward(cell: int, x: Array, packed: Any, options: dict[str, Any]) -> tuple[Any, ...]:
    """y, the final states and what is saved for backward: a call of a kind of its own."""
    given = {name: options.pop(name, None) for name in ARRAYS}
    arrays = {name: array for name, array in given.items() if array is not None}
    return tuple(Forward(cell, x, packed, arrays, True, **options)(x, packed, **arrays))


def lstm_pack(
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Any:
    """See `reference.lstm_pack`."""
    return Packing(LSTM, kernel, recurrent, bias, training, False, gate_recurrence, projection)()


@like(reference_lstm.lstm_forward)
def lstm_forward(x: Array, packed: Any, **options: Any) -> tuple[Any, ...]:
    return _forward(LSTM, x, packed, options)


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    d_g: Array | None = None,
    *,
    need_d_x: bool = True,
) -> Gradients:
    """See `reference.lstm_backward`."""
    return backward(LSTM, saved, d_y, need_d_x, d_h=d_h, d_c=d_c, d_g=d_g)


def gru_pack(
    kernel: Array, recurrent: Array, bias: Array | None, training: bool = False, reset_after: bool = True
) -> Any:
    """See `reference.gru_pack`."""
    return Packing(GRU, kernel, recurrent, bias, training, reset_after)()


@like(reference_gru.gru_forward)
def gru_forward(x: Array, packed: Any, **options: Any) -> tuple[Array, Array, Any]:
    return _forward(GRU, x, packed, options)  # type: ignore[return-value]


def gru_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.gru_backward`."""
    return backward(GRU, saved, d_y, need_d_x, d_h=d_h)


def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.simple_rnn_pack`."""
    return Packing(SIMPLE_RNN, kernel, recurrent, bias, training)()


@like(reference_simple_rnn.simple_rnn_forward)
def simple_rnn_forward(x: Array, packed: Any, **options: Any) -> tuple[Array, Array, Any]:
    return _forward(SIMPLE_RNN, x, packed, options)  # type: ignore[return-value]


def simple_rnn_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.simple_rnn_backward`."""
    return backward(SIMPLE_RNN, saved, d_y, need_d_x, d_h=d_h)

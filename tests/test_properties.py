"""Hypothesis over shapes, options, layouts and wrong arguments of the C backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recurrent_case import GATE_COUNT, GATES, Case

from fusedlstm import backends

c = backends.load("c")
ISAS = c.available_isas()
sizes = st.integers(0, 12)


@st.composite
def cases(draw):
    """A call of any cell and shape, with any combination of options."""
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    activation, recurrent_activation = draw(st.sampled_from(GATES)), draw(st.sampled_from(GATES))
    # Gates without an upper bound multiply states and errors from step to step: few steps keep the bound meaningful.
    unbounded = {activation, recurrent_activation} & {"relu", "linear", "elu", "softplus"}
    cell = draw(st.sampled_from(["lstm", "gru", "simple_rnn"]))
    options = {"activation": activation}
    if cell != "simple_rnn":
        options["recurrent_activation"] = recurrent_activation
    if cell == "gru":
        options["reset_after"] = draw(st.booleans())
    if cell == "lstm":
        options["peepholes"] = draw(st.booleans())
        options["coupled_gates"] = draw(st.booleans())
        options["cell_clip"] = draw(st.sampled_from([0.0, 0.5]))
    return Case(
        rng,
        dtype,
        draw(sizes),
        draw(st.integers(0, 3) if unbounded else sizes),
        draw(st.integers(0, 40)),
        draw(st.integers(1, 70)),
        bias=draw(st.booleans()),
        state=draw(st.booleans()),
        mask="random" if draw(st.booleans()) else None,
        gain=0.3,
        return_sequences=draw(st.booleans()),
        zero_output_for_mask=draw(st.booleans()),
        cell=cell,
        input_dropout=draw(st.sampled_from([0, 1, GATE_COUNT[cell]])),
        recurrent_dropout=draw(st.sampled_from([0, 1, GATE_COUNT[cell]])),
        **options,
    )


@given(case=cases(), isa=st.sampled_from(ISAS), threads=st.integers(1, 4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_call_equals_the_reference(case, isa, threads):
    before = c.get_isa()
    try:
        c.set_isa(isa)
        c.set_num_threads(threads)
        case.compare(c)
    finally:
        c.set_isa(before)
        c.set_num_threads(0)


wrong_shapes = st.lists(st.integers(0, 6), max_size=5).map(tuple)
wrong_dtypes = st.sampled_from(["f4", "f8", ">f4", "f2", "i4", "u1", "c8", "?", "O", "U3", "M8[s]"])


@given(
    name=st.sampled_from(["x", "h0", "c0", "mask", "d_y", "d_h", "d_c"]),
    shape=wrong_shapes,
    dtype=wrong_dtypes,
)
@settings(max_examples=300, deadline=None)
def test_a_wrong_array_is_refused_by_name(name, shape, dtype):
    """One argument is replaced by any array at all: it is either the right kind, or a ValueError names it."""
    case = Case(np.random.default_rng(0), np.dtype("float32"), 3, 4, 2, 5, mask="random", return_sequences=True)
    array = np.zeros(shape, dtype)
    right = {"x": (3, 4, 2), "mask": (3, 4), "d_y": (3, 4, 5)}.get(name, (3, 5))
    right_dtype = np.dtype("?" if name == "mask" else "f4")
    packed = c.lstm_pack(case.kernel, case.recurrent, case.bias, training=True)
    arguments = {"x": case.x, **case.states, "mask": case.mask}
    gradients = {"d_y": case.d_y, **dict(zip(("d_h", "d_c"), case.d_states, strict=True))}
    (arguments if name in arguments else gradients)[name] = array

    def run():
        x = arguments["x"]
        states = {key: arguments[key] for key in ("h0", "c0", "mask")}
        *_, saved = c.lstm_forward(x, packed, return_sequences=True, training=True, **states)
        c.lstm_backward(saved, **gradients)

    if (shape, array.dtype) == (right, right_dtype):
        run()
    else:
        # An x of another batch or other steps is a good x: what does not go with it is named.
        good_x = name == "x" and len(shape) == 3 and shape[2] == 2 and array.dtype == right_dtype
        with pytest.raises(ValueError, match="expected (h0|mask) " if good_x else f"expected {name} "):
            run()

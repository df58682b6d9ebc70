"""Finite differences in float64 against the reference kernels, for every parameter, input and state.

The reference is what every other backend is compared with (test_backends.py), so its gradients are checked here,
against nothing but its own forward.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from recurrent_case import GATE_COUNT, GATES

from fusedlstm.backends import reference

EPSILON, ATOL, RTOL = 1e-6, 1e-5, 1e-3


def difference_quotient(function, array):
    """d function() / d array, by central differences; `function` reads `array` where it is."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + EPSILON
        above = function()
        array[index] = value - EPSILON
        gradient[index] = (above - function()) / (2 * EPSILON)
        array[index] = value
    return gradient


def check_cell(rng, cell, batch, steps, inputs, units, mask, state, dropout=(0, 0), reset_after=True, **options):
    """All gradients of a random linear functional of the outputs and states."""
    gates, outputs = GATE_COUNT[cell], options.get("projection", units)
    shapes = {
        "x": (batch, steps, inputs),
        "kernel": (inputs, gates * units),
        "recurrent": (outputs, gates * units),
        "bias": (2, 3 * units) if cell == "gru" and reset_after else (gates * units,),
    }
    state_shapes = {"h0": (batch, outputs)}
    if cell == "lstm":
        state_shapes["c0"] = (batch, units)
    if options.get("gate_recurrence"):
        state_shapes["g0"] = (batch, 3 * units)
    if state:
        shapes |= state_shapes
    optional = {
        "peepholes": (3, units),
        "gate_recurrence": (3 * units, 3 * units),
        "projection": (units, outputs),
        "normalization": (10, units),
    }
    shapes |= {name: shape for name, shape in optional.items() if options.pop(name, False)}
    v = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    v["recurrent"] /= np.sqrt(units)
    for name, sets, width in (("input_dropout", dropout[0], inputs), ("recurrent_dropout", dropout[1], outputs)):
        if sets:
            options[name] = (rng.random((sets, batch, width)) < 0.7) / 0.7
    if options.pop("zoneout_masks", False):
        options["zoneout_h_mask"] = rng.random((steps, batch, outputs)) < 0.4
        options["zoneout_c_mask"] = rng.random((steps, batch, units)) < 0.4
    options |= {name: v[name] for name in ("peepholes", "normalization") if name in v}
    pack_options = {name: v[name] for name in ("gate_recurrence", "projection") if name in v}
    if cell == "gru":
        pack_options["reset_after"] = reset_after

    def forward(training):
        packed = getattr(reference, f"{cell}_pack")(v["kernel"], v["recurrent"], v["bias"], **pack_options)
        states = {name: v[name] for name in state_shapes if state}
        return getattr(reference, f"{cell}_forward")(v["x"], packed, mask=mask, training=training, **states, **options)

    *outputs, saved = forward(training=True)
    weights = [rng.normal(size=a.shape) for a in outputs]

    def loss():
        return sum(float((a * w).sum()) for a, w in zip(forward(training=False)[:-1], weights, strict=True))

    gradients = getattr(reference, f"{cell}_backward")(saved, *weights)
    found = {name.removeprefix("d_") for name, gradient in gradients._asdict().items() if gradient is not None}
    assert found == {*v, *state_shapes}
    for name in v:
        expected, gradient = difference_quotient(loss, v[name]), getattr(gradients, f"d_{name}")
        assert gradient.shape == expected.shape
        np.testing.assert_allclose(gradient, expected, rtol=RTOL, atol=ATOL, err_msg=f"d_{name}, {options}")


def check_lstm(rng, *arguments, **options):
    check_cell(rng, "lstm", *arguments, **options)


MASKS = {
    "none": None,
    "right": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool),
    "scattered": np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]], bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_lstm_masks_and_states(rng, mask, return_sequences, zero_output_for_mask, state):
    check_lstm(
        rng, 3, 4, 2, 3, MASKS[mask], state,
        return_sequences=return_sequences, zero_output_for_mask=zero_output_for_mask,
    )  # fmt: skip


@pytest.mark.parametrize(("activation", "recurrent_activation"), list(itertools.product(GATES, GATES)))
def test_lstm_activations(rng, activation, recurrent_activation):
    check_lstm(
        rng, 2, 3, 2, 3, None, True,
        activation=activation, recurrent_activation=recurrent_activation, return_sequences=True,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 6, 1, 2), (4, 1, 3, 1), (2, 2, 5, 4)])
def test_lstm_shapes(rng, shape):
    check_lstm(rng, *shape, None, True, return_sequences=True)


REMOVED = ["input_gate", "forget_gate", "output_gate", "input_activation", "output_activation"]


@pytest.mark.parametrize("mask", ["none", "scattered"])
@pytest.mark.parametrize("dropout", [(0, 0), (1, 0), (4, 4)])
@pytest.mark.parametrize(
    "variant",
    [
        {"peepholes": True},
        {"coupled_gates": True, "peepholes": True},
        {"cell_clip": 0.5, "peepholes": True},
        *({"removed": (name,), "peepholes": True} for name in REMOVED),
        {"removed": tuple(REMOVED), "cell_clip": 0.5},
        {"gate_recurrence": True},
        {"projection": 2},
        {"normalization": True},
        {"zoneout_masks": True},
        {"zoneout_h": 0.2, "zoneout_c": 0.4, "cell_clip": 0.5},
        {"gate_recurrence": True, "projection": 4, "normalization": True, "peepholes": True, "zoneout_masks": True},
        {"gate_recurrence": True, "coupled_gates": True, "cell_clip": 0.5, "zoneout_c": 0.3, "normalization": True},
        {"normalization": True, "removed": ("forget_gate", "output_gate"), "gate_recurrence": True, "projection": 2},
    ],
    ids=str,
)
def test_lstm_variants(rng, variant, dropout, mask):
    check_lstm(rng, 3, 4, 2, 3, MASKS[mask], True, dropout=dropout, return_sequences=True, **variant)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("dropout", [(0, 0), (1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_gru(rng, mask, reset_after, dropout, return_sequences):
    check_cell(
        rng, "gru", 3, 4, 2, 3, MASKS[mask], True, dropout, reset_after,
        return_sequences=return_sequences, zero_output_for_mask=dropout == (1, 1),
    )  # fmt: skip


@pytest.mark.parametrize("activation", GATES)
def test_gru_activations(rng, activation):
    for reset_after in (False, True):
        check_cell(
            rng, "gru", 2, 3, 2, 3, None, False, (0, 0), reset_after,
            activation=activation, recurrent_activation="softsign", return_sequences=True,
        )  # fmt: skip


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dropout", [(0, 0), (1, 1)])
@pytest.mark.parametrize("activation", GATES)
def test_simple_rnn(rng, mask, dropout, activation):
    check_cell(rng, "simple_rnn", 3, 4, 2, 3, MASKS[mask], True, dropout, activation=activation, return_sequences=True)


def test_lstm_reversed_time_is_a_reversed_view(rng):
    """Gradients flow through a view: those of x come in the order in which the view shows the steps."""
    x = rng.normal(size=(2, 4, 3))
    packed = reference.lstm_pack(rng.normal(size=(3, 8)), rng.normal(size=(2, 8)), None)
    copied = reference.lstm_forward(x[:, ::-1].copy(), packed, training=True, return_sequences=True)
    viewed = reference.lstm_forward(x[:, ::-1], packed, training=True, return_sequences=True)
    np.testing.assert_array_equal(viewed[0], copied[0])
    d_y = rng.normal(size=(2, 4, 2))
    for a, b in zip(reference.lstm_backward(viewed[3], d_y), reference.lstm_backward(copied[3], d_y), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("activation", [*GATES, "exp"])
def test_activations(rng, activation):
    x = rng.normal(size=50) * 3
    x = x[np.min(np.abs(x[:, None] - [-3.0, 0.0, 3.0]), axis=1) > 1e-3]  # away from the kinks
    y = reference.activation_forward(x, activation)
    d_y = rng.normal(size=x.shape)
    expected = np.diag(
        [
            (float(reference.activation_forward(x[k : k + 1] + EPSILON, activation)[0]) - float(
                reference.activation_forward(x[k : k + 1] - EPSILON, activation)[0])) / (2 * EPSILON)
            for k in range(x.size)
        ]
    ).diagonal() * d_y  # fmt: skip
    np.testing.assert_allclose(reference.activation_backward(y, d_y, activation), expected, rtol=RTOL, atol=ATOL)


def test_embedding_gradient(rng):
    table, ids = rng.normal(size=(5, 3)), np.array([[0, 2], [2, 4]])
    d_out = rng.normal(size=(2, 2, 3))
    d_table = np.zeros_like(table)
    reference.embedding_gradient(ids, d_out, d_table)
    expected = difference_quotient(lambda: float((table[ids] * d_out).sum()), table)
    np.testing.assert_allclose(d_table, expected, rtol=RTOL, atol=ATOL)

"""Cells: one step equals the layer's, its gradients are those of finite differences; wrong calls."""

from __future__ import annotations

import numpy as np
import pytest
from layers.layer_gradients import numeric_gradient

from fusedlstm.layers import (
    GRU,
    LSTM,
    MUT1,
    MUT2,
    MUT3,
    RNN,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
)
from fusedlstm.layers.cells import FusedCell, flat_states

VARIANTS = {
    "peephole": {"peephole": True},
    "coupled": {"coupled_gates": True},
    "removed": {"removed": ("input_gate", "output_activation")},
    "clip": {"cell_clip": 0.5},
    "full gate recurrence": {"full_gate_recurrence": True},
    "normalization": {"layer_norm": True, "layer_norm_epsilon": 0.1},
    "projection": {"projection": 2},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.2, "seed": 4},
    "everything": {
        "peephole": True, "cell_clip": 2.0, "full_gate_recurrence": True, "layer_norm": True, "projection": 4,
        "zoneout_h": 0.2, "zoneout_c": 0.1, "dropout": 0.2, "recurrent_dropout": 0.3, "seed": 4,
    },
}  # fmt: skip
CELLS = [
    (LSTMCell, {}),
    (LSTMCell, {"use_bias": False, "activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    (GRUCell, {}),
    (GRUCell, {"reset_after": False}),
    (SimpleRNNCell, {"activation": "softsign"}),
    *((LSTMCell, options) for options in VARIANTS.values()),
    (MUT1, {}),
    (MUT1, {"use_bias": False}),
    (MUT2, {}),
    (MUT3, {}),
]


def states_for(cell, rng, batch=2):
    return [rng.normal(size=(batch, size)) for size in flat_states(cell.state_size)]


def made(kind, options, rng, width=3, units=3):
    cell = kind(units, dtype="float64", **options)
    cell.build((None, width))
    for weight in cell.weights:
        weight.assign(rng.normal(size=weight.shape))
    return cell


def check_step(cell, x, states, rng):
    """All gradients of a random linear functional of the output and the new states."""

    def run():
        if isinstance(cell, FusedCell):
            cell.layer._generator = np.random.default_rng(0)  # the same masks each time
        return cell.forward(x, states, True)

    output, new_states, backward = run()
    weights = [rng.normal(size=a.shape) for a in (output, *flat_states(new_states))]
    d_x, d_states = backward(weights[0], weights[1:])

    def loss():
        found, after, _ = run()
        return sum(float((a * w).sum()) for a, w in zip((found, *flat_states(after)), weights, strict=True))

    np.testing.assert_allclose(d_x, numeric_gradient(loss, x), rtol=1e-4, atol=1e-6)
    for d, state in zip(d_states, states, strict=True):
        np.testing.assert_allclose(d, numeric_gradient(loss, state), rtol=1e-4, atol=1e-6)
    gradients = list(cell.gradients)
    assert len(gradients) == len(cell.trainable_weights)
    for variable, gradient in zip(cell.trainable_weights, gradients, strict=True):
        array = variable.update()

        def loss_of(variable=variable):
            variable.update()
            return loss()

        np.testing.assert_allclose(gradient, numeric_gradient(loss_of, array), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_gradients(kind, options, rng) -> None:
    cell = made(kind, options, rng)
    check_step(cell, rng.normal(size=(2, 3)), states_for(cell, rng), rng)


def test_gradients_of_a_stack(rng) -> None:
    stack = StackedRNNCells([kind(3, dtype="float64") for kind in (LSTMCell, GRUCell, MUT3)])
    stack.build((None, 2))
    check_step(stack, rng.normal(size=(2, 2)), states_for(stack, rng), rng)


@pytest.mark.parametrize(
    ("kind", "layer", "options"),
    [
        (LSTMCell, LSTM, {}),
        (GRUCell, GRU, {}),
        (SimpleRNNCell, SimpleRNN, {}),
        *((LSTMCell, LSTM, options) for options in VARIANTS.values()),
    ],
)
def test_steps_are_the_layers(kind, layer, options, rng) -> None:
    cell = made(kind, options, rng)
    whole = layer(3, dtype="float64", return_sequences=True, **options)
    whole.build((None, None, 3))
    whole.set_weights(cell.get_weights())
    x = rng.normal(size=(2, 5, 3))
    states = cell.get_initial_state(batch_size=2)
    outputs = []
    for t in range(5):
        output, states = cell(x[:, t], states)
        np.testing.assert_array_equal(output, states[0])
        outputs.append(output)
    np.testing.assert_allclose(np.stack(outputs, axis=1), whole(x), rtol=1e-12)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_cell_over_a_sequence_is_the_layer(options, rng) -> None:
    """Outputs, states and all gradients, in training."""
    x, mask = rng.normal(size=(3, 5, 3)), np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0] * 5], bool)
    flags = {"return_state": True, "return_sequences": True}
    cell = made(LSTMCell, options, rng)
    whole = LSTM(3, dtype="float64", **flags, **options)
    whole.build(x.shape)
    whole.set_weights(cell.get_weights())
    states, results = states_for(cell, rng, 3), []
    for layer in (RNN(cell, **flags), whole):
        assert layer.compute_output_shape(x.shape) == whole.compute_output_shape(x.shape)
        outputs, backward = layer.forward(x, True, mask, initial_state=states)
        results.append([*outputs, *backward([np.cos(y) for y in outputs]), *layer.gradients])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gates_are_a_state_of_the_cell(rng) -> None:
    cell = made(LSTMCell, {"full_gate_recurrence": True, "projection": 2}, rng)
    assert (cell.state_size, cell.output_size) == ([2, 3, 9], 2)
    assert [state.shape for state in cell.get_initial_state(batch_size=4)] == [(4, 2), (4, 3), (4, 9)]


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_config(kind, options, rng) -> None:
    cell = made(kind, {**options, "kernel_regularizer": "l2", "bias_constraint": "non_neg"}, rng)
    copy = kind.from_config(cell.get_config())
    assert copy.get_config() == cell.get_config()
    copy.build((None, 3))
    copy.set_weights(cell.get_weights())
    x, states = rng.normal(size=(2, 3)), states_for(cell, rng)
    for a, b in zip(flat_states(cell(x, states)), flat_states(copy(x, states)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert copy.weights[0].regularizer is not None


def test_equations(rng) -> None:
    """Those of the paper, written out."""

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    x, h = rng.normal(size=(2, 2, 3))

    def weights(cell):
        kernel, recurrent, bias = cell.get_weights()
        split = [np.split(a, a.shape[-1] // 3, axis=-1) for a in (kernel, recurrent)]
        return *split, np.split(bias, 3)

    one, two, three = (made(kind, {}, rng) for kind in (MUT1, MUT2, MUT3))
    (w_z, w_r), (u_r, u_a), (b_z, b_r, b_a) = weights(one)
    z, r = sigmoid(x @ w_z + b_z), sigmoid(x @ w_r + h @ u_r + b_r)
    expected = np.tanh((r * h) @ u_a + np.tanh(x) + b_a) * z + h * (1 - z)
    np.testing.assert_allclose(one(x, [h])[0], expected, rtol=1e-12)
    (w_z, w_a), (u_z, u_r, u_a), (b_z, b_r, b_a) = weights(two)
    z, r = sigmoid(x @ w_z + h @ u_z + b_z), sigmoid(x + h @ u_r + b_r)
    expected = np.tanh((r * h) @ u_a + x @ w_a + b_a) * z + h * (1 - z)
    np.testing.assert_allclose(two(x, [h])[0], expected, rtol=1e-12)
    (w_z, w_r, w_a), (u_z, u_r, u_a), (b_z, b_r, b_a) = weights(three)
    z, r = sigmoid(x @ w_z + np.tanh(h) @ u_z + b_z), sigmoid(x @ w_r + h @ u_r + b_r)
    expected = np.tanh((r * h) @ u_a + x @ w_a + b_a) * z + h * (1 - z)
    np.testing.assert_allclose(three(x, [h])[0], expected, rtol=1e-12)


def test_trainable_reaches_the_weights(rng) -> None:
    cell = made(LSTMCell, {}, rng)
    cell.trainable = False
    _, _, backward = cell.forward(rng.normal(size=(2, 3)), states_for(cell, rng))
    backward(np.ones((2, 3)), [None, None])
    assert cell.gradients == cell.trainable_weights == []


BAD = [
    (lambda: LSTMCell(3, name="c", return_sequences=True), TypeError, "LSTMCell 'c': unknown argument 'return_sequ"),
    (lambda: LSTMCell(0, name="c"), ValueError, "'c': expected units to be a positive integer, got 0"),
    (lambda: MUT3(0, name="c"), ValueError, "MUT3 'c': expected units to be a positive integer, got 0"),
    (lambda: GRUCell(3, name="c", units_=1), TypeError, "'c': unknown argument 'units_'"),
    (
        lambda: LSTMCell(3, name="c")(np.ones((2, 3)), [np.ones((2, 3))]),
        ValueError,
        r"LSTMCell 'c': expected states to be a list of 2, got 1",
    ),
    (
        lambda: GRUCell(3, name="c")(np.ones((2, 3)), [np.ones((2, 4))]),
        ValueError,
        r"GRUCell 'c': expected states\[0\] \(2, 3\), got \(2, 4\)",
    ),
    (
        lambda: GRUCell(3, name="c")(np.ones((2, 5, 3)), [np.ones((2, 4))]),
        ValueError,
        r"GRUCell 'c': expected inputs \(batch, features\), got \(2, 5, 3\)",
    ),
    (
        lambda: MUT1(3, name="c").build((None, 4)),
        ValueError,
        r"MUT1 'c': expected inputs \(batch, 3\) as wide as the state, got \(None, 4\)",
    ),
    (lambda: StackedRNNCells([]), ValueError, "StackedRNNCells: expected cells to be a list of at least one cell"),
    (lambda: StackedRNNCells([LSTM(2, name="c")]), ValueError, "expected a cell with a state_size, LSTM 'c' has none"),
    (lambda: StackedRNNCells([3]), TypeError, "StackedRNNCells: expected a cell that is a Layer, got 3"),
    (
        lambda: StackedRNNCells([GRUCell(2), GRUCell(2, dtype="float64", name="c")], name="s"),
        ValueError,
        "StackedRNNCells 's': expected dtype float32 of GRUCell 'c', got float64",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_stack_tells_its_cells_whether_it_trains(rng):
    x, dropped = rng.normal(size=(3, 4)).astype(np.float32), LSTMCell(5, dropout=1.0)
    stack = StackedRNNCells([dropped, GRUCell(2)])
    stack.build((3, 4))
    states = stack.get_initial_state(3)
    at_rest, _ = stack(x, states)
    in_training, _ = stack(x, states, training=True)
    nothing, _ = stack(0 * x, states)
    assert not np.array_equal(at_rest, in_training)
    np.testing.assert_array_equal(in_training, nothing)

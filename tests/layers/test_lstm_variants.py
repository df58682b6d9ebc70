"""The LSTM's variants against loops written out here, and in all that is around a layer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from layers.layer_gradients import check_layer, listed

from fusedlstm import constraints, regularizers
from fusedlstm.layers import (
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    GRUCell,
    Input,
    LSTMCell,
    StackedRNNCells,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential

EVERYTHING = {
    "peephole": True,
    "cell_clip": 0.8,
    "full_gate_recurrence": True,
    "layer_norm": True,
    "projection": 2,
    "zoneout_h": 0.2,
    "zoneout_c": 0.1,
}
VARIANTS = {
    "plain": {},
    "peephole": {"peephole": True},
    "coupled": {"coupled_gates": True},
    "no input gate": {"removed": ["input_gate"]},
    "no forget gate": {"removed": ["forget_gate"]},
    "no output gate": {"removed": ["output_gate"]},
    "no activations": {"removed": ["input_activation", "output_activation"]},
    "clip": {"cell_clip": 0.3},
    "full gate recurrence": {"full_gate_recurrence": True},
    "normalization": {"layer_norm": True, "layer_norm_epsilon": 0.01},
    "projection": {"projection": 2},
    "wide projection": {"projection": 7},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.5},
    "everything": EVERYTHING,
    "everything, coupled": {**EVERYTHING, "coupled_gates": True},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)


def made(rng, units=3, width=4, layer=LSTM, **options):
    """A built layer with random weights."""
    layer = layer(units, dtype="float64", **options)
    layer.build(layer.batch_input_shape or (None, None, width))
    for weight in layer.weights:
        weight.assign(weight.value + 0.4 * rng.normal(size=weight.shape))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal(x, epsilon=1e-5):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)


def by_hand(x, layer, step):
    """The outputs of `step`, which takes x, h, c and the gates of the step before, and gives the new h and c."""
    h, c = np.zeros((len(x), layer.projection or layer.units)), np.zeros((len(x), layer.units))
    gates, outputs = [np.zeros_like(c)] * 3, []
    for t in range(x.shape[1]):
        h, c, *gates = step(t, x[:, t], h, c, gates)
        outputs.append(h)
    return np.stack(outputs, axis=1)


# The equations, each variant alone.


def test_projection(rng) -> None:
    layer, x = made(rng, projection=2, return_sequences=True), rng.normal(size=(3, 5, 4))
    kernel, recurrent, bias, projection = layer.get_weights()

    def step(t, x, h, c, gates):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return (sigmoid(o) * np.tanh(c)) @ projection, c

    np.testing.assert_allclose(layer(x), by_hand(x, layer, step), rtol=1e-12)


def test_full_gate_recurrence(rng) -> None:
    layer, x = made(rng, full_gate_recurrence=True, return_sequences=True), rng.normal(size=(3, 5, 4))
    kernel, recurrent, bias, between = layer.get_weights()
    # R[a][b] takes the old gate a to the new gate b, of i, f and o.
    from_to = [np.split(rows, 3, axis=1) for rows in np.split(between, 3, axis=0)]

    def step(t, x, h, c, gates):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, o = (sigmoid(z + sum(gates[a] @ from_to[a][b] for a in range(3))) for b, z in enumerate((i, f, o)))
        c = f * c + i * np.tanh(g)
        return o * np.tanh(c), c, i, f, o

    np.testing.assert_allclose(layer(x), by_hand(x, layer, step), rtol=1e-12)


def test_the_gates_are_the_third_state(rng) -> None:
    layer = made(rng, full_gate_recurrence=True, coupled_gates=True, removed=["output_gate"], return_state=True)
    _, h, c, gates = layer(rng.normal(size=(3, 5, 4)))
    i, f, o = np.split(gates, 3, axis=1)
    np.testing.assert_allclose(f, 1 - i)
    np.testing.assert_array_equal(o, 1)
    np.testing.assert_allclose(h, np.tanh(c))


def test_layer_normalization(rng) -> None:
    layer, x = made(rng, layer_norm=True, layer_norm_epsilon=0.02, return_sequences=True), rng.normal(size=(3, 5, 4))
    kernel, recurrent, bias, weights = layer.get_weights()
    of_x, of_h, (gain, shift) = weights[:4].reshape(12), weights[4:8].reshape(12), weights[8:]

    def step(t, x, h, c, gates):
        sums = of_x * normal(x @ kernel, 0.02) + of_h * normal(h @ recurrent, 0.02) + bias
        i, f, g, o = np.split(sums, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(gain * normal(c, 0.02) + shift), c

    np.testing.assert_allclose(layer(x), by_hand(x, layer, step), rtol=1e-12)


def test_weights_of_a_removed_gate_count_in_the_statistics_alone(rng) -> None:
    x = rng.normal(size=(3, 5, 4))
    for layer_norm in (False, True):
        layer = made(rng, removed=["output_gate"], layer_norm=layer_norm)
        before = layer(x)
        layer.kernel.update()[:, 9:] += 1
        assert np.array_equal(layer(x), before) != layer_norm


def test_normalized_layers_start_with_gains_of_one_and_no_shift() -> None:
    layer = LSTM(3, layer_norm=True)
    layer.build((None, None, 2))
    np.testing.assert_array_equal(layer.normalization_kernel.value, np.repeat([1.0] * 9 + [0.0], 3).reshape(10, 3))


def zoned(layer, x, h_stays, c_stays, mix):
    """`layer` by hand, the states after each step made by ``mix(new, old, stays[t])``."""
    kernel, recurrent, bias, projection = layer.get_weights()

    def step(t, x, h, c, gates):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        c = mix(sigmoid(f) * c + sigmoid(i) * np.tanh(g), c, c_stays[t])
        return mix((sigmoid(o) * np.tanh(c)) @ projection, h, h_stays[t]), c

    return by_hand(x, layer, step)


def test_zoneout_is_its_expectation_at_inference(rng) -> None:
    options = {"projection": 2, "zoneout_h": 0.3, "zoneout_c": 0.2, "return_sequences": True}
    layer, x = made(rng, **options), rng.normal(size=(3, 5, 4))
    expected = zoned(layer, x, [0.3] * 5, [0.2] * 5, lambda new, old, rate: (1 - rate) * new + rate * old)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    np.testing.assert_array_equal(layer(x), layer(x))


def test_zoneout_keeps_units_in_training(rng) -> None:
    options = {"projection": 2, "zoneout_h": 0.3, "zoneout_c": 0.2, "return_sequences": True, "seed": 7}
    layer, x = made(rng, **options), rng.normal(size=(3, 5, 4))
    masks = LSTM.from_config(layer.get_config())._masks(3, 5)  # the first ones of this seed
    h_stays, c_stays = masks["zoneout_h_mask"], masks["zoneout_c_mask"]
    expected = zoned(layer, x, h_stays, c_stays, lambda new, old, stays: np.where(stays, old, new))
    y = layer(x, training=True)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert not np.array_equal(layer(x, training=True), y), "drawn anew for each call"
    # A unit of h that stays repeats the output before.
    before = np.concatenate([np.zeros((3, 1, 2)), y[:, :-1]], axis=1)
    np.testing.assert_array_equal(y == before, h_stays.swapaxes(0, 1))


def test_zoneout_masks_have_the_rates_and_nothing_in_common() -> None:
    layer = LSTM(40, projection=30, zoneout_h=0.05, zoneout_c=0.6, seed=1)
    masks = layer._masks(50, 80)
    h, c = masks["zoneout_h_mask"], masks["zoneout_c_mask"]
    assert (h.shape, c.shape, h.dtype, c.dtype) == ((80, 50, 30), (80, 50, 40), bool, bool)
    assert abs(h.mean() - 0.05) < 5 * np.sqrt(0.05 * 0.95 / h.size)
    assert abs(c.mean() - 0.6) < 5 * np.sqrt(0.6 * 0.4 / c.size)
    for axis in range(3):  # steps, rows and units alike
        first, second = np.moveaxis(c, axis, 0)[:2].astype(float).reshape(2, -1)
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)
    assert list(LSTM(40, zoneout_c=0.1)._masks(2, 3)) == ["zoneout_c_mask"]
    assert LSTM(40, zoneout_h=1.0)._masks(2, 3)["zoneout_h_mask"].all()


def test_zoneout_of_one_leaves_the_state(rng) -> None:
    layer = made(rng, zoneout_h=1.0, zoneout_c=1.0, return_state=True)
    state = [rng.normal(size=(2, 3)), rng.normal(size=(2, 3))]
    for training in (False, True):
        y, h, c = layer(rng.normal(size=(2, 5, 4)), training=training, initial_state=state)
        np.testing.assert_allclose([y, h, c], [state[0], *state], rtol=1e-15)


def test_a_seed_repeats_masks_and_gradients(rng) -> None:
    x, runs = rng.normal(size=(3, 5, 4)), []
    options = {"zoneout_h": 0.3, "zoneout_c": 0.2, "dropout": 0.3, "recurrent_dropout": 0.2}
    weights = made(rng, **options).get_weights()
    for seed in (5, 5, 6):
        layer = made(rng, **options, seed=seed)
        layer.set_weights(weights)
        for _ in range(2):
            y, backward = layer.forward(x, training=True)
            runs.append([y, backward(np.ones_like(y)), *layer.gradients])
    for a, b in zip(runs[0] + runs[1], runs[2] + runs[3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((a != b).any() for a, b in zip(runs[0], runs[4], strict=True))
    assert all((a != b).any() for a, b in zip(runs[0], runs[1], strict=True))


# Around the layer.


@every_variant
def test_parameters_are_those_of_the_documentation(options) -> None:
    units, inputs = 3, 4
    outputs = options.get("projection", units)
    expected = 4 * units * (inputs + outputs + 1)
    expected += 3 * units * options.get("peephole", False)
    expected += 9 * units**2 * options.get("full_gate_recurrence", False)
    expected += units * options.get("projection", 0)
    expected += 10 * units * options.get("layer_norm", False)
    layer = LSTM(units, **options)
    layer.build((None, None, inputs))
    assert layer.count_params() == expected


def test_weights_are_attributes_with_penalties_and_constraints() -> None:
    layer = LSTM(
        3, **EVERYTHING, kernel_regularizer="l1", recurrent_regularizer="l2", kernel_constraint="non_neg",
        recurrent_constraint="max_norm", name="e",
    )  # fmt: skip
    layer.build((None, None, 4))
    assert [variable.path for variable in layer.weights] == [
        f"e/{name}" for name in (
            "kernel", "recurrent_kernel", "bias", "peephole_kernel", "gate_recurrence_kernel", "projection_kernel",
            "normalization_kernel",
        )
    ]  # fmt: skip
    for variable in layer.weights:
        assert getattr(layer, variable.name) is variable
    for variable, regularizer, constraint in (
        (layer.projection_kernel, regularizers.L1, constraints.NonNeg),
        (layer.gate_recurrence_kernel, regularizers.L2, constraints.MaxNorm),
        (layer.peephole_kernel, type(None), type(None)),
        (layer.normalization_kernel, type(None), type(None)),
    ):
        assert type(variable.regularizer) is regularizer
        assert type(variable.constraint) is constraint
    recurrence = layer.gate_recurrence_kernel.value  # orthogonal, as recurrent_kernel
    np.testing.assert_allclose(recurrence @ recurrence.T, np.eye(9), atol=1e-5)
    plain = LSTM(3)
    plain.build((None, None, 4))
    assert plain.peephole_kernel is plain.gate_recurrence_kernel is None
    assert plain.projection_kernel is plain.normalization_kernel is None


@every_variant
def test_one_step_at_a_time_is_the_whole(options, rng) -> None:
    x = rng.normal(size=(3, 5, 4))
    whole = made(rng, return_sequences=True, return_state=True, **options)
    stream = LSTM(3, dtype="float64", stateful=True, return_state=True, batch_input_shape=(3, None, 4), **options)
    stream.build((3, None, 4))
    stream.set_weights(whole.get_weights())
    for mask in (None, MASK):
        y, *states = whole(x, mask=mask)
        steps = [stream(x[:, t : t + 1], mask=None if mask is None else mask[:, t : t + 1]) for t in range(5)]
        for (_, *found), h in zip(steps, np.moveaxis(y, 1, 0), strict=True):
            if mask is None:
                np.testing.assert_allclose(found[0], h, rtol=1e-12)
        for a, b in zip(steps[-1][1:], states, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
        # The same with the states handed over.
        first, *between = whole(x[:, :2], mask=None if mask is None else mask[:, :2])
        second, *last = whole(x[:, 2:], mask=None if mask is None else mask[:, 2:], initial_state=between)
        for a, b in zip(last, states, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
        if mask is None:
            np.testing.assert_allclose(np.concatenate([first, second], axis=1), y, rtol=1e-12)
        stream.reset_state()


@every_variant
def test_a_stateful_call_has_the_gradients_of_one_with_that_state(options, rng) -> None:
    options, x = {**options, "seed": 3, "return_state": True}, rng.normal(size=(2, 5, 4))
    stream = made(rng, stateful=True, batch_input_shape=(2, None, 4), **options)
    plain = LSTM(3, dtype="float64", **options)
    plain.build((2, None, 4))
    plain.set_weights(stream.get_weights())
    _, *states = stream(x, training=True)
    plain(x, training=True)  # draws as many masks
    runs = []
    for layer, state in ((stream, None), (plain, states)):
        outputs, backward = layer.forward(x, True, initial_state=state)
        d = backward([np.ones_like(y) for y in outputs])
        runs.append([*outputs, d if state is None else d[0], *layer.gradients])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


@every_variant
def test_a_padded_batch_equals_each_sequence_alone(options, rng) -> None:
    layer = made(rng, return_state=True, **options)
    x, lengths = rng.normal(size=(3, 5, 4)), [5, 3, 1]
    mask = np.arange(5) < np.array(lengths)[:, None]
    together = layer(np.where(mask[..., None], x, 1e3), mask=mask)
    for row, length in enumerate(lengths):
        for whole, alone in zip(together, layer(x[row : row + 1, :length]), strict=True):
            np.testing.assert_allclose(whole[row], alone[0], rtol=1e-12)


@every_variant
def test_rebuilt_and_pickled_layers_are_equal(options, rng) -> None:
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    model = Sequential([Input((5, 4)), LSTM(3, **options, return_sequences=True), LSTM(2, **options)])
    rebuilt = Sequential.from_config(model.get_config())
    assert rebuilt.get_config() == model.get_config()
    rebuilt.set_weights(model.get_weights())
    expected = model.predict(x, verbose=0)
    for other in (rebuilt, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(x, verbose=0), expected)
        for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@every_variant
def test_float32_stays(options, rng) -> None:
    layer = LSTM(3, **options, return_state=True)
    outputs, backward = layer.forward(rng.normal(size=(2, 5, 4)), training=True)
    d_x = backward([np.ones_like(y) for y in outputs])
    assert {a.dtype.name for a in (*outputs, d_x, *layer.gradients)} == {"float32"}
    assert [a.shape for a in layer.gradients] == [v.shape for v in layer.trainable_weights]


def test_masks_shapes_and_sizes() -> None:
    layer = LSTM(3, **EVERYTHING, return_sequences=True, return_state=True)
    mask = np.ones((2, 5), bool)
    assert layer.compute_output_shape((None, 5, 4)) == [(None, 5, 2), (None, 2), (None, 3), (None, 9)]
    assert layer.compute_mask(np.ones((2, 5, 4)), mask) == [mask, None, None, None]
    layer = LSTM(3, full_gate_recurrence=True)
    assert layer.compute_output_shape((None, 5, 4)) == (None, 3)


def test_recurrent_dropout_is_as_wide_as_the_projection() -> None:
    layer = LSTM(3, projection=2, dropout=0.5, recurrent_dropout=0.5)
    layer.build((None, None, 5))
    shapes = {name: mask.shape for name, mask in layer._masks(4, 7).items()}
    assert shapes == {"input_dropout": (4, 4, 5), "recurrent_dropout": (4, 4, 2)}


def test_a_second_build_packs_the_new_weights(rng) -> None:
    layer, x, found = LSTM(3, projection=2, dtype="float64"), rng.normal(size=(2, 5, 4)), []
    for factor in (1, 2):
        layer.build(x.shape)
        layer.kernel.assign(layer.kernel.value * factor)  # changed as often as before
        found.append(layer(x))
    assert not np.array_equal(*found)


def test_packed_weights_follow_every_change(rng) -> None:
    layer, x = made(rng, **EVERYTHING), rng.normal(size=(2, 5, 4))
    found = [layer(x)]
    for variable in layer.weights:
        variable.assign(variable.value * 1.5)
        found.append(layer(x))
        assert not np.array_equal(found[-1], found[-2]), variable.name


def test_one_frozen_weight_has_no_gradient(rng) -> None:
    layer = made(rng, **EVERYTHING)
    layer.gate_recurrence_kernel.trainable = False
    y, backward = layer.forward(rng.normal(size=(2, 5, 4)), training=True)
    backward(y)
    assert [g.shape for g in layer.gradients] == [v.shape for v in layer.trainable_weights]
    assert len(layer.gradients) == 6


# Layers and models around it.


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_bidirectional(merge_mode, rng) -> None:
    layer = Bidirectional(
        LSTM(3, dtype="float64", return_sequences=True, return_state=True, **EVERYTHING), merge_mode=merge_mode
    )
    check_layer(layer, rng.normal(size=(3, 5, 4)), mask=MASK, training=False)
    x = rng.normal(size=(3, 5, 4))
    outputs = layer(x)
    assert [y.shape for y in outputs[-6:]] == [(3, 2), (3, 3), (3, 9)] * 2
    states = outputs[-6:]
    continued = layer(x, initial_state=states)
    ways = zip((layer.forward_layer, layer.backward_layer), (states[:3], states[3:]), strict=True)
    for k, (way, own) in enumerate(ways):
        way.zero_output_for_mask = False
        for a, b in zip(way(x, initial_state=own)[1:], continued[-6 + 3 * k :][:3], strict=True):
            np.testing.assert_array_equal(a, b)


def test_directions_of_different_variants_share_out_the_states(rng) -> None:
    backward_layer = LSTM(3, go_backwards=True, return_state=True, projection=2)
    layer = Bidirectional(LSTM(3, full_gate_recurrence=True, return_state=True), backward_layer=backward_layer)
    x = rng.normal(size=(2, 5, 4))
    _, *states = layer(x)
    assert [s.shape[1] for s in states] == [3, 3, 9, 2, 3]
    y, *_ = layer(x, initial_state=states)
    assert y.shape == (2, 5)
    np.testing.assert_array_equal(y[:, 3:], backward_layer(x, initial_state=states[3:])[0])


def test_time_distributed(rng) -> None:
    inner = LSTM(3, dtype="float64", **EVERYTHING)
    layer = TimeDistributed(inner)
    x = rng.normal(size=(2, 3, 5, 4))
    y = layer(x)
    assert y.shape == (2, 3, 2)
    np.testing.assert_allclose(y[:, 1], inner(x[:, 1]), rtol=1e-12)


def test_stacked_cells_are_the_layers(rng) -> None:
    options = {name: value for name, value in EVERYTHING.items() if not name.startswith("zoneout")}
    stack = RNN(
        StackedRNNCells([LSTMCell(3, dtype="float64", **options), GRUCell(2, dtype="float64")]), return_state=True
    )
    x = rng.normal(size=(3, 5, 4))
    y, (h, c, gates), g = stack(x)
    first = LSTM(3, dtype="float64", return_sequences=True, return_state=True, **options)
    first.build(x.shape)
    first.set_weights(stack.get_weights()[:7])
    np.testing.assert_array_equal(y, g)
    for a, b in zip((h, c, gates), first(x)[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    check_layer(stack, x, mask=MASK)


def test_an_encoder_hands_its_states_to_a_decoder(rng) -> None:
    options = {name: value for name, value in EVERYTHING.items() if not name.startswith("zoneout")}
    source, target = Input((5, 4), name="source"), Input((3, 2), name="target")
    _, *states = LSTM(3, dtype="float64", return_state=True, **options)(source)
    assert [s.shape for s in states] == [(None, 2), (None, 3), (None, 9)]
    decoded = LSTM(3, dtype="float64", return_sequences=True, **options)(target, initial_state=states)
    model = Model([source, target], Dense(1, dtype="float64")(decoded))
    model.compile("sgd", "mse")
    x, z, y = rng.normal(size=(4, 5, 4)), rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 1))
    _, gradients = model.compute_gradients([x, z], y)
    for variable, gradient in zip(model.trainable_weights, gradients, strict=True):
        index = tuple(n // 2 for n in variable.shape)
        losses = []
        for step in (1e-6, -2e-6):
            variable.update()[index] += step
            losses.append(model.compute_gradients([x, z], y)[0])
        variable.update()[index] += 1e-6
        assert gradient[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-3, abs=1e-7), variable.path
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict([x, z], verbose=0), model.predict([x, z], verbose=0))


def symbolic(*shapes):
    return [Input(batch_shape=(None, *shape)) for shape in shapes]


STATES = [
    (
        lambda: LSTM(3, projection=2, name="e")(np.ones((2, 5, 4)), initial_state=[np.ones((2, 3))] * 2),
        "LSTM 'e': expected initial_state h (2, 2), got (2, 3)",
    ),
    (
        lambda: LSTM(3, projection=2, name="e")(np.ones((2, 5, 4)), initial_state=[np.ones((2, 2))] * 2),
        "LSTM 'e': expected initial_state c (2, 3), got (2, 2)",
    ),
    (
        lambda: LSTM(3, full_gate_recurrence=True, name="e")(np.ones((2, 5, 4)), initial_state=[np.ones((2, 3))] * 2),
        "LSTM 'e': expected initial_state to be a list [h, c, gates], got 2 arrays",
    ),
    (
        lambda: LSTM(3, full_gate_recurrence=True, name="e")(np.ones((2, 5, 4)), initial_state=[np.ones((2, 3))] * 3),
        "LSTM 'e': expected initial_state gates (2, 9), got (2, 3)",
    ),
    (
        lambda: LSTM(3, projection=2, name="e")(*symbolic((5, 4)), initial_state=symbolic((3,), (3,))),
        "LSTM 'e': expected initial_state h (None, 2), got (None, 3)",
    ),
    (
        lambda: LSTM(3, full_gate_recurrence=True, name="e")(*symbolic((5, 4)), initial_state=symbolic((3,), (3,))),
        "LSTM 'e': expected initial_state to be a list [h, c, gates], got 2 arrays",
    ),
    (
        lambda: RNN(LSTMCell(3, projection=2), name="e")(*symbolic((5, 4)), initial_state=symbolic((2,), (2,))),
        "RNN 'e': expected initial_state[1] (None, 3), got (None, 2)",
    ),
    (
        lambda: RNN(LSTMCell(3, projection=2), name="e")(*symbolic((5, 4)), initial_state=symbolic((2,))),
        "RNN 'e': expected initial_state to be a list of 2, got 1",
    ),
    (
        lambda: Bidirectional(LSTM(3, name="e"), name="b")(*symbolic((5, 4)), initial_state=symbolic((3,), (3,))),
        "Bidirectional 'b': expected initial_state to be a list of the forward layer's states, 2, and then the "
        "backward layer's, 2, got 2",
    ),
    (
        lambda: Bidirectional(LSTM(3, projection=2, name="e"), name="b")(
            *symbolic((5, 4)), initial_state=symbolic((2,), (3,), (3,), (3,))
        ),
        "LSTM 'backward_e': expected initial_state h (None, 2), got (None, 3)",
    ),
    (
        lambda: LSTMCell(3, projection=2, name="c")(np.ones((2, 4)), [np.ones((2, 3))] * 2),
        "LSTMCell 'c': expected states[0] (2, 2), got (2, 3)",
    ),
    (
        lambda: LSTM(3, projection=2, return_state=True, name="e").forward(np.ones((2, 5, 4)), True)[1](
            [None, np.ones((2, 3)), None]
        ),
        "LSTM 'e': expected d_h (2, 2), got (2, 3)",
    ),
    (
        lambda: LSTM(3, full_gate_recurrence=True, return_state=True, name="e").forward(np.ones((2, 5, 4)), True)[1](
            [None, None, None, np.ones((2, 3))]
        ),
        "LSTM 'e': expected d_gates (2, 9), got (2, 3)",
    ),
]


@pytest.mark.parametrize(("call", "message"), STATES, ids=range(len(STATES)))
def test_wrong_states(call, message) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_listed_states_after_the_inputs(rng) -> None:
    layer = made(rng, **EVERYTHING, return_state=True)
    x = rng.normal(size=(3, 5, 4))
    _, *states = layer(x)
    for a, b in zip(layer([x, *states]), layer(x, initial_state=states), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(listed(layer(x))) == 4

"""LSTM, GRU and SimpleRNN as layers: gradients over their options, dropout's rules, variants, states, bad arguments."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from layers.layer_gradients import check_layer, listed, numeric_gradient, pairs

from fusedlstm import backends, utils
from fusedlstm.layers import GRU, LSTM, Dense, SimpleRNN
from fusedlstm.models import Sequential

# What an activation without a kernel warns of has its own tests, in test_recurrent_activations.py.
pytestmark = pytest.mark.filterwarnings("ignore:.*the kernels do not have")

RNG = np.random.default_rng(3)
MASK = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], bool)

COMMON = {
    "return_sequences": [False, True],
    "return_state": [False, True],
    "go_backwards": [False, True],
    "dropout": [0.0, 0.4],
    "recurrent_dropout": [0.0, 0.3],
    "use_bias": [True, False],
    "mask": [None, MASK],
    "zero_output_for_mask": [False, True],
    "state": [False, True],
}
OPTIONS = {
    LSTM: {
        "activation": ["tanh", "softsign", "gelu"],
        "recurrent_activation": ["sigmoid", "hard_sigmoid", "softmax"],
        "peephole": [False, True],
        "coupled_gates": [False, True],
        "removed": [(), ("output_gate",), ("input_activation", "output_activation")],
        "cell_clip": [None, 0.4],
        "full_gate_recurrence": [False, True],
        "layer_norm": [False, True],
        "layer_norm_epsilon": [1e-5, 0.3],
        "projection": [None, 2, 4],
        "zoneout_h": [0.0, 0.3],
        "zoneout_c": [0.0, 0.4],
    },
    GRU: {
        "activation": ["tanh", "softsign", "mish"],
        "recurrent_activation": ["sigmoid", "softplus", "softmax"],
        "reset_after": [True, False],
    },
    SimpleRNN: {"activation": ["tanh", "elu", "silu"]},
}


@pytest.mark.parametrize(
    ("layer", "options"),
    [(layer, chosen) for layer, own in OPTIONS.items() for chosen in pairs(COMMON | own)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_gradients(layer, options):
    options = dict(options)
    mask, state = options.pop("mask"), options.pop("state")
    made = layer(3, dtype="float64", **options)
    x = RNG.normal(size=(4, 4, 2))
    if state:
        # The states are inputs too: their gradients are checked as those of a list.
        states = [RNG.normal(size=(4, size)) for size in made.state_sizes.values()]
        check_with_states(made, x, mask, states)
    else:
        check_layer(made, x, mask=mask)


def check_with_states(layer, x, mask, states):
    """Gradients of the initial states, which `check_layer` does not know, and of all else."""
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(weight.value + 0.3 * RNG.normal(size=weight.shape))

    def run(need_backward):
        if layer._generator is not None:
            layer._generator = np.random.default_rng(0)
        return layer.forward(x, True, mask, initial_state=states, need_backward=need_backward)

    outputs, backward = run(True)
    weights = [RNG.normal(size=y.shape) for y in listed(outputs)]
    d_inputs = backward(weights if isinstance(outputs, list) else weights[0])
    gradients = layer.gradients

    def loss():
        return sum(float((y * w).sum()) for y, w in zip(listed(run(False)[0]), weights, strict=True))

    for array, gradient in zip([x, *states], d_inputs, strict=True):
        np.testing.assert_allclose(gradient, numeric_gradient(loss, array), rtol=1e-3, atol=1e-5)
    for variable, gradient in zip(layer.trainable_weights, gradients, strict=True):
        array = variable.update()

        def loss_of(variable=variable):
            variable.update()
            return loss()

        numeric = numeric_gradient(loss_of, array)
        variable.update()
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_dropout_is_drawn_once_a_call_and_only_in_training(layer):
    made = layer(4, dropout=0.5, recurrent_dropout=0.5, seed=1)
    x = np.ones((3, 6, 5), np.float32)
    np.testing.assert_array_equal(made(x), made(x))
    assert not np.array_equal(made(x, training=True), made(x, training=True))
    again = layer(4, dropout=0.5, recurrent_dropout=0.5, seed=1)
    again.build(x.shape)
    again.set_weights(made.get_weights())
    first = layer(4, dropout=0.5, recurrent_dropout=0.5, seed=1)
    first.build(x.shape)
    first.set_weights(made.get_weights())
    np.testing.assert_array_equal(again(x, training=True), first(x, training=True))


@pytest.mark.parametrize(
    ("layer", "dropout", "recurrent_dropout", "shapes"),
    [
        (LSTM, 0.5, 0.0, {"input_dropout": (1, 3, 5)}),
        (LSTM, 0.5, 0.5, {"input_dropout": (4, 3, 5), "recurrent_dropout": (4, 3, 2)}),
        (LSTM, 0.0, 0.5, {"recurrent_dropout": (4, 3, 2)}),
        (GRU, 0.5, 0.0, {"input_dropout": (1, 3, 5)}),
        (GRU, 0.5, 0.5, {"input_dropout": (3, 3, 5), "recurrent_dropout": (3, 3, 2)}),
        (SimpleRNN, 0.5, 0.5, {"input_dropout": (1, 3, 5), "recurrent_dropout": (1, 3, 2)}),
    ],
)
def test_masks_are_shared_by_the_gates_unless_the_state_is_dropped_too(layer, dropout, recurrent_dropout, shapes):
    made = layer(2, dropout=dropout, recurrent_dropout=recurrent_dropout)
    made.build((None, None, 5))
    masks = made._masks(3, 1)
    assert {name: mask.shape for name, mask in masks.items()} == shapes
    for mask in masks.values():
        assert set(np.unique(mask)) <= {0.0, 2.0}


def test_a_rate_of_one_drops_everything():
    made = LSTM(3, dropout=1.0, use_bias=False)
    assert not made(RNG.normal(size=(2, 3, 4)), training=True).any()


def test_the_share_that_is_dropped():
    made = LSTM(50, dropout=0.2, recurrent_dropout=0.7, seed=4)
    made.build((None, None, 60))
    masks = made._masks(100, 1)
    assert abs((masks["input_dropout"] == 0).mean() - 0.2) < 0.01
    assert abs((masks["recurrent_dropout"] == 0).mean() - 0.7) < 0.01
    assert abs(masks["recurrent_dropout"].mean() - 1) < 0.03


@pytest.mark.parametrize(
    "options",
    [
        {"peephole": True},
        {"coupled_gates": True},
        {"removed": "input_gate"},
        {"removed": "forget_gate"},
        {"removed": "output_gate"},
        {"removed": "input_activation"},
        {"removed": "output_activation"},
        {"cell_clip": 1.0},
        {"dropout": 0.1, "recurrent_dropout": 0.1, "seed": 1},
        {"full_gate_recurrence": True},
        {"layer_norm": True},
        {"projection": 5},
        {"zoneout_h": 0.1, "zoneout_c": 0.1, "seed": 1},
        {"activation": "gelu"},
        {
            "full_gate_recurrence": True, "layer_norm": True, "projection": 8, "peephole": True, "coupled_gates": True,
            "zoneout_c": 0.05, "cell_clip": 3.0, "seed": 1,
        },
    ],
    ids=str,
)  # fmt: skip
def test_variants_learn(options):
    learns(LSTM(16, **options))


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_learns(reset_after):
    learns(GRU(16, reset_after=reset_after))


def test_simple_rnn_learns():
    learns(SimpleRNN(16))


def learns(layer):
    """The mean of the first and the last of six numbers, to a tenth of its variance; the other feature is always 1."""
    utils.set_random_seed(5)
    x = np.random.default_rng(0).uniform(-1, 1, (512, 6, 1)).astype(np.float32)
    y = (x[:, 0] + x[:, -1]) / 2
    x = np.concatenate([x, np.ones_like(x)], axis=-1)  # layer normalisation of a single feature leaves its sign alone
    model = Sequential([layer, Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.learning_rate = 0.01
    model.fit(x, y, epochs=40, batch_size=32, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.1 * float(y.var())


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_a_stateful_layer_goes_on_where_it_stopped(layer):
    x = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    whole = layer(4, return_sequences=True)
    expected = whole(x)
    parts = layer(4, return_sequences=True, stateful=True, batch_input_shape=(2, None, 3))
    parts.build((2, None, 3))
    parts.set_weights(whole.get_weights())
    for _ in range(2):
        np.testing.assert_array_equal(parts(x[:, :2]), expected[:, :2])
        np.testing.assert_array_equal(parts(x[:, 2:]), expected[:, 2:])
        parts.reset_state()


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (LSTM(3), [(2, 12), (3, 12), (12,)]),
        (LSTM(3, peephole=True), [(2, 12), (3, 12), (12,), (3, 3)]),
        (LSTM(3, full_gate_recurrence=True), [(2, 12), (3, 12), (12,), (9, 9)]),
        (LSTM(3, projection=4), [(2, 12), (4, 12), (12,), (3, 4)]),
        (LSTM(3, layer_norm=True), [(2, 12), (3, 12), (12,), (10, 3)]),
        (LSTM(3, zoneout_h=0.1, zoneout_c=0.1), [(2, 12), (3, 12), (12,)]),
        (
            LSTM(3, peephole=True, full_gate_recurrence=True, projection=1, layer_norm=True, use_bias=False),
            [(2, 12), (1, 12), (3, 3), (9, 9), (3, 1), (10, 3)],
        ),
        (GRU(3), [(2, 9), (3, 9), (2, 9)]),
        (GRU(3, reset_after=False), [(2, 9), (3, 9), (9,)]),
        (GRU(3, use_bias=False), [(2, 9), (3, 9)]),
        (SimpleRNN(3), [(2, 3), (3, 3), (3,)]),
    ],
)
def test_weights(layer, shapes):
    layer.build((None, None, 2))
    assert [w.shape for w in layer.weights] == shapes
    assert layer.weights[0].name == "kernel"


BAD = [
    (lambda: GRU(0, name="e"), ValueError, "GRU 'e': expected units to be a positive integer, got 0"),
    (lambda: GRU(3, reset_after=1, name="e"), TypeError, "GRU 'e': expected reset_after to be True or False, got 1"),
    (lambda: SimpleRNN(3, dropout=-0.1, name="e"), ValueError,
     "SimpleRNN 'e': expected dropout to be a number from 0 to 1, got -0.1"),
    (lambda: SimpleRNN(3, recurrent_activation="tanh", name="e"), TypeError,
     "SimpleRNN 'e': unknown argument 'recurrent_activation'"),
    (lambda: LSTM(3, seed=-1, name="e"), ValueError, "LSTM 'e': expected seed to be an integer from 0 on, got -1"),
    (lambda: LSTM(3, removed="input", name="e"), ValueError,
     "LSTM 'e': expected removed to be some of 'input_gate', 'forget_gate', 'output_gate', 'input_activation', "
     "'output_activation', got 'input'"),
    (lambda: LSTM(3, removed=["forget_gate"], coupled_gates=True, name="e"), ValueError,
     "LSTM 'e': expected removed without 'input_gate' and 'forget_gate', as coupled_gates=True"),
    (lambda: LSTM(3, removed=5, name="e"), TypeError, "LSTM 'e': expected removed to be a list of names, got 5"),
    (lambda: LSTM(3, cell_clip=0, name="e"), ValueError,
     "LSTM 'e': expected cell_clip to be a positive number or None, got 0"),
    (lambda: LSTM(3, cell_clip=float("nan"), name="e"), ValueError,
     "LSTM 'e': expected cell_clip to be a positive number or None, got nan"),
    (lambda: LSTM(3, cell_clip=True, name="e"), ValueError,
     "LSTM 'e': expected cell_clip to be a positive number or None, got True"),
    (lambda: GRU(3, projection=2, name="e"), TypeError, "GRU 'e': unknown argument 'projection'"),
    (lambda: GRU(3, name="e")(np.ones((2, 4))), ValueError,
     "GRU 'e': expected inputs (batch, steps, features), got (2, 4)"),
    (lambda: GRU(3, name="e")(np.ones((2, 4, 3)), initial_state=[np.ones((2, 3))] * 2), ValueError,
     "GRU 'e': expected initial_state to be a list [h], got 2 arrays"),
    (lambda: GRU(3, name="e")(np.ones((2, 4, 3)), initial_state=np.ones((2, 4))), ValueError,
     "GRU 'e': expected initial_state h (2, 3), got (2, 4)"),
    (lambda: SimpleRNN(3, stateful=True, name="e")(np.ones((2, 4, 3)), mask=np.ones((2, 5), bool)), ValueError,
     "SimpleRNN 'e': expected mask (2, 4), got (2, 5)"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_arguments(number):
    call, error, message = BAD[number]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_get_initial_state():
    """As Keras's: zeros, one array a state, each as wide as it is."""
    shapes = [state.shape for state in LSTM(3, projection=2, full_gate_recurrence=True).get_initial_state(4)]
    assert shapes == [(4, 2), (4, 3), (4, 9)]
    (state,) = GRU(5, dtype="float64").get_initial_state(batch_size=2)
    np.testing.assert_array_equal(state, np.zeros((2, 5)))
    assert state.dtype == np.float64


CHANGES = {
    "return_sequences": True, "return_state": True, "zero_output_for_mask": True, "go_backwards": True,
    "stateful": True, "activation": "relu", "recurrent_activation": "hard_sigmoid", "cell_clip": 0.1,
    "coupled_gates": True, "removed": ("output_gate",), "layer_norm_epsilon": 0.5, "zoneout_h": 0.5, "zoneout_c": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_options_set_after_a_call_count(name):
    """What calls of a kind have in common is kept, as long as it is so."""
    x = RNG.normal(size=(4, 4, 2)).astype("f")
    options = {"units": 3, "layer_norm": name == "layer_norm_epsilon", "zoneout_h": 0.1, "zoneout_c": 0.1}
    layer, mask = LSTM(**options), MASK
    first = layer(x, mask=mask)
    other = LSTM(**{**options, name: CHANGES[name]}, **({"batch_input_shape": x.shape} if name == "stateful" else {}))
    other.build(x.shape)
    other.set_weights(layer.get_weights())
    value = getattr(layer, name)
    setattr(layer, name, getattr(other, name))
    for a, b in zip(listed(layer(x, mask=mask)), listed(other(x, mask=mask)), strict=True):
        np.testing.assert_array_equal(a, b)
    setattr(layer, name, value)
    layer.reset_state()
    np.testing.assert_array_equal(layer(x, mask=mask), first)


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_many_shapes_and_backward_calls_that_wait(layer):
    made = layer(3, return_sequences=True)
    made.build((None, None, 2))
    xs = [RNG.normal(size=(1 + n % 3, n, 2)).astype("f") for n in range(1, 300)]  # more than are kept
    ways_back = [made.forward(x, training=True)[1] for x in xs]
    for x, back in zip(xs, ways_back, strict=True):
        y, at_once = made.forward(x, training=True)
        expected = at_once(y), *made.gradients
        for a, b in zip((back(y), *made.gradients), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_several_threads_run_one_layer(layer):
    made = layer(8, return_sequences=True)
    made.build((None, None, 3))
    xs = [RNG.normal(size=(2, 5 + k % 2, 3)).astype("f") for k in range(4)]
    expected = [(made(x), made.forward(x, training=True)[1](np.ones((*x.shape[:2], 8), "f"))) for x in xs]
    wrong = []

    def work(x, y, d_x):
        for _ in range(200):
            found, back = made.forward(x, training=True)
            for a, b in ((made(x), y), (found, y), (back(np.ones_like(y)), d_x)):
                if not np.array_equal(a, b):
                    wrong.append(a)

    threads = [threading.Thread(target=work, args=(x, *both)) for x, both in zip(xs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_kept_of_calls_ends_with_the_instruction_set():
    backend = backends.current()
    if not hasattr(backend, "set_isa"):
        pytest.skip("this backend has no instruction sets")
    before = backend.get_isa()
    layer, x = LSTM(9), RNG.normal(size=(4, 4, 2)).astype("f")
    first = layer(x)
    try:
        for isa in backend.available_isas():
            backend.set_isa(isa)
            np.testing.assert_allclose(layer(x), first, rtol=1e-5, atol=1e-6)
            y, back = layer.forward(x, training=True)
            back(y)
    finally:
        backend.set_isa(before)
    np.testing.assert_array_equal(layer(x), first)


def test_what_is_assigned_after_a_call_is_looked_at(rng):
    """Calls of a kind are prepared once: states and dtypes that do not fit must not reach the kernels."""
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    layer = LSTM(8, stateful=True, batch_input_shape=(4, 5, 3))
    layer(x), layer(x)
    first = [state.copy() for state in layer.states]
    again = LSTM(8, stateful=True, batch_input_shape=(4, 5, 3))
    again.build((4, 5, 3))
    again.set_weights(layer.get_weights())
    again(x), again(x)
    for change in (lambda s: s.astype(np.float64), lambda s: s.tolist(), np.asfortranarray):
        again.states = [change(state) for state in first]
        expected = layer(x)
        np.testing.assert_array_equal(again(x), expected)
        first = [state.copy() for state in layer.states]
    again.states = [np.zeros((1, 8), np.float32)] * 2
    with pytest.raises(ValueError, match=r"expected initial_state h \(4, 8\), got \(1, 8\)"):
        again(x)


def test_a_layer_whose_dtype_is_assigned_after_a_call_is_refused(rng):
    for first, then in (("float32", "float64"), ("float64", "float32")):
        layer = GRU(8, dtype=first)
        layer(rng.normal(size=(4, 5, 3)))
        layer.dtype = np.dtype(then)
        with pytest.raises(ValueError, match=f"of {first}, got .*{then}"):
            layer(rng.normal(size=(4, 5, 3)))


def test_kernel_options_of_a_subclass_may_change(rng):
    class Clipped(LSTM):
        limit = 0.0

        def kernel_options(self, training):
            return {**super().kernel_options(training), "cell_clip": self.limit}

    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    layer = Clipped(8)
    before = layer(x)
    layer.limit = 0.01
    assert np.abs(layer(x)).max() < np.abs(before).max()
    assert np.abs(layer(x)).max() <= 0.01


def test_a_stream_does_not_see_later_changes_of_peepholes(rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    layer = LSTM(8, peephole=True)
    layer.build((None, None, 3))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    expected = layer.stream(2)
    steps = [np.array(expected(x)) for _ in range(3)]
    stream = layer.stream(2)
    np.testing.assert_array_equal(stream(x), steps[0])
    layer.set_weights([w + 1 for w in layer.get_weights()])
    np.testing.assert_array_equal(stream(x), steps[1])

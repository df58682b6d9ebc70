"""Bidirectional: both directions' numbers, merged; states, masks, gradients, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs
from layers.test_rnn import MASK, Trained, check_states

from fusedlstm import backends
from fusedlstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, GRUCell, Input, LSTMCell, Masking, SimpleRNN
from fusedlstm.models import Model, Sequential

LAYERS = {
    "lstm": lambda **flags: LSTM(2, dtype="float64", **flags),
    "gru": lambda **flags: GRU(2, dtype="float64", **flags),
    "simple": lambda **flags: SimpleRNN(2, dtype="float64", use_bias=False, **flags),
    "stack": lambda **flags: RNN([LSTMCell(2, dtype="float64"), GRUCell(2, dtype="float64")], **flags),
}
OPTIONS = {
    "layer": list(LAYERS),
    "merge_mode": ["concat", "sum", "mul", "ave", None],
    "mask": [None, MASK],
    "return_sequences": [False, True],
    "return_state": [False, True],
    "go_backwards": [False, True],
}


def made(case):
    case = dict(case)
    kind, merge_mode, mask = case.pop("layer"), case.pop("merge_mode"), case.pop("mask")
    return Bidirectional(LAYERS[kind](**case), merge_mode=merge_mode), mask


@pytest.mark.parametrize("case", pairs(OPTIONS))
def test_gradients(case, rng) -> None:
    layer, mask = made(case)
    check_layer(layer, rng.normal(size=(3, 4, 3)), mask=mask)


@pytest.mark.parametrize("case", pairs({**OPTIONS, "return_state": [True]}))
def test_gradients_with_states(case, rng) -> None:
    layer, mask = made(case)
    layer.build((None, None, 3))
    half = len(layer.forward_layer.compute_output_shape((3, 4, 3))) - 1
    states = [rng.normal(size=(3, 2)) for _ in range(2 * half)]
    check_states(layer, rng.normal(size=(3, 4, 3)), states, mask, rng)


@pytest.mark.parametrize("case", pairs(OPTIONS))
def test_is_two_layers(case, rng) -> None:
    """The same as two layers of one's own, one of them on reversed steps."""
    layer, mask = made(case)
    x = rng.normal(size=(3, 4, 3))
    outputs = layer(x, mask=mask)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    flags = {"return_sequences": case["return_sequences"], "zero_output_for_mask": case["return_sequences"]}
    forth, back = (LAYERS[case["layer"]](**flags, return_state=True) for _ in "ab")
    count = len(layer.get_weights()) // 2
    for own, weights in ((forth, layer.get_weights()[:count]), (back, layer.get_weights()[count:])):
        own.build(x.shape)
        own.set_weights(weights)

    def flipped(array):
        return None if array is None else array[:, ::-1]

    runs = (flipped(x), flipped(mask)), (x, mask)
    forth_run, back_run = runs if case["go_backwards"] else runs[::-1]
    (y, *states), _ = forth.forward(forth_run[0], False, forth_run[1])
    (y_back, *states_back), _ = back.forward(back_run[0], False, back_run[1])
    if case["return_sequences"]:
        y_back = y_back[:, ::-1]
    merged = {
        "concat": lambda: [np.concatenate([y, y_back], axis=-1)],
        "sum": lambda: [y + y_back],
        "mul": lambda: [y * y_back],
        "ave": lambda: [(y + y_back) / 2],
        None: lambda: [y, y_back],
    }[case["merge_mode"]]()
    expected = [*merged, *states, *states_back] if case["return_state"] else merged
    for a, b in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    masks = layer.compute_mask(x, mask)
    masks = masks if isinstance(masks, list) else [masks]
    assert len(masks) == len(outputs)
    for k, passed in enumerate(masks):
        assert passed is (mask if case["return_sequences"] and k < len(merged) else None)


def test_names_and_weights() -> None:
    layer = Bidirectional(LSTM(2, name="e"))
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_e", "backward_e")
    layer.build((None, 4, 3))
    assert [v.path for v in layer.weights] == [
        f"{way}_e/{name}" for way in ("forward", "backward") for name in ("kernel", "recurrent_kernel", "bias")
    ]
    assert any((a != b).any() for a, b in zip(*np.split(np.array(layer.get_weights(), object), 2), strict=True))
    copy = Bidirectional(LSTM(2), weights=layer.get_weights())
    copy.build((None, 4, 3))
    for a, b in zip(copy.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_own_backward_layer(rng) -> None:
    other = GRU(3, go_backwards=True, return_sequences=True, return_state=True, name="other")
    layer = Bidirectional(LSTM(2, return_sequences=True, return_state=True), backward_layer=other)
    assert layer.backward_layer is other
    y, *states = layer(rng.normal(size=(2, 4, 3)))
    assert y.shape == (2, 4, 5)
    assert [s.shape for s in states] == [(2, 2), (2, 2), (2, 3)]


def test_stateful(rng) -> None:
    x = rng.normal(size=(2, 3, 3)).astype("float32")
    layer = Bidirectional(GRU(2, stateful=True))
    layer.build((2, 3, 3))
    first, second = layer(x), layer(x)
    assert (first != second).all()
    layer.reset_states()
    np.testing.assert_array_equal(layer(x), first)
    model = Sequential([Input(batch_shape=(2, 3, 3)), layer])
    model.reset_states()
    np.testing.assert_array_equal(model(x), first)


def test_config_of_own_cell(rng) -> None:
    layer = Bidirectional(RNN(Trained(2, name="c"), return_sequences=True), merge_mode="sum")
    assert layer.forward_layer.cell is not layer.backward_layer.cell

    class NoConfig(Trained):
        def get_config(self):
            return {"name": self.name}

    with pytest.raises(TypeError, match="NoConfig 'c' cannot be copied, its get_config has to give the arguments"):
        Bidirectional(RNN(NoConfig(2, name="c")))


def test_penalties_of_the_layers_count(rng) -> None:
    x, y = rng.normal(size=(4, 3, 3)).astype("float32"), np.zeros((4, 4), "float32")
    plain = Sequential([Input((3, 3)), Bidirectional(LSTM(2))])
    penalized = Sequential([Input((3, 3)), Bidirectional(LSTM(2, activity_regularizer="l2", kernel_regularizer="l1"))])
    penalized.set_weights(plain.get_weights())
    for model in (plain, penalized):
        model.compile("sgd", "mse")
    outputs = plain.predict(x, verbose=0)
    kernels = [a for a in plain.get_weights() if a.shape == (3, 8)]
    expected = 0.01 * (outputs**2).sum() / 4 + 0.01 * sum(np.abs(a).sum() for a in kernels)
    found = penalized.compute_gradients(x, y)[0] - plain.compute_gradients(x, y)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_learns_under_a_mask(rng) -> None:
    x = rng.normal(size=(64, 6, 3)).astype("float32")
    x[::2, 4:] = 0
    y = x[:, 0, :1] + x[:, 3, 1:2]
    model = Sequential(
        [Input((6, 3)), Masking(), Bidirectional(GRU(8, return_sequences=True)), Bidirectional(LSTM(8)), Dense(1)]
    )
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.02
    history = model.fit(x, y, epochs=40, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]


def test_encoder_states_in_a_graph(rng) -> None:
    inputs = Input((4, 3))
    _, *states = Bidirectional(LSTM(2, return_state=True))(inputs)
    outputs = Bidirectional(LSTM(2), merge_mode=None)(inputs, initial_state=states)
    assert [o.shape for o in outputs] == [(None, 2)] * 2
    model = Model(inputs, outputs)
    assert [o.shape for o in model.predict(rng.normal(size=(5, 4, 3)), verbose=0)] == [(5, 2)] * 2


def test_trainable(rng) -> None:
    layer = Bidirectional(LSTM(2))
    layer.build((None, 4, 3))
    layer.forward_layer.trainable = False
    outputs, backward = layer.forward(rng.normal(size=(2, 4, 3)), True)
    backward(outputs)
    assert len(layer.gradients) == len(layer.trainable_weights) == 3


X = np.ones((2, 4, 3), "float32")
BAD = [
    (
        lambda: Bidirectional(Dense(2)),
        TypeError,
        "Bidirectional: expected layer to be LSTM, GRU, SimpleRNN or RNN, got",
    ),
    (
        lambda: Bidirectional(LSTM(2), backward_layer=Dense(2)),
        TypeError,
        "Bidirectional: expected backward_layer to be LSTM, GRU, SimpleRNN or RNN, got",
    ),
    (
        lambda: Bidirectional(LSTM(2), merge_mode="max", name="b"),
        ValueError,
        "Bidirectional 'b': expected merge_mode to be 'concat', 'sum', 'mul', 'ave' or None, got 'max'",
    ),
    (
        lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2), name="b"),
        ValueError,
        "Bidirectional 'b': expected go_backwards True of backward_layer, got False, as of layer",
    ),
    (
        lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2, go_backwards=True, return_state=True), name="b"),
        ValueError,
        "Bidirectional 'b': expected return_state False of backward_layer, as of layer, got True",
    ),
    (
        lambda: Bidirectional(LSTM(2), name="b", dtype="float64"),
        ValueError,
        "Bidirectional 'b': expected dtype float32, that of LSTM 'lstm.*', got float64",
    ),
    (
        lambda: Bidirectional(LSTM(2), "sum", backward_layer=LSTM(3, go_backwards=True), name="b")(X),
        ValueError,
        r"'b': expected outputs of one width for merge_mode 'sum', got \(2, 2\) and \(2, 3\)",
    ),
    (
        lambda: Bidirectional(LSTM(2), name="b")(X, initial_state=[X[:, 0]] * 3),
        ValueError,
        "'b': expected initial_state to be a list of the forward layer's states, 2, and then the backward layer's, 2, "
        "got 3",
    ),
    (
        lambda: Bidirectional(LSTM(2), name="b", weights=[X])(X),
        ValueError,
        "Bidirectional 'b': expected 6 arrays as weights, got 1",
    ),
    (lambda: Bidirectional(LSTM(2), name="b")(X[0]), ValueError, r"Bidirectional 'b': expected inputs \(batch, steps,"),
    (lambda: Bidirectional(LSTM(2), name="b", units=1), TypeError, "Bidirectional 'b': unknown argument 'units'"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("layer_class", [LSTM, GRU])
def test_any_number_of_threads_gives_the_same_bits(rng, layer_class):
    """The directions run at once, on as many threads each as there are."""
    kernels = backends.load("c")
    layer = Bidirectional(layer_class(40, return_sequences=True, return_state=True))
    x, mask = rng.normal(size=(7, 30, 20)).astype(np.float32), rng.random((7, 30)) < 0.8
    results = []
    try:
        for threads in (1, 2, 3, 5):
            kernels.set_num_threads(threads)
            outputs, backward = layer.forward(x, True, mask)
            d_x = backward([np.ones_like(y) for y in outputs])
            results.append([*outputs, d_x, *layer.gradients])
    finally:
        kernels.set_num_threads(0)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_layer_with_a_forward_of_its_own_is_asked_for_it(rng):
    class Doubled(LSTM):
        def forward(self, inputs, *args, **kwargs):
            return super().forward(2 * inputs, *args, **kwargs)

    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    doubled = Bidirectional(Doubled(5, seed=1))
    doubled.build(x.shape)
    plain = Bidirectional(LSTM(5))
    plain.build(x.shape)
    plain.set_weights(doubled.get_weights())
    np.testing.assert_array_equal(doubled(x), plain(2 * x))

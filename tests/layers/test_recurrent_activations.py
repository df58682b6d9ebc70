"""Recurrent layers with activations that the kernels lack: in NumPy, whatever the backend, with one warning each."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
from layers.layer_gradients import check_layer

import fusedlstm
from fusedlstm import activations
from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Conv1D,
    Dense,
    GRUCell,
    Input,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    recurrent,
)
from fusedlstm.models import Sequential

quiet = pytest.mark.filterwarnings("ignore:.*the kernels do not have")


@pytest.fixture(autouse=True)
def as_if_first(monkeypatch):
    """As if no warning had been given yet."""
    monkeypatch.setattr(recurrent, "_warned", set())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def bent(x):
    """A function at module level, so that it can be pickled."""
    return x / np.sqrt(1 + x * x)


def bent_back(d_y, x, y):
    return d_y * (1 + x * x) ** -1.5


BENT = activations.Activation("bent", bent, bent_back)


# Numbers.


def weights_of(layer, x):
    layer.build(x.shape)
    return layer.get_weights()


@quiet
def test_lstm_by_hand(rng) -> None:
    x = rng.normal(size=(2, 4, 3))
    layer = LSTM(3, "silu", softmax, dtype="float64", return_sequences=True)
    kernel, recurrent_kernel, bias = weights_of(layer, x)
    h = c = np.zeros((2, 3))
    for t, y in enumerate(np.moveaxis(layer(x), 1, 0)):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = softmax(f) * c + softmax(i) * silu(g)  # over the units of each gate
        h = softmax(o) * silu(c)
        np.testing.assert_allclose(y, h, rtol=1e-12)


@quiet
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_by_hand(reset_after, rng) -> None:
    x = rng.normal(size=(2, 4, 3))
    layer = GRU(3, "silu", "softmax", reset_after=reset_after, dtype="float64", return_sequences=True)
    kernel, recurrent_kernel, _ = weights_of(layer, x)
    h = np.zeros((2, 3))
    for t, y in enumerate(np.moveaxis(layer(x), 1, 0)):
        of_x, of_h = np.split(x[:, t] @ kernel, 3, axis=1), np.split(h @ recurrent_kernel, 3, axis=1)
        z, r = softmax(of_x[0] + of_h[0]), softmax(of_x[1] + of_h[1])
        g = silu(of_x[2] + (r * of_h[2] if reset_after else (r * h) @ recurrent_kernel[:, 6:]))
        h = z * h + (1 - z) * g
        np.testing.assert_allclose(y, h, rtol=1e-12)


@quiet
def test_simple_rnn_by_hand(rng) -> None:
    x = rng.normal(size=(2, 4, 3))
    layer = SimpleRNN(3, BENT, dtype="float64", return_sequences=True)
    kernel, recurrent_kernel, _ = weights_of(layer, x)
    h = np.zeros((2, 3))
    for t, y in enumerate(np.moveaxis(layer(x), 1, 0)):
        h = bent(x[:, t] @ kernel + h @ recurrent_kernel)
        np.testing.assert_allclose(y, h, rtol=1e-12)


@quiet
@pytest.mark.parametrize("layer", [LSTM, GRU])
@pytest.mark.parametrize(
    "options",
    [
        {"activation": "gelu"},
        {"activation": "relu", "recurrent_activation": "sparse_sigmoid"},
        {"activation": "exponential"},
        {"activation": "log_softmax", "recurrent_activation": "hard_tanh"},
    ],
    ids=str,
)
def test_a_mix_has_gradients(layer, options, rng) -> None:
    check_layer(layer(3, **options, dtype="float64"), 0.5 * rng.normal(size=(2, 3, 2)))


@quiet
def test_own_activations_have_gradients(rng, monkeypatch) -> None:
    monkeypatch.setitem(activations._BY_NAME, "bent", BENT)  # so that check_layer can copy it by its config
    for layer in (LSTM(3, BENT, dtype="float64"), GRU(3, "tanh", BENT, dtype="float64")):
        check_layer(layer, rng.normal(size=(2, 3, 2)))
    check_layer(SimpleRNN(3, BENT, dtype="float64"), rng.normal(size=(2, 3, 2)))


@quiet
@pytest.mark.parametrize("name", [name for name, a in activations._BY_NAME.items() if a.kernel is None])
@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_every_activation_runs_and_keeps_float32(layer, name, rng) -> None:
    for argument in layer.activation_names:
        made = layer(3, **{argument: name}, return_state=True)
        outputs, backward = made.forward(0.1 * rng.normal(size=(2, 3, 4)), True)
        d_x = backward([np.ones_like(y) for y in outputs])
        for array in (*outputs, d_x, *made.gradients):
            assert array.dtype == np.float32
            assert np.isfinite(array).all()


@quiet
def test_a_function_that_gives_float64_keeps_float32(rng) -> None:
    def doubled(x):
        return np.float64(2.0) * x.astype(np.float64)

    own = activations.Activation("own", doubled, lambda d_y, x, y: np.float64(2) * d_y.astype(float))
    layer = LSTM(3, own, dtype="float32", return_state=True)
    outputs, backward = layer.forward(rng.normal(size=(2, 3, 4)), True)
    d_x = backward([np.ones_like(y) for y in outputs])
    assert {a.dtype.name for a in (*outputs, d_x, *layer.gradients)} == {"float32"}


@quiet
@pytest.mark.parametrize(
    ("cell", "layer"), [(LSTMCell, LSTM), (GRUCell, GRU), (SimpleRNNCell, SimpleRNN)], ids=lambda c: c.__name__
)
def test_cells_are_the_layers(cell, layer, rng) -> None:
    x, results = rng.normal(size=(2, 4, 3)), []
    own, whole = RNN(cell(3, activation="mish", dtype="float64")), layer(3, activation="mish", dtype="float64")
    own.build(x.shape)
    whole.build(x.shape)
    whole.set_weights(own.get_weights())
    for made in (own, whole):
        y, backward = made.forward(x, True)
        results.append([y, backward(np.ones_like(y)), *made.gradients])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@quiet
def test_everything_goes_with_them(rng) -> None:
    """The LSTM's variants, masks and dropout."""
    layer = LSTM(
        3, "gelu", full_gate_recurrence=True, layer_norm=True, projection=2, peephole=True, zoneout_h=0.2,
        zoneout_c=0.1, dropout=0.2, recurrent_dropout=0.3, dtype="float64", return_sequences=True, return_state=True,
    )  # fmt: skip
    check_layer(layer, rng.normal(size=(2, 3, 2)), mask=np.array([[1, 1, 0], [0, 1, 1]], bool))


@quiet
def test_the_backend_stays_and_is_of_no_effect(rng) -> None:
    x = rng.normal(size=(2, 4, 3))
    layer = LSTM(3, "gelu", dtype="float64")
    before = fusedlstm.get_backend()
    y = layer(x)
    assert fusedlstm.get_backend() == before
    fusedlstm.set_backend("reference")
    try:
        np.testing.assert_array_equal(layer(x), y)
    finally:
        fusedlstm.set_backend(before)


# Warnings.


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return caught


def test_one_warning_for_each_activation() -> None:
    (warning,) = warned(lambda: LSTM(3, "gelu", name="e"))
    assert str(warning.message) == (
        "LSTM 'e': the kernels do not have activation 'gelu': the layer runs step by step in NumPy, which takes about "
        "5 times as long with 256 units, 50 times with 8"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GRU(3, "gelu")
        LSTM(3, "relu", "hard_sigmoid")
    with pytest.warns(UserWarning, match="^GRU 'g': the kernels do not have recurrent_activation 'softmax': "):
        GRU(3, "gelu", "softmax", name="g")
    with pytest.warns(UserWarning, match=r"^LSTM 'e': the kernels do not have activation 'tanh' \(your own\): "):
        LSTM(3, np.tanh, name="e")


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimpleRNN(3, "gelu"),
        lambda: LSTMCell(3, "gelu"),
        lambda: RNN([GRUCell(3, "gelu"), LSTMCell(3, "gelu")]),
        lambda: Bidirectional(LSTM(3, "gelu")),
        lambda: LSTM.from_config({"units": 3, "activation": "gelu"}),
        lambda: Sequential.from_config(
            {"name": "m", "layers": [{"class_name": "LSTM", "config": {"units": 3, "activation": "gelu"}}]}
        ),
    ],
    ids=["layer", "cell", "stack", "wrapped", "config", "model"],
)
def test_the_warning_points_at_the_users_line(make) -> None:
    (warning,) = warned(make)
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert warning.lineno in range(make.__code__.co_firstlineno, make.__code__.co_firstlineno + 3)


def test_a_warning_that_is_an_error_comes_again() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(UserWarning, match="the kernels do not have activation 'gelu'"):
                LSTM(3, "gelu")


# Functions without a derivative.


FUNCTIONS = {
    "function": bent,
    "lambda": lambda x: 1 - x * x,
    "partial": functools.partial(np.maximum, -1.0),
    "numpy": np.arctan,
}
LAYERS = {
    "lstm": lambda f: LSTM(3, f, name="e"),
    "gates": lambda f: GRU(3, recurrent_activation=f, name="e"),
    "simple": lambda f: SimpleRNN(3, f, name="e"),
    "dense": lambda f: Dense(3, f, name="e"),
    "conv": lambda f: Conv1D(3, 2, activation=f, name="e"),
    "activation": lambda f: Activation(f, name="e"),
}


@quiet
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_functions_predict(layer, function, rng) -> None:
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    made, known = layer(function), layer(activations.Activation("own", function, lambda d_y, x, y: d_y))
    assert made(x).dtype == np.float32
    known.build(x.shape)
    known.set_weights(made.get_weights())
    np.testing.assert_array_equal(made(x), known(x))
    assert (made(x) != layer("tanh")(x)).any()


@quiet
@pytest.mark.parametrize("name", LAYERS)
def test_functions_cannot_be_trained(name, rng) -> None:
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    layer = LAYERS[name](bent)
    y = layer(x)
    argument = "recurrent_activation" if name == "gates" else "activation"
    with pytest.raises(TypeError) as caught:
        layer.forward(x, training=True)
    assert str(caught.value) == (
        f"{type(layer).__name__} 'e': {argument} 'bent' is a function without a derivative, which can predict but "
        "not be trained, expected fusedlstm.activations.Activation(name, forward, backward)"
    )
    np.testing.assert_array_equal(layer.forward(x, training=True, need_backward=False)[0], y)
    model = Sequential([Input((4, 3)), Dense(3, kernel_initializer="identity"), layer])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(TypeError, match="'bent' is a function without a derivative"):
        model.fit(x, np.zeros_like(y), verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(x, verbose=0), y)


@quiet
@pytest.mark.parametrize("name", LAYERS)
def test_own_activations_train(name, rng) -> None:
    x = rng.normal(size=(32, 4, 3)).astype(np.float32)
    layer = LAYERS[name](BENT)
    model = Sequential([Input((4, 3)), Dense(3), layer, Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.02
    y = np.zeros(model.predict(x, verbose=0).shape) + 0.3
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@quiet
@pytest.mark.parametrize(
    "make",
    [
        lambda f: LSTM(3, f),
        lambda f: GRU(3, "tanh", f),
        lambda f: RNN(SimpleRNNCell(3, f)),
        lambda f: RNN(StackedRNNCells([LSTMCell(3, f), GRUCell(3)])),
    ],
    ids=["lstm", "gru", "cell", "stack"],
)
@pytest.mark.parametrize("function", [bent, BENT], ids=["function", "activation"])
def test_copies(make, function, rng) -> None:
    x = rng.normal(size=(2, 4, 3))
    both = Bidirectional(make(function))
    y = both(x)
    forward, backward = both.forward_layer, both.backward_layer
    np.testing.assert_array_equal(y, np.concatenate([forward(x), backward(x)], axis=-1))
    for other in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        np.testing.assert_array_equal(other(x), y)
    with pytest.raises(
        ValueError, match=r"^serialize: expected an activation of fusedlstm\.activations, got <activation"
    ):
        both.get_config()
    with pytest.raises(
        ValueError, match=r"^serialize: expected an activation of fusedlstm\.activations, got <activation"
    ):
        forward.get_config()


@quiet
def test_a_result_of_another_shape_is_named(rng) -> None:
    with pytest.raises(ValueError) as caught:
        LSTM(3, lambda x: x.sum(), name="e")(rng.normal(size=(2, 4, 3)))
    assert str(caught.value) == "activation '<lambda>': expected a result (2, 3), as its input, got ()"


@pytest.mark.parametrize("wrong", [3, [np.tanh], LSTM, {"name": "tanh"}])
def test_what_is_no_function(wrong) -> None:
    for layer in (LSTM, GRU, SimpleRNN, LSTMCell):
        with pytest.raises(TypeError) as caught:
            layer(3, wrong, name="e")
        assert str(caught.value).endswith(
            f" 'e': activation: expected a name, an Activation or a function, got {wrong!r}"
        )

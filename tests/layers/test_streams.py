"""A layer run a step a call: the numbers of one call on the whole sequence, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm import backends
from fusedlstm.activations import Activation
from fusedlstm.layers import GRU, LSTM, SimpleRNN

LAYERS = {
    "lstm": lambda: LSTM(7, return_sequences=True),
    "lstm float64, dropout in training": lambda: LSTM(18, return_sequences=True, dropout=0.5, dtype="float64"),
    "every option": lambda: LSTM(
        9, return_sequences=True, peephole=True, coupled_gates=True, cell_clip=1, full_gate_recurrence=True,
        layer_norm=True, projection=5, zoneout_h=0.1, zoneout_c=0.2,
    ),
    "gru": lambda: GRU(33, return_sequences=True),
    "gru, reset first": lambda: GRU(5, return_sequences=True, reset_after=False),
    "simple": lambda: SimpleRNN(70, return_sequences=True, activation="relu"),
}  # fmt: skip


@pytest.fixture(params=["c", "reference"])
def backend(request):
    before = backends.get_backend()
    backends.set_backend(request.param)
    yield request.param
    backends.set_backend(before)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_equal_a_sequence(backend, rng, name, batch):
    layer = LAYERS[name]()
    x = rng.normal(size=(batch, 6, 4)).astype(layer.dtype)
    y = layer(x)
    stream = layer.stream(batch)
    kept = []
    for t in range(6):
        kept.append(stream(x[:, t]))
    np.testing.assert_array_equal(np.stack(kept, axis=1), y)
    last = stream.states
    assert [state.shape[1] for state in last] == list(layer.state_sizes.values())
    stream.reset()
    np.testing.assert_array_equal(stream(x[:, 0]), y[:, 0])
    # From states on: those of another stream, or of a call.
    half = layer.stream(batch)
    for t in range(3):
        half(x[:, t])
    other = layer.stream(batch, initial_state=half.states)
    for t in range(3, 6):
        np.testing.assert_array_equal(other(x[:, t]), y[:, t])
    for state, expected in zip(other.states, last, strict=True):
        np.testing.assert_array_equal(state, expected)
    half.reset(last)
    for state, expected in zip(half.states, last, strict=True):
        np.testing.assert_array_equal(state, expected)


def test_an_activation_of_ones_own_streams_too(rng):
    with pytest.warns(UserWarning, match="streamed"):
        layer = LSTM(3, activation=Activation("streamed", np.sin), return_sequences=True)
    x = rng.normal(size=(1, 4, 2)).astype(np.float32)
    y, stream = layer(x), layer.stream()
    for t in range(4):
        np.testing.assert_array_equal(stream(x[:, t]), y[:, t])


def test_the_weights_are_those_of_the_beginning(rng):
    layer = LSTM(4)
    x = rng.normal(size=(1, 1, 3)).astype(np.float32)
    y, stream = layer(x), layer.stream()
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    np.testing.assert_array_equal(stream(x[:, 0]), y)


BAD = [
    (lambda layer: LSTM(3, name="fresh").stream(), RuntimeError,
     "LSTM 'fresh': expected a layer that is built, call it or build it first"),
    (lambda layer: layer.stream(0), ValueError,
     "LSTM 'lively': expected batch_size to be a positive integer, got 0"),
    (lambda layer: layer.stream(2, [np.zeros((1, 3)), np.zeros((2, 3))]), ValueError,
     "LSTM 'lively': expected initial_state h (2, 3), got (1, 3)"),
    (lambda layer: layer.stream()(np.zeros((1, 2), "f4")), ValueError,
     "LSTM 'lively': expected inputs (1, 4) of float32, got (1, 2) of float32"),
    (lambda layer: layer.stream()(np.zeros((1, 4))), ValueError,
     "LSTM 'lively': expected inputs (1, 4) of float32, got (1, 4) of float64"),
    (lambda layer: layer.stream()([[0, 0, 0, 0]]), ValueError,
     "LSTM 'lively': expected inputs (1, 4) of float32, got [[0, 0, 0, 0]]"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(backend, call, error, message):
    layer = LSTM(3, name="lively")
    layer.build((None, None, 4))
    with pytest.raises(error) as caught:
        call(layer)
    assert str(caught.value) == message


def test_backwards_is_refused():
    layer = LSTM(3, go_backwards=True, name="back")
    layer.build((None, None, 4))
    with pytest.raises(ValueError, match="LSTM 'back': expected go_backwards=False for a stream"):
        layer.stream()

"""What may stand second in a call: training, and where Keras has it so an initial state or a mask."""

import numpy as np
import pytest

from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    AdditiveAttention,
    Attention,
    Bidirectional,
    Dense,
    Dropout,
    GlobalAveragePooling1D,
    GRUCell,
    Input,
    LSTMCell,
    SimpleRNN,
    Softmax,
)
from fusedlstm.models import Model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype("float32")
V = RNG.normal(size=(3, 6, 4)).astype("float32")
H, C = RNG.normal(size=(2, 3, 2)).astype("float32")
STEPS = np.arange(5) < np.array([5, 3, 2])[:, None]
VALUES = np.arange(6) < np.array([1, 6, 4])[:, None]

STATES = {
    "lstm": (lambda: LSTM(2), [H, C]),
    "lstm tuple": (lambda: LSTM(2), (H, C)),
    "gru": (lambda: GRU(2), H),
    "simple_rnn": (lambda: SimpleRNN(2), [H]),
    "rnn": (lambda: RNN(GRUCell(2)), H),
    "stack": (lambda: RNN([LSTMCell(2), GRUCell(2)]), [[H, C], H]),
    "bidirectional": (lambda: Bidirectional(LSTM(2)), [H, C, -H, -C]),
}


@pytest.mark.parametrize("name", STATES)
def test_an_initial_state(name):
    make, state = STATES[name]
    layer = make()
    expected = layer(X, initial_state=state)
    assert not np.allclose(expected, layer(X))
    np.testing.assert_array_equal(layer(X, state), expected)
    np.testing.assert_array_equal(layer(X, state, STEPS), layer(X, initial_state=state, mask=STEPS))


def test_a_symbolic_initial_state():
    a, h, c = Input((5, 4)), Input((2,)), Input((2,))
    layer = LSTM(2)
    model = Model([a, h, c], layer(a, [h, c]))
    np.testing.assert_array_equal(model.predict([X, H, C], verbose=0), layer(X, initial_state=[H, C]))


@pytest.mark.parametrize(
    ("layer", "inputs", "mask"),
    [
        (Softmax(), X, RNG.uniform(size=X.shape) < 0.6),
        (GlobalAveragePooling1D(), X, STEPS),
        (Attention(), [X, V], [STEPS, VALUES]),
        (AdditiveAttention(), [X, V], [None, VALUES]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_mask(layer, inputs, mask):
    expected = layer(inputs, mask=mask)
    assert not np.allclose(expected, layer(inputs))
    np.testing.assert_array_equal(layer(inputs, mask), expected)


@pytest.mark.parametrize("training", [True, np.True_, 1])
def test_training(training):
    assert (Dropout(0.5)(X, training) == 0).any()
    assert not (Dropout(0.5)(X, not training) == 0).any()
    assert not (Dropout(0.5)(X, None) == 0).any()


ERRORS = [
    (lambda: Dense(2, name="d")(X, [H]), r"Dense 'd': expected training to be True, False or None, got \[array"),
    (lambda: LSTM(2, name="l")(X, "yes"), "LSTM 'l': expected training to be True, False or None, got 'yes'"),
    (lambda: LSTM(2, name="l")(X, [H, C], initial_state=[H, C]), "LSTM 'l': expected training to be True"),
    (lambda: Softmax(name="s")(X, STEPS, STEPS), "Softmax 's': expected training to be True, False or None"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=range(len(ERRORS)))
def test_what_is_none_of_these_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()

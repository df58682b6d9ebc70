"""fit(tbptt=k): windows with an update after each, states carried over, against a loop of train_on_batch."""

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Model, Sequential, layers
from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    Attention,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    Input,
    LSTMCell,
    Masking,
    SimpleRNN,
    TimeDistributed,
)

STEPS, FEATURES, ROWS, WINDOW = 11, 3, 4, 4
rng = np.random.default_rng(7)
X = rng.standard_normal((3 * ROWS, STEPS, FEATURES)).astype(np.float32)
Y = rng.standard_normal((3 * ROWS, STEPS, 2)).astype(np.float32)


def stacked(stateful, batch=None):
    return Sequential(
        [
            Input((None, FEATURES), batch_size=batch),
            LSTM(5, return_sequences=True, stateful=stateful),
            Dropout(0.3, seed=1),
            GRU(4, return_sequences=True, stateful=stateful, dropout=0.2, recurrent_dropout=0.2, seed=2),
            TimeDistributed(Dense(3, activation="tanh")),
            BatchNormalization(),
            Dense(2),
        ]
    )


def masked(stateful, batch=None):
    return Sequential(
        [
            Input((None, FEATURES), batch_size=batch),
            Masking(),
            SimpleRNN(5, return_sequences=True, stateful=stateful),
            RNN(LSTMCell(4), return_sequences=True, stateful=stateful),
            Dense(2),
        ]
    )


def functional(stateful, batch=None):
    x = Input((None, FEATURES), batch_size=batch)
    h = LSTM(5, return_sequences=True, stateful=stateful, name="first")(x)
    inner = Sequential([Input((None, 5), batch_size=batch), GRU(5, return_sequences=True, stateful=stateful)])
    h = Concatenate()([h, 2 * inner(h)]) + 1.0
    return Model(x, Dense(2)(h))


@pytest.mark.parametrize("make", [stacked, masked, functional])
@pytest.mark.parametrize("weights", ["none", "rows", "steps"])
def test_equals_a_loop_over_windows_with_stateful_layers(make, weights):
    x = X.copy()
    if make is masked:
        x[1, 7:] = x[5, 3:5] = x[2, :6] = 0
    weight = {"none": None, "rows": rng.random(len(x)), "steps": rng.random((len(x), STEPS))}[weights]
    fusedlstm.utils.set_random_seed(3)
    model, looped = make(False), make(True, ROWS)
    looped.set_weights(model.get_weights())
    for part in (model, looped):
        part.compile("adam", "mse", metrics=["mae"])
    history = model.fit(x, Y, ROWS, epochs=2, shuffle=False, sample_weight=weight, verbose=0, tbptt=WINDOW)
    for _ in range(2):
        values = []
        for rows in (slice(k, k + ROWS) for k in range(0, len(x), ROWS)):
            looped.reset_states()
            for begin in range(0, STEPS, WINDOW):
                window = slice(begin, begin + WINDOW)
                w = None if weight is None else weight[rows] if weight.ndim == 1 else weight[rows, window]
                values.append(looped.train_on_batch(x[rows, window], Y[rows, window], w)[0])
    for a, b in zip(model.get_weights(), looped.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history.history["loss"][1] == pytest.approx(np.mean(values), rel=1e-12)
    recurrent = [layer for layer in model.all_layers() if hasattr(layer, "states") and hasattr(layer, "stateful")]
    assert not any(layer.stateful for layer in recurrent)
    assert all(layer.states is None for layer in recurrent)


def test_stateful_layers_go_on_from_batch_to_batch():
    model, looped = stacked(True, ROWS), stacked(True, ROWS)
    looped.set_weights(model.get_weights())
    for part in (model, looped):
        part.compile("sgd", "mse")
    model.fit(X, Y, ROWS, shuffle=False, verbose=0, tbptt=WINDOW)
    for rows in (slice(k, k + ROWS) for k in range(0, len(X), ROWS)):
        for begin in range(0, STEPS, WINDOW):
            looped.train_on_batch(X[rows, begin : begin + WINDOW], Y[rows, begin : begin + WINDOW])
    for a, b in zip(model.get_weights(), looped.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.layers[0].states, looped.layers[0].states, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_window_as_long_as_the_sequence_changes_nothing():
    results = []
    for tbptt in (None, STEPS, STEPS + 5):
        fusedlstm.utils.set_random_seed(5)
        model = functional(False)
        model.compile("rmsprop", "mse")
        model.fit(X, Y, 5, epochs=2, verbose=0, tbptt=tbptt)
        results.append(model.get_weights())
    for weights in results[1:]:
        for a, b in zip(results[0], weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_iterables_tokens_and_two_outputs():
    ids = rng.integers(0, 6, (2 * ROWS, STEPS))
    x = Input((STEPS,), dtype="int32")
    h = LSTM(4, return_sequences=True)(Embedding(6, 3)(x))
    model = Model(x, {"next": Dense(6, activation="softmax")(h), "value": Dense(1)(h)})
    model.compile("adam", {"next": "sparse_categorical_crossentropy", "value": "mse"})
    other = Model.from_config(model.get_config())
    other.set_weights(model.get_weights())
    other.compile("adam", {"next": "sparse_categorical_crossentropy", "value": "mse"})
    targets = {"next": ids, "value": Y[: 2 * ROWS, :, :1]}
    model.fit(ids, targets, ROWS, shuffle=False, verbose=0, tbptt=WINDOW)
    batches = [(ids[k : k + ROWS], {n: t[k : k + ROWS] for n, t in targets.items()}) for k in (0, ROWS)]
    other.fit(iter(batches), verbose=0, tbptt=WINDOW)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def attention(x):
    h = LSTM(4, return_sequences=True)(x)
    return Attention(name="wrong")([h, h])


def with_state(x):
    h, *states = LSTM(4, return_sequences=True, return_state=True)(x)
    return LSTM(4, return_sequences=True, name="wrong")(h, initial_state=states)


def twice(x):
    layer = GRU(FEATURES, return_sequences=True, name="wrong")
    return layer(layer(x))


WRONG = {
    "Bidirectional": lambda x: Bidirectional(LSTM(2, return_sequences=True), name="wrong")(x),
    "Attention": attention,
    "Conv1D": lambda x: Conv1D(2, 3, padding="causal", name="wrong")(x),
    "GlobalAveragePooling1D": lambda x: GlobalAveragePooling1D(name="wrong")(x),
    "backwards": lambda x: GRU(2, return_sequences=True, go_backwards=True, name="wrong")(x),
    "initial state": with_state,
    "called several times": twice,
    "its axis 1": lambda x: layers.LayerNormalization(axis=1, name="wrong")(x),
    "Reshape": lambda x: layers.Reshape((FEATURES, STEPS), name="wrong")(x),
    "no longer has the steps": lambda x: LSTM(2, name="wrong")(layers.Permute((2, 1), name="wrong_too")(x)),
    "in a model": lambda x: Sequential([Input((STEPS, FEATURES)), Bidirectional(GRU(2), name="wrong")])(x),
}


@pytest.mark.parametrize("which", WRONG)
def test_layers_that_mix_steps_are_refused_by_name(which):
    x = Input((STEPS, FEATURES))
    model = Model(x, WRONG[which](x))
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"'wrong(_too)?': cannot go through a sequence in parts, for tbptt"):
        model.fit(X, np.zeros(model.compute_output_shape(X.shape)), verbose=0, tbptt=WINDOW)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_outputs_of_the_last_step_and_wrong_arguments_are_refused():
    model = Sequential([Input((None, FEATURES)), LSTM(4), Dense(2, name="head")])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"outputs of every step with tbptt.*'head'.*return_sequences=True"):
        model.fit(X, Y[:, 0], verbose=0, tbptt=WINDOW)
    model = Sequential([Input((None, FEATURES)), LSTM(4, return_sequences=True), Dense(1)])
    model.compile("sgd", "mse")
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="tbptt"):
            model.fit(X, Y, verbose=0, tbptt=wrong)

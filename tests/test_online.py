"""Training on a stream, against explicit windows with compute_gradients; the loss of every step."""

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Model, Sequential
from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GRUCell,
    Input,
    Masking,
    TimeDistributed,
)
from fusedlstm.optimizers import SGD

ROWS, STEPS, FEATURES = 3, 12, 2
F = {"dtype": "float64"}
rng = np.random.default_rng(11)
X = rng.standard_normal((ROWS, STEPS, FEATURES))
Y = rng.standard_normal((ROWS, STEPS, 1))


def weights_equal(a, b, exactly=True):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        if exactly:
            np.testing.assert_array_equal(left, right)
        else:
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def model(sequences=True, **options):
    made = Sequential(
        [
            Input((None, FEATURES)),
            LSTM(4, return_sequences=True, **F, **options),
            GRU(3, return_sequences=sequences, **F, **options),
            Dense(1, **F),
        ]
    )
    made.compile(SGD(0.1), "mse")
    return made


def explicit():
    """The same layers with the states as inputs, the output of the last step, and what turns it into the states."""
    x, h, c, g = Input((None, FEATURES)), Input((4,)), Input((4,)), Input((3,))
    lstm = LSTM(4, return_sequences=True, return_state=True, **F)
    gru = GRU(3, return_sequences=True, return_state=True, **F)
    y, h_after, c_after = lstm(x, initial_state=[h, c])
    z, g_after = gru(y, initial_state=[g])
    made = Model([x, h, c, g], Dense(1, **F)(z[:, -1]))
    made.compile(SGD(0.1), "mse")
    return made, Model([x, h, c, g], [h_after, c_after, g_after])


@pytest.mark.parametrize("window", [1, 2, 5, STEPS + 4])
@pytest.mark.parametrize("sequences", [True, False])
def test_equals_windows_with_explicit_states(window, sequences):
    online = model(sequences)
    by_hand, states_of = explicit()
    by_hand.set_weights(online.get_weights())
    states = [np.zeros((ROWS, 4)), np.zeros((ROWS, 4)), np.zeros((ROWS, 3))]
    begin = 0
    for t in range(STEPS):
        loss = online.online_update(X[:, t], Y[:, t], window=window)
        inputs = [X[:, begin : t + 1], *states]
        expected, gradients = by_hand.compute_gradients(inputs, Y[:, t])
        assert loss == pytest.approx(expected, rel=1e-12)
        if t + 1 - begin == window:
            states = states_of.predict([X[:, begin : begin + 1], *states], verbose=0)
            begin += 1
        by_hand.optimizer.apply(gradients, by_hand.trainable_weights)
        weights_equal(online, by_hand, exactly=False)


def test_a_window_of_one_is_train_on_batch_of_a_stateful_model():
    def make(stateful):
        fusedlstm.utils.set_random_seed(6)
        made = Sequential(
            [
                Input((None, FEATURES), batch_size=ROWS if stateful else None),
                LSTM(4, return_sequences=True, dropout=0.2, stateful=stateful),
                Dropout(0.3),
                RNN(GRUCell(3), return_sequences=True, stateful=stateful),
                TimeDistributed(Dense(1)),
            ]
        )
        made.compile("adam", "mse", metrics=["mae"])
        return made

    online, stateful = make(False), make(True)
    weight = rng.random((ROWS, STEPS))
    for t in range(STEPS):
        step = slice(t, t + 1)
        found = online.online_update(X[:, step], Y[:, step], weight[:, step], window=1, return_dict=True)
        assert found == stateful.train_on_batch(X[:, step], Y[:, step], weight[:, step], return_dict=True)
    weights_equal(online, stateful)


def test_several_steps_are_as_many_calls():
    one, several = model(), model()
    several.set_weights(one.get_weights())
    losses = [one.online_update(X[:, t], Y[:, t], window=4) for t in range(STEPS)]
    found = several.online_update(X[:, :5], Y[:, :5], window=4)
    assert found == pytest.approx(np.mean(losses[:5]), rel=1e-12)
    several.online_update(X[:, 5:], Y[:, 5:], window=4)
    weights_equal(one, several)


def test_reset_states_starts_a_new_stream():
    made = model()
    weights = made.get_weights()
    first = [made.online_update(X[:, t], Y[:, t], window=3) for t in range(5)]
    made.set_weights(weights)
    with pytest.raises(ValueError, match=r"3 rows and window 3.*got 2 and 3"):
        made.online_update(X[:2, 0], Y[:2, 0], window=3)
    with pytest.raises(ValueError, match=r"window 3.*got 3 and 2"):
        made.online_update(X[:, 0], Y[:, 0], window=2)
    made.reset_states()
    assert [made.online_update(X[:, t], Y[:, t], window=3) for t in range(5)] == first


def test_other_methods_see_nothing_of_the_stream():
    made = model()
    before = made.predict(X, verbose=0)
    made.compile(SGD(0.0), "mse")
    for t in range(4):
        made.online_update(X[:, t], Y[:, t], window=2)
    np.testing.assert_array_equal(made.predict(X, verbose=0), before)
    assert all(layer.states is None and layer.stateful is False for layer in made.layers[-3:-1])


def test_stateful_layers_keep_their_own_states():
    made = Sequential([Input((None, FEATURES), batch_size=ROWS), LSTM(4, stateful=True), Dense(1)])
    made.compile(SGD(0.0), "mse")
    made.predict(X[:, :3], verbose=0)
    states = [state.copy() for state in made.layers[0].states]
    for t in range(4):
        made.online_update(X[:, t], Y[:, t], window=2)
    for a, b in zip(states, made.layers[0].states, strict=True):
        np.testing.assert_array_equal(a, b)
    assert made.layers[0].stateful


def test_frozen_layers_masks_tokens_and_several_outputs():
    ids = Input((None,), dtype="int32")
    h = Embedding(7, 3, mask_zero=True)(ids)
    frozen = GRU(4, return_sequences=True)
    frozen.trainable = False
    h = LSTM(4, return_sequences=True)(frozen(h))
    made = Model(ids, {"all": Dense(7, activation="softmax")(h), "last": Dense(1)(h[:, -1])})
    made.compile(SGD(0.1), {"all": "sparse_categorical_crossentropy", "last": "mse"})
    x = rng.integers(1, 7, (ROWS, STEPS))
    x[0, 2] = x[1, 4:6] = 0
    before = frozen.get_weights()
    for t in range(STEPS):
        found = made.online_update(x[:, t], {"all": x[:, t], "last": Y[:, t]}, window=3, return_dict=True)
        assert np.isfinite(list(found.values())).all()
    for a, b in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_learns_an_echo_that_a_window_of_one_cannot():
    bits = np.random.default_rng(5).integers(0, 2, (8, 400, 1)).astype(np.float32)
    target = np.roll(bits, 2, axis=1)
    losses = {}
    for window in (1, 6):
        fusedlstm.utils.set_random_seed(1)
        made = Sequential([Input((None, 1)), LSTM(12), Dense(1, activation="sigmoid")])
        made.compile(fusedlstm.optimizers.Adam(0.02), "binary_crossentropy")
        made.online_update(bits[:, :300], target[:, :300], window=window)
        losses[window] = made.online_update(bits[:, 300:], target[:, 300:], window=window)
    assert losses[6] < 0.2 < losses[1]


def test_layers_that_mix_steps_and_wrong_data_are_refused():
    made = Sequential([Input((None, FEATURES)), Bidirectional(LSTM(2), name="both"), Dense(1)])
    made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"'both': cannot go through a sequence in parts, for online_update"):
        made.online_update(X[:, 0], Y[:, 0])
    made = Sequential([Input((None, FEATURES)), RNN(GRUCell(2), name="slow"), Dense(1)])
    made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"'slow': expected window=1"):
        made.online_update(X[:, 0], Y[:, 0], window=2)
    made = model()
    with pytest.raises(ValueError, match="expected y to have 2 steps"):
        made.online_update(X[:, :2], Y[:, :3])
    with pytest.raises(ValueError, match="expected x"):
        made.online_update(X[:, 0, :1], Y[:, 0])
    with pytest.raises(ValueError, match="window"):
        made.online_update(X[:, 0], Y[:, 0], window=0)
    unbuilt = Sequential([LSTM(2)])
    unbuilt.compile("sgd", "mse")
    unbuilt = Sequential([LSTM(2)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="not built"):
        unbuilt.online_update(X[:, 0], Y[:, 0])
    assert made.online is None
    with pytest.raises(RuntimeError, match="compile"):
        Sequential([Input((None, FEATURES)), LSTM(2)]).online_update(X[:, 0], Y[:, 0])


# Losses of steps.


def test_losses_of_steps_are_the_means_of_each():
    made = model()
    predicted = made.predict(X, verbose=0)
    expected = ((predicted - Y) ** 2).mean(axis=(0, 2))
    for batch_size in (None, 2):
        found = made.step_losses(X, Y, batch_size=batch_size)
        assert found.shape == (STEPS,)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.mean() == pytest.approx(made.evaluate(X, Y, verbose=0), rel=1e-9)


def test_losses_of_steps_with_weights():
    made = model()
    errors = ((made.predict(X, verbose=0) - Y) ** 2)[..., 0]
    for weight in (rng.random(ROWS), rng.random((ROWS, STEPS))):
        spread = np.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, errors.shape)
        np.testing.assert_allclose(made.step_losses(X, Y, weight), (errors * spread).mean(axis=0), rtol=1e-9)


def test_losses_of_steps_under_a_mask():
    made = Sequential([Input((None, FEATURES)), Masking(), LSTM(4, return_sequences=True, **F), Dense(1, **F)])
    made.compile("sgd", "mae")
    x = X.copy()
    x[0, 6:] = x[1, 9:] = x[:, 11] = 0
    valid = x.any(axis=-1)
    errors = np.abs(made.predict(x, verbose=0) - Y)[..., 0]
    with np.errstate(invalid="ignore"):
        expected = np.where(valid, errors, 0).sum(axis=0) / valid.sum(axis=0)
    for batch_size in (1, 3):
        found = made.step_losses(x, Y, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isnan(found[11])
    assert not np.isnan(found[:11]).any()


def test_losses_of_steps_of_several_outputs_and_iterables():
    x = Input((None, FEATURES))
    h = LSTM(4, return_sequences=True)(x)
    made = Model(x, {"a": Dense(1, name="a")(h), "b": Dense(3, activation="softmax", name="b")(h)})
    made.compile("sgd", {"a": "mse", "b": "sparse_categorical_crossentropy"}, loss_weights={"a": 5.0})
    labels = rng.integers(0, 3, (ROWS, STEPS))
    found = made.step_losses(X, {"a": Y, "b": labels})
    predicted = made.predict(X, verbose=0)
    chosen = np.take_along_axis(predicted["b"], labels[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(found["a"], ((predicted["a"] - Y) ** 2).mean(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["b"], -np.log(chosen).mean(axis=0), rtol=1e-5)
    batches = [(X[k : k + 1], {"a": Y[k : k + 1], "b": labels[k : k + 1]}) for k in range(ROWS)]
    again = made.step_losses(iter(batches))
    np.testing.assert_allclose(again["b"], found["b"], rtol=1e-6)


def test_losses_of_steps_need_steps():
    made = Sequential([Input((None, FEATURES)), LSTM(2), Dense(1, name="head")])
    made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"output 'head': expected predictions \(batch, steps, ...\)"):
        made.step_losses(X, Y[:, 0])


def test_a_model_made_for_a_number_of_steps_takes_one_too():
    made, fixed = model(), Sequential([Input((5, FEATURES)), *model().layers])
    fixed.set_weights(made.get_weights())
    fixed.compile(SGD(0.1), "mse")
    for t in range(STEPS):
        assert fixed.online_update(X[:, t], Y[:, t], window=3) == made.online_update(X[:, t], Y[:, t], window=3)
    weights_equal(fixed, made)


def test_one_weight_a_row_may_have_an_axis_of_steps():
    weight = np.array([0.5, 1.0, 2.0])
    one, other = model(), model()
    other.set_weights(one.get_weights())
    assert one.online_update(X, Y, weight) == other.online_update(X, Y, weight[:, None])
    weights_equal(one, other)


def test_weights_of_other_steps_change_nothing():
    made = model()
    before = made.get_weights()
    with pytest.raises(ValueError, match=r"expected sample_weight to have 12 steps, as x, got \(3, 4\) for 'dense"):
        made.online_update(X, Y, np.ones((ROWS, 4)))
    assert made.online is None
    for ahead, now in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(ahead, now)

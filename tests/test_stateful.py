"""Layers that keep their state from one call to the next."""

import numpy as np
import pytest
from model_case import assert_gradients

from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Model, Sequential
from fusedlstm.optimizers import SGD

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 3))
Y = RNG.normal(size=(4, 1))
F = {"dtype": "float64"}


def model(**options):
    made = Sequential([LSTM(5, stateful=True, batch_input_shape=(4, None, 3), **F, **options), Dense(1, **F)])
    made.compile(SGD(0.0), "mse")
    return made


def test_two_halves_are_the_whole():
    layer = LSTM(5, stateful=True, **F)
    layer(X[:, :4])
    second = layer(X[:, 4:])
    layer.reset_state()
    np.testing.assert_allclose(layer(X), second, rtol=1e-12)
    plain = LSTM(5, **F)
    plain.build((None, None, 3))
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(plain(X), second, rtol=1e-12)


@pytest.mark.parametrize("run", ["predict", "evaluate", "fit", "train_on_batch", "call"])
def test_the_state_is_kept_after_each_kind_of_call(run):
    made = model()
    plain = LSTM(5, return_state=True, **F)
    plain.build((None, None, 3))
    plain.set_weights(made.layers[0].get_weights())
    calls = {
        "predict": lambda: made.predict(X, verbose=0),
        "evaluate": lambda: made.evaluate(X, Y, verbose=0),
        "fit": lambda: made.fit(X, Y, verbose=0, shuffle=False),
        "train_on_batch": lambda: made.train_on_batch(X, Y),
        "call": lambda: made(X),
    }
    calls[run]()
    np.testing.assert_allclose(made.layers[0].states, plain(X)[1:], rtol=1e-12)
    calls[run]()
    np.testing.assert_allclose(made.layers[0].states, plain(np.concatenate([X, X], axis=1))[1:], rtol=1e-12)
    made.reset_states()
    assert made.layers[0].states is None


def test_batches_follow_each_other():
    made = model()
    x = RNG.normal(size=(8, 6, 3))
    both = made.predict(x, verbose=0)
    made.reset_states()
    np.testing.assert_array_equal(both[:4], made.predict(x[:4], verbose=0))
    np.testing.assert_array_equal(both[4:], made.predict(x[4:], verbose=0))


def test_gradients_from_a_kept_state_and_that_looking_at_them_changes_nothing():
    made = model(return_sequences=False)
    made.predict(X, verbose=0)
    before = [state.copy() for state in made.layers[0].states]
    assert_gradients(made, X, Y)
    np.testing.assert_array_equal(made.layers[0].states, before)


def test_given_states_count_and_the_last_ones_are_kept():
    layer = LSTM(5, stateful=True, return_state=True, **F)
    h, c = RNG.normal(size=(2, 4, 5))
    layer(X)
    given = layer(X, initial_state=[h, c])
    layer.reset_state()
    np.testing.assert_array_equal(layer(X, initial_state=[h, c])[0], given[0])
    given[1][:] = 7
    assert not (layer.states[0] == 7).any(), "what was returned is the caller's"


def test_a_functional_model_and_a_nested_one_reset_all_layers():
    a = Input((6, 3), batch_size=4)
    inner = Sequential([Input((6, 3), batch_size=4), LSTM(3, stateful=True, return_sequences=True)])
    made = Model(a, LSTM(2, stateful=True)(inner(a)))
    first = made.predict(X, verbose=0)
    assert not np.allclose(first, made.predict(X, verbose=0))
    made.reset_states()
    np.testing.assert_array_equal(first, made.predict(X, verbose=0))


def test_go_backwards_and_masks_keep_it_too():
    layer = LSTM(5, stateful=True, go_backwards=True, **F)
    mask = np.arange(6) < np.array([6, 3, 1, 5])[:, None]
    layer(X[:, 3:], mask=mask[:, 3:])
    second = layer(X[:, :3], mask=mask[:, :3])
    layer.reset_state()
    np.testing.assert_allclose(layer(X, mask=mask), second, rtol=1e-12)


def test_a_copy_from_the_config_is_stateful():
    made = model()
    again = Sequential.from_config(made.get_config())
    assert again.layers[0].stateful
    assert again.input_shape == (4, None, 3)

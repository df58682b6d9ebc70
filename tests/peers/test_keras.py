"""Layers and training beside Keras, live: the same weights and data have to give the same numbers."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import layers, models, optimizers

# Keras's variables do not take NumPy's newest keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

ACTIVATIONS = ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "softsign", "elu", "softplus"]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 9, 5)).astype("float32")
MASK = RNG.uniform(size=(6, 9)) < 0.6
MASK[0], MASK[1] = False, True


def both(**options):
    """The same LSTM layer of ours and of Keras, with the same weights."""
    ours, theirs = layers.LSTM(7, **options), keras.layers.LSTM(7, **options)
    theirs.build(X.shape)
    ours.build(X.shape)
    weights = [RNG.standard_normal(array.shape).astype("float32") * np.float32(0.4) for array in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def close(got, want, tolerance: float = 2e-5) -> None:
    want = keras.ops.convert_to_numpy(want)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("recurrent_activation", ["sigmoid", "hard_sigmoid", "tanh"])
def test_activations(activation, recurrent_activation) -> None:
    ours, theirs = both(activation=activation, recurrent_activation=recurrent_activation)
    close(ours(X), theirs(X), 2e-4 if activation in ("linear", "relu", "elu", "softplus") else 2e-5)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_sequences_masks_and_states(go_backwards, return_sequences, zero_output_for_mask, masked, with_state) -> None:
    ours, theirs = both(
        go_backwards=go_backwards,
        return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
        return_state=True,
    )
    state = [RNG.standard_normal((6, 7)).astype("float32") for _ in "hc"] if with_state else None
    mask = MASK.copy() if masked else None
    if masked and with_state:
        # Ahead of the first valid step of a row with a state, Keras's backends differ: zero, or the state's h.
        mask[:, -1 if go_backwards else 0] = True
    got, want = ours(X, mask=mask, initial_state=state), theirs(X, mask=mask, initial_state=state)
    for mine, other in zip(got, want, strict=True):
        close(mine, other)


@pytest.mark.parametrize("options", [{"use_bias": False}, {"unit_forget_bias": False}, {}], ids=str)
def test_fresh_weights_have_kerass_shapes(options) -> None:
    ours, theirs = layers.LSTM(7, **options), keras.layers.LSTM(7, **options)
    ours.build(X.shape)
    theirs.build(X.shape)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    if len(theirs.get_weights()) == 3:
        np.testing.assert_array_equal(ours.get_weights()[2], theirs.get_weights()[2])


OPTIMIZERS = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "clipvalue": 0.01}),
    ("RMSprop", {"learning_rate": 0.01}),
    ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True}),
    ("Adam", {"learning_rate": 0.01}),
    ("Adam", {"learning_rate": 0.01, "amsgrad": True, "clipnorm": 0.1}),
    ("Adam", {"learning_rate": 0.01, "global_clipnorm": 0.1}),
    ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_ten_training_steps(name, options) -> None:
    y = RNG.standard_normal((6, 2)).astype("float32")
    ours = models.Sequential(
        [layers.Input((9, 5)), layers.LSTM(7, return_sequences=True), layers.LSTM(4), layers.Dense(2)]
    )
    theirs = keras.Sequential(
        [
            keras.layers.Input((9, 5)),
            keras.layers.LSTM(7, return_sequences=True),
            keras.layers.LSTM(4),
            keras.layers.Dense(2),
        ]
    )
    ours.set_weights(theirs.get_weights())
    ours.compile(optimizer=getattr(optimizers, name)(**options), loss="mse")
    theirs.compile(optimizer=getattr(keras.optimizers, name)(**options), loss="mse")
    for step in range(10):
        got, want = float(ours.train_on_batch(X, y)), float(theirs.train_on_batch(X, y))
        assert got == pytest.approx(want, rel=1e-4), step
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-4)


Y_INTEGERS = RNG.integers(0, 3, (6, 9))
Y_ONE_HOT = np.eye(3, dtype="float32")[Y_INTEGERS]
LOSSES = [
    ("mse", "linear", Y_ONE_HOT),
    ("mae", "linear", Y_ONE_HOT),
    ("huber", "linear", Y_ONE_HOT),
    ("binary_crossentropy", "sigmoid", Y_ONE_HOT),
    ("categorical_crossentropy", "softmax", Y_ONE_HOT),
    ("sparse_categorical_crossentropy", "softmax", Y_INTEGERS),
]


@pytest.mark.parametrize(("loss", "activation", "y"), LOSSES, ids=[loss for loss, _, _ in LOSSES])
def test_losses_and_accuracy_per_time_step(loss, activation, y) -> None:
    ours = models.Sequential(
        [layers.Input((9, 5)), layers.LSTM(7, return_sequences=True), layers.Dense(3, activation=activation)]
    )
    theirs = keras.Sequential(
        [
            keras.layers.Input((9, 5)),
            keras.layers.LSTM(7, return_sequences=True),
            keras.layers.Dense(3, activation=activation),
        ]
    )
    ours.set_weights(theirs.get_weights())
    for model in (ours, theirs):
        model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    got = ours.evaluate(X, y, verbose=0)
    want = theirs.evaluate(X, y, verbose=0)
    np.testing.assert_allclose(got, want, rtol=1e-4)

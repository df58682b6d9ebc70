"""Small models of every kind of layer under masks beside Keras, live: where masks go, and what training makes of them.

Known to differ: arithmetic and slices of steps keep the mask here, Keras's lose it without a word; where a mask leaves
nothing, Keras's mean over the steps is NaN and its heads attend to everything.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import layers, models, optimizers

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword",
    "ignore:Layer .* was passed an input with a mask attached",
    "ignore:.*the mask does not fit its outputs and ends here",
)

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
X[0, 3:] = X[1, 1:] = X[2, 4:] = 0
Z[0, 1:] = Z[2, 2:] = Z[1, 4:] = 0


def masked(make):
    """A graph of one input, masked."""
    return lambda library, a, b: make(library, library.Masking()(a))


def masked_pair(make):
    """A graph of two inputs, both masked."""
    return lambda library, a, b: make(library, library.Masking()(a), library.Masking()(b))


def sequences(library, name="LSTM", **options):
    return getattr(library, name)(3, return_sequences=True, **options)


# Where a mask goes.

FLOWS = {
    "masking": masked(lambda library, h: library.Masking(0.5)(h)),
    "dense": masked(lambda library, h: library.Dense(2)(h)),
    "activation": masked(lambda library, h: library.Activation("relu")(h)),
    "relu": masked(lambda library, h: library.ReLU()(h)),
    "dropout": masked(lambda library, h: library.Dropout(0.3)(h)),
    "spatial dropout": masked(lambda library, h: library.SpatialDropout1D(0.3)(h)),
    "noise": masked(lambda library, h: library.GaussianNoise(0.3)(h)),
    "layer normalization": masked(lambda library, h: library.LayerNormalization()(h)),
    "batch normalization": masked(lambda library, h: library.BatchNormalization()(h)),
    "convolution": masked(lambda library, h: library.Conv1D(2, 2, padding="same")(h)),
    "flatten": masked(lambda library, h: library.Flatten()(h)),
    "reshape": masked(lambda library, h: library.Reshape((5, 3, 1))(h)),
    "permute": masked(lambda library, h: library.Permute((2, 1))(h)),
    "maxima": masked(lambda library, h: library.MaxPooling1D(2)(h)),
    "means": masked(lambda library, h: library.AveragePooling1D(2)(h)),
    "maximum": masked(lambda library, h: library.GlobalMaxPooling1D()(h)),
    "mean": masked(lambda library, h: library.GlobalAveragePooling1D()(h)),
    "repeat": masked(lambda library, h: library.RepeatVector(2)(library.LSTM(2)(h))),
    "last": masked(lambda library, h: library.LSTM(2)(h)),
    "sequence": masked(lambda library, h: sequences(library)(h)),
    "sequence and states": masked(lambda library, h: sequences(library, return_state=True)(h)[0]),
    "state": masked(lambda library, h: sequences(library, return_state=True)(h)[1]),
    "backwards": masked(lambda library, h: sequences(library, "GRU", go_backwards=True)(h)),
    "cells": masked(lambda library, h: library.RNN([library.LSTMCell(2), library.GRUCell(3)], True)(h)),
    "bidirectional": masked(lambda library, h: library.Bidirectional(sequences(library))(h)),
    "bidirectional last": masked(lambda library, h: library.Bidirectional(library.LSTM(2))(h)),
    "second direction": masked(lambda library, h: library.Bidirectional(sequences(library), merge_mode=None)(h)[1]),
    "bidirectional states": masked(
        lambda library, h: library.Bidirectional(sequences(library, return_state=True))(h)[0]
    ),
    "each step": masked(lambda library, h: library.TimeDistributed(library.Dense(2))(h)),
    "each step flat": masked(lambda library, h: library.TimeDistributed(library.Flatten())(h)),
    "concatenate": masked_pair(lambda library, g, h: library.Concatenate()([g, h])),
    "concatenate steps": masked_pair(lambda library, g, h: library.Concatenate(axis=1)([g, h])),
    "concatenate one": lambda library, a, b: library.Concatenate()([library.Masking()(a), b]),
    "concatenate steps one": lambda library, a, b: library.Concatenate(axis=1)([library.Masking()(a), b]),
    "concatenate the other": lambda library, a, b: library.Concatenate()([a, library.Masking()(b)]),
    "add": masked_pair(lambda library, g, h: library.Add()([g, h])),
    "add one": lambda library, a, b: library.Add()([library.Masking()(a), b]),
    "multiply": masked_pair(lambda library, g, h: library.Multiply()([g, h])),
    "subtract": masked_pair(lambda library, g, h: library.Subtract()([g, h])),
    "average": masked_pair(lambda library, g, h: library.Average()([g, h])),
    "maximum of two": masked_pair(lambda library, g, h: library.Maximum()([g, h])),
    "dot": masked_pair(lambda library, g, h: library.Dot(axes=2)([g, h])),
    "attention": masked_pair(lambda library, g, h: library.Attention()([g, h])),
    "attention to masked": lambda library, a, b: library.Attention()([a, library.Masking()(b)]),
    "additive attention": masked_pair(lambda library, g, h: library.AdditiveAttention()([g, h])),
    "heads to masked": lambda library, a, b: library.MultiHeadAttention(1, 2)(a, library.Masking()(b)),
}


class Probe(keras.layers.Layer):
    """Keeps the mask that comes in."""

    supports_masking = True

    def call(self, inputs, mask=None):
        self.mask = mask
        return inputs


@pytest.mark.parametrize("name", FLOWS)
def test_where_a_mask_goes(name) -> None:
    a, b = keras.Input((5, 3)), keras.Input((5, 3))
    with warnings.catch_warnings(record=True) as theirs_said:
        warnings.simplefilter("always")
        probe = Probe()
        theirs = keras.Model([a, b], probe(FLOWS[name](keras.layers, a, b)))
        expected = keras.ops.convert_to_numpy(theirs([X, Z]))
    a, b = layers.Input((5, 3)), layers.Input((5, 3))
    ours = models.Model([a, b], FLOWS[name](layers, a, b))
    ours.set_weights(theirs.get_weights())
    with warnings.catch_warnings(record=True) as ours_said:
        warnings.simplefilter("always")
        found, mask, _ = ours.forward_masked([X, Z], False, None, False, False)
    np.testing.assert_allclose(found, expected, rtol=5e-5, atol=5e-6)
    assert (mask is None) == (probe.mask is None)
    if mask is not None:
        np.testing.assert_array_equal(mask, keras.ops.convert_to_numpy(probe.mask))
    drops = [any("mask" in str(warning.message) for warning in said) for said in (ours_said, theirs_said)]
    assert drops[0] == drops[1], "who warns that the mask ends"


def own_layers(library):
    """Blocks of a user's own, with weights that start from ones."""
    ones = {"kernel_initializer": "ones", "recurrent_initializer": "ones"}

    class Table(library.Layer):
        takes_integers = True

        def __init__(self):
            super().__init__()
            self.table = library.Embedding(5, 3, mask_zero=True, embeddings_initializer="ones")
            self.lstm = library.LSTM(2, return_sequences=True, **ones)

        def call(self, inputs):
            return self.lstm(self.table(inputs))

    class Last(library.Layer):
        def __init__(self):
            super().__init__()
            self.lstm = library.LSTM(2, **ones)

        def call(self, inputs):
            return self.lstm(inputs)

    class FirstThree(library.Layer):
        def call(self, inputs):
            return inputs[:, :3] * 2.0

    return {
        "a mask from inside": [library.Input((5,), dtype="int32"), Table(), library.LSTM(1, **ones)],
        "a mask from inside into the loss": [library.Input((5,), dtype="int32"), Table()],
        "a mask that ends inside": [library.Input((5, 3)), library.Masking(), Last()],
        "a mask that ends": [library.Input((5, 3)), library.Masking(), FirstThree(), library.LSTM(1, **ones)],
    }


@pytest.mark.filterwarnings("ignore:.*the mask ends here")
@pytest.mark.parametrize("name", own_layers(layers))
def test_masks_and_layers_of_a_user_s_own(name) -> None:
    x = (X[..., 0] != 0) * np.arange(5) if "from inside" in name else X
    found = []
    for library, module in ((layers, models), (keras.layers, keras)):
        model = module.Sequential(own_layers(library)[name])
        model.compile("sgd", "mse")
        y = np.linspace(-1, 1, 40, dtype="float32")[: 4 * np.prod(model.output_shape[1:])]
        found.append(model.evaluate(x, y.reshape(4, *model.output_shape[1:]), verbose=0))
    assert found[0] == pytest.approx(float(found[1]), rel=1e-5)


# What training makes of it.


def ending(library, h):
    return library.Dense(1)(sequences(library)(h))


def attending(attend):
    """A graph in which one sequence attends to another."""

    def make(library, g, h):
        g, h = sequences(library)(g), sequences(library)(h)
        return library.Dense(1)(library.Concatenate()([g, attend(library, g, h)]))

    return make


def merged(library, g, h):
    g, h = library.Dense(3)(g), library.Dense(3)(h)
    names = ("Multiply", "Subtract", "Average", "Maximum", "Minimum")
    return ending(library, library.Add()([getattr(library, name)()([g, h]) for name in names]))


def penalized(library):
    return sequences(
        library,
        kernel_regularizer="l2",
        recurrent_regularizer="l1",
        bias_regularizer="l2",
        activity_regularizer="l1",
        kernel_constraint="max_norm",
        bias_constraint="non_neg",
    )


def states(encoder, decoder):
    """A graph in which one layer's states start another."""

    def make(library, a, b):
        _, *kept = encoder(library)(library.Masking()(a))
        return library.Dense(1)(decoder(library)(b, initial_state=kept))

    return make


TRAININGS = {
    "lstm": masked(ending),
    "bidirectional": masked(lambda library, h: ending(library, library.Bidirectional(sequences(library))(h))),
    "product": masked(
        lambda library, h: ending(
            library, library.Bidirectional(sequences(library, "GRU", reset_after=False), merge_mode="mul")(h)
        )
    ),
    "mean of last": masked(
        lambda library, h: library.Dense(1)(library.Bidirectional(library.SimpleRNN(2), merge_mode="ave")(h))
    ),
    "both directions": masked(
        lambda library, h: ending(
            library, library.Concatenate()(library.Bidirectional(sequences(library), merge_mode=None)(h))
        )
    ),
    "cells": masked(
        lambda library, h: ending(
            library, library.RNN([library.LSTMCell(2), library.GRUCell(3), library.SimpleRNNCell(2)], True)(h)
        )
    ),
    "zeros": masked(
        lambda library, h: ending(
            library, library.RNN([library.LSTMCell(2), library.GRUCell(3)], True, zero_output_for_mask=True)(h)
        )
    ),
    "backwards": lambda library, a, b: ending(library, sequences(library, go_backwards=True)(a)),
    "other activations": masked(
        lambda library, h: ending(
            library, sequences(library, activation="relu", recurrent_activation="hard_sigmoid")(h)
        )
    ),
    "states": states(lambda library: library.LSTM(3, return_state=True), sequences),
    "states of both directions": states(
        lambda library: library.Bidirectional(library.GRU(3, return_state=True)),
        lambda library: library.Bidirectional(sequences(library, "GRU")),
    ),
    "states of a cell": states(
        lambda library: library.RNN(library.LSTMCell(3), return_state=True),
        lambda library: library.RNN(library.LSTMCell(3), return_sequences=True),
    ),
    "each step": masked(
        lambda library, h: ending(library, library.TimeDistributed(library.Dense(2, activation="tanh"))(h))
    ),
    "lstm at each step": lambda library, a, b: ending(
        library, library.TimeDistributed(library.LSTM(2))(library.Reshape((5, 3, 1))(a))
    ),
    "causal convolution": lambda library, a, b: ending(
        library, library.MaxPooling1D(2)(library.Conv1D(4, 3, padding="causal", activation="relu")(a))
    ),
    "dilated convolution": lambda library, a, b: ending(
        library, library.AveragePooling1D(2, padding="same")(library.Conv1D(4, 3, padding="same", dilation_rate=2)(a))
    ),
    "mean": masked(lambda library, h: library.Dense(1)(library.GlobalAveragePooling1D()(sequences(library)(h)))),
    "maximum": masked(lambda library, h: library.Dense(1)(library.GlobalMaxPooling1D()(sequences(library)(h)))),
    "batch normalization": masked(
        lambda library, h: ending(library, library.BatchNormalization()(library.Dense(3)(h)))
    ),
    "layer normalization": masked(
        lambda library, h: ending(library, library.LayerNormalization()(sequences(library)(h)))
    ),
    "attention": masked_pair(attending(lambda library, g, h: library.Attention(use_scale=True)([g, h]))),
    "additive attention": masked_pair(attending(lambda library, g, h: library.AdditiveAttention()([g, h]))),
    "heads": lambda library, a, b: attending(lambda library, g, h: library.MultiHeadAttention(2, 3)(g, h))(
        library, a, library.Masking()(b)
    ),
    "merged": masked_pair(merged),
    "one after the other": masked_pair(lambda library, g, h: ending(library, library.Concatenate(axis=1)([g, h]))),
    "softmax": lambda library, a, b: library.Dense(1)(library.Softmax(axis=1)(library.Dense(2)(a))),
    "repeated": masked(
        lambda library, h: library.Dense(1)(sequences(library)(library.RepeatVector(3)(library.LSTM(2)(h))))
    ),
    "permuted": lambda library, a, b: ending(library, library.Permute((2, 1))(library.Dense(4)(a))),
    "penalties": masked(lambda library, h: ending(library, library.Bidirectional(penalized(library))(h))),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_three_training_steps(name) -> None:
    made = []
    for library, module, sgd in (
        (keras.layers, keras, keras.optimizers.SGD),
        (layers, models, optimizers.SGD),
    ):
        a, b = library.Input((5, 3)), library.Input((5, 3))
        model = module.Model([a, b], TRAININGS[name](library, a, b))
        model.compile(sgd(0.3), "mse")
        made.append(model)
    theirs, ours = made
    ours.set_weights(theirs.get_weights())
    order = [[type(layer).__name__ for layer in model.layers if layer.weights] for model in made]
    assert order[0] == order[1]
    y = np.random.default_rng(5).normal(size=(4, *ours.output_shape[1:])).astype("float32")
    for step in range(3):
        got, want = ours.train_on_batch([X, Z], y), float(theirs.train_on_batch([X, Z], y))
        assert got == pytest.approx(want, rel=1e-4), step
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, keras.ops.convert_to_numpy(other), rtol=1e-4, atol=1e-4)

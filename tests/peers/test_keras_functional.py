"""Functional models beside Keras, live: structure, predictions, losses and a short training."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras
import numpy as np
from functional_models import MODELS, PADDED, X, Z, assert_same, measure

from fusedlstm import layers, models, optimizers

# Keras's variables do not take NumPy's newest keyword yet; it warns of names and structures that differ.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:The structure of `inputs`"),
    pytest.mark.filterwarnings("ignore:Layer 'inner'.*was passed an input with a mask"),  # it goes through
]


def numbers(value):
    return keras.ops.convert_to_numpy(value)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_models(make) -> None:
    ours, options, x, y = make(layers, models)
    theirs, _, _, _ = make(keras.layers, keras)
    assert [layer.name for layer in ours.layers if layer.weights] == [
        layer.name for layer in theirs.layers if layer.weights
    ]
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape
    assert ours.count_params() == theirs.count_params()
    got = measure(ours, optimizers.SGD, options, x, y, np.asarray)
    assert_same(got, measure(theirs, keras.optimizers.SGD, options, x, y, numbers))


def build_random(library, module, seed):
    """A random graph of dense layers, additions, slices and shared layers."""
    rng = np.random.default_rng(seed)
    a, b = library.Input((5, 3), name="a"), library.Input((5, 3), name="b")
    shared = library.Dense(3, activation="tanh", name="shared")
    tensors = [a, b]
    for k in range(int(rng.integers(3, 9))):
        kind = rng.integers(0, 5)
        first, second = (tensors[int(rng.integers(0, len(tensors)))] for _ in range(2))
        if kind == 0:
            tensors.append(library.Dense(3, activation="tanh", name=f"d{k}")(first))
        elif kind == 1:
            tensors.append(shared(first))
        elif kind == 2:
            tensors.append(library.LSTM(3, return_sequences=True, name=f"l{k}")(first))
        elif kind == 3:
            tensors.append(library.Add(name=f"p{k}")([first, second]))
        else:
            tensors.append(library.Concatenate(name=f"c{k}")([first, second])[:, :, 1:4])
    outs = [tensors[-1], library.Dense(2, name="end")(tensors[int(rng.integers(2, len(tensors)))])]
    return module.Model([a, b], outs)


@pytest.mark.parametrize("seed", range(15))
def test_random_graphs(seed) -> None:
    ours, theirs = build_random(layers, models, seed), build_random(keras.layers, keras, seed)
    y = [np.zeros((6, 5, 3), "float32"), np.ones((6, 5, 2), "float32")]
    options = {"loss": "mse"}
    got = measure(ours, optimizers.SGD, options, [X, Z], y, np.asarray)
    want = measure(theirs, keras.optimizers.SGD, options, [X, Z], y, numbers)
    for part in (got, want):  # the names that slices and clashes get are each library's own
        for values in (part["history"], part["evaluation"]):
            for name in [name for name in values if name not in ("loss", "end_loss")]:
                del values[name]
    assert_same(got, want)


def test_a_symbolic_attention_mask() -> None:
    def make(library, module):
        a, allowed = library.Input((5, 3), name="a"), library.Input((5, 5), dtype="bool", name="allowed")
        attend = library.MultiHeadAttention(2, 4)
        h = attend(a, library.Masking()(a), attention_mask=allowed, use_causal_mask=True)
        y = attend(h, h, attention_mask=allowed)  # without the scores: Keras's graph loses them
        return module.Model([a, allowed], library.Dense(2)(y))

    ours, theirs = make(layers, models), make(keras.layers, keras)
    ours.set_weights(theirs.get_weights())
    allowed = np.random.default_rng(0).uniform(size=(6, 5, 5)) < 0.6
    allowed[:, :, 0] = True  # Keras attends to everything where nothing is left
    x, y = [PADDED, allowed], np.ones((6, 5, 2), "float32")
    found = []
    for model, library in ((ours, optimizers), (theirs, keras.optimizers)):
        model.compile(library.SGD(0.1), "mse")
        predicted = numbers(model.predict(x, verbose=0))
        history = model.fit(x, y, batch_size=6, epochs=3, verbose=0).history
        found.append([predicted, history["loss"], *map(numbers, model.get_weights())])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("trainable", [False, True])
def test_penalties_of_frozen_layers(trainable) -> None:
    results = []
    for library, module in ((layers, models), (keras.layers, keras)):
        dense = library.Dense(2, kernel_initializer="ones", kernel_regularizer="l2", activity_regularizer="l1")
        model = module.Sequential([library.Input((3,)), dense])
        dense.trainable = trainable
        model.compile("sgd", "mse")
        x = np.ones((4, 3), "float32")
        results.append((float(model.evaluate(x, np.zeros((4, 2)), verbose=0)), len(model.losses)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)


def directions(library, module):
    return [
        library.Bidirectional(library.LSTM(3, return_sequences=True, activity_regularizer="l1"), merge_mode="mul"),
        library.Bidirectional(library.GRU(2), activity_regularizer="l2"),
    ]


def stack(library, module):
    return [library.RNN([library.LSTMCell(3), library.GRUCell(2)], activity_regularizer="l2", return_sequences=True)]


def steps(library, module):
    # Not of a layer alone: with that, Keras's TimeDistributed leaves the penalty out.
    return [library.TimeDistributed(module.Sequential([library.Dense(2, activity_regularizer="l2")]))]


@pytest.mark.parametrize("make", [directions, stack, steps], ids=lambda make: make.__name__)
def test_activity_of_inner_layers(make) -> None:
    ours, theirs = (
        module.Sequential([library.Input((5, 3)), *make(library, module)])
        for library, module in ((layers, models), (keras.layers, keras))
    )
    ours.set_weights(theirs.get_weights())
    y = ours.predict(X, verbose=0)
    found = []
    for model in (ours, theirs):
        model.compile("sgd", "mse")
        found.append([float(model.evaluate(X, y, verbose=0)), float(model.train_on_batch(X, y))])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0][0] > 1e-4
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_stateful() -> None:
    results = []
    for library, module in ((layers, models), (keras.layers, keras)):
        lstm = library.LSTM(4, stateful=True, return_sequences=True)
        model = module.Sequential([library.Input((5, 3), batch_size=6), lstm, library.LSTM(2, stateful=True)])
        shapes = [w.shape for w in model.get_weights()]
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=shape).astype("float32") * 0.3 for shape in shapes])
        # Not predict: with JAX, Keras's forgets the state of all but the first call.
        found = [numbers(model(x)) for x in (X, Z, X)]
        for layer in model.layers:
            layer.reset_state()
        results.append([*found, numbers(model(X))])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)

"""Losses and metrics under a mask beside Keras, live."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import layers, models

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RNG = np.random.default_rng(0)
B, T = 10, 7
IDS = RNG.integers(0, 4, (B, T))
IDS[0] = 0
X = RNG.normal(size=(B, T, 3)).astype("float32") * (IDS != 0)[..., None]
LABELS = RNG.integers(0, 4, (B, T))
STEPS = RNG.uniform(0.1, 1, size=(B, T)).astype("float32")
HEADS = {
    "regression": (1, None, "mse", ["mse", "mae"], RNG.normal(size=(B, T, 1)).astype("float32")),
    "regressions": (3, None, "huber", ["mse", "mae"], RNG.normal(size=(B, T, 3)).astype("float32")),
    "binary": (1, "sigmoid", "binary_crossentropy", ["accuracy", "bce"], (LABELS[..., None] > 1).astype("float32")),
    "labels": (4, "softmax", "sparse_categorical_crossentropy", ["accuracy"], LABELS),
    "one hot": (4, "softmax", "categorical_crossentropy", ["accuracy"], np.eye(4, dtype="float32")[LABELS]),
}


def build(library, module, source, head):
    width, activation, loss, names, _ = HEADS[head]
    a = library.Input((T,) if source == "ids" else (T, 3))
    h = library.Embedding(4, 3, mask_zero=True)(a) if source == "ids" else library.Masking()(a)
    h = library.LSTM(4, return_sequences=True)(h)
    model = module.Model(a, library.TimeDistributed(library.Dense(width, activation=activation))(h))
    model.compile("sgd", loss, metrics=list(names), weighted_metrics=list(names))
    return model


def both(source, head):
    ours, theirs = build(layers, models, source, head), build(keras.layers, keras, source, head)
    ours.set_weights(theirs.get_weights())
    return ours, theirs, IDS if source == "ids" else X, HEADS[head][-1]


def assert_close(got, want):
    assert list(got) == list(want)
    np.testing.assert_allclose(list(got.values()), [float(v) for v in want.values()], rtol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("source", ["ids", "masking"])
def test_evaluate_in_batches(source, head) -> None:
    *both_models, x, y = both(source, head)
    assert_close(*(m.evaluate(x, y, batch_size=4, verbose=0, return_dict=True) for m in both_models))


@pytest.mark.parametrize("head", HEADS)
def test_weights_per_step(head) -> None:
    # Of more than one batch: on Torch, Keras's first batches leave a factor in the weights. Weights per sample with a
    # mask per step it refuses.
    *both_models, x, y = both("ids", head)
    assert_close(
        *(m.evaluate(x, y, batch_size=B, sample_weight=STEPS, verbose=0, return_dict=True) for m in both_models)
    )


@pytest.mark.parametrize("head", HEADS)
def test_training(head) -> None:
    ours, theirs, x, y = both("masking", head)
    got, want = (m.fit(x, y, 4, epochs=2, shuffle=False, verbose=0).history for m in (ours, theirs))
    names = list(want) if keras.backend.backend() == "torch" else ["loss"]  # on JAX, metrics of fit lose the mask
    assert sorted(got) == sorted(want)
    for name in names:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, err_msg=name)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)

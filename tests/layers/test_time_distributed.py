"""TimeDistributed."""

import warnings

import numpy as np
import pytest
from layers.layer_gradients import check_layer

from fusedlstm.layers import (
    LSTM,
    BatchNormalization,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Masking,
    TimeDistributed,
)

RNG = np.random.default_rng(0)
STEPS = np.array([[1, 0, 1], [0, 0, 1]], bool)
PARTS = RNG.uniform(size=(2, 3, 4)) < 0.6
D = {"dtype": "float64"}
CASES = {
    "dense": (lambda: Dense(2, "tanh", **D), (2, 3, 4), None, True),
    "dense masked": (lambda: Dense(2, **D), (2, 3, 4), STEPS, True),
    "dropout": (lambda: Dropout(0.5, **D), (2, 3, 4), None, True),
    "flatten": (lambda: Flatten(**D), (2, 3, 4, 2), STEPS, True),
    "convolution": (lambda: Conv1D(2, 3, **D), (2, 3, 4, 2), STEPS, True),
    "batch normalization": (lambda: BatchNormalization(**D), (2, 3, 4), STEPS, True),
    "batch normalization of parts": (lambda: BatchNormalization(**D), (2, 3, 4, 2), PARTS, True),
    "average": (lambda: GlobalAveragePooling1D(**D), (2, 3, 4, 2), PARTS, True),
    "lstm": (lambda: LSTM(3, **D), (2, 3, 4, 2), PARTS, True),
    "lstm sequences": (lambda: LSTM(3, return_sequences=True, **D), (2, 3, 4, 2), PARTS, True),
    "lstm of masked steps": (lambda: LSTM(3, **D), (2, 3, 4, 2), STEPS, True),
    "embedding": (lambda: Embedding(9, 2, mask_zero=True, **D), (2, 3, 4), None, False),
    "nested": (lambda: TimeDistributed(Dense(2, **D)), (2, 3, 4, 2), PARTS, True),
}


def make(name):
    inner, shape, mask, differentiable = CASES[name]
    x = RNG.normal(size=shape) if differentiable else RNG.integers(0, 9, shape)
    return TimeDistributed(inner()), x, mask, differentiable


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, training):
    layer, x, mask, differentiable = make(name)
    if name == "dropout":
        layer.layer._generator = np.random.default_rng(0)
    check_layer(layer, x, mask=mask, training=training, differentiable=differentiable)
    assert layer.weights == layer.layer.weights
    assert layer.built


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("dropout", "batch normalization")])
def test_each_step_is_a_call_of_the_layer(name):
    layer, x, mask, _ = make(name)
    y = layer.forward(x, mask=mask)[0]
    for t in range(x.shape[1]):
        part = mask[:, t] if mask is not None and mask.ndim == x.ndim - 1 else None
        expected = layer.layer.forward(x[:, t], mask=part)[0]
        np.testing.assert_allclose(y[:, t], expected, atol=1e-12)


def test_masks():
    x = RNG.normal(size=(2, 3, 4, 2))
    assert TimeDistributed(Dense(2)).compute_mask(x) is None
    np.testing.assert_array_equal(TimeDistributed(Dense(2)).compute_mask(x, STEPS), STEPS)
    np.testing.assert_array_equal(TimeDistributed(Dense(2)).compute_mask(x[..., 0], STEPS), STEPS)
    np.testing.assert_array_equal(TimeDistributed(LSTM(2)).compute_mask(x, PARTS), PARTS.any(axis=-1))
    np.testing.assert_array_equal(TimeDistributed(LSTM(2, return_sequences=True)).compute_mask(x, PARTS), PARTS)
    ids = RNG.integers(0, 3, (2, 3, 4))
    embedding = TimeDistributed(Embedding(3, 2, mask_zero=True))
    assert embedding.makes_mask
    assert embedding.takes_integers
    np.testing.assert_array_equal(embedding.compute_mask(ids), ids != 0)
    x[0, 1] = 0
    np.testing.assert_array_equal(TimeDistributed(Masking()).compute_mask(x), (x != 0).any(axis=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(TimeDistributed(Conv1D(2, 3)).compute_mask(x, STEPS), STEPS)
        np.testing.assert_array_equal(TimeDistributed(Flatten()).compute_mask(x[..., 0], STEPS), STEPS)


def test_trainable_is_the_inner_layer_s_too():
    layer = TimeDistributed(Dense(2))
    y, backward = layer.forward(np.ones((2, 3, 4)), training=True)
    layer.trainable = False
    assert not layer.layer.trainable
    backward(np.ones_like(y))
    assert layer.gradients == []
    assert layer.trainable_weights == []


def test_shapes_and_the_inner_dtype():
    layer = TimeDistributed(Conv1D(2, 3, dtype="float64"))
    assert layer.dtype == np.float64
    assert layer.compute_output_shape((None, None, 8, 3)) == (None, None, 6, 2)
    layer.build((None, None, None, 3))
    assert layer(np.zeros((2, 0, 8, 3))).shape == (2, 0, 6, 2)

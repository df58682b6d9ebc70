"""Cells, RNN and Bidirectional beside Keras, live: the same weights and inputs give the same outputs and states."""

from __future__ import annotations

import inspect
import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")

import keras

from fusedlstm import layers

# Keras's variables do not take NumPy's newest keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype("float32")
# Keras on JAX and PyTorch differ for rows that start masked; both keep to the rule where the mask is at the end.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
FLAGS = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True},
]


def flat(outputs):
    if not isinstance(outputs, list | tuple):
        return [np.asarray(keras.ops.convert_to_numpy(outputs))]
    return [array for output in outputs for array in flat(output)]


def compare(ours, theirs, x=X, **arguments):
    """Weights' shapes and order, then everything that a call returns."""
    ours.build(x.shape)
    expected = flat(theirs(x, **arguments))
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    weights = [RNG.normal(size=w.shape, scale=0.5).astype("float32") for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    expected = flat(theirs(x, **arguments))
    for a, b in zip(flat(ours(x, **arguments)), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "masked"])
@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags))
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_bidirectional(name, merge_mode, flags, mask) -> None:
    ours, theirs = (
        module.Bidirectional(getattr(module, name)(3, **flags), merge_mode=merge_mode)
        for module in (layers, keras.layers)
    )
    compare(ours, theirs, mask=mask)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_bidirectional_states(name) -> None:
    ours, theirs = (
        module.Bidirectional(getattr(module, name)(3, return_state=True)) for module in (layers, keras.layers)
    )
    count = 4 if name == "LSTM" else 2
    compare(ours, theirs, initial_state=[RNG.normal(size=(3, 3)).astype("float32") for _ in range(count)])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "Bidirectional"])
def test_states_and_mask_by_place(name) -> None:
    def made(module):
        if name in ("LSTM", "GRU"):
            return getattr(module, name)(3)
        return module.RNN(module.LSTMCell(3)) if name == "RNN" else module.Bidirectional(module.GRU(3))

    states = [RNG.normal(size=(3, 3)).astype("float32") for _ in range(1 if name == "GRU" else 2)]
    ours, theirs = made(layers), made(keras.layers)
    ours.build(X.shape)
    theirs.build(X.shape)
    theirs.set_weights(ours.get_weights())
    for a, b in zip(flat(ours(X, states, MASK)), flat(theirs(X, states, MASK)), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("options", [{}, {"unit_forget_bias": False}], ids=str)
@pytest.mark.parametrize("bias", ["zeros", "ones", {"class_name": "Constant", "config": {"value": 0.5}}], ids=str)
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_fresh_biases(name, bias, options) -> None:
    found = []
    for module in (layers, keras.layers):
        layer = getattr(module, name)(3, bias_initializer=bias, **options)
        layer.build((None, 5, 4) if name == "LSTM" else (None, 4))
        found.append(layer.get_weights()[2])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"])
def test_stateful(name, backwards) -> None:
    def made(module):
        if name == "Bidirectional":
            return module.Bidirectional(module.LSTM(3, stateful=True, return_sequences=backwards))
        if name == "RNN":  # not over a list of cells: Keras's fails
            return module.RNN(module.LSTMCell(3), stateful=True, go_backwards=backwards)
        return getattr(module, name)(3, stateful=True, go_backwards=backwards)

    ours, theirs = made(layers), made(keras.layers)
    ours.build(X.shape)
    theirs.build(X.shape)
    theirs.set_weights(ours.get_weights())
    for step in range(4):
        np.testing.assert_allclose(ours(X), flat(theirs(X))[0], rtol=5e-5, atol=5e-6, err_msg=f"call {step}")
        if step == 1:
            ours.reset_state()
            theirs.reset_state()


@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "masked"])
@pytest.mark.parametrize("flags", [*FLAGS, {"go_backwards": True, "zero_output_for_mask": True}], ids=str)
@pytest.mark.parametrize("cells", [["LSTM"], ["GRU"], ["SimpleRNN"], ["LSTM", "GRU", "SimpleRNN"]], ids="+".join)
def test_rnn(cells, flags, mask) -> None:
    def made(module):
        parts = [getattr(module, f"{name}Cell")(3) for name in cells]
        return module.RNN(parts if len(parts) > 1 else parts[0], **flags)

    compare(made(layers), made(keras.layers), mask=mask)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_cells(name) -> None:
    ours, theirs = (getattr(module, f"{name}Cell")(3) for module in (layers, keras.layers))
    states = [RNG.normal(size=(3, 3)).astype("float32") for _ in range(2 if name == "LSTM" else 1)]
    ours.build((3, 4))
    theirs.build((3, 4))
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert ours.state_size == theirs.state_size
    theirs.set_weights(ours.get_weights())
    for a, b in zip(flat(ours(X[:, 0], states)), flat(theirs(X[:, 0], states)), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-6)


NAMES = ["Bidirectional", "RNN", "LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "GRU", "SimpleRNN", "LSTM"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_keras_order_and_defaults(name) -> None:
    def positional(cls):
        found = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]

    own, theirs = positional(getattr(layers, name)), positional(getattr(keras.layers, name))
    assert own == theirs

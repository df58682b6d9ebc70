"""GRU and SimpleRNN beside Keras (outputs, states, masks, weights) and PyTorch (outputs and gradients), live."""

from __future__ import annotations

import itertools
import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from fusedlstm import backends, layers

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 9, 5)).astype("float32")
MASK = RNG.uniform(size=(6, 9)) < 0.6
MASK[0], MASK[1] = False, True
CELLS = [
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"use_bias": False, "activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    ("SimpleRNN", {}),
    ("SimpleRNN", {"use_bias": False, "activation": "softsign"}),
]


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
@pytest.mark.parametrize(("go_backwards", "return_sequences"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("masked", ["no", "mask", "zero output"])
def test_keras(name, options, go_backwards, return_sequences, masked):
    options = options | {
        "go_backwards": go_backwards,
        "return_sequences": return_sequences,
        "return_state": True,
        "zero_output_for_mask": masked == "zero output",
    }
    ours, theirs = getattr(layers, name)(7, **options), getattr(keras.layers, name)(7, **options)
    ours.build(X.shape)
    theirs.build(X.shape)
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    weights = [RNG.standard_normal(array.shape).astype("float32") * np.float32(0.4) for array in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    mask = None if masked == "no" else MASK
    h0 = RNG.standard_normal((6, 7)).astype("float32")
    # With an initial state Keras's backends do not agree on the outputs ahead of the first valid step.
    for state in [None] if masked == "mask" else [None, h0]:
        got = ours(X, mask=mask, initial_state=state)
        want = theirs(X, mask=mask, initial_state=state)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, keras.ops.convert_to_numpy(b), rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["gru", "simple_rnn"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (6, 20, 30, 50), (33, 7, 5, 16), (2, 3, 4, 129)], ids=str)
def test_pytorch(cell, shape, dtype, ragged):
    """With PyTorch's weights: rows r z n there, columns z r h here. A packed sequence there is a mask here."""
    batch, steps, inputs, units = shape
    torch.manual_seed(0)
    kind = torch.nn.GRU if cell == "gru" else torch.nn.RNN
    layer = kind(inputs, units, batch_first=True, dtype=getattr(torch, dtype))
    x = torch.randn(batch, steps, inputs, dtype=getattr(torch, dtype), requires_grad=True)
    h0 = torch.randn(1, batch, units, dtype=getattr(torch, dtype), requires_grad=True)
    mask = None
    if ragged:
        lengths = RNG.integers(1, steps + 1, batch)
        mask = np.arange(steps) < lengths[:, None]
        packed_x = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.as_tensor(lengths), batch_first=True, enforce_sorted=False
        )
        y, h = layer(packed_x, h0)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=steps)
    else:
        y, h = layer(x, h0)
    d_y, d_h = torch.randn_like(y), torch.randn_like(h)
    ((y * d_y).sum() + (h * d_h).sum()).backward()

    def columns(rows):
        parts = rows.detach().numpy().reshape(-1, units, *rows.shape[1:])
        if cell == "gru":
            parts = parts[[1, 0, 2]]
        return np.ascontiguousarray(parts.reshape(rows.shape).T)

    def bias(of_input, of_state):
        both = np.stack([columns(of_input), columns(of_state)])
        return both if cell == "gru" else both.sum(axis=0)

    c = backends.load("c")
    packed = getattr(c, f"{cell}_pack")(
        columns(layer.weight_ih_l0), columns(layer.weight_hh_l0), bias(layer.bias_ih_l0, layer.bias_hh_l0), True
    )
    got_y, got_h, saved = getattr(c, f"{cell}_forward")(
        x.detach().numpy(), packed, h0=h0.detach().numpy()[0], mask=mask, return_sequences=True,
        zero_output_for_mask=True, training=True,
    )  # fmt: skip
    got = getattr(c, f"{cell}_backward")(saved, d_y.numpy(), d_h.numpy()[0])
    d_bias = bias(layer.bias_ih_l0.grad, layer.bias_hh_l0.grad)
    if cell == "simple_rnn":
        d_bias = columns(layer.bias_ih_l0.grad)
    want = [
        y.detach().numpy(), h.detach().numpy()[0], x.grad.numpy(), columns(layer.weight_ih_l0.grad),
        columns(layer.weight_hh_l0.grad), d_bias, h0.grad.numpy()[0],
    ]  # fmt: skip
    ours = [got_y, got_h, got.d_x, got.d_kernel, got.d_recurrent, got.d_bias, got.d_h0]
    for a, b in zip(ours, want, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=(3e-5 if dtype == "float32" else 1e-12) * scale)

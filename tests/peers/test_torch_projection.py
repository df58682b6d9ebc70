"""LSTMP beside torch.nn.LSTM with proj_size: outputs, states and gradients. Run by `make test-peers`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusedlstm.layers import LSTM


@pytest.mark.parametrize(("units", "projection"), [(2, 1), (7, 3), (40, 16), (65, 64)])
@pytest.mark.parametrize("state", [False, True])
def test_projection(units, projection, state, rng):
    peer = torch.nn.LSTM(5, units, proj_size=projection, batch_first=True, dtype=torch.float64)
    weights = {name: parameter.detach().numpy().T for name, parameter in peer.named_parameters()}
    layer = LSTM(units, projection=projection, return_sequences=True, return_state=True, dtype="float64")
    layer.build((None, None, 5))
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    layer.set_weights([weights["weight_ih_l0"], weights["weight_hh_l0"], bias, weights["weight_hr_l0"]])
    x = rng.normal(size=(3, 6, 5))
    states = [rng.normal(size=(3, projection)), rng.normal(size=(3, units))] if state else None
    outputs, backward = layer.forward(x, True, initial_state=states)
    d_outputs = [rng.normal(size=y.shape) for y in outputs]
    d_inputs = backward(d_outputs)

    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *(states or []))]
    y, (h, c) = peer(tensors[0], (tensors[1][None], tensors[2][None]) if state else None)
    theirs = [y, h[0], c[0]]
    sum((a * torch.tensor(d)).sum() for a, d in zip(theirs, d_outputs, strict=True)).backward()
    for a, b in zip(outputs, theirs, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12, atol=1e-13)
    for a, b in zip(d_inputs if state else [d_inputs], tensors, strict=True):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-11, atol=1e-12)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "weight_hr_l0")
    for gradient, name in zip(layer.gradients, names, strict=True):
        np.testing.assert_allclose(gradient, getattr(peer, name).grad.numpy().T, rtol=1e-11, atol=1e-12)

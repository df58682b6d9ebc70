"""torch.nn.LSTM, live, over more shapes than the fixture has. Run by `make test-peers`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fixtures.make_torch_lstm import run_torch
from recurrent_case import compare_with_torch

from fusedlstm import backends
from fusedlstm.layers import LSTM


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("batch", "steps", "inputs", "units"), list(itertools.product([1, 6, 33], [1, 20], [1, 30], [1, 16, 50, 129]))
)
def test_lstm(batch, steps, inputs, units, dtype):
    rng = np.random.default_rng(batch * steps * inputs * units)
    for state, ragged in itertools.product([False, True], [False, True]):
        lengths = rng.integers(1, steps + 1, batch) if ragged else None
        case = run_torch((batch, steps, inputs, units), lengths, state, seed=units)
        compare_with_torch(backends.load("c"), case, dtype)


@pytest.mark.parametrize("backend", ["c", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "projection"),
    [((1, 1, 1, 2), 1), ((6, 20, 30, 50), 13), ((33, 7, 5, 16), 15), ((2, 3, 4, 129), 64), ((17, 5, 3, 9), 8)],
    ids=str,
)
def test_projection(shape, projection, dtype, backend):
    """PyTorch's weight_hr is (P,H): the projection is its transpose."""
    batch, steps, _, units = shape
    rng = np.random.default_rng(units)
    for state, ragged in itertools.product([False, True], [False, True]):
        lengths = rng.integers(1, steps + 1, batch) if ragged else None
        case = run_torch(shape, lengths, state, seed=units, projection=projection)
        compare_with_torch(backends.load(backend), case, dtype)


@pytest.mark.parametrize("ragged", [False, True])
def test_a_layer_with_a_projection(ragged):
    lengths = [7, 1, 5, 3] if ragged else None
    case = run_torch((4, 7, 5, 6), lengths, True, seed=1, projection=3)
    layer = LSTM(6, projection=3, return_sequences=True, return_state=True, zero_output_for_mask=True, dtype="float64")
    layer.build(case["x"].shape)
    layer.set_weights([case[name] for name in ("kernel", "recurrent", "bias", "projection")])
    outputs, backward = layer.forward(
        case["x"], True, case["mask"] if ragged else None, initial_state=[case["h0"], case["c0"]]
    )
    d_inputs = backward([case["d_y"], case["d_h"], case["d_c"]])
    names = ["y", "h", "c", "d_x", "d_h0", "d_c0", "d_kernel", "d_recurrent", "d_bias", "d_projection"]
    for name, array in zip(names, [*outputs, *d_inputs, *layer.gradients], strict=True):
        np.testing.assert_allclose(array, case[name], rtol=0, atol=1e-12, err_msg=name)

"""torch.nn.LSTM, live, over more shapes than the fixture has. Run by `make test-peers`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fixtures.make_torch_lstm import run_torch
from recurrent_case import compare_with_torch

from fusedlstm import backends


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

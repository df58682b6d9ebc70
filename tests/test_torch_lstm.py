"""PyTorch's LSTM, outputs and gradients, from the fixture that tests/fixtures/make_torch_lstm.py writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recurrent_case import compare_with_torch

from fusedlstm import backends

FIXTURES = Path(__file__).parent / "fixtures" / "torch_lstm.npz"


def load_cases():
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FIXTURES) as file:
        for key in file.files:
            name, part = key.split("/")
            cases.setdefault(name, {})[part] = file[key]
    return cases


CASES = load_cases()


@pytest.mark.parametrize("backend", ["c", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients(name, dtype, backend):
    compare_with_torch(backends.load(backend), CASES[name], dtype)

"""PyTorch's LSTM, outputs and gradients, from the fixture that tests/fixtures/make_torch_lstm.py writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusedlstm import backends

FIXTURES = Path(__file__).parent / "fixtures" / "torch_lstm.npz"
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}
GRADIENTS = ("d_x", "d_kernel", "d_recurrent", "d_bias", "d_h0", "d_c0")


def load_cases():
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FIXTURES) as file:
        for key in file.files:
            name, part = key.split("/")
            cases.setdefault(name, {})[part] = file[key]
    return cases


CASES = load_cases()


def compare(backend, case, dtype):
    """Runs the case's inputs and weights in `dtype`, and holds everything against PyTorch's float64 numbers."""

    def cast(name):
        return case[name].astype(dtype)

    mask = None if case["mask"].all() else case["mask"]
    states = {"h0": cast("h0"), "c0": cast("c0")} if "h0" in case else {}
    packed = backend.lstm_pack(cast("kernel"), cast("recurrent"), cast("bias"), training=True)
    y, h, c, saved = backend.lstm_forward(
        cast("x"), packed, mask=mask, return_sequences=True, zero_output_for_mask=True, training=True, **states
    )
    gradients = backend.lstm_backward(saved, cast("d_y"), cast("d_h"), cast("d_c"))
    actual = {"y": y, "h": h, "c": c, **dict(zip(GRADIENTS, gradients, strict=True))}
    for name, array in actual.items():
        if name in case:
            scale = max(1.0, float(np.abs(case[name]).max()))
            np.testing.assert_allclose(array, case[name], rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


@pytest.mark.parametrize("backend", ["c", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients(name, dtype, backend):
    compare(backends.load(backend), CASES[name], dtype)

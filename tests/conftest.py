"""What several test modules share."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fusedlstm import backends


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


def pytest_report_header() -> str:
    """The instruction set that runs; `make test` repeats the suite for each one by setting FUSEDLSTM_ISA."""
    if os.environ.get("FUSEDLSTM_BACKEND", "c") != "c":
        return f"fusedlstm: backend {os.environ['FUSEDLSTM_BACKEND']}"
    c = backends.load("c")
    return f"fusedlstm: backend c, instruction set {c.get_isa()} of {c.available_isas()}"

"""What several test modules share."""

from __future__ import annotations

import os

import numpy as np
import pytest
from backend_case import load_backend

from fusedlstm import backends, utils


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


@pytest.fixture(autouse=True)
def repeatable() -> None:
    """Weights, masks and orders that a test does not seed are the same in every run, in any order of the tests."""
    utils.set_random_seed(20261121)


ISAS = backends.load("c").available_isas()
C_ISAS = [f"c-{isa}" for isa in ISAS]
#: Numba chooses its instructions itself: once is enough where the suite runs for each instruction set of C.
NUMBA = ["numba"] if os.environ.get("FUSEDLSTM_ISA", ISAS[0]) == ISAS[0] else []


def _chosen(param):
    name, _, isa = param.partition("-")
    module = load_backend(name)
    if not isa:
        yield module
        return
    before = module.get_isa()
    module.set_isa(isa)
    assert module.get_isa() == isa
    yield module
    module.set_isa(before)


@pytest.fixture(params=[*C_ISAS, *NUMBA])
def kernels(request):
    """Each backend that computes on the CPU in turn, C with each of its instruction sets; the reference is not one."""
    yield from _chosen(request.param)


@pytest.fixture(params=C_ISAS)
def c_kernels(request):
    """The C backend with each of its instruction sets."""
    yield from _chosen(request.param)


def pytest_report_header() -> str:
    """The instruction set that runs; `make test` repeats the suite for each one by setting FUSEDLSTM_ISA."""
    if os.environ.get("FUSEDLSTM_BACKEND", "c") != "c":
        return f"fusedlstm: backend {os.environ['FUSEDLSTM_BACKEND']}"
    c = backends.load("c")
    return f"fusedlstm: backend c, instruction set {c.get_isa()} of {c.available_isas()}"

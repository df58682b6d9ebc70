"""Tests that need CUDA kernels to run: on a GPU, or in the simulator, ``NUMBA_ENABLE_CUDASIM=1 pytest -m cuda``."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec

import pytest


def simulated() -> bool:
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def need_cuda() -> None:
    """Skip the module that calls it where no CUDA kernel can run; say ``pytestmark = pytest.mark.cuda`` there, too."""
    if not simulated() and not _driver():
        pytest.skip("needs a GPU, or NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)
    if find_spec("numba_cuda") is None:
        pytest.skip("needs numba-cuda", allow_module_level=True)


def record_launches(monkeypatch) -> dict[str, set[tuple]]:
    """The types with which kernels are launched from now on that they are not compiled for ahead of time, by name.

    A GPU's Numba would compile them at that launch: here it shows whether tools/cuda_kernels.py sees what runs.
    """
    from numba import typeof
    from numba.core import sigutils

    from fusedlstm.backends import cuda_api

    unforeseen: dict[str, set[tuple]] = {}
    simulated_kernel = type(cuda_api.jit(lambda: None))
    run = simulated_kernel.__call__

    def spy(self, *args):
        types = tuple(map(typeof, args))
        for kernel in list(cuda_api.KERNELS.values()):
            if kernel.function is self.fn.__wrapped__:
                if types not in [sigutils.normalize_signature(signature)[0] for signature in kernel.signatures]:
                    unforeseen.setdefault(kernel.name, set()).add(types)
                break
        else:
            unforeseen.setdefault(f"{self.fn.__wrapped__.__qualname__}, which is not in KERNELS", set()).add(types)
        return run(self, *args)

    monkeypatch.setattr(simulated_kernel, "__call__", spy)
    return unforeseen

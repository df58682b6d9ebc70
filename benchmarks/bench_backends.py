"""How fast are the kernels in Numba beside those in C? Functions of the backends, called without a layer around them.

Training packs the weights in every call. What Numba compiles, it compiles before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from cases import Array, Case, data
from ours import expected
from runs import LEFT_OUT, Make, Run

QUESTION = "Backends"


def kernels(backend: str) -> Make:
    """The case on the functions of a backend."""

    def make(case: Case, threads: int) -> Run:
        from threadpoolctl import threadpool_limits

        import fusedlstm
        from fusedlstm import backends

        fusedlstm.set_num_threads(threads)
        module, given, cell = backends.load(backend), data(case), case.cell.replace("eR", "e_R").lower()
        pack, forward, backward = (getattr(module, f"{cell}_{name}") for name in ("pack", "forward", "backward"))
        packed = pack(*given.weights)

        def inference() -> list[Array]:
            return [forward(given.x, packed, return_sequences=True)[0]]

        def training() -> list[Array]:
            y, *_, saved = forward(given.x, pack(*given.weights, True), return_sequences=True, training=True)
            d = backward(saved, given.d_y)
            return [y, d.d_x, d.d_kernel, d.d_recurrent, d.d_bias]

        call = training if case.training else inference
        began = time.perf_counter()
        call()
        first = time.perf_counter() - began
        threadpool_limits(threads, user_api="blas")  # of every BLAS: Numba's was loaded by the call
        return Run(call, call, lambda: expected(case), about={"first call": first})

    return make


PEERS: dict[str, Any] = {"fusedlstm": kernels("c")}
if find_spec("numba") is None or find_spec("scipy") is None:
    LEFT_OUT["fusedlstm, Numba"] = "not installed"
else:
    PEERS["fusedlstm, Numba"] = kernels("numba")
SHAPES = [(1, 100, 64, 64), (32, 100, 64, 64), (32, 200, 100, 128), (64, 25, 512, 512), (16, 25, 1024, 1024)]
CASES = [Case(*shape, training=training) for training in (False, True) for shape in SHAPES]
CASES += [Case(32, 200, 64, 128, cell=cell, training=True) for cell in ("GRU", "SimpleRNN")]


def bench_backends(timed: Callable[[], None]) -> None:
    timed()

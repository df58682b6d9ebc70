"""How a benchmark is run: peers take turns, on the same cores, with the same number of threads.

`--turns 3` times every peer three times, one after the other, so that a slow phase of the machine meets all of them.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--turns", type=int, default=3, help="how often every peer is timed, in turns")
    parser.addoption("--threads", default="1,2", help="numbers of threads, with commas")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # The parameter given last varies fastest: peers take turns on one problem.
    cores = len(os.sched_getaffinity(0))
    threads = [n for n in map(int, metafunc.config.getoption("threads").split(",")) if n <= cores]
    for name, values in (
        ("case", metafunc.module.CASES),
        ("threads", threads),
        ("turn", list(range(metafunc.config.getoption("turns")))),
        ("peer", list(metafunc.module.PEERS)),
    ):
        metafunc.parametrize(name, values, ids=str)


@pytest.fixture
def timed(benchmark: Any) -> Callable[..., None]:
    """timed(call, peer=..., case=..., ...) times a call; the keywords go into the report."""

    def run(call: Callable[[], Any], **extra: Any) -> None:
        for key, value in extra.items():
            benchmark.extra_info[key] = value if isinstance(value, int) else str(value)
        gc.collect()
        time.sleep(0.3)  # workers of the peer before spin on, some for 200 ms, on the cores that this one is timed on
        begin = time.perf_counter()
        call()
        once = max(time.perf_counter() - begin, 1e-6)
        inner = max(1, int(1e-3 / once))  # a round takes a millisecond, far above the clock's resolution
        rounds = max(3, min(100, int(0.25 / (inner * once))))
        benchmark.pedantic(call, rounds=rounds, iterations=inner, warmup_rounds=1)

    return run

"""How a benchmark is run: peers take turns, on the same cores, with the same number of threads.

A file says its `QUESTION`, its `CASES` and its `PEERS`. For every case, `--turns` times over, each peer is timed for
about `--seconds`: a slow phase of the machine meets all of them. A process has one number of `--threads` and so many
cores, for peers that take their number of threads from the machine; report.py starts one process for each. `--isa v3`
keeps us and the peers to an instruction set.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VERSIONS = ("fusedlstm", "torch", "onnxruntime", "openvino", "jax", "jaxlib", "keras", "tensorflow", "numpy")
THREADS = pytest.StashKey[int]()
SPIN = 0.3  # seconds; workers of the peer before spin on, some for 200 ms, on the cores that this one is timed on


def cores() -> list[int]:
    """The CPUs that this process may use, one of every physical core first."""
    seen: dict[str, list[int]] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        seen.setdefault(siblings.read_text() if siblings.exists() else str(cpu), []).append(cpu)
    ranked = [(rank, cpu) for core in seen.values() for rank, cpu in enumerate(core)]
    return [cpu for _, cpu in sorted(ranked)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", type=int, default=0, help="of every peer, each on its core; default: all cores")
    parser.addoption("--isa", default=os.environ.get("FUSEDLSTM_ISA"), help="v2, v3 ...; default: the best")
    parser.addoption("--turns", type=int, default=3, help="how often every peer is timed, in turns")
    parser.addoption("--seconds", type=float, default=0.25, help="how long a peer is timed in a turn, about")


def pytest_configure(config: pytest.Config) -> None:
    allowed = cores()
    threads = config.getoption("threads") or len(allowed)
    if not 1 <= threads <= len(allowed):
        raise pytest.UsageError(f"--threads: expected 1 to {len(allowed)}, the CPUs of this process, got {threads}")
    # All of it ahead of the imports of the peers, which look at it.
    os.sched_setaffinity(0, allowed[:threads])
    config.stash[THREADS] = threads
    if isa := config.getoption("isa"):
        from runs import ISAS

        os.environ.update(ISAS.get(isa, {}), FUSEDLSTM_ISA=isa)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # The parameter given last varies fastest: peers take turns on one problem.
    module: Any = metafunc.module
    metafunc.parametrize("case", module.CASES, ids=lambda case: ", ".join(filter(None, (str(case), case.phase))))
    metafunc.parametrize("turn", range(metafunc.config.getoption("turns")))
    metafunc.parametrize("peer", list(module.PEERS))


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Note what the times belong to."""
    from runs import LEFT_OUT

    import fusedlstm

    versions = {"Python": platform.python_version()}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    output_json["suite"] = {"isa": fusedlstm.get_isa(), "versions": versions, "left_out": LEFT_OUT}


class _Present:
    """The present case: its runs, made and compared when first asked for, and how long a call of each takes."""

    def __init__(self) -> None:
        self.case: Any = None  # and of which file
        self.runs: dict[str, tuple[Any, float]] = {}
        self.last = ""  # who ran last, our own variants being one

    def run(self, file: str, case: Any, peer: str, make: Callable[..., Any], threads: int) -> tuple[Any, float]:
        """The peer's run, and about how many seconds a call of it takes."""
        if (file, case) != self.case:
            self.case, self.runs = (file, case), {}
            gc.collect()
        fresh = peer not in self.runs
        run = compared(case, peer, make, threads) if fresh else self.runs[peer][0]
        owner = peer.split(",")[0]
        if threads > 1 and (fresh or owner != self.last):
            time.sleep(SPIN)
        self.last = owner
        if fresh:
            self.runs[peer] = run, fastest(run.call)
        return self.runs[peer]


def compared(case: Any, peer: str, make: Callable[..., Any], threads: int) -> Any:
    """A run that computes what it should; the test is skipped if the peer has no such call."""
    from cases import Case, check

    small = case.shortened() if isinstance(case, Case) else case
    run = make(small, threads)
    if run is None:
        pytest.skip(f"{peer} has no such call")
    check(f"{peer}, {small}", run.results(), run.expected())
    return run if small == case else make(case, threads)


def fastest(call: Callable[[], Any]) -> float:
    """Seconds, the least of a few calls; of one if it is long."""
    times: list[float] = []
    while len(times) < 10 and sum(times) < 0.01:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return max(min(times), 1e-7)


_PRESENT = _Present()


@pytest.fixture
def timed(request: pytest.FixtureRequest, benchmark: Any, peer: str, case: Any, turn: int) -> Callable[[], None]:
    """timed() compares and times the peer on the case."""
    module: Any = request.module
    threads = request.config.stash[THREADS]
    budget = request.config.getoption("seconds")

    def run() -> None:
        found, once = _PRESENT.run(module.__name__, case, peer, module.PEERS[peer], threads)
        question = ", ".join(filter(None, (module.QUESTION, case.phase)))
        benchmark.group = f"{question}: {case}"
        benchmark.extra_info.update(
            question=question,
            help=module.__doc__,
            case=str(case),
            peer=peer,
            threads=threads,
            turn=turn,
            calls=found.calls,
            flops=case.flops,
            weight_bytes=case.weight_bytes,
            working_set=case.working_set,
            **found.about,
        )
        inner = max(1, int(1e-3 / once))  # a round takes a millisecond, far above the clock's resolution
        rounds = max(3 if once < 1 else 1, min(200, int(budget / (inner * once))))
        benchmark.pedantic(found.call, rounds=rounds, iterations=inner, warmup_rounds=int(once < 1))

    return run

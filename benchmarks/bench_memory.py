"""How much memory does a training step take at its peak, beside the weights and the inputs?

Every peer runs in a process of its own: after a step of a tiny layer it makes that of the case and its data, then takes
a few steps; counted is by how much they raise its resident memory at the most.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench_lstm_training import CASES as TRAINING
from cases import Case
from peers import LAYERS
from runs import LEFT_OUT, Make, Run

QUESTION = "Peak memory of a step"
COMPARED = ("fusedlstm", "PyTorch")  # JAX compiles in the first step, which takes more memory than the step
TINY = Case(2, 3, 4, 8, training=True)
STEPS = 3


def resident(name: str) -> int:
    """Bytes, by the kernel's name: VmRSS is now, VmHWM the most there was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak(peer: str, threads: int, case: Case) -> int:
    """Bytes that steps of the case take beyond what this process has taken by then."""
    LAYERS[peer](TINY, threads).call()  # type: ignore[union-attr]
    run = LAYERS[peer](case, threads)
    Path("/proc/self/clear_refs").write_text("5")  # the most there was becomes what there is
    before = resident("VmHWM")
    for _ in range(STEPS):
        run.call()  # type: ignore[union-attr]
    return resident("VmHWM") - before


def measuring(peer: str) -> Make:
    def make(case: Case, threads: int) -> Run:
        command = [sys.executable, __file__, peer, str(threads), json.dumps(case)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # It is measured now; there is nothing to time.
        return Run(lambda: None, list, list, about={"peak_bytes": int(found)})

    return make


PEERS = {peer: measuring(peer) for peer in COMPARED if peer in LAYERS}
if not Path("/proc/self/clear_refs").exists():
    PEERS = {}
    LEFT_OUT[QUESTION] = "measured on Linux only"
CASES = TRAINING


def bench_memory(timed: Callable[[], None]) -> None:
    timed()


if __name__ == "__main__":
    print(peak(sys.argv[1], int(sys.argv[2]), Case(*json.loads(sys.argv[3]))))

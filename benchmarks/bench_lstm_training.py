"""How fast is one LSTM layer forward and backward, to the input and the weights?"""

from __future__ import annotations

from typing import Any

import pytest
from cases import TRAINING, Case, check, data, expected
from peers import PEERS

CASES = TRAINING


def bench_lstm_training(peer: str, case: Case, threads: int, turn: int, timed: Any) -> None:
    run = PEERS[peer](data(case), threads, True)
    if run is None:
        pytest.skip(f"{peer} has no such call")
    check(f"{peer} {case}", run.results(), expected(case, True))
    flops = 3 * case.forward_flops
    timed(run.call, question="LSTM forward + backward", peer=peer, case=case, threads=threads, flops=flops)

"""How fast is one LSTM layer in inference, all steps returned?"""

from __future__ import annotations

from typing import Any

import pytest
from cases import FORWARD, Case, check, data, expected
from peers import PEERS

CASES = FORWARD


def bench_lstm_forward(peer: str, case: Case, threads: int, turn: int, timed: Any) -> None:
    run = PEERS[peer](data(case), threads, False)
    if run is None:
        pytest.skip(f"{peer} has no such call")
    check(f"{peer} {case}", run.results(), expected(case, False))
    timed(run.call, question="LSTM forward", peer=peer, case=case, threads=threads, flops=case.forward_flops)

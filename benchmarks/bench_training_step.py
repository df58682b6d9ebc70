"""How long does one whole training step take, from a batch to updated weights?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from steps import PROGRAMS, STEPS, Program, batch, weights

CASES, PEERS = PROGRAMS, STEPS


def first_loss(program: Program) -> float:
    """By the specification."""
    from fusedlstm import backends

    reference = backends.load("reference")
    kernel, recurrent, bias, dense_kernel, dense_bias = weights(program)
    x, y = batch(program)
    packed = reference.lstm_pack(kernel, recurrent, bias)
    h = reference.lstm_forward(x, packed, activation=program.activation)[0]
    return float(np.mean((h @ dense_kernel + dense_bias - y) ** 2))


def bench_training_step(peer: str, case: Program, threads: int, turn: int, timed: Any) -> None:
    step = PEERS[peer](case, threads)
    if step is None:
        pytest.skip(f"{peer} cannot run it so")
    loss, want = step(), first_loss(case)
    assert abs(loss - want) < 1e-3 * want, f"{peer}: expected a first loss of {want}, got {loss}"
    timed(step, question="Training step, Adam", peer=peer, case=case, threads=threads, flops=0)

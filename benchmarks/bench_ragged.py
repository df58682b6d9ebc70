"""What do sequences of unequal lengths cost, uniform in 20 to 200 steps?

Beside PackedSequence, sequence lengths of ONNX, a scan that keeps old states; and beside our own call of all steps.
"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from ours import instead
from peers import LAYERS

QUESTION = "A ragged batch"
PEERS = {**LAYERS, "fusedlstm, every step": instead(ragged=False)}
CASES = [Case(32, 200, 64, 128, ragged=True, training=training) for training in (False, True)]


def bench_ragged(timed: Callable[[], None]) -> None:
    timed()

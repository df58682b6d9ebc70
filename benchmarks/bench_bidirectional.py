"""How fast are two bidirectional LSTM layers, one on the other?"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "Two bidirectional LSTM layers"
PEERS = LAYERS
CASES = [Case(32, 200, 64, 128, layers=2, bidirectional=True, training=training) for training in (False, True)]


def bench_bidirectional(timed: Callable[[], None]) -> None:
    timed()

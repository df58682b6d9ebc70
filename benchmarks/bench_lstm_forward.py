"""How fast is one LSTM layer in inference? A call returns every step."""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "LSTM"
PEERS = LAYERS
CASES = [
    Case(1, 1, 64, 64),
    Case(1, 1, 128, 128),
    Case(1, 100, 64, 64),
    Case(1, 100, 128, 128),
    Case(1, 100, 256, 256),
    Case(1, 25, 512, 512),
    Case(32, 10, 1, 50),
    Case(32, 100, 64, 128),
    Case(32, 200, 100, 128),
    Case(64, 25, 512, 512),
    Case(16, 25, 1024, 1024),
]


def bench_lstm_forward(timed: Callable[[], None]) -> None:
    timed()

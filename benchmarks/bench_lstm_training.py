"""How fast is one LSTM layer forward and backward? To the inputs and the weights, from weights that just changed."""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "LSTM"
PEERS = LAYERS
CASES = [
    Case(32, 10, 1, 50, training=True),
    Case(32, 100, 64, 64, training=True),
    Case(32, 200, 100, 128, training=True),
    Case(128, 25, 256, 256, training=True),
    Case(64, 25, 512, 512, training=True),
    Case(16, 25, 1024, 1024, training=True),
]


def bench_lstm_training(timed: Callable[[], None]) -> None:
    timed()

"""How fast is one GRU layer? Its reset gate is applied after the product, as in Keras and PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "GRU"
PEERS = LAYERS
CASES = [Case(32, 200, 64, 128, cell="GRU", training=training) for training in (False, True)]


def bench_gru(timed: Callable[[], None]) -> None:
    timed()

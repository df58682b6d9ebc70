"""How long does one step take, called from Python, the state being kept from call to call?"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "One step of a stream"
PEERS = LAYERS
CASES = [Case(1, 1, 64, 64, stream=True), Case(1, 1, 128, 128, stream=True)]


def bench_streaming(timed: Callable[[], None]) -> None:
    timed()

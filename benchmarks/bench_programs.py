"""How long does a whole program take beside the same program in Keras?

With Adam, on batches of 32 rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from programs import PACKAGES, PROGRAMS

QUESTION = "Whole programs"
PEERS = PACKAGES
CASES = [replace(program, training=training) for training in (True, False) for program in PROGRAMS]


def bench_programs(timed: Callable[[], None]) -> None:
    timed()

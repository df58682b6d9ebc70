"""Does the time of an LSTM grow as its work does, with the steps and with the rows of a batch?

A row and step should take the same time, within a tenth, in all cases of 100 rows times steps on with as many rows:
below them the call itself shows, and rows that stand together share a pass over the weights. Two threads should be 1.8
times as fast as one where that takes 5 ms.
"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from ours import fusedlstm
from runs import Run

QUESTION = "Steps and rows"
UNITS = (64, 64)
SHAPES = [(1, 1), (1, 10), (1, 100), (1, 1000), (1, 10_000), (4, 100)]
SHAPES += [(16, 100), (64, 100), (256, 100), (64, 1000), (16, 10_000)]


def per_row_and_step(case: Case, threads: int) -> Run:
    return fusedlstm(case, threads)._replace(about={"rows_and_steps": case.batch * case.steps})


PEERS = {"fusedlstm": per_row_and_step}
CASES = [Case(*shape, *UNITS, training=training) for training in (False, True) for shape in SHAPES]


def bench_scaling(timed: Callable[[], None]) -> None:
    timed()

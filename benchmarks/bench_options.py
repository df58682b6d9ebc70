"""What does an option of our LSTM cost, beside the plain call of the same shape (32, 100, 64, 128)?"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from options import OPTIONS
from ours import fusedlstm, instead
from runs import LEFT_OUT

QUESTION = "Options of the LSTM"
for name, option in OPTIONS.items():
    if missing := option.missing():
        LEFT_OUT[f"option {name!r}"] = f"this version has no {missing}"
PEERS = {"fusedlstm": fusedlstm, "fusedlstm, plain": instead(option="")}
CASES = [
    Case(32, 100, 128 if option.cell else 64, 128, option=name, training=training)
    for training in (False, True)
    for name, option in OPTIONS.items()
    if name and not option.missing()
]


def bench_options(timed: Callable[[], None]) -> None:
    timed()

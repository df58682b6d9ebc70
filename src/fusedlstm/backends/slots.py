"""The used steps of a batch, numbered in the order of time: what lets masked steps cost nothing in any kernel.

A slot is one used step of one row. States live in tables of B + S rows: the first B are the initial ones, row B + s is
the state after slot s. All products run over slots; what a mask leaves out is in none of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Slots(NamedTuple):
    """The slots of a call, B rows of T steps; all arrays are int64 and C-contiguous, so of one type for compilers."""

    begin: Array  # (T+1,): those of step t are begin[t] ... begin[t+1] - 1, their rows ascending
    row: Array  # (S,)
    step: Array  # (S,)
    before: Array  # (S,): the table's row that is the state before the slot; each occurs once at most
    last: Array  # (B,): the table's row that is the final state
    output: Array  # (B,T): the table's row that is the output of a step, -1 where that is zero

    @property
    def total(self) -> int:
        """S."""
        return len(self.row)


def number(mask: Array | None, batch: int, steps: int, zero_output_for_mask: bool = False) -> Slots:
    """Number the steps that `mask` (B,T) uses; without one, all.

    A masked step repeats the last output of its row, which is zero before the first used step, and always with
    `zero_output_for_mask`.
    """
    if mask is None:
        count = batch * steps
        slots = np.arange(count)
        return Slots(
            begin=np.arange(steps + 1) * batch,
            row=np.tile(np.arange(batch), steps),
            step=np.repeat(np.arange(steps), batch),
            before=slots,  # a slot's state is B rows further on, and the next step's slot B slots
            last=count + np.arange(batch),
            output=np.ascontiguousarray(batch + slots.reshape(steps, batch).T),
        )
    step, row = map(np.ascontiguousarray, np.nonzero(mask.T))
    begin = np.concatenate([[0], np.cumsum(np.count_nonzero(mask, axis=0))])
    own = np.full((batch, steps + 1), -1)  # the table's row of each used step, behind the initial state's
    own[:, 0] = np.arange(batch)
    own[row, step + 1] = batch + np.arange(len(row))
    latest = np.maximum.accumulate(own, axis=1)  # slots are numbered in the order of time
    output = own[:, 1:] if zero_output_for_mask else np.where(latest[:, 1:] < batch, -1, latest[:, 1:])
    return Slots(begin, row, step, latest[row, step], latest[:, -1].copy(), output)

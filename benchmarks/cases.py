"""The recurrent layers that are timed, what goes into them, and what has to come out before they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
CHECKED_FLOPS = 10**11
STREAMED = 10  # so many single steps of a stream are compared


class Case(NamedTuple):
    """Recurrent layers over a batch (B,T,I), H units each, that return every step; float32.

    With `training` forward and backward, to the inputs and the weights.
    """

    batch: int
    steps: int
    inputs: int
    units: int
    training: bool = False
    cell: str = "LSTM"
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False  # lengths uniform in T/10 to T
    stream: bool = False  # one step a call, the state kept from one call to the next
    option: str = ""  # of options.OPTIONS, for our layer only

    def __str__(self) -> str:
        shape = ", ".join(map(str, self[:4]))
        return self.option or (shape if self.cell == "LSTM" else f"{shape} {self.cell}")

    @property
    def phase(self) -> str:
        return "training" if self.training else "inference"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Features and columns of every kernel; layer after layer, the forward direction first."""
        columns = GATES[self.cell] * self.units
        widths = [self.inputs] + [self.directions * self.units] * (self.layers - 1)
        return [(width, columns) for width in widths for _ in range(self.directions)]

    @property
    def flops(self) -> int:
        """Of the matrix products alone; backward has twice as many as forward."""
        rows = int(lengths(self).sum()) if self.ragged else self.batch * self.steps
        return (3 if self.training else 1) * sum(2 * rows * n * (width + self.units) for width, n in self.shapes)

    @property
    def weight_bytes(self) -> int:
        """What has to be read of the weights: the recurrent ones at every step (and again going back), others once."""
        passes = 2 if self.training else 1
        return passes * sum(4 * n * (width + self.steps * self.units) for width, n in self.shapes)

    @property
    def working_set(self) -> int:
        """Bytes that are read over and over: the recurrent weights, in a stream all of them."""
        return max(4 * n * (self.units + (width if self.stream else 0)) for width, n in self.shapes)

    def shortened(self) -> Case:
        """One that the specification, in NumPy, needs no minutes for: of fewer steps, if this one is large."""
        return (
            self._replace(steps=max(1, self.steps * CHECKED_FLOPS // self.flops))
            if self.flops > CHECKED_FLOPS
            else self
        )


class Data(NamedTuple):
    x: Array  # (B,T,I), of a stream (1,STREAMED,I)
    weights: list[Array]  # kernel, recurrent, bias of every layer and direction, as Keras lays them out
    d_y: Array  # the gradient of the loss by the outputs
    lengths: Array | None  # (B,) of a ragged batch


def lengths(case: Case) -> Array:
    rng = np.random.default_rng(2)
    return rng.integers(case.steps // 10, case.steps + 1, case.batch)


@lru_cache(maxsize=1)
def data(case: Case) -> Data:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    weights = []
    for width, columns in case.shapes:
        scale = (width + case.units) ** -0.5
        bias = (2, columns) if case.cell == "GRU" else (columns,)
        weights += [normal(width, columns, scale=scale), normal(case.units, columns, scale=scale)]
        weights += [normal(*bias, scale=0.1)]
    steps = STREAMED if case.stream else case.steps
    return Data(
        x=normal(case.batch, steps, case.inputs),
        weights=weights,
        d_y=normal(case.batch, case.steps, case.directions * case.units),
        lengths=lengths(case) if case.ragged else None,
    )


def check(name: str, got: list[Array], want: list[Array], tolerance: float = 1e-3) -> None:
    """Raise unless every array is within `tolerance` of the largest number in the one wanted, of 0 if that is 0."""
    for number, (array, expect) in enumerate(zip(got, want, strict=True)):
        if array.shape != expect.shape:
            raise AssertionError(f"{name}, result {number}: expected shape {expect.shape}, got {array.shape}")
        error = np.abs(array - expect).max() / (np.abs(expect).max() or 1.0)
        if not error < tolerance:
            raise AssertionError(f"{name}, result {number}: expected an error below {tolerance}, got {error:.2g}")

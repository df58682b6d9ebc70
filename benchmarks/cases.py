"""The problems that are timed, and what a result has to be before it is."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusedlstm import backends

Array = NDArray[np.float32]


class Case(NamedTuple):
    """One LSTM layer that returns every step, float32."""

    batch: int
    steps: int
    inputs: int
    units: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    @property
    def forward_flops(self) -> int:
        """Of the matrix products alone; backward has twice as many."""
        return 8 * self.batch * self.steps * self.units * (self.inputs + self.units)


FORWARD = [
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
TRAINING = [
    Case(32, 10, 1, 50),
    Case(32, 100, 64, 64),
    Case(32, 200, 100, 128),
    Case(128, 25, 256, 256),
    Case(64, 25, 512, 512),
    Case(16, 25, 1024, 1024),
]


class Data(NamedTuple):
    """Inputs, weights as Keras lays them out (gates i f c o), and the gradient of the loss by the outputs."""

    x: Array  # (B,T,I)
    kernel: Array  # (I,4H)
    recurrent: Array  # (H,4H)
    bias: Array  # (4H,)
    d_y: Array  # (B,T,H)


@lru_cache(maxsize=1)
def data(case: Case) -> Data:
    rng = np.random.default_rng(0)
    scale = (case.inputs + case.units) ** -0.5

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    return Data(
        x=normal(case.batch, case.steps, case.inputs),
        kernel=normal(case.inputs, 4 * case.units) * np.float32(scale),
        recurrent=normal(case.units, 4 * case.units) * np.float32(scale),
        bias=normal(4 * case.units) * np.float32(0.1),
        d_y=normal(case.batch, case.steps, case.units),
    )


@lru_cache(maxsize=1)
def expected(case: Case, training: bool) -> list[Array]:
    """By the specification: [y], or with `training` [y, d_x, d_kernel, d_recurrent, d_bias]."""
    reference = backends.load("reference")
    x, kernel, recurrent, bias, d_y = data(case)
    packed = reference.lstm_pack(kernel, recurrent, bias, training=training)
    y, _, _, saved = reference.lstm_forward(x, packed, return_sequences=True, training=training)
    if not training:
        return [y]
    return [y, *reference.lstm_backward(saved, d_y)[:4]]


def check(name: str, got: list[Array], want: list[Array], tolerance: float = 1e-3) -> None:
    """Raise unless every array is within `tolerance` of the largest number in the one wanted."""
    for number, (array, expect) in enumerate(zip(got, want, strict=True)):
        if array.shape != expect.shape:
            raise AssertionError(f"{name}, result {number}: expected shape {expect.shape}, got {array.shape}")
        error = np.abs(array - expect).max() / np.abs(expect).max()
        if not error < tolerance:
            raise AssertionError(f"{name}, result {number}: expected an error below {tolerance}, got {error:.2g}")

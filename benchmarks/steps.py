"""Whole training steps behind one call signature: `STEPS[name](program, threads)` makes a `Step`.

Every peer starts from the same weights and sees the same batch; `call` is one step of Adam on the mean squared error
and returns the loss, so that the first losses can be compared before anything is timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from cases import Array


class Program(NamedTuple):
    """LSTM(units), Dense(1) on (batch, steps, inputs)."""

    name: str
    batch: int
    steps: int
    inputs: int
    units: int
    activation: str

    def __str__(self) -> str:
        return self.name


PROGRAMS = [Program("forecast", 32, 10, 1, 50, "tanh"), Program("relu", 32, 60, 16, 64, "relu")]


def batch(program: Program) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (program.batch, program.steps, program.inputs)).astype(np.float32)
    return x, x.mean(axis=(1, 2))[:, None]


def weights(program: Program) -> list[Array]:
    """kernel, recurrent, bias of the LSTM, kernel and bias of the Dense layer, as Keras lays them out."""
    rng = np.random.default_rng(1)
    shapes = [(program.inputs, 4 * program.units), (program.units, 4 * program.units), (4 * program.units,)]
    shapes += [(program.units, 1), (1,)]
    return [rng.uniform(-0.1, 0.1, shape).astype(np.float32) for shape in shapes]


Step = Callable[[], float]


def fusedlstm(program: Program, threads: int) -> Step:
    from fusedlstm import backends
    from fusedlstm.layers import LSTM, Dense, Input
    from fusedlstm.models import Sequential

    backends.current().set_num_threads(threads)
    return _keras_like(Sequential, Input, LSTM, Dense, program)


def keras(program: Program, threads: int) -> Step | None:
    """On the backend that KERAS_BACKEND names; JAX takes its number of threads from the machine."""
    import keras
    from keras.layers import LSTM, Dense, Input

    if threads != len(os.sched_getaffinity(0)):
        return None
    return _keras_like(keras.Sequential, Input, LSTM, Dense, program)


def _keras_like(sequential: Any, input_: Any, lstm: Any, dense: Any, program: Program) -> Step:
    layers = [input_((program.steps, program.inputs)), lstm(program.units, activation=program.activation), dense(1)]
    model = sequential(layers)
    model.compile(optimizer="adam", loss="mse")
    model.set_weights(weights(program))
    x, y = batch(program)
    return lambda: float(model.train_on_batch(x, y))


def pytorch(program: Program, threads: int) -> Step | None:
    if program.activation != "tanh":
        return None  # its LSTM has no other
    import torch

    torch.set_num_threads(threads)
    lstm, dense = torch.nn.LSTM(program.inputs, program.units, batch_first=True), torch.nn.Linear(program.units, 1)
    kernel, recurrent, bias, dense_kernel, dense_bias = (torch.from_numpy(array) for array in weights(program))
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(kernel.T)
        lstm.weight_hh_l0.copy_(recurrent.T)
        lstm.bias_ih_l0.copy_(bias)
        lstm.bias_hh_l0.zero_()
        dense.weight.copy_(dense_kernel.T)
        dense.bias.copy_(dense_bias)
    optimizer = torch.optim.Adam([*lstm.parameters(), *dense.parameters()], lr=1e-3, eps=1e-7)
    x, y = (torch.from_numpy(array) for array in batch(program))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(dense(lstm(x)[0][:, -1]), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
_ALL: dict[str, tuple[str, Callable[[Program, int], Step | None]]] = {
    "fusedlstm": ("fusedlstm", fusedlstm),
    "PyTorch": ("torch", pytorch),
    f"Keras ({os.environ['KERAS_BACKEND']})": ("keras", keras),
}
STEPS = {name: make for name, (package, make) in _ALL.items() if find_spec(package)}

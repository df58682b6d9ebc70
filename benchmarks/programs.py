"""Whole programs, written once for every package with Keras's names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from cases import Array
from runs import Make, Run, available

BATCH = 32


@dataclass(frozen=True)
class Program:
    """A model, and data for so many batches of it; `training` times a step of fit, else predict of one row."""

    name: str
    layers: Callable[[Any], list[Any]]  # the layers of keras.layers or ours -> those of the model
    shape: tuple[int, ...]  # of a row
    batches: int  # in one call of fit, so that what happens once an epoch does not count
    words: int = 0  # rows are of integers below this
    loss: str = "mse"
    random: bool = False  # dropout: no two packages train alike
    training: bool = False

    flops: ClassVar[int] = 0  # not counted
    weight_bytes: ClassVar[int] = 0
    working_set: ClassVar[int] = 0

    def __str__(self) -> str:
        return self.name

    @property
    def phase(self) -> str:
        return "a step of fit" if self.training else "predict of one row"

    def data(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(0)
        shape = (BATCH * self.batches, *self.shape)
        if self.words:
            x = rng.integers(0, self.words, shape).astype(np.int32)
            return x, (x[:, :1] % 2).astype(np.float32)
        x = rng.uniform(-1, 1, shape).astype(np.float32)
        return x, x.mean(axis=(1, 2))[:, None]


def _regularised(k: Any) -> list[Any]:
    penalties = {"kernel_regularizer": "l2", "recurrent_regularizer": "l2"}
    return [k.LSTM(64, dropout=0.2, recurrent_dropout=0.2, **penalties), k.Dense(1)]


PROGRAMS = [
    Program("forecast: LSTM(50) on (32, 10, 1)", lambda k: [k.LSTM(50), k.Dense(1)], (10, 1), 200),
    Program(
        "sentiment: Embedding(10000, 100), LSTM(128) on (32, 200)",
        lambda k: [k.Embedding(10000, 100), k.LSTM(128), k.Dense(1, activation="sigmoid")],
        (200,), 4, words=10000, loss="binary_crossentropy",
    ),
    Program("LSTM(64, dropout, recurrent_dropout, L2) on (32, 60, 16)", _regularised, (60, 16), 30, random=True),
    Program(
        'LSTM(64, activation="relu") on (32, 60, 16)',
        lambda k: [k.LSTM(64, activation="relu"), k.Dense(1)],
        (60, 16), 30,
    ),
    Program(
        "Bidirectional LSTM 64 + 32 on (32, 60, 16)",
        lambda k: [k.Bidirectional(k.LSTM(64, return_sequences=True)), k.Bidirectional(k.LSTM(32)), k.Dense(1)],
        (60, 16), 15,
    ),
]  # fmt: skip


def _run(program: Program, package: Any) -> Run:
    model = package.Sequential([package.layers.Input(program.shape), *program.layers(package.layers)])
    model.compile(optimizer="adam", loss=program.loss)
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(-0.1, 0.1, w.shape).astype(np.float32) for w in model.get_weights()])
    x, y = program.data()

    def fit() -> Any:
        return model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)

    def predict() -> Any:
        return model.predict(x[:1], verbose=0)

    def results() -> list[Array]:
        loss = model.evaluate(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0)
        found = [predict(), np.array(loss)]
        if program.training and not program.random:
            found.append(np.array(fit().history["loss"]))
        return found

    call, calls = (fit, program.batches) if program.training else (predict, 1)
    return Run(call, results, lambda: expected(program), calls)


def fusedlstm(program: Program, threads: int) -> Run:
    import fusedlstm

    fusedlstm.set_num_threads(threads)
    return _run(program, fusedlstm)


def keras(program: Program, threads: int) -> Run:
    """On the backend that KERAS_BACKEND names; with as many threads as the process has cores."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
    return _run(program, keras)


@lru_cache(maxsize=1)
def expected(program: Program) -> list[Array]:
    """By the specification."""
    import fusedlstm
    from fusedlstm import get_backend, set_backend

    backend = get_backend()
    set_backend("reference")
    try:
        return _run(program, fusedlstm).results()
    finally:
        set_backend(backend)


KERAS_BACKEND = os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
MAKERS: dict[str, tuple[str, Make]] = {
    "fusedlstm": ("fusedlstm", fusedlstm),
    f"Keras ({KERAS_BACKEND})": (KERAS_BACKEND if find_spec("keras") else "keras", keras),
}
PACKAGES = available(MAKERS)

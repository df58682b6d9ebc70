"""What steps take of memory: training keeps gates, c and h alone, and steady steps make no buffers anew."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fusedlstm import Sequential, backends
from fusedlstm.backends import c_arguments, c_layer
from fusedlstm.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, Input

c = backends.load("c")
VECTOR = {"v4": 64, "v3": 32}  # bytes; else 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "steps", "inputs", "units"), [(1, 1, 1, 1), (32, 10, 1, 50), (7, 40, 300, 64)])
def test_training_keeps_gates_c_and_h_alone(dtype: str, batch: int, steps: int, inputs: int, units: int) -> None:
    size = np.dtype(dtype).itemsize
    options = (batch, steps, inputs, units, c_arguments.dtype_of("", "", np.empty(0, dtype)), "tanh", "sigmoid")
    flags = (c_layer.TRAINING, c_layer.LSTM, 0, 0, 0, *c_layer.NO_NUMBERS)
    saved = c_layer.layer_of((*options, *flags)).saved
    lanes = VECTOR.get(c.get_isa(), 16) // size
    width = -(-units // lanes) * lanes
    numbers = steps * batch * (4 * width + width + width) + 2 * batch * width  # c and h also ahead of the first step
    which_rows = 4 * steps * batch + 8 * (steps + 1)  # that a mask lets through
    assert saved <= size * numbers + which_rows + 6 * 64  # each part begins at a multiple of 64


def lstm_calls(rng: np.random.Generator, **options: Any) -> Callable[[], Any]:
    """A step as training takes it: weights are packed anew, forward, backward."""
    x = rng.normal(size=(16, 20, 24)).astype("f")
    weights = [rng.normal(size=shape).astype("f") / 9 for shape in ((24, 160), (40, 160), (160,))]

    def step() -> Any:
        y, _, _, saved = c.lstm_forward(x, c.lstm_pack(*weights, True), training=True, **options)
        return c.lstm_backward(saved, y)

    return step


def compiled(*layers: Any, shape: tuple[int, ...] = (60, 24)) -> Sequential:
    model = Sequential([Input(shape), *layers, Dense(3)])
    model.compile("adam", "mse")
    return model


def steps_of_fit(rng: np.random.Generator, model: Sequential, x: Any = None) -> Callable[[], Any]:
    x = rng.normal(size=(96, 60, 24)).astype("f") if x is None else x
    y = np.zeros((96, 3), "f")
    return lambda: model.fit(x, y, batch_size=32, verbose=0)


def stream_step(rng: np.random.Generator) -> Callable[[], Any]:
    layer = LSTM(64)
    layer.build((None, None, 32))
    stream, x = layer.stream(), rng.normal(size=(1, 32)).astype("f")
    return lambda: stream(x)


def predict(rng: np.random.Generator) -> Callable[[], Any]:
    model = compiled(Bidirectional(LSTM(64, return_sequences=True)), LSTM(32))
    x = rng.normal(size=(100, 60, 24)).astype("f")
    return lambda: (model.predict(x, verbose=0), model.predict(x[:1], verbose=0))


STEADY: dict[str, Callable[[np.random.Generator], Callable[[], Any]]] = {
    "backend calls": lstm_calls,
    "backend calls, mask": lambda rng: lstm_calls(rng, mask=rng.random((16, 20)) < 0.7, return_sequences=False),
    "fit, LSTM": lambda rng: steps_of_fit(rng, compiled(LSTM(64, dropout=0.1, recurrent_dropout=0.1))),
    "fit, Bidirectional": lambda rng: steps_of_fit(
        rng, compiled(Bidirectional(LSTM(64, return_sequences=True)), Dropout(0.2), Bidirectional(GRU(32)))
    ),
    "fit, Embedding": lambda rng: steps_of_fit(
        rng, compiled(Embedding(500, 24), LSTM(64), shape=(60,)), rng.integers(0, 500, (96, 60))
    ),
    "predict": predict,
    "stream": stream_step,
}


@pytest.fixture(params=STEADY)
def step(request: pytest.FixtureRequest, rng: np.random.Generator) -> Callable[[], Any]:
    """Something that is done over and over, done a few times already."""
    made = STEADY[request.param](rng)
    for _ in range(4):
        made()
    return made


def test_a_steady_step_makes_no_buffers(step: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights, saved activations and workspaces are those of earlier steps."""

    def refuse(size: int) -> Any:
        raise AssertionError(f"a buffer of {size} bytes was made")

    monkeypatch.setattr(c_arguments, "new_buffer", refuse)
    for _ in range(5):
        step()


def test_a_steady_step_leaves_nothing_behind(step: Callable[[], Any]) -> None:
    tracemalloc.start()
    try:
        counts = []
        for _ in range(3):
            for _ in range(5):
                step()
            gc.collect()
            counts.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # Five outputs of 16 rows, 20 steps and 40 units are more; interpreters keep a few thousand bytes of small objects.
    assert counts[2] - counts[1] < 20_000, counts


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose C library gives freed memory out again")
def test_a_steady_step_takes_no_fresh_memory(step: Callable[[], Any]) -> None:
    """The arrays that it returns, too, come to stand where earlier ones did: the system is asked for no page."""
    import resource

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    fewest = 10**9
    for _ in range(3):  # others in the process may run now and then
        before = faults()
        for _ in range(5):
            step()
        fewest = min(fewest, faults() - before)
    assert fewest < 5 * 10, fewest  # an array of 32 rows, 60 steps and 64 units is 120 pages


@pytest.mark.parametrize("size", [64, 600])
def test_new_weights_take_the_place_of_old_ones(size: int) -> None:
    """Packing anew gives the old buffer back first: there are never two of a layer."""
    layer = LSTM(size)
    x = np.zeros((2, 3, size), "f")
    taken = []
    for _ in range(3):
        layer(x)
        taken.append(int(c_arguments.ffi.cast("uintptr_t", layer._pack[2].buffer)))  # type: ignore[index]
        layer.kernel.update()
    assert taken[0] == taken[1] == taken[2]

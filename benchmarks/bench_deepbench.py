"""How fast are the problem sizes of DeepBench (B, T, I, H; I = H), the field's old standard?

Only `make bench-full` runs them: the largest needs a minute for one call. Its vanilla RNN has tanh here.
"""

from __future__ import annotations

from collections.abc import Callable

from cases import Case
from peers import LAYERS

QUESTION = "DeepBench"
PEERS = LAYERS
# (cell, training, hidden, batches, steps)
SIZES = [
    ("LSTM", False, (256, 512, 1024, 1536, 2048), (1, 2, 4), {256: 150, 1536: 50}),
    ("LSTM", True, (256,), (16, 32, 64), {256: 150}),
    ("LSTM", True, (1536,), (8, 16, 32), {1536: 50}),
    ("LSTM", True, (512, 1024, 2048, 4096), (16, 32, 64, 128), {}),
    ("GRU", True, (512,), (32,), {512: 1}),
    ("GRU", True, (1024,), (32, 64), {1024: 1500}),
    ("GRU", True, (2048, 2816), (32,), {2048: 375, 2816: 1500}),
    ("SimpleRNN", True, (1760, 2048, 2560), (16, 32, 64, 128), {1760: 50, 2048: 50, 2560: 50}),
]
CASES = [
    Case(batch, steps.get(hidden, 25), hidden, hidden, cell=cell, training=training)
    for cell, training, hiddens, batches, steps in SIZES
    for hidden in hiddens
    for batch in batches
]


def bench_deepbench(timed: Callable[[], None]) -> None:
    timed()

"""Why LSTMs were made: how far back the gradient reaches in a SimpleRNN and in an LSTM, before and after training.

The task is to add up some of a hundred numbers: a second feature says which of them count. To learn it, a network has
to be told, at the end, what it should have done a hundred steps ago; the norm of dL/dh_t, the gradient of the loss
with respect to the state after step t, says how much of that arrives at step t. At first next to nothing does, in both.
The LSTM soon learns to keep its cells; the SimpleRNN begins to only much later (try --epochs 30).

Usage: `python examples/gradient_flow.py [--epochs 7] [--plot gradient_flow.png]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.inspect import GradientFlow, gradient_flow, rank_cells
from fusedlstm.layers import LSTM, Dense, Input, SimpleRNN
from fusedlstm.models import Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.utils import set_random_seed

STEPS = 100
KINDS = {"SimpleRNN": SimpleRNN, "LSTM": LSTM}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=7, help="how long to train (default 7)")
    arguments.add_argument("--plot", type=Path, default=Path("gradient_flow.png"), help="where to write the plot")
    options = arguments.parse_args()

    rng = np.random.default_rng(1)
    numbers, counts = rng.uniform(-2, 2, (2000, STEPS)), rng.random((2000, STEPS)) < 0.3
    x = np.stack([numbers, np.where(counts, 2.0, -2.0)], axis=-1)
    y = (numbers * counts).sum(axis=1, keepdims=True) / 6  # divided by 6, its variance is about 1
    train, test = slice(0, 1800), slice(1800, None)

    flows: dict[str, GradientFlow] = {}
    so_far = {"sum": np.cumsum(numbers * counts, axis=1)[test]}
    print("                        test error   |dL/dh| at step 0   at step 99   best unit's correlation with the sum")
    for name, kind in KINDS.items():
        set_random_seed(1)
        model = Sequential([Input((STEPS, 2)), kind(16), Dense(1)])
        model.compile(optimizer=Adam(clipnorm=1.0), loss="mse")
        for when, epochs in (("untrained", 0), ("trained", options.epochs)):
            model.fit(x[train], y[train], epochs=epochs, batch_size=32, verbose=0)
            flow = gradient_flow(model, x[test], y[test])
            (norms,) = flow.norms.values()
            ranking = rank_cells(model, x[test], so_far)
            followed = ranking.scores["sum"][ranking.best("sum")]
            row = f"{flow.loss:10.3f}   {norms[0]:17.1e}   {norms[-1]:10.1e}   {followed:+37.2f}"
            print(f"{name + ', ' + when:22}  {row}")
            flows[f"{name}, {when}"] = flow

    plot(options.plot, flows)
    print(f"\nPlot: {options.plot}")


def plot(file: Path, flows: dict[str, GradientFlow]) -> None:
    """All four in one picture, those before training dashed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes: Any = None
    for label, flow in flows.items():
        axes = flow.plot(ax=axes, label=label).axes[0]
        name, when = label.split(", ")
        color = "#d55e00" if name == "SimpleRNN" else "#0072b2"
        axes.lines[-1].set(color=color, linestyle="-" if when == "trained" else "--")
    axes.legend(loc="lower right")  # anew, in these colours
    axes.figure.savefig(file, dpi=150)
    plt.close(axes.figure)


if __name__ == "__main__":
    main()

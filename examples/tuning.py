"""Tunes a forecaster of a noisy seasonal series: its width, its layers, its learning rate and its batch size.

Usage: `python examples/tuning.py [--trials 12] [--jobs 1]`. Needs Optuna, the extra [tuner]. Stop it at any time and
start it again with the same `--folder`: it goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import numpy as np

import fusedlstm.tuner as kt
from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.optimizers import Adam

WINDOW = 12
TEST = 60  # months at the end that no trial sees


class Forecaster(kt.HyperModel):
    """What may be chosen stands where it is used."""

    def build(self, hp: kt.HyperParameters) -> Sequential:
        model = Sequential([Input((WINDOW, 1))])
        layers = hp.Int("layers", 1, 2)
        with hp.conditional_scope("layers", [2]):  # tuned, and listed, only where there is a second layer
            first = hp.Int("first_units", 4, 32, step=2, sampling="log")
        if layers == 2:
            model.add(LSTM(first, return_sequences=True))
        model.add(LSTM(hp.Int("units", 4, 32, step=2, sampling="log")))
        model.add(Dense(1))
        model.compile(optimizer=Adam(hp.Float("learning_rate", 1e-3, 3e-2, sampling="log")), loss="mse")
        return model

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32]), **kwargs)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--trials", type=int, default=12, help="how many models are tried (default 12)")
    arguments.add_argument("--jobs", type=int, default=1, help="processes that try them (default 1)")
    arguments.add_argument("--folder", help="where to keep the search (default: nowhere)")
    options = arguments.parse_args()

    months = np.arange(300)
    season = np.sin(2 * np.pi * months / 12) + 0.5 * np.sin(2 * np.pi * months / 5)
    series = season + 0.2 * np.random.default_rng(7).normal(size=len(months))
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW + 1)
    x, y = windows[:, :-1, None], windows[:, -1:]
    known, test = slice(None, -TEST), slice(-TEST, None)

    with tempfile.TemporaryDirectory() as nowhere:
        tuner = kt.BayesianOptimization(
            Forecaster(),
            objective="val_loss",
            max_trials=options.trials,
            seed=1,
            directory=options.folder or nowhere,
            project_name="forecaster",
        )
        tuner.search_space_summary()
        print()
        # Each trial is judged on two stretches of time, both after the months that it has learned from.
        tuner.search(x[known], y[known], epochs=15, cross_validation=2, n_jobs=options.jobs, verbose=0)
        tuner.results_summary(num_trials=3)
        best = tuner.get_best_hyperparameters()[0]

    # The winner learns once more from all that is known, and only now meets the test months.
    model = Forecaster().build(best)
    model.fit(x[known], y[known], epochs=15, batch_size=best["batch_size"], verbose=0)
    error = float(np.sqrt(np.mean((model.predict(x[test], verbose=0) - y[test]) ** 2)))
    naive = float(np.sqrt(np.mean((x[test, -1] - y[test]) ** 2)))
    print(f"\nTest months, root mean square error: {error:.3f}; last value repeated: {naive:.3f}; the noise: 0.200")


if __name__ == "__main__":
    main()

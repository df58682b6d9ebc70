"""Learns the sunspot cycle from 250 years and forecasts the years after 1950, each from the eleven before it.

Usage: `python examples/sunspots.py [--epochs 20] [--plot sunspots.png]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.utils import set_random_seed

WINDOW = 11  # years that a forecast sees, about one cycle
FIRST_TEST_YEAR = 1950
AHEAD = 11  # years forecast after the last one known


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=20, help="how often the training years are seen (default 20)")
    arguments.add_argument("--plot", type=Path, default=Path("sunspots.png"), help="where to write the plot")
    options = arguments.parse_args()
    set_random_seed(1)

    years, sunspots = np.loadtxt(Path(__file__).parent / "data/sunspots.csv", delimiter=",", skiprows=1, unpack=True)
    # The square root evens out the spread of a count; the scale is that of the training years alone.
    root = np.sqrt(sunspots)
    known = root[years < FIRST_TEST_YEAR]
    mean, deviation = known.mean(), known.std()
    series = (root - mean) / deviation
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW + 1)
    x, y, target_years = windows[:, :-1, None], windows[:, -1:], years[WINDOW:]
    test = target_years >= FIRST_TEST_YEAR

    model = Sequential([Input((WINDOW, 1)), LSTM(32), Dense(1)])
    model.summary()
    # These settings did best on 1830-1949, learned from the years before; the test years had no say.
    model.compile(optimizer=Adam(learning_rate=0.003), loss="mse")
    model.fit(x[~test], y[~test], epochs=options.epochs, batch_size=16)

    def sunspot_numbers(outputs: np.ndarray) -> np.ndarray:
        return np.maximum(outputs * deviation + mean, 0) ** 2

    forecast = sunspot_numbers(model.predict(x[test], verbose=0)[:, 0])
    actual = sunspots[WINDOW:][test]
    naive = sunspots[WINDOW - 1 : -1][test]  # the year before, repeated

    # Further ahead than a year, forecasts are fed back in. How far off that was from every test year tells the spread.
    paths = roll_out(model, x[test])
    errors = [sunspot_numbers(paths[: len(actual) - k, k]) - actual[k:] for k in range(AHEAD)]
    spread = np.array([np.sqrt(np.mean(error**2)) for error in errors])
    future = sunspot_numbers(roll_out(model, series[None, -WINDOW:, None])[0])

    rmse, naive_rmse = (float(np.sqrt(np.mean((guess - actual) ** 2))) for guess in (forecast, naive))
    print(f"\nTest years {FIRST_TEST_YEAR}-{years[-1]:.0f}, root mean square error in sunspots:")
    print(f"  LSTM                  {rmse:5.1f}")
    print(f"  last value repeated   {naive_rmse:5.1f}")
    print(f"The LSTM's error is {rmse / naive_rmse:.0%} of the naive forecast's.")

    plot(options.plot, (years, sunspots), (target_years[test], forecast), (future, spread), (rmse, naive_rmse))
    print(f"Plot: {options.plot}")


def roll_out(model: Sequential, x: np.ndarray) -> np.ndarray:
    """Forecast AHEAD years (B,AHEAD) from windows x (B,WINDOW,1), each year from those before, forecast ones too."""
    x = x.copy()
    path = []
    for _ in range(AHEAD):
        path.append(model.predict(x, verbose=0))
        x = np.concatenate([x[:, 1:], path[-1][:, None]], axis=1)
    return np.concatenate(path, axis=1)


def plot(
    file: Path,
    history: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    ahead: tuple[np.ndarray, np.ndarray],
    errors: tuple[float, float],
) -> None:
    """The whole series small on top, the test years and what comes after them large below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    years, sunspots = history
    future, spread = ahead
    ink, blue, orange = "#333333", "#2b6cb0", "#dd6b20"
    style: dict[Any, Any] = {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#aaaaaa",
    }
    with plt.rc_context(style):
        figure, (top, main) = plt.subplots(2, height_ratios=[1, 3], figsize=(11, 7), layout="constrained")
        top.fill_between(years, sunspots, color="#cbd5e0", linewidth=0)
        seen = years >= FIRST_TEST_YEAR
        top.fill_between(years[seen], sunspots[seen], color=blue, alpha=0.35, linewidth=0)
        top.set(xlim=(years[0], years[-1] + 1), ylim=(0, None), yticks=[0, 100, 200])
        title = f"Yearly sunspot numbers: learned until {FIRST_TEST_YEAR - 1}, tested after"
        top.set_title(title, loc="left", fontsize=11)

        main.plot(years[seen], sunspots[seen], "o", color=ink, markersize=4.5, label="observed", zorder=3)
        main.plot(*test, color=blue, linewidth=2, label="LSTM, forecast one year ahead")
        later = years[-1] + np.arange(AHEAD + 1)
        middle = np.concatenate([sunspots[-1:], future])
        width = np.concatenate([[0], spread])
        main.fill_between(later, np.maximum(middle - width, 0), middle + width, color=orange, alpha=0.18, linewidth=0)
        label = f"LSTM, on its own from {later[1]:.0f}, ± its past error at that range"
        main.plot(later, middle, color=orange, linewidth=2, label=label)
        main.axvline(years[-1] + 0.5, color="#aaaaaa", linewidth=1, linestyle=":", ymax=0.88)
        main.set(xlim=(FIRST_TEST_YEAR - 1, later[-1] + 1), ylim=(0, 230), ylabel="sunspots")
        main.grid(axis="y", color="#eeeeee")
        main.set_axisbelow(True)
        main.legend(frameon=False, ncols=3, loc="upper left")
        title = f"Error {errors[0]:.1f} sunspots a year ahead; repeating the last year: {errors[1]:.1f}"
        main.set_title(title, loc="left", fontsize=13, fontweight="bold", color=ink)
        figure.savefig(file, dpi=150)
        plt.close(figure)


if __name__ == "__main__":
    main()

"""A forecast beside what came, and how far off it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.plots.style import COLORS, INK, PALE, canvas


def forecast(
    y_true: Any,
    y_pred: Any,
    x: Any = None,
    xlabel: str = "step",
    ylabel: str = "value",
    residuals: bool = True,
    ax: Any = None,
    path: str | Path | None = None,
) -> Any:
    """A forecast over the truth, and below it the residuals (truth minus forecast) with their spread.

    Parameters
    ----------
    y_true, y_pred : (N,) or (N,1) array
        What came, and what was forecast.
    x : (N,) array, optional
        When: numbers, years, NumPy datetimes; 0 ... N - 1 if None.
    xlabel, ylabel : str
        With units.
    residuals : bool
        Whether to draw them.
    ax : Axes or sequence of two Axes, optional
        For the forecast and, if they are drawn, the residuals.
    path : str or Path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        For arrays of other or different lengths.
    ImportError
        Without matplotlib.
    """
    truth, guess = _series("y_true", y_true), _series("y_pred", y_pred)
    if len(truth) != len(guess):
        raise ValueError(f"forecast: expected y_pred ({len(truth)},), as y_true, got ({len(guess)},)")
    at = np.arange(len(truth)) if x is None else np.asarray(x)
    if at.shape != truth.shape:
        raise ValueError(f"forecast: expected x {truth.shape}, as y_true, got {at.shape}")
    error = truth - guess
    rmse = float(np.sqrt(np.nanmean(error**2)))
    mae = float(np.nanmean(np.abs(error)))
    layout: dict[str, Any] = {"nrows": 2, "sharex": True, "height_ratios": [3, 1.2]} if residuals else {"nrows": 1}
    with canvas("forecast", ax, path, 1 + residuals, (8, 5 if residuals else 3.8), **layout) as axes:
        top = axes[0]
        few = len(truth) <= 150
        # The truth as dots over the line, or, where dots would run together, as a broad band behind it.
        seen: dict[str, Any] = {"color": "#a8a8a8", "linewidth": 3}
        if few:
            seen = {"color": INK, "marker": "o", "linestyle": "none", "markersize": 4}
        top.plot(at, truth, label="truth", zorder=3 if few else 2, **seen)
        top.plot(at, guess, color=COLORS[1], label="forecast", linewidth=1.8 if few else 0.9, zorder=2.5)
        top.set(ylabel=ylabel, title=f"Forecast and truth: RMSE {rmse:.3g}, MAE {mae:.3g}")
        top.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
        if residuals:
            _residuals(axes[1], at, error, rmse)
        axes[-1].set_xlabel(xlabel)
        if x is None:
            axes[-1].xaxis.get_major_locator().set_params(integer=True)
        return top.figure


def _series(argument: str, value: Any) -> Any:
    array = np.asarray(value, float)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size:
        raise ValueError(f"forecast: expected {argument} (N,) or (N, 1), got {array.shape}")
    return array


def _residuals(ax: Any, at: Any, error: Any, rmse: float) -> None:
    ax.axhspan(-rmse, rmse, color=COLORS[0], alpha=0.12, linewidth=0)
    ax.axhline(0, color=PALE, linewidth=1)
    if len(error) <= 150:
        ax.vlines(at, 0, error, color=COLORS[0], linewidth=1.2)
        ax.plot(at, error, "o", color=COLORS[0], markersize=3)
    else:
        ax.plot(at, error, color=COLORS[0], linewidth=0.8)
    finite = error[np.isfinite(error)]
    widest = max(1.15 * float(np.abs(finite).max(initial=0)), 1.3 * rmse) or 1
    ax.set(ylabel="residual", ylim=(-widest, widest))
    ax.annotate(
        "band: ± RMSE", (1, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize=9, color="#666666",
    )  # fmt: skip

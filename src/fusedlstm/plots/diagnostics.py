"""Pictures of what `fusedlstm.inspect` finds; its results draw themselves with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.plots.style import COLORS, INK, PALE, canvas, colors

#: What the letters stand for, in titles.
NAMES = {
    "i": "Input gate i",
    "f": "Forget gate f",
    "o": "Output gate o",
    "z": "Update gate z",
    "r": "Reset gate r",
    "candidate": "Candidate",
    "c": "Cell state c",
    "h": "State h",
}


def gradient_flow(
    norms: Mapping[str, Any], ax: Any = None, path: str | Path | None = None, label: str | None = None
) -> Any:
    """The norms of dL/dh_t over the steps; see `fusedlstm.inspect.GradientFlow.plot`."""
    with canvas("gradient_flow", ax, path, size=(7.5, 4.2)) as axes:
        (one,) = axes
        names = list(norms)
        if label is not None:
            names = [label] if len(norms) == 1 else [f"{label}: {name}" for name in norms]
        steps = max((len(values) for values in norms.values()), default=0)
        for name, values, color in zip(names, norms.values(), colors(one, len(norms)), strict=True):
            # A norm of 0 (a step that nothing depends on, or underflow) has no place on the scale.
            shown = np.where(np.asarray(values) > 0, values, np.nan)
            marker = "o" if len(values) <= 40 else None
            one.plot(np.arange(len(values)), shown, color=color, marker=marker, markersize=3.5, label=name)
        one.set_yscale("log")
        one.set(title="Gradient of the loss at each step", xlabel="step t", ylabel="norm of dL/dh at step t")
        one.set_xlim(min(one.get_xlim()[0], -0.5), max(one.get_xlim()[1], steps - 0.5))
        one.xaxis.get_major_locator().set_params(integer=True)
        one.legend(loc="best")
        return one.figure


def gate_activations(
    values: Mapping[str, Any],
    units: Any,
    labels: str | Sequence[str] | None = None,
    title: str = "",
    ax: Any = None,
    path: str | Path | None = None,
) -> Any:
    """Pictures of (T,U) values, units downwards; see `fusedlstm.inspect.GateActivations.plot`."""
    count = len(values)
    columns = 2 if count > 2 else 1
    rows = -(-count // columns)
    steps = len(next(iter(values.values())))
    if labels is not None and len(labels) != steps:
        raise ValueError(f"gate_activations: expected labels for {steps} steps, got {len(labels)}")
    size = (6.2 * columns, max(1.7, min(0.16 * len(units) + 1.1, 3.2)) * rows + 0.3)
    with canvas("gate_activations", ax, path, count, size, nrows=rows, ncols=columns) as axes:
        for one, (name, array) in zip(axes, values.items(), strict=True):
            signed = name in ("c", "h", "candidate")
            bound = max(1.0, float(np.nanmax(np.abs(array), initial=0)))  # 1 is all that gates and tanh have
            image = one.imshow(
                array.T, aspect="auto", interpolation="nearest", cmap="PuOr" if signed else "viridis",
                vmin=-bound if signed else 0, vmax=bound,
            )  # fmt: skip
            one.grid(visible=False)
            one.set(title=NAMES[name], xlabel="step t", ylabel="unit")
            every = -(-len(units) // 12)
            one.set_yticks(range(0, len(units), every), [str(unit) for unit in units[::every]])
            one.xaxis.get_major_locator().set_params(integer=True)
            if labels is not None and steps <= 80:
                shown = [{" ": "␣", "\n": "↵", "\t": "⇥"}.get(label, label) for label in labels]
                one.set_xticks(range(steps), shown, fontsize=8 if steps <= 50 else 6)
                one.set_xlabel("")
                one.tick_params(axis="x", length=0)
            bar = one.figure.colorbar(image, ax=one, pad=0.01, fraction=0.05)
            bar.outline.set_visible(False)
        figure = axes[0].figure
        if title and ax is None:
            figure.suptitle(f"Layer {title}", x=0.01, ha="left", fontsize=10.5, color="#666666")
        return figure


def gate_saturation(
    shut: Mapping[str, Mapping[str, Any]],
    opened: Mapping[str, Mapping[str, Any]],
    low: float,
    high: float,
    ax: Any = None,
    path: str | Path | None = None,
) -> Any:
    """A scatter for each gate, a colour for each layer; see `fusedlstm.inspect.GateSaturation.plot`."""
    gates = list(dict.fromkeys(name for layer in shut.values() for name in layer))
    with canvas("gate_saturation", ax, path, len(gates), (3.7 * len(gates), 4.1)) as axes:
        for one, gate in zip(axes, gates, strict=True):
            one.plot([0, 1], [1, 0], color=PALE, linewidth=1, linestyle="--", zorder=1)
            for k, layer in enumerate(shut):
                if gate not in shut[layer]:
                    continue
                one.plot(
                    opened[layer][gate], shut[layer][gate], "o^sDvP"[k % 6], color=COLORS[k % len(COLORS)],
                    linestyle="none", markersize=5, alpha=0.55, markeredgewidth=0, label=layer, clip_on=False, zorder=3,
                )  # fmt: skip
            one.set(
                title=NAMES[gate], xlim=(0, 1), ylim=(0, 1), aspect="equal",
                xlabel=f"share of steps above {high:g}", ylabel=f"share of steps below {low:g}",
            )  # fmt: skip
        if len(shut) > 1:
            axes[0].legend(loc="upper right", handletextpad=0.2)
        return axes[0].figure


def cell_ranking(
    scores: Mapping[str, Any],
    order: Mapping[str, Any],
    by: str,
    top: int,
    title: str = "",
    ax: Any = None,
    path: str | Path | None = None,
) -> Any:
    """Bars of the best units for each feature; see `fusedlstm.inspect.CellRanking.plot`."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"cell_ranking: expected top to be a positive integer, got {top!r}")
    columns = min(len(scores), 3)
    rows = -(-len(scores) // columns)
    most = min(top, *(len(units) for units in order.values()))
    size = (max(3.6 * columns, 5), (0.9 + 0.32 * most) * rows + 0.3)
    signed = by == "correlation"
    widest = 1.0 if signed else max(float(np.max(values)) for values in scores.values()) * 1.15 or 1.0
    with canvas("cell_ranking", ax, path, len(scores), size, nrows=rows, ncols=columns) as axes:
        for one, (feature, values) in zip(axes, scores.items(), strict=True):
            best = np.asarray(order[feature][:most])
            shown = values[best]
            one.barh(range(most), shown, color=[COLORS[0] if value >= 0 else COLORS[1] for value in shown], height=0.7)
            for k, value in enumerate(shown):
                # The number stands beside the bar, or inside where there is no room left.
                inside = abs(value) > 0.72 * widest
                left = (value >= 0) != inside
                one.annotate(
                    f"{value:+.2f}" if signed else f"{value:.2f}", (value, k), (4 if left else -4, 0),
                    textcoords="offset points", ha="left" if left else "right", va="center", fontsize=9,
                    color="white" if inside else INK,
                )  # fmt: skip
            one.set_yticks(range(most), [f"unit {unit}" for unit in best])
            one.invert_yaxis()
            one.set(title=feature, xlim=(-1 if signed and (shown < 0).any() else 0, widest))
            one.axvline(0, color=PALE, linewidth=1)
            one.grid(axis="y", visible=False)
            one.tick_params(axis="y", length=0)
        for one in axes[-columns:]:
            one.set_xlabel("correlation" if signed else "mutual information (bits)")
        figure = axes[0].figure
        if title and ax is None:
            figure.suptitle(f"Layer {title}", x=0.01, ha="left", fontsize=10.5, color="#666666")
        return figure

"""Which cells of a recurrent layer follow which features of what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.inspect.gates import gate_activations
from fusedlstm.layers.base import Array

MEASURES = ("correlation", "mutual_information")
BINS = 16


class CellRanking(NamedTuple):
    """How closely each unit of a layer follows each feature.

    Attributes
    ----------
    layer : str
    by : str
        The measure.
    scores : dict of str to (H,) array
        By the feature's name, of each unit: the correlation, from -1 to 1, or the mutual information in bits.
    order : dict of str to (H,) array of int
        The units, the one that follows the feature most closely (by the absolute value) first.
    """

    layer: str
    by: str
    scores: dict[str, Array]
    order: dict[str, Array]

    def best(self, feature: str) -> int:
        """The unit that follows a feature most closely."""
        return int(self.order[feature][0])

    def plot(self, top: int = 5, ax: Any = None, path: str | Path | None = None) -> Any:
        """Draw bars: for each feature the scores of the units that follow it most closely.

        Parameters
        ----------
        top : int
            How many units for each feature.
        ax : sequence of matplotlib Axes, optional
            One for each feature.
        path : str or Path, optional
            Where to write the picture.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from fusedlstm.plots import diagnostics

        return diagnostics.cell_ranking(self.scores, self.order, self.by, top, title=self.layer, ax=ax, path=path)


def rank_cells(
    model: Any, x: Any, features: Mapping[str, Any], layer: str | None = None, by: str = "correlation"
) -> CellRanking:
    """Rank the units of a layer by how closely they follow features of the inputs (Karpathy et al. 2015).

    What is compared is tanh(c), the cell state as it comes to the output, of an LSTM, and the state h of a GRU or
    SimpleRNN, after each step.

    Parameters
    ----------
    model : Model or Sequential
    x : array
        As for `predict`.
    features : dict of str to (B,T) array
        Of each step, by name: numbers or bool, such as whether the step is inside quotes; (T,) for one row. Those of
        masked steps do not count. `text_features` makes some of a text.
    layer : str, optional
        The layer's name; not needed if there is only one.
    by : {"correlation", "mutual_information"}
        Pearson's correlation, which sees what is linear; or the mutual information, which sees any dependence, of the
        state in 16 bins of equal width and the feature, if it has more than 16 values, in 16 bins of equal counts. The
        latter is never negative, and needs some hundred steps to mean anything.

    Returns
    -------
    CellRanking

    Raises
    ------
    ValueError
        For features of other shapes, an unknown measure or layer, or less than two steps to compare.
    """
    if by not in MEASURES:
        raise ValueError(f"rank_cells: expected by to be 'correlation' or 'mutual_information', got {by!r}")
    if not isinstance(features, Mapping) or not features:
        raise ValueError(
            f"rank_cells: expected features to be a dict of at least one array by its name, got {features!r}"
        )
    found = gate_activations(model, x, layer)
    states = followed(found.values)[found.mask].astype(np.float64)
    if len(states) < 2:
        raise ValueError(f"rank_cells: expected x to have at least two steps, got {len(states)}")
    measure = _correlations if by == "correlation" else _information
    scores: dict[str, Array] = {}
    for name, given in features.items():
        values = np.asarray(given)
        if values.shape != found.mask.shape and (1, *values.shape) != found.mask.shape:
            raise ValueError(
                f"rank_cells: expected feature {name!r} to be {found.mask.shape}, a number for each step, "
                f"got {values.shape}"
            )
        if values.dtype.kind not in "biuf":
            raise TypeError(f"rank_cells: expected feature {name!r} to be of numbers or bool, got {values.dtype}")
        values = values.reshape(found.mask.shape)[found.mask].astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"rank_cells: expected feature {name!r} to be finite, got NaN or infinity")
        scores[name] = measure(states, values)
    order = {name: np.argsort(-np.abs(values), kind="stable") for name, values in scores.items()}
    return CellRanking(found.layer, by, scores, order)


def followed(values: Mapping[str, Array]) -> Array:
    """What of a layer's states is compared and shown: tanh(c), or h if there is no c."""
    return np.tanh(values["c"]) if "c" in values else values["h"]


def _correlations(states: Array, feature: Array) -> Array:
    """Pearson's correlation of each column of (N,H) with (N,); 0 if one of the two is constant."""
    a, b = states - states.mean(axis=0), feature - feature.mean()
    scale = np.sqrt((a * a).sum(axis=0) * (b * b).sum())
    found: Array = np.divide(a.T @ b, scale, out=np.zeros(states.shape[1]), where=scale > 0)
    return np.clip(found, -1, 1)


def _information(states: Array, feature: Array) -> Array:
    """Mutual information in bits of each column of (N,H) with (N,)."""
    values, codes = np.unique(feature, return_inverse=True)
    if len(values) > BINS:
        codes = np.searchsorted(np.quantile(feature, np.arange(1, BINS) / BINS), feature, side="right")
    low, high = states.min(axis=0), states.max(axis=0)
    # Of equal width: a unit that only trembles follows nothing, however regular its last digits are.
    width = np.where(high > low, high - low, 1)
    bins = np.minimum((states - low) / width * BINS, BINS - 1).astype(np.int64)
    return np.array([_mutual(column, codes) for column in bins.T])


def _mutual(a: Array, b: Array) -> float:
    counts = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(counts, (a, b), 1)
    joint = counts / len(a)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    there = joint > 0
    return max(0.0, float((joint[there] * np.log2(joint[there] / apart[there])).sum()))


def text_features(text: str) -> dict[str, Array]:
    """Features of each character of a text that cells of character models are known to follow.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict of str to (T,) array
        "inside quotes" and "inside brackets" (the closing one included), "position in line", "position in word" (0 for
        the first character), "capital", "digit", "space before".
    """
    if not isinstance(text, str):
        raise TypeError(f"text_features: expected text to be a string, got {type(text).__name__}")
    quoted, depth, in_line, in_word = False, 0, 0, 0
    before = " "
    rows: list[tuple[float, ...]] = []
    for character in text:
        in_line = 0 if before == "\n" else in_line + bool(rows)
        in_word = in_word + 1 if character.isalnum() and before.isalnum() else 0
        rows.append((quoted, depth > 0, in_line, in_word, character.isupper(), character.isdigit(), before.isspace()))
        quoted ^= character == '"'
        depth += (character in "([{") - (character in ")]}" and depth > 0)
        before = character
    names = (
        "inside quotes", "inside brackets", "position in line", "position in word", "capital", "digit", "space before",
    )  # fmt: skip
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {name: np.array(column, float) for name, column in zip(names, columns, strict=True)}

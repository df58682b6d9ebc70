"""What the outputs of a model trained with the CTC loss say: labels out of a distribution for each step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def ctc_decode(
    inputs: ArrayLike,
    sequence_lengths: ArrayLike,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int | None = 0,
) -> tuple[Array, Array]:
    """The likeliest labels for each sequence of logits.

    Parameters
    ----------
    inputs : (B,T,C) array
        Logits of the classes, or logs of their probabilities.
    sequence_lengths : (B,) array of int
        How many steps of each row count.
    strategy : {"greedy", "beam_search"}
        The likeliest class of each step; or a search for the likeliest labels over all ways to spell them (the prefix
        search of Graves et al. 2006, with the `beam_width` likeliest beginnings kept at every step).
    beam_width, top_paths : int
        With "beam_search": how many beginnings are kept, and how many results are wanted for each row.
    merge_repeated : bool
        With "greedy": neighbouring equal labels are one. A beam search always takes them for one.
    mask_index : int or None
        The class of the blank; None: the last one.

    Returns
    -------
    paths : (top_paths,B,T) array of int
        The labels, likeliest first; -1 behind the last one.
    scores : (B,top_paths) array
        With "greedy" (one path): the sum of the largest inputs of the steps, negative. With "beam_search": the logs of
        the paths' probabilities; -inf where there are fewer paths.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    """
    x = np.asarray(inputs)
    if x.dtype.kind not in "fiu" or x.ndim != 3 or not x.shape[2]:
        raise ValueError(f"ctc_decode: expected inputs (batch, steps, classes), got {x.shape} of {x.dtype}")
    x = x.astype(np.float64 if x.dtype == np.float64 else np.float32, copy=False)
    batch, steps, classes = x.shape
    lengths = np.asarray(sequence_lengths)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"ctc_decode: expected sequence_lengths ({batch},) of integers, got {lengths.shape} of {lengths.dtype}"
        )
    if batch and not 0 <= lengths.min() <= lengths.max() <= steps:
        raise ValueError(
            f"ctc_decode: expected sequence_lengths in 0 ... {steps}, got {lengths.min()} ... {lengths.max()}"
        )
    blank = classes - 1 if mask_index is None else mask_index
    for name, value, low, high in (
        ("beam_width", beam_width, 1, None),
        ("top_paths", top_paths, 1, None),
        ("mask_index", blank, 0, classes - 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"ctc_decode: expected {name} to be an integer, got {value!r}")
        if value < low or (high is not None and value > high):
            bounds = f">= {low}" if high is None else f"in {low} ... {high}"
            raise ValueError(f"ctc_decode: expected {name} {bounds}, got {value}")
    if strategy == "greedy":
        return _greedy(x, lengths, merge_repeated, blank)
    if strategy != "beam_search":
        raise ValueError(f"ctc_decode: expected strategy 'greedy' or 'beam_search', got {strategy!r}")
    paths = np.full((top_paths, batch, steps), -1, np.int32)
    scores = np.full((batch, top_paths), -np.inf, x.dtype)
    for b, length in enumerate(lengths):
        for k, (score, labels) in enumerate(_beam_search(x[b, :length], beam_width, blank)[:top_paths]):
            paths[k, b, : len(labels)] = labels
            scores[b, k] = score
    return paths, scores


def _greedy(x: Array, lengths: Array, merge_repeated: bool, blank: int) -> tuple[Array, Array]:
    counted = np.arange(x.shape[1]) < lengths[:, None]
    best = x.argmax(axis=2)
    scores = -np.where(counted, x.max(axis=2), x.dtype.type(0)).sum(axis=1, keepdims=True)
    kept = counted & (best != blank)
    if merge_repeated:
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    rows, columns = np.nonzero(kept)
    paths = np.full((1, *best.shape), -1, np.int32)
    paths[0, rows, kept.cumsum(axis=1)[rows, columns] - 1] = best[rows, columns]
    return paths, scores


def _beam_search(x: Array, width: int, blank: int) -> list[tuple[float, list[int]]]:
    """Scores and labels of the beginnings that are left after the last step, likeliest first; x (T,C).

    A beginning is a node of a tree: its number, that of the beginning without its last label, and that label. Of each
    there are two logs of probabilities: of the ways to spell it that end with a blank, and with its last label.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = x - x.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    parents, last = [-1], [blank]  # of all nodes; the root has no label
    children: dict[tuple[int, int], int] = {}
    nodes = np.zeros(1, np.int64)  # of the beam
    with_blank, with_label = np.zeros(1), np.full(1, -np.inf)
    labels = np.arange(x.shape[1])
    for step in log_p:
        ends = np.array([last[node] for node in nodes])
        total = np.logaddexp(with_blank, with_label)
        stay_blank = total + step[blank]
        stay_label = np.where(ends == blank, -np.inf, with_label + step[ends])
        # (beam,C): the beginnings with one label more. The same label again needs a blank before it.
        longer = total[:, None] + step
        again = labels == ends[:, None]
        longer[again] = (with_blank[:, None] + step)[again]
        longer[:, blank] = -np.inf
        # A longer beginning that is in the beam itself joins its own score.
        place = {int(node): k for k, node in enumerate(nodes)}
        for k, node in enumerate(nodes):
            above = place.get(parents[node])
            if above is not None:
                stay_label[k] = np.logaddexp(stay_label[k], longer[above, last[node]])
                longer[above, last[node]] = -np.inf
        scores = np.concatenate([np.logaddexp(stay_blank, stay_label), longer.ravel()])
        chosen = np.argpartition(-scores, width - 1)[:width] if len(scores) > width else np.arange(len(scores))
        chosen = chosen[scores[chosen] > -np.inf]
        kept, grown = chosen[chosen < len(nodes)], chosen[chosen >= len(nodes)] - len(nodes)
        rows, classes = np.divmod(grown, len(labels))
        made = []
        for parent, label in zip(nodes[rows].tolist(), classes.tolist(), strict=True):
            child = children.setdefault((parent, label), len(parents))
            if child == len(parents):
                parents.append(parent)
                last.append(label)
            made.append(child)
        nodes = np.concatenate([nodes[kept], np.array(made, np.int64)])
        with_label = np.concatenate([stay_label[kept], longer[rows, classes]])
        with_blank = np.concatenate([stay_blank[kept], np.full(len(made), -np.inf)])
    total = np.logaddexp(with_blank, with_label)
    return [(float(total[k]), _labels(int(nodes[k]), parents, last)) for k in np.argsort(-total, kind="stable")]


def _labels(node: int, parents: list[int], last: list[int]) -> list[int]:
    found = []
    while node:
        found.append(last[node])
        node = parents[node]
    return found[::-1]

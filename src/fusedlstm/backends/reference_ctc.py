"""The CTC loss in NumPy: the specification, written to be read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ctc_loss(
    logits: Array, targets: Array, target_lengths: Array, input_lengths: Array, gradient: bool = True
) -> tuple[Array, Array | None]:
    """-log of the probability that the steps of each row spell its target (Graves et al. 2006).

    Parameters
    ----------
    logits : (B,T,C) array
        Class 0 is the blank; a step's probabilities are the softmax.
    targets : (B,L) array of int
        Labels, 1 to C-1.
    target_lengths : (B,) array of int
        How many of a row's labels count.
    input_lengths : (B,) array of int
        How many of a row's steps count; the gradient of the others is 0.
    gradient : bool
        Whether it is wanted.

    Returns
    -------
    values : (B,) array
        inf where the steps cannot spell the target, too few of them or infinite logits; their gradient is 0. NaN where
        a step has no softmax, and so is the row's gradient then.
    d_logits : (B,T,C) array or None
        The gradient of the sum of the values.

    Raises
    ------
    ValueError
        For lengths and labels outside their bounds, and shapes that do not fit.
    """
    check_ctc(logits, targets, target_lengths, input_lengths)
    values = np.zeros(len(logits), logits.dtype)
    d_logits = np.zeros_like(logits) if gradient else None
    for b, (labels, steps) in enumerate(zip(target_lengths, input_lengths, strict=True)):
        values[b], d = _row(logits[b, :steps], targets[b, :labels])
        if d_logits is not None:
            d_logits[b, :steps] = d
    return values, d_logits


def check_ctc(logits: Array, targets: Array, target_lengths: Array, input_lengths: Array) -> None:
    """Raise unless shapes, lengths and labels fit."""
    if logits.ndim != 3 or not logits.shape[2]:
        raise ValueError(f"ctc_loss: expected logits (batch, steps, classes), got {logits.shape}")
    batch, steps, classes = logits.shape
    if targets.ndim != 2 or len(targets) != batch:
        raise ValueError(f"ctc_loss: expected targets ({batch}, labels), got {targets.shape}")
    for name, lengths, most in (
        ("target_lengths", target_lengths, targets.shape[1]),
        ("input_lengths", input_lengths, steps),
    ):
        if lengths.shape != (batch,):
            raise ValueError(f"ctc_loss: expected {name} ({batch},), got {lengths.shape}")
        if batch and not 0 <= lengths.min() <= lengths.max() <= most:
            raise ValueError(f"ctc_loss: expected {name} in 0 ... {most}, got {lengths.min()} ... {lengths.max()}")
    used = targets[np.arange(targets.shape[1]) < target_lengths[:, None]]
    if used.size and not 1 <= used.min() <= used.max() < classes:
        raise ValueError(f"ctc_loss: expected targets in 1 ... {classes - 1}, got {used.min()} ... {used.max()}")


def _row(logits: Array, labels: Array) -> tuple[Any, Array]:
    """The value of one row and its gradient: logits (T,C), labels (L,)."""
    states = np.zeros(2 * len(labels) + 1, np.int64)  # blank label blank ... label blank
    states[1::2] = labels
    if len(logits) < len(labels) + np.count_nonzero(labels[1:] == labels[:-1]):
        return np.inf, np.zeros_like(logits)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    if np.isnan(log_p).any():
        return np.nan, np.full_like(logits, np.nan)
    emission = log_p[:, states]
    alpha = _beginnings(emission, states)
    # Ends are the beginnings of the row read backwards; the emission of the step itself is in both.
    beta = _beginnings(emission[::-1, ::-1], states[::-1])[::-1, ::-1]
    log_total = np.logaddexp.reduce(alpha[-1, -2:], initial=-np.inf) if len(logits) else -0.0
    if log_total == -np.inf:
        return np.inf, np.zeros_like(logits)
    possible = emission > -np.inf
    paths = np.where(possible, alpha + beta - np.where(possible, emission, 0) - log_total, -np.inf)
    d = np.exp(log_p)
    for s, label in enumerate(states):
        d[:, label] -= np.exp(paths[:, s])
    return -log_total, d


def _beginnings(emission: Array, states: Array) -> Array:
    """(T,S): the log of the probability of all beginnings that are in a state at a step."""
    alpha = np.full_like(emission, -np.inf)
    may_skip = (states[2:] != 0) & (states[2:] != states[:-2])  # over a blank, between different labels
    before = np.full(len(states), -np.inf, emission.dtype)
    for t in range(len(emission)):
        here = before.copy()
        here[1:] = np.logaddexp(here[1:], before[:-1])
        here[2:] = np.where(may_skip, np.logaddexp(here[2:], before[:-2]), here[2:])
        if t == 0:
            here[:2] = 0
        before = alpha[t] = here + emission[t]
    return alpha

"""The CTC loss in Numba (Graves et al. 2006), a row of the batch at a time.

A row with L labels has S = 2L + 1 states, blank label blank ... label blank. alpha_t(s) is the log of the probability
of all beginnings that are in state s at step t, beta_t(s) that of all ends behind it. Logits are taken relative to the
largest of their step: then the numbers stay small, and close where they are added.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.backends.arguments import Array, compiled_for, require_real
from fusedlstm.backends.numba_cpu_math import at_least, exp_of_negative, log_above_one
from fusedlstm.backends.numba_jit import njit
from fusedlstm.backends.reference_ctc import check_ctc

#: The log of 0. Sums of two stay finite, and differences of it are 0, where those of -Inf would be NaN.
_IMPOSSIBLE = -1e30
_OFTEN = 8  # steps between two times that the largest number is taken away


@njit(fastmath={"reassoc", "contract"})
def _sum(x: Array) -> Any:
    """In an order that the compiler chooses, the same in every call."""
    total = x.dtype.type(0)
    for k in range(x.size):
        total += x[k]
    return total


@njit(forceinline=True)
def _larger(a: Any, b: Any) -> Any:
    """b if a is NaN."""
    return a if a > b else b


@njit(forceinline=True)
def _log_add(a: Any, b: Any, c: Any) -> Any:
    """log(e^a + e^b + e^c)"""
    high, low = _larger(a, b), b if a > b else a
    first, second = _larger(high, c), c if high > c else high
    return first + log_above_one(exp_of_negative(second - first) + exp_of_negative(low - first) + type(a)(1))


@njit
def _largest(x: Array) -> Any:
    """The largest number, but for NaN; four at a time, that one need not wait for the other."""
    a = b = c = d = x.dtype.type(-np.inf)
    for k in range(0, x.size - 3, 4):
        a, b, c, d = _larger(x[k], a), _larger(x[k + 1], b), _larger(x[k + 2], c), _larger(x[k + 3], d)
    for k in range(x.size // 4 * 4, x.size):
        a = _larger(x[k], a)
    return _larger(_larger(a, b), _larger(c, d))


@njit
def _emissions(x: Array, labels: Array, emission: Array, sums: Array, powers: Array) -> bool:
    """Of x (T,C) those of every state, and the sums (T,) of e^(x - largest); False if a step has no softmax.

    powers (T,C) become e^(x - largest); (1,C) is scratch.
    """
    real = x.dtype.type
    for t in range(len(x)):
        largest, e = _largest(x[t]), powers[min(t, len(powers) - 1)]
        for c in range(x.shape[1]):
            e[c] = exp_of_negative(x[t, c] - largest)
        sums[t] = _sum(e)
        if not sums[t] >= 1:
            return False
        emission[t] = at_least(x[t, 0] - largest, real(_IMPOSSIBLE))
        for k in range(len(labels)):
            emission[t, 2 * k + 1] = at_least(x[t, labels[k]] - largest, real(_IMPOSSIBLE))
    return True


@njit
def _advance(before: Array, emission: Array, skip: Array, alpha: Array) -> None:
    """A step of alpha; before and alpha (S + 2,) begin with two impossible states."""
    impossible = alpha.dtype.type(_IMPOSSIBLE)
    for s in range(emission.size):
        total = _log_add(before[s + 2], before[s + 1], before[s] + skip[s])
        alpha[s + 2] = at_least(total + emission[s], impossible)


@njit
def _retreat(ahead: Array, emission: Array, skip: Array, beta: Array) -> None:
    """A step of beta; ahead (S + 2,), beta + emission of the step behind, ends with two impossible states."""
    impossible = beta.dtype.type(_IMPOSSIBLE)
    for s in range(emission.size):
        beta[s] = at_least(_log_add(ahead[s], ahead[s + 1], ahead[s + 2] + skip[s + 2]), impossible)
    for s in range(emission.size):
        ahead[s] = at_least(beta[s] + emission[s], impossible)


@njit
def _recentre(x: Array) -> float:
    """Take the largest number away from all: they would grow with the steps, and lose digits."""
    largest = _largest(x)
    if largest < _IMPOSSIBLE / 2:
        return 0.0
    for k in range(x.size):
        x[k] = at_least(x[k] - largest, x.dtype.type(_IMPOSSIBLE))
    return float(largest)


@njit
def _recursions(emission: Array, labels: Array, alpha: Array, beta: Array) -> float:
    """The log of the probability of the labels, but for the sums; alpha (T + 1,S + 2), beta (T,S), or (0,S).

    alpha's first row is the state before all steps. What is taken away from beta need not be known.
    """
    steps, states = emission.shape
    real = emission.dtype.type
    skip = np.full(states + 2, real(_IMPOSSIBLE))  # 0 where a state may follow the last but one
    ahead = np.full(states + 2, real(_IMPOSSIBLE))
    for k in range(1, len(labels)):
        if labels[k] != labels[k - 1]:
            skip[2 * k + 1] = 0
    alpha[0] = real(_IMPOSSIBLE)
    alpha[:, :2] = real(_IMPOSSIBLE)
    alpha[0, 2] = ahead[states - 1] = 0
    taken = 0.0
    for t in range(steps):
        _advance(alpha[t], emission[t], skip, alpha[t + 1])
        if len(beta):
            _retreat(ahead, emission[steps - 1 - t], skip, beta[steps - 1 - t])
        if t % _OFTEN == _OFTEN - 1:
            taken += _recentre(alpha[t + 1])
            _recentre(ahead)
    return taken + float(_log_add(alpha[steps, states + 1], alpha[steps, states], real(_IMPOSSIBLE)))


@njit
def _gradient(d: Array, labels: Array, sums: Array, alpha: Array, beta: Array) -> None:
    """d (T,C), which holds e^(x - largest), becomes the softmax less the share of the paths in a class."""
    real = d.dtype.type
    share = np.empty(beta.shape[1], beta.dtype)
    for t in range(len(d)):
        for s in range(share.size):
            share[s] = alpha[t + 1, s + 2] + beta[t, s]
        largest = _largest(share)
        for s in range(share.size):
            share[s] = exp_of_negative(share[s] - largest)
        of_class, of_state = real(1) / sums[t], real(1) / _sum(share)
        for c in range(d.shape[1]):
            d[t, c] *= of_class
        d[t, 0] -= _sum(share[::2]) * of_state
        for k in range(len(labels)):
            d[t, labels[k]] -= share[2 * k + 1] * of_state


@njit
def _row(x: Array, labels: Array, d: Array, wanted: bool) -> float:
    """The value of a row, and its gradient in d (T,C) if wanted; else d (1,C) is scratch."""
    steps, states, least = len(x), 2 * len(labels) + 1, len(labels)
    for k in range(1, len(labels)):  # a blank stands between equal labels
        least += labels[k] == labels[k - 1]
    if steps < least:
        d[:] = 0
        return np.inf
    emission, sums = np.empty((steps, states), x.dtype), np.empty(steps, x.dtype)
    if not _emissions(x, labels, emission, sums, d):
        d[:] = np.nan
        return np.nan
    alpha = np.empty((steps + 1, states + 2), x.dtype)
    beta = np.empty((steps if wanted else 0, states), x.dtype)
    log_total = _recursions(emission, labels, alpha, beta)
    if log_total < _IMPOSSIBLE / 2:
        d[:] = 0
        return np.inf
    log_sums = 0.0
    for t in range(steps):
        log_sums += float(log_above_one(sums[t]))
    if wanted:
        _gradient(d, labels, sums, alpha, beta)
    return log_sums - log_total


@njit
def _rows(
    logits: Array, targets: Array, target_lengths: Array, input_lengths: Array, values: Array, d_logits: Array
) -> None:
    """All values, and the gradients if d_logits has rows for them."""
    wanted, scratch = len(d_logits) > 0, np.empty((1, 1, logits.shape[2]), logits.dtype)
    for b in range(len(logits)):
        steps, labels = input_lengths[b], targets[b, : target_lengths[b]]
        d = d_logits[b, :steps] if wanted else scratch[0, :]
        values[b] = _row(logits[b, :steps], labels, d, wanted)
        if wanted:
            d_logits[b, steps:] = 0


def ctc_loss(
    logits: Array, targets: Array, target_lengths: Array, input_lengths: Array, gradient: bool = True
) -> tuple[Array, Array | None]:
    """See `reference_ctc.ctc_loss`."""
    require_real("ctc_loss", "logits", logits)
    check_ctc(logits, targets, target_lengths, input_lengths)
    integers = [compiled_for(np.asarray(array, np.int64)) for array in (targets, target_lengths, input_lengths)]
    values = np.empty(len(logits), logits.dtype)
    d_logits = np.empty(logits.shape if gradient else (0, *logits.shape[1:]), logits.dtype)
    _rows(compiled_for(logits), *integers, values, d_logits)
    return values, d_logits if gradient else None

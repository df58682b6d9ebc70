"""The updates of the optimizers in NumPy.

All work in place on the weights `w`, of any shape, and on the buffers shaped like it. What all of them take besides:

learning_rate : float
    Bias corrections are folded into it by the caller.
gradient_scale, clip : float
    The gradient is multiplied by the one first and then clipped to +- the other.
decay : float
    w -= decay w, ahead of the update.
rows : (R,) array of int64, optional
    `g` (R,D) is the gradient of these rows of w (V,D), ascending, each once; that of all others is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _begin(w: Array, g: Array, gradient_scale: float, clip: float, decay: float, rows: Array | None) -> Array:
    """Shrink the weights; the gradient as it is used."""
    if rows is not None:
        if rows.size and not (rows[0] >= 0 and rows[-1] < len(w) and (np.diff(rows) > 0).all()):
            raise IndexError(f"update: expected ascending rows in 0 ... {len(w) - 1}, got {rows}")
        values, g = g, np.zeros_like(w)
        g[rows] = values
    w -= w * w.dtype.type(decay)
    return np.clip(g * w.dtype.type(gradient_scale), -w.dtype.type(clip), w.dtype.type(clip))


class Updates(Protocol):
    """What changes variables by their gradients: one of the updates, with the weights and buffers at hand."""

    def __call__(
        self,
        gradients: Sequence[Array | None],
        scales: list[float],
        clip: float,
        decays: list[float],
        rows: Mapping[int, Array],
        options: Mapping[str, float],
    ) -> None:
        """Do it once.

        Parameters
        ----------
        gradients : sequence of array or None
            One for each variable; one whose gradient is None stays as it is.
        scales, clip, decays
            `gradient_scale` and `decay` of each variable, `clip` of all.
        rows : mapping
            By the number of the variable, of those whose gradient is that of some rows.
        options
            All of the update's other keyword arguments.
        """


class Update(Protocol):
    """An update of one variable, with the weights and buffers at hand."""

    def __call__(
        self,
        g: Array,
        gradient_scale: float,
        clip: float,
        decay: float,
        rows: Array | None,
        options: Mapping[str, float],
    ) -> None:
        """Do it once; `options` are all of the update's other keyword arguments."""


def variable_by_variable(prepare: Callable[[str, Array, Sequence[Array | None]], Update]) -> Any:
    """`prepare_updates` of a backend that has a call for each variable."""

    def prepare_updates(function: str, variables: Sequence[tuple[Array, Sequence[Array | None]]]) -> Updates:
        """The update of this name for many steps on variables, whose weights and buffers stay where they are."""
        each = [prepare(function, w, buffers) for w, buffers in variables]

        def updates(
            gradients: Sequence[Array | None],
            scales: list[float],
            clip: float,
            decays: list[float],
            rows: Mapping[int, Array],
            options: Mapping[str, float],
        ) -> None:
            for k, (update, g) in enumerate(zip(each, gradients, strict=True)):
                if g is not None:
                    update(g, scales[k], clip, decays[k], rows.get(k), options)

        return updates

    return prepare_updates


def _prepare(function: str, w: Array, buffers: Sequence[Array | None]) -> Update:
    update = globals()[function]

    def run(
        g: Array,
        gradient_scale: float,
        clip: float,
        decay: float,
        rows: Array | None,
        options: Mapping[str, float],
    ) -> None:
        update(w, g, *buffers, gradient_scale=gradient_scale, clip=clip, decay=decay, rows=rows, **options)

    return run


prepare_updates = variable_by_variable(_prepare)


def sgd_update(
    w: Array,
    g: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Gradient descent: v = momentum v - lr g; w += v (nesterov: w += momentum v - lr g)."""
    step = _begin(w, g, gradient_scale, clip, decay, rows) * w.dtype.type(learning_rate)
    if momentum == 0 or velocity is None:
        w -= step
        return
    velocity *= w.dtype.type(momentum)
    velocity -= step
    w += w.dtype.type(momentum) * velocity - step if nesterov else velocity


def lion_update(
    w: Array,
    g: Array,
    m: Array,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Lion (Chen et al. 2023): w -= lr sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    w -= real(learning_rate) * np.sign(real(beta_1) * m + real(1 - beta_1) * g)
    m *= real(beta_2)
    m += real(1 - beta_2) * g


def rmsprop_update(
    w: Array,
    g: Array,
    mean_square: Array,
    average: Array | None,
    velocity: Array | None,
    *,
    learning_rate: float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """RMSprop (Tieleman and Hinton 2012); `average` only if centered, `velocity` only with momentum."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    mean_square += real(1 - rho) * (g * g - mean_square)
    denominator = mean_square + real(epsilon)
    if average is not None:
        average += real(1 - rho) * (g - average)
        denominator = denominator - average * average
    step = real(learning_rate) * g / np.sqrt(denominator)
    if velocity is not None:
        velocity *= real(momentum)
        velocity += step
        step = velocity
    w -= step


def adagrad_update(
    w: Array,
    g: Array,
    total: Array,
    *,
    learning_rate: float,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Adagrad (Duchi et al. 2011): total += g^2; w -= lr g / sqrt(total + epsilon)."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    total += g * g
    w -= real(learning_rate) * g / np.sqrt(total + real(epsilon))


def adadelta_update(
    w: Array,
    g: Array,
    mean_square: Array,
    mean_square_step: Array,
    *,
    learning_rate: float,
    rho: float = 0.95,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Adadelta (Zeiler 2012): step = g sqrt(mean square of the steps + epsilon) / sqrt(that of g + epsilon)."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    mean_square += real(1 - rho) * (g * g - mean_square)
    step = g * np.sqrt(mean_square_step + real(epsilon)) / np.sqrt(mean_square + real(epsilon))
    mean_square_step += real(1 - rho) * (step * step - mean_square_step)
    w -= real(learning_rate) * step


def adam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Adam (Kingma and Ba 2015), with `decay` AdamW; `v_max` only for amsgrad."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    m += real(1 - beta_1) * (g - m)
    v += real(1 - beta_2) * (g * g - v)
    if v_max is not None:
        np.maximum(v_max, v, out=v_max)
        v = v_max
    w -= real(learning_rate) * m / (np.sqrt(v) + real(epsilon))


def nadam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    learning_rate: float,
    m_factor: float,
    g_factor: float,
    v_factor: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Nadam (Dozat 2016): w -= lr (m_factor m + g_factor g) / (sqrt(v_factor v) + epsilon), m and v as in Adam.

    The factors, which depend on the number of updates, are those of the bias correction.
    """
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    m += real(1 - beta_1) * (g - m)
    v += real(1 - beta_2) * (g * g - v)
    w -= real(learning_rate) * (real(m_factor) * m + real(g_factor) * g) / (np.sqrt(real(v_factor) * v) + real(epsilon))


def adamax_update(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """Adamax (Kingma and Ba 2015, 7.1): u = max(beta_2 u, |g|); w -= lr m / (u + epsilon), m as in Adam."""
    real = w.dtype.type
    g = _begin(w, g, gradient_scale, clip, decay, rows)
    m += real(1 - beta_1) * (g - m)
    np.maximum(real(beta_2) * u, np.abs(g), out=u)
    w -= real(learning_rate) * m / (u + real(epsilon))


def average_update(w: Array, average: Array, *, momentum: float) -> None:
    """The exponential moving average of weights, in place: average = momentum average + (1 - momentum) w."""
    average *= w.dtype.type(momentum)
    average += w.dtype.type(1 - momentum) * w

"""The updates of the optimizers in Numba: one pass over all of a variable's buffers. Formulas: `reference_updates`.

Kernels take flat arrays; each element's result depends on that element alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.backends.arguments import Array, check, compiled_for, require, require_in_place, require_real
from fusedlstm.backends.numba_cpu_math import at_least, at_most
from fusedlstm.backends.numba_jit import njit
from fusedlstm.backends.reference_updates import variable_by_variable
from fusedlstm.backends.updates import as_functions, buffers_of, check_numbers, check_rows, options_of


@njit(forceinline=True)
def _begin(w: Any, g: Any, common: Any) -> tuple[Any, Any]:
    """A weight shrunk, and its gradient as it is used."""
    real = type(w)
    scale, clip, decay = common
    return w - real(decay) * w, at_least(at_most(real(scale) * g, real(clip)), -real(clip))


@njit
def _sgd(w: Array, g: Array, common: Any, v: Array | None, rate: float, momentum: float, nesterov: float) -> None:
    real = w.dtype.type
    rate, keep = real(rate), real(momentum)
    if v is None or keep == 0:
        for k in range(w.size):
            old, step = _begin(w[k], g[k], common)
            w[k] = old - rate * step
    else:
        for k in range(w.size):
            old, step = _begin(w[k], g[k], common)
            step *= rate
            v[k] = keep * v[k] - step
            w[k] = old + (keep * v[k] - step if nesterov != 0 else v[k])


@njit
def _lion(w: Array, g: Array, common: Any, m: Array, rate: float, beta_1: float, beta_2: float) -> None:
    real = w.dtype.type
    rate, keep, new = real(rate), real(beta_2), real(1 - beta_2)
    keep_in_step, new_in_step = real(beta_1), real(1 - beta_1)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        blend = keep_in_step * m[k] + new_in_step * step
        sign = real(1) if blend > 0 else blend  # of NaN it is NaN
        w[k] = old - rate * (real(-1) if blend < 0 else sign)
        m[k] = keep * m[k] + new * step


@njit
def _rmsprop(
    w: Array, g: Array, common: Any, mean_square: Array, average: Array | None, velocity: Array | None,
    rate: float, rho: float, momentum: float, epsilon: float,
) -> None:  # fmt: skip
    real = w.dtype.type
    rate, new, keep, epsilon = real(rate), real(1 - rho), real(momentum), real(epsilon)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        mean_square[k] += new * (step * step - mean_square[k])
        variance = mean_square[k]
        if average is not None:
            average[k] += new * (step - average[k])
            variance -= average[k] * average[k]
        step = rate * step / math.sqrt(variance + epsilon)
        if velocity is not None:
            step += keep * velocity[k]
            velocity[k] = step
        w[k] = old - step


@njit
def _adagrad(w: Array, g: Array, common: Any, total: Array, rate: float, epsilon: float) -> None:
    real = w.dtype.type
    rate, epsilon = real(rate), real(epsilon)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        total[k] += step * step
        w[k] = old - rate * step / math.sqrt(total[k] + epsilon)


@njit
def _adadelta(
    w: Array, g: Array, common: Any, mean_square: Array, mean_square_step: Array,
    rate: float, rho: float, epsilon: float,
) -> None:  # fmt: skip
    real = w.dtype.type
    rate, new, epsilon = real(rate), real(1 - rho), real(epsilon)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        mean_square[k] += new * (step * step - mean_square[k])
        step *= math.sqrt(mean_square_step[k] + epsilon) / math.sqrt(mean_square[k] + epsilon)
        mean_square_step[k] += new * (step * step - mean_square_step[k])
        w[k] = old - rate * step


@njit
def _adam(
    w: Array, g: Array, common: Any, m: Array, v: Array, v_max: Array | None,
    rate: float, beta_1: float, beta_2: float, epsilon: float,
) -> None:  # fmt: skip
    real = w.dtype.type
    rate, new_m, new_v, epsilon = real(rate), real(1 - beta_1), real(1 - beta_2), real(epsilon)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        m[k] += new_m * (step - m[k])
        v[k] += new_v * (step * step - v[k])
        variance = v[k]
        if v_max is not None:
            variance = v_max[k] if v_max[k] > variance else variance
            v_max[k] = variance
        w[k] = old - rate * m[k] / (math.sqrt(variance) + epsilon)


@njit
def _nadam(
    w: Array, g: Array, common: Any, m: Array, v: Array,
    rate: float, m_factor: float, g_factor: float, v_factor: float, beta_1: float, beta_2: float, epsilon: float,
) -> None:  # fmt: skip
    real = w.dtype.type
    rate, new_m, new_v, epsilon = real(rate), real(1 - beta_1), real(1 - beta_2), real(epsilon)
    of_m, of_g, of_v = real(m_factor), real(g_factor), real(v_factor)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        m[k] += new_m * (step - m[k])
        v[k] += new_v * (step * step - v[k])
        w[k] = old - rate * (of_m * m[k] + of_g * step) / (math.sqrt(of_v * v[k]) + epsilon)


@njit
def _adamax(
    w: Array, g: Array, common: Any, m: Array, u: Array, rate: float, beta_1: float, beta_2: float, epsilon: float
) -> None:
    real = w.dtype.type
    rate, new_m, keep, epsilon = real(rate), real(1 - beta_1), real(beta_2), real(epsilon)
    for k in range(w.size):
        old, step = _begin(w[k], g[k], common)
        m[k] += new_m * (step - m[k])
        before, size = keep * u[k], abs(step)
        u[k] = before if before > size else size
        w[k] = old - rate * m[k] / (u[k] + epsilon)


@njit
def _average(w: Array, average: Array, momentum: float) -> None:
    real = w.dtype.type
    keep, share = real(momentum), real(1 - momentum)
    for k in range(w.size):
        average[k] = keep * average[k] + share * w[k]


#: Each kernel takes the buffers and then the options in the order of the function's signature.
_KERNELS: dict[str, Callable[..., None]] = {
    "sgd_update": _sgd,
    "lion_update": _lion,
    "rmsprop_update": _rmsprop,
    "adagrad_update": _adagrad,
    "adadelta_update": _adadelta,
    "adam_update": _adam,
    "nadam_update": _nadam,
    "adamax_update": _adamax,
}


class _Update:
    """An update of one variable, whose arrays were looked at once."""

    def __init__(self, function: str, w: Array, buffers: Sequence[Array | None]) -> None:
        require_real(function, "w", w)
        require_in_place(function, "w", w)
        for (name, may_be_none), array in zip(buffers_of(function).items(), buffers, strict=True):
            require(function, name, may_be_none or array is not None)
            if array is not None:
                check(function, name, array, w.shape, w.dtype)
                require_in_place(function, name, array)
        self._function, self._w = function, w
        self._arrays = [w, *buffers]
        self._options = options_of(function)
        self._dense: Array | None = None  # zeros, but for a while

    def __call__(
        self,
        g: Array,
        gradient_scale: float,
        clip: float,
        decay: float,
        rows: Array | None,
        options: Mapping[str, float],
    ) -> None:
        check_numbers(self._function, clip, decay, options)
        # One type each, whatever comes: for another one the kernel would be compiled again.
        common = float(gradient_scale), float(clip), float(decay)
        numbers = [float(options[name]) for name in self._options]
        if rows is None:
            check(self._function, "g", g, self._w.shape, self._w.dtype)
            self._run(self._arrays, g, common, numbers)
            return
        rows = check_rows(self._function, g, rows, self._w)
        if self._others_rest(common, options):
            some = [None if array is None else array[rows] for array in self._arrays]
            self._run(some, g, common, numbers)
            for array, part in zip(self._arrays, some, strict=True):
                if array is not None:
                    array[rows] = part
            return
        if self._dense is None:
            self._dense = np.zeros_like(self._w)
        self._dense[rows] = g
        self._run(self._arrays, self._dense, common, numbers)
        self._dense[rows] = 0

    def _run(self, arrays: Sequence[Array | None], g: Array, common: tuple[float, ...], numbers: list[float]) -> None:
        w, *buffers = (None if array is None else array.reshape(-1) for array in arrays)
        _KERNELS[self._function](w, compiled_for(g).reshape(-1), common, *buffers, *numbers)

    def _others_rest(self, common: tuple[float, ...], options: Mapping[str, float]) -> bool:
        """Whether an element whose gradient is zero stays as it is. Zero times a scale of NaN is not zero."""
        scale, _, decay = common
        still = self._function == "sgd_update" and (options["momentum"] == 0 or self._arrays[1] is None)
        return (still or self._function == "adagrad_update") and decay == 0 and math.isfinite(scale)


prepare_updates = variable_by_variable(_Update)
(
    sgd_update,
    lion_update,
    rmsprop_update,
    adagrad_update,
    adadelta_update,
    adam_update,
    nadam_update,
    adamax_update,
) = as_functions(prepare_updates)


def average_update(w: Array, average: Array, *, momentum: float) -> None:
    """See `reference_updates.average_update`."""
    require_real("average_update", "w", w)
    check("average_update", "average", average, w.shape, w.dtype)
    require_in_place("average_update", "average", average)
    require("average_update", "momentum", math.isfinite(momentum))
    _average(compiled_for(w).reshape(-1), average.reshape(-1), float(momentum))

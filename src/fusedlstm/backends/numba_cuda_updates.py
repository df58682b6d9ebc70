"""The updates of the optimizers on a GPU: one pass over all of a variable's buffers. Formulas: `reference_updates`.

Kernels take flat arrays; each element's result depends on that element alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import cuda_api, reference_updates
from fusedlstm.backends.arguments import check, require, require_in_place, require_real
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch
from fusedlstm.backends.device_array import to_device, to_host
from fusedlstm.backends.numba_cuda_call import known, nothing, ready
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for
from fusedlstm.backends.recurrent_arguments import like
from fusedlstm.backends.reference_updates import variable_by_variable
from fusedlstm.backends.updates import as_functions, buffers_of, check_numbers, check_rows, options_of

sqrt = cuda_api.math.sqrt


@functools.cache
def kernels(real: Any) -> dict[str, Any]:
    """By the name of the update. After w and how to find the gradient they take the buffers, and then the options, both
    in the order of the function's signature; w stands for a buffer that there is not.
    """
    zero, one = real(0), real(1)

    @jit(device=True)
    def shrunk(w, k, decay):  # type: ignore[no-untyped-def]
        return w[k] - real(decay) * w[k]

    @jit(device=True)
    def gradient(g, place, width, k, gradient_scale, most):  # type: ignore[no-untyped-def]
        """As it is used: scaled and clipped; of rows that are not given, zero. Without rows `width` is 0."""
        value = zero
        if width == 0:
            value = g[k]
        elif place[k // width] >= 0:
            value = g[place[k // width] * width + k % width]
        value *= real(gradient_scale)
        bound = real(most)
        return bound if value > bound else (-bound if value < -bound else value)

    @kernel_for(real)
    def sgd_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, velocity, learning_rate, momentum, nesterov, moves
    ):
        rate, keep = real(learning_rate), real(momentum)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = rate * gradient(g, place, width, k, gradient_scale, most)
            old = shrunk(w, k, decay)
            if moves:
                velocity[k] = keep * velocity[k] - step
                step = step - keep * velocity[k] if nesterov else -velocity[k]
            w[k] = old - step

    @kernel_for(real)
    def lion_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, m, learning_rate, beta_1, beta_2
    ):
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            blend = real(beta_1) * m[k] + real(1 - beta_1) * step
            sign = one if blend > zero else (-one if blend < zero else blend)  # of NaN it is NaN
            w[k] = shrunk(w, k, decay) - real(learning_rate) * sign
            m[k] = real(beta_2) * m[k] + real(1 - beta_2) * step

    @kernel_for(real)
    def rmsprop_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, mean_square, average, velocity,
        learning_rate, rho, momentum, epsilon, centered, moves,
    ):  # fmt: skip
        new = real(1 - rho)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            old = shrunk(w, k, decay)
            mean_square[k] += new * (step * step - mean_square[k])
            variance = mean_square[k] + real(epsilon)
            if centered:
                average[k] += new * (step - average[k])
                variance -= average[k] * average[k]
            step = real(learning_rate) * step / sqrt(variance)
            if moves:
                step += real(momentum) * velocity[k]
                velocity[k] = step
            w[k] = old - step

    @kernel_for(real)
    def adagrad_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, total, learning_rate, epsilon
    ):
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            total[k] += step * step
            w[k] = shrunk(w, k, decay) - real(learning_rate) * step / sqrt(total[k] + real(epsilon))

    @kernel_for(real)
    def adadelta_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, mean_square, mean_square_step, learning_rate, rho, epsilon
    ):
        new = real(1 - rho)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            mean_square[k] += new * (step * step - mean_square[k])
            step *= sqrt(mean_square_step[k] + real(epsilon)) / sqrt(mean_square[k] + real(epsilon))
            mean_square_step[k] += new * (step * step - mean_square_step[k])
            w[k] = shrunk(w, k, decay) - real(learning_rate) * step

    @kernel_for(real)
    def adam_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, m, v, v_max,
        learning_rate, beta_1, beta_2, epsilon, keeps_largest,
    ):  # fmt: skip
        new_m, new_v = real(1 - beta_1), real(1 - beta_2)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            old = shrunk(w, k, decay)
            m[k] += new_m * (step - m[k])
            variance = v[k] + new_v * (step * step - v[k])
            v[k] = variance
            if keeps_largest:
                variance = v_max[k] if v_max[k] > variance else variance
                v_max[k] = variance
            w[k] = old - real(learning_rate) * m[k] / (sqrt(variance) + real(epsilon))

    @kernel_for(real)
    def nadam_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, m, v,
        learning_rate, m_factor, g_factor, v_factor, beta_1, beta_2, epsilon,
    ):  # fmt: skip
        new_m, new_v = real(1 - beta_1), real(1 - beta_2)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            m[k] += new_m * (step - m[k])
            v[k] += new_v * (step * step - v[k])
            blend = real(m_factor) * m[k] + real(g_factor) * step
            size = sqrt(real(v_factor) * v[k]) + real(epsilon)
            w[k] = shrunk(w, k, decay) - real(learning_rate) * blend / size

    @kernel_for(real)
    def adamax_update(  # type: ignore[no-untyped-def]
        w, g, place, width, gradient_scale, most, decay, m, u, learning_rate, beta_1, beta_2, epsilon
    ):
        new_m, keep = real(1 - beta_1), real(beta_2)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            step = gradient(g, place, width, k, gradient_scale, most)
            m[k] += new_m * (step - m[k])
            before, size = keep * u[k], abs(step)
            u[k] = before if before > size else size
            w[k] = shrunk(w, k, decay) - real(learning_rate) * m[k] / (u[k] + real(epsilon))

    @kernel_for(real)
    def average_update(w, average, momentum):  # type: ignore[no-untyped-def]
        keep, share = real(momentum), real(1 - momentum)
        for k in range(cuda.grid(1), w.size, cuda.gridsize(1)):
            average[k] = keep * average[k] + share * w[k]

    made = (
        sgd_update, lion_update, rmsprop_update, adagrad_update, adadelta_update, adam_update, nadam_update,
        adamax_update, average_update,
    )  # fmt: skip
    return {kernel.__name__: kernel for kernel in made}


class _Update:
    """An update of one variable, whose arrays were looked at once."""

    def __init__(self, function: str, w: Any, buffers: Sequence[Any]) -> None:
        w, *buffers = map(known, (w, *buffers))
        require_real(function, "w", w)
        require_in_place(function, "w", w)
        self._optional = []
        for (name, may_be_none), array in zip(buffers_of(function).items(), buffers, strict=True):
            require(function, name, may_be_none or array is not None)
            if array is not None:
                check(function, name, array, w.shape, w.dtype)
                require_in_place(function, name, array)
            if may_be_none:
                self._optional.append(array is not None)
        self._function, self._w, self._options = function, w, list(options_of(function))
        self._arrays = [w, *buffers]

    def __call__(
        self,
        g: Any,
        gradient_scale: float,
        clip: float,
        decay: float,
        rows: Any,
        options: Mapping[str, float],
    ) -> None:
        function, w, g = self._function, self._w, known(g)
        check_numbers(function, clip, decay, options)
        place, width = nothing(np.int64, 1), 0
        if rows is None:
            check(function, "g", g, w.shape, w.dtype)
        else:
            rows = check_rows(function, g, to_host(rows), w)
            where = np.full(len(w), -1)
            where[rows] = np.arange(len(rows))
            place, width = to_device(where), w.shape[1]
        if not w.size:
            return
        present = self._optional
        if function == "sgd_update":
            present = [present[0] and options["momentum"] != 0]
        on_device = [None if array is None else ready(array).reshape(-1) for array in self._arrays]
        flat, *buffers = [on_device[0] if array is None else array for array in on_device]
        g = nothing(w.dtype, 1) if not g.size else ready(g).reshape(-1)
        kernel = kernels(REALS[w.dtype])[function]
        numbers = [float(options[name]) for name in self._options]
        common = place, width, float(gradient_scale), float(clip), float(decay)
        launch(kernel, w.size, flat, g, *common, *buffers, *numbers, *present)
        for array, updated in zip(self._arrays, on_device, strict=True):
            if isinstance(array, np.ndarray):
                array[...] = to_host(updated).reshape(array.shape)


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


@like(reference_updates.average_update)
def average_update(w: Any, average: Any, *, momentum: float) -> None:
    w, average = known(w), known(average)
    require_real("average_update", "w", w)
    check("average_update", "average", average, w.shape, w.dtype)
    require_in_place("average_update", "average", average)
    require("average_update", "momentum", math.isfinite(momentum))
    if not w.size:
        return
    updated = ready(average).reshape(-1)
    launch(kernels(REALS[w.dtype])["average_update"], w.size, ready(w).reshape(-1), updated, float(momentum))
    if isinstance(average, np.ndarray):
        average[...] = to_host(updated).reshape(average.shape)


def _make_all() -> None:
    for real in REALS.values():
        kernels(real)


MAKERS.append(_make_all)

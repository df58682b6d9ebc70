"""The CTC loss on a GPU (Graves et al. 2006): `reference_ctc`, a block for each row of the batch.

A row with L labels has 2L + 1 states, blank label blank ... label blank. alpha[t,s] is the log of the probability of
all beginnings that are in state s at step t, beta[t,s] that of all ends, each with the step's own emission in it.
"""

from __future__ import annotations

import functools
import math as _math
from typing import Any

import numpy as np

from fusedlstm.backends import reference_ctc
from fusedlstm.backends.arguments import require_real
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch, launch_blocks, math
from fusedlstm.backends.device_array import empty, is_device, to_host
from fusedlstm.backends.numba_cuda_call import known, nothing, ready
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for
from fusedlstm.backends.recurrent_arguments import like
from fusedlstm.backends.reference_ctc import check_ctc

_THREADS = 256


@functools.cache
def kernels(real: Any) -> tuple[Any, Any, Any]:
    """log(softmax); alpha, beta and the values; the gradient: of a NumPy float type."""
    zero, impossible, unknown = real(0), real(-_math.inf), real(_math.nan)

    @jit(device=True)
    def log_add(a, b):  # type: ignore[no-untyped-def]
        high, low = (a, b) if a > b else (b, a)
        return high if low == impossible else high + math.log1p(math.exp(low - high))

    @jit(device=True)
    def label_of(targets, b, s, classes):  # type: ignore[no-untyped-def]
        return min(max(targets[b, s // 2], 0), classes - 1) if s % 2 else 0

    @jit(device=True)
    def length_of(lengths, b, most):  # type: ignore[no-untyped-def]
        return min(max(lengths[b], 0), most)

    @jit(device=True)
    def may_skip(targets, b, s, neighbour):  # type: ignore[no-untyped-def]
        """Whether a path may go from state `neighbour` to s, two further, over the blank between."""
        return s % 2 == 1 and targets[b, s // 2] != targets[b, neighbour // 2]

    @kernel_for(real)
    def ctc_log_softmax(logits, input_lengths, log_p):  # type: ignore[no-untyped-def]
        batch, steps, classes = logits.shape
        for i in range(cuda.grid(1), batch * steps, cuda.gridsize(1)):
            b, t = i // steps, i % steps
            if t < input_lengths[b]:
                largest = logits[b, t, 0]
                for k in range(1, classes):
                    if not logits[b, t, k] <= largest:  # NaN is the largest of all
                        largest = logits[b, t, k]
                total = zero
                for k in range(classes):
                    total += math.exp(logits[b, t, k] - largest)
                total = math.log(total)
                for k in range(classes):
                    log_p[b, t, k] = logits[b, t, k] - largest - total

    @kernel_for(real)
    def ctc_paths(  # type: ignore[no-untyped-def]
        log_p, targets, target_lengths, input_lengths, alpha, beta, values
    ):
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        for b in range(cuda.blockIdx.x, values.shape[0], cuda.gridDim.x):
            steps = length_of(input_lengths, b, log_p.shape[1])
            labels = length_of(target_lengths, b, alpha.shape[2] // 2)
            states = 2 * labels + 1
            for t in range(steps):
                back = steps - 1 - t
                for s in range(thread, states, threads):
                    ahead = behind = impossible
                    if t == 0:
                        ahead = zero if s < 2 else impossible
                        behind = zero if s >= states - 2 else impossible
                    else:
                        ahead, behind = alpha[b, t - 1, s], beta[b, back + 1, s]
                        if s >= 1:
                            ahead = log_add(ahead, alpha[b, t - 1, s - 1])
                        if s >= 2 and may_skip(targets, b, s, s - 2):
                            ahead = log_add(ahead, alpha[b, t - 1, s - 2])
                        if s + 1 < states:
                            behind = log_add(behind, beta[b, back + 1, s + 1])
                        if s + 2 < states and may_skip(targets, b, s, s + 2):
                            behind = log_add(behind, beta[b, back + 1, s + 2])
                    label = label_of(targets, b, s, log_p.shape[2])
                    alpha[b, t, s] = ahead + log_p[b, t, label]
                    beta[b, back, s] = behind + log_p[b, back, label]
                cuda.syncthreads()
            if thread == 0:
                needed = labels
                for k in range(1, labels):
                    if targets[b, k] == targets[b, k - 1]:
                        needed += 1
                total = zero
                if steps > 0:
                    total = alpha[b, steps - 1, states - 1]
                    if states > 1:
                        total = log_add(total, alpha[b, steps - 1, states - 2])
                value = -impossible if steps < needed else zero - total
                for t in range(steps if steps >= needed else 0):
                    if log_p[b, t, 0] != log_p[b, t, 0]:  # NaN in one class is in all
                        value = unknown
                values[b] = value

    @kernel_for(real)
    def ctc_gradient(  # type: ignore[no-untyped-def]
        log_p, targets, target_lengths, input_lengths, alpha, beta, values, d_logits
    ):
        batch, steps, classes = d_logits.shape
        for i in range(cuda.grid(1), batch * steps, cuda.gridsize(1)):
            b, t = i // steps, i % steps
            value = values[b]
            used = t < input_lengths[b] and value != -impossible
            for k in range(classes):
                d_logits[b, t, k] = math.exp(log_p[b, t, k]) + (value - value) if used else zero
            if used and value == value:
                for s in range(2 * length_of(target_lengths, b, alpha.shape[2] // 2) + 1):
                    label = label_of(targets, b, s, log_p.shape[2])
                    emission = log_p[b, t, label]
                    if emission > impossible:
                        d_logits[b, t, label] -= math.exp(alpha[b, t, s] + beta[b, t, s] - emission + value)

    return ctc_log_softmax, ctc_paths, ctc_gradient


@like(reference_ctc.ctc_loss)
def ctc_loss(logits: Any, targets: Any, target_lengths: Any, input_lengths: Any, gradient: bool = True) -> Any:
    logits = known(logits)
    require_real("ctc_loss", "logits", logits)
    integers = [known(array) for array in (targets, target_lengths, input_lengths)]
    # What lies on the device is not fetched to be checked: kernels take what is out of bounds for the bound.
    check_ctc(logits, *[np.zeros(array.shape, np.int64) if is_device(array) else array for array in integers])
    batch, steps, classes = logits.shape
    dtype, on_device = logits.dtype, is_device(logits)
    states = 2 * integers[0].shape[1] + 1
    of_row = [ready(array.astype(np.int64)) if array.size else nothing(np.int64, array.ndim) for array in integers]
    values = empty((batch,), dtype)
    d_logits = empty(logits.shape, dtype) if gradient else None
    if batch:
        softmax, paths, backward = kernels(REALS[dtype])
        log_p, alpha, beta = (empty((batch, max(steps, 1), n), dtype) for n in (classes, states, states))
        if steps:
            launch(softmax, batch * steps, ready(logits), of_row[2], log_p)
        launch_blocks(paths, batch, _THREADS, log_p, *of_row, alpha, beta, values)
        if d_logits is not None:
            launch(backward, batch * steps, log_p, *of_row, alpha, beta, values, d_logits)
    results = values, d_logits
    return results if on_device else tuple(None if array is None else to_host(array) for array in results)


def _make_all() -> None:
    for real in REALS.values():
        kernels(real)


MAKERS.append(_make_all)

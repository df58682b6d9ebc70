"""Layer normalisation of rows on a GPU, and its gradient: a block sums a row, in an order that its size fixes."""

from __future__ import annotations

import functools
from typing import Any

from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch_blocks, math
from fusedlstm.backends.device_array import DeviceArray
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for, numba_type

_THREADS = 256  # a power of two


@functools.cache
def row_kernels(real: Any) -> tuple[Any, Any]:
    """Normalisation and its gradient, of a NumPy float type."""
    zero, one = real(0), real(1)
    kind = numba_type(real)

    @jit(device=True)
    def block_sum(shared, value):  # type: ignore[no-untyped-def]
        """The sum of what all threads of the block have; their number is a power of two."""
        thread, half = cuda.threadIdx.x, cuda.blockDim.x // 2
        shared[thread] = value
        cuda.syncthreads()
        while half > 0:
            if thread < half:
                shared[thread] += shared[thread + half]
            cuda.syncthreads()
            half //= 2
        result = shared[0]
        cuda.syncthreads()
        return result

    @kernel_for(real)
    def normalize_rows(a, out, scale, epsilon):  # type: ignore[no-untyped-def]
        """out (n,N): the rows of a with mean 0 and variance 1; scale (n,), what they were multiplied with."""
        shared = cuda.shared.array(_THREADS, kind)
        width = a.shape[1]
        for row in range(cuda.blockIdx.x, a.shape[0], cuda.gridDim.x):
            part = zero
            for k in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                part += a[row, k]
            mean = block_sum(shared, part) / real(width)
            part = zero
            for k in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                part += (a[row, k] - mean) * (a[row, k] - mean)
            factor = one / math.sqrt(block_sum(shared, part) / real(width) + epsilon)
            for k in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                out[row, k] = (a[row, k] - mean) * factor
            if cuda.threadIdx.x == 0:
                scale[row] = factor

    @kernel_for(real)
    def normalize_rows_back(d, gain, normal, scale, out):  # type: ignore[no-untyped-def]
        """out (n,N): the gradient of what was normalised, from d, that of the normal rows times gain (N,)."""
        shared = cuda.shared.array(_THREADS, kind)
        width = d.shape[1]
        for row in range(cuda.blockIdx.x, d.shape[0], cuda.gridDim.x):
            part, along = zero, zero
            for k in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                part += d[row, k] * gain[k]
                along += d[row, k] * gain[k] * normal[row, k]
            mean = block_sum(shared, part) / real(width)
            slope = block_sum(shared, along) / real(width)
            for k in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                out[row, k] = scale[row] * (d[row, k] * gain[k] - mean - normal[row, k] * slope)

    return normalize_rows, normalize_rows_back


def normalize(a: DeviceArray, out: DeviceArray, scale: DeviceArray, epsilon: float) -> None:
    """Each row of a with mean 0 and variance 1, and what it was multiplied with; `out` may be a."""
    real = REALS[a.dtype]
    launch_blocks(row_kernels(real)[0], len(a), _THREADS, a, out, scale, real(epsilon))


def normalize_back(
    d: DeviceArray, gain: DeviceArray, normal: DeviceArray, scale: DeviceArray, out: DeviceArray
) -> None:
    """The gradient of what `normalize` got, from that of its result times `gain`."""
    launch_blocks(row_kernels(REALS[d.dtype])[1], len(d), _THREADS, d, gain, normal, scale, out)


def _make_all() -> None:
    for real in REALS.values():
        row_kernels(real)


MAKERS.append(_make_all)

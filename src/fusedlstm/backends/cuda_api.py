"""The one place that knows which package compiles CUDA kernels: `cuda`, `jit`, launches, raw memory, errors.

`numba-cuda` does, or its successor `numba-cuda-mlir` where only that is installed. With ``NUMBA_ENABLE_CUDASIM=1`` in
the environment numba-cuda's simulator runs the kernels in Python (the successor has none).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import math as _math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends import cuda_simulator


class CudaError(RuntimeError):
    """CUDA cannot be used, or has no more memory: the message says what to do."""


def _import_cuda() -> Any:
    if importlib.util.find_spec("numba_cuda") is not None:
        return importlib.import_module("numba.cuda")
    if importlib.util.find_spec("numba_cuda_mlir") is not None:
        return importlib.import_module("numba_cuda_mlir.cuda")
    raise CudaError(
        'backend "cuda": expected the package numba-cuda, which is not installed: pip install "fusedlstm[cuda]"'
    )


cuda = _import_cuda()

#: Older GPUs are not supported: what this package's kernels are compiled for, and CUDA 13 too.
LEAST_COMPUTE_CAPABILITY = (7, 5)


@functools.cache
def simulated() -> bool:
    """Whether the kernels run in the simulator."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@functools.cache
def require_device() -> None:
    """Raise a CudaError that says what is missing, unless there is a GPU that can be used."""
    if simulated():
        return
    if not cuda.is_available():
        reason = str(getattr(cuda, "cuda_error", lambda: None)() or "")
        if "NO_DEVICE" in reason:
            raise CudaError(
                'backend "cuda": expected an NVIDIA GPU, but the driver finds none: '
                'see nvidia-smi and CUDA_VISIBLE_DEVICES, or set_backend("c")'
            )
        detail = " ".join(reason.split()) or "the driver or the CUDA compiler was not found"
        raise CudaError(
            'backend "cuda": expected a working NVIDIA driver and CUDA compiler: install the driver and '
            f'pip install "fusedlstm[cuda]", or set_backend("c") ({detail})'
        )
    device = cuda.get_current_device()
    found = tuple(device.compute_capability)
    if found < LEAST_COMPUTE_CAPABILITY:
        name = device.name.decode() if isinstance(device.name, bytes) else device.name
        least = ".".join(map(str, LEAST_COMPUTE_CAPABILITY))
        raise CudaError(
            f'backend "cuda": expected a GPU of compute capability {least} or more, '
            f'got {name} of {".".join(map(str, found))}: set_backend("c")'
        )


# Kernels


class Kernel(NamedTuple):
    """A kernel and what it is to be compiled for ahead of time, by tools/cuda_kernels.py."""

    name: str
    family: str | None
    function: Callable[..., None]
    signatures: tuple[str, ...]
    options: Mapping[str, Any]


#: Every kernel made so far that has signatures, by name.
KERNELS: dict[str, Kernel] = {}

#: Functions that make the kernels which are otherwise made at first use; called by tools/cuda_kernels.py.
MAKERS: list[Callable[[], None]] = []


def jit(
    function: Callable[..., Any] | None = None,
    *,
    device: bool = False,
    name: str | None = None,
    family: str | None = None,
    signatures: Iterable[str] = (),
    **options: Any,
) -> Any:
    """Decorator of kernels and, with `device`, of the functions that they call.

    Parameters
    ----------
    name : str, optional
        What tables call the kernel; the function's own name if None.
    family : str, optional
        Those of one family have one row of a table.
    signatures : iterable of str
        What a kernel is compiled for ahead of time, ``"void({f}[::1], int64)"``; each that contains ``{f}`` counts
        for float32 and for float64.
    **options
        Those of `cuda.jit`; the simulator has no use for them.
    """
    if function is None:
        return functools.partial(jit, device=device, name=name, family=family, signatures=signatures, **options)
    if device:
        return function if simulated() else cuda.jit(function, device=True, **options)
    label = name or function.__name__
    both = [s.format(f=f) for s in signatures for f in (("float32", "float64") if "{f}" in s else ("",))]
    if both:
        KERNELS[label] = Kernel(label, family, function, tuple(both), options)
    if simulated():
        return cuda.jit(cuda_simulator.Quiet(function))
    return cuda.jit(function, **options)


#: The module `math` for kernels; the simulator has one that computes as a GPU does.
math: Any = cuda_simulator.forgiving_math() if simulated() else _math
if simulated():
    cuda_simulator.share_safely()

_configured: dict[Any, Any] = {}
_allowed: dict[Any, int] = {}  # bytes of dynamic shared memory, by kernel and types: the most asked for so far
_one_at_a_time = threading.Lock()


def launch(kernel: Any, count: int, *args: Any) -> None:
    """Run a kernel whose threads stride over `count` items: ``for i in range(cuda.grid(1), n, cuda.gridsize(1))``."""
    if count > 0:
        launch_blocks(kernel, min(-(-count // 256), _blocks_at_once()), 256, *args)


def launch_blocks(kernel: Any, blocks: int, threads: int, *args: Any, shared: int = 0) -> None:
    """Run a kernel of so many blocks and threads, on the default stream; fewer in the simulator.

    So it has to stride with ``cuda.gridDim.x`` and ``cuda.blockDim.x``, and be right for any of them.

    Parameters
    ----------
    *args
        Numbers, tuples of numbers, and arrays on the device: a DeviceArray goes in as its `numba` view.
    shared : int
        Bytes of dynamic shared memory.
    """
    require_device()
    arguments = [getattr(a, "numba", a) for a in args]
    if simulated():
        with _one_at_a_time, cuda_simulator.quick_switches():
            kernel[min(blocks, 2), min(threads, 2), 0, shared](*arguments)
        return
    if shared > _SHARED_WITHOUT_ASKING:
        _allow_shared(kernel, arguments, shared)
    key = kernel, blocks, threads, shared
    ready = _configured.get(key)
    if ready is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a small grid leaves the GPU half empty
            ready = _configured[key] = kernel[blocks, threads, 0, shared]
    ready(*arguments)


#: Bytes; a kernel that wants more has to be told so ahead of its launch.
_SHARED_WITHOUT_ASKING = 48 << 10


def _allow_shared(kernel: Any, arguments: Sequence[Any], shared: int) -> None:
    types = tuple(map(kernel.typeof_pyval, arguments))
    key = kernel, types
    with _one_at_a_time:
        if shared <= _allowed.get(key, 0):  # to allow less would take back what another launch needs
            return
        driver = importlib.import_module(f"{cuda.__name__}.cudadrv.driver")
        function = kernel.compile(types)._codelibrary.get_cufunc()
        most = driver.binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.driver.cuKernelSetAttribute(most, shared, function.handle, function.device.id)
        _allowed[key] = shared


@functools.cache
def _blocks_at_once() -> int:
    """Of 256 threads: as many as fill the GPU."""
    return 2 if simulated() else 8 * int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


# Memory


def allocate(nbytes: int) -> Any:
    """`nbytes` bytes on the device, as what `view` takes; MemoryError if there are none left."""
    require_device()
    if simulated():
        return np.empty(nbytes, np.uint8)
    try:
        return cuda.device_array(nbytes, np.uint8)
    except Exception as error:
        if "OUT_OF_MEMORY" in str(error) or isinstance(error, MemoryError):
            raise MemoryError(str(error)) from error
        raise


def foreign(owner: Any, address: int, nbytes: int) -> Any:
    """What `view` takes, of memory that belongs to `owner`."""
    if simulated():  # memory of the host
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
    return owner


def pointer(memory: Any) -> int:
    """The address of what `allocate` gave."""
    return int(memory.ctypes.data if simulated() else memory.__cuda_array_interface__["data"][0])


def view(memory: Any, address: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """An array for kernels at an address inside of memory, which it keeps alive; strides in bytes."""
    if simulated():
        offset = address - memory.ctypes.data
        return _fake()(np.ndarray(shape, dtype, memory, offset, strides))
    interface = {
        "shape": shape, "strides": strides, "typestr": dtype.str, "data": (address, False), "version": 3,
    }  # fmt: skip
    return cuda.from_cuda_array_interface(interface, owner=memory, sync=False)


@functools.cache
def _fake() -> Any:
    return type(cuda.device_array(1, np.uint8))


def synchronize() -> None:
    """Wait until all that was launched is done."""
    require_device()
    cuda.synchronize()

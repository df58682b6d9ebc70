"""The errors of a machine on which CUDA cannot be used, each with what to do; and what is compiled without a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cuda_api():
    if find_spec("numba_cuda") is None:
        pytest.skip("needs numba-cuda")
    from fusedlstm.backends import cuda_api

    return cuda_api


def test_package_missing(cuda_api, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name.startswith("numba_cuda") else found(name)
    )
    with pytest.raises(cuda_api.CudaError, match=r'not installed: pip install "fusedlstm\[cuda\]"'):
        cuda_api._import_cuda()


def test_successor_is_taken_where_it_is_alone(cuda_api, monkeypatch):
    successor = object()
    monkeypatch.setitem(sys.modules, "numba_cuda_mlir", SimpleNamespace(cuda=successor))
    monkeypatch.setitem(sys.modules, "numba_cuda_mlir.cuda", successor)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else object())
    assert cuda_api._import_cuda() is successor


class Cuda:
    """Numba's module on a machine with a GPU that is not a good one, or none."""

    def __init__(self, error=None, capability=(7, 0)):
        self.cuda_error = lambda: error
        self.is_available = lambda: error is None
        self.get_current_device = lambda: SimpleNamespace(name=b"Tesla V100", compute_capability=capability)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (
            Cuda("CUDA driver library cannot be found."),
            "expected a working NVIDIA driver.*install the driver.*cannot be",
        ),
        (Cuda("Call to cuInit results in CUDA_ERROR_NO_DEVICE"), "expected an NVIDIA GPU.*CUDA_VISIBLE_DEVICES"),
        (Cuda(), "compute capability 7.5 or more, got Tesla V100 of 7.0"),
        (Cuda(capability=(7, 5)), None),
        (Cuda(capability=(10, 0)), None),
    ],
)
def test_gpu_that_cannot_be_used(cuda_api, monkeypatch, machine, message):
    monkeypatch.setattr(cuda_api, "cuda", machine)
    monkeypatch.setattr(cuda_api, "simulated", lambda: False)
    check = cuda_api.require_device.__wrapped__  # without what it remembers
    if message is None:
        check()
        return
    with pytest.raises(cuda_api.CudaError, match=message) as caught:
        check()
    assert 'set_backend("c")' in str(caught.value)


def test_out_of_memory_is_told_from_other_errors(cuda_api, monkeypatch):
    def failing(text):
        def device_array(nbytes, dtype):
            raise RuntimeError(text)

        return SimpleNamespace(device_array=device_array)

    monkeypatch.setattr(cuda_api, "simulated", lambda: False)
    monkeypatch.setattr(cuda_api, "require_device", lambda: None)
    monkeypatch.setattr(cuda_api, "cuda", failing("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"))
    with pytest.raises(MemoryError):
        cuda_api.allocate(100)
    monkeypatch.setattr(cuda_api, "cuda", failing("[700] CUDA_ERROR_ILLEGAL_ADDRESS"))
    with pytest.raises(RuntimeError, match="ILLEGAL_ADDRESS"):
        cuda_api.allocate(100)


def test_much_shared_memory_is_asked_for_once_and_never_less_of_it(cuda_api, monkeypatch):
    """More than 48 KB have to be allowed for the compiled kernel; here a kernel that keeps account."""
    calls = []
    function = SimpleNamespace(handle="handle", device=SimpleNamespace(id=3))

    class Kernel:
        def typeof_pyval(self, x):
            return type(x)

        def compile(self, types):
            calls.append(types)
            return SimpleNamespace(_codelibrary=SimpleNamespace(get_cufunc=lambda: function))

        def __getitem__(self, configuration):
            return lambda *args: calls.append((configuration, args))

    attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="most")
    driver = SimpleNamespace(
        binding=SimpleNamespace(CUfunction_attribute=attribute),
        driver=SimpleNamespace(cuKernelSetAttribute=lambda *args: calls.append(args)),
    )
    monkeypatch.setattr(cuda_api, "simulated", lambda: False)
    monkeypatch.setattr(cuda_api, "require_device", lambda: None)
    monkeypatch.setitem(sys.modules, f"{cuda_api.cuda.__name__}.cudadrv.driver", driver)
    kernel = Kernel()
    sizes = (60_000, 60_000, 50_000, 70_000, 60_000)
    for shared in sizes:
        cuda_api.launch_blocks(kernel, 7, 64, 1.5, shared=shared)
    first, second, third, fourth, fifth = (((7, 64, 0, shared), (1.5,)) for shared in sizes)
    assert calls[:2] == [(float,), ("most", 60_000, "handle", 3)]
    assert calls[2:] == [first, second, third, (float,), ("most", 70_000, "handle", 3), fourth, fifth]


def python(*arguments):
    """A process of its own, without the simulator, which has no compiler."""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def compile_kernels(*arguments):
    return python("tools/cuda_kernels.py", *arguments)


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_kernels_compile_without_a_gpu():
    """A part of them; CI compiles all, for every capability."""
    found = "from cuda.bindings import nvrtc; from numba.cuda.cudadrv import nvvm; nvrtc.nvrtcVersion(); nvvm.NVVM()"
    if python("-c", found).returncode:  # either may come with the system, or with NVIDIA's wheels
        pytest.skip('needs NVIDIA\'s compiler: pip install "fusedlstm[cuda]"')
    names = (
        "matmul 16 x 64 float32",
        "reduce add",
        "accumulate add",
        "gather",
        "scatter",
        "exp(",
        "select(",
        "set_one",
    )
    done = compile_kernels("--capability", "8.0", *(word for name in names for word in ("--match", name)))
    assert done.returncode == 0, done.stderr
    assert "| matmul 16 x 64 | float32 | 4 | " in done.stdout
    assert "| reduce | float64 | 2 | " in done.stdout
    assert " 0 bad" in done.stderr


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_a_kernel_that_does_not_compile_fails(tmp_path):
    done = compile_kernels("--match", "no kernel of this name")
    assert done.returncode == 1
    module = importlib.util.spec_from_file_location("cuda_kernels", ROOT / "tools" / "cuda_kernels.py")
    tool = importlib.util.module_from_spec(module)
    module.loader.exec_module(tool)
    results = [
        tool.Result("add", "sums", "void(float32[::1])", "8.0", None, 20, 1024, 0, 0),
        tool.Result("mean", "sums", "void(float32[::1])", "8.0", None, 32, 0, 0, 8),
        tool.Result("none", "none", "void(int64)", "8.0", "no such function"),
    ]
    assert tool.table(results).splitlines()[2:] == [
        "| none | other | 1 |  |  |  |  |",
        "| sums | float32 | 2 | 20 ... 32 | 0 ... 1024 | 0 | 0 ... 8 |",
    ]
    assert [r.kernel for r in tool.failures(results)] == ["mean", "none"]

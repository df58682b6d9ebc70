"""How the Numba backend compiles: late, once a machine, in the types it is given, beside threads and forks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from fusedlstm.backends import (  # noqa: E402
    numba_cpu,
    numba_cpu_around,
    numba_cpu_ctc,
    numba_cpu_gru,
    numba_cpu_lstm_steps,
    numba_cpu_math,
    numba_cpu_simple_rnn,
    numba_cpu_updates,
    numba_jit,
    recurrent_arguments,
)


def doubled(x):
    """What tests compile."""
    for k in range(x.size):
        x[k] += x[k]


def run(script, **environment):
    """The output of a script in a process of its own; warnings are errors unless it says otherwise."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env=os.environ | environment, capture_output=True, text=True, check=True, timeout=300,
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A directory that is the cache of all kernels made from here on, and no warning given yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba_jit, "_warned", False)
    return tmp_path / "cache"


def hits_and_misses(kernel):
    x = np.ones(3, np.float32)
    kernel(x)
    np.testing.assert_array_equal(x, 2)
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


def test_importing_compiles_nothing():
    out = run("""
        from fusedlstm import backends
        numba_cpu = backends.load("numba")
        from fusedlstm.backends import numba_cpu_gru, numba_cpu_lstm_steps, numba_cpu_math
        kernels = [f for module in (numba_cpu_gru, numba_cpu_lstm_steps, numba_cpu_math)
                   for f in vars(module).values() if hasattr(f, "signatures")]
        assert len(kernels) > 20
        print(sum(len(kernel.signatures) for kernel in kernels), numba_cpu.compile_seconds())
    """)
    assert out == "0 0.0"


def test_a_second_process_compiles_nothing(tmp_path):
    script = """
        import numpy as np
        from fusedlstm.backends import numba_cpu
        numba_cpu.activation_forward(np.ones(3), "relu")
        print(numba_cpu.compile_seconds())
    """
    first, second = (float(run(script, NUMBA_CACHE_DIR=str(tmp_path))) for _ in range(2))
    assert first > 0
    assert second == 0


def test_without_a_place_for_the_cache_there_is_one_warning():
    out = run(
        """
        import warnings
        import numpy as np
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from fusedlstm.backends import numba_cpu
        print(len(caught), caught[0].category.__name__, "NUMBA_CACHE_DIR" in str(caught[0].message))
        print(numba_cpu.activation_forward(np.array([-1.0, 2.0]), "relu"))
        """,
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator",
        NUMBA_CACHE_DIR=os.path.join(os.devnull, "cache"),
    )
    assert out.splitlines() == ["1 RuntimeWarning True", "[0. 2.]"]


def test_a_cache_that_fails_later_is_one_warning(cache):
    kernels = [numba_jit.njit(doubled) for _ in range(2)]
    for path in cache.iterdir():
        path.rmdir()
    cache.rmdir()
    cache.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR") as caught:
        found = [hits_and_misses(kernel) for kernel in kernels]
    assert found == [(0, 1), (0, 1)]
    assert len(caught) == 1


def test_what_was_cut_short_is_compiled_anew(cache):
    assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)
    assert hits_and_misses(numba_jit.njit(doubled)) == (1, 0)
    (data,) = cache.rglob("*.nbc")
    data.write_bytes(data.read_bytes()[:100])
    assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)
    assert hits_and_misses(numba_jit.njit(doubled)) == (1, 0)


@pytest.mark.parametrize("left", [b"", b"\x80", b"\x93garbage"])
def test_a_damaged_index_is_made_anew(cache, left):
    assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)
    (index,) = cache.rglob("*.nbi")
    index.write_bytes(left)
    assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)
    assert hits_and_misses(numba_jit.njit(doubled)) == (1, 0)


def test_a_change_of_any_source_is_compiled_anew(cache, monkeypatch, tmp_path):
    assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)
    copy = tmp_path / "package"
    copy.mkdir()
    folder = Path(numba_jit.__file__).parent
    for path in (*folder.glob("numba_*.py"), folder / "recurrent_arguments.py"):
        (copy / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(numba_jit, "__file__", str(copy / "numba_jit.py"))
    monkeypatch.setattr(numba_jit, "_sources", numba_jit._sources.__wrapped__)
    assert hits_and_misses(numba_jit.njit(doubled)) == (1, 0)
    for name in ("numba_cpu_math.py", "recurrent_arguments.py"):  # the latter has the activations' codes
        with open(copy / name, "a") as file:
            file.write("# changed")
        assert hits_and_misses(numba_jit.njit(doubled)) == (0, 1)


def test_what_is_inlined_has_no_cache(cache):
    numba_jit.njit(forceinline=True)(doubled)(np.ones(3))
    assert not cache.exists()


# Types and vectors.


REAL = {"float32": "float", "float64": "double"}
SCALARS = ["exp", "exp_of_negative", "expm1_of_negative", "log_above_one", "sigmoid", "softplus", "tanh"]


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_numbers_keep_their_type(name, dtype):
    function, real = getattr(numba_cpu_math, name), getattr(numba.types, dtype)
    function(np.dtype(dtype).type(1))
    assert function.overloads[(real,)].signature.return_type == real


def optimized(kernel, *args):
    """What LLVM made of a kernel for these arguments; of a cached one Numba keeps nothing to look at."""
    options = {name: value for name, value in kernel.targetoptions.items() if name != "nopython"}
    anew = numba.njit(**options)(kernel.py_func)
    anew(*args)
    return anew.inspect_llvm(anew.signatures[0])


def flat_kernels(dtype):
    """Kernels with their arguments, and the slowest of what they compute in vectors."""
    a, b, c, d = np.ones((4, 37), dtype)
    for name in ("tanh", "sigmoid", "elu", "softplus", "exp", "softsign"):
        yield numba_cpu_math.activate, (recurrent_arguments.ACTIVATION_CODES[name], a), "fdiv"
    yield numba_cpu_updates._adam, (a, b, (1.0, 1.0, 0.0), c, d, None, 0.1, 0.9, 0.9, 1e-7), "fdiv"
    yield numba_cpu_updates._sgd, (a, b, (1.0, 1.0, 0.0), c, 0.1, 0.9, 0.0), "fmul"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_compute_in_vectors_of_their_type(dtype):
    for kernel, args, operation in flat_kernels(dtype):
        code = optimized(kernel, *args)
        assert re.search(rf"{operation} .*<\d+ x {REAL[dtype]}>", code), kernel.__name__
        assert "fpext" not in code, f"{kernel.__name__} widens a float32"


@pytest.mark.parametrize(
    ("cell", "kernels"),
    [
        ("lstm", (numba_cpu_lstm_steps.forward, numba_cpu_lstm_steps.backward)),
        ("gru", (numba_cpu_gru._forward, numba_cpu_gru._backward)),
        ("simple_rnn", (numba_cpu_simple_rnn._forward, numba_cpu_simple_rnn._backward)),
    ],
)
def test_recurrent_layers_in_float32_have_no_float64(cell, kernels):
    """Neither products nor what is between them: no array and no number of a compiled kernel is of that type."""
    columns = {"lstm": 20, "gru": 15, "simple_rnn": 5}[cell]
    kernel, recurrent = np.ones((3, columns), np.float32), np.ones((5, columns), np.float32)
    packed = getattr(numba_cpu, f"{cell}_pack")(kernel, recurrent, None, True)
    y, *_, saved = getattr(numba_cpu, f"{cell}_forward")(np.ones((2, 4, 3), np.float32), packed, training=True)
    getattr(numba_cpu, f"{cell}_backward")(saved, y)
    for kernel in kernels:
        float32 = [s for s in kernel.signatures if "float64" not in str(s)]
        assert float32, f"{kernel.__name__} was compiled for {kernel.signatures}"


def test_layouts_and_masks_are_compiled_once():
    """Whatever comes in, kernels see one type of it."""
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    packed = numba_cpu.lstm_pack(np.ones((5, 20), np.float32), np.ones((5, 20), np.float32), None, True)
    ids = np.zeros((3, 4), np.int64)
    lengths = np.array([2, 2, 2])

    def call(x, d, ids, mask, flag):
        options = {"mask": mask, "return_sequences": True, "training": flag}
        *_, saved = numba_cpu.lstm_forward(x, packed, **options)
        numba_cpu.lstm_backward(saved, d)
        numba_cpu.activation_backward(x, d, "tanh")
        numba_cpu.embedding_gradient(ids, d, np.zeros((1, 5), np.float32))
        numba_cpu.sgd_update(np.zeros((3, 4, 5), np.float32), d, None, learning_rate=flag)
        numba_cpu.average_update(x, np.zeros((3, 4, 5), np.float32), momentum=0.5)
        numba_cpu.ctc_loss(x, ids + 1, lengths, lengths)

    call(x, d, ids, None, True)
    kernels = [
        *(numba_cpu_lstm_steps.forward, numba_cpu_lstm_steps.backward, numba_cpu_around._times_derivative),
        *(numba_cpu_around._add_rows, numba_cpu_updates._sgd, numba_cpu_updates._average, numba_cpu_ctc._rows),
    ]
    compiled = [len(kernel.signatures) for kernel in kernels]
    for array in (x, d, ids, lengths):
        array.flags.writeable = False
    call(x, d, ids, rng.random((3, 4)) < 0.5, 1)
    call(x[::-1], d[:, ::-1], ids[::-1], np.ones((3, 4), bool), np.True_)
    assert [len(kernel.signatures) for kernel in kernels] == compiled


def test_kernels_run_in_python_too():
    """As a debugger sees them."""
    out = run(
        """
        import numpy as np
        from fusedlstm.backends import numba_cpu, reference
        x, kernel, recurrent = (np.sin(np.arange(n)) for n in (24, 48, 64))
        for real in (np.float32, np.float64):
            results = []
            for backend in (numba_cpu, reference):
                packed = backend.lstm_pack(kernel.reshape(3, 16).astype(real), recurrent.reshape(4, 16).astype(real),
                                           None, True)
                y, *_, saved = backend.lstm_forward(x.reshape(2, 4, 3).astype(real), packed, activation="softplus",
                                                    training=True, normalization=np.ones((10, 4), real))
                results.append((y, backend.lstm_backward(saved, y).d_x))
            for a, b in zip(*results):
                assert a.dtype == real
                np.testing.assert_allclose(a, b, rtol=100 * np.finfo(real).eps, atol=10 * np.finfo(real).eps)
        print(numba_cpu.compile_seconds())
        """,
        NUMBA_DISABLE_JIT="1",
    )
    assert out == "0.0"


# Threads and processes.


def test_threads_may_call_for_the_first_time_together(cache):
    kernel = numba_jit.njit(doubled)
    arrays = [np.full(10_000, float(k)) for k in range(8)]
    start = threading.Barrier(8)

    def call(x):
        start.wait()
        for _ in range(3):
            kernel(x)

    threads = [threading.Thread(target=call, args=(x,)) for x in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kernel.signatures) == 1
    for k, x in enumerate(arrays):
        np.testing.assert_array_equal(x, 8 * k)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_a_thread_compiles(tmp_path):
    """Neither process waits for ever: both compile and compute behind it."""
    out = run(
        """
        import os, threading, time, warnings
        import numpy as np
        from fusedlstm.backends import numba_cpu, numba_jit
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        start = threading.Event()

        def compile():
            start.set()
            numba_cpu.activation_forward(np.ones(3, np.float32), "tanh")

        thread = threading.Thread(target=compile)
        thread.start()
        start.wait()
        time.sleep(0.2)
        child = os.fork()
        y = numba_cpu.activation_forward(np.array([-1.0, 2.0]), "relu")
        if child == 0:
            os._exit(0 if y[1] == 2 and numba_cpu.activation_forward(np.ones(1, "f4"), "relu")[0] == 1 else 1)
        thread.join()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), y)
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert out == "0 [0. 2.]"


# Without Numba.


@pytest.mark.parametrize("missing", ["numba", "scipy"])
def test_what_is_missing_is_named(missing):
    out = run(f"""
        import sys
        sys.modules["{missing}"] = None
        import fusedlstm
        try:
            fusedlstm.set_backend("numba")
        except ImportError as error:
            print(error)
        print(fusedlstm.get_backend())
    """)
    message, backend = out.splitlines()
    assert 'pip install "fusedlstm[numba]"' in message
    assert missing in message
    assert backend == "c"

"""The worker team under forks, other processes and many Python threads: the same bits, and no hanging."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fusedlstm import backends

c = backends.load("c")
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run_lstm(threads: int = 2) -> bytes:
    """Forward and backward of a call that is large enough for the team; all results as bytes."""
    rng = np.random.default_rng(0)
    c.set_num_threads(threads)
    x = rng.normal(size=(32, 12, 20)).astype(np.float32)
    packed = c.lstm_pack(
        rng.normal(size=(20, 256)).astype(np.float32) / 4, rng.normal(size=(64, 256)).astype(np.float32) / 8, None, True
    )
    *outputs, saved = c.lstm_forward(x, packed, training=True)
    gradients = c.lstm_backward(saved, outputs[0])
    return b"".join(array.tobytes() for array in (*outputs, *gradients) if array is not None)


def run_and_send(connection) -> None:
    connection.send_bytes(run_lstm())
    connection.close()


@pytest.fixture(autouse=True)
def default_threads_after():
    yield
    c.set_num_threads(0)


def child_result(seconds: float = 5.0) -> bytes:
    """What run_lstm gives in a forked child; fails if the child hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(run_lstm())
        finally:
            os._exit(0)
    os.close(writing)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    timer.cancel()
    timer.join()
    return result


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_fork_after_use():
    expected = run_lstm()
    for _ in range(50):
        assert child_result() == expected
    assert run_lstm() == expected


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_fork_while_other_threads_are_in_a_kernel():
    expected, stop = run_lstm(), threading.Event()

    def work():
        while not stop.is_set():
            assert run_lstm() == expected

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert child_result() == expected
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_multiprocessing(method):
    context = multiprocessing.get_context(method)
    expected = run_lstm()
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=run_and_send, args=(sending,))
    process.start()
    sending.close()
    assert receiving.poll(60), "the child did not answer"
    assert receiving.recv_bytes() == expected
    receiving.close()
    process.join(10)
    assert process.exitcode == 0


def test_many_python_threads_at_once():
    expected, results = run_lstm(), []

    def work():
        results.extend(run_lstm() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 320
    assert set(results) == {expected}


def test_the_gil_is_released():
    """Another Python thread goes on while a kernel runs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 200, 64)).astype(np.float32)
    packed = c.lstm_pack(np.zeros((64, 1024), np.float32), np.zeros((256, 1024), np.float32), None)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    c.set_num_threads(1)
    start = time.perf_counter()
    c.lstm_forward(x, packed)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert end - start > 0.01
    assert sum(start < t < end for t in ticks) >= 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_threads_start_with_the_first_call_that_uses_them():
    program = """
import os, numpy as np
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
from fusedlstm import backends
c = backends.load("c")
assert count() == before, "importing started a thread"
c.set_num_threads(3)
packed = c.lstm_pack(np.zeros((8, 512), "f"), np.zeros((128, 512), "f"), None)
c.lstm_forward(np.zeros((1, 1, 8), "f"), packed)
assert count() == before, "a small call started a thread"
for _ in range(3):
    c.lstm_forward(np.zeros((64, 20, 8), "f"), packed)
    assert count() == before + 2, (count(), before)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def threads_in(environment: dict[str, str], prefix: tuple[str, ...] = ()) -> int:
    program = "from fusedlstm import backends; print(backends.load('c').get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k != "FUSEDLSTM_NUM_THREADS"} | environment
    output = subprocess.run(
        [*prefix, sys.executable, "-c", program],
        check=True,
        timeout=60,
        env=environment,
        capture_output=True,
        text=True,
    )
    return int(output.stdout)


def test_number_of_threads_from_the_environment():
    assert threads_in({"FUSEDLSTM_NUM_THREADS": "5"}) == 5
    default = threads_in({})
    for nonsense in ("", "0", "-3", "two", "4 "):
        assert threads_in({"FUSEDLSTM_NUM_THREADS": nonsense}) == default


@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_setaffinity")
def test_number_of_threads_follows_the_affinity_mask():
    cpu = min(os.sched_getaffinity(0))
    one = f"import os, sys; os.sched_setaffinity(0, [{cpu}]); os.execv(sys.argv[1], sys.argv[1:])"
    assert threads_in({}, (sys.executable, "-c", one)) == 1


def test_an_instruction_set_that_is_not_there_is_refused():
    environment = os.environ | {"FUSEDLSTM_ISA": "v9"}
    output = subprocess.run(
        [sys.executable, "-c", "from fusedlstm import backends; backends.load('c')"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert output.returncode != 0
    assert f"RuntimeError: FUSEDLSTM_ISA='v9': expected one of {c.available_isas()}" in output.stderr

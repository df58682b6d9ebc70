"""The progress display: in a real pseudo-terminal, and on streams that are none."""

import contextlib
import io
import os
import re
import subprocess
import sys
import timeit
import types

import pytest

from fusedlstm.callbacks import CallbackList
from fusedlstm.utils import progress
from fusedlstm.utils.progress import ProgressBar


class Clock:
    """A clock that moves by hand, in place of `time.perf_counter`."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", clock)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((100, 24)))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return clock


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True

    def screen(self):
        """What a terminal shows in the end: a carriage return goes back and overwrites."""
        lines = []
        for line in re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines


def run(stream, clock, epochs=2, steps=4, verbose=1, seconds=0.1, known=True, stop_at=None, validate=False):
    """Go through the calls of `fit`."""
    with contextlib.redirect_stdout(stream):
        params = {"verbose": verbose, "epochs": epochs, "steps": steps if known else None}
        called = CallbackList([ProgressBar()], None, params)
        called.on_train_begin()
        for epoch in range(epochs):
            called.on_epoch_begin(epoch)
            for batch in range(steps):
                called.on_train_batch_begin(batch)
                clock.now += seconds
                called.on_train_batch_end(batch, {"loss": 1 / (batch + 1), "accuracy": 0.5})
                if stop_at == batch:
                    called.on_train_end()
                    return called
            if validate:
                called.on_test_begin()
                called.on_test_batch_begin(0)
                called.on_test_batch_end(0, {"loss": 9.0})
                called.on_test_end({"loss": 9.0})
            called.on_epoch_end(
                epoch, {"val_loss": 2e-4, "loss": 0.25, "val_accuracy": 1.0, "accuracy": 0.5, "zebra": 3}
            )
        called.on_train_end()
    return called


VALUES = "accuracy: 0.5000 - loss: 0.2500 - zebra: 3.0000 - val_accuracy: 1.0000 - val_loss: 2.0000e-04"


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_plain_lines_off_a_terminal(clock, verbose):
    stream = io.StringIO()
    called = run(stream, clock, verbose=verbose)
    assert (
        stream.getvalue()
        == f"Epoch 1/2 - 4/4 - 0s - 100ms/step - {VALUES}\nEpoch 2/2 - 4/4 - 0s - 100ms/step - {VALUES}\n"
    )
    assert not called.has("on_train_batch_end")  # so that fit makes no logs for it


def test_verbose_2_is_plain_on_a_terminal_too(clock):
    stream = Terminal()
    run(stream, clock, epochs=1, verbose=2, validate=True)
    assert stream.getvalue() == f"4/4 - 0s - 100ms/step - {VALUES}\n"


def test_verbose_0_is_silent(clock):
    for stream in (Terminal(), io.StringIO()):
        called = run(stream, clock, verbose=0)
        assert stream.getvalue() == ""
        assert not called.has("on_train_batch_begin")
        assert not called.has("on_train_batch_end")


def test_unknown_number_of_steps(clock):
    stream = io.StringIO()
    run(stream, clock, epochs=1, known=False)
    assert stream.getvalue().startswith("4/4 - 0s - ")
    stream = Terminal()
    run(stream, clock, epochs=1, known=False)
    assert "3/Unknown 0s 100ms/step - accuracy" in stream.getvalue().replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert stream.screen()[0].startswith("4/4 " + "━" * 20)


def test_the_bar_on_a_terminal(clock):
    stream = Terminal()
    run(stream, clock, validate=True)
    bar = "━" * 20
    assert stream.screen() == [
        "Epoch 1/2",
        f"4/4 {bar} 0s 100ms/step - {VALUES}",
        "Epoch 2/2",
        f"4/4 {bar} 0s 100ms/step - {VALUES}",
        "",
    ]
    frames = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).split("\r")
    assert frames[2].startswith(f"2/4 {bar} 0s 100ms/step - accuracy: 0.5000 - loss: 0.5000")
    assert "\x1b[32m━━━━━━━━━━\x1b[0m\x1b[90m━━━━━━━━━━\x1b[0m" in stream.getvalue()  # half of it green


def test_redrawn_at_most_20_times_a_second(clock):
    stream = Terminal()
    run(stream, clock, epochs=1, steps=2000, seconds=0.001)
    assert 35 <= stream.getvalue().count("\r") <= 42


def test_time_left_and_time_taken(clock):
    stream = Terminal()
    run(stream, clock, epochs=1, steps=100, seconds=61)
    frames = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).split("\r")
    assert f"{1:>3}/100 " in frames[1]
    assert " 1:40:39 61s/step " in frames[1]
    assert " 1:01 61s/step" in frames[99]
    assert " 1:41:40 61s/step" in frames[101]


def test_lines_are_cut_to_the_terminal(clock, monkeypatch):
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((40, 24)))
    stream = Terminal()
    run(stream, clock, epochs=1)
    *frames, last = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).split("\r")
    assert max(map(len, frames)) == 39
    assert last.rstrip().endswith("val_loss: 2.0000e-04")


def test_stopped_in_an_epoch_the_line_is_ended(clock):
    stream = Terminal()
    run(stream, clock, stop_at=1)
    assert stream.getvalue().endswith("loss: 0.5000\n")


def test_without_colour_and_without_unicode(clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    stream.encoding = "ascii"
    run(stream, clock, epochs=1)
    assert "\x1b" not in stream.getvalue()
    assert "\r2/4 ==========           0s " in stream.getvalue()


def test_a_dumb_terminal_gets_plain_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    run(stream, clock, epochs=1)
    assert stream.getvalue() == f"4/4 - 0s - 100ms/step - {VALUES}\n"


def test_half_segments(clock):
    stream = Terminal()
    run(stream, clock, epochs=1, steps=8)
    assert "\x1b[32m━━╸\x1b[0m\x1b[90m━━━━━━━━━━━━━━━━━\x1b[0m \x1b[36m0s\x1b[0m" in stream.getvalue()  # 1 of 8


class Handle:
    """One output of a cell, as IPython keeps it: its last state alone."""

    made: list = []  # noqa: RUF012

    def __init__(self, bundle):
        self.states = [bundle["text/plain"]]
        Handle.made.append(self)

    def update(self, bundle, raw):
        assert raw
        self.states.append(bundle["text/plain"])


@pytest.fixture
def notebook(monkeypatch):
    """A stream of ipykernel's, and IPython's display."""

    def display(bundle, raw, display_id):
        assert raw
        assert display_id
        return Handle(bundle)

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(Handle, "made", [])
    return type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()


def test_in_a_notebook(clock, notebook):
    run(notebook, clock, validate=True)
    assert notebook.getvalue() == ""
    assert len(Handle.made) == 2  # one an epoch
    for epoch, handle in enumerate(Handle.made):
        assert handle.states[-1] == f"Epoch {epoch + 1}/2\n4/4 {'━' * 20} 0s 100ms/step - {VALUES}"
        assert len(handle.states) == 5
        assert not any(set(state) & set("\r\x1b") for state in handle.states)


def test_a_notebook_without_ipython_gets_plain_lines(clock, notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    run(notebook, clock, epochs=1)
    assert notebook.getvalue() == f"4/4 - 0s - 100ms/step - {VALUES}\n"


def test_a_step_that_draws_nothing_costs_next_to_nothing(monkeypatch):
    """What `fit` spends on the bar between two drawings; the bound leaves room for a busy machine."""
    monkeypatch.setattr(progress, "_INTERVAL", 1e9)
    stream = Terminal()
    with contextlib.redirect_stdout(stream):
        called = CallbackList([ProgressBar()], None, {"verbose": 1, "epochs": 1, "steps": 1 << 20})
        called.on_train_begin()
        called.on_epoch_begin(0)
        logs = {"loss": 1.0}
        called.on_train_batch_end(0, logs)
        best = min(timeit.repeat(lambda: called.on_train_batch_end(7, logs), number=2000, repeat=20)) / 2000
    assert best < 2e-6
    assert stream.getvalue().count("\r") <= 1


def test_no_standard_output(clock):
    run(None, clock)


@pytest.mark.parametrize("kind", ["test", "predict"])
def test_evaluate_and_predict(clock, kind):
    for stream in (io.StringIO(), Terminal()):
        with contextlib.redirect_stdout(stream):
            called = CallbackList([ProgressBar()], None, {"verbose": 1, "epochs": 1, "steps": 2})
            getattr(called, f"on_{kind}_begin")()
            for batch in range(2):
                getattr(called, f"on_{kind}_batch_begin")(batch)
                clock.now += 0.1
                getattr(called, f"on_{kind}_batch_end")(batch, {"loss": 0.5} if kind == "test" else {"outputs": [1, 2]})
            getattr(called, f"on_{kind}_end")({"loss": 0.5} if kind == "test" else None)
        values = " - loss: 0.5000" if kind == "test" else ""
        if isinstance(stream, Terminal):
            assert stream.screen() == [f"2/2 {'━' * 20} 0s 100ms/step{values}", ""]
        else:
            assert stream.getvalue() == f"2/2 - 0s - 100ms/step{values}\n"


@pytest.mark.parametrize("verbose", [3, -1, "yes", None, 1.0])
def test_verbose_refused(verbose):
    with pytest.raises(ValueError, match=r"ProgressBar: expected verbose to be 'auto', 0, 1 or 2, got"):
        CallbackList([ProgressBar()], None, {"verbose": verbose})


PROGRAM = """
import time
from fusedlstm.callbacks import CallbackList
from fusedlstm.utils.progress import ProgressBar

called = CallbackList([ProgressBar()], None, {"verbose": "auto", "epochs": 1, "steps": 30})
called.on_train_begin()
called.on_epoch_begin(0)
for batch in range(30):
    called.on_train_batch_begin(batch)
    time.sleep(0.01)
    called.on_train_batch_end(batch, {"loss": 1.0})
called.on_epoch_end(0, {"loss": 0.5})
called.on_train_end()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_in_a_real_terminal():
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        # Linux ends the stream of a terminal that nobody holds with an error.
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 4096):
                written += chunk
    os.close(ours)
    assert process.returncode == 0
    stream = Terminal()
    stream.write(written.decode().replace("\r\n", "\n"))
    assert re.fullmatch(r"30/30 ━{20} 0s \d+ms/step - loss: 0\.5000", stream.screen()[0])
    assert stream.screen()[1:] == [""]
    assert 3 <= written.count(b"\r") <= 12


def test_in_a_pipe():
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    written = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, env=environment, check=True).stdout
    assert re.fullmatch(r"30/30 - 0s - \d+ms/step - loss: 0\.5000\r?\n", written.decode())

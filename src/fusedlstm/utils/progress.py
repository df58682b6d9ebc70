"""What `fit`, `evaluate` and `predict` show of their progress."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Any

from fusedlstm.callbacks.base import Callback, Logs

_WIDTH = 20  # characters of the bar
_INTERVAL = 0.05  # seconds between two drawings
_BOLD, _GREEN, _CYAN, _GREY, _RESET = "\x1b[1m", "\x1b[32m", "\x1b[36m", "\x1b[90m", "\x1b[0m"

Piece = tuple[str, str]  # a style, or "", and text


class ProgressBar(Callback):
    """Prints progress to standard output.

    With ``verbose=1`` on a terminal, a bar with the time left is redrawn in place, at most 20 times a second; in a
    notebook, one output for each epoch is updated, without carriage returns. With ``verbose=1`` elsewhere, and with
    ``verbose=2``, one plain line without control characters is printed when an epoch ends. Inside `fit`, validation
    shows nothing of its own. Metrics stand in alphabetical order, those of validation after the others. The
    environment variable ``NO_COLOR`` leaves out the colours.

    Parameters
    ----------
    verbose : {"auto", 0, 1, 2}, optional
        "auto" is 1. By default the run's ``params["verbose"]``.
    """

    def __init__(self, verbose: int | str | None = None) -> None:
        super().__init__()
        self._own_verbose = None if verbose is None else check_verbose("ProgressBar", verbose)
        self._in_fit = False
        self._first_step_at: float | None = None
        self._drawn_at = 0.0

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        asked = params.get("verbose", 1) if self._own_verbose is None else self._own_verbose
        self.verbose = check_verbose("ProgressBar", asked)
        self._surface = _surface(sys.stdout) if self.verbose == 1 else None  # what a bar is redrawn on
        self._live = self._surface is not None
        self._epochs = int(params.get("epochs") or 1)
        self._steps: int | None = params.get("steps")
        self._start("")
        # Bound only where needed, so that a run without a bar makes no logs for every batch.
        for run in ("train", "test", "predict"):
            vars(self).pop(f"on_{run}_batch_begin", None)
            vars(self).pop(f"on_{run}_batch_end", None)
            if self._live:
                setattr(self, f"on_{run}_batch_end", getattr(self, f"_draw_{run}"))
            elif self.verbose:
                setattr(self, f"on_{run}_batch_begin", getattr(self, f"_count_{run}"))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._in_fit = False
        if self._surface is not None:
            self._surface.leave()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start(f"Epoch {epoch + 1}/{self._epochs}" if self._epochs > 1 else "")
        if self._surface is not None:
            self._surface.begin(self._title)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._finish(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._start("")

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._start("")

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._finish(None)

    def _count_train(self, batch: int, logs: Logs | None = None) -> None:
        self._seen = batch + 1

    def _count_test(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._seen = batch + 1

    def _count_predict(self, batch: int, logs: Logs | None = None) -> None:
        self._seen = batch + 1

    def _draw_train(self, batch: int, logs: Logs | None = None) -> None:
        self._seen = batch + 1
        now = time.perf_counter()
        if batch == 0:
            self._first_step_at = now
        if now - self._drawn_at >= _INTERVAL:
            self._drawn_at = now
            self._draw(now, logs, final=False)

    def _draw_test(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._draw_train(batch, logs)

    def _draw_predict(self, batch: int, logs: Logs | None = None) -> None:
        self._draw_train(batch, None)  # the logs are the outputs

    def _start(self, title: str) -> None:
        self._title = title
        self._seen = 0
        self._started = time.perf_counter()
        self._first_step_at = None
        self._drawn_at = 0.0

    def _finish(self, logs: Logs | None) -> None:
        now = time.perf_counter()
        if self._live:
            self._draw(now, logs, final=True)
        elif self.verbose:
            total = self._seen if self._steps is None else self._steps
            words = [f"{self._seen}/{total}", _duration(now - self._started), self._pace(now)]
            _write(" - ".join(([self._title] if self._title else []) + words) + _joined(_values(logs)) + "\n")

    def _draw(self, now: float, logs: Logs | None, final: bool) -> None:
        assert self._surface is not None
        steps = self._seen if final and self._steps is None else self._steps
        pieces: list[Piece] = []
        if steps is None:
            pieces += [(_BOLD, f"{self._seen}/Unknown")]
        else:
            pieces += [(_BOLD, f"{self._seen:>{len(str(steps))}}/{steps}"), ("", " ")]
            pieces += self._surface.bar(min(self._seen, steps) / max(steps, 1))
        if final or steps is None:
            clock = now - self._started
        else:
            clock = (steps - self._seen) * self._step_seconds(now)  # what is left
        pieces += [
            ("", " "),
            (_BOLD if final or steps is None else _CYAN, _duration(clock)),
            ("", " " + self._pace(now)),
        ]
        self._surface.show(pieces + _values(logs), final)

    def _step_seconds(self, now: float) -> float:
        # The first step pays for start-up, so it does not count once there are others.
        if self._first_step_at is not None and self._seen > 1:
            return (now - self._first_step_at) / (self._seen - 1)
        return (now - self._started) / max(self._seen, 1)

    def _pace(self, now: float) -> str:
        seconds = self._step_seconds(now)
        if seconds >= 1:
            return f"{seconds:.0f}s/step"
        return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def check_verbose(owner: str, verbose: Any) -> int:
    """`verbose` as 0, 1 or 2; ValueError naming `owner` if it is neither one of them nor "auto"."""
    if isinstance(verbose, str) and verbose == "auto":
        return 1
    if not isinstance(verbose, int) or verbose not in (0, 1, 2):
        raise ValueError(f"{owner}: expected verbose to be 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)


class _Terminal:
    """A line that is redrawn: written in one piece, over the one before, so that nothing flickers."""

    def __init__(self) -> None:
        self.colour = not os.environ.get("NO_COLOR")
        self.fine = _can_print("━╸")
        self._width = 0  # of the unfinished line in which the cursor stands

    def bar(self, share: float) -> list[Piece]:
        """The pieces of a bar of which a share is done."""
        halves = int(2 * _WIDTH * share)
        done, half = halves // 2, halves % 2 if self.fine and self.colour else 0
        filled = ("━" if self.fine else "=") * done + "╸" * half
        # Without colour the bar's end must show by itself.
        rest = "━" if self.fine and self.colour else "=" if self.colour else " "
        return [(_GREEN, filled), (_GREY, rest * (_WIDTH - done - half))]

    def begin(self, title: str) -> None:
        """A new epoch."""
        if title:
            _write(title + "\n")

    def show(self, pieces: list[Piece], final: bool) -> None:
        """Draw the line, for the last time if `final`."""
        # A line that wraps cannot be redrawn: only the last one may be wider than the terminal.
        columns = None if final else shutil.get_terminal_size().columns - 1
        text, width = _render(pieces, columns, self.colour)
        _write("\r" + text + " " * (self._width - width) + ("\n" if final else ""))
        self._width = 0 if final else width

    def leave(self) -> None:
        """The run ends, perhaps in the middle of an epoch."""
        if self._width:
            _write("\n")
            self._width = 0


class _Notebook(_Terminal):
    """An output of a cell for each epoch, which is updated: the notebook's file keeps the last state alone."""

    def __init__(self, display: Any) -> None:
        self.colour = False
        self.fine = True
        self._display = display
        self._handle: Any = None
        self._title = ""

    def begin(self, title: str) -> None:
        self._title, self._handle = title, None

    def show(self, pieces: list[Piece], final: bool) -> None:
        text = (self._title + "\n" if self._title else "") + _joined(pieces)
        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        if final:
            self._title, self._handle = "", None

    def leave(self) -> None:
        self._title, self._handle = "", None


def _surface(stream: Any) -> _Terminal | None:
    """What can be redrawn, a terminal or a notebook; None if what was written stays."""
    if stream is None:
        return None
    if type(stream).__module__.startswith("ipykernel"):
        try:
            from IPython.display import display
        except ImportError:
            return None
        return _Notebook(display)
    return _Terminal() if stream.isatty() and os.environ.get("TERM") != "dumb" else None


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write(text: str) -> None:
    if sys.stdout is not None:  # programs without a console have none
        sys.stdout.write(text)
        sys.stdout.flush()


def _render(pieces: list[Piece], columns: int | None, colour: bool) -> tuple[str, int]:
    """The text of the pieces, cut to `columns` visible characters, and how many these are."""
    text, width = "", 0
    for style, piece in pieces:
        piece = piece if columns is None else piece[: max(columns - width, 0)]
        text += f"{style}{piece}{_RESET}" if style and colour and piece else piece
        width += len(piece)
    return text, width


def _joined(pieces: list[Piece]) -> str:
    return "".join(text for _, text in pieces)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{whole}s"


def _values(logs: Logs | None) -> list[Piece]:
    names = sorted(logs or {}, key=lambda name: (name.startswith("val_"), name))
    return [("", f" - {name}: {_number((logs or {})[name])}") for name in names]


def _number(value: Any) -> str:
    value = float(value.mean() if getattr(value, "ndim", 0) else value)  # a metric with a value for each class
    return f"{value:.4e}" if 0 < abs(value) <= 1e-3 else f"{value:.4f}"

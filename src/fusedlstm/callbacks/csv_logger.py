"""The logs of every epoch as a row of a table in text."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, cast

from fusedlstm.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Writes a row of values an epoch into a CSV file.

    Parameters
    ----------
    filename : str or Path
        Folders are made.
    separator : str
        One character.
    append : bool
        Add to a file that is there, whose header is not repeated, instead of replacing it.

    Notes
    -----
    The columns are those of the first epoch, and the ``val_`` ones if that had no validation; NA stands where an epoch
    has no value. A metric with several values is a list in brackets, such as ``[0.5, 0.25]``.

    Raises
    ------
    OSError
        In `fit`, ahead of the first step, if the file cannot be written.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        if not isinstance(filename, str | os.PathLike):
            raise TypeError(f"CSVLogger: expected filename to be a path, got {filename!r}")
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"CSVLogger: expected separator to be one character, got {separator!r}")
        self.filename = Path(filename)
        self.sep = separator
        self.append = append
        self._file: TextIO | None = None
        self._names: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        self._names = None
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        self._opened("a").close()  # whether it can be, before there is something to lose

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self._file is None:  # not earlier: a run that goes on keeps the rows that there are
            self._file = self._opened("a" if self.append else "w")
        writer = csv.writer(self._file, delimiter=self.sep)
        if self._names is None:
            self._names = sorted(logs)
            if not any(name.startswith("val_") for name in self._names):
                self._names += [f"val_{name}" for name in self._names]
            if self._file.tell() == 0:
                writer.writerow(["epoch", *self._names])
        writer.writerow([epoch, *(_cell(logs.get(name, "NA")) for name in self._names)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def _opened(self, mode: str) -> TextIO:
        return cast(TextIO, open(self.filename, mode, newline=""))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def get_state(self) -> dict[str, Any] | None:
        if self._file is None:
            return None
        self._file.flush()
        return {"size": self._file.tell(), "names": self._names}

    def set_state(self, state: dict[str, Any]) -> None:
        """Cut off the rows of epochs that are going to run again."""
        self._close()
        self._file = self._opened("a")
        self._file.truncate(state["size"])
        self._file.seek(0, os.SEEK_END)
        self._names = state["names"]


def _cell(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", True):
        return f"[{', '.join(map(str, value))}]"
    return value

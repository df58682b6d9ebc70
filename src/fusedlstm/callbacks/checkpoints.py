"""Saving the model as it trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fusedlstm.callbacks.base import Logs
from fusedlstm.callbacks.monitoring import MonitorCallback


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, as it trains.

    Parameters
    ----------
    filepath : str or Path
        May have places for the epoch, counted from 1, the batch and the logs' values: ``"{epoch:02d}-{val_loss:.2f}"``.
        Ends in ``.fusedlstm`` or ``.keras``; with `save_weights_only` in ``.weights.npz`` or ``.weights.h5``. Folders
        are made.
    monitor : str
        The value by which a model is the best, a name in the logs.
    verbose : int
        1: print a line for each file.
    save_best_only : bool
        Save only where the value improved. Where it is missing, a warning says so, and the model is saved.
    save_weights_only : bool
        Save with `save_weights` instead of `save`.
    mode : {"auto", "min", "max"}
        Which way is better; "auto" asks the model's metric of that name.
    save_freq : "epoch" or int
        Save when an epoch ends, or after so many batches, counted on from epoch to epoch.
    initial_value_threshold : float, optional
        What the first value has to improve on.

    Raises
    ------
    ValueError
        For another ending, or `save_freq`.
    ImportError
        For an ending that needs h5py, if that is not installed.
    KeyError
        In `fit`, if `filepath` has a place for what is not in the logs.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        from fusedlstm.saving.model_files import MODEL_ENDINGS, WEIGHT_ENDINGS

        super().__init__(monitor, mode)
        if not isinstance(filepath, str | os.PathLike):
            raise TypeError(f"{self.owner}: expected filepath to be a path, got {filepath!r}")
        self.filepath = os.fspath(filepath)
        endings = WEIGHT_ENDINGS if save_weights_only else MODEL_ENDINGS
        if not self.filepath.endswith(endings):
            raise ValueError(
                f"{self.owner}: expected filepath to end in {' or '.join(endings)} with "
                f"save_weights_only={bool(save_weights_only)}, got {self.filepath!r}"
            )
        if self.filepath.endswith((".keras", ".h5")):
            from fusedlstm.saving.h5 import check_installed

            check_installed()
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = check_save_freq(self.owner, save_freq)
        if initial_value_threshold is not None:
            self.best = self.check_number("initial_value_threshold", initial_value_threshold)
        self._epoch = 0
        self._batches = 0  # since the last file
        if self.save_freq != "epoch":
            self.on_train_batch_end = self._count  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def _count(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches >= self.save_freq:  # type: ignore[operator]
            self._batches = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        places = {**logs, "epoch": epoch + 1}
        if batch is not None:
            places.setdefault("batch", batch + 1)
        try:
            path = Path(self.filepath.format(**places))
        except KeyError as error:
            available = ", ".join(map(repr, places))
            raise KeyError(
                f"{self.owner}: filepath {self.filepath!r} asks for {error}, there is: {available}"
            ) from None
        if not self._is_due(logs, epoch, path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)

    def _is_due(self, logs: Logs, epoch: int, path: Path) -> bool:
        current = self.value_in(logs) if self.save_best_only else None
        if current is None:
            if self.verbose:
                print(f"\nEpoch {epoch + 1}: saving the model to {path}")
            return True
        if not self.improves(current, self.best):
            if self.verbose:
                print(f"\nEpoch {epoch + 1}: {self.monitor} did not improve on {self.best}")
            return False
        if self.verbose:
            before = "" if self.best is None else f" from {self.best:.5f}"
            print(f"\nEpoch {epoch + 1}: {self.monitor} improved{before} to {current:.5f}, saving the model to {path}")
        self.best = current
        return True

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "_batches": self._batches}


def check_save_freq(owner: str, save_freq: Any) -> Any:
    """`save_freq` if it is "epoch" or a positive integer, else a ValueError."""
    if save_freq == "epoch" or (isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0):
        return save_freq
    raise ValueError(f"{owner}: expected save_freq to be 'epoch' or a number of batches, got {save_freq!r}")

"""The weights of the best trials, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fusedlstm.saving.files import PREFIX

ENDING = ".weights.npz"


class Checkpoints:
    """A folder of weights, a file a trial.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """Where the weights of a trial are, if they were kept."""
        return self.folder / f"trial_{number:04d}{ENDING}"

    def save(self, number: int, model: Any) -> None:
        """Keep the weights of a model, without its optimizer's state; the file is there whole or not at all."""
        self.folder.mkdir(exist_ok=True)
        optimizer, model.optimizer = model.optimizer, None
        try:
            model.save_weights(self.path(number))
        finally:
            model.optimizer = optimizer

    def keep_only(self, numbers: Collection[int]) -> None:
        """Remove the weights of all other trials."""
        kept = {self.path(number).name for number in numbers}
        for path in self.folder.glob(f"trial_*{ENDING}"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Remove what killed processes left; none may be writing."""
        for path in self.folder.glob(f"{PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

"""Going on with `fit` where a process ended, whatever ended it."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs
from fusedlstm.callbacks.checkpoints import check_save_freq

FILE = "backup.zip"
_STATE, _ARRAYS = "state.json", "arrays.npz"
_KEY = "__array__"


class BackupAndRestore(Callback):
    """Keeps what `fit` needs to go on, and goes on from there when `fit` is called again after the process ended.

    The run that goes on equals one that was never stopped, to the bit: weights, the optimizer's state, the order of the
    rows, dropout masks, the states of stateful layers, the epoch's sums of loss and metrics, the epochs of `History`
    and what the other callbacks count. The process may be killed at any moment, while a backup is being written too.

    Parameters
    ----------
    backup_dir : str or Path
        A folder of its own, made if it is missing. Other files in it stay as they are.
    save_freq : "epoch" or int
        Back up when an epoch ends, or after so many batches, counted on from epoch to epoch.
    double_checkpoint : bool
        Accepted for the sake of programs that have it, without effect: a backup is never half written.
    delete_checkpoint : bool
        Remove the backup when `fit` came to its end, and its folder if nothing else is in it.

    Notes
    -----
    The program has to make the same model, callbacks, data and call of `fit` again. An iterable of batches has to start
    over as it did, or to have `get_state` and `set_state`, as shuffled windows and buckets have; batches that were used
    are drawn again. Callbacks of one's own take part through `get_state` and `set_state`. It is called after all other
    callbacks, wherever it stands among them.
    """

    runs_last = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(backup_dir, str | os.PathLike) or not os.fspath(backup_dir):
            raise ValueError(f"BackupAndRestore: expected backup_dir to be a folder, got {backup_dir!r}")
        self.backup_dir = Path(backup_dir)
        self.save_freq = check_save_freq("BackupAndRestore", save_freq)
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = 0
        self._amid: dict[str, Any] | None = None  # what is to be restored again when the epoch has begun
        if self.save_freq != "epoch":
            self.on_train_batch_end = self._count  # type: ignore[method-assign]

    @property
    def path(self) -> Path:
        """The backup's file."""
        return self.backup_dir / FILE

    def on_train_begin(self, logs: Logs | None = None) -> None:
        from fusedlstm.saving.files import remove_unfinished

        self._batches, self._amid = 0, None
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.backup_dir, self.path.suffix)
        if self.path.exists():
            self._restore()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        # What other callbacks do when an epoch begins, they had done already when this one was left.
        if self._amid is not None:
            self._set(self._amid)
        self._amid = None

    def _count(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch" or self.model.stop_training:
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if not self.delete_checkpoint:
            return
        from fusedlstm.saving.files import remove_unfinished

        with contextlib.suppress(OSError):  # the folder, if it holds something else: that is the user's
            self.path.unlink(missing_ok=True)
            remove_unfinished(self.backup_dir, self.path.suffix)
            self.backup_dir.rmdir()

    def _save(self) -> None:
        from fusedlstm.saving import archive, npz, weights
        from fusedlstm.saving.files import written

        arrays, _ = weights.collect(self.model, True)
        state = {
            "training": self.model.training_state(),
            "stop": bool(self.model.stop_training),
            "input_shapes": [tensor.shape for tensor in self.model.inputs],
            "batches": self._batches,
            "callbacks": [
                {"class": type(c).__name__, "state": _taken_out(c.get_state(), f"callbacks/{k}", arrays)}
                for k, c in enumerate(self.siblings)
            ],
        }
        buffer = io.BytesIO()
        npz.write(buffer, arrays)
        with written(self.path) as file:
            archive.write(file, {_STATE: json.loads(json.dumps(state, default=_number))}, {_ARRAYS: buffer.getbuffer()})

    def _restore(self) -> None:
        from fusedlstm.saving import FileError, archive, npz

        owner = f"backup {os.fspath(self.path)!r}"
        with open(self.path, "rb") as file:
            reader = archive.Reader(owner, file)
            state = reader.text(_STATE)
            store = npz.Reader(owner, reader.member(_ARRAYS))
        listed = [type(c).__name__ for c in self.siblings]
        known = [each["class"] for each in state["callbacks"]]
        if listed != known:
            raise FileError(
                f"{owner} is of a run with the callbacks {', '.join(known) or 'none'}, got "
                f"{', '.join(listed) or 'none'}: pass the same ones, or another backup_dir"
            )
        if not self.model.built:
            shapes = state["input_shapes"]
            self.model.build(shapes if len(shapes) > 1 else tuple(shapes[0]))
        training = state["training"]
        layers = self.model.all_layers()
        if len(layers) == len(training["layers"]):  # a model that is made twice in a process has other names
            for layer, each in zip(layers, training["layers"], strict=True):
                each["name"] = layer.name
        if state["stop"]:
            training["epoch"] = max(training["epoch"], self.params.get("epochs") or 0)
        amid = {"store": store, "owner": owner, "state": state}
        self._set(amid)
        self.model.restore_training_state(training)
        self._batches = state["batches"]
        self._amid = amid if training["batch"] else None

    def _set(self, backup: dict[str, Any]) -> None:
        """Weights, the optimizer's state and the other callbacks'."""
        from fusedlstm.saving import weights

        store = backup["store"]
        weights.apply(self.model, _Without(store, "callbacks/"), backup["owner"], optimizer="build")
        for callback, each in zip(self.siblings, backup["state"]["callbacks"], strict=True):
            if each["state"] is not None:
                callback.set_state(_put_back(each["state"], store))


class _Without:
    """A store of arrays but for those whose names start in some way."""

    def __init__(self, store: Any, prefix: str) -> None:
        self.names = [name for name in store.names if not name.startswith(prefix)]
        self.shape, self.read = store.shape, store.read


def _taken_out(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """The value with arrays put among the others, and their names in their places."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {_KEY: path}
    if isinstance(value, dict):
        return {key: _taken_out(item, f"{path}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_out(item, f"{path}/{k}", arrays) for k, item in enumerate(value)]
    return value


def _put_back(value: Any, store: Any) -> Any:
    if isinstance(value, dict):
        return store.read(value[_KEY]) if _KEY in value else {key: _put_back(v, store) for key, v in value.items()}
    return [_put_back(item, store) for item in value] if isinstance(value, list) else value


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"BackupAndRestore: expected plain values and arrays in get_state, got {value!r}")

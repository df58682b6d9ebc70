"""Event files for TensorBoard, through tensorboardX, which needs no TensorFlow."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs


class TensorBoard(Callback):
    """Writes what TensorBoard shows: the loss and metrics, and histograms of the weights.

    Needs ``pip install "fusedlstm[tensorboard]"``. Names are Keras's: ``epoch_loss``, ``epoch_learning_rate`` and so on
    by the number of the epoch, from 0, ``batch_loss`` by that of the batch, ``evaluation_loss_vs_iterations``, in the
    folders ``train`` and ``validation``. A metric with a value for each class has ``epoch_f1_score_0`` and so on.

    Parameters
    ----------
    log_dir : str or Path
    histogram_freq : int
        Write histograms of all weights after every so many epochs; 0: none.
    write_graph : bool
        Accepted, without effect: there is no TensorFlow graph.
    write_images : bool
        Write the weights of rank 2 as pictures too, where histograms are written.
    write_steps_per_second : bool
        Write how many steps a second an epoch made.
    update_freq : "epoch", "batch" or int
        Write the loss and metrics so far after every so many batches too.
    profile_batch : int or tuple
        Only 0: there is no profiler.
    embeddings_freq, embeddings_metadata
        Only 0 and None.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    ValueError
        For arguments that ask for what there is not.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(histogram_freq, bool) or not isinstance(histogram_freq, int) or histogram_freq < 0:
            raise ValueError(f"TensorBoard: expected histogram_freq to be an integer >= 0, got {histogram_freq!r}")
        whole = isinstance(update_freq, int) and not isinstance(update_freq, bool) and update_freq > 0
        if update_freq not in ("epoch", "batch") and not whole:
            raise ValueError(f"TensorBoard: expected update_freq 'epoch', 'batch' or a number, got {update_freq!r}")
        for name, value in (("profile_batch", profile_batch), ("embeddings_freq", embeddings_freq)):
            if value not in (0, None, False):
                raise ValueError(f"TensorBoard: expected {name} to be 0, there is no such view here, got {value!r}")
        if embeddings_metadata is not None:
            raise ValueError(f"TensorBoard: expected embeddings_metadata to be None, got {embeddings_metadata!r}")
        _writer_class()
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._batches = 0
        self._begun = 0.0
        self._first = 0
        self._in_fit = False
        if self.update_freq != "epoch" or write_steps_per_second:
            self.on_train_batch_end = self._count  # type: ignore[method-assign]

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            self._writers[part] = _writer_class()(str(self.log_dir / part))
        return self._writers[part]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._batches, self._in_fit = 0, True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begun, self._first = time.perf_counter(), self._batches

    def _count(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if isinstance(self.update_freq, int) and self._batches % self.update_freq == 0:
            for name, value in _scalars(logs):
                self._writer("train").add_scalar(f"batch_{name}", value, self._batches - 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = dict(logs or {})
        values.setdefault("learning_rate", float(self.model.optimizer.learning_rate))
        for name, value in _scalars(values):
            part = "validation" if name.startswith("val_") else "train"
            self._writer(part).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.write_steps_per_second:
            rate = (self._batches - self._first) / max(time.perf_counter() - self._begun, 1e-9)
            self._writer("train").add_scalar("epoch_steps_per_second", rate, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        for writer in self._writers.values():
            writer.flush()

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for layer in self.model.layers:
            for variable in layer.weights:
                name = f"{layer.name}/{variable.path.partition('/')[2] or variable.name}"
                try:
                    writer.add_histogram(f"{name}/histogram", variable.numpy().ravel(), epoch)
                except (TypeError, ValueError):  # of numbers that are not finite there is none
                    warnings.warn(f"TensorBoard: no histogram of '{variable.path}': it is not finite", stacklevel=2)
                if self.write_images and variable.value.ndim == 2:
                    writer.add_image(f"{name}/image", _picture(variable.numpy()), epoch, dataformats="HW")

    def on_test_end(self, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        for name, value in _scalars(logs):
            writer = self._writer("validation")
            writer.add_scalar(f"evaluation_{name}_vs_iterations", value, int(optimizer.iterations))
        if not self._in_fit:
            self._close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._in_fit = False
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def get_state(self) -> dict[str, Any]:
        return {"_batches": self._batches}


def _scalars(logs: Logs | None) -> Iterator[tuple[str, float]]:
    """The values by name; of a metric with several, each under the name and its number."""
    for name, value in (logs or {}).items():
        if np.ndim(value):
            yield from ((f"{name}_{k}", float(one)) for k, one in enumerate(np.ravel(value)))
        else:
            yield name, float(value)


def _picture(value: Any) -> Any:
    """A matrix as numbers from 0 to 1."""
    low, high = float(value.min()), float(value.max())
    return (value - low) / ((high - low) or 1.0)


def _writer_class() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError('TensorBoard needs tensorboardX: pip install "fusedlstm[tensorboard]"') from error
    return SummaryWriter

"""Saving and loading of models and of weights; which format, the name's ending says."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import fusedlstm
from fusedlstm.model_config import layer_configs, make_layers
from fusedlstm.saving import archive, h5, keras_config, npz, weights
from fusedlstm.saving.compiled import compile_config, compile_from
from fusedlstm.saving.errors import FileError
from fusedlstm.saving.files import check_path, written
from fusedlstm.utils.custom_objects import custom_object_scope

MODEL_ENDINGS = (".fusedlstm", ".keras")
WEIGHT_ENDINGS = (".weights.npz", ".weights.h5")

_NPZ, _H5 = "model.weights.npz", "model.weights.h5"
#: The version of Keras whose files these are like.
_KERAS_VERSION = "3.15.1"


def _ending(owner: str, path: Path, endings: tuple[str, ...]) -> str:
    for ending in endings:
        if path.name.endswith(ending):
            return ending
    raise ValueError(f"{owner}: expected filepath to end in {' or '.join(endings)}, got {str(path)!r}")


def save_model(
    model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, *, include_optimizer: bool = True
) -> None:
    """Save a whole model: its layers, weights, what it was compiled with, and the optimizer's state.

    The file is written beside `filepath` and takes its place when it is complete: there is the old one or the new one,
    whatever happens.

    Parameters
    ----------
    model : Model
        Built.
    filepath : str or Path
        Ends in ``.fusedlstm``, or in ``.keras`` for Keras's own format, for models of layers that Keras has too; that
        needs h5py (``pip install "fusedlstm[keras-files]"``).
    overwrite : bool
        Whether a file that is there already may be replaced.
    zipped : bool, optional
        True or None: the only form is one file.
    include_optimizer : bool
        Whether to save what the model was compiled with, and the optimizer's state.

    Raises
    ------
    ValueError
        For another ending, a model that is not built, or one that the format cannot hold.
    FileExistsError
        If there is a file already and `overwrite` is False.
    OSError
        If it cannot be written.
    """
    path = check_path(model.label, "filepath", filepath)
    ending = _ending(model.label, path, MODEL_ENDINGS)
    if zipped is not None and not zipped:
        raise ValueError(f"{model.label}: expected zipped to be True or None, got {zipped!r}")
    model.require_built()
    entry = layer_configs([model])[0]
    entry["compile_config"] = compile_config(model) if include_optimizer else None
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"fusedlstm_version": fusedlstm.__version__, "date_saved": now}
    buffer = io.BytesIO()
    arrays, names = weights.collect(model, include_optimizer)
    if ending == ".keras":
        h5.check_installed()
        config = keras_config.to_keras(model, entry)
        metadata = {"keras_version": _KERAS_VERSION, **metadata}
        h5.write(buffer, arrays, names)
    else:
        config = {**entry, "input_shapes": _input_shapes(model)}
        npz.write(buffer, arrays)
    with written(path, overwrite) as file:
        member = _H5 if ending == ".keras" else _NPZ
        archive.write(file, {archive.METADATA: metadata, archive.CONFIG: config}, {member: buffer.getbuffer()})


def _input_shapes(model: Any) -> list[Any]:
    return [tensor.shape for tensor in model.inputs]


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002
    safe_mode: bool = True,
) -> Any:
    """The model that `Model.save` saved, or a ``.keras`` file of Keras's whose layers there are here too.

    Nothing in the file is ever run: names are looked up among the layers of this package, `custom_objects` and what
    `utils.register_keras_serializable` registered; there is no pickle.

    Parameters
    ----------
    filepath : str or Path
    custom_objects : dict of str to class or function, optional
        Own layers and models by the names of their classes, functions that are losses or metrics by theirs.
    compile : bool
        Whether to compile it as it was, with the optimizer's state.
    safe_mode : bool
        Accepted for the sake of programs that have it: there is no unsafe way.

    Returns
    -------
    Model

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, of another kind, or has layers, losses or metrics that are not known.
    OSError
        If it cannot be read.
    """
    path = check_path("load_model", "filepath", filepath)
    ending = _ending("load_model", path, MODEL_ENDINGS)
    owner = f"file {os.fspath(path)!r}"
    if ending == ".keras":
        h5.check_installed()
    with open(path, "rb") as file, custom_object_scope(custom_objects):
        reader = archive.Reader(owner, file)
        entry = reader.text(archive.CONFIG)
        if not isinstance(entry, dict):
            raise FileError(f"{owner}: expected {archive.CONFIG} to be of a model, got {type(entry).__name__}")
        try:
            if ending == ".keras":
                entry = keras_config.from_keras(entry)
            model = make_layers(owner, [entry])[0]
            if not model.built:
                shapes = entry["input_shapes"]
                model.build(shapes if len(shapes) > 1 else tuple(shapes[0]))
        except FileError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise FileError(f"{owner}: the model cannot be made: {error or type(error).__name__}") from error
        if not isinstance(model, fusedlstm.Model):
            raise FileError(f"{owner}: expected a model, got {model.label}")
        if compile:
            compile_from(model, entry.get("compile_config"), owner)
        with _arrays(owner, reader) as store:
            weights.apply(model, store, owner, optimizer="build" if compile else "no")
    return model


@contextlib.contextmanager
def _arrays(owner: str, reader: archive.Reader) -> Iterator[weights.Store]:
    """The arrays in a model's file."""
    name = _H5 if reader.has(_H5) else _NPZ
    with _store(owner, name, reader.member(name)) as store:
        yield store


@contextlib.contextmanager
def _store(owner: str, name: str, file: IO[bytes]) -> Iterator[weights.Store]:
    store = h5.Reader(owner, file) if name.endswith(".h5") else npz.Reader(owner, file)
    with contextlib.closing(store):
        yield store


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Save the weights of a model and, once it was trained, the optimizer's state.

    Parameters
    ----------
    model : Model
        Built.
    filepath : str or Path
        Ends in ``.weights.npz``, or in ``.weights.h5`` for Keras's own format, which needs h5py.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    ValueError
        For another ending, or a model that is not built.
    FileExistsError
        If there is a file already and `overwrite` is False.
    OSError
        If it cannot be written; the old file is as it was.
    """
    path = check_path(model.label, "filepath", filepath)
    ending = _ending(model.label, path, WEIGHT_ENDINGS)
    model.require_built()
    arrays, names = weights.collect(model, True)
    if ending == ".weights.h5":
        h5.check_installed()
    with written(path, overwrite) as file:
        if ending == ".weights.h5":
            h5.write(file, arrays, names)
        else:
            npz.write(file, arrays)


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """Set the weights of a model of the same layers from a file of weights, or of a model.

    The optimizer's state is restored if the model's optimizer has one already, that is, has trained.

    Parameters
    ----------
    model : Model
        Built.
    filepath : str or Path
    skip_mismatch : bool
        Warn of weights that are missing, or of another shape, and leave them as they are.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, of another kind, or does not fit; the model stays as it was.
    OSError
        If it cannot be read.
    """
    path = check_path(model.label, "filepath", filepath)
    ending = _ending(model.label, path, WEIGHT_ENDINGS + MODEL_ENDINGS)
    model.require_built()
    owner = f"file {os.fspath(path)!r}"
    with open(path, "rb") as file:
        whole = ending in MODEL_ENDINGS
        with _arrays(owner, archive.Reader(owner, file)) if whole else _store(owner, path.name, file) as store:
            weights.apply(model, store, owner, skip_mismatch)

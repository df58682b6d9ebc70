"""Models and weights in files: ``.fusedlstm`` and ``.weights.npz``; ``.keras`` and ``.weights.h5`` with h5py."""

from fusedlstm.saving.errors import FileError
from fusedlstm.saving.model_files import load_model, load_weights, save_model, save_weights
from fusedlstm.utils.custom_objects import custom_object_scope, register_keras_serializable

__all__ = [
    "FileError",
    "custom_object_scope",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
]

"""Small things around models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.random import set_random_seed
from fusedlstm.utils.arrays import pad_sequences, to_categorical
from fusedlstm.utils.custom_objects import custom_object_scope, register_keras_serializable

if TYPE_CHECKING:
    from fusedlstm.utils.plotting import plot_model

__all__ = [
    "custom_object_scope",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "set_random_seed",
    "to_categorical",
]


def __getattr__(name: str) -> Any:
    if name == "plot_model":  # which needs the layers, and they need what stands here
        from fusedlstm.utils.plotting import plot_model

        return plot_model
    raise AttributeError(f"module 'fusedlstm.utils' has no attribute {name!r}")

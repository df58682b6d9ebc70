"""Small things around models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.random import set_random_seed
from fusedlstm.utils.arrays import pad_sequences, to_categorical
from fusedlstm.utils.bucketing import bucket_by_length
from fusedlstm.utils.custom_objects import custom_object_scope, register_keras_serializable
from fusedlstm.utils.decoding import ctc_decode
from fusedlstm.utils.prefetching import prefetch
from fusedlstm.utils.splitting import split_dataset, time_series_folds
from fusedlstm.utils.time_series import TimeseriesGenerator, timeseries_dataset_from_array

if TYPE_CHECKING:
    from fusedlstm.utils.plotting import plot_model

__all__ = [
    "TimeseriesGenerator",
    "bucket_by_length",
    "ctc_decode",
    "custom_object_scope",
    "pad_sequences",
    "plot_model",
    "prefetch",
    "register_keras_serializable",
    "set_random_seed",
    "split_dataset",
    "time_series_folds",
    "timeseries_dataset_from_array",
    "to_categorical",
]


def __getattr__(name: str) -> Any:
    if name == "plot_model":  # which needs the layers, and they need what stands here
        from fusedlstm.utils.plotting import plot_model

        return plot_model
    raise AttributeError(f"module 'fusedlstm.utils' has no attribute {name!r}")

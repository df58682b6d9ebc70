"""Sequences: `pad_sequences` and `TimeseriesGenerator` under the names that older programs have for them."""

from fusedlstm.utils.arrays import pad_sequences
from fusedlstm.utils.time_series import TimeseriesGenerator

__all__ = ["TimeseriesGenerator", "pad_sequences"]

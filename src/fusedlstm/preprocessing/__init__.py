"""Where older programs look for the tools of `fusedlstm.utils` that prepare data."""

from fusedlstm.preprocessing import sequence
from fusedlstm.utils.arrays import pad_sequences
from fusedlstm.utils.time_series import TimeseriesGenerator, timeseries_dataset_from_array

__all__ = ["TimeseriesGenerator", "pad_sequences", "sequence", "timeseries_dataset_from_array"]

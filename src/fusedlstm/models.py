"""Models: layers put together, to be trained and run as one."""

from fusedlstm.functional import Model
from fusedlstm.saving import load_model, save_model
from fusedlstm.sequential import Sequential

__all__ = ["Model", "Sequential", "load_model", "save_model"]

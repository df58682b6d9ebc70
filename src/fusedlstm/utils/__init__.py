"""Small things around models."""

from fusedlstm.random import set_random_seed

__all__ = ["set_random_seed"]

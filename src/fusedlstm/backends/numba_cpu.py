"""The kernels in Numba for CPUs: `reference`'s functions with the same signatures, on float32 and float64 arrays.

Compiled when first called and kept on disk (`numba_jit`). One thread each; several Python threads may call at once.
"""

from __future__ import annotations

from fusedlstm.backends.numba_cpu_around import activation_backward, activation_forward, embedding_gradient, matmul
from fusedlstm.backends.numba_cpu_ctc import ctc_loss
from fusedlstm.backends.numba_cpu_gru import gru_backward, gru_forward, gru_pack
from fusedlstm.backends.numba_cpu_lstm import lstm_backward, lstm_forward, lstm_pack
from fusedlstm.backends.numba_cpu_simple_rnn import simple_rnn_backward, simple_rnn_forward, simple_rnn_pack
from fusedlstm.backends.numba_cpu_updates import (
    adadelta_update,
    adagrad_update,
    adam_update,
    adamax_update,
    average_update,
    lion_update,
    nadam_update,
    prepare_updates,
    rmsprop_update,
    sgd_update,
)
from fusedlstm.backends.numba_jit import compile_seconds
from fusedlstm.backends.one_by_one import one_by_one

__all__ = [
    "activation_backward",
    "activation_forward",
    "adadelta_update",
    "adagrad_update",
    "adam_update",
    "adamax_update",
    "average_update",
    "compile_seconds",
    "ctc_loss",
    "embedding_gradient",
    "gru_backward",
    "gru_forward",
    "gru_pack",
    "lion_update",
    "lstm_backward",
    "lstm_forward",
    "lstm_pack",
    "matmul",
    "nadam_update",
    "prepare_forward",
    "prepare_pack",
    "prepare_updates",
    "recurrent_stream",
    "recurrent_together",
    "rmsprop_update",
    "sgd_update",
    "simple_rnn_backward",
    "simple_rnn_forward",
    "simple_rnn_pack",
]

#: Packed weights stay usable.
generation = 0

prepare_pack, prepare_forward, recurrent_together, recurrent_stream = one_by_one(globals())

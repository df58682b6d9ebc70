"""The kernels in Numba for NVIDIA's GPUs: `reference`'s functions with the same signatures, float32 and float64.

Arrays on the device (anything with ``__cuda_array_interface__`` or DLPack) are used where they are, and results then
stay there; NumPy arrays are copied to the device, and their results back. Without a GPU the kernels run in numba-cuda's
simulator, with ``NUMBA_ENABLE_CUDASIM=1`` in the environment. Results are the same to the bit in every call on a GPU.
"""

from __future__ import annotations

from fusedlstm.backends.cuda_api import require_device
from fusedlstm.backends.device_array import DeviceArray, to_device, to_host
from fusedlstm.backends.numba_cuda_around import activation_backward, activation_forward, embedding_gradient, matmul
from fusedlstm.backends.numba_cuda_ctc import ctc_loss
from fusedlstm.backends.numba_cuda_recurrent import (
    gru_backward,
    gru_forward,
    gru_pack,
    lstm_backward,
    lstm_forward,
    lstm_pack,
    prepare_forward,
    prepare_pack,
    recurrent_stream,
    recurrent_together,
    simple_rnn_backward,
    simple_rnn_forward,
    simple_rnn_pack,
)
from fusedlstm.backends.numba_cuda_updates import (
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

__all__ = [
    "DeviceArray",
    "activation_backward",
    "activation_forward",
    "adadelta_update",
    "adagrad_update",
    "adam_update",
    "adamax_update",
    "average_update",
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
    "require_device",
    "rmsprop_update",
    "sgd_update",
    "simple_rnn_backward",
    "simple_rnn_forward",
    "simple_rnn_pack",
    "to_device",
    "to_host",
]

#: Packed weights stay usable.
generation = 0

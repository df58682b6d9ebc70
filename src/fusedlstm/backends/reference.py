"""The kernels in NumPy, for any float dtype: the specification of every backend, written to be read.

Here what is around the recurrent layers; each of those has a module, and `reference_recurrent` is what they share. `d`
before a name is the gradient of the loss with respect to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.backends.one_by_one import one_by_one
from fusedlstm.backends.reference_ctc import ctc_loss
from fusedlstm.backends.reference_gru import gru_backward, gru_forward, gru_pack
from fusedlstm.backends.reference_lstm import lstm_backward, lstm_forward, lstm_pack
from fusedlstm.backends.reference_recurrent import ACTIVATIONS
from fusedlstm.backends.reference_simple_rnn import simple_rnn_backward, simple_rnn_forward, simple_rnn_pack
from fusedlstm.backends.reference_updates import (
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
    "ACTIVATIONS",
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
    "rmsprop_update",
    "sgd_update",
    "simple_rnn_backward",
    "simple_rnn_forward",
    "simple_rnn_pack",
]

Array = NDArray[Any]

#: Grows whenever packed weights made before become unusable: never here.
generation = 0


prepare_pack, prepare_forward, recurrent_together, recurrent_stream = one_by_one(globals())


# Elementwise.


def activation_forward(x: Array, activation: str, out: Array | None = None) -> Array:
    """y = activation(x), elementwise; into `out` if given, which may be x."""
    y = ACTIVATIONS[activation][0](x).astype(x.dtype, copy=False)
    if out is None:
        return y
    out[...] = y
    return out


def activation_backward(y: Array, d_y: Array, activation: str, out: Array | None = None) -> Array:
    """d_x = d_y * activation'(x), from the output y; into `out` if given, which may be d_y."""
    d_x = (d_y * ACTIVATIONS[activation][1](y)).astype(y.dtype, copy=False)
    if out is None:
        return d_x
    out[...] = d_x
    return out


# Around the layer.


def matmul(a: Array, b: Array, bias: Array | None = None, out: Array | None = None, accumulate: bool = False) -> Array:
    """out (M,N) = a (M,K) @ b (K,N) + bias (N,), or out += with `accumulate`. Any strides on a and b."""
    product = a @ b
    if bias is not None:
        product = product + bias
    if out is None:
        return product
    out[...] = out + product if accumulate else product
    return out


def embedding_gradient(ids: Array, d_out: Array, d_table: Array) -> None:
    """d_table (V,D): row ids[k] += d_out[k] (D,), for every k, in place. IndexError for an id outside 0 ... V-1."""
    rows = d_table.shape[0]
    if ids.size and (ids.min() < 0 or ids.max() >= rows):
        raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
    np.add.at(d_table, ids.ravel(), d_out.reshape(-1, d_table.shape[1]))

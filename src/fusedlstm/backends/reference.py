"""The kernels in NumPy, for any float dtype: the specification of every backend, written to be read.

Here what is around the recurrent layers; each of those has a module, and `reference_recurrent` is what they share. `d`
before a name is the gradient of the loss with respect to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.backends.reference_gru import gru_backward, gru_forward, gru_pack
from fusedlstm.backends.reference_lstm import lstm_backward, lstm_forward, lstm_pack
from fusedlstm.backends.reference_recurrent import ACTIVATIONS, Stream
from fusedlstm.backends.reference_simple_rnn import simple_rnn_backward, simple_rnn_forward, simple_rnn_pack

__all__ = [
    "ACTIVATIONS",
    "activation_backward",
    "activation_forward",
    "adam_update",
    "embedding_gradient",
    "gru_backward",
    "gru_forward",
    "gru_pack",
    "lstm_backward",
    "lstm_forward",
    "lstm_pack",
    "matmul",
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


def recurrent_together(calls: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    """The results of several calls of the recurrent kernels that do not depend on each other, at once.

    Parameters
    ----------
    calls : sequence of (name, args, kwargs)
        All forward or all backward; 16 at most.

    Returns
    -------
    list
        What the functions return, to the bit as if called one by one.
    """
    return [globals()[name](*args, **kwargs) for name, args, kwargs in calls]


def recurrent_stream(name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any) -> Stream:
    """What runs a recurrent layer in inference a step a call and keeps its states.

    Parameters
    ----------
    name : str
        "lstm_forward", "gru_forward" or "simple_rnn_forward".
    label : str
        What errors call it.
    packed : object
        From the pack function.
    x : (B,1,I) array
        Any values: its shape and dtype are those of the inputs.
    states : dict
        The initial states by their argument's name, "h0" and so on; all of the layer's. They are taken over.
    **options
        As the forward function takes them, without mask and dropout.
    """
    return Stream(label, globals()[name], packed, x, states, options)


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


def sgd_update(
    w: Array,
    g: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """Gradient descent in place: v = momentum v - lr g; w += v (nesterov: w += momentum v - lr g)."""
    step = g * w.dtype.type(gradient_scale) * w.dtype.type(learning_rate)
    w -= w * w.dtype.type(decay)
    if momentum == 0 or velocity is None:
        w -= step
        return
    velocity *= w.dtype.type(momentum)
    velocity -= step
    w += w.dtype.type(momentum) * velocity - step if nesterov else velocity


def rmsprop_update(
    w: Array,
    g: Array,
    mean_square: Array,
    average: Array | None,
    velocity: Array | None,
    *,
    learning_rate: float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """RMSprop in place (Tieleman and Hinton 2012); `average` only if centered, `velocity` only with momentum."""
    real = w.dtype.type
    g = g * real(gradient_scale)
    w -= w * real(decay)
    mean_square += real(1 - rho) * (g * g - mean_square)
    denominator = mean_square + real(epsilon)
    if average is not None:
        average += real(1 - rho) * (g - average)
        denominator = denominator - average * average
    step = real(learning_rate) * g / np.sqrt(denominator)
    if velocity is not None:
        velocity *= real(momentum)
        velocity += step
        step = velocity
    w -= step


def adam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """Adam in place (Kingma and Ba 2015): the bias correction is folded into `learning_rate` by the caller.

    `decay` w is subtracted first (AdamW); `v_max` only for amsgrad.
    """
    real = w.dtype.type
    g = g * real(gradient_scale)
    w -= w * real(decay)
    m += real(1 - beta_1) * (g - m)
    v += real(1 - beta_2) * (g * g - v)
    if v_max is not None:
        np.maximum(v_max, v, out=v_max)
        v = v_max
    w -= real(learning_rate) * m / (np.sqrt(v) + real(epsilon))

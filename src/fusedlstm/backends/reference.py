"""The kernels in NumPy, for any float dtype: the specification of every backend, written to be read.

Shapes: B batch, T steps, I inputs, H units. Gates stand in the order i f c o, weights as Keras lays them out: kernel
(I,4H), recurrent (H,4H), bias (4H,). `d` before a name is the gradient of the loss with respect to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Grows whenever packed weights made before become unusable: never here.
generation = 0


# Elementwise: an activation and its derivative, which is written in terms of the output y alone.


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype, copy=False)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "linear": (lambda x: x + 0, lambda y: np.ones_like(y)),
    "tanh": (np.tanh, lambda y: 1 - y * y),
    "sigmoid": (_sigmoid, lambda y: y * (1 - y)),
    "relu": (lambda x: np.where(x < 0, x.dtype.type(0), x), lambda y: (y > 0).astype(y.dtype)),
    "hard_sigmoid": (
        lambda x: np.clip(x / 6 + x.dtype.type(0.5), 0, 1),
        lambda y: ((y > 0) & (y < 1)).astype(y.dtype) / 6,
    ),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda y: (1 - np.abs(y)) ** 2),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda y: np.where(y > 0, 1, y + 1)),
    "softplus": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), lambda y: -np.expm1(-y)),
    "exp": (np.exp, lambda y: y + 0),
}


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


# The LSTM.


class Packed(NamedTuple):
    """Weights of one layer, ready for `lstm_forward`; here simply as they are."""

    kernel: Array  # (I,4H)
    recurrent: Array  # (H,4H)
    bias: Array | None  # (4H,)


class Saved(NamedTuple):
    """What `lstm_forward` keeps for `lstm_backward`."""

    x: Array
    packed: Packed
    mask: Array | None
    activation: str
    recurrent_activation: str
    return_sequences: bool
    zero_output_for_mask: bool
    gates: Array  # (T,B,4,H), after their activations
    h: Array  # (T+1,B,H), h[t] the state before step t
    c: Array  # (T+1,B,H)


def lstm_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """Prepare weights for `lstm_forward` (and, with `training`, `lstm_backward`), until they change.

    Parameters
    ----------
    kernel : (I,4H) array
    recurrent : (H,4H) array
    bias : (4H,) array or None
    training : bool
        Also prepare what `lstm_backward` needs.

    Returns
    -------
    object
        Opaque to the caller; a copy, so that the weights may change afterwards.
    """
    return Packed(kernel.copy(), recurrent.copy(), None if bias is None else bias.copy())


def lstm_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
) -> tuple[Array, Array, Array, Any]:
    """Run an LSTM over a batch of sequences.

    A masked step carries the state over; its output is the previous output (zero before the first valid step), or
    zero with `zero_output_for_mask`. Reversed time is a reversed view of `x` and `mask`.

    Parameters
    ----------
    x : (B,T,I) array
        Any strides.
    packed : object
        From `lstm_pack`; with its `training` if this call has it.
    h0, c0 : (B,H) array, optional
        The initial state; zeros if None.
    mask : (B,T) bool array, optional
        True: use the step.
    activation, recurrent_activation : str
        Of the candidate and the cell's output; of the gates.
    return_sequences : bool
        Whether y has every step, or only the last.
    zero_output_for_mask : bool
    training : bool
        Keep what `lstm_backward` needs.

    Returns
    -------
    y : (B,T,H) array, or (B,H) without `return_sequences`
    h, c : (B,H) array
        The final state.
    saved : object
        For one call of `lstm_backward`; None without `training`.
    """
    kernel, recurrent, bias = packed
    batch, steps, _ = x.shape
    units = recurrent.shape[0]
    gate, squash = ACTIVATIONS[recurrent_activation][0], ACTIVATIONS[activation][0]
    h_all = np.zeros((steps + 1, batch, units), x.dtype)
    c_all = np.zeros((steps + 1, batch, units), x.dtype)
    gates = np.zeros((steps, batch, 4, units), x.dtype)
    y_all = np.zeros((batch, steps, units), x.dtype)
    if h0 is not None:
        h_all[0] = h0
    if c0 is not None:
        c_all[0] = c0
    output = np.zeros((batch, units), x.dtype)  # what a masked step repeats
    for t in range(steps):
        z = x[:, t] @ kernel + h_all[t] @ recurrent
        if bias is not None:
            z = z + bias
        zi, zf, zc, zo = np.split(z, 4, axis=1)
        i, f, g, o = gate(zi), gate(zf), squash(zc), gate(zo)
        c = f * c_all[t] + i * g
        h = o * squash(c)
        gates[t] = np.stack([i, f, g, o], axis=1)
        if mask is None:
            c_all[t + 1], h_all[t + 1], output = c, h, h
        else:
            use = mask[:, t, None]
            c_all[t + 1] = np.where(use, c, c_all[t])
            h_all[t + 1] = np.where(use, h, h_all[t])
            output = np.where(use, h, np.zeros_like(h) if zero_output_for_mask else output)
        y_all[:, t] = output
    saved = None
    if training:
        saved = Saved(
            x,
            packed,
            mask,
            activation,
            recurrent_activation,
            return_sequences,
            zero_output_for_mask,
            gates,
            h_all,
            c_all,
        )
    y = y_all if return_sequences else output
    return y, h_all[steps].copy(), c_all[steps].copy(), saved


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    *,
    need_d_x: bool = True,
) -> tuple[Array | None, Array, Array, Array, Array, Array]:
    """Gradients of a loss through `lstm_forward`.

    Parameters
    ----------
    saved : object
        From `lstm_forward` with `training`; not usable afterwards.
    d_y : array or None
        Shaped like y; None: zeros.
    d_h, d_c : (B,H) array, optional
        Of the final state; None: zeros.
    need_d_x : bool
        Without it d_x is None and costs nothing.

    Returns
    -------
    d_x : (B,T,I) array or None
    d_kernel : (I,4H) array
    d_recurrent : (H,4H) array
    d_bias : (4H,) array
    d_h0, d_c0 : (B,H) array
    """
    x, (kernel, recurrent, _), mask, gates = saved.x, saved.packed, saved.mask, saved.gates
    steps, batch, _, units = gates.shape
    d_gate, d_squash = ACTIVATIONS[saved.recurrent_activation][1], ACTIVATIONS[saved.activation][1]
    squash = ACTIVATIONS[saved.activation][0]
    dh = np.zeros((batch, units), x.dtype) if d_h is None else d_h.astype(x.dtype)
    dc = np.zeros((batch, units), x.dtype) if d_c is None else d_c.astype(x.dtype)
    d_output = np.zeros((batch, units), x.dtype)  # of an output that masked steps repeated
    if d_y is not None and not saved.return_sequences:
        d_output = d_y.astype(x.dtype)
    d_x = np.zeros(x.shape, x.dtype)
    d_kernel, d_recurrent = np.zeros_like(kernel), np.zeros_like(recurrent)
    d_bias = np.zeros(4 * units, x.dtype)
    for t in reversed(range(steps)):
        i, f, g, o = gates[t].swapaxes(0, 1)
        if d_y is not None and saved.return_sequences:
            d_output = d_output + d_y[:, t]
        squashed = squash(saved.c[t + 1])
        dh_t = dh + d_output
        dc_t = dc + dh_t * o * d_squash(squashed)
        dz = np.concatenate(
            [
                dc_t * g * d_gate(i),
                dc_t * saved.c[t] * d_gate(f),
                dc_t * i * d_squash(g),
                dh_t * squashed * d_gate(o),
            ],
            axis=1,
        )
        dc_previous, d_output_previous = dc_t * f, np.zeros_like(d_output)
        if mask is not None:
            use = mask[:, t, None]
            dz = np.where(use, dz, 0).astype(x.dtype)
            dc_previous = np.where(use, dc_previous, dc)
            # A masked step hands the gradient of its output to the output that it repeated.
            repeated = np.zeros_like(d_output) if saved.zero_output_for_mask else d_output
            d_output_previous = np.where(use, d_output_previous, repeated)
        dh_previous = dz @ recurrent.T
        if mask is not None:
            dh_previous = np.where(use, dh_previous, dh)
        d_x[:, t] = dz @ kernel.T
        d_kernel += x[:, t].T @ dz
        d_recurrent += saved.h[t].T @ dz
        d_bias += dz.sum(axis=0)
        dh, dc, d_output = dh_previous, dc_previous, d_output_previous
    return (d_x if need_d_x else None), d_kernel, d_recurrent, d_bias, dh, dc


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

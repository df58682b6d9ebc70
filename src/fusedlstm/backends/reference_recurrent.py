"""The recurrent layers in NumPy, for any float dtype: the specification of every backend, written to be read.

Shapes: B batch, T steps, I inputs, H units, n gates. Weights as Keras lays them out: kernel (I,nH), recurrent (H,nH),
bias (nH,); the gates of an LSTM in the order i f c o, of a GRU z r h. `d` before a name is the gradient of the loss
with respect to it.

Every cell is a pair: a step forward, and the step back, which is linear in the gradients that it is given; so a masked
row is one whose gradients are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


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


# Through time.


class Packed(NamedTuple):
    """Weights of one layer, ready for a forward call; here simply as they are."""

    kernel: Array  # (I,nH)
    recurrent: Array  # (H,nH)
    bias: Array | None  # (nH,), a GRU's with reset_after (2,nH)
    reset_after: bool = False


class Saved(NamedTuple):
    """What a forward call keeps for backward."""

    x: Array
    mask: Array | None
    return_sequences: bool
    zero_output_for_mask: bool
    states: list[list[Array]]  # before each step, and the last
    step_back: Callable[..., tuple[Array, list[Array]]]
    gradients: dict[str, Array]  # of the weights, summed up by step_back


def _through_time(
    x: Array,
    states: list[Array],
    mask: Array | None,
    return_sequences: bool,
    zero_output_for_mask: bool,
    step: Callable[[int, Array, list[Array]], list[Array]],
) -> tuple[Array, list[list[Array]]]:
    """Outputs, and the states before each step and after the last; the first state is the output."""
    batch, steps, _ = x.shape
    output = np.zeros_like(states[0])  # what a masked step repeats
    outputs = np.zeros((batch, steps, output.shape[1]), x.dtype)
    history = [states]
    for t in range(steps):
        new = step(t, x[:, t], states)
        if mask is None:
            states, output = new, new[0]
        else:
            use = mask[:, t, None]
            output = np.where(use, new[0], np.zeros_like(output) if zero_output_for_mask else output)
            states = [np.where(use, after, before) for after, before in zip(new, states, strict=True)]
        outputs[:, t] = output
        history.append(states)
    return (outputs if return_sequences else output), history


def _back_through_time(saved: Saved, d_y: Array | None, d_states: Sequence[Array | None]) -> tuple[Array, list[Array]]:
    """d_x and the gradients of the initial states; those of the weights come to stand in ``saved.gradients``."""
    x, mask = saved.x, saved.mask
    d_x = np.zeros(x.shape, x.dtype)
    zeros = np.zeros_like(saved.states[0][0])
    d = [zeros if state is None else state.astype(x.dtype) for state in d_states]
    d_output = zeros  # of an output that masked steps repeated
    if d_y is not None and not saved.return_sequences:
        d_output = d_y.astype(x.dtype)
    for t in reversed(range(x.shape[1])):
        if d_y is not None and saved.return_sequences:
            d_output = d_output + d_y[:, t]
        use = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        of_step = [np.where(use, part, 0).astype(x.dtype) for part in (d[0] + d_output, *d[1:])]
        d_x[:, t], before = saved.step_back(t, x[:, t], saved.states[t], saved.states[t + 1], of_step)
        # A masked step hands the gradients of its states on, and that of its output to the output that it repeated.
        d = [np.where(use, part, kept) for part, kept in zip(before, d, strict=True)]
        d_output = np.where(use | saved.zero_output_for_mask, zeros, d_output)
    return d_x, d


def _dropped(x: Array, masks: Array | None, gates: int) -> list[Array]:
    """x times the dropout mask of each gate."""
    if masks is None:
        return [x] * gates
    return [x * masks[0 if len(masks) == 1 else k] for k in range(gates)]


def _product(factors: list[Array], weights: Array) -> Array:
    """[factor_k weights_k] for each gate k, side by side."""
    return np.concatenate(
        [a @ w for a, w in zip(factors, np.split(weights, len(factors), axis=1), strict=True)], axis=1
    )


def _product_back(factors: list[Array], weights: Array, masks: Array | None, dz: Array, d_weights: Array) -> Array:
    """The gradient of what the factors were made of; adds that of the weights."""
    gates = len(factors)
    d_weights += np.concatenate([a.T @ d for a, d in zip(factors, np.split(dz, gates, axis=1), strict=True)], axis=1)
    parts = [d @ w.T for d, w in zip(np.split(dz, gates, axis=1), np.split(weights, gates, axis=1), strict=True)]
    return sum(_dropped(part, masks, gates)[k] for k, part in enumerate(parts))  # type: ignore[return-value]


def _initial(state: Array | None, x: Array, units: int) -> Array:
    return np.zeros((x.shape[0], units), x.dtype) if state is None else state.astype(x.dtype)


# The LSTM.


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
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
    peepholes: Array | None = None,
    coupled_gates: bool = False,
    removed: Sequence[str] = (),
    cell_clip: float = 0.0,
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
    input_dropout, recurrent_dropout : (1,B,I) and (1,B,H) array, or (4,B,I) and (4,B,H), optional
        Masks multiplied into x and h at every step; one for all gates, or one each.
    peepholes : (3,H) array, optional
        p_i and p_f see the old c, p_o the new one (Gers and Schmidhuber 2000).
    coupled_gates : bool
        f = 1 - i (CIFG; Greff et al. 2015).
    removed : sequence of str
        Some of "input_gate", "forget_gate", "output_gate" (that gate is 1), "input_activation", "output_activation"
        (the identity in place of that activation).
    cell_clip : float
        c is clipped to +-cell_clip; 0: not clipped.

    Returns
    -------
    y : (B,T,H) array, or (B,H) without `return_sequences`
    h, c : (B,H) array
        The final state.
    saved : object
        For one call of `lstm_backward`; None without `training`.
    """
    kernel, recurrent, bias, _ = packed
    units = recurrent.shape[0]
    gate, d_gate = ACTIVATIONS[recurrent_activation]
    squash_in, d_squash_in = ACTIVATIONS["linear" if "input_activation" in removed else activation]
    squash_out, d_squash_out = ACTIVATIONS["linear" if "output_activation" in removed else activation]
    p_i, p_f, p_o = np.zeros((3, units), x.dtype) if peepholes is None else peepholes
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        h, c = states
        factors = _dropped(x_t, input_dropout, 4), _dropped(h, recurrent_dropout, 4)
        z = _product(factors[0], kernel) + _product(factors[1], recurrent)
        if bias is not None:
            z = z + bias
        zi, zf, zc, zo = np.split(z, 4, axis=1)
        one = np.ones_like(zi)
        i = one if "input_gate" in removed else gate(zi + p_i * c)
        f = one if "forget_gate" in removed else gate(zf + p_f * c)
        if coupled_gates:
            f = 1 - i
        g = squash_in(zc)
        c = f * c + i * g
        if cell_clip > 0:
            c = np.clip(c, -cell_clip, cell_clip)
        o = one if "output_gate" in removed else gate(zo + p_o * c)
        kept[t] = factors, i, f, g, o
        return [o * squash_out(c), c]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros(4 * units, x.dtype),
        "peepholes": np.zeros((3, units), x.dtype),
    }

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        factors, i, f, g, o = kept[t]
        c_old, c = before[1], after[1]
        dh, dc = d
        squashed = squash_out(c)
        dz_o = np.zeros_like(o) if "output_gate" in removed else dh * squashed * d_gate(o)
        dc = dc + dh * o * d_squash_out(squashed) + dz_o * p_o
        if cell_clip > 0:
            dc = np.where(np.abs(c) >= cell_clip, 0, dc).astype(x.dtype)
        d_i = dc * (g - c_old) if coupled_gates else dc * g
        dz_i = np.zeros_like(i) if "input_gate" in removed else d_i * d_gate(i)
        dz_f = np.zeros_like(f) if coupled_gates or "forget_gate" in removed else dc * c_old * d_gate(f)
        dz = np.concatenate([dz_i, dz_f, dc * i * d_squash_in(g), dz_o], axis=1)
        gradients["bias"] += dz.sum(axis=0)
        if peepholes is not None:
            gradients["peepholes"] += np.stack([(dz_i * c_old).sum(0), (dz_f * c_old).sum(0), (dz_o * c).sum(0)])
        d_x_t = _product_back(factors[0], kernel, input_dropout, dz, gradients["kernel"])
        d_h = _product_back(factors[1], recurrent, recurrent_dropout, dz, gradients["recurrent"])
        return d_x_t, [d_h, dc * f + dz_i * p_i + dz_f * p_f]

    initial = [_initial(h0, x, units), _initial(c0, x, units)]
    y, states = _through_time(x, initial, mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    if peepholes is None:
        del gradients["peepholes"]
    h, c = states[-1]
    return y, h.copy(), c.copy(), saved if training else None


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    *,
    need_d_x: bool = True,
) -> tuple[Array | None, Array, Array, Array, Array, Array, Array | None]:
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
    d_peepholes : (3,H) array, or None without peepholes
    """
    d_x, (d_h0, d_c0) = _back_through_time(saved, d_y, [d_h, d_c])
    g = saved.gradients
    return (d_x if need_d_x else None), g["kernel"], g["recurrent"], g["bias"], d_h0, d_c0, g.get("peepholes")


# The GRU.


def gru_pack(
    kernel: Array, recurrent: Array, bias: Array | None, training: bool = False, reset_after: bool = True
) -> Any:
    """Prepare weights for `gru_forward`, as `lstm_pack` does.

    Parameters
    ----------
    kernel : (I,3H) array
    recurrent : (H,3H) array
    bias : (2,3H) array with `reset_after`, else (3H,), or None
    training : bool
    reset_after : bool
        Whether the reset gate is applied after the product with the recurrent weights, or ahead of it.
    """
    return Packed(kernel.copy(), recurrent.copy(), None if bias is None else bias.copy(), reset_after)


def gru_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """Run a GRU (Cho et al. 2014) over a batch of sequences; see `lstm_forward` for what they have in common.

    z = s(x W_z + h' U_z + b_z), r likewise, g = a(x W_h + (r h') U_h + b_h), or with reset_after
    g = a(x W_h + b_h + r (h' U_h + d_h)); h = z h' + (1 - z) g.

    Returns
    -------
    y : (B,T,H) array, or (B,H) without `return_sequences`
    h : (B,H) array
    saved : object
        For one call of `gru_backward`; None without `training`.
    """
    kernel, recurrent, bias, reset_after = packed
    units = recurrent.shape[0]
    gate, d_gate = ACTIVATIONS[recurrent_activation]
    squash, d_squash = ACTIVATIONS[activation]
    input_bias, state_bias = np.zeros((2, 3 * units), x.dtype)
    if bias is not None:
        input_bias, state_bias = bias if reset_after else (bias, state_bias)
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        (h,) = states
        from_x, from_h = _dropped(x_t, input_dropout, 3), _dropped(h, recurrent_dropout, 3)
        xz, xr, xh = np.split(_product(from_x, kernel) + input_bias, 3, axis=1)
        hz, hr, q = np.split(_product(from_h, recurrent) + state_bias, 3, axis=1)
        z, r = gate(xz + hz), gate(xr + hr)
        if not reset_after:
            from_h = [from_h[0], from_h[1], r * from_h[2]]
            q = from_h[2] @ recurrent[:, 2 * units :]
        g = squash(xh + (r * q if reset_after else q))
        kept[t] = from_x, from_h, z, r, g, q
        return [z * h + (1 - z) * g]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros((2, 3 * units) if reset_after else 3 * units, x.dtype),
    }

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        from_x, from_h, z, r, g, q = kept[t]
        (h_old,), (dh,) = before, d
        d_g = dh * (1 - z) * d_squash(g)
        dz_z = dh * (h_old - g) * d_gate(z)
        d_h_old = dh * z
        if reset_after:
            dz_r, d_q = d_g * q * d_gate(r), d_g * r
        else:
            d_q = d_g
            d_reset = d_q @ recurrent[:, 2 * units :].T  # of r times the dropped h'
            mask_of_h = _dropped(np.ones_like(h_old), recurrent_dropout, 3)[2]
            dz_r = d_reset * h_old * mask_of_h * d_gate(r)
            d_h_old = d_h_old + d_reset * r * mask_of_h
        of_x = np.concatenate([dz_z, dz_r, d_g], axis=1)
        of_h = np.concatenate([dz_z, dz_r, d_q], axis=1)
        d_x_t = _product_back(from_x, kernel, input_dropout, of_x, gradients["kernel"])
        from_products = of_h if reset_after else np.concatenate([dz_z, dz_r, np.zeros_like(d_q)], axis=1)
        d_h_old = d_h_old + _product_back(from_h, recurrent, recurrent_dropout, from_products, gradients["recurrent"])
        if reset_after:
            gradients["bias"] += np.stack([of_x.sum(axis=0), of_h.sum(axis=0)])
        else:
            gradients["bias"] += of_x.sum(axis=0)
            gradients["recurrent"][:, 2 * units :] += from_h[2].T @ d_q
        return d_x_t, [d_h_old]

    y, states = _through_time(x, [_initial(h0, x, units)], mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    return y, states[-1][0].copy(), saved if training else None


def gru_backward(
    saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True
) -> tuple[Array | None, Array, Array, Array, Array]:
    """Gradients of a loss through `gru_forward`: d_x, d_kernel, d_recurrent, d_bias, d_h0; see `lstm_backward`."""
    d_x, (d_h0,) = _back_through_time(saved, d_y, [d_h])
    g = saved.gradients
    return (d_x if need_d_x else None), g["kernel"], g["recurrent"], g["bias"], d_h0


# The simple RNN.


def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """Prepare kernel (I,H), recurrent (H,H), bias (H,) or None for `simple_rnn_forward`, as `lstm_pack` does."""
    return Packed(kernel.copy(), recurrent.copy(), None if bias is None else bias.copy())


def simple_rnn_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """Run h = a(x W + h' U + b) (Elman 1990) over a batch of sequences; see `lstm_forward`, and `gru_forward`."""
    kernel, recurrent, bias, _ = packed
    units = recurrent.shape[0]
    squash, d_squash = ACTIVATIONS[activation]
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        kept[t] = _dropped(x_t, input_dropout, 1), _dropped(states[0], recurrent_dropout, 1)
        z = _product(kept[t][0], kernel) + _product(kept[t][1], recurrent)
        return [squash(z if bias is None else z + bias)]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros(units, x.dtype),
    }

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        # The new state is the activation's output, but in masked rows, where d is zero.
        dz = d[0] * d_squash(after[0])
        gradients["bias"] += dz.sum(axis=0)
        d_x_t = _product_back(kept[t][0], kernel, input_dropout, dz, gradients["kernel"])
        return d_x_t, [_product_back(kept[t][1], recurrent, recurrent_dropout, dz, gradients["recurrent"])]

    y, states = _through_time(x, [_initial(h0, x, units)], mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    return y, states[-1][0].copy(), saved if training else None


def simple_rnn_backward(
    saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True
) -> tuple[Array | None, Array, Array, Array, Array]:
    """Gradients of a loss through `simple_rnn_forward`, as `gru_backward`'s."""
    d_x, (d_h0,) = _back_through_time(saved, d_y, [d_h])
    g = saved.gradients
    return (d_x if need_d_x else None), g["kernel"], g["recurrent"], g["bias"], d_h0

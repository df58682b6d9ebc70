"""The LSTM with all its variants in NumPy: forward, and its gradients. See `reference_recurrent` for the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.backends.reference_recurrent import (
    Array,
    Gradients,
    Packed,
    Saved,
    activation_of,
    back_through_time,
    dropped,
    initial,
    product,
    product_back,
    through_time,
)


def lstm_pack(
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Any:
    """Prepare weights for `lstm_forward` (and, with `training`, `lstm_backward`), until they change.

    Parameters
    ----------
    kernel : (I,4H) array
    recurrent : (P,4H) array
        P is H but for a projection.
    bias : (4H,) array or None
    training : bool
        Also prepare what `lstm_backward` needs.
    gate_recurrence : (3H,3H) array, optional
        What each of the gates i f o (columns) gets from the old ones (rows): full gate recurrence.
    projection : (H,P) array, optional
        Takes the cell's output to the state h.

    Returns
    -------
    object
        Opaque to the caller; a copy, so that the weights may change afterwards.
    """
    weights = (None if w is None else w.copy() for w in (kernel, recurrent, bias, gate_recurrence, projection))
    kernel, recurrent, bias, gate_recurrence, projection = weights  # type: ignore[assignment]
    return Packed(kernel, recurrent, bias, False, gate_recurrence, projection)


def _normalized(x: Array, epsilon: float) -> tuple[Array, Array]:
    """Each row with mean 0 and variance 1 (Ba, Kiros and Hinton 2016), and what it was multiplied with, (B,1)."""
    centered = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centered * centered).mean(axis=1, keepdims=True) + x.dtype.type(epsilon))
    return centered * scale, scale


def _normalized_back(d: Array, normalized: Array, scale: Array) -> Array:
    """d_x, given the gradient of `_normalized`'s result."""
    along = (d * normalized).mean(axis=1, keepdims=True)
    return scale * (d - d.mean(axis=1, keepdims=True) - normalized * along)


def _spread(of_gates: Array) -> Array:
    """(B,3H), in the order i f o, as (B,4H) in the order i f c o with zeros for c."""
    i, f, o = np.split(of_gates, 3, axis=1)
    return np.concatenate([i, f, np.zeros_like(i), o], axis=1)


def _gathered(of_all: Array) -> Array:
    """(B,4H) in the order i f c o without c."""
    i, f, _, o = np.split(of_all, 4, axis=1)
    return np.concatenate([i, f, o], axis=1)


def _zoned(new: Array, old: Array, rate: float, mask: Array | None) -> Array:
    """The state after zoneout (Krueger et al. 2017): the old value where `mask`; without one, the expectation."""
    return new + rate * (old - new) if mask is None else np.where(mask, old, new)


def _zoned_back(d: Array, rate: float, mask: Array | None) -> tuple[Array, Array]:
    """The gradients of the new and of the old state."""
    if mask is None:
        return (1 - rate) * d, rate * d
    return np.where(mask, 0, d).astype(d.dtype), np.where(mask, d, 0).astype(d.dtype)


def lstm_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    g0: Array | None = None,
    mask: Array | None = None,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
    peepholes: Array | None = None,
    coupled_gates: bool = False,
    removed: Sequence[str] = (),
    cell_clip: float = 0.0,
    normalization: Array | None = None,
    epsilon: float = 1e-5,
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    zoneout_h_mask: Array | None = None,
    zoneout_c_mask: Array | None = None,
) -> tuple[Any, ...]:
    """Run an LSTM over a batch of sequences.

    A masked step carries the state over; its output is the previous output (zero before the first valid step), or
    zero with `zero_output_for_mask`. Reversed time is a reversed view of `x` and `mask`.

    Parameters
    ----------
    x : (B,T,I) array
        Any strides.
    packed : object
        From `lstm_pack`; with its `training` if this call has it.
    h0 : (B,P) array, optional
        The initial state; zeros if None. P is H but for a projection.
    c0 : (B,H) array, optional
        Likewise.
    g0 : (B,3H) array, optional
        The gates i f o of the step before the first, with full gate recurrence; zeros if None.
    mask : (B,T) bool array, optional
        True: use the step.
    activation, recurrent_activation : str
        Of the candidate and the cell's output; of the gates. The reference also takes any object with the methods of
        `fusedlstm.activations.Activation`.
    return_sequences : bool
        Whether y has every step, or only the last.
    zero_output_for_mask : bool
    training : bool
        Keep what `lstm_backward` needs.
    input_dropout, recurrent_dropout : (1,B,I) and (1,B,P) array, or (4,B,I) and (4,B,P), optional
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
    normalization : (10,H) array, optional
        Layer normalisation (Ba, Kiros and Hinton 2016): gains of the gates' sums over x, in the order i f c o, then of
        those over the state, then gain and shift of c on its way to the output. Each of the three is normalised over
        all it has: 4H, 4H and H numbers.
    epsilon : float
        Added to the variances.
    zoneout_h, zoneout_c : float
        Zoneout (Krueger et al. 2017): the share of h and of c that stays as it was. Without masks the states are
        mixed in this ratio, the expectation.
    zoneout_h_mask, zoneout_c_mask : (T,B,P) and (T,B,H) bool array, optional
        True: this unit stays as it was at this step.

    Returns
    -------
    y : (B,T,P) array, or (B,P) without `return_sequences`
    h : (B,P) array
    c : (B,H) array
        The final state.
    g : (B,3H) array
        The gates i f o of the last step: only with full gate recurrence.
    saved : object
        For one call of `lstm_backward`; None without `training`.
    """
    kernel, recurrent, bias, _, gate_recurrence, projection = packed
    units = recurrent.shape[1] // 4
    gate = activation_of(recurrent_activation)
    squash_in = activation_of("linear" if "input_activation" in removed else activation)
    squash_out = activation_of("linear" if "output_activation" in removed else activation)
    p_i, p_f, p_o = np.zeros((3, units), x.dtype) if peepholes is None else peepholes
    if normalization is not None:
        x_gain, h_gain = normalization[:4].ravel(), normalization[4:8].ravel()
        c_gain, c_shift = normalization[8:]
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        h_old, c_old, *g_old = states
        factors = dropped(x_t, input_dropout, 4), dropped(h_old, recurrent_dropout, 4)
        of_x, of_h = product(factors[0], kernel), product(factors[1], recurrent)
        if gate_recurrence is not None:
            of_h = of_h + _spread(g_old[0] @ gate_recurrence)
        scales: Any = ()
        if normalization is not None:
            of_x, x_scale = _normalized(of_x, epsilon)
            of_h, h_scale = _normalized(of_h, epsilon)
            scales = x_scale, h_scale
        z = x_gain * of_x + h_gain * of_h if normalization is not None else of_x + of_h
        if bias is not None:
            z = z + bias
        zi, zf, zc, zo = np.split(z, 4, axis=1)
        zi, zf = zi + p_i * c_old, zf + p_f * c_old
        one = np.ones_like(zi)
        i = one if "input_gate" in removed else gate.forward(zi)
        f = one if "forget_gate" in removed else gate.forward(zf)
        if coupled_gates:
            f = 1 - i
        g = squash_in.forward(zc)
        c = free = f * c_old + i * g
        if cell_clip > 0:
            c = np.clip(c, -cell_clip, cell_clip)
        c = _zoned(c, c_old, zoneout_c, None if zoneout_c_mask is None else zoneout_c_mask[t])
        zo = zo + p_o * c
        o = one if "output_gate" in removed else gate.forward(zo)
        to_output = c
        if normalization is not None:
            normal, c_scale = _normalized(c, epsilon)
            to_output = c_gain * normal + c_shift
            scales = *scales, normal, c_scale
        squashed = squash_out.forward(to_output)
        h = o * squashed
        kept[t] = factors, of_x, of_h, (zi, zf, zc, zo), (i, f, g, o), free, to_output, squashed, h, scales
        if projection is not None:
            h = h @ projection
        h = _zoned(h, h_old, zoneout_h, None if zoneout_h_mask is None else zoneout_h_mask[t])
        return [h, c] if gate_recurrence is None else [h, c, np.concatenate([i, f, o], axis=1)]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros(4 * units, x.dtype),
    }
    optional = {
        "peepholes": peepholes,
        "gate_recurrence": gate_recurrence,
        "projection": projection,
        "normalization": normalization,
    }
    gradients |= {name: np.zeros_like(weights) for name, weights in optional.items() if weights is not None}

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        factors, of_x, of_h, (zi, zf, zc, zo), (i, f, g, o), free, to_output, squashed, output, scales = kept[t]
        _, c_old, *g_old = before
        d_h, d_c, *d_g = d
        d_i, d_f, d_o = np.split(d_g[0], 3, axis=1) if d_g else np.zeros((3, *c_old.shape), x.dtype)

        d_h, d_h_old = _zoned_back(d_h, zoneout_h, None if zoneout_h_mask is None else zoneout_h_mask[t])
        if projection is not None:
            gradients["projection"] += output.T @ d_h
            d_h = d_h @ projection.T
        zero = np.zeros_like(c_old)
        dz_o = zero if "output_gate" in removed else gate.backward(d_o + d_h * squashed, zo, o)
        d_to_output = squash_out.backward(d_h * o, to_output, squashed)
        if normalization is not None:
            x_scale, h_scale, normal, c_scale = scales
            gradients["normalization"][8:] += (d_to_output * normal).sum(0), d_to_output.sum(0)
            d_to_output = _normalized_back(d_to_output * c_gain, normal, c_scale)
        d_c = d_c + d_to_output + dz_o * p_o

        d_c, d_c_old = _zoned_back(d_c, zoneout_c, None if zoneout_c_mask is None else zoneout_c_mask[t])
        if cell_clip > 0:
            d_c = np.where(np.abs(free) >= cell_clip, 0, d_c).astype(x.dtype)
        d_i, d_f = d_i + d_c * g, d_f + d_c * c_old
        if coupled_gates:
            d_i = d_i - d_f
        dz_i = zero if "input_gate" in removed else gate.backward(d_i, zi, i)
        dz_f = zero if coupled_gates or "forget_gate" in removed else gate.backward(d_f, zf, f)
        dz_c = squash_in.backward(d_c * i, zc, g)
        d_c_old = d_c_old + d_c * f + dz_i * p_i + dz_f * p_f
        if peepholes is not None:
            gradients["peepholes"] += (dz_i * c_old).sum(0), (dz_f * c_old).sum(0), (dz_o * after[1]).sum(0)

        d_of_x = d_of_h = np.concatenate([dz_i, dz_f, dz_c, dz_o], axis=1)
        gradients["bias"] += d_of_x.sum(axis=0)
        if normalization is not None:
            for rows, normal in ((slice(0, 4), of_x), (slice(4, 8), of_h)):
                gradients["normalization"][rows] += (d_of_x * normal).sum(axis=0).reshape(4, units)
            d_of_x, d_of_h = (
                _normalized_back(d_of_x * x_gain, of_x, x_scale),
                _normalized_back(d_of_x * h_gain, of_h, h_scale),
            )
        d_x_t = product_back(factors[0], kernel, input_dropout, d_of_x, gradients["kernel"])
        d_h_old = d_h_old + product_back(factors[1], recurrent, recurrent_dropout, d_of_h, gradients["recurrent"])
        if gate_recurrence is None:
            return d_x_t, [d_h_old, d_c_old]
        of_gates = _gathered(d_of_h)
        gradients["gate_recurrence"] += g_old[0].T @ of_gates
        return d_x_t, [d_h_old, d_c_old, of_gates @ gate_recurrence.T]

    first = [initial(h0, x, recurrent.shape[0]), initial(c0, x, units)]
    if gate_recurrence is not None:
        first.append(initial(g0, x, 3 * units))
    y, states = through_time(x, first, mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    return y, *(state.copy() for state in states[-1]), saved if training else None


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    d_g: Array | None = None,
    *,
    need_d_x: bool = True,
) -> Gradients:
    """Gradients of a loss through `lstm_forward`.

    Parameters
    ----------
    saved : object
        From `lstm_forward` with `training`; not usable afterwards.
    d_y : array or None
        Shaped like y; None: zeros.
    d_h, d_c, d_g : array, optional
        Of the final state, shaped like h, c and g; None: zeros.
    need_d_x : bool
        Without it d_x is None and costs nothing.

    Returns
    -------
    Gradients
        Each shaped like what it is the gradient of; d_bias (4H,) also without a bias.
    """
    names = ["h0", "c0", "g0"][: len(saved.states[0])]
    return back_through_time(saved, d_y, [d_h, d_c, d_g][: len(names)], need_d_x, names)

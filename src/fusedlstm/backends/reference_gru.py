"""The GRU in NumPy: forward, and its gradients. See `reference_recurrent` for the shapes."""

from __future__ import annotations

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
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
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
    kernel, recurrent, bias, reset_after, *_ = packed
    units = recurrent.shape[0]
    gate, squash = activation_of(recurrent_activation), activation_of(activation)
    input_bias, state_bias = np.zeros((2, 3 * units), x.dtype)
    if bias is not None:
        input_bias, state_bias = bias if reset_after else (bias, state_bias)
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        (h,) = states
        from_x, from_h = dropped(x_t, input_dropout, 3), dropped(h, recurrent_dropout, 3)
        xz, xr, xh = np.split(product(from_x, kernel) + input_bias, 3, axis=1)
        hz, hr, q = np.split(product(from_h, recurrent) + state_bias, 3, axis=1)
        zz, zr = xz + hz, xr + hr
        z, r = gate.forward(zz), gate.forward(zr)
        if not reset_after:
            from_h = [from_h[0], from_h[1], r * from_h[2]]
            q = from_h[2] @ recurrent[:, 2 * units :]
        zh = xh + (r * q if reset_after else q)
        g = squash.forward(zh)
        kept[t] = from_x, from_h, zz, zr, zh, z, r, g, q
        return [z * h + (1 - z) * g]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros((2, 3 * units) if reset_after else 3 * units, x.dtype),
    }

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        from_x, from_h, zz, zr, zh, z, r, g, q = kept[t]
        (h_old,), (dh,) = before, d
        d_g = squash.backward(dh * (1 - z), zh, g)
        dz_z = gate.backward(dh * (h_old - g), zz, z)
        d_h_old = dh * z
        if reset_after:
            dz_r, d_q = gate.backward(d_g * q, zr, r), d_g * r
        else:
            d_q = d_g
            d_reset = d_q @ recurrent[:, 2 * units :].T  # of r times the dropped h'
            mask_of_h = dropped(np.ones_like(h_old), recurrent_dropout, 3)[2]
            dz_r = gate.backward(d_reset * h_old * mask_of_h, zr, r)
            d_h_old = d_h_old + d_reset * r * mask_of_h
        of_x = np.concatenate([dz_z, dz_r, d_g], axis=1)
        of_h = np.concatenate([dz_z, dz_r, d_q], axis=1)
        d_x_t = product_back(from_x, kernel, input_dropout, of_x, gradients["kernel"])
        from_products = of_h if reset_after else np.concatenate([dz_z, dz_r, np.zeros_like(d_q)], axis=1)
        d_h_old = d_h_old + product_back(from_h, recurrent, recurrent_dropout, from_products, gradients["recurrent"])
        if reset_after:
            gradients["bias"] += np.stack([of_x.sum(axis=0), of_h.sum(axis=0)])
        else:
            gradients["bias"] += of_x.sum(axis=0)
            gradients["recurrent"][:, 2 * units :] += from_h[2].T @ d_q
        return d_x_t, [d_h_old]

    y, states = through_time(x, [initial(h0, x, units)], mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    return y, states[-1][0].copy(), saved if training else None


def gru_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """Gradients of a loss through `gru_forward`; see `lstm_backward`."""
    return back_through_time(saved, d_y, [d_h], need_d_x, ["h0"])

"""The simple RNN in NumPy: forward, and its gradients. See `reference_recurrent` for the shapes."""

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


def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """Prepare kernel (I,H), recurrent (H,H), bias (H,) or None for `simple_rnn_forward`, as `lstm_pack` does."""
    return Packed(kernel.copy(), recurrent.copy(), None if bias is None else bias.copy())


def simple_rnn_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: Any = "tanh",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """Run h = a(x W + h' U + b) (Elman 1990) over a batch of sequences; see `lstm_forward`, and `gru_forward`."""
    kernel, recurrent, bias, *_ = packed
    units = recurrent.shape[0]
    squash = activation_of(activation)
    kept: list[Any] = [None] * x.shape[1]

    def step(t: int, x_t: Array, states: list[Array]) -> list[Array]:
        kept[t] = dropped(x_t, input_dropout, 1), dropped(states[0], recurrent_dropout, 1)
        z = product(kept[t][0], kernel) + product(kept[t][1], recurrent)
        kept[t] = *kept[t], z if bias is None else z + bias
        return [squash.forward(kept[t][2])]

    gradients = {
        "kernel": np.zeros_like(kernel),
        "recurrent": np.zeros_like(recurrent),
        "bias": np.zeros(units, x.dtype),
    }

    def step_back(
        t: int, x_t: Array, before: list[Array], after: list[Array], d: list[Array]
    ) -> tuple[Array, list[Array]]:
        # The new state is the activation's output, but in masked rows, where d is zero.
        dz = squash.backward(d[0], kept[t][2], after[0])
        gradients["bias"] += dz.sum(axis=0)
        d_x_t = product_back(kept[t][0], kernel, input_dropout, dz, gradients["kernel"])
        return d_x_t, [product_back(kept[t][1], recurrent, recurrent_dropout, dz, gradients["recurrent"])]

    y, states = through_time(x, [initial(h0, x, units)], mask, return_sequences, zero_output_for_mask, step)
    saved = Saved(x, mask, return_sequences, zero_output_for_mask, states, step_back, gradients)
    return y, states[-1][0].copy(), saved if training else None


def simple_rnn_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """Gradients of a loss through `simple_rnn_forward`; see `lstm_backward`."""
    return back_through_time(saved, d_y, [d_h], need_d_x, ["h0"])

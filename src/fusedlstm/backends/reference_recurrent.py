"""What the recurrent layers in NumPy have in common: the loop over time, masks, dropout, activations.

`reference_lstm`, `reference_gru` and `reference_simple_rnn` are the specification of every backend, for any float
dtype, written to be read.

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


class _Elementwise:
    """A kernel's activation with the methods of `fusedlstm.activations.Activation`."""

    def __init__(self, name: str) -> None:
        self.forward, self._derivative = ACTIVATIONS[name]

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        return d_y * self._derivative(y)


def activation_of(activation: Any) -> Any:
    """What a name in `ACTIVATIONS` stands for; anything else is an object with `forward` and `backward` already."""
    return _Elementwise(activation) if isinstance(activation, str) else activation


# One step at a time.


class Stream:
    """A recurrent layer that is run a step a call and keeps its states; made by `recurrent_stream`.

    Attributes
    ----------
    states : list of (B,·) arrays
        After the last step, in the order of the forward function's; a copy.
    """

    def __init__(
        self, label: str, forward: Callable[..., Any], packed: Any, x: Array, states: dict[str, Array], options: Any
    ) -> None:
        self._label, self._x, self._states = label, x, states
        self._forward, self._packed, self._options = forward, packed, options

    def __call__(self, x: Array) -> Array:
        """The outputs of a step from its inputs (B,I), an array of the weights' dtype."""
        self._x[:, 0] = self._checked(x)
        y, *states, _ = self._forward(self._x, self._packed, **self._states, **self._options)
        self._states = dict(zip(self._states, states, strict=True))
        return y  # type: ignore[no-any-return]

    def _checked(self, x: Array) -> Array:
        batch, _, inputs = self._x.shape
        if type(x) is not np.ndarray or x.shape != (batch, inputs) or x.dtype != self._x.dtype:
            got = f"{x.shape} of {x.dtype}" if isinstance(x, np.ndarray) else repr(x)
            raise ValueError(f"{self._label}: expected inputs {(batch, inputs)} of {self._x.dtype}, got {got}")
        return x

    @property
    def states(self) -> list[Array]:
        return [state.copy() for state in self._states.values()]

    def reset(self, states: Sequence[Array] | None = None) -> None:
        """Go on from these states; from zeros without."""
        given = [0] * len(self._states) if states is None else states
        for state, value in zip(self._states.values(), given, strict=True):
            state[...] = value


# Through time.


class Packed(NamedTuple):
    """Weights of one layer, ready for a forward call; here simply as they are."""

    kernel: Array  # (I,nH)
    recurrent: Array  # (H,nH)
    bias: Array | None  # (nH,), a GRU's with reset_after (2,nH)
    reset_after: bool = False
    gate_recurrence: Array | None = None  # (3H,3H), of an LSTM with full gate recurrence
    projection: Array | None = None  # (H,P), of an LSTM with a projection


class Gradients(NamedTuple):
    """What a backward call returns; None for what the layer does not have, or nobody asked for."""

    d_x: Array | None
    d_kernel: Array
    d_recurrent: Array
    d_bias: Array
    d_h0: Array
    d_c0: Array | None = None
    d_g0: Array | None = None
    d_peepholes: Array | None = None
    d_gate_recurrence: Array | None = None
    d_projection: Array | None = None
    d_normalization: Array | None = None


class Saved(NamedTuple):
    """What a forward call keeps for backward."""

    x: Array
    mask: Array | None
    return_sequences: bool
    zero_output_for_mask: bool
    states: list[list[Array]]  # before each step, and the last
    step_back: Callable[..., tuple[Array, list[Array]]]
    gradients: dict[str, Array]  # of the weights by their names, summed up by step_back


def through_time(
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


def back_through_time(
    saved: Saved, d_y: Array | None, d_states: Sequence[Array | None], need_d_x: bool, state_names: Sequence[str]
) -> Gradients:
    """Gradients of everything, those of the initial states under `state_names`."""
    x, mask = saved.x, saved.mask
    d_x = np.zeros(x.shape, x.dtype)
    zeros = np.zeros_like(saved.states[0][0])
    d = [
        np.zeros_like(state) if d_state is None else d_state.astype(x.dtype)
        for state, d_state in zip(saved.states[0], d_states, strict=True)
    ]
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
    named = {f"d_{name}": d_state for name, d_state in zip(state_names, d, strict=True)}
    named |= {f"d_{name}": gradient for name, gradient in saved.gradients.items()}
    return Gradients(d_x=d_x if need_d_x else None, **named)


def dropped(x: Array, masks: Array | None, gates: int) -> list[Array]:
    """x times the dropout mask of each gate."""
    if masks is None:
        return [x] * gates
    return [x * masks[0 if len(masks) == 1 else k] for k in range(gates)]


def product(factors: list[Array], weights: Array) -> Array:
    """[factor_k weights_k] for each gate k, side by side."""
    return np.concatenate(
        [a @ w for a, w in zip(factors, np.split(weights, len(factors), axis=1), strict=True)], axis=1
    )


def product_back(factors: list[Array], weights: Array, masks: Array | None, dz: Array, d_weights: Array) -> Array:
    """The gradient of what the factors were made of; adds that of the weights."""
    gates = len(factors)
    d_weights += np.concatenate([a.T @ d for a, d in zip(factors, np.split(dz, gates, axis=1), strict=True)], axis=1)
    parts = [d @ w.T for d, w in zip(np.split(dz, gates, axis=1), np.split(weights, gates, axis=1), strict=True)]
    return sum(dropped(part, masks, gates)[k] for k, part in enumerate(parts))  # type: ignore[return-value]


def initial(state: Array | None, x: Array, units: int) -> Array:
    return np.zeros((x.shape[0], units), x.dtype) if state is None else state.astype(x.dtype)

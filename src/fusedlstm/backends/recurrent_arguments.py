"""What a call of a recurrent kernel must satisfy, and how the backends in Python take it.

The functions of a backend have the signatures of `reference`, which is where they are written down: `like` makes a
function of one from what runs a checked `Call`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends.arguments import check, require, require_real

Array = Any  # NumPy's, or one on a device

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
REMOVABLE = ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
#: Those whose derivative the output tells, without ambiguity and without overflow.
ACTIVATIONS = ("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "softplus")
#: What the kernels in Python know the activations by.
ACTIVATION_CODES = {name: code for code, name in enumerate((*ACTIVATIONS, "exp"))}


class Weights(NamedTuple):
    """What is known of a layer's weights."""

    cell: str
    inputs: int
    units: int
    outputs: int  # the width of h: `units` but for a projection
    dtype: Any
    training: bool
    reset_after: bool
    gate_recurrence: bool
    projection: bool

    @property
    def columns(self) -> int:
        return GATES[self.cell] * self.units

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (2, self.columns) if self.reset_after else (self.columns,)


def check_weights(
    cell: str,
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    reset_after: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Weights:
    """Of arrays that fit each other; raises for others."""
    function = f"{cell}_pack"
    require_real(function, "kernel", kernel)
    dtype = kernel.dtype
    inputs, columns = kernel.shape if kernel.ndim == 2 else (0, 0)
    outputs = recurrent.shape[0] if recurrent.ndim == 2 else 0
    units = outputs if projection is None else columns // GATES[cell]
    weights = Weights(
        cell, inputs, units, outputs, dtype, training, reset_after, gate_recurrence is not None, projection is not None
    )
    check(function, "kernel", kernel, (inputs, weights.columns), dtype)
    check(function, "recurrent", recurrent, (outputs, weights.columns), dtype)
    for name, array, shape in (
        ("bias", bias, weights.bias_shape),
        ("gate_recurrence", gate_recurrence, (3 * units, 3 * units)),
        ("projection", projection, (units, outputs)),
    ):
        if array is not None:
            check(function, name, array, shape, dtype)
    require(function, "units", units >= 1)
    require(function, "projection", projection is None or outputs >= 1)
    return weights


class Options(NamedTuple):
    """The keyword arguments of a forward function, with their defaults; of `reference_lstm.lstm_forward` all."""

    h0: Array | None = None
    c0: Array | None = None
    g0: Array | None = None
    mask: Array | None = None
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    return_sequences: bool = False
    zero_output_for_mask: bool = False
    training: bool = False
    input_dropout: Array | None = None
    recurrent_dropout: Array | None = None
    peepholes: Array | None = None
    coupled_gates: bool = False
    removed: tuple[str, ...] = ()
    cell_clip: float = 0.0
    normalization: Array | None = None
    epsilon: float = 1e-5
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    zoneout_h_mask: Array | None = None
    zoneout_c_mask: Array | None = None


def check_forward(weights: Weights, x: Array, options: Options) -> None:
    """Raise unless x, the weights and the options fit each other."""
    function = f"{weights.cell}_forward"
    inputs, units, outputs, dtype = weights.inputs, weights.units, weights.outputs, weights.dtype
    if x.ndim != 3:
        raise ValueError(f"{function}: expected x (batch, steps, {inputs}), got {x.shape}")
    batch, steps, _ = x.shape
    check(function, "x", x, (batch, steps, inputs), dtype)
    if options.g0 is not None and not weights.gate_recurrence:
        raise ValueError(f"{function}: expected g0 only with weights packed with gate_recurrence")
    for name, state, width in (("h0", options.h0, outputs), ("c0", options.c0, units), ("g0", options.g0, 3 * units)):
        if state is not None:
            check(function, name, state, (batch, width), dtype)
    if options.mask is not None:
        check(function, "mask", options.mask, (batch, steps), np.dtype(bool))
    for name, masks, width in (
        ("input_dropout", options.input_dropout, inputs),
        ("recurrent_dropout", options.recurrent_dropout, outputs),
    ):
        if masks is not None:
            check(function, name, masks, (_dropout_sets(weights, masks), batch, width), dtype)
    for name, array, rows in (("peepholes", options.peepholes, 3), ("normalization", options.normalization, 10)):
        if array is not None:
            check(function, name, array, (rows, units), dtype)
    for name, masks, width in (
        ("zoneout_h_mask", options.zoneout_h_mask, outputs),
        ("zoneout_c_mask", options.zoneout_c_mask, units),
    ):
        if masks is not None:
            check(function, name, masks, (steps, batch, width), np.dtype(bool))
    if options.training and not weights.training:
        raise ValueError(f"{function}: expected weights packed with training=True for training=True")
    _check_values(
        function, options.activation, options.recurrent_activation, tuple(options.removed), options.coupled_gates,
        options.cell_clip, options.zoneout_h, options.zoneout_c, options.epsilon,
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _check_values(
    function: str,
    activation: str,
    recurrent_activation: str,
    removed: tuple[str, ...],
    coupled_gates: bool,
    cell_clip: float,
    zoneout_h: float,
    zoneout_c: float,
    epsilon: float,
) -> None:
    """Of the options that are no arrays; kept, since most calls are like an earlier one."""
    for name in removed:
        if name not in REMOVABLE:
            raise ValueError(f"{function}: expected removed to be some of {', '.join(REMOVABLE)}, got {name!r}")
    require(function, "activation", activation in ACTIVATIONS)
    require(function, "recurrent_activation", recurrent_activation in ACTIVATIONS)
    # A forget gate that is coupled to an input gate of 1 would be 0; one that is 1 is not coupled.
    require(function, "removed", not coupled_gates or not {"input_gate", "forget_gate"} & set(removed))
    require(function, "cell_clip", cell_clip >= 0)
    require(function, "zoneout_h", 0 <= zoneout_h <= 1)
    require(function, "zoneout_c", 0 <= zoneout_c <= 1)
    require(function, "epsilon", 0 <= epsilon < math.inf)


def _dropout_sets(weights: Weights, masks: Array) -> int:
    """How many masks there are to be: 1, or one a gate."""
    return 1 if masks.ndim != 3 or masks.shape[0] == 1 else GATES[weights.cell]


class OutputGradients(NamedTuple):
    """What a backward function is given."""

    d_y: Array | None
    d_h: Array | None = None
    d_c: Array | None = None
    d_g: Array | None = None
    need_d_x: bool = True


def check_backward(weights: Weights, batch: int, steps: int, return_sequences: bool, given: OutputGradients) -> None:
    """Raise unless the gradients have the shapes of what they are the gradients of."""
    function, units, outputs = f"{weights.cell}_backward", weights.units, weights.outputs
    if given.d_g is not None and not weights.gate_recurrence:
        raise ValueError(f"{function}: expected d_g only with weights packed with gate_recurrence")
    for name, shape in (
        ("d_y", (batch, steps, outputs) if return_sequences else (batch, outputs)),
        ("d_h", (batch, outputs)),
        ("d_c", (batch, units)),
        ("d_g", (batch, 3 * units)),
    ):
        array = getattr(given, name)
        if array is not None:
            check(function, name, array, shape, weights.dtype)


def like(specification: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the function gets the signature of a function of `reference`, and passes on what fits that."""
    known = inspect.signature(specification).parameters.keys()

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(specification)
        def checked(*args: Any, **options: Any) -> Any:
            if not options.keys() <= known:
                unknown = next(name for name in options if name not in known)
                raise TypeError(f"{specification.__name__}() got an unexpected keyword argument {unknown!r}")
            return function(*args, **options)

        checked.__doc__ = f"See `reference.{specification.__name__}`."
        checked.__module__ = function.__module__
        return checked

    return decorate

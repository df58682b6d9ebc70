"""The recurrent layers on a GPU, forward and back.

The inputs of all slots are multiplied by the kernel ahead of the loop over time; all gradients of weights and inputs
are products behind it. The loop itself is one kernel (`numba_cuda_loop`), or a few launches a step where a step takes
more than the product of the state (`numba_cuda_lstm_steps`, `numba_cuda_gru_steps`). Kept for backward are the gates,
and the tables of the states. Results are where x is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.backends import (
    numba_cuda_gru_steps,
    numba_cuda_loop,
    numba_cuda_lstm_steps,
    reference_gru,
    reference_lstm,
    reference_simple_rnn,
)
from fusedlstm.backends.arguments import Array, check
from fusedlstm.backends.device_array import DeviceArray, is_device, to_device, to_host, zeros
from fusedlstm.backends.numba_cuda_call import Call, Packed, copied, known
from fusedlstm.backends.one_by_one import one_by_one
from fusedlstm.backends.recurrent_arguments import Options, OutputGradients, check_backward, check_weights, like
from fusedlstm.backends.reference_recurrent import Gradients, Stream


def _prepared(
    cell: str, kernel: Any, recurrent: Any, bias: Any, training: bool = False, reset_after: bool = False, **others: Any
) -> Callable[[], Packed]:
    """What packs the values that the weights have by then."""
    given = {"kernel": kernel, "recurrent": recurrent, "bias": bias, **others}
    arrays = {name: known(array) for name, array in given.items()}
    weights = check_weights(cell, **arrays, training=training, reset_after=reset_after)
    return lambda: Packed(weights, **arrays)


def _module(call: Call) -> Any:
    """What runs the call's loop over time, forward and back."""
    weights = call.weights
    if weights.cell == "gru" and not weights.reset_after:
        return numba_cuda_gru_steps
    if weights.projection or weights.gate_recurrence or call.options.normalization is not None:
        return numba_cuda_lstm_steps
    return numba_cuda_loop


class Saved:
    """What a forward call leaves for backward; usable once."""

    def __init__(self, call: Call, arrays: dict[str, DeviceArray]) -> None:
        self.call = call
        self.arrays: dict[str, DeviceArray] | None = arrays


def _forward(cell: str, x: Any, packed: Any, options: dict[str, Any]) -> tuple[Any, ...]:
    """y, the final states, and what is saved."""
    if type(packed) is not Packed or packed.weights.cell != cell:
        raise TypeError(f"{cell}_forward: expected packed weights from {cell}_pack of this backend")
    call = Call(packed, x, Options(**options))
    weights, given_options = call.weights, call.options
    arrays = {"h": call.table(given_options.h0, weights.outputs)}
    if cell == "lstm":
        arrays["cells"] = call.table(given_options.c0, weights.units)
    if weights.gate_recurrence:
        arrays["kept_gates"] = call.table(given_options.g0, 3 * weights.units)
    tables = list(arrays)
    if call.count:
        arrays = _module(call).forward(call, arrays)
    states = [call.last_state(arrays[name]) for name in tables]
    saved = Saved(call, arrays) if given_options.training else None
    return call.back(call.outputs(arrays["h"])), *map(call.back, states), saved


def _backward(cell: str, saved: Any, gradients: OutputGradients) -> Gradients:
    if type(saved) is not Saved or saved.call.weights.cell != cell:
        raise TypeError(f"{cell}_backward: expected what {cell}_forward of this backend saved")
    call, weights = saved.call, saved.call.weights
    gradients = gradients._replace(
        d_y=known(gradients.d_y), d_h=known(gradients.d_h), d_c=known(gradients.d_c), d_g=known(gradients.d_g)
    )
    check_backward(weights, call.batch, call.steps, call.options.return_sequences, gradients)
    if saved.arrays is None:
        raise ValueError(
            f"{cell}_backward: expected saved activations of a forward call, got those of a call that backward has "
            "already been run for"
        )
    arrays, saved.arrays = saved.arrays, None
    d = {"h": _state_gradient(call, gradients.d_h, weights.outputs)}
    if cell == "lstm":
        d["c"] = _state_gradient(call, gradients.d_c, weights.units)
    if weights.gate_recurrence:
        d["g"] = _state_gradient(call, gradients.d_g, 3 * weights.units)
    d_x = None
    if call.count:
        of_x, found = _module(call).backward(call, arrays, d, call.output_gradients(gradients.d_y))
        found["d_kernel"] = call.kernel_gradient(of_x)
        if gradients.need_d_x:
            d_x = call.input_gradient(of_x)
    else:
        found = _no_gradients(call)
        if gradients.need_d_x:
            d_x = zeros(call.x.shape, weights.dtype)
    found |= {f"d_{name}0": array for name, array in d.items()}
    return Gradients(d_x=call.back(d_x), **{name: call.back(array) for name, array in found.items()})


def _state_gradient(call: Call, d_state: Any, width: int) -> DeviceArray:
    """A copy of the gradient of a final state, which becomes that of the initial one."""
    if d_state is None:
        return zeros((call.batch, width), call.weights.dtype)
    return copied(d_state)


def _no_gradients(call: Call) -> dict[str, DeviceArray]:
    """The gradients of all weights where no step is used."""
    weights, units, dtype = call.weights, call.weights.units, call.weights.dtype
    shapes = {
        "d_kernel": (weights.inputs, weights.columns),
        "d_recurrent": (weights.outputs, weights.columns),
        "d_bias": weights.bias_shape,
    }
    if call.options.peepholes is not None:
        shapes["d_peepholes"] = (3, units)
    if weights.gate_recurrence:
        shapes["d_gate_recurrence"] = (3 * units, 3 * units)
    if weights.projection:
        shapes["d_projection"] = (units, weights.outputs)
    if call.options.normalization is not None:
        shapes["d_normalization"] = (10, units)
    return {name: zeros(shape, dtype) for name, shape in shapes.items()}


def prepare_pack(
    function: str, kernel: Array, recurrent: Array, bias: Array | None, training: bool, **options: Any
) -> Callable[[], Any]:
    """See `reference.prepare_pack`."""
    return _prepared(function.removesuffix("_pack"), kernel, recurrent, bias, training, **options)


class DeviceStream(Stream):
    """A `Stream` whose states stay on the device: of a step, only inputs and outputs of the host are copied."""

    def __init__(self, label: str, forward: Any, packed: Any, x: Any, states: dict[str, Any], options: Any) -> None:
        states = {name: copied(state) for name, state in states.items()}
        super().__init__(label, forward, packed, x, states, options)

    def __call__(self, x: Any) -> Any:
        batch, _, inputs = self._x.shape
        if is_device(x):
            check(self._label, "inputs", x, (batch, inputs), self._x.dtype)
        step = to_device(x if is_device(x) else self._checked(x)).reshape(batch, 1, inputs)
        y, *states, _ = self._forward(step, self._packed, **self._states, **self._options)
        self._states = dict(zip(self._states, states, strict=True))
        return y if is_device(x) else to_host(y)

    @property
    def states(self) -> list[Array]:
        return [to_host(state) for state in self._states.values()]


@like(reference_lstm.lstm_pack)
def lstm_pack(
    kernel: Any,
    recurrent: Any,
    bias: Any,
    training: bool = False,
    gate_recurrence: Any = None,
    projection: Any = None,
) -> Any:
    given = {"gate_recurrence": gate_recurrence, "projection": projection}
    return _prepared("lstm", kernel, recurrent, bias, training, **given)()


@like(reference_lstm.lstm_forward)
def lstm_forward(x: Any, packed: Any, **options: Any) -> tuple[Any, ...]:
    return _forward("lstm", x, packed, options)


@like(reference_lstm.lstm_backward)
def lstm_backward(
    saved: Any, d_y: Any, d_h: Any = None, d_c: Any = None, d_g: Any = None, *, need_d_x: bool = True
) -> Gradients:
    return _backward("lstm", saved, OutputGradients(d_y, d_h, d_c, d_g, need_d_x))


@like(reference_gru.gru_pack)
def gru_pack(kernel: Any, recurrent: Any, bias: Any, training: bool = False, reset_after: bool = True) -> Any:
    return _prepared("gru", kernel, recurrent, bias, training, reset_after)()


@like(reference_gru.gru_forward)
def gru_forward(x: Any, packed: Any, **options: Any) -> tuple[Any, ...]:
    return _forward("gru", x, packed, options)


@like(reference_gru.gru_backward)
def gru_backward(saved: Any, d_y: Any, d_h: Any = None, *, need_d_x: bool = True) -> Gradients:
    return _backward("gru", saved, OutputGradients(d_y, d_h, need_d_x=need_d_x))


@like(reference_simple_rnn.simple_rnn_pack)
def simple_rnn_pack(kernel: Any, recurrent: Any, bias: Any, training: bool = False) -> Any:
    return _prepared("simple_rnn", kernel, recurrent, bias, training)()


@like(reference_simple_rnn.simple_rnn_forward)
def simple_rnn_forward(x: Any, packed: Any, **options: Any) -> tuple[Any, ...]:
    return _forward("simple_rnn", x, packed, options)


@like(reference_simple_rnn.simple_rnn_backward)
def simple_rnn_backward(saved: Any, d_y: Any, d_h: Any = None, *, need_d_x: bool = True) -> Gradients:
    return _backward("simple_rnn", saved, OutputGradients(d_y, d_h, need_d_x=need_d_x))


prepare_forward, recurrent_together = one_by_one(globals())[1:3]


def recurrent_stream(name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any) -> Stream:
    """See `reference.recurrent_stream`."""
    return DeviceStream(label, globals()[name], packed, x, states, options)

"""How `RNN` takes one cell through time: in the kernels of its layer, or step by step in Python."""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Layer, show_shape
from fusedlstm.layers.cells import Cell, FusedCell, flat_states, output_size, summed
from fusedlstm.layers.recurrent import Recurrent


class Run(NamedTuple):
    """What a cell is run over, and what is wanted of it."""

    owner: str
    x: Array  # (B,T,I)
    mask: Array | None  # (B,T)
    states: list[Array] | None
    training: bool
    keep: bool  # what backward needs
    return_sequences: bool
    zero_output_for_mask: bool
    need_d_x: bool


#: Takes d_y (or None: zero) and those of the final states; returns d_x, those of the first states, and the gradients
#: of the cell's trainable weights.
RunBackward = Callable[[Any, list[Any]], tuple[Any, list[Any], list[Array]]]


def through_time(cell: Any, run: Run) -> tuple[Array, list[Array], RunBackward | None]:
    """Outputs (B,T,H), or the last one's (B,H), the final states, and the way back."""
    return _fused(cell, run) if isinstance(cell, FusedCell) else _steps(cell, run)


def _fused(cell: FusedCell, run: Run) -> tuple[Array, list[Array], RunBackward | None]:
    # The cell may be part of several RNNs, and be run by several threads, each with flags of its own: hence a copy of
    # the layer, with the same variables.
    layer = object.__new__(type(cell.layer))
    assert isinstance(layer, Recurrent)
    vars(layer).update(vars(cell.layer))
    layer.return_sequences, layer.zero_output_for_mask = run.return_sequences, run.zero_output_for_mask
    zeros = run.states is None
    (y, *states), back = layer.forward(
        run.x,
        run.training,
        run.mask,
        initial_state=run.states,
        need_backward=run.keep,
        need_d_inputs=run.need_d_x,
    )
    for name in layer.caches:  # packed weights
        setattr(cell.layer, name, getattr(layer, name))
    if back is None:
        return y, states, None

    def backward(d_y: Any, d_states: list[Any]) -> tuple[Any, list[Any], list[Array]]:
        result = back([d_y, *d_states])
        d_x, *d_before = [result, *[None] * len(states)] if zeros else result
        cell.gradients = layer.gradients
        return d_x, d_before, layer.gradients

    return y, states, backward


_warned: weakref.WeakSet[type] = weakref.WeakSet()


def _warn(run: Run, cell: Layer) -> None:
    if isinstance(cell, Cell) or type(cell) in _warned:
        return
    _warned.add(type(cell))
    warnings.warn(
        f"{run.owner}: the cell {type(cell).__name__} is run step by step in Python, which takes far longer than the "
        "kernels of LSTMCell, GRUCell and SimpleRNNCell",
        stacklevel=2,
    )


def _first_states(cell: Any, run: Run) -> list[Array]:
    batch, dtype = len(run.x), run.x.dtype
    if run.states is not None:
        return run.states
    own = getattr(cell, "get_initial_state", None)
    if own is None:
        return [np.zeros((batch, size), dtype, like=run.x) for size in flat_states(cell.state_size)]
    return _checked(cell, "initial states", own(batch_size=batch), batch, dtype)


def _checked(cell: Any, what: str, states: Any, batch: int, dtype: Any) -> list[Array]:
    """The states that a cell gave, if they are those that its state_size says."""
    arrays = [_placed(state, dtype) for state in flat_states(states)]
    expected = [(batch, size) for size in flat_states(cell.state_size)]
    if [array.shape for array in arrays] != expected:
        got = ", ".join(show_shape(array.shape) for array in arrays)
        wanted = ", ".join(map(show_shape, expected))
        raise ValueError(f"{cell.label}: expected {what} of shapes {wanted}, as its state_size, got {got}")
    return arrays


def _placed(value: Any, dtype: Any) -> Array:
    array: Array = placement.place(placement.as_array(value).astype(dtype, copy=False))
    return array


def _checked_output(cell: Any, output: Any, batch: int, dtype: Any) -> Array:
    array = _placed(output, dtype)
    if array.shape != (batch, output_size(cell)):
        expected = show_shape((batch, output_size(cell)))
        raise ValueError(f"{cell.label}: expected an output {expected}, got {show_shape(array.shape)}")
    return array


def _step_of(cell: Any, run: Run) -> Callable[[Array, list[Array]], tuple[Any, Any, Any]]:
    """One step of a cell: output, new states, and the way back if that is wanted."""
    has_forward = type(cell).forward is not Layer.forward
    if run.keep or (has_forward and (isinstance(cell, Cell) or getattr(cell, "call", None) is None)):
        if not has_forward:
            raise TypeError(
                f"{run.owner}: {cell.label} defines call alone, with which it can predict; to train it has to define "
                "forward(inputs, states, training), which returns output, new states, backward"
            )
        return lambda x, states: cell.forward(x, states, run.training)
    if "training" in inspect.signature(cell.call).parameters:
        return lambda x, states: (*cell.call(x, states, training=run.training), None)
    return lambda x, states: (*cell.call(x, states), None)


def _steps(cell: Any, run: Run) -> tuple[Array, list[Array], RunBackward | None]:
    _warn(run, cell)
    x, mask = run.x, run.mask
    batch, steps, _ = x.shape
    step = _step_of(cell, run)
    states = _first_states(cell, run)
    output = np.zeros((batch, output_size(cell)), x.dtype, like=x)  # what a masked step repeats
    outputs = np.zeros((batch, steps, output.shape[1]), x.dtype, like=x) if run.return_sequences else output
    ways_back = []
    for t in range(steps):
        new_output, after, back = step(x[:, t], states)
        new_output = _checked_output(cell, new_output, batch, x.dtype)
        new_states = _checked(cell, "new states", after, batch, x.dtype)
        if mask is None:
            output, states = new_output, new_states
        else:
            use = mask[:, t, None]
            output = np.where(use, new_output, np.zeros_like(output) if run.zero_output_for_mask else output)
            states = [np.where(use, new, old) for new, old in zip(new_states, states, strict=True)]
        if run.return_sequences:
            outputs[:, t] = output
        if run.keep:
            ways_back.append(back)
    y = outputs if run.return_sequences else output
    return y, states, _steps_back(cell, run, ways_back, states, output) if run.keep else None


def _steps_back(cell: Any, run: Run, ways_back: list[Any], states: list[Array], output: Array) -> RunBackward:
    x, mask = run.x, run.mask
    variables = cell.trainable_weights

    def backward(d_y: Any, d_states: list[Any]) -> tuple[Any, list[Any], list[Array]]:
        d_x = np.zeros_like(x) if run.need_d_x else None
        d = [np.zeros_like(s) if d_s is None else d_s for s, d_s in zip(states, d_states, strict=True)]
        zeros = np.zeros_like(output)
        d_output = zeros if d_y is None or run.return_sequences else d_y
        gradients: list[Any] = []
        for t in reversed(range(x.shape[1])):
            if d_y is not None and run.return_sequences:
                d_output = d_output + d_y[:, t]
            if mask is None:
                d_x_t, before = ways_back[t](d_output, d)
                d, d_output = flat_states(before), zeros
            else:
                # A masked step hands the gradients of its states on, and that of its output to the output that it
                # repeated.
                use = mask[:, t, None]
                d_x_t, before = ways_back[t](np.where(use, d_output, zeros), [np.where(use, part, 0) for part in d])
                d = [np.where(use, part, kept) for part, kept in zip(flat_states(before), d, strict=True)]
                d_output = np.where(use | run.zero_output_for_mask, zeros, d_output)
            if d_x is not None:
                d_x[:, t] = d_x_t
            if variables:
                gradients = summed(
                    variables, [*zip(variables, gradients, strict=False), *zip(variables, cell.gradients, strict=True)]
                )
        cell.gradients = gradients if gradients else summed(variables, [])
        return d_x, d, cell.gradients

    return backward

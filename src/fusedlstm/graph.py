"""A model as a list of layer calls in an order in which each finds its inputs ready; run forward, and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.layers.base import Array, Backward, Layer


class Call(NamedTuple):
    """One call of a layer. Values are numbered; these are the numbers of those that go in and come out."""

    layer: Layer
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[int, ...] = ()  # of the initial state


def chain(layers: Sequence[Layer]) -> Graph:
    """Layers one after the other, each with one input and one output."""
    return Graph([Call(layer, (k,), (k + 1,)) for k, layer in enumerate(layers)], (0,), (len(layers),))


class Graph:
    """Layer calls, and which values are the inputs and outputs of the whole.

    Parameters
    ----------
    calls : sequence of Call
        Each value is an input or an output of an earlier call; a layer may be called more than once.
    inputs, outputs : tuple of int
        Numbers of values.
    """

    def __init__(self, calls: Sequence[Call], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.calls = tuple(calls)
        self.inputs = inputs
        self.outputs = outputs
        self.count = 1 + max([*inputs, *outputs, *(k for call in self.calls for k in call.outputs)])
        self._plan = [
            (call, len(call.inputs) == 1 and len(call.outputs) == 1 and not call.states) for call in self.calls
        ]
        #: every layer once, in the order of their first calls
        self.layers: list[Layer] = list({id(call.layer): call.layer for call in self.calls}.values())

    def forward(
        self,
        inputs: Sequence[Any],
        training: bool = False,
        masks: Sequence[Any] | None = None,
        need_backward: bool = False,
        need_d_inputs: bool = False,
    ) -> tuple[list[Any], list[Any], Backward | None]:
        """Run all calls.

        Parameters
        ----------
        inputs : sequence of arrays
            One per input.
        training : bool
        masks : sequence of arrays or None, optional
            One per input.
        need_backward, need_d_inputs : bool
            As in `Layer.forward`.

        Returns
        -------
        outputs : list of arrays
        masks : list of arrays or None
            Of the outputs.
        backward : function or None
            Takes a list of gradients of the outputs (None: zero), returns the list of those of the inputs, and sets
            `gradients` of every layer to the sum over its calls.
        """
        values: list[Any] = [None] * self.count
        value_masks: list[Any] = [None] * self.count
        needs = [False] * self.count  # whether the gradient of a value is wanted
        for k, value in zip(self.inputs, inputs, strict=True):
            values[k], needs[k] = value, need_d_inputs
        if masks is not None:
            for k, mask in zip(self.inputs, masks, strict=True):
                value_masks[k] = mask
        tape: list[tuple[Call, Backward]] = []
        for call, plain in self._plan:
            layer, ins, outs, states = call
            arguments = {}
            if plain:  # one value in, one out: nearly every call, and worth the few microseconds
                x, mask, need = values[ins[0]], value_masks[ins[0]], needs[ins[0]]
            else:
                x, mask = [values[k] for k in ins], [value_masks[k] for k in ins]
                mask = None if all(m is None for m in mask) else mask
                if len(ins) == 1:
                    x, mask = x[0], None if mask is None else mask[0]
                need = any(needs[k] for k in ins + states)
                if states:
                    arguments["initial_state"] = [values[k] for k in states]
            keep = need_backward and (need or layer.learns)
            outputs, backward = layer.forward(
                x, training, mask, need_backward=keep, need_d_inputs=keep and need, **arguments
            )
            if keep and backward is not None:
                tape.append((call, backward))
            if plain:
                values[outs[0]], needs[outs[0]] = outputs, keep
            else:
                for k, value in zip(outs, outputs if isinstance(outputs, list) else [outputs], strict=True):
                    values[k], needs[k] = value, keep
            if mask is not None or layer.makes_mask:
                mask = layer.compute_mask(x, mask)
                for k, output_mask in zip(outs, mask if isinstance(outputs, list) else [mask], strict=True):
                    value_masks[k] = output_mask
        results = [values[k] for k in self.outputs]
        result_masks = [value_masks[k] for k in self.outputs]
        if not need_backward:
            return results, result_masks, None
        return results, result_masks, lambda d_outputs: self._backward(tape, d_outputs)

    def _backward(self, tape: list[tuple[Call, Backward]], d_outputs: Sequence[Any]) -> list[Any]:
        gradients: list[Any] = [None] * self.count  # None: zero

        def add(k: int, gradient: Any) -> None:
            if gradient is not None:
                gradients[k] = gradient if gradients[k] is None else gradients[k] + gradient

        for k, d_output in zip(self.outputs, d_outputs, strict=True):
            add(k, d_output)
        sums: dict[Layer, list[Array]] = {}
        for call, backward in reversed(tape):
            layer, ins, outs, states = call
            d_values = gradients[outs[0]] if len(outs) == 1 else [gradients[k] for k in outs]
            if d_values is None or (len(outs) > 1 and all(d is None for d in d_values)):
                continue
            d_inputs = backward(d_values)
            if layer in sums:
                layer.gradients = [a + b for a, b in zip(sums[layer], layer.gradients, strict=True)]
            sums[layer] = layer.gradients
            if len(ins) + len(states) == 1:
                add(ins[0], d_inputs)
            elif d_inputs is not None:
                for k, d_input in zip(ins + states, d_inputs, strict=True):
                    add(k, d_input)
        for layer in self.layers:
            if layer not in sums:  # the loss does not depend on it
                layer.gradients = [np.zeros_like(variable.value) for variable in layer.trainable_weights]
        return [gradients[k] for k in self.inputs]

    def output_shapes(self, input_shapes: Sequence[Any], build: bool = False) -> list[Any]:
        """Shapes of the outputs for those of the inputs; every layer checks its own, and with `build` is built.

        Raises
        ------
        ValueError
            By the first layer that an input's shape does not fit.
        """
        shapes: list[Any] = [None] * self.count
        for k, shape in zip(self.inputs, input_shapes, strict=True):
            shapes[k] = shape
        for call in self.calls:
            given = shapes[call.inputs[0]] if len(call.inputs) == 1 else [shapes[k] for k in call.inputs]
            result = call.layer.compute_output_shape(given)
            if build and not call.layer.built:
                call.layer.build(given)
            for k, shape in zip(call.outputs, result if isinstance(result, list) else [result], strict=True):
                shapes[k] = shape
        return [shapes[k] for k in self.outputs]

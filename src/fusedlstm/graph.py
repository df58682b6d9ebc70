"""A model as a list of layer calls in an order in which each finds its inputs ready; run forward, and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer


class Call(NamedTuple):
    """One call of a layer. Values are numbered; these are the numbers of those that go in and come out."""

    layer: Layer
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[int, ...] = ()  # of the initial state
    masks: tuple[int | None, ...] = ()  # one for each input; None, or empty: those that come with the inputs
    training: bool | None = None  # None: as the graph runs
    arguments: Mapping[str, Any] = {}  # what else the call was given
    listed: bool = False  # whether a single input goes in as a list
    tensors: Mapping[str, int] = {}  # which of its further arguments are values

    @property
    def several(self) -> bool:
        """Whether the layer takes a list of inputs."""
        return self.listed or len(self.inputs) != 1

    @property
    def plain(self) -> bool:
        """Whether it is one value in, one out, and nothing else: nearly every call."""
        special = self.several or self.states or self.masks or self.arguments or self.tensors
        one = len(self.outputs) == 1 and self.training is None
        return one and not special and not self.layer.forwards_masks


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
        self._plan = [(call, call.layer, call.inputs[0], call.outputs[0], call.plain) for call in self.calls]
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
        if placement.array_type is not np.ndarray:  # once for all layers
            looked_at = {k for call in self.calls if call.layer.looks_at_inputs for k in call.inputs}
            stay = [k in looked_at or x.dtype.kind in "iub" for k, x in zip(self.inputs, inputs, strict=True)]
            inputs = [x if stays else placement.place(x) for x, stays in zip(inputs, stay, strict=True)]
        for k, value in zip(self.inputs, inputs, strict=True):
            values[k], needs[k] = value, need_d_inputs
        if masks is not None:
            for k, mask in zip(self.inputs, masks, strict=True):
                value_masks[k] = mask
        tape: list[tuple[Call, Backward, bool]] = []
        for call, layer, k, out, plain in self._plan:
            if not plain:
                backward = self._run(call, values, value_masks, needs, training, need_backward)
                if backward is not None:
                    tape.append((call, backward, False))
                continue
            x, mask, need = values[k], value_masks[k], needs[k]
            keep = need_backward and (need or layer.learns)
            outputs, backward = layer.forward(x, training, mask, need_backward=keep, need_d_inputs=keep and need)
            if layer.activity_regularizer is not None:
                backward = layer.penalize(outputs, backward)
            if keep and backward is not None:
                tape.append((call, backward, True))
            values[out], needs[out] = outputs, keep
            if mask is not None or layer.makes_mask:
                value_masks[out] = layer.compute_mask(x, mask)
        results = [values[k] for k in self.outputs]
        result_masks = [value_masks[k] for k in self.outputs]
        if not need_backward:
            return results, result_masks, None
        return results, result_masks, lambda d_outputs: self._backward(tape, d_outputs)

    def _run(
        self,
        call: Call,
        values: list[Any],
        value_masks: list[Any],
        needs: list[bool],
        training: bool,
        need_backward: bool,
    ) -> Backward | None:
        """One call of any kind; its outputs go into the lists, its backward comes back if it will be wanted."""
        layer: Any = call.layer
        arguments = {**call.arguments, **{name: values[k] for name, k in call.tensors.items()}}
        xs = [values[k] for k in call.inputs]
        given = [value_masks[k] for k in call.inputs]
        for place, number in enumerate(call.masks):
            if number is not None:
                given[place] = values[number]
        x, mask = (xs, None if all(m is None for m in given) else given) if call.several else (xs[0], given[0])
        if call.states:
            arguments["initial_state"] = [values[k] for k in call.states]
        need = any(needs[k] for k in call.inputs + call.states)
        keep = need_backward and (need or layer.learns)
        mode = training if call.training is None else call.training
        if layer.forwards_masks:
            outputs, out_masks, backward = layer.forward_masked(x, mode, mask, keep, keep and need, **arguments)
        else:
            outputs, backward = layer.forward(
                x, mode, mask, need_backward=keep, need_d_inputs=keep and need, **arguments
            )
            out_masks = layer.compute_mask(x, mask) if mask is not None or layer.makes_mask else None
        if layer.activity_regularizer is not None:
            backward = layer.penalize(outputs, backward)
        results = outputs if isinstance(outputs, list) else [outputs]
        # One mask to several outputs is that of the first.
        all_masks = out_masks if isinstance(out_masks, list) else [out_masks] + [None] * (len(results) - 1)
        for k, value, value_mask in zip(call.outputs, results, all_masks, strict=True):
            values[k], value_masks[k], needs[k] = value, value_mask, keep
        return backward if keep else None

    def _backward(self, tape: list[tuple[Call, Backward, bool]], d_outputs: Sequence[Any]) -> list[Any]:
        gradients: list[Any] = [None] * self.count  # None: zero

        def add(k: int, gradient: Any) -> None:
            if gradient is not None:
                gradients[k] = gradient if gradients[k] is None else gradients[k] + gradient

        for k, d_output in zip(self.outputs, d_outputs, strict=True):
            add(k, d_output)
        sums: dict[Layer, list[Array]] = {}
        for call, backward, plain in reversed(tape):
            layer, ins, outs = call.layer, call.inputs, call.outputs
            one = plain or len(outs) == 1
            d_values = gradients[outs[0]] if one else [gradients[k] for k in outs]
            nothing = d_values is None or (not one and all(d is None for d in d_values))
            if nothing and layer.activity_regularizer is None:
                continue
            d_inputs = backward(d_values)
            known = sums.get(layer)
            found = layer.gradients
            sums[layer] = found if known is None else [a + b for a, b in zip(known, found, strict=True)]
            if plain:
                add(ins[0], d_inputs)
                continue
            if call.states:
                d_inputs, *d_states = d_inputs
                for k, d_state in zip(call.states, d_states, strict=True):
                    add(k, d_state)
            if not call.several:
                add(ins[0], d_inputs)
            elif d_inputs is not None:
                for k, d_input in zip(ins, d_inputs, strict=True):
                    add(k, d_input)
        for layer in self.layers:
            found = sums.get(layer)
            if found is not None:  # a layer that holds this one may have left its own part there
                layer.gradients = found
            else:  # the loss does not depend on it
                layer.gradients = [np.zeros_like(variable.value) for variable in layer.trainable_weights]
        return [gradients[k] for k in self.inputs]

    def output_shapes(self, input_shapes: Sequence[Any], build: bool = False) -> list[Any]:
        """Shapes of the outputs for those of the inputs; every layer checks its own, and with `build` is built.

        Raises
        ------
        ValueError
            By the first layer that an input's shape does not fit.
        """
        return [self.shapes(input_shapes, build)[k] for k in self.outputs]

    def shapes(self, input_shapes: Sequence[Any], build: bool = False) -> list[Any]:
        """Shapes of all values by their numbers; as `output_shapes`."""
        shapes: list[Any] = [None] * self.count
        for k, shape in zip(self.inputs, input_shapes, strict=True):
            shapes[k] = shape
        for call in self.calls:
            given = [shapes[k] for k in call.inputs] if call.several else shapes[call.inputs[0]]
            result = call.layer.call_shape(given, [shapes[k] for k in call.states], call.arguments)
            if build and not call.layer.built:
                call.layer.build(given)
            for k, shape in zip(call.outputs, result if isinstance(result, list) else [result], strict=True):
                shapes[k] = shape
        return shapes

"""From symbolic tensors to the graph that a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fusedlstm.graph import Call, Graph
from fusedlstm.layers.base import Layer
from fusedlstm.layers.input import InputLayer
from fusedlstm.symbolic import Node, SymbolicTensor


class Traced:
    """The calls between inputs and outputs.

    Parameters
    ----------
    owner : str
        How errors call the model.
    inputs, outputs : sequence of SymbolicTensor
        An input need not come from `Input`: what made it is then left out.

    Attributes
    ----------
    graph : Graph
    nodes : list of Node
        The calls in the order in which they run, without the inputs' own.
    layers : list of Layer
        Every layer once, the inputs' own too, in Keras's order: by the longest way to an output, then as they are
        found on the way back from the outputs. Weights and files follow it.

    Raises
    ------
    ValueError
        If an input comes twice, an output depends on an input that is not among `inputs`, or two layers have one name.
    """

    def __init__(self, owner: str, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> None:
        self.owner = owner
        numbers = {id(tensor): k for k, tensor in enumerate(inputs)}
        if len(numbers) != len(inputs):
            raise ValueError(f"{owner}: expected each input once, got one of them twice")
        order, found = self._walk(inputs, outputs)
        self.nodes = [node for node in order if not isinstance(node.layer, InputLayer)]
        self.layers = self._sorted(inputs, order, found)
        self._check_names()
        calls = []
        count = len(inputs)
        for node in self.nodes:
            outs = []
            for tensor in node.outputs:
                numbers.setdefault(id(tensor), count)  # but an input keeps its own, where its value comes in
                outs.append(count)
                count += 1
            calls.append(
                Call(
                    node.layer,
                    tuple(numbers[id(tensor)] for tensor in node.inputs),
                    tuple(outs),
                    tuple(numbers[id(tensor)] for tensor in node.states),
                    tuple(None if tensor is None else numbers[id(tensor)] for tensor in node.masks),
                    node.training,
                    node.arguments,
                    node.listed,
                    {name: numbers[id(tensor)] for name, tensor in node.tensors.items()},
                )
            )
        self.graph = Graph(calls, tuple(range(len(inputs))), tuple(numbers[id(tensor)] for tensor in outputs))

    def _walk(
        self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]
    ) -> tuple[list[Node], dict[int, int]]:
        """The calls that the outputs depend on, each after those it depends on; when each layer was first seen."""
        known = {id(tensor) for tensor in inputs}
        order: list[Node] = []
        found: dict[int, int] = {}
        done: set[int] = set()

        for output in outputs:
            # Own stack: a chain of layers may be longer than Python's.
            stack: list[tuple[Node, Iterator[SymbolicTensor]]] = []
            waiting: SymbolicTensor | None = output
            while True:
                if waiting is not None:
                    node = waiting.node
                    is_input = isinstance(node.layer, InputLayer)
                    if is_input and id(waiting) not in known:
                        at = f" through {stack[-1][0].layer.label}" if stack else ""
                        raise ValueError(
                            f"{self.owner}: expected all that the outputs depend on among the inputs, "
                            f"{output.layer.label} depends{at} on {node.layer.label}"
                        )
                    if id(node) not in done and (is_input or id(waiting) not in known):
                        done.add(id(node))
                        found.setdefault(id(node.layer), len(found))
                        stack.append((node, iter(node.taken)))
                if not stack:
                    break
                waiting = next(stack[-1][1], None)
                if waiting is None:
                    order.append(stack.pop()[0])
        return order, found

    def _sorted(self, inputs: Sequence[SymbolicTensor], order: list[Node], found: dict[int, int]) -> list[Layer]:
        node_depth: dict[int, int] = {}
        layer_depth: dict[int, int] = {}
        layers = {id(node.layer): node.layer for node in order}
        for node in reversed(order):
            depth = max(node_depth.get(id(node), 0), layer_depth.get(id(node.layer), 0))
            layer_depth[id(node.layer)] = depth
            for parent in node.parents:
                node_depth[id(parent)] = max(depth + 1, node_depth.get(id(parent), 0))
        for tensor in inputs:  # those that nothing uses
            if isinstance(tensor.layer, InputLayer) and id(tensor.layer) not in layers:
                layers[id(tensor.layer)] = tensor.layer
                layer_depth[id(tensor.layer)], found[id(tensor.layer)] = 0, -1
        return sorted(layers.values(), key=lambda layer: (-layer_depth[id(layer)], found[id(layer)]))

    def _check_names(self) -> None:
        names: dict[str, Layer] = {}
        for layer in self.layers:
            other = names.setdefault(layer.name, layer)
            if other is not layer:
                raise ValueError(
                    f"{self.owner}: expected layers of different names, got {other.label} and {layer.label}"
                )

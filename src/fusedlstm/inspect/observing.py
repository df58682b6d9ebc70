"""A copy of a model whose recurrent layers run a step a call, so that what flows between the steps can be seen."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.activations import Activation
from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer
from fusedlstm.layers.gru import GRU
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.recurrent import Recurrent


class Seen:
    """What was seen of one call of a recurrent layer; T counts the steps of the inputs, also of a layer that goes back.

    Attributes
    ----------
    states : dict of str to (B,T,·) array
        The states after each step, by their names; a masked step carries them over.
    gates : dict of str to (B,T,H) array
        The gates and the candidate, if the model was observed with `gates`; NaN at masked steps.
    gradient : (B,T,H) array or None
        Of the loss with respect to the state h after each step; 0 at masked steps, which have none of their own. None
        until backward has run.
    mask : (B,T) array of bool
        True where the step was used.
    """

    def __init__(self, states: Mapping[str, Array], gates: Mapping[str, Array], mask: Array) -> None:
        self.states, self.gates, self.mask = dict(states), dict(gates), mask
        self.gradient: Array | None = None


class Observed:
    """A copy of a model, to be run in place of it.

    Parameters
    ----------
    owner : str
        How errors call the function that observes.
    model : Model
        Built; it stays as it is.
    layers : sequence of str, optional
        Names of the recurrent layers to observe; all if None.
    gates : bool
        Whether to see the gates too, which the layers then compute in NumPy.

    Attributes
    ----------
    model : Model
        The copy.

    Raises
    ------
    TypeError
        If it is not a model.
    ValueError
        If there is no recurrent layer, or none of a name.
    """

    def __init__(self, owner: str, model: Any, layers: Sequence[str] | None = None, gates: bool = False) -> None:
        if not isinstance(model, Layer) or not hasattr(model, "calls"):
            raise TypeError(f"{owner}: expected model to be a Model or Sequential, got {type(model).__name__}")
        model.require_built()
        self.model: Any = copy.deepcopy(model)
        self.model.trainable = True  # else a frozen layer would not be asked for gradients
        found = dict(_recurrent_layers(self.model, ""))
        if not found:
            raise ValueError(f"{owner}: expected {model.label} to have an LSTM, GRU or SimpleRNN layer, there is none")
        self._layers: dict[str, Any] = {}
        for name in found if layers is None else layers:
            if name not in found:
                known = ", ".join(map(repr, found))
                raise ValueError(f"{owner}: expected layer to be one of {known}, got {name!r}")
            self._layers[name] = _observe(found[name], gates)

    @property
    def names(self) -> list[str]:
        """Of the observed layers, in the order in which a model lists them; those inside others as "outer/inner"."""
        return list(self._layers)

    def layer(self, name: str) -> Any:
        """The observed layer of this name."""
        return self._layers[name]

    def seen(self) -> dict[str, Seen]:
        """Of each call of the observed layers since the model was copied, by the layer's name.

        Of a layer that was called more than once: name, name[1], name[2] ...
        """
        return {
            name if k == 0 else f"{name}[{k}]": call
            for name, layer in self._layers.items()
            for k, call in enumerate(layer.seen)
        }


def _recurrent_layers(layer: Any, inside: str) -> Iterator[tuple[str, Recurrent]]:
    """The recurrent layers inside a layer, and the names of the layers that lead to each."""
    for part in layer.sublayers:
        name = f"{inside}/{part.name}" if inside else part.name
        if isinstance(part, Recurrent):
            yield name, part
        else:
            yield from _recurrent_layers(part, name)


def _observe(layer: Any, gates: bool) -> Any:
    """Make a layer one that keeps what flows between its steps in `seen`."""
    if not isinstance(layer, _Observed):
        layer.__class__ = type(type(layer).__name__, (_Observed, type(layer)), {})
        layer.seen, layer.sees_gates = [], gates
    return layer


class _Observed(Recurrent):
    """What an observed layer does in place of its own `forward`: the same, a step a call."""

    seen: list[Seen]
    sees_gates: bool

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        initial_state: Any = None,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        x = self.check_inputs(inputs)
        batch, steps, _ = x.shape
        used = np.ones((batch, steps), bool)
        if mask is not None:
            used = placement.fetch(self.check_mask(mask, (batch, steps)))
        given = initial_state is not None
        states = self._check_state(initial_state, batch) if given else self.states or self.get_initial_state(batch)
        keep = training if need_backward is None else need_backward
        one_step = self._one_step()
        notes = _note_gates(one_step) if self.sees_gates else {}
        order = range(steps)[::-1] if self.go_backwards else range(steps)

        output = np.zeros_like(states[0])
        outputs = np.zeros((batch, steps, output.shape[1]), x.dtype)
        kept = {name: np.zeros((batch, steps, size), x.dtype) for name, size in self.state_sizes.items()}
        ways_back: list[Any] = []
        for k, t in enumerate(order):
            (y, *states), back = one_step.forward(
                x[:, t : t + 1], False, used[:, t : t + 1], initial_state=states, need_backward=keep
            )
            ways_back.append(back)
            use = used[:, t, None]
            output = np.where(use, y, np.zeros_like(y) if self.zero_output_for_mask else output)
            outputs[:, k] = output
            for name, state in zip(kept, states, strict=True):
                kept[name][:, t] = state
        if self.stateful:
            self.states = states
        gates = {}
        for name, values in _gates(self, notes, (steps, batch, self.units)).items():
            values = values[::-1] if self.go_backwards else values
            gates[name] = np.where(used[..., None], values.swapaxes(0, 1), self.dtype.type(np.nan))
        seen = Seen(kept, gates, used)
        self.seen.append(seen)
        y = outputs if self.return_sequences else output
        results = [y, *states] if self.return_state else y
        if not keep:
            return results, None

        def backward(d_outputs: Any) -> Any:
            d_y, *d_states = d_outputs if self.return_state else (d_outputs, *[None] * len(states))
            d = [np.zeros_like(s) if d_s is None else d_s for s, d_s in zip(states, d_states, strict=True)]
            d_output = np.zeros_like(output) if d_y is None or self.return_sequences else d_y
            seen.gradient = np.zeros_like(kept["h"])
            d_x = np.zeros_like(x)
            sums: list[Array] = []
            for k, t in reversed(list(enumerate(order))):
                if d_y is not None and self.return_sequences:
                    d_output = d_output + d_y[:, k]
                use = used[:, t, None]
                # The output of a used step is its state h; that of a masked one is an earlier output, or 0.
                d[0] = d[0] + np.where(use, d_output, 0)
                d_output = np.where(use | self.zero_output_for_mask, 0, d_output)
                seen.gradient[:, t] = np.where(use, d[0], 0)
                d_x_t, *d = ways_back[k]([None, *d])
                d_x[:, t : t + 1] = d_x_t
                sums = [a + b for a, b in zip(sums, one_step.gradients, strict=True)] if sums else one_step.gradients
            self.gradients = sums or [np.zeros_like(variable.value) for variable in self.trainable_weights]
            return [d_x, *d] if given else d_x

        return results, backward

    def _one_step(self) -> Any:
        """A layer of the same variables for one step of a call: its outputs are [y, and the states after it]."""
        layer: Any = object.__new__(type(self).__bases__[1])
        vars(layer).update(vars(self))
        layer.return_sequences = layer.go_backwards = layer.stateful = False
        layer.return_state, layer.batch = True, None
        return layer


# The gates. No backend gives them away, but a layer takes any activation, with which it runs in the reference: one that
# notes its results sees every gate, in the order of the equations.


def _note_gates(layer: Any) -> dict[str, list[Array]]:
    """Make a one-step layer fill lists, by the gates' names, with what it computes at each step."""
    if isinstance(layer, GRU):
        notes: dict[str, list[Array]] = {"z": [], "r": [], "candidate": []}
        gate, squash = layer.recurrent_activation.forward, layer.activation.forward
        layer.recurrent_activation = _noting([(gate, notes["z"]), (gate, notes["r"])])
        layer.activation = _noting([(squash, notes["candidate"])])
        return notes
    if isinstance(layer, LSTM):
        notes = {"i": [], "f": [], "candidate": [], "o": []}
        gate, squash = layer.recurrent_activation.forward, layer.activation.forward
        named = {"i": "input_gate", "f": "forget_gate", "o": "output_gate"}
        layer.recurrent_activation = _noting([(gate, notes[k]) for k, v in named.items() if v not in layer.removed])
        # An activation that is removed would not be called, and what it leaves not noted: it becomes the identity.
        plain = [name in layer.removed for name in ("input_activation", "output_activation")]
        into, out = ((lambda x: x + 0) if identity else squash for identity in plain)
        layer.activation = _noting([(into, notes["candidate"]), (out, [])])
        layer.removed = tuple(name for name in layer.removed if name in named.values())
        return notes
    return {}


def _noting(uses: list[tuple[Callable[[Array], Array], list[Array]]]) -> Activation:
    """An activation that is one function after the other, from call to call, and adds each result to a list."""
    turns = itertools.cycle(uses)

    def forward(x: Array) -> Array:
        function, notes = next(turns)
        notes.append(function(x))
        return notes[-1]

    return Activation("noting", forward)


def _gates(layer: Any, notes: dict[str, list[Array]], shape: tuple[int, ...]) -> dict[str, Array]:
    """The gates (T,B,H) in the order in which the layer ran, from what was noted; on the host, as all that is seen."""
    ones = np.ones(shape, layer.dtype)  # what a gate is that was removed
    gates = {name: np.stack(placement.fetch(values)) if values else ones for name, values in notes.items()}
    if gates and getattr(layer, "coupled_gates", False):
        gates["f"] = 1 - gates["i"]
    return gates

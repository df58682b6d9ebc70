"""Sequences of tokens written by a model, one step of its layers a token; behind `Model.generate`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm import layers as kinds
from fusedlstm import random
from fusedlstm.graph import Call
from fusedlstm.layers.base import Array, Layer, show_shape
from fusedlstm.layers.operations import Arithmetic, Slice
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.step_by_step import OF_A_STEP, WHOLE_SEQUENCE


def generate(
    model: Any,
    seed: Any,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Any = None,
    rng: Any = None,
) -> Any:
    """What `Model.generate` does."""
    steps = model.positive_integer("steps", steps)
    temperature = _number(model, "temperature", temperature, "a finite number from 0 on", lambda t: 0 <= t < math.inf)
    if top_k is not None:
        top_k = model.positive_integer("top_k", top_k)
    if top_p is not None:
        top_p = _number(model, "top_p", top_p, "a number above 0, up to 1", lambda p: 0 < p <= 1)
    generator = _generator(model, rng)
    tokens = _Tokens(model)
    seeds, single = _seeds(model, seed, tokens.count)
    ends = None if stop is None else _ids(model, "stop", [stop] if np.ndim(stop) == 0 else stop, tokens.count)
    stepper = Stepper(model, len(seeds))

    rows, first = np.arange(len(seeds)), np.array([len(ids) for ids in seeds])
    given = np.zeros((len(seeds), first.max()), np.int64)
    for ids, row in zip(seeds, given, strict=True):
        row[: len(ids)] = ids
    written = np.zeros((len(seeds), steps), np.int64)
    lengths = np.full(len(seeds), steps)  # of what each row writes; less once it wrote a token of `stop`
    draws = generator.random((steps, len(seeds)))
    token = given[:, 0].copy()
    t = 0
    while True:
        outputs = stepper(tokens.inputs(token))
        t += 1
        number = t - first  # of the token that comes next in each row, counted from the end of its seed
        reading = number < 0
        token[reading] = given[reading, min(t, given.shape[1] - 1)]
        writing = rows[~reading & (number < lengths)]
        if len(writing):
            number = number[writing]
            scores = tokens.scores(outputs[writing])
            token[writing] = choose(scores, draws[number, writing], temperature, top_k, top_p)
            written[writing, number] = token[writing]
            if ends is not None:
                ended = np.isin(token[writing], ends)
                lengths[writing[ended]] = number[ended] + 1
        if (t - first + 1 >= lengths).all():
            break
    texts = [ids[:length].copy() for ids, length in zip(written, lengths, strict=True)]
    return texts[0] if single else texts


def choose(scores: Array, draws: Array, temperature: float, top_k: int | None, top_p: float | None) -> Array:
    """A token for each row.

    Parameters
    ----------
    scores : (B,V) array
        Logarithms of the tokens' probabilities, up to a constant for each row.
    draws : (B,) array
        Numbers from 0 to below 1: the token is the first one whose cumulated probability is above it.
    temperature, top_k, top_p
        As in `Model.generate`.

    Returns
    -------
    (B,) array of int64
    """
    if temperature == 0:
        return scores.argmax(axis=-1)
    # A small temperature must not overflow: the largest score becomes 0 ahead of the division.
    weights = np.exp((scores - scores.max(axis=-1, keepdims=True)) / temperature)
    if top_k is not None or top_p is not None:
        order = np.argsort(-weights, axis=-1, kind="stable")  # of equal ones the lower id counts as the likelier
        ranked = np.take_along_axis(weights, order, axis=-1)
        if top_k is not None:
            ranked[:, top_k:] = 0
        if top_p is not None:
            ahead = np.cumsum(ranked, axis=-1) - ranked  # of all likelier ones
            ranked[ahead >= top_p * ranked.sum(axis=-1, keepdims=True)] = 0
        np.put_along_axis(weights, order, ranked, axis=-1)
    cumulated = np.cumsum(weights, axis=-1)
    chosen = (cumulated <= draws[:, None] * cumulated[:, -1:]).sum(axis=-1)
    return np.minimum(chosen, weights.shape[1] - 1)


class Stepper:
    """A model that is run a step a call; its recurrent layers keep their states.

    Parameters
    ----------
    model : Model
        Of one input and one output.
    batch : int
        B.

    Raises
    ------
    ValueError
        By the first layer that cannot make a step without the others.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self._graph = model.graph
        self._steps = [
            (call, _step_of(call, node.inputs[0].ndim, batch))
            for call, node in zip(model.graph.calls, model.calls, strict=True)
        ]

    def __call__(self, inputs: Array) -> Array:
        """The outputs (B,V) after one more step, whose inputs are ids (B,1) or (B,1,I)."""
        return self.masked(inputs, None)[0].reshape(len(inputs), -1)

    def masked(self, inputs: Array, mask: Array | None) -> tuple[Array, Array | None]:
        """Outputs and their mask (B,1), which, as the inputs' may be, is None if there is none."""
        graph = self._graph
        values: list[Any] = [None] * graph.count
        masks: list[Any] = [None] * graph.count
        values[graph.inputs[0]], masks[graph.inputs[0]] = inputs, mask
        for call, step in self._steps:
            if call.several:
                given = [masks[k] for k in call.inputs]
                listed = None if all(m is None for m in given) else given
                outputs, masks[call.outputs[0]] = step([values[k] for k in call.inputs], listed)
            else:
                outputs, masks[call.outputs[0]] = step(values[call.inputs[0]], masks[call.inputs[0]])
            for k, value in zip(call.outputs, outputs if isinstance(outputs, list) else [outputs], strict=True):
                values[k] = value
        return values[graph.outputs[0]], masks[graph.outputs[0]]


#: Takes a step's inputs and their mask, (B,1) or None, gives its outputs and theirs.
Step = Callable[[Any, Any], tuple[Any, Any]]


def _step_of(call: Call, rank: int, batch: int) -> Step:
    """How a call of a layer, on inputs of `rank` axes, makes a step; a ValueError naming the layer if it cannot."""
    layer: Any = call.layer
    why = _why_not(call, rank)
    if why is not None:
        raise ValueError(f"{layer.label}: cannot generate a token at a time: {why}")
    if isinstance(layer, Recurrent):
        return _recurrent_step(layer, batch)
    if hasattr(layer, "calls"):
        return Stepper(layer, batch).masked

    def step(x: Any, mask: Any) -> tuple[Any, Any]:
        outputs, _ = layer.forward(x, False, mask, need_backward=False)
        return outputs, layer.compute_mask(x, mask) if mask is not None or layer.makes_mask else None

    return step


def _why_not(call: Call, rank: int) -> str | None:
    """What keeps a call from being made a step at a time; None if nothing does."""
    layer: Any = call.layer
    if call.training:
        return "it is called with training=True"
    if call.states or call.arguments or call.tensors or any(number is not None for number in call.masks):
        return "it is called with an initial state, a mask or further arguments"
    if isinstance(layer, Recurrent):
        return "with go_backwards=True it begins at the last step" if layer.go_backwards else None
    if hasattr(layer, "calls"):
        one = len(layer.inputs) == len(layer.outputs) == 1
        return None if one else "it has several inputs or outputs"
    if type(layer) is Slice:
        key = layer._full_key(rank)
        fits = rank == 3 and None not in key and key[1] in (slice(None), -1)
        return None if fits else "of a sequence it may take the last step only"
    if type(layer) is Arithmetic and layer.constant is not None and any(n > 1 for n in layer.constant.shape[:-1]):
        return "its constant differs from step to step"
    if type(layer) not in OF_A_STEP:
        return WHOLE_SEQUENCE
    axes = getattr(layer, "axis", -1)
    if any(axis % rank != rank - 1 for axis in (axes if isinstance(axes, list | tuple) else [axes])):
        return f"its axis {axes} is not that of the features"
    return None


def _recurrent_step(layer: Recurrent, batch: int) -> Step:
    stream = layer.stream(batch)
    kept = np.zeros((batch, layer.state_sizes["h"]), layer.dtype)  # what a masked step repeats

    def step(x: Array, mask: Array | None) -> tuple[Any, Any]:
        nonlocal kept
        x = np.ascontiguousarray(x[:, 0])
        if mask is None or mask.all():
            y = stream(x)
        else:
            before = stream.states
            y = np.where(mask, stream(x), layer.dtype.type(0) if layer.zero_output_for_mask else kept)
            stream.reset([np.where(mask, new, old) for new, old in zip(stream.states, before, strict=True)])
        kept = y
        y = y[:, None] if layer.return_sequences else y
        return [y, *stream.states] if layer.return_state else y, mask if layer.return_sequences else None

    return step


class _Tokens:
    """What tokens are to a model: how they go in, and how the scores of the next ones come out.

    Attributes
    ----------
    count : int
        How many there are: ids are below it.
    """

    def __init__(self, model: Any) -> None:
        if not model.built:
            model.build((None, None))  # for ids, as the first seed would tell
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ValueError(
                f"{model.label}: expected a model of one input and one output to generate with, got "
                f"{len(model.inputs)} and {len(model.outputs)}"
            )
        self._label = model.label
        shape, outputs = model.inputs[0].shape, model.outputs[0].shape
        self.count = outputs[-1]
        if len(outputs) not in (2, 3) or self.count is None:
            raise ValueError(
                f"{model.label}: expected outputs (batch, tokens) or (batch, steps, tokens) to generate with, got "
                f"{show_shape(outputs)}"
            )
        self._one_hot = len(shape) == 3 and shape[2] == self.count
        self._dtype = model.input_dtype(0) or np.dtype(np.int64)
        sizes = [layer.input_dim for layer in _first_layers(model) if isinstance(layer, kinds.Embedding)]
        if not self._one_hot and (len(shape) != 2 or not sizes):
            raise ValueError(
                f"{model.label}: expected inputs (batch, steps) of ids for an Embedding, or one-hot inputs "
                f"(batch, steps, {self.count}), as wide as the outputs, to generate with, got {show_shape(shape)}"
            )
        if not self._one_hot and self.count > min(sizes):
            raise ValueError(
                f"{model.label}: expected an Embedding of at least {self.count} ids, one for each output, to "
                f"generate with, got {min(sizes)}"
            )
        self._probabilities = _gives_probabilities(model)

    def inputs(self, token: Array) -> Array:
        """The inputs of a step, ids (B,1) or one-hot (B,1,V), from tokens (B,)."""
        if not self._one_hot:
            return token[:, None].astype(self._dtype)
        x = np.zeros((len(token), 1, self.count), self._dtype)
        x[np.arange(len(token)), 0, token] = 1
        return x

    def scores(self, outputs: Array) -> Array:
        """Logarithms of the probabilities, up to a constant for each row, in float64."""
        outputs = outputs.astype(np.float64)
        if self._probabilities:
            with np.errstate(divide="ignore", invalid="ignore"):
                outputs = np.log(outputs)
        if not np.isfinite(outputs.max(axis=-1)).all():
            raise ValueError(f"{self._label}: expected finite outputs to generate from, got NaN or infinity")
        return outputs


def _first_layers(model: Any) -> list[Any]:
    """The layers that get a model's input, for a model inside it, its own."""
    found = [call.layer for call in model.graph.calls if model.graph.inputs[0] in call.inputs]
    return [inner for layer in found for inner in (_first_layers(layer) if hasattr(layer, "calls") else [layer])]


def _gives_probabilities(model: Any) -> bool:
    """Whether the outputs are probabilities, rather than logits."""
    layer = model
    while hasattr(layer, "calls"):
        graph = layer.graph
        layer = next(call.layer for call in graph.calls if graph.outputs[0] in call.outputs)
    if isinstance(layer, kinds.TimeDistributed):
        layer = layer.layer
    if isinstance(layer, kinds.Softmax):
        return True
    name = getattr(getattr(layer, "activation", None), "name", None)
    if isinstance(layer, kinds.Dense | kinds.Activation) and name not in ("softmax", "linear", "log_softmax"):
        raise ValueError(
            f"{layer.label}: expected activation 'softmax', or logits ('linear', 'log_softmax'), to generate with, "
            f"got {name!r}"
        )
    return name == "softmax"


# Arguments.


def _number(model: Layer, argument: str, value: Any, expected: str, fits: Callable[[Any], bool]) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not fits(value):
        raise ValueError(f"{model.label}: expected {argument} to be {expected}, got {value!r}")
    return float(value)


def _generator(model: Layer, rng: Any) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0):
        raise TypeError(
            f"{model.label}: expected rng to be None, an integer from 0 on or a numpy.random.Generator, got {rng!r}"
        )
    return random.generator(None if rng is None else int(rng))


def _ids(model: Layer, argument: str, value: Any, tokens: int) -> Array:
    """`value` as an array of ids, or the error that it deserves."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and array.size:
        got = "text: turn it into ids first" if array.dtype.kind in "US" else f"{array.dtype}"
        raise TypeError(f"{model.label}: expected {argument} to hold integer ids, got {got}")
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{model.label}: expected {argument} to hold at least one id in a row, got {array.shape}")
    wrong = array[(array < 0) | (array >= tokens)]
    if wrong.size:
        raise ValueError(f"{model.label}: expected {argument} to hold ids in 0 ... {tokens - 1}, got {wrong[0]}")
    return array.astype(np.int64)


def _seeds(model: Layer, seed: Any, tokens: int) -> tuple[list[Array], bool]:
    """The seeds' ids, and whether it was a single seed."""
    if not isinstance(seed, list | tuple | np.ndarray) or (isinstance(seed, np.ndarray) and not seed.ndim):
        got = "text: turn it into ids first" if isinstance(seed, str) else repr(seed)
        raise TypeError(f"{model.label}: expected seed to be a list or array of integer ids, or of such, got {got}")
    if any(np.ndim(ids) for ids in seed):
        return [_ids(model, f"seed[{k}]", ids, tokens) for k, ids in enumerate(seed)], False
    return [_ids(model, "seed", seed, tokens)], True

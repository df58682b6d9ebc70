"""The functional model: any graph of layers between its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm import saving
from fusedlstm.backends import placement
from fusedlstm.data import cast
from fusedlstm.layers.base import Array, Backward, real_array
from fusedlstm.model_config import from_config, get_config
from fusedlstm.structure import Structured
from fusedlstm.symbolic import SymbolicTensor
from fusedlstm.utils.summary import summarize


class Model(Structured):
    """Layers in any graph without loops, between inputs and outputs.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor, or list or dict of them
        What `Input` returned, and what layers called on that returned. Data, targets and predictions have the same
        structure; the keys of a dict, else the layers' names, are their names.
    name : str, optional
        `model`, `model_1` ... if None.
    trainable : bool
        Whether training changes the layers' weights.

    Attributes
    ----------
    history : History or None
        Of the last `fit`.
    stop_training : bool
        Set it to True, from a callback, to end `fit`.

    Raises
    ------
    TypeError
        If an input or output is not symbolic.
    ValueError
        If an output depends on an input that is not given, or two layers have the same name.

    Notes
    -----
    A subclass may make layers in ``__init__`` and define ``call(self, inputs, training=None)``, which uses them,
    instead of giving inputs and outputs. `build`, or the first data, then calls it once, on symbolic tensors.

    Masks go through the graph, through arithmetic (of two, a step has to be valid in both) and slices of steps too,
    where Keras's end without a word.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.layers import LSTM, Dense, Input
    >>> inputs = Input((10, 1))
    >>> states = LSTM(16, return_sequences=True)(inputs)
    >>> model = Model(inputs, [Dense(1)(states), Dense(2)(states[:, -1])])
    >>> [y.shape for y in model.predict(np.zeros((3, 10, 1)), verbose=0)]
    [(3, 10, 1), (3, 2)]
    """

    forwards_masks = True

    # Running.

    def run(self, x: list[Array], training: bool, need_backward: bool) -> tuple[list[Any], list[Any], Backward | None]:
        assert self._traced is not None
        outputs, masks, backward = self._traced.graph.forward(x, training, None, need_backward)
        if backward is None:
            return outputs, masks, None

        def run_backward(d_outputs: list[Any]) -> None:
            self.gradients = []  # those of the step before make room for the new ones
            backward(d_outputs)
            self._collect()

        return outputs, masks, run_backward

    def _collect(self) -> None:
        """Put the layers' gradients together, in the order of `trainable_weights`."""
        if not self._trainable:
            self.gradients = []
            return
        assert self._traced is not None
        layers = self._traced.layers
        if self.call is not None:
            layers = self.layers
            for layer in layers:
                if layer not in self._traced.layers:  # an attribute that call does not use
                    layer.gradients = [np.zeros_like(variable.value) for variable in layer.trainable_weights]
        if self._overlap is None:  # is a layer also part of a model that is one of the layers?
            self._overlap = len(self.weights) != sum(len(layer.weights) for layer in layers)
        if not self._overlap:
            self.gradients = [gradient for layer in layers for gradient in layer.gradients]
            return
        sums: dict[int, Array] = {}
        for layer in layers:
            for variable, gradient in zip(layer.trainable_weights, layer.gradients, strict=True):
                known = sums.get(id(variable))
                sums[id(variable)] = gradient if known is None else known + gradient
        self.gradients = list(sums.values())

    def check_inputs(self, inputs: Any) -> Any:
        """The inputs as a list of arrays of fitting shapes, in the dtypes that the layers want."""
        single = type(inputs) is placement.array_type and self.built and len(self._inputs) == 1
        if single and inputs.dtype == self._input_dtypes[0] and self._fits(0, inputs.shape):
            return [inputs]
        listed = isinstance(inputs, list | tuple) and len(self._inputs) > 1
        arrays = [real_array(self.label, "inputs", x) for x in (inputs if listed else [inputs])]
        if not self.built:
            self.build((None, *arrays[0].shape[1:]))
        self._check_shapes([x.shape for x in arrays])
        return [cast(self.label, "inputs", x, dtype) for x, dtype in zip(arrays, self._input_dtypes, strict=True)]

    def forward_masked(
        self, inputs: Any, training: bool, mask: Any, need_backward: bool, need_d_inputs: bool
    ) -> tuple[Any, Any, Backward | None]:
        """As `forward`, with the outputs' mask, or list of masks, in the middle."""
        x = self.check_inputs(inputs)
        masks = mask if isinstance(mask, list | tuple) else [mask] + [None] * (len(x) - 1)
        outputs, out_masks, backward = self.graph.forward(x, training, masks, need_backward, need_d_inputs)
        single = len(outputs) == 1
        results = outputs[0] if single else outputs
        result_masks = out_masks[0] if single else out_masks
        if backward is None:
            return results, result_masks, None

        def run_backward(d_outputs: Any) -> Any:
            self.gradients = []
            d_inputs = backward([d_outputs] if single else d_outputs)
            self._collect()
            return d_inputs if len(x) > 1 else d_inputs[0]

        return results, result_masks, run_backward

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        """Run all layers; see `Layer.forward`."""
        keep = training if need_backward is None else need_backward
        outputs, _, backward = self.forward_masked(inputs, training, mask, keep, need_d_inputs)
        return outputs, backward

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs' mask; found by running the layers."""
        return self.forward_masked(inputs, False, mask, False, False)[1]

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None, **arguments: Any) -> Any:
        """The outputs for arrays, or for symbolic tensors symbolic ones, in the structure of the model's."""
        if isinstance(inputs, dict):
            if set(inputs) != set(self.input_names):
                expected, got = ", ".join(map(repr, self.input_names)), ", ".join(map(repr, inputs)) or "none"
                raise ValueError(f"{self.label}: expected inputs to be a dict with the keys {expected}, got {got}")
            inputs = [inputs[name] for name in self.input_names]
        one = isinstance(inputs, list | tuple) and len(inputs) == 1
        if one and (isinstance(inputs[0], SymbolicTensor) or placement.is_array(inputs[0])):
            whole = isinstance(inputs[0], SymbolicTensor) or not self.built or self._fits(0, inputs[0].shape)
            inputs = inputs[0] if whole else inputs
        outputs = super().__call__(inputs, training, mask, **arguments)
        plain = self._output_keys is not None and not isinstance(outputs, dict)
        return self.pack(outputs if isinstance(outputs, list) else [outputs]) if plain else outputs

    def generate(
        self,
        seed: Any,
        steps: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: Any = None,
        rng: Any = None,
    ) -> Any:
        """Write on from a seed, a token at a time, each drawn from the model's outputs for all that went before.

        The model reads the seed and then its own tokens as a stream: one step of each layer a token, its recurrent
        layers keeping their states. What is written is what one would get by predicting the next token from the
        whole text so far, over and over, from zero states; those of stateful layers stay as they are.

        Parameters
        ----------
        seed : list or array of int, or list or (B,T) array of such
            Ids of the tokens to go on from, at least one; or one seed for each row of a batch, of any lengths.
        steps : int
            How many tokens to write.
        temperature : float
            What the logits are divided by: below 1 the likely tokens become likelier. 0: always take the likeliest.
        top_k : int, optional
            Draw from the `top_k` likeliest tokens only.
        top_p : float, optional
            Draw from the fewest likeliest tokens only whose probabilities add up to `top_p` or more (nucleus
            sampling, Holtzman et al. 2020); after `top_k`.
        stop : int or sequence of int, optional
            A row ends with the first of these tokens that it writes.
        rng : int or numpy.random.Generator, optional
            Where the random numbers come from: a seed, or a generator, which is drawn from; None: repeatable after
            `fusedlstm.utils.set_random_seed`. Token k of row b is chosen with the number [k, b] of
            ``rng.random((steps, B))``.

        Returns
        -------
        (N,) array of int64, or list of them
            The written tokens, without the seed; N is `steps` unless a token of `stop`, which is the last one then,
            came before. A list if there was a list of seeds.

        Raises
        ------
        ValueError
            If the inputs are neither ids for an `Embedding` nor one-hot, the outputs neither softmax probabilities
            nor logits; if a layer needs the whole sequence, such as `Bidirectional` or attention; for ids and
            arguments out of their domain; if the outputs are not finite.
        TypeError
            For a seed of anything but integers.
        """
        from fusedlstm.generation import generate

        return generate(self, seed, steps, temperature, top_k, top_p, stop, rng)

    # Showing and saving.

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers, their output shapes, how many weights they have and what they are fed from.

        Parameters
        ----------
        line_length : int, optional
            Width of the table.
        positions : sequence of float, optional
            Where each column ends, as a share of the width or in characters.
        print_fn : function, optional
            Gets the whole text once; `print` if None.
        expand_nested : bool
            List the layers of models inside this one.
        show_trainable : bool
            Add a column that tells whether training changes a layer.
        layer_range : (str, str), optional
            Names of the first and the last layer to list.

        Raises
        ------
        ValueError
            If there is no layer of a name in `layer_range`.
        """
        layers = self.layers
        first, last = 0, len(layers) - 1
        if layer_range is not None:
            first, last = sorted(layers.index(self.get_layer(name)) for name in layer_range)
        text = summarize(
            self,
            layers[first : last + 1],
            line_length=line_length,
            positions=positions,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
        )
        (print_fn or print)(text)

    def save(
        self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, *, include_optimizer: bool = True
    ) -> None:
        """Save the whole model; see `saving.save_model`. `models.load_model` makes it anew.

        Parameters
        ----------
        filepath : str or Path
            Ends in ``.fusedlstm``, or in ``.keras`` for Keras's format, which needs h5py.
        overwrite : bool
            Whether a file that is there already may be replaced.
        zipped : bool, optional
            True or None.
        include_optimizer : bool
            Whether to save what the model was compiled with, and the optimizer's state.
        """
        saving.save_model(self, filepath, overwrite, zipped, include_optimizer=include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Save the weights, and the optimizer's state once it has one; see `saving.save_weights`.

        Parameters
        ----------
        filepath : str or Path
            Ends in ``.weights.npz``, or in ``.weights.h5`` for Keras's format, which needs h5py.
        overwrite : bool
            Whether a file that is there already may be replaced.
        """
        saving.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False) -> None:
        """Set the weights from a file of weights or of a model of the same layers; see `saving.load_weights`.

        Parameters
        ----------
        filepath : str or Path
        skip_mismatch : bool
            Warn of weights that are missing, or of another shape, and leave them as they are.
        """
        saving.load_weights(self, filepath, skip_mismatch)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make an equal model with new weights."""
        return get_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Model:
        """A model from what `get_config` gave.

        Parameters
        ----------
        config : dict
        custom_objects : dict of str to class, optional
            Layers that are not of this package, by the names of their classes. No other name is resolved, but for what
            `utils.register_keras_serializable` registered.

        Raises
        ------
        ValueError
            If there is no class of a name.
        """
        return from_config(cls, config, custom_objects)

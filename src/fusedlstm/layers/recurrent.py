"""What LSTM, GRU and SimpleRNN have in common: arguments, weights, states, masks, dropout, the call of the kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from fusedlstm import activations, backends, constraints, initializers, random, regularizers
from fusedlstm.backends import placement
from fusedlstm.layers import segments
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array, show_shape
from fusedlstm.layers.checks import level_of_caller
from fusedlstm.layers.kernel_calls import KernelCall, Steps, run
from fusedlstm.layers.recurrent_calls import INITIAL, Back, Kind
from fusedlstm.variables import Variable

#: The weights that the pack kernels take, the others being the forward kernels'.
PACKED = ("kernel", "recurrent", "bias", "gate_recurrence", "projection")

#: How many kinds of calls are kept: with sequences of many lengths there is no end to them.
_MOST_KINDS = 256

_warned: set[str] = set()  # activations without a kernel


class Recurrent(Layer):
    """Base of the layers with fused kernels. B batch, T steps, I features of the inputs, H units.

    A subclass names its kernels, gates, activations and states, makes its own weights in `make_weights` and passes its
    own options on in `kernel_options`.

    Parameters
    ----------
    units : int
        H, the width of the output and of each state.
    activation : str, Activation or function
        "tanh", "sigmoid", "relu", "linear" (or None), "hard_sigmoid", "softsign", "elu" and "softplus" all run in the
        same kernels. With any other one, also one of your own, the layer runs step by step in NumPy, with a warning
        that names it, once. See `fusedlstm.activations.get`.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on the weights; part of the loss.
    activity_regularizer : str or Regularizer, optional
        A penalty on the outputs.
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
        What the weights are made to keep to after each update.
    dropout, recurrent_dropout : float
        In training, the share of the inputs, and of the state, that is set to 0 ahead of the products, the others
        being scaled up; drawn once a call for each row, the same for all steps (Gal and Ghahramani 2016). With
        `recurrent_dropout` each gate has masks of its own, otherwise they share the inputs'.
    seed : int, optional
        Makes the sequence of random masks repeatable; else `fusedlstm.utils.set_random_seed` does.
    return_sequences : bool
        Outputs (B,T,H), every step's, instead of the last one's (B,H).
    return_state : bool
        Outputs a list: the outputs, then the final states (B,H).
    go_backwards : bool
        Read the steps from last to first; the outputs stay in the order in which they were computed.
    stateful : bool
        Start each call from the states that the last one ended with, row by row, until `reset_state`. The number of
        rows has to be fixed: ``batch_input_shape=``, or ``Input(..., batch_size=)``.
    zero_output_for_mask : bool
        The output of a masked step is 0 instead of the previous output.
    unroll, use_cudnn, implementation
        Accepted for the sake of programs that have them, without effect.
    **kwargs
        Those of `Layer`: name, dtype, trainable, input_shape ...

    Notes
    -----
    A mask (B,T), True where a step is to be used, goes with the call: ``layer(x, mask=mask)``. A masked step carries
    the states over; its output is the previous one, or 0 if there was none yet (even with an initial state).
    ``initial_state=[...]``, each (B,H), goes with the call too.
    """

    call_arguments = ("initial_state",)
    caches = ("_pack", "_prepared", "_kinds")
    #: With `stateful`, the number of steps, but not all, after which a call keeps the states; None: after all.
    keep_after: int | None = None
    #: The kernels' name, how many gates the weights hold side by side, and which arguments are activations.
    kernels: ClassVar[str]
    gates: ClassVar[int]
    activation_names: ClassVar[tuple[str, ...]] = ("activation",)
    #: What `build` makes.
    kernel: Variable
    recurrent_kernel: Variable
    bias: Variable | None = None

    def __init__(
        self,
        units: int,
        *,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        recurrent_constraint: Any,
        bias_constraint: Any,
        dropout: float,
        recurrent_dropout: float,
        seed: int | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        unroll: bool,
        zero_output_for_mask: bool,
        implementation: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = self.positive_integer("units", units)
        #: The states and their widths; the first one is the output too.
        self.state_sizes = {"h": self.units}
        self.activation = self.find_activation("activation", activation)
        self.use_bias = self.boolean("use_bias", use_bias)
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.recurrent_initializer = self.initializer("recurrent_initializer", recurrent_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.kernel_regularizer = self.regularizer("kernel_regularizer", kernel_regularizer)
        self.recurrent_regularizer = self.regularizer("recurrent_regularizer", recurrent_regularizer)
        self.bias_regularizer = self.regularizer("bias_regularizer", bias_regularizer)
        self.kernel_constraint = self.constraint("kernel_constraint", kernel_constraint)
        self.recurrent_constraint = self.constraint("recurrent_constraint", recurrent_constraint)
        self.bias_constraint = self.constraint("bias_constraint", bias_constraint)
        self.dropout = self.fraction("dropout", dropout)
        self.recurrent_dropout = self.fraction("recurrent_dropout", recurrent_dropout)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise ValueError(f"{self.label}: expected seed to be an integer from 0 on, got {seed!r}")
        self.seed = seed
        self._generator = random.generator(seed) if self.dropout or self.recurrent_dropout else None
        self.return_sequences = self.boolean("return_sequences", return_sequences)
        self.return_state = self.boolean("return_state", return_state)
        self.go_backwards = self.boolean("go_backwards", go_backwards)
        self.stateful = self.boolean("stateful", stateful)
        self.states: list[Array] | None = None  # after the last call, of a stateful layer
        self.batch: int | None = None  # B, of a stateful layer, once built
        self.unroll = self.boolean("unroll", unroll)
        self.zero_output_for_mask = self.boolean("zero_output_for_mask", zero_output_for_mask)
        self.implementation = implementation
        self.inputs: int | None = None  # I, once built
        # The weights by the kernels' names for them, once built: all; what is packed ahead of a call; the others.
        self.parts: dict[str, Variable] = {}
        self._packing: dict[str, Variable] = {}
        self._passed: dict[str, Variable] = {}
        self._pack: tuple[Any, bool, Any] | None = None  # (what it was made from, for training, the packed weights)
        self._prepared: tuple[Any, Callable[[], Any]] | None = None  # (for what, the function that packs them)
        self._kinds: dict[Any, Kind] | None = None  # of the calls so far

    def find_activation(self, argument: str, identifier: Any) -> activations.Activation:
        """The activation that `identifier` names; warns, once for each, if the kernels do not have it."""
        activation: activations.Activation = self.find(activations.get, argument, identifier)
        if activation.kernel is None and activation.name not in _warned:
            whose = " (your own)" if activation.own else ""
            warnings.warn(
                f"{self.label}: the kernels do not have {argument} '{activation.name}'{whose}: the layer runs step by "
                "step in NumPy, which takes about 5 times as long with 256 units, 50 times with 8",
                stacklevel=level_of_caller(),
            )
            _warned.add(activation.name)
        return activation

    # Shapes and weights.

    def expected_inputs(self) -> str:
        return f"(batch, steps, {'features' if self.inputs is None else self.inputs})"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3 and (self.inputs is None or shape[2] == self.inputs or shape[2] is None)

    def bias_shape(self) -> tuple[int, ...]:
        """Of the bias that `build` creates."""
        return (self.gates * self.units,)

    def build(self, input_shape: Any) -> None:
        """Create kernel, recurrent_kernel and, with `use_bias`, bias.

        Parameters
        ----------
        input_shape : tuple
            (B,T,I); only I has to be known, and B of a stateful layer.
        """
        batch, _, inputs = self.check_shape(input_shape)
        if inputs is None:
            raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(input_shape)}")
        if self.stateful and batch is None:
            raise ValueError(
                f"{self.label}: expected a fixed batch size with stateful=True: give batch_input_shape=, or "
                "Input(..., batch_size=)"
            )
        parts = self.make_weights(inputs)
        for variable in parts.values():
            setattr(self, variable.name, variable)
        self.parts = parts
        self._packing = {name: variable for name, variable in parts.items() if name in PACKED}
        self._passed = {name: variable for name, variable in parts.items() if name not in PACKED}
        self._pack = self._prepared = self._kinds = None
        self.inputs, self.batch = inputs, batch if self.stateful else None
        self.set_variables(list(parts.values()))

    def make_weights(self, inputs: int) -> dict[str, Variable]:
        """The weights in their order, by the names that the kernels' arguments and gradients have for them."""
        columns = self.gates * self.units
        made = {
            "kernel": self._weight("kernel", (inputs, columns), "kernel"),
            "recurrent": self._weight("recurrent_kernel", (self.state_sizes["h"], columns), "recurrent"),
        }
        if self.use_bias:
            made["bias"] = self._weight("bias", self.bias_shape(), "bias")
        return made

    def _weight(self, name: str, shape: tuple[int, ...], part: str) -> Variable:
        initializer, regularizer, constraint = (
            getattr(self, f"{part}_{kind}") for kind in ("initializer", "regularizer", "constraint")
        )
        return self.new_weight(name, shape, initializer, regularizer=regularizer, constraint=constraint)

    def reset_state(self) -> None:
        self.states = None

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """What a call without an initial state starts from: zeros (B,·) for each state."""
        return [np.zeros((batch_size, size), self.dtype) for size in self.state_sizes.values()]

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, steps, _ = self.check_shape(input_shape)
        states = [(batch, size) for size in self.state_sizes.values()]
        y = (batch, steps, self.state_sizes["h"]) if self.return_sequences else states[0]
        return [y, *states] if self.return_state else y

    def call_shape(self, input_shape: Any, state_shapes: Sequence[Shape], arguments: Mapping[str, Any]) -> Any:
        if state_shapes:
            self._check_state_shapes(state_shapes, self.check_shape(input_shape)[0])
        return self.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        y_mask = mask if self.return_sequences else None
        return [y_mask, *[None] * len(self.state_sizes)] if self.return_state else y_mask

    # Around the kernels.

    def pack_options(self) -> dict[str, Any]:
        """Keyword arguments of the pack kernel besides the weights."""
        return {}

    def _settings(self) -> tuple[Any, ...]:
        """What the way a call is made depends on, besides what comes with it, and `kernel_options`."""
        return (
            self.activation, getattr(self, "recurrent_activation", None), self.return_sequences, self.return_state,
            self.stateful, self.keep_after, self.zero_output_for_mask, self.dropout, self.recurrent_dropout,
        )  # fmt: skip

    def kernel_options(self, training: bool) -> dict[str, Any]:
        """Keyword arguments of the forward kernel that are this layer's own; calls are found again by their values."""
        return {}

    def _packed(self, backend: ModuleType, training: bool) -> Any:
        """The weights as the kernels read them; packed anew only when they, or the backend, changed."""
        version = 0  # of all together: none ever goes down, so the sum tells any two apart
        for variable in self._packing.values():
            version += variable.version
        key = (backend, backend.generation, version)
        # One tuple, read and replaced in one go: several threads may run the layer at once.
        cached = self._pack
        if cached is not None and cached[0] == key and cached[1] >= training:
            return cached[2]
        cached = self._pack = None  # gives the buffer back that the new one is to have
        for_whom = (backend, backend.generation, training)
        prepared = self._prepared
        if prepared is None or prepared[0] != for_whom:
            arrays = {name: variable.value for name, variable in self._packing.items()}
            bias = arrays.pop("bias", None)
            options = {**arrays, **self.pack_options()}
            pack = backend.prepare_pack(f"{self.kernels}_pack", bias=bias, training=training, **options)
            prepared = self._prepared = (for_whom, pack)
        packed = prepared[1]()
        self._pack = (key, training, packed)
        return packed

    def _check_state(self, initial_state: Any, batch: int) -> list[Array]:
        if len(self.state_sizes) == 1 and placement.is_array(initial_state):
            initial_state = [initial_state]
        if not isinstance(initial_state, list | tuple):
            raise self._wrong_states(type(initial_state).__name__)
        if len(initial_state) != len(self.state_sizes):
            raise self._wrong_states(f"{len(initial_state)} arrays")
        if self._are_states(initial_state, batch):
            return list(initial_state)
        arrays = [
            real_array(self.label, f"initial_state {name}", state)
            for name, state in zip(self.state_sizes, initial_state, strict=True)
        ]
        self._check_state_shapes([array.shape for array in arrays], batch)
        return [placement.contiguous(array, self.dtype) for array in arrays]

    def _are_states(self, given: Sequence[Any], batch: int) -> bool:
        """Whether they are arrays as the kernels take them."""
        if placement.array_type is not np.ndarray:
            return False
        for size, state in zip(self.state_sizes.values(), given, strict=True):
            if type(state) is not np.ndarray or state.dtype != self.dtype or state.shape != (batch, size):
                return False
            if not state.flags.c_contiguous:
                return False
        return True

    def _wrong_states(self, got: str) -> ValueError:
        names = ", ".join(self.state_sizes)
        return ValueError(f"{self.label}: expected initial_state to be a list [{names}], got {got}")

    def _check_state_shapes(self, shapes: Sequence[Shape], batch: int | None) -> None:
        """Raise a ValueError unless initial states may have these shapes; an unknown batch size fits any."""
        if len(shapes) != len(self.state_sizes):
            raise self._wrong_states(f"{len(shapes)} arrays")
        for (name, size), shape in zip(self.state_sizes.items(), shapes, strict=True):
            if len(shape) != 2 or shape[1] != size or (shape[0] != batch and None not in (shape[0], batch)):
                expected = show_shape((batch, size))
                raise ValueError(f"{self.label}: expected initial_state {name} {expected}, got {show_shape(shape)}")

    def stream(self, batch_size: int = 1, initial_state: Any = None) -> Any:
        """Inference one step a call, with the states kept in between: what a service does with a live signal.

        The weights are those of now: a stream does not see later changes. Each thread needs a stream of its own.

        Parameters
        ----------
        batch_size : int
            B, how many sequences run side by side.
        initial_state : list of arrays, optional
            As in a call of the layer; zeros if None.

        Returns
        -------
        stream
            ``stream(x)`` takes the inputs of a step (B,I), of the layer's dtype, and returns its outputs (B,H);
            ``stream.states`` is a copy of the states, ``stream.reset(states=None)`` sets them.
        """
        if self.inputs is None:
            raise RuntimeError(f"{self.label}: expected a layer that is built, call it or build it first")
        if self.go_backwards:
            raise ValueError(
                f"{self.label}: expected go_backwards=False for a stream, which has no last step to begin at"
            )
        batch_size = self.positive_integer("batch_size", batch_size)
        given = self.get_initial_state(batch_size)
        if initial_state is not None:
            given = [state.copy() for state in self._check_state(initial_state, batch_size)]
        backend, options = self._backend_and_options(False, False)
        options |= {name: variable.numpy() for name, variable in self._passed.items()}
        states = dict(zip((INITIAL[name] for name in self.state_sizes), given, strict=True))
        x = np.zeros((batch_size, 1, self.inputs), self.dtype)
        name = f"{self.kernels}_forward"
        return backend.recurrent_stream(name, self.label, self._packed(backend, False), x, states, **options)

    def _backend_and_options(self, training: bool, keep: bool) -> tuple[ModuleType, dict[str, Any]]:
        """The backend that has the layer's activations, and what its forward kernel is told of the layer itself."""
        backend, options = backends.current(), self.kernel_options(training)
        for name in self.activation_names:
            activation: activations.Activation = getattr(self, name)
            options[name] = activation.kernel or activation
            if activation.kernel is None:
                backend = backends.load("reference")
                if keep:
                    activation.require_derivative(f"{self.label}: {name}")
        for name, variable in self._passed.items():
            options[name] = variable.value
        return backend, options

    def _masks(self, batch: int, steps: int) -> dict[str, Array]:
        """What is drawn for one call: dropout masks (sets,B,I) and (sets,B,P)."""
        masks: dict[str, Array] = {}
        sets = self.gates if self.recurrent_dropout else 1
        for name, rate, width in (
            ("input_dropout", self.dropout, self.inputs),
            ("recurrent_dropout", self.recurrent_dropout, self.state_sizes["h"]),
        ):
            if rate:
                assert self._generator is not None
                masks[name] = random.dropout_factors(self._generator, (sets, batch, width), rate, self.dtype)  # type: ignore[arg-type]
        return masks

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
        """Run over a batch of sequences.

        Parameters
        ----------
        inputs : (B,T,I) array
        training : bool
        mask : (B,T) array of bool, optional
            True: use the step.
        initial_state : list of (B,H) arrays, optional
            One for each state, as wide as it; zeros if None.
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : (B,T,H) or (B,H) array, or with `return_state` a list of that and the final states
        backward : function or None
            Takes the gradient of the outputs (any of a list's may be None: zero); returns that of the inputs, or
            [d_inputs, and one for each state] if there was an initial state.
        """
        keep = training if need_backward is None else need_backward
        kind, x, packed, arrays = self._ahead(inputs, training, mask, initial_state, keep)
        if kind.ends is None:
            results = kind.forward(x, packed, **arrays) if arrays else kind.forward(x, packed)
        else:
            results = run(kind.in_segments(x, packed, arrays))
        return self._after(kind, results, keep, initial_state is not None, need_d_inputs)

    def forward_steps(
        self,
        inputs: Any,
        training: bool,
        mask: Any,
        initial_state: Any,
        need_backward: bool | None,
        need_d_inputs: bool,
    ) -> Steps:
        """`forward` around its call of the kernels, for `run_together`: returns, as generators do, what it returns."""
        keep = training if need_backward is None else need_backward
        kind, x, packed, arrays = self._ahead(inputs, training, mask, initial_state, keep)
        if kind.ends is None:
            results = yield KernelCall(kind.backend, kind.forward, (x, packed), arrays)
        else:
            results = yield from kind.in_segments(x, packed, arrays)
        return self._after(kind, results, keep, initial_state is not None, need_d_inputs)

    def _ahead(
        self, inputs: Any, training: bool, mask: Any, initial_state: Any, keep: bool
    ) -> tuple[Kind, Array, Any, dict[str, Array]]:
        """What kind of call it is, the inputs, the packed weights, and the other arrays by the kernels' names."""
        x = self.check_inputs(inputs)
        if mask is not None:
            mask = self.check_mask(mask, x.shape[:2])
        if self.batch is not None and len(x) != self.batch:
            raise ValueError(f"{self.label}: expected {self.batch} rows, as it is stateful, got {len(x)}")
        states: Any = self.states if initial_state is None else initial_state
        if states is not None:  # a prepared call does not look at shapes and dtypes again
            states = self._check_state(states, len(x))
        if self.go_backwards:
            x = x[:, ::-1]
            mask = mask if mask is None else mask[:, ::-1]
        arrays: dict[str, Any] = {}
        if states:
            for name, state in zip(self.state_sizes, states, strict=True):
                arrays[INITIAL[name]] = placement.place(state)
        if mask is not None:
            arrays["mask"] = mask
        backend = backends.current()
        kinds = self._kinds
        if kinds is None:
            kinds = self._kinds = {}
        key = (
            backend, backend.generation, x.shape, x.dtype, training, keep, *arrays, self._settings(),
            *self.kernel_options(training).items(),
        )  # fmt: skip
        kind = kinds.get(key)
        options: dict[str, Any] = {}
        if kind is None:
            backend, options = self._backend_and_options(training, keep)
        else:
            backend = kind.backend
        if training and self._generator is not None:
            arrays.update(self._masks(len(x), x.shape[1]))
        packed = self._packed(backend, keep)
        if kind is None:
            if len(kinds) >= _MOST_KINDS:
                kinds.clear()
            kind = kinds[key] = self._kind(backend, options, x, packed, arrays, keep)
        return kind, x, packed, arrays

    def _kind(
        self,
        backend: ModuleType,
        options: dict[str, Any],
        x: Array,
        packed: Any,
        arrays: dict[str, Array],
        keep: bool,
    ) -> Kind:
        """Of calls like this one."""
        options = {
            **options,
            "return_sequences": self.return_sequences,
            "zero_output_for_mask": self.zero_output_for_mask,
            "training": keep,
        }
        name = f"{self.kernels}_forward"
        ends = segments.ends(x.shape[1], keep, self.keep_after)
        forward = getattr(backend, name)
        if ends is None:
            need_states = self.return_state or self.stateful
            forward = backend.prepare_forward(name, x, packed, arrays, need_states, **options)
        numbers = self.gates * self.units + sum(self.state_sizes.values())
        return Kind(backend, forward, getattr(backend, f"{self.kernels}_backward"), options, ends, numbers)

    def _after(
        self, kind: Kind, results: Sequence[Any], keep: bool, given: bool, need_d_inputs: bool
    ) -> tuple[Any, Back | None]:
        """The outputs, and the way back."""
        y, saved = results[0], results[-1]
        if self.stateful:
            after = results[1:-1] if self.keep_after is None else saved.states_after(0)
            self.states = [state.copy() for state in after]  # the outputs are the caller's to change
        outputs = list(results[:-1]) if self.return_state else y
        return outputs, Back(self, kind, saved, y.shape, given, need_d_inputs) if keep else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["units"] = self.units
        for name in self.activation_names:
            config[name] = activations.serialize(getattr(self, name))
        for name in ("kernel", "recurrent", "bias"):
            config[f"{name}_initializer"] = initializers.serialize(getattr(self, f"{name}_initializer"))
            config[f"{name}_regularizer"] = regularizers.serialize(getattr(self, f"{name}_regularizer"))
            config[f"{name}_constraint"] = constraints.serialize(getattr(self, f"{name}_constraint"))
        for name in (
            "use_bias", "dropout", "recurrent_dropout", "seed", "return_sequences", "return_state", "go_backwards",
            "stateful", "unroll", "zero_output_for_mask",
        ):  # fmt: skip
            config[name] = getattr(self, name)
        return config

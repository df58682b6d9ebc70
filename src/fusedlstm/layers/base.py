"""What every layer is: named, built from an input shape, run forward and, by hand, backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from fusedlstm import regularizers
from fusedlstm.backends import placement
from fusedlstm.layers.calling import forward_of_call, shape_of_call
from fusedlstm.layers.checks import (
    FLOATS,
    Array,
    Shape,
    automatic_name,
    find,
    show_shape,
)
from fusedlstm.layers.weights import Weighted
from fusedlstm.symbolic import FOLLOWING, Node, SymbolicTensor, is_symbolic, record
from fusedlstm.tables import real_array

__all__ = [
    "FLOATS",
    "Array",
    "Backward",
    "Layer",
    "Shape",
    "automatic_name",
    "find",
    "real_array",
    "show_shape",
]

#: Takes the gradient of the outputs, returns that of the inputs.
Backward = Callable[[Any], Any]


# How many rows of what a layer gets are the steps of one sample.
_rows_per_sample: ContextVar[int] = ContextVar("rows_per_sample", default=1)


@contextmanager
def steps_as_rows(steps: int) -> Iterator[None]:
    """While layers run on the steps of samples as rows: penalties are divided by the number of samples all the same."""
    token = _rows_per_sample.set(_rows_per_sample.get() * max(steps, 1))
    try:
        yield
    finally:
        _rows_per_sample.reset(token)


class Layer(Weighted):
    """Base of all layers.

    A subclass defines `build` (create the weights, with `add_weight`), `compute_output_shape` and `forward`. Instead of
    the last two it may define ``call(inputs)``: made of other layers, its attributes, and arithmetic alone, it can be
    trained; made of anything else in NumPy, it can predict but not be trained.

    Parameters
    ----------
    activity_regularizer : str or Regularizer, optional
        A penalty on the outputs, divided by the number of rows; part of the loss.
    trainable : bool
        Whether training changes the weights. Setting it later sets it for the layers inside too.
    dtype : {"float32", "float64"}, optional
        Of the weights and of what the layer computes; float32 if None.
    name : str, optional
        `dense`, `dense_1` ... if None.
    input_shape, batch_input_shape : tuple of int or None, optional
        Shape of one sample, or with the batch size ahead: lets a model whose first layer this is be built at once.
    batch_size : int, optional
        With `input_shape`, if it is always the same.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.

    Attributes
    ----------
    built : bool
    gradients : list of arrays
        After a backward call: of the loss with respect to `trainable_weights`, in their order.
    nodes : list of Node
        Its calls on symbolic tensors.

    Raises
    ------
    TypeError
        For an unknown argument, by its name.
    ValueError
        For a value out of its domain.
    """

    #: What `layer(x, ...)` takes besides training and mask.
    call_arguments: tuple[str, ...] = ()
    #: Which of them are masks, and may be symbolic tensors.
    mask_arguments: tuple[str, ...] = ()
    #: Whether the mask may stand second in a call, as in Keras; after it, or the initial state, training has a name.
    mask_is_second = False
    #: Whether `compute_mask` may return a mask where none came in.
    makes_mask = False
    #: Whether to ask `forward_masked`, which returns the outputs' masks along with them: models, layers with ``call``.
    forwards_masks = False
    #: Whether inputs of integers are left as they are.
    takes_integers = False
    #: Whether a model's inputs are to be left on the host for it: it looks at the numbers before it computes.
    looks_at_inputs = False
    #: Whether it keeps a state from one call to the next.
    stateful = False
    #: That state, None after `reset_state`.
    states: Any = None
    #: Whether any layer was ever made with an `activity_regularizer`; if not, no call looks for old penalties.
    penalized = False
    #: Attributes that copies and pickles start without, as None: what is made anew when it is missing.
    caches: tuple[str, ...] = ()
    #: Instead of the class's name in automatic names.
    automatic_stem: str | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "call" not in vars(cls) or "forward" in vars(cls):
            return
        if cls.forward is Layer.forward:
            cls.forwards_masks = True
        elif not any(hasattr(base, "call") for base in cls.__bases__):
            raise TypeError(
                f"{cls.__name__}: defines call, but inherits forward, which is what runs: define forward, or a "
                "subclass of Layer that holds the other layer"
            )

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        input_dim: int | None = None,
        **unknown: Any,
    ) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"{type(self).__name__}: expected name to be a non-empty string without '/', got {name!r}")
        self.name = automatic_name(type(self), self.automatic_stem) if name is None else name
        if unknown:
            raise TypeError(f"{self.label}: unknown argument {', '.join(map(repr, unknown))}")
        self.activity_regularizer: regularizers.Regularizer | None = self.regularizer(
            "activity_regularizer", activity_regularizer
        )
        if self.activity_regularizer is not None:
            Layer.penalized = True
        self.dtype = self._check_dtype(dtype)
        super().__init__(self.boolean("trainable", trainable))
        self.gradients: list[Array] = []
        self.nodes: list[Node] = []
        self.activity_losses: list[float] = []
        self.traces: dict[Any, Any] = {}  # of a subclass's `call`, by the inputs' shapes
        if input_dim is not None:
            input_shape = (self.positive_integer("input_dim", input_dim),)
        if input_shape is not None:
            batch = None if batch_size is None else self.positive_integer("batch_size", batch_size)
            batch_input_shape = (batch, *self._check_dimensions("input_shape", input_shape))
        elif batch_input_shape is not None:
            batch_input_shape = self._check_dimensions("batch_input_shape", batch_input_shape)
        self.batch_input_shape: Shape | None = batch_input_shape

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    # Shapes.

    def expected_inputs(self) -> str:
        """The inputs' shape in words, for errors."""
        return "(batch, ...)"

    def fits(self, shape: Shape) -> bool:
        """Whether inputs may have this shape."""
        return len(shape) >= 1

    def check_shape(self, shape: Any) -> Shape:
        """`shape` as a tuple, or a ValueError if inputs may not have it."""
        shape = self._check_dimensions("input_shape", shape)
        if not self.fits(shape):
            raise ValueError(f"{self.label}: expected inputs {self.expected_inputs()}, got {show_shape(shape)}")
        return shape

    def check_inputs(self, inputs: Any) -> Array:
        """Inputs as an array of a fitting shape and the layer's dtype; builds the layer if it is not yet.

        The array is where the backend computes, as are the layer's weights.
        """
        known = type(inputs) is placement.array_type
        if known and inputs.dtype == self.dtype and self.built and self.fits(inputs.shape):
            return inputs  # type: ignore[no-any-return]
        array = real_array(self.label, "inputs", inputs)
        if not self.built:
            self.build(array.shape)
        else:
            self.check_shape(array.shape)
        checked: Array = placement.place(array.astype(self.dtype, copy=False))
        return checked

    def check_mask(self, mask: Any, shape: tuple[int, ...]) -> Array:
        """A mask as an array of bool and the given shape; wherever it is, which is on the host as a rule."""
        mask = placement.as_array(mask)
        if mask.dtype.kind not in "biu":
            raise TypeError(f"{self.label}: expected mask to be of bool, got dtype {mask.dtype}")
        if mask.shape != shape:
            raise ValueError(f"{self.label}: expected mask {show_shape(shape)}, got {show_shape(mask.shape)}")
        checked: Array = mask.astype(bool, copy=False)
        return checked

    def check_gradient(self, output: str, gradient: Any, shape: tuple[int, ...], optional: bool = False) -> Any:
        """The gradient of an output in the layer's dtype, or a ValueError; None (zero) stays None if `optional`."""
        if gradient is None and optional:
            return None
        if type(gradient) is placement.array_type and gradient.dtype == self.dtype and gradient.shape == shape:
            return gradient
        array = placement.as_array(gradient).astype(self.dtype, copy=False)
        if array.shape != shape:
            raise ValueError(f"{self.label}: expected d_{output} {show_shape(shape)}, got {show_shape(array.shape)}")
        return placement.place(array)

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of this shape; sizes that do not matter may be None."""
        if getattr(self, "call", None) is None:
            self.compute_output_shape(input_shape)  # which checks it, one shape or several
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs, a list of shapes if there are several; the layer need not be built."""
        if getattr(self, "call", None) is not None:
            return shape_of_call(self, input_shape)
        return self.check_shape(input_shape)

    def call_shape(self, input_shape: Any, state_shapes: Sequence[Shape], arguments: Mapping[str, Any]) -> Any:
        """Shape of the outputs of a call with further arguments; for layers whose outputs depend on them.

        Parameters
        ----------
        input_shape : tuple or list of tuple
        state_shapes : sequence of tuple
            Of the arrays of ``initial_state=``, flat.
        arguments : mapping
            The others of `call_arguments` that were given; symbolic tensors among them when the call is recorded.
        """
        return self.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs' mask: the inputs', or of a layer with ``call``, which is run for it, what comes out of that."""
        if self.forwards_masks:
            return self.forward_masked(inputs, False, mask, False, False)[1]
        return mask

    def output_dtypes(self, count: int, inputs: Any) -> list[np.dtype[Any]]:
        """The dtype of each of `count` outputs, for symbolic inputs."""
        return [self.dtype] * count

    def input_dtype(self, place: int) -> np.dtype[Any] | None:
        """What one of the inputs is to be cast to; None: integers stay what they are."""
        return None if self.takes_integers else self.dtype

    def pack(self, outputs: list[Any], several: bool = False) -> Any:
        """The outputs in the structure in which a call returns them."""
        return outputs if several else outputs[0]

    # Penalties and states.

    @property
    def losses(self) -> list[float]:
        """The penalties: of the last call's outputs (`activity_regularizer`), then of the weights that are trained."""
        values = [float(value) for layer in self.all_layers() for value in layer.activity_losses]
        return values + [
            variable.regularizer(variable.value)
            for variable in self.trainable_weights
            if variable.regularizer is not None
        ]

    def penalize(self, outputs: Any, backward: Backward | None) -> Backward | None:
        """Note the `activity_regularizer`'s penalty of a call's outputs, and put its gradient into `backward`."""
        add = self.penalty(outputs)
        return None if backward is None else lambda d_outputs: backward(add(d_outputs))

    def penalty(self, outputs: Any) -> Callable[[Any], Any]:
        """Note the `activity_regularizer`'s penalty of a call's outputs; what adds its gradient to theirs."""
        assert self.activity_regularizer is not None
        gradients = []
        for output in outputs if isinstance(outputs, list) else [outputs]:
            rows = max(len(output), 1) / _rows_per_sample.get()
            value, gradient = self.activity_regularizer.value_and_gradient(output)
            self.activity_losses.append(value / rows)
            gradients.append(gradient / output.dtype.type(rows))

        def added(d_outputs: Any) -> Any:
            given = d_outputs if isinstance(outputs, list) else [d_outputs]
            sums = [g if d is None else d + g for d, g in zip(given, gradients, strict=True)]
            return sums if isinstance(outputs, list) else sums[0]

        return added

    def reset_state(self) -> None:
        """Forget the state of a `stateful` layer: the next call starts from zeros; so for the layers inside."""
        for layer in self.sublayers:
            layer.reset_state()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    # Running.

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        """Outputs, and the function that takes their gradient back.

        Parameters
        ----------
        inputs : array, or list of arrays for a layer of several inputs
        training : bool
            Whether to behave as in training (dropout).
        mask : (B,T) array of bool, optional
            True: use the step.
        need_backward : bool, optional
            Whether to keep what backward needs; as `training` if None.
        need_d_inputs : bool
            Without it backward returns None for `d_inputs`.

        Returns
        -------
        outputs : array, or list of arrays
        backward : function or None
            ``backward(d_outputs)`` returns `d_inputs` and sets `gradients`. To be called at most once. None unless
            it was asked for.
        """
        if getattr(self, "call", None) is None:
            raise TypeError(f"{self.label}: a subclass of Layer has to define forward, or call")
        keep = training if need_backward is None else need_backward
        outputs, _, backward = forward_of_call(self, inputs, training, mask, keep, need_d_inputs)
        return outputs, backward

    def forward_masked(
        self, inputs: Any, training: bool, mask: Any, need_backward: bool, need_d_inputs: bool
    ) -> tuple[Any, Any, Backward | None]:
        """As `forward`, with the outputs' mask, or list of masks, in the middle; where `forwards_masks`."""
        return forward_of_call(self, inputs, training, mask, need_backward, need_d_inputs)

    def __call__(self, inputs: Any, training: Any = None, mask: Any = None, **arguments: Any) -> Any:
        """The outputs for an array, the layer being built on first use; or for symbolic tensors, symbolic ones.

        Where Keras has it so, an initial state or a mask may stand in the place of training.
        """
        for name in arguments:
            if name not in self.call_arguments:
                raise TypeError(f"{self.label}: unknown argument {name!r}")
        if training is not None and type(training) is not bool:
            training, mask, arguments = self._second(training, mask, arguments)
        if type(inputs) is not placement.array_type:  # an array is neither a list nor symbolic
            if "initial_state" in self.call_arguments and arguments.get("initial_state") is None:
                inputs, arguments = self._split_states(inputs, arguments)
            if is_symbolic(inputs):
                return record(self, inputs, training, mask, arguments)
        if Layer.penalized:
            for layer in self.all_layers():
                layer.activity_losses.clear()
        outputs, _ = self.forward(inputs, bool(training), mask, need_backward=False, **arguments)
        if self.activity_regularizer is not None:
            self.penalize(outputs, None)
        return placement.returned(outputs, inputs)

    def _second(self, given: Any, mask: Any, arguments: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        """training, mask and the other arguments, when something else than True or False came in training's place."""
        if given is FOLLOWING or isinstance(given, int | np.integer | np.bool_):
            return given, mask, arguments
        if isinstance(given, list | tuple | SymbolicTensor) or placement.is_array(given):
            if "initial_state" in self.call_arguments and arguments.get("initial_state") is None:
                return None, mask, {**arguments, "initial_state": given}
            if self.mask_is_second and mask is None:
                return None, given, arguments
        raise TypeError(f"{self.label}: expected training to be True, False or None, got {given!r}")

    @staticmethod
    def _split_states(inputs: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The inputs alone, and the arguments with the states that stood after them in a list ``[x, h, c]``."""
        if (
            isinstance(inputs, list | tuple)
            and len(inputs) > 1
            and all(isinstance(x, SymbolicTensor) or placement.is_array(x) for x in inputs)
            and inputs[0].ndim > inputs[1].ndim  # else they are rows of one array
        ):
            return inputs[0], {**arguments, "initial_state": list(inputs[1:])}
        return inputs, arguments

    def _first_node(self) -> Node:
        if not self.nodes:
            raise ValueError(f"{self.label}: has no input and output yet: call it on symbolic tensors first")
        return self.nodes[0]

    @property
    def input(self) -> Any:
        """What the layer was first called on: a symbolic tensor, or a list."""
        node = self._first_node()
        return list(node.inputs) if node.listed else node.inputs[0]

    @property
    def output(self) -> Any:
        """What that call returned: a symbolic tensor, or a list."""
        outputs: tuple[SymbolicTensor, ...] = self._first_node().outputs
        return list(outputs) if len(outputs) > 1 else outputs[0]

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in self.caches else value for name, value in vars(self).items()}

    # Configuration.

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal layer, as plain values."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` gave."""
        return cls(**config)

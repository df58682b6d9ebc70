"""What every layer is: named, built from an input shape, run forward and, by hand, backward."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import initializers
from fusedlstm.variables import Variable

Array = NDArray[Any]
Shape = tuple[int | None, ...]
#: Takes the gradient of the outputs, returns that of the inputs.
Backward = Callable[[Any], Any]

FLOATS: dict[str, np.dtype[Any]] = {"float32": np.dtype("float32"), "float64": np.dtype("float64")}

_counters: dict[str, itertools.count[int]] = {}


def automatic_name(cls: type) -> str:
    """`lstm`, `lstm_1` ... for an `LSTM`: snake case, then how many there were before."""
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    number = next(_counters.setdefault(stem, itertools.count()))
    return f"{stem}_{number}" if number else stem


class Layer:
    """Base of all layers.

    A subclass defines `build` (create the weights, with `add_weight`), `compute_output_shape` and `forward`.

    Parameters
    ----------
    activity_regularizer : None
        Accepted for the sake of its place in the signature; anything but None raises.
    trainable : bool
        Whether training changes the weights.
    dtype : {"float32", "float64"}, optional
        Of the weights and of what the layer computes; float32 if None.
    name : str, optional
        `dense`, `dense_1` ... if None.
    input_shape, batch_input_shape : tuple of int or None, optional
        Shape of one sample, or with the batch size ahead: lets a model whose first layer this is be built at once.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.

    Attributes
    ----------
    built : bool
    gradients : list of arrays
        After a backward call: of the loss with respect to `trainable_weights`, in their order.

    Raises
    ------
    TypeError
        For an unknown argument, by its name.
    ValueError
        For a value out of its domain.
    """

    #: What `layer(x, ...)` takes besides training and mask.
    call_arguments: tuple[str, ...] = ()
    #: Whether `compute_mask` may return a mask where none came in.
    makes_mask = False

    def __init__(
        self,
        *,
        activity_regularizer: None = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        **unknown: Any,
    ) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"{type(self).__name__}: expected name to be a non-empty string without '/', got {name!r}")
        self.name = automatic_name(type(self)) if name is None else name
        if unknown:
            raise TypeError(f"{self.label}: unknown argument {', '.join(map(repr, unknown))}")
        self.unavailable("activity_regularizer", activity_regularizer, None)
        self.dtype = self._check_dtype(dtype)
        self.trainable = self.boolean("trainable", trainable)
        self.built = False
        self.gradients: list[Array] = []
        self._weights: list[Variable] = []
        if input_dim is not None:
            input_shape = (self.positive_integer("input_dim", input_dim),)
        if input_shape is not None:
            batch_input_shape = (None, *self._check_dimensions("input_shape", input_shape))
        elif batch_input_shape is not None:
            batch_input_shape = self._check_dimensions("batch_input_shape", batch_input_shape)
        self.batch_input_shape: Shape | None = batch_input_shape

    # Names and checks.

    @property
    def label(self) -> str:
        """How errors call the layer: ``LSTM 'encoder'``."""
        return f"{type(self).__name__} '{self.name}'"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def _check_dtype(self, dtype: Any) -> np.dtype[Any]:
        if dtype is None:
            return FLOATS["float32"]
        try:
            return FLOATS[np.dtype(dtype).name]
        except (TypeError, KeyError):
            raise ValueError(f"{self.label}: expected dtype 'float32' or 'float64', got {dtype!r}") from None

    def _check_dimensions(self, argument: str, shape: Any) -> Shape:
        if isinstance(shape, int | np.integer):
            shape = (shape,)
        try:
            shape = tuple(None if n is None else int(n) for n in shape)
        except (TypeError, ValueError):
            raise ValueError(f"{self.label}: expected {argument} to be a tuple of sizes, got {shape!r}") from None
        if any(n is not None and n < 0 for n in shape):
            raise ValueError(f"{self.label}: expected {argument} to have no negative size, got {shape}")
        return shape

    def positive_integer(self, argument: str, value: Any) -> int:
        """`value` if it is an integer above 0, else a ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value <= 0:
            raise ValueError(f"{self.label}: expected {argument} to be a positive integer, got {value!r}")
        return int(value)

    def boolean(self, argument: str, value: Any) -> bool:
        """`value` if it is True or False, else a TypeError."""
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{self.label}: expected {argument} to be True or False, got {value!r}")
        return bool(value)

    def fraction(self, argument: str, value: Any) -> float:
        """`value` if it is a number from 0 to 1, else a ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise ValueError(f"{self.label}: expected {argument} to be a number from 0 to 1, got {value!r}")
        return float(value)

    def unavailable(self, argument: str, value: Any, default: Any) -> None:
        """Refuse an argument that this version takes at its default only."""
        if value is not default and value != default:
            raise ValueError(f"{self.label}: {argument} is not available yet, expected {default!r}, got {value!r}")

    def find(self, get: Callable[[Any], Any], argument: str, identifier: Any) -> Any:
        """``get(identifier)`` with an error that names this layer and the argument."""
        return find(self.label, get, argument, identifier)

    def initializer(self, argument: str, identifier: Any) -> Any:
        """The initializer that `identifier` names, or an error that names this layer and the argument."""
        if identifier is None:
            raise ValueError(f"{self.label}: expected {argument} to be an initializer, got None")
        return self.find(initializers.get, argument, identifier)

    # Shapes and weights.

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
        """Inputs as an array of a fitting shape and the layer's dtype; builds the layer if it is not yet."""
        if type(inputs) is np.ndarray and inputs.dtype == self.dtype and self.built and self.fits(inputs.shape):
            return inputs
        array = real_array(self.label, "inputs", inputs)
        if not self.built:
            self.build(array.shape)
        else:
            self.check_shape(array.shape)
        return array.astype(self.dtype, copy=False)

    def check_mask(self, mask: Any, shape: tuple[int, ...]) -> Array:
        """A mask as an array of bool and the given shape."""
        mask = np.asarray(mask)
        if mask.dtype.kind not in "biu":
            raise TypeError(f"{self.label}: expected mask to be of bool, got dtype {mask.dtype}")
        if mask.shape != shape:
            raise ValueError(f"{self.label}: expected mask {show_shape(shape)}, got {show_shape(mask.shape)}")
        return mask.astype(bool, copy=False)

    def check_gradient(self, output: str, gradient: Any, shape: tuple[int, ...], optional: bool = False) -> Any:
        """The gradient of an output in the layer's dtype, or a ValueError; None (zero) stays None if `optional`."""
        if gradient is None and optional:
            return None
        if type(gradient) is np.ndarray and gradient.dtype == self.dtype and gradient.shape == shape:
            return gradient
        array = np.asarray(gradient, self.dtype)
        if array.shape != shape:
            raise ValueError(f"{self.label}: expected d_{output} {show_shape(shape)}, got {show_shape(array.shape)}")
        return array

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of this shape; sizes that do not matter may be None."""
        self.compute_output_shape(input_shape)  # which checks it, one shape or several
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs, a list of shapes if there are several; the layer need not be built."""
        return self.check_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs' mask; here the inputs'."""
        return mask

    def new_weight(
        self, name: str, shape: tuple[int, ...], initializer: Callable[..., Array], trainable: bool = True
    ) -> Variable:
        """A variable with initial values; `build` hands all of them to `set_variables` at once when none failed."""
        value = np.asarray(initializer(shape, dtype=self.dtype.name))
        if value.shape != shape:
            raise ValueError(f"{self.label}: expected the initializer of {name} to give {shape}, got {value.shape}")
        variable = Variable(value.astype(self.dtype, copy=False), name=name, trainable=trainable)
        variable.path = f"{self.name}/{name}"
        return variable

    def set_variables(self, variables: list[Variable]) -> None:
        """Make these the layer's weights: the last step of `build`."""
        self._weights = variables
        self.built = True

    @property
    def weights(self) -> list[Variable]:
        """All variables."""
        return list(self._weights)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that training changes; none if the layer is not `trainable`."""
        return [variable for variable in self.weights if variable.trainable] if self.trainable else []

    @property
    def learns(self) -> bool:
        """Whether there is any weight that training may change."""
        return self.trainable and bool(self._weights)

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that training leaves alone."""
        trainable = {id(variable) for variable in self.trainable_weights}
        return [variable for variable in self.weights if id(variable) not in trainable]

    def require_built(self) -> None:
        """Raise a ValueError if there are no weights yet."""
        if not self.built:
            raise ValueError(f"{self.label}: not built yet: call build(input_shape), or run it on data, first")

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        self.require_built()
        return sum(variable.value.size for variable in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies of the weights' arrays, in the order of `weights`."""
        self.require_built()
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights; nothing is changed if one of them does not fit.

        Parameters
        ----------
        weights : sequence of arrays
            In the order and of the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs, or the layer is not built.
        TypeError
            If an array does not hold real numbers.
        """
        self.require_built()
        variables = self.weights
        if len(weights) != len(variables):
            raise ValueError(f"{self.label}: expected {len(variables)} weights, got {len(weights)}")
        arrays = [variable.check(value) for variable, value in zip(variables, weights, strict=True)]
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

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
        raise TypeError(f"{self.label}: a subclass of Layer has to define forward")

    def __call__(self, inputs: Any, training: bool = False, mask: Any = None, **arguments: Any) -> Any:
        """The outputs for an array; the layer is built on first use."""
        for name in arguments:
            if name not in self.call_arguments:
                raise TypeError(f"{self.label}: unknown argument {name!r}")
        return self.forward(inputs, training, mask, need_backward=False, **arguments)[0]

    # Configuration.

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal layer, as plain values."""
        return {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` gave."""
        return cls(**config)


def find(owner: str, get: Callable[[Any], Any], argument: str, identifier: Any) -> Any:
    """``get(identifier)`` with an error that names owner and argument."""
    try:
        return get(identifier)
    except (TypeError, ValueError) as error:
        # Some errors start with the kind of thing that was looked for, which the argument's name says already.
        message = re.sub(r"^\w+: (?=expected)", "", str(error))
        raise type(error)(f"{owner}: {argument}: {message}") from error


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape as errors print it."""
    return str(tuple(shape))


def real_array(owner: str, argument: str, value: Any) -> Array:
    """`value` as an array of real numbers, or a TypeError that names owner and argument."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{owner}: expected {argument} to be an array, got a list of unequal lengths") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: expected {argument} to be an array of real numbers, got dtype {array.dtype}")
    return array

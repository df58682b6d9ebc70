"""Places that arrays will pass through: what `Input` returns, and what a layer returns when it is called on one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fusedlstm.layers.base import Layer

Shape = tuple[int | None, ...]


class SymbolicError(TypeError):
    """Something needs numbers where there is only a place for them."""


class Following:
    """What ``training`` is while a model's ``call`` is traced: layers may be given it, for they will know."""

    def __bool__(self) -> bool:
        raise SymbolicError("training is not known while call is traced: pass it on to the layers")


#: The one that there is.
FOLLOWING = Following()


class Node:
    """One call of a layer on symbolic tensors.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of SymbolicTensor
    listed : bool
        Whether the layer gets its inputs as a list.
    states : tuple of SymbolicTensor
        The initial state.
    masks : tuple of SymbolicTensor or None
        Given with the call, one for each input; None, or empty: those that come with the inputs.
    training : bool or None
        Given with the call; None: as the model runs.
    arguments : mapping
        What else was given with the call.
    tensors : mapping of str to SymbolicTensor
        Those of the further arguments that are symbolic.
    outputs : tuple of SymbolicTensor
    """

    __slots__ = ("arguments", "inputs", "layer", "listed", "masks", "outputs", "states", "tensors", "training")

    def __init__(
        self,
        layer: Layer,
        inputs: tuple[SymbolicTensor, ...] = (),
        listed: bool = False,
        states: tuple[SymbolicTensor, ...] = (),
        masks: tuple[SymbolicTensor | None, ...] = (),
        training: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
        tensors: Mapping[str, SymbolicTensor] | None = None,
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.listed = listed
        self.states = states
        self.masks = masks
        self.training = training
        self.arguments = dict(arguments or {})
        self.tensors = dict(tensors or {})
        self.outputs: tuple[SymbolicTensor, ...] = ()

    @property
    def taken(self) -> list[SymbolicTensor]:
        """Everything symbolic that it was given, in the order of its arguments."""
        every = (*self.inputs, *self.states, *self.masks, *self.tensors.values())
        return [tensor for tensor in every if tensor is not None]

    @property
    def parents(self) -> list[Node]:
        """The calls that it takes something from, in the order of its arguments."""
        return [tensor.node for tensor in self.taken]


class SymbolicTensor:
    """A place in a model that arrays will pass through.

    Arithmetic with numbers, arrays and other symbolic tensors, and slicing, give further ones; so does calling a
    layer on it.

    Attributes
    ----------
    shape : tuple of int or None
        With the batch size ahead.
    dtype : numpy dtype
    node : Node
        The call that it comes from.
    position : int
        Which of that call's outputs it is.
    """

    __slots__ = ("dtype", "node", "position", "shape")

    def __init__(self, node: Node, position: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.node = node
        self.position = position
        self.shape = tuple(shape)
        self.dtype = dtype

    @property
    def layer(self) -> Layer:
        """The layer that it comes from."""
        return self.node.layer

    @property
    def name(self) -> str:
        """The name of the layer that it comes from."""
        return self.node.layer.name

    @property
    def ndim(self) -> int:
        """How many axes it has, that of the batch included."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor '{self.name}' shape={self.shape} dtype={self.dtype}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise SymbolicError(
            f"'{self.name}' is symbolic and holds no numbers: make a Model of it and call that on arrays"
        )

    def __bool__(self) -> bool:
        raise SymbolicError(f"'{self.name}' is symbolic and is neither true nor false")

    def __len__(self) -> int:
        raise SymbolicError(f"'{self.name}' is symbolic and has no length; its shape is {self.shape}")

    def __iter__(self) -> Iterator[Any]:
        raise SymbolicError(f"'{self.name}' is one symbolic tensor of shape {self.shape} and cannot be unpacked")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        name = _UFUNCS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise SymbolicError(
                f"np.{ufunc.__name__} of the symbolic '{self.name}' is not available: use a layer, such as Activation"
            )
        return _arithmetic(name, *operands)

    def __getitem__(self, key: Any) -> SymbolicTensor:
        from fusedlstm.layers.operations import Slice

        made: SymbolicTensor = Slice(key, dtype=self.dtype)(self)
        return made

    def __add__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("add", self, other)

    def __radd__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("add", other, self)

    def __sub__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("subtract", self, other)

    def __rsub__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("subtract", other, self)

    def __mul__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("multiply", self, other)

    def __rmul__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("multiply", other, self)

    def __truediv__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("divide", self, other)

    def __rtruediv__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("divide", other, self)

    def __pow__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("power", self, other)

    def __rpow__(self, other: Any) -> SymbolicTensor:
        return _arithmetic("power", other, self)

    def __neg__(self) -> SymbolicTensor:
        return _arithmetic("multiply", self, -1)


# NumPy's functions that are the operators' own: an array on the left calls them.
_UFUNCS = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "true_divide": "divide",
    "power": "power",
    "negative": "negative",
}


def _arithmetic(name: str, a: Any, b: Any = -1) -> SymbolicTensor:
    """One of the operators on `a` and `b`, of which at least one is symbolic."""
    from fusedlstm.layers.operations import Arithmetic

    name = "multiply" if name == "negative" else name
    made: SymbolicTensor
    if isinstance(a, SymbolicTensor) and isinstance(b, SymbolicTensor):
        made = Arithmetic(name, dtype=_common(name, a.dtype, b.dtype))([a, b])
    elif isinstance(a, SymbolicTensor):
        made = Arithmetic(name, constant=b, dtype=_dtype(name, a, b))(a)
    else:
        made = Arithmetic(name, constant=a, reverse=True, dtype=_dtype(name, b, a))(b)
    return made


def _dtype(name: str, tensor: SymbolicTensor, constant: Any) -> Any:
    """The dtype of a tensor's arithmetic with a constant: the tensor's, unless whole numbers become fractions."""
    if tensor.dtype.kind == "f":
        return tensor.dtype
    whole = np.asarray(constant).dtype.kind in "iub"
    return _common(name, tensor.dtype, tensor.dtype if whole else np.dtype("float32"))


def _common(name: str, a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of two tensors' arithmetic: float64 if either is, float32, or that of the integers."""
    if name in ("add", "subtract", "multiply") and a.kind in "iu" and b.kind in "iu":
        return np.result_type(a, b)
    return np.dtype("float64" if "float64" in (a.name, b.name) else "float32")


def is_symbolic(value: Any) -> bool:
    """Whether there is a symbolic tensor in `value`: itself, or in a list, tuple or dict, nested once at most."""
    if isinstance(value, SymbolicTensor):
        return True
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return any(
        isinstance(item, SymbolicTensor)
        or (isinstance(item, list | tuple) and any(isinstance(inner, SymbolicTensor) for inner in item))
        for item in value
    )


def record(layer: Layer, inputs: Any, training: Any, mask: Any, arguments: Mapping[str, Any]) -> Any:
    """Note the call of a layer on symbolic tensors, for a `Model` to run; the layer is built.

    Returns
    -------
    SymbolicTensor or list of SymbolicTensor
        In the structure of the layer's outputs.

    Raises
    ------
    TypeError
        If symbolic tensors and arrays are mixed, or a mask is not of bool.
    ValueError
        By the layer, if its inputs' shapes do not fit.
    """
    states = arguments.get("initial_state")
    arguments = {name: value for name, value in arguments.items() if name != "initial_state"}
    tensors: dict[str, SymbolicTensor] = {}
    for name, value in arguments.items():
        if isinstance(value, SymbolicTensor) and name in layer.mask_arguments:
            tensors[name] = value
        elif is_symbolic(value):
            raise TypeError(f"{layer.label}: expected {name} to be a plain value, got a symbolic tensor")
    listed = isinstance(inputs, list | tuple)
    given = tuple(_all_symbolic(layer, "inputs", inputs if listed else [inputs]))
    state = () if states is None else tuple(_all_symbolic(layer, "initial_state", _flat(states)))
    masks: tuple[SymbolicTensor | None, ...] = ()
    if mask is not None:
        each = mask if isinstance(mask, list | tuple) else [mask]
        masks = tuple(_all_symbolic(layer, "mask", each, optional=True))
        if len(masks) != len(given):
            raise ValueError(f"{layer.label}: expected a mask for each of {len(given)} inputs, got {len(masks)}")
    for name, value in [*(("mask", m) for m in masks), *tensors.items()]:
        if value is not None and value.dtype.kind not in "biu":
            raise TypeError(
                f"{layer.label}: expected {name} to be of bool, got a symbolic tensor of {value.dtype}: "
                "Input(..., dtype='bool')"
            )
    follows = training is None or training is FOLLOWING
    plain = {name: value for name, value in arguments.items() if name not in tensors}
    node = Node(layer, given, listed, state, masks, None if follows else bool(training), plain, tensors)
    shapes: Any = [tensor.shape for tensor in given] if listed else given[0].shape
    result = layer.call_shape(shapes, [tensor.shape for tensor in state], arguments)
    if not layer.built:
        layer.build(shapes)
    several = isinstance(result, list)
    results = result if several else [result]
    dtypes = layer.output_dtypes(len(results), given)
    node.outputs = tuple(
        SymbolicTensor(node, k, shape, dtype) for k, (shape, dtype) in enumerate(zip(results, dtypes, strict=True))
    )
    layer.nodes.append(node)
    return layer.pack(list(node.outputs), several)


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        return [values]
    return [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]


def _all_symbolic(layer: Layer, argument: str, values: Any, optional: bool = False) -> Iterator[Any]:
    for value in values:
        if not isinstance(value, SymbolicTensor) and not (optional and value is None):
            raise TypeError(
                f"{layer.label}: expected {argument} to be symbolic tensors only, or arrays only, "
                f"got {type(value).__name__} among them"
            )
        yield value

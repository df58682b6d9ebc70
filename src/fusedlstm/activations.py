"""Activations: each an object with `forward` and `backward` side by side.

Those that the recurrent kernels know run in the backend; the rest are NumPy. Formulas are Keras's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import backends
from fusedlstm.backends import placement

Array = NDArray[Any]


class Activation:
    """A function of an array that keeps the shape, and its derivative.

    Parameters
    ----------
    name : str
        What errors and plots call it.
    forward : function
        ``forward(x)`` gives y, of x's shape; x is a float array, not to be changed.
    backward : function, optional
        ``backward(d_y, x, y)`` gives the gradient of x from that of y = forward(x). Without it the activation can
        predict but not be trained.
    kernel : str, optional
        The backend's name for it, if the recurrent kernels have it as a gate.

    Attributes
    ----------
    name : str
    kernel : str or None
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[Array], Array],
        backward: Callable[[Array, Array, Array], Array] | None = None,
        kernel: str | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"Activation: expected name to be a string, got {name!r}")
        for argument, function in (("forward", forward), ("backward", backward)):
            if not callable(function) and (function is not None or argument == "forward"):
                raise TypeError(f"Activation '{name}': expected {argument} to be a function, got {function!r}")
        self.name = name
        self.kernel = kernel
        self._forward = forward
        self._backward = backward

    def __reduce__(self) -> Any:
        # Copies and pickles of a layer refer to it by its name; one made elsewhere goes by its parts.
        if self.own:
            return type(self), (self.name, self._forward, self._backward, self.kernel)
        return get, (self.name,)

    @property
    def own(self) -> bool:
        """Whether it was made elsewhere than in this module."""
        return _BY_NAME.get(self.name) is not self

    def forward(self, x: Array) -> Array:
        """y, of the shape and dtype of the float array x."""
        return self._like(x, self._forward(x))

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        """d_x from the gradient of y, given x and y = forward(x); all of one shape and dtype.

        Raises
        ------
        TypeError
            If there is no derivative.
        """
        self.require_derivative("activation")
        return self._like(x, self._backward(d_y, x, y))  # type: ignore[misc]

    def require_derivative(self, what: str) -> None:
        """Raise a TypeError that starts with `what`, the layer and its argument, if there is no derivative."""
        if self._backward is None:
            raise TypeError(
                f"{what} '{self.name}' is a function without a derivative, which can predict but not be trained, "
                "expected fusedlstm.activations.Activation(name, forward, backward)"
            )

    def _like(self, x: Array, result: Any) -> Array:
        """What a function gave for x, in x's dtype: with float64 constants in its formula it may have another one."""
        if type(result) is type(x) and result.dtype == x.dtype and result.shape == x.shape:
            return result  # type: ignore[no-any-return]
        array: Array = placement.beside(placement.as_array(result), x)
        if array.shape != x.shape:
            raise ValueError(f"activation '{self.name}': expected a result {x.shape}, as its input, got {array.shape}")
        return array.astype(x.dtype)

    def __call__(self, x: ArrayLike) -> Array:
        """The same on anything that converts to an array; integers count as floats."""
        array: Array = placement.as_array(x)
        if array.dtype.kind in "biu":
            array = array.astype(np.result_type(array.dtype, np.float32))
        elif array.dtype.kind != "f":
            raise TypeError(f"activation '{self.name}': expected an array of numbers, got dtype {array.dtype}")
        return self.forward(array)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


def _kernel(kernel: str, name: str | None = None, gate: bool = True) -> Activation:
    def forward(x: Array) -> Array:
        return backends.current().activation_forward(x, kernel)  # type: ignore[no-any-return]

    def backward(d_y: Array, x: Array, y: Array) -> Array:
        return backends.current().activation_backward(y, d_y, kernel)  # type: ignore[no-any-return]

    return Activation(name or kernel, forward, backward, kernel if gate else None)


def _elementwise(
    name: str, forward: Callable[[Array], Array], derivative: Callable[[Array, Array], Array]
) -> Activation:
    """An activation of single elements: `derivative` gets x and y."""

    # Constants in the formulas are weak scalars, so the dtype stays; np.where with two of them is the exception.
    def run(x: Array) -> Array:
        return forward(x).astype(x.dtype, copy=False)

    def backward(d_y: Array, x: Array, y: Array) -> Array:
        return (d_y * derivative(x, y)).astype(x.dtype, copy=False)

    return Activation(name, run, backward)


def _inside(x: Array, low: float, high: float) -> Array:
    return ((x > low) & (x < high)).astype(x.dtype)


def _sigmoid(x: Array) -> Array:
    return 0.5 * np.tanh(0.5 * x) + 0.5  # never overflows


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _normal_cdf(x: Array) -> Array:
    # NumPy has no erf; the C library's, one element at a time, is exact and about as fast as a series of array passes.
    scaled = (x * -math.sqrt(0.5)).ravel().tolist()
    cdf = 0.5 * np.fromiter(map(math.erfc, scaled), np.float64, x.size).reshape(x.shape)
    return placement.beside(cdf, x)  # type: ignore[no-any-return]


def _gelu_derivative(x: Array, y: Array) -> Array:
    cdf = np.divide(y, x, out=np.full_like(x, 0.5), where=x != 0)
    return cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _mish_derivative(x: Array, y: Array) -> Array:
    tanh = np.tanh(_softplus(x))
    return tanh + x * (1 - tanh * tanh) * _sigmoid(x)


def _silu_derivative(x: Array, y: Array) -> Array:
    s = _sigmoid(x)
    return s + y * (1 - s)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def _softmax_backward(d_y: Array, x: Array, y: Array) -> Array:
    return y * (d_y - (d_y * y).sum(axis=-1, keepdims=True))


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _log_softmax_backward(d_y: Array, x: Array, y: Array) -> Array:
    return d_y - np.exp(y) * d_y.sum(axis=-1, keepdims=True)


def _sparsemax(x: Array) -> Array:
    """The projection of x on the probability simplex (Martins and Astudillo 2016)."""
    descending = -np.sort(-x, axis=-1)
    excess = (np.cumsum(descending, axis=-1) - 1) / np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    support = (descending > excess).sum(axis=-1, keepdims=True)
    return np.maximum(x - np.take_along_axis(excess, support - 1, axis=-1), 0)


def _sparsemax_backward(d_y: Array, x: Array, y: Array) -> Array:
    support = (y > 0).astype(x.dtype)
    return support * (d_y - (d_y * support).sum(axis=-1, keepdims=True) / support.sum(axis=-1, keepdims=True))


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017

linear = Activation("linear", lambda x: x, lambda d_y, x, y: d_y, "linear")
tanh = _kernel("tanh")
sigmoid = _kernel("sigmoid")
relu = _kernel("relu")
hard_sigmoid = _kernel("hard_sigmoid")
softsign = _kernel("softsign")
elu = _kernel("elu")
softplus = _kernel("softplus")
exponential = _kernel("exp", "exponential", gate=False)

leaky_relu = _elementwise(
    "leaky_relu",
    lambda x: np.where(x >= 0, x, 0.2 * x),
    lambda x, y: np.where(x >= 0, x.dtype.type(1), x.dtype.type(0.2)),
)
relu6 = _elementwise("relu6", lambda x: np.clip(x, 0, 6), lambda x, y: _inside(x, 0, 6))
celu = _elementwise(
    "celu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x, y: np.exp(np.minimum(x, 0))
)
selu = _elementwise(
    "selu",
    lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    lambda x, y: np.where(x > 0, x.dtype.type(_SELU_SCALE), y + _SELU_SCALE * _SELU_ALPHA),
)
silu = _elementwise("silu", lambda x: x * _sigmoid(x), _silu_derivative)
gelu = _elementwise("gelu", lambda x: x * _normal_cdf(x), _gelu_derivative)
mish = _elementwise("mish", lambda x: x * np.tanh(_softplus(x)), _mish_derivative)
squareplus = _elementwise(
    "squareplus", lambda x: 0.5 * (x + np.sqrt(x * x + 4)), lambda x, y: 0.5 * (1 + x / np.sqrt(x * x + 4))
)
log_sigmoid = _elementwise("log_sigmoid", lambda x: -_softplus(-x), lambda x, y: _sigmoid(-x))
hard_tanh = _elementwise("hard_tanh", lambda x: np.clip(x, -1, 1), lambda x, y: _inside(x, -1, 1))
hard_silu = _elementwise(
    "hard_silu",
    lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    lambda x, y: np.clip(x / 6 + 0.5, 0, 1) + x / 6 * _inside(x, -3, 3),
)
tanh_shrink = _elementwise("tanh_shrink", lambda x: x - np.tanh(x), lambda x, y: np.tanh(x) ** 2)
soft_shrink = _elementwise(
    "soft_shrink", lambda x: x - np.clip(x, -0.5, 0.5), lambda x, y: (np.abs(x) > 0.5).astype(x.dtype)
)
hard_shrink = _elementwise(
    "hard_shrink", lambda x: x * (np.abs(x) > 0.5), lambda x, y: (np.abs(x) > 0.5).astype(x.dtype)
)
sparse_plus = _elementwise(
    "sparse_plus",
    lambda x: np.where(x < 1, np.maximum(x + 1, 0) ** 2 / 4, x),
    lambda x, y: np.clip((x + 1) / 2, 0, 1),
)
sparse_sigmoid = _elementwise(
    "sparse_sigmoid", lambda x: np.clip((x + 1) / 2, 0, 1), lambda x, y: 0.5 * _inside(x, -1, 1)
)

softmax = Activation("softmax", _softmax, _softmax_backward)
log_softmax = Activation("log_softmax", _log_softmax, _log_softmax_backward)
sparsemax = Activation("sparsemax", _sparsemax, _sparsemax_backward)

swish = silu
hard_swish = hard_silu

_BY_NAME: dict[str, Activation] = {
    activation.name: activation for activation in list(globals().values()) if isinstance(activation, Activation)
}
_ALIASES = {"swish": silu, "hard_swish": hard_silu}


def get(identifier: str | Activation | Callable[[Array], Array] | None) -> Activation:
    """The activation that `identifier` names.

    Parameters
    ----------
    identifier : str, Activation, function or None
        None is "linear". A function of an array becomes an activation of its name, without a derivative: it can
        predict but not be trained.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is none of these.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if not isinstance(identifier, str):
        if isinstance(identifier, type) or not callable(identifier):
            raise TypeError(f"activation: expected a name, an Activation or a function, got {identifier!r}")
        return Activation(getattr(identifier, "__name__", type(identifier).__name__), identifier)
    activation = _BY_NAME.get(identifier) or _ALIASES.get(identifier)
    if activation is None:
        raise ValueError(f"unknown activation {identifier!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return activation


_as_objects: ContextVar[bool] = ContextVar("as_objects", default=False)


@contextmanager
def as_objects() -> Iterator[None]:
    """Inside, `serialize` gives the activation itself: for a config that a copy is made from and nothing else."""
    token = _as_objects.set(True)
    try:
        yield
    finally:
        _as_objects.reset(token)


def serialize(activation: Activation) -> Any:
    """The name from which `get` gives this activation back; ValueError if it is not one of this module's."""
    if _as_objects.get() and isinstance(activation, Activation):
        return activation
    if not isinstance(activation, Activation) or activation.own:
        raise ValueError(f"serialize: expected an activation of fusedlstm.activations, got {activation!r}")
    return activation.name

"""Activations: each an object with `forward` and `backward` side by side.

Those that the recurrent kernels know run in the backend; the rest are NumPy. Formulas are Keras's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import backends

Array = NDArray[Any]


class Activation:
    """A function of an array that keeps the shape, and its derivative.

    Attributes
    ----------
    name : str
    kernel : str or None
        The backend's name for it, if the recurrent kernels have it as a gate.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[Array], Array],
        backward: Callable[[Array, Array, Array], Array],
        kernel: str | None = None,
    ) -> None:
        self.name = name
        self.kernel = kernel
        self._forward = forward
        self._backward = backward

    def __reduce__(self) -> Any:
        # Copies and pickles of a layer refer to it by its name; one made elsewhere goes by its parts.
        if _BY_NAME.get(self.name) is self:
            return get, (self.name,)
        return type(self), (self.name, self._forward, self._backward, self.kernel)

    def forward(self, x: Array) -> Array:
        """y, shaped like the float array x."""
        return self._forward(x)

    def backward(self, d_y: Array, x: Array, y: Array) -> Array:
        """d_x from the gradient of y, given x and y = forward(x); all of one shape."""
        return self._backward(d_y, x, y)

    def __call__(self, x: ArrayLike) -> Array:
        """The same on anything that converts to an array; integers count as floats."""
        x = np.asarray(x)
        if x.dtype.kind in "biu":
            x = x.astype(np.result_type(x.dtype, np.float32))
        elif x.dtype.kind != "f":
            raise TypeError(f"activation '{self.name}': expected an array of numbers, got dtype {x.dtype}")
        return self._forward(x)

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
    return 0.5 * np.fromiter(map(math.erfc, scaled), np.float64, x.size).reshape(x.shape)


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


def get(identifier: str | Activation | None) -> Activation:
    """The activation that `identifier` names.

    Parameters
    ----------
    identifier : str, Activation or None
        None is "linear".

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is neither: a plain function has no derivative here.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(
            f"activation: expected a name or a fusedlstm.activations.Activation (which has a derivative), "
            f"got {identifier!r}"
        )
    activation = _BY_NAME.get(identifier) or _ALIASES.get(identifier)
    if activation is None:
        raise ValueError(f"unknown activation {identifier!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return activation


def serialize(activation: Activation) -> str:
    """The name from which `get` gives this activation back; ValueError if it is not one of this module's."""
    if not isinstance(activation, Activation) or _BY_NAME.get(activation.name) is not activation:
        raise ValueError(f"serialize: expected an activation of fusedlstm.activations, got {activation!r}")
    return activation.name

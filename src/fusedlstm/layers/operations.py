"""What the operators of symbolic tensors are: layers for arithmetic and for slicing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array, show_shape

# A function of a and b, and the gradients with respect to each from that of y, a, b and y.
_OPERATIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array], Callable[..., Array]]] = {
    "add": (np.add, lambda d, a, b, y: d, lambda d, a, b, y: d),
    "subtract": (np.subtract, lambda d, a, b, y: d, lambda d, a, b, y: -d),
    "multiply": (np.multiply, lambda d, a, b, y: d * b, lambda d, a, b, y: d * a),
    "divide": (np.divide, lambda d, a, b, y: d / b, lambda d, a, b, y: -d * y / b),
    "power": (np.power, lambda d, a, b, y: d * _d_base(a, b), lambda d, a, b, y: d * _d_exponent(a, y)),
}


def _d_base(a: Array, b: Array) -> Array:
    # 0 ** -1 where the exponent is 0 would make a NaN of a constant.
    return np.where(b == 0, 0, b * np.power(a, np.where(b == 0, 1, b - 1)))


def _d_exponent(a: Array, y: Array) -> Array:
    # y log(a) goes to 0 with a; there is no derivative where a is negative.
    return np.where(y == 0, 0, y * np.log(np.where(y == 0, 1, a)))


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    """The shape of an elementwise result, None if there is none; a size that varies fits all."""
    width = max(len(a), len(b))
    sizes: list[int | None] = []
    for m, n in zip((1,) * (width - len(a)) + a, (1,) * (width - len(b)) + b, strict=True):
        if m == 1 or n == 1 or m is None or n is None or m == n:
            sizes.append(n if m == 1 else m if n == 1 or m is not None else n)
        else:
            return None
    return tuple(sizes)


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of what was broadcast from `shape`."""
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(k for k, n in enumerate(shape) if n == 1 and gradient.shape[k] != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient


class _AnyNumbers(Layer):
    """Base of layers that also work on integers."""

    def _check_dtype(self, dtype: Any) -> np.dtype[Any]:
        if dtype is not None and np.dtype(dtype).kind in "iub":
            return np.dtype(dtype)
        return super()._check_dtype(dtype)

    @property
    def takes_integers(self) -> bool:  # type: ignore[override]
        """Whether it was made for integers."""
        return self.dtype.kind in "iub"

    def _array(self, x: Any) -> Array:
        if type(x) is placement.array_type and x.dtype == self.dtype:
            return x  # type: ignore[no-any-return]
        array: Array = placement.place(real_array(self.label, "inputs", x).astype(self.dtype, copy=False))
        return array


class Arithmetic(_AnyNumbers):
    """An elementwise operation on two inputs, or on one and a constant, broadcast as NumPy does.

    Symbolic tensors make it when they meet an operator: ``x + y``, ``2 * x``, ``x ** 2``.

    Parameters
    ----------
    operation : {"add", "subtract", "multiply", "divide", "power"}
    constant : number or array, optional
        The second operand, to one input; None: there are two inputs, of the same number of axes.
    reverse : bool
        Make the constant the first operand.
    **kwargs
        Those of `Layer`; dtype may be one of integers.

    Notes
    -----
    A mask goes through; of two, a step has to be valid in both.
    """

    def __init__(self, operation: str, constant: Any = None, reverse: bool = False, **kwargs: Any) -> None:
        if operation not in _OPERATIONS:
            expected = ", ".join(map(repr, _OPERATIONS))
            raise ValueError(f"Arithmetic: expected operation to be one of {expected}, got {operation!r}")
        self.automatic_stem = operation
        super().__init__(**kwargs)
        self.operation = operation
        self.reverse = self.boolean("reverse", reverse)
        self.constant: Array | None = None
        if constant is not None:
            self.constant = real_array(self.label, "constant", constant).astype(self.dtype)

    def expected_inputs(self) -> str:
        return "two, of shapes that go together" if self.constant is None else f"that fit {self.constant.shape}"

    def compute_output_shape(self, input_shape: Any) -> Shape:
        constant = self.constant
        several = isinstance(input_shape, list)
        shapes = [self._check_dimensions("input_shape", s) for s in (input_shape if several else [input_shape])]
        if several != (constant is None) or len(shapes) != (2 if constant is None else 1):
            raise ValueError(
                f"{self.label}: expected {'two inputs' if constant is None else 'one input'}, got {len(shapes)}"
            )
        other: Shape = shapes[1] if constant is None else constant.shape
        result = _broadcast(shapes[0], other)
        # The batch stays what it is: arrays must not bring an axis in its place, nor tensors of fewer axes move it.
        moved = len(other) != len(shapes[0]) if constant is None else len(other) > len(shapes[0])
        if constant is not None and len(other) == len(shapes[0]) and other[0] != 1:
            moved = other[0] != shapes[0][0]
        if result is None or moved:
            second = "and" if constant is None else "and a constant"
            raise ValueError(
                f"{self.label}: expected shapes that broadcast with the batch first in both, "
                f"got {show_shape(shapes[0])} {second} {show_shape(other)}"
            )
        return result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not isinstance(mask, list):
            return mask
        given = [m for m in mask if m is not None]
        return given[0] if len(given) == 1 else given[0] & given[1] if given else None

    def output_dtypes(self, count: int, inputs: Any) -> list[np.dtype[Any]]:
        return [self.dtype]

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """The operation's result; see `Layer.forward`."""
        constant = self.constant
        arrays = [self._array(x) for x in (inputs if constant is None else [inputs])]
        self.compute_output_shape([x.shape for x in arrays] if constant is None else arrays[0].shape)
        self.built = True
        a, b = arrays if constant is None else (arrays[0], constant)
        if self.reverse:
            a, b = b, a
        function, d_first, d_second = _OPERATIONS[self.operation]
        y = function(a, b)
        if y.dtype != self.dtype:
            y = y.astype(self.dtype)
        if not (training if need_backward is None else need_backward):
            return y, None

        def backward(d_outputs: Any) -> Any:
            d_y = self.check_gradient("y", d_outputs, y.shape)
            if constant is None:
                return [_summed(d_first(d_y, a, b, y), a.shape), _summed(d_second(d_y, a, b, y), b.shape)]
            if self.reverse:
                return _summed(d_second(d_y, a, b, y), b.shape)
            return _summed(d_first(d_y, a, b, y), a.shape)

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "operation": self.operation,
            "constant": None if self.constant is None else self.constant.tolist(),
            "reverse": self.reverse,
        }


class Slice(_AnyNumbers):
    """A part of the inputs: ``x[:, -1]``, ``x[:, 1:, :]``, ``x[..., :3]``. The batch is taken whole.

    Parameters
    ----------
    key : what stands between the brackets
        Slices, integers, ``...`` and None (a new axis); the first of them ``:`` or ``...``.
    **kwargs
        Those of `Layer`; dtype may be one of integers.

    Notes
    -----
    A mask (B,T) goes through if the steps stay an axis, and is sliced as they are.
    """

    automatic_stem = "get_item"

    def __init__(self, key: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        key = tuple(self._from_plain(k) for k in (key if isinstance(key, tuple | list) else (key,)))
        for k in key:
            if isinstance(k, bool) or not (k is None or k is Ellipsis or isinstance(k, int | np.integer | slice)):
                raise TypeError(f"{self.label}: expected slices and integers between the brackets, got {k!r}")
        whole = bool(key) and (key[0] is Ellipsis or (isinstance(key[0], slice) and key[0] == slice(None)))
        if not whole or key.count(Ellipsis) > 1:
            shown = ", ".join(map(_show_key, key))
            raise ValueError(f"{self.label}: expected the batch to be taken whole, as in x[:, 0], got x[{shown}]")
        self.key = key

    @staticmethod
    def _from_plain(k: Any) -> Any:
        """An item of a key from what `get_config` made of it."""
        if isinstance(k, dict):
            return Ellipsis if k.get("kind") == "..." else slice(k["start"], k["stop"], k["step"])
        return int(k) if isinstance(k, np.integer) else k

    def _full_key(self, axes: int) -> tuple[Any, ...]:
        """The key with one item for each axis, and None for each new one."""
        used = sum(k is not None and k is not Ellipsis for k in self.key)
        if used > axes:
            raise ValueError(
                f"{self.label}: expected inputs of at least {used} axes for x[{', '.join(map(_show_key, self.key))}], "
                f"got {axes}"
            )
        rest = (slice(None),) * (axes - used)
        full: list[Any] = []
        for k in self.key:
            full += rest if k is Ellipsis else (k,)
        return tuple(full) if Ellipsis in self.key else (*full, *rest)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self.check_shape(input_shape)
        sizes = iter(shape)
        result: list[int | None] = []
        for axis, k in enumerate(self._full_key(len(shape))):
            if k is None:
                result.append(1)
                continue
            size = next(sizes)
            if isinstance(k, slice):
                result.append(size if k == slice(None) else None if size is None else len(range(*k.indices(size))))
            elif size is not None and not -size <= k < size:
                raise ValueError(f"{self.label}: expected an index of {size} on axis {axis}, got {k}")
        return tuple(result)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        key = self._full_key(np.ndim(inputs))[:2]
        return mask[key] if len(key) == 2 and isinstance(key[1], slice) else None

    def output_dtypes(self, count: int, inputs: Any) -> list[np.dtype[Any]]:
        return [inputs[0].dtype]

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """The part of the inputs, in their dtype; see `Layer.forward`."""
        x = real_array(self.label, "inputs", inputs)
        self.compute_output_shape(x.shape)
        self.built = True
        y = x[self._full_key(x.ndim)]
        if not (training if need_backward is None else need_backward):
            return y, None

        def backward(d_outputs: Any) -> Array:
            d_y = placement.as_array(d_outputs)
            d_x = np.zeros(x.shape, d_y.dtype, like=d_y)
            d_x[self._full_key(x.ndim)] = d_y
            return d_x

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "key": [_plain(k) for k in self.key]}


def _plain(k: Any) -> Any:
    if k is Ellipsis:
        return {"kind": "..."}
    return {"kind": "slice", "start": k.start, "stop": k.stop, "step": k.step} if isinstance(k, slice) else k


def _show_key(k: Any) -> str:
    if k is Ellipsis or not isinstance(k, slice):
        return "..." if k is Ellipsis else repr(k)
    ends = ["" if end is None else str(end) for end in (k.start, k.stop)]
    return ":".join(ends if k.step is None else [*ends, str(k.step)])

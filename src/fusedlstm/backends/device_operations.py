"""What elementwise and reducing kernels compute: functions of single numbers, under the names of NumPy's ufuncs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends.cuda_api import jit, math

Operation = Callable[..., Any]


def _comparisons() -> dict[str, Operation]:
    return {
        "equal": lambda a, b: a == b,
        "greater": lambda a, b: a > b,
        "greater_equal": lambda a, b: a >= b,
        "less": lambda a, b: a < b,
        "less_equal": lambda a, b: a <= b,
        "not_equal": lambda a, b: a != b,
        "select": lambda which, a, b: a if which else b,
        "positive": lambda a: a,
    }


def _of_floats(number: Any) -> dict[str, Operation]:
    """Constants are of the dtype `number`, too: with others float32 would become float64."""
    zero, half, one, two = number(0), number(0.5), number(1), number(2)
    log_two, nan = number(np.log(2)), number(np.nan)

    def maximum(a: Any, b: Any) -> Any:  # NaN if either is
        return a if a >= b or a != a else b

    def minimum(a: Any, b: Any) -> Any:
        return a if a <= b or a != a else b

    def fmax(a: Any, b: Any) -> Any:  # the other one if either is NaN
        return a if a >= b or b != b else b

    def fmin(a: Any, b: Any) -> Any:
        return a if a <= b or b != b else b

    def sign(a: Any) -> Any:
        return one if a > zero else -one if a < zero else zero if a == zero else a

    def remainder(a: Any, b: Any) -> Any:  # of b's sign
        r = math.fmod(a, b)
        if r == zero:
            return math.copysign(zero, b)
        return r + b if (r < zero) != (b < zero) else r

    def floor_divide(a: Any, b: Any) -> Any:  # what goes with this remainder
        if b == zero:
            return a / b
        r = math.fmod(a, b)
        q = (a - r) / b
        if r != zero and (r < zero) != (b < zero):
            q -= one
        if q == zero:
            return math.copysign(zero, a / b)
        f = math.floor(q)
        return f + one if q - f > half else f

    def rint(a: Any) -> Any:  # halves to the even one
        f = math.floor(a)
        rest = a - f
        up = rest > half or (rest == half and math.fmod(f, two) != zero)
        return math.copysign(f + one if up else f, a)

    def logaddexp(a: Any, b: Any) -> Any:
        if a == b:  # infinities too
            return a + log_two
        d = a - b
        return a + math.log1p(math.exp(-d)) if d > zero else b + math.log1p(math.exp(d)) if d <= zero else nan

    return {
        "absolute": lambda a: math.fabs(a),
        "add": lambda a, b: a + b,
        "arccos": lambda a: math.acos(a),
        "arcsin": lambda a: math.asin(a),
        "arctan": lambda a: math.atan(a),
        "arctan2": lambda a, b: math.atan2(a, b),
        "ceil": lambda a: math.ceil(a),
        "copysign": lambda a, b: math.copysign(a, b),
        "cos": lambda a: math.cos(a),
        "cosh": lambda a: math.cosh(a),
        "divide": lambda a, b: a / b,
        "erfc": lambda a: math.erfc(a),
        "exp": lambda a: math.exp(a),
        "exp2": lambda a: math.pow(two, a),
        "expm1": lambda a: math.expm1(a),
        "floor": lambda a: math.floor(a),
        "floor_divide": floor_divide,
        "fmax": fmax,
        "fmin": fmin,
        "fmod": lambda a, b: math.fmod(a, b),
        "hypot": lambda a, b: math.hypot(a, b),
        "isfinite": lambda a: a - a == zero,
        "isinf": lambda a: a == a and a - a != zero,
        "isnan": lambda a: a != a,
        "log": lambda a: math.log(a),
        "log10": lambda a: math.log10(a),
        "log1p": lambda a: math.log1p(a),
        "log2": lambda a: math.log2(a),
        "logaddexp": logaddexp,
        "logical_and": lambda a, b: a != zero and b != zero,
        "logical_not": lambda a: a == zero,
        "logical_or": lambda a, b: a != zero or b != zero,
        "logical_xor": lambda a, b: (a != zero) != (b != zero),
        "maximum": maximum,
        "minimum": minimum,
        "multiply": lambda a, b: a * b,
        "negative": lambda a: -a,
        "power": lambda a, b: math.pow(a, b),
        "reciprocal": lambda a: one / a,
        "remainder": remainder,
        "rint": rint,
        "sign": sign,
        "signbit": lambda a: math.copysign(one, a) < zero,
        "sin": lambda a: math.sin(a),
        "sinh": lambda a: math.sinh(a),
        "sqrt": lambda a: math.sqrt(a),
        "square": lambda a: a * a,
        "subtract": lambda a, b: a - b,
        "tan": lambda a: math.tan(a),
        "tanh": lambda a: math.tanh(a),
        "trunc": lambda a: math.trunc(a),
    }


def _of_integers(number: Any) -> dict[str, Operation]:
    zero, one = number(0), number(1)

    def floor_divide(a: Any, b: Any) -> Any:
        return a // b if b != zero else zero

    def remainder(a: Any, b: Any) -> Any:
        return a % b if b != zero else zero

    return {
        "absolute": lambda a: a if a >= zero else -a,
        "add": lambda a, b: a + b,
        "bitwise_and": lambda a, b: a & b,
        "bitwise_or": lambda a, b: a | b,
        "bitwise_xor": lambda a, b: a ^ b,
        "floor_divide": floor_divide,
        "invert": lambda a: ~a,
        "logical_and": lambda a, b: a != zero and b != zero,
        "logical_not": lambda a: a == zero,
        "logical_or": lambda a, b: a != zero or b != zero,
        "logical_xor": lambda a, b: (a != zero) != (b != zero),
        "maximum": lambda a, b: a if a >= b else b,
        "minimum": lambda a, b: a if a <= b else b,
        "multiply": lambda a, b: a * b,
        "negative": lambda a: -a,
        "remainder": remainder,
        "sign": lambda a: one if a > zero else zero if a == zero else -one,
        "square": lambda a: a * a,
        "subtract": lambda a, b: a - b,
        # The table's row that an index stands for, in elements from a start: negative ones count from the end, what
        # is outside stays inside.
        "add_place": lambda start, index, n, step: (
            start + min(max(index + n if index < zero else index, zero), n - one) * step
        ),
    }


def _of_bools() -> dict[str, Operation]:
    both: Operation = lambda a, b: a and b  # noqa: E731
    either: Operation = lambda a, b: a or b  # noqa: E731
    names = {"logical_and": both, "bitwise_and": both, "multiply": both, "minimum": both}
    names |= {"logical_or": either, "bitwise_or": either, "add": either, "maximum": either}
    other: Operation = lambda a, b: a != b  # noqa: E731
    opposite: Operation = lambda a: not a  # noqa: E731
    names |= {"logical_xor": other, "bitwise_xor": other, "logical_not": opposite, "invert": opposite}
    return {**names, "absolute": lambda a: a}


@functools.cache
def _table(dtype: np.dtype[Any]) -> dict[str, Operation]:
    own = _of_bools() if dtype.kind == "b" else (_of_floats if dtype.kind == "f" else _of_integers)(dtype.type)
    return _comparisons() | own


def names(dtype: np.dtype[Any]) -> list[str]:
    """Of the operations on numbers of this dtype."""
    return sorted(_table(dtype))


def loop(name: str, dtype: np.dtype[Any]) -> tuple[tuple[np.dtype[Any], ...], np.dtype[Any]]:
    """The dtypes of the inputs and of the result of an operation on numbers of this dtype."""
    boolean = np.dtype(bool)
    inputs = (dtype,) * len(inspect.signature(_table(dtype)[name]).parameters)
    if name == "select":
        inputs = (boolean, *inputs[1:])
    judges = name in _comparisons() and name not in ("select", "positive")
    judges = judges or name.startswith(("is", "logical")) or name == "signbit"
    return inputs, boolean if judges else dtype


@functools.cache
def operation(name: str, dtype: np.dtype[Any]) -> Any:
    """A function for kernels, of numbers of this dtype; None if there is no such."""
    function = _table(dtype).get(name)
    return None if function is None else jit(function, device=True)

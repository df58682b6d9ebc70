"""exp, expm1, log1p, sigmoid and tanh for loops that LLVM makes vectors of, and the activations on whole arrays.

The formulas, and so the bounds on the error, are those of csrc/kernels/vec.h. A number's type is kept throughout:
`real` makes constants of it, since a float32 with one of Python's floats would become a float64. NaN stays NaN:
comparisons with it are false, so each is written to keep x then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends.arguments import Array
from fusedlstm.backends.numba_jit import njit, overload, types
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES


class _Format(NamedTuple):
    """What depends on the width of a number."""

    mantissa_bits: Any
    one: Any  # the bits of 1.0
    ln2_high: Any  # ln 2 in two parts, the first with few enough bits that n times it is exact
    ln2_low: Any
    round: Any  # adding it rounds to an integer, found in the low bits
    exp_high: Any  # 2^n stays finite up to here, with 2^n (1 + p)
    exp_lowest: Any  # exp is 0 and Inf beyond
    exp_highest: Any
    tanh_one: Any  # tanh(x) rounds to 1 for 2x beyond
    q: tuple[Any, ...]  # e^r = 1 + r + r^2 q(r), |r| <= ln(2)/2: tools/expm1_coefficients.py
    log1p: tuple[Any, ...]  # 1/3 + s^2/5 + ... in atanh(s) = s + s^3 (1/3 + s^2/5 + ...), s <= 1/3
    log: tuple[Any, ...]  # the same for s <= 0.172


_FLOAT32 = _Format(
    mantissa_bits=np.int32(23),
    one=np.int32(127 << 23),
    ln2_high=np.float32(0.693359375),
    ln2_low=np.float32(-2.12194440054690583e-4),
    round=np.float32(1.5 * 2**23),
    exp_high=np.float32(88),
    exp_lowest=np.float32(-104),
    exp_highest=np.float32(89),
    tanh_one=np.float32(20),
    q=tuple(
        np.float32(number)
        for number in (
            5.00000004681828147e-01, 1.66666664175442375e-01, 4.16663535799543239e-02,
            8.33337874846707370e-03, 1.39410839294267018e-03, 1.98516106591943315e-04,
        )
    ),
    log1p=tuple(np.float32(1 / k) for k in range(3, 18, 2)),
    log=tuple(np.float32(1 / k) for k in range(3, 10, 2)),
)  # fmt: skip
_FLOAT64 = _Format(
    mantissa_bits=np.int64(52),
    one=np.int64(1023 << 52),
    ln2_high=np.float64(6.93147180369123816490e-01),
    ln2_low=np.float64(1.90821492927058770002e-10),
    round=np.float64(1.5 * 2**52),
    exp_high=np.float64(709),
    exp_lowest=np.float64(-746),
    exp_highest=np.float64(710),
    tanh_one=np.float64(40),
    q=tuple(
        np.float64(number)
        for number in (
            5.00000000000000000e-01, 1.66666666666666768e-01, 4.16666666666664354e-02, 8.33333333332143301e-03,
            1.38888888889909302e-03, 1.98412698865925739e-04, 2.48015871238128973e-05, 2.75572437563535999e-06,
            2.75574400653617313e-07, 2.51091923337719416e-08, 2.08646982757621481e-09,
        )
    ),
    log1p=tuple(np.float64(1 / k) for k in range(3, 36, 2)),
    log=tuple(np.float64(1 / k) for k in range(3, 22, 2)),
)  # fmt: skip


# What is chosen when a kernel is compiled, by the type of x; below, what NUMBA_DISABLE_JIT runs instead.


def _format_of(x: Any) -> Any:
    """The `_Format` of a number."""
    return _FLOAT32 if type(x) is np.float32 else _FLOAT64


def _bits(x: Any) -> Any:
    """The integer that has the bits of a number."""
    return x.view(np.int32 if type(x) is np.float32 else np.int64)


def _from_bits(n: Any, x: Any) -> Any:
    """The number that has the bits of an integer, of x's type."""
    return np.int32(n).view(np.float32) if type(x) is np.float32 else np.int64(n).view(np.float64)


@overload(_format_of, strict=False)
def _(x: Any) -> Callable[..., Any]:
    chosen = _FLOAT32 if x == types.float32 else _FLOAT64
    return lambda x: chosen


@overload(_bits, strict=False)
def _(x: Any) -> Callable[..., Any]:
    if x == types.float32:
        return lambda x: np.float32(x).view(np.int32)
    return lambda x: np.float64(x).view(np.int64)


@overload(_from_bits, strict=False)
def _(n: Any, x: Any) -> Callable[..., Any]:
    if x == types.float32:
        return lambda n, x: np.int32(n).view(np.float32)
    return lambda n, x: np.int64(n).view(np.float64)


# Numbers one by one.


@njit(forceinline=True)
def at_least(x: Any, low: Any) -> Any:
    return low if x < low else x


@njit(forceinline=True)
def at_most(x: Any, high: Any) -> Any:
    return high if x > high else x


@njit(forceinline=True)
def _polynomial(coefficients: Any, x: Any) -> Any:
    total = coefficients[-1]
    for k in range(len(coefficients) - 2, -1, -1):  # as many as the type says: unrolled ahead of all else
        total = total * x + coefficients[k]
    return total


@njit(forceinline=True)
def _difference(n: Any, m: Any) -> Any:
    """n - m of their type, where Numba would widen it."""
    return type(n)(n - m)


@njit(forceinline=True)
def _exp_reduced(x: Any) -> tuple[Any, Any]:
    """e^x = 2^n (1 + p): p = e^r - 1, and the integer n in the low bits of a number."""
    real, of = type(x), _format_of(x)
    shifted = x * real(1.44269504088896341) + of.round
    n = shifted - of.round
    r = (x - n * of.ln2_high) - n * of.ln2_low
    return r * r * _polynomial(of.q, r) + r, shifted


@njit(forceinline=True)
def _power_of_two(n: Any, x: Any) -> Any:
    """2^n of x's type, from the low bits of the integer n; zero for the least exponent."""
    of = _format_of(x)
    return _from_bits((n << of.mantissa_bits) + of.one, x)


@njit(forceinline=True)
def exp(x: Any) -> Any:
    of = _format_of(x)
    x = at_most(at_least(x, of.exp_lowest), of.exp_highest)
    p, shifted = _exp_reduced(x)
    # 2^n in two factors: n may be beyond the largest exponent, or below the smallest.
    n = _difference(_bits(shifted), _bits(of.round))
    half = n >> 1
    first = _power_of_two(half, x)
    return (first * p + first) * _power_of_two(n - half, x)


@njit(forceinline=True)
def exp_of_negative(x: Any) -> Any:
    """e^x for x <= 0; 0 where no normal number is small enough."""
    p, shifted = _exp_reduced(at_least(x, -_format_of(x).exp_high))
    scale = _power_of_two(_bits(shifted), x)
    return scale * p + scale


@njit(forceinline=True)
def expm1_of_negative(x: Any) -> Any:
    """e^x - 1 for x <= 0."""
    p, shifted = _exp_reduced(at_least(x, -_format_of(x).exp_high))
    scale = _power_of_two(_bits(shifted), x)
    return scale * p + (scale - type(x)(1))


@njit(forceinline=True)
def _log1p_of_unit(u: Any) -> Any:
    """log(1 + u) for u in [0, 1]: 2 atanh(u / (2 + u))."""
    real = type(u)
    t = (u + u) / (u + real(2))
    s2 = t * t * real(0.25)
    return t + t * (s2 * _polynomial(_format_of(u).log1p, s2))


@njit(forceinline=True)
def log_above_one(x: Any) -> Any:
    """log x for finite x >= 1: x = 2^n m, m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1))."""
    real, of = type(x), _format_of(x)
    n = _difference(_bits(x), _bits(real(0.70710678118654752))) >> of.mantissa_bits
    m = _from_bits(_bits(x) - (n << of.mantissa_bits), x)
    s = (m - real(1)) / (m + real(1))
    s2 = s * s
    power = _from_bits(n + _bits(of.round), x) - of.round
    return power * of.ln2_high + (real(2) * (s + s * (s2 * _polynomial(of.log, s2))) + power * of.ln2_low)


@njit(forceinline=True)
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x), e^-x = 2^n (1 + p).

    The 1 joins the smaller of 2^n and 2^n p first, so that the sum is rounded once, nearly.
    """
    real, most = type(x), _format_of(x).exp_high
    p, shifted = _exp_reduced(-at_most(at_least(x, -most), most))
    scale = _power_of_two(_bits(shifted), x)
    small, large = scale + real(1), real(0)
    if scale > real(1):
        small, large = real(1), scale
    return real(1) / ((scale * p + small) + large)


@njit(forceinline=True)
def tanh(x: Any) -> Any:
    """(1 - e^-2a) / (1 + e^-2a), a = |x|, with the sign put back.

    Numerator and denominator are rounded once each, and the numerator is small where the result is.
    """
    real = type(x)
    p, shifted = _exp_reduced(-at_most(abs(x) * real(2), _format_of(x).tanh_one))
    scale = _power_of_two(_bits(shifted), x)
    t = (scale * p + (scale - real(1))) / (scale * p + (scale + real(1)))
    return math.copysign(t, x)


@njit(forceinline=True)
def softplus(x: Any) -> Any:
    return at_least(x, type(x)(0)) + _log1p_of_unit(exp(-abs(x)))


# Arrays, in place.

_TANH, _SIGMOID, _RELU, _HARD_SIGMOID, _SOFTSIGN, _ELU, _SOFTPLUS, _EXP = (
    ACTIVATION_CODES[name] for name in ("tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "softplus", "exp")
)


@njit
def activate(code: int, x: Array) -> None:
    """x = activation(x), elementwise; x is contiguous, of one axis."""
    real = type(x[0])
    if code == _TANH:
        for k in range(x.size):
            x[k] = tanh(x[k])
    elif code == _SIGMOID:
        for k in range(x.size):
            x[k] = sigmoid(x[k])
    elif code == _RELU:
        for k in range(x.size):
            x[k] = at_least(x[k], real(0))
    elif code == _HARD_SIGMOID:
        for k in range(x.size):
            x[k] = at_least(at_most(x[k] * real(1 / 6) + real(0.5), real(1)), real(0))
    elif code == _SOFTSIGN:
        for k in range(x.size):
            x[k] /= abs(x[k]) + real(1)
    elif code == _ELU:
        for k in range(x.size):
            negative = expm1_of_negative(at_most(x[k], real(0)))
            x[k] = x[k] if x[k] > real(0) else negative
    elif code == _SOFTPLUS:
        for k in range(x.size):
            x[k] = softplus(x[k])
    elif code == _EXP:
        for k in range(x.size):
            x[k] = exp(x[k])


@njit
def differentiate(code: int, y: Array) -> None:
    """An output of the activation becomes the derivative at that point; y is contiguous, of one axis."""
    real = type(y[0])
    if code == _TANH:
        for k in range(y.size):
            y[k] = real(1) - y[k] * y[k]
    elif code == _SIGMOID:
        for k in range(y.size):
            y[k] *= real(1) - y[k]
    elif code == _RELU:
        for k in range(y.size):
            y[k] = real(1) if y[k] > real(0) else real(0)
    elif code == _HARD_SIGMOID:
        for k in range(y.size):
            y[k] = real(1 / 6) if (y[k] > real(0)) & (y[k] < real(1)) else real(0)
    elif code == _SOFTSIGN:
        for k in range(y.size):
            y[k] = (real(1) - abs(y[k])) * (real(1) - abs(y[k]))
    elif code == _ELU:
        for k in range(y.size):
            y[k] = real(1) if y[k] > real(0) else y[k] + real(1)
    elif code == _SOFTPLUS:
        for k in range(y.size):
            y[k] = -expm1_of_negative(-y[k])
    elif code != _EXP:  # exp is its own derivative
        for k in range(y.size):
            y[k] = y[k] * real(0) + real(1)  # linear; NaN stays NaN

"""The arithmetic of the recurrent cells on a GPU: one unit of one row in one step, forward and back.

Written once for every kernel that steps a cell. The functions are made for a dtype, since a literal in them would be
float64. What steps of a cell forward and back take, `Cell` says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from fusedlstm.backends.cuda_api import jit, math
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES

#: What a cell leaves out or has besides, as bits.
COUPLED, NO_INPUT, NO_FORGET, NO_OUTPUT, PEEPHOLES = 1, 2, 4, 8, 16
ZONEOUT_H, ZONEOUT_C, ZONEOUT_H_MASK, ZONEOUT_C_MASK, DROPOUT = 32, 64, 128, 256, 512
LINEAR, TANH, SIGMOID, RELU, HARD_SIGMOID, SOFTSIGN, ELU, SOFTPLUS, EXP = ACTIVATION_CODES.values()


class Cell(NamedTuple):
    """How a cell steps where all it needs is a unit's own: its products are with the state alone, and no row is summed.

    Arrays: h (B+S,H) and cells are tables of `slots`; gates (S,nH). cells is an LSTM's c; a GRU's (S,H) is the product
    of the state for its candidate, in backward that one's gradient. extra is an LSTM's peepholes (3,H), or of a GRU
    the bias (1,H) of that product. Backward turns gates into the gradients ahead of the activations, in place.
    """

    gates: int
    #: forward(sums, s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c, *OPTIONS)
    forward: Any
    #: backward(s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c, d_out, d_h, d_c, *OPTIONS)
    backward: Any
    #: factor(gates, cells, s, gate, u): the gradient of a product of the state
    factor: Any


#: What every cell's functions take last: flags, codes of activations, and numbers of the arrays' dtype.
OPTIONS = ("flags", "gate", "squash_in", "squash_out", "clip", "rate_h", "rate_c")


@functools.cache
def activations(real: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Of a NumPy float type the functions (code, x) -> y and (code, y) -> the derivative there."""
    zero, half, one, sixth = real(0), real(0.5), real(1), real(1 / 6)

    @jit(device=True)
    def activate(code, x):  # type: ignore[no-untyped-def]
        if code == TANH:
            return math.tanh(x)
        if code == SIGMOID:
            small = math.exp(-abs(x))  # never overflows
            return (one if x >= zero else small) / (one + small)
        if code == RELU:
            return zero if x < zero else x
        if code == HARD_SIGMOID:
            y = x * sixth + half
            return zero if y < zero else (one if y > one else y)
        if code == SOFTSIGN:
            return x / (one + abs(x))
        if code == ELU:
            return math.expm1(x) if x <= zero else x
        if code == SOFTPLUS:
            return (zero if x < zero else x) + math.log1p(math.exp(-abs(x)))
        if code == EXP:
            return math.exp(x)
        return x

    @jit(device=True)
    def slope(code, y):  # type: ignore[no-untyped-def]
        if code == TANH:
            return one - y * y
        if code == SIGMOID:
            return y * (one - y)
        if code == RELU:
            return one if y > zero else zero
        if code == HARD_SIGMOID:
            return sixth if zero < y < one else zero
        if code == SOFTSIGN:
            return (one - abs(y)) * (one - abs(y))
        if code == ELU:
            return one if y > zero else y + one
        if code == SOFTPLUS:
            return -math.expm1(-y)
        if code == EXP:
            return y
        return one

    return activate, slope


@functools.cache
def zoneout(real: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The state after zoneout, and the gradients of the new and the old state; `mode` is a pair of flags."""
    zero, one = real(0), real(1)

    @jit(device=True)
    def zoned(new, old, with_rate, rate, with_mask, mask, t, row, u):  # type: ignore[no-untyped-def]
        if with_mask:
            return old if mask[t, row, u] else new
        return new + rate * (old - new) if with_rate else new

    @jit(device=True)
    def zoned_back(d, with_rate, rate, with_mask, mask, t, row, u):  # type: ignore[no-untyped-def]
        if with_mask:
            return (zero, d) if mask[t, row, u] else (d, zero)
        return ((one - rate) * d, rate * d) if with_rate else (d, zero)

    return zoned, zoned_back


@functools.cache
def lstm_parts(real: Any) -> SimpleNamespace:
    """The LSTM in the parts between which a row may have to be summed."""
    activate, slope = activations(real)
    zero, one = real(0), real(1)

    @jit(device=True)
    def gates_of(zi, zf, zc, flags, gate, squash_in):  # type: ignore[no-untyped-def]
        i = one if flags & NO_INPUT else activate(gate, zi)
        if flags & COUPLED:
            f = one - i
        else:
            f = one if flags & NO_FORGET else activate(gate, zf)
        return i, f, activate(squash_in, zc)

    @jit(device=True)
    def clipped(free, clip):  # type: ignore[no-untyped-def]
        if clip > zero:
            return clip if free > clip else (-clip if free < -clip else free)
        return free

    @jit(device=True)
    def output_back(d, d_o, o, squashed, flags, gate, squash_out):  # type: ignore[no-untyped-def]
        """From the gradient d of o * squashed: those ahead of the two activations."""
        dz_o = zero if flags & NO_OUTPUT else (d_o + d * squashed) * slope(gate, o)
        return dz_o, d * o * slope(squash_out, squashed)

    @jit(device=True)
    def gates_back(d_c, d_i, d_f, i, f, g, c_old, flags, gate, squash_in, clip):  # type: ignore[no-untyped-def]
        """From the gradient of the clipped cell, and more of i and f: that of the free one, and dz of i, f and g."""
        if clip > zero and abs(f * c_old + i * g) >= clip:
            d_c = zero
        d_i, d_f = d_i + d_c * g, d_f + d_c * c_old
        if flags & COUPLED:
            d_i = d_i - d_f
        dz_i = zero if flags & NO_INPUT else d_i * slope(gate, i)
        dz_f = zero if flags & (COUPLED | NO_FORGET) else d_f * slope(gate, f)
        return d_c, dz_i, dz_f, d_c * i * slope(squash_in, g)

    return SimpleNamespace(gates_of=gates_of, clipped=clipped, output_back=output_back, gates_back=gates_back)


@functools.cache
def cell(name: str, real: Any) -> Cell:
    """Of "lstm", "gru" (with reset_after) or "simple_rnn", for a NumPy float type."""
    return {"lstm": _lstm, "gru": _gru, "simple_rnn": _simple_rnn}[name](real)


def _lstm(real: Any) -> Cell:
    activate, _ = activations(real)
    zoned, zoned_back = zoneout(real)
    parts = lstm_parts(real)
    gates_of, clipped, output_back, gates_back = parts.gates_of, parts.clipped, parts.output_back, parts.gates_back
    zero, one = real(0), real(1)

    @jit(device=True)
    def forward(  # type: ignore[no-untyped-def]
        sums, s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        units = h.shape[1]
        c_old = cells[old, u]
        zi, zf = gates[s, u] + sums[0], gates[s, units + u] + sums[1]
        zc, zo = gates[s, 2 * units + u] + sums[2], gates[s, 3 * units + u] + sums[3]
        if flags & PEEPHOLES:
            zi += extra[0, u] * c_old
            zf += extra[1, u] * c_old
        i, f, g = gates_of(zi, zf, zc, flags, gate, squash_in)
        c = clipped(f * c_old + i * g, clip)
        c = zoned(c, c_old, flags & ZONEOUT_C, rate_c, flags & ZONEOUT_C_MASK, zoneout_c, t, row, u)
        if flags & PEEPHOLES:
            zo += extra[2, u] * c
        o = one if flags & NO_OUTPUT else activate(gate, zo)
        output = o * activate(squash_out, c)
        gates[s, u], gates[s, units + u], gates[s, 2 * units + u], gates[s, 3 * units + u] = i, f, g, o
        cells[new, u] = c
        h[new, u] = zoned(
            output, h[old, u], flags & ZONEOUT_H, rate_h, flags & ZONEOUT_H_MASK, zoneout_h, t, row, u
        )  # fmt: skip

    @jit(device=True)
    def backward(  # type: ignore[no-untyped-def]
        s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c, d_out, d_h, d_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        units = h.shape[1]
        c_old, c = cells[old, u], cells[new, u]
        i, f, g, o = gates[s, u], gates[s, units + u], gates[s, 2 * units + u], gates[s, 3 * units + u]
        d, d_h_old = zoned_back(
            d_h[row, u] + d_out[s, u], flags & ZONEOUT_H, rate_h, flags & ZONEOUT_H_MASK, zoneout_h, t, row, u
        )  # fmt: skip
        dz_o, d_to_output = output_back(d, zero, o, activate(squash_out, c), flags, gate, squash_out)
        d = d_c[row, u] + d_to_output
        if flags & PEEPHOLES:
            d += dz_o * extra[2, u]
        d, d_c_old = zoned_back(d, flags & ZONEOUT_C, rate_c, flags & ZONEOUT_C_MASK, zoneout_c, t, row, u)
        d, dz_i, dz_f, dz_c = gates_back(d, zero, zero, i, f, g, c_old, flags, gate, squash_in, clip)
        d_c_old += d * f
        if flags & PEEPHOLES:
            d_c_old += dz_i * extra[0, u] + dz_f * extra[1, u]
        d_h[row, u], d_c[row, u] = d_h_old, d_c_old
        gates[s, u], gates[s, units + u], gates[s, 2 * units + u], gates[s, 3 * units + u] = dz_i, dz_f, dz_c, dz_o

    @jit(device=True)
    def factor(gates, cells, s, gate, u):  # type: ignore[no-untyped-def]
        return gates[s, gate * cells.shape[1] + u]

    return Cell(4, forward, backward, factor)


def _gru(real: Any) -> Cell:
    activate, slope = activations(real)
    one = real(1)

    @jit(device=True)
    def forward(  # type: ignore[no-untyped-def]
        sums, s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        units = h.shape[1]
        z, r = activate(gate, gates[s, u] + sums[0]), activate(gate, gates[s, units + u] + sums[1])
        q = sums[2] + extra[0, u]
        g = activate(squash_in, gates[s, 2 * units + u] + r * q)
        gates[s, u], gates[s, units + u], gates[s, 2 * units + u], cells[s, u] = z, r, g, q
        h[new, u] = z * h[old, u] + (one - z) * g

    @jit(device=True)
    def backward(  # type: ignore[no-untyped-def]
        s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c, d_out, d_h, d_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        units = h.shape[1]
        d = d_h[row, u] + d_out[s, u]
        z, r, g, q = gates[s, u], gates[s, units + u], gates[s, 2 * units + u], cells[s, u]
        d_g = d * (one - z) * slope(squash_in, g)
        gates[s, u] = d * (h[old, u] - g) * slope(gate, z)
        gates[s, units + u] = d_g * q * slope(gate, r)
        gates[s, 2 * units + u], cells[s, u] = d_g, d_g * r
        d_h[row, u] = d * z

    @jit(device=True)
    def factor(gates, cells, s, gate, u):  # type: ignore[no-untyped-def]
        return cells[s, u] if gate == 2 else gates[s, gate * cells.shape[1] + u]

    return Cell(3, forward, backward, factor)


def _simple_rnn(real: Any) -> Cell:
    activate, slope = activations(real)
    zero = real(0)

    @jit(device=True)
    def forward(  # type: ignore[no-untyped-def]
        sums, s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        h[new, u] = activate(squash_in, gates[s, u] + sums[0])

    @jit(device=True)
    def backward(  # type: ignore[no-untyped-def]
        s, old, new, t, row, u, gates, h, cells, extra, zoneout_h, zoneout_c, d_out, d_h, d_c,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        gates[s, u] = (d_h[row, u] + d_out[s, u]) * slope(squash_in, h[new, u])
        d_h[row, u] = zero

    @jit(device=True)
    def factor(gates, cells, s, gate, u):  # type: ignore[no-untyped-def]
        return gates[s, u]

    return Cell(1, forward, backward, factor)

"""What loops over time of a few launches a step share: products of the state, and their gradients.

For layers with a further product, or a sum over a row, in the middle of a step. Their kernels take the slots of one
step, `first` to `end`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.backends.cuda_api import cuda, jit, launch
from fusedlstm.backends.device_array import DeviceArray
from fusedlstm.backends.device_matmul import matmul

if TYPE_CHECKING:
    from fusedlstm.backends.numba_cuda_call import Call


@jit(
    signatures=[
        "void({f}[:,::1], {f}[:,:,::1], int64, boolean, int64[::1], boolean, int64, int64, boolean, {f}[:,::1])"
    ]
)
def put_rows(d, masks, part, dropped, rows, plain, batch, first, accumulate, out):  # type: ignore[no-untyped-def]
    """out (B,N) = or += d (n,N), times the dropout mask, at the rows of the slots from `first` on: no two are equal."""
    width = d.shape[1]
    for i in range(cuda.grid(1), d.shape[0] * width, cuda.gridsize(1)):
        s, k = first + i // width, i % width
        row = s % batch if plain else rows[s]
        value = d[i // width, k]
        if dropped:
            value *= masks[part, row, k]
        out[row, k] = out[row, k] + value if accumulate else value


def put(call: Call, d: DeviceArray, first: int, out: DeviceArray, accumulate: bool, part: int = -1) -> None:
    """`put_rows`, with the recurrent dropout mask `part`; -1 is none."""
    masks, dropped = call.dropout("recurrent_dropout")
    dropped = dropped and part >= 0
    launch(put_rows, d.size, d, masks, part, dropped, call.row, call.plain, call.batch, first, accumulate, out)


def state_product(call: Call, h: DeviceArray, first: int, end: int, gates: int, out: DeviceArray) -> None:
    """out (n,gates H): the states before these slots times the recurrent weights of the first gates."""
    sets, units = call.sets("recurrent_dropout"), call.weights.units
    width = units if sets > 1 else gates * units
    for part in range(gates if sets > 1 else 1):
        of = slice(part * width, (part + 1) * width)
        matmul(call.states_before(h, part, True, first, end), call.packed.recurrent[:, of], out=out[:, of])


def add_state_gradient(call: Call, dz: DeviceArray, first: int, gates: int, d_h: DeviceArray) -> None:
    """d_h (B,P) += the gradient of the states, from dz (n,gates H) that of `state_product`."""
    sets, units = call.sets("recurrent_dropout"), call.weights.units
    width = units if sets > 1 else gates * units
    for part in range(gates if sets > 1 else 1):
        of = slice(part * width, (part + 1) * width)
        put(call, matmul(dz[:, of], call.packed.recurrent[:, of].T), first, d_h, True, part)


def slots_of(call: Call, t: int) -> tuple[int, int]:
    return int(call.begin[t]), int(call.begin[t + 1])


def where(call: Call, t: int) -> tuple[Any, ...]:
    """What kernels take: old, rows, first, end, t, batch, plain."""
    return call.before, call.row, *slots_of(call, t), t, call.batch, call.plain

"""Between arrays by row and step and arrays by slot, and sums over slots: kernels of the backend "cuda".

Where every step is used (`plain`) no array of indices is read: slot s is row s % B of step s // B, and the state before
it stands in the table's row s.
"""

from __future__ import annotations

from typing import Any

from fusedlstm.backends.cuda_api import cuda, jit, launch
from fusedlstm.backends.device_array import DeviceArray, empty


@jit(signatures=["void({f}[:,:,::1], {f}[:,:,::1], int64, boolean, int64[::1], int64[::1], boolean, {f}[:,::1])"])
def take_steps(x, masks, part, dropped, row, step, plain, out):  # type: ignore[no-untyped-def]
    """out (S,I): x (B,T,I) of each slot, times the dropout mask of its row."""
    batch, inputs = x.shape[0], x.shape[2]
    for i in range(cuda.grid(1), out.shape[0] * inputs, cuda.gridsize(1)):
        s, k = i // inputs, i % inputs
        b = s % batch if plain else row[s]
        value = x[b, s // batch if plain else step[s], k]
        out[s, k] = value * masks[part, b, k] if dropped else value


@jit(
    signatures=[
        "void({f}[:,::1], {f}[:,:,::1], int64, boolean, int64[::1], int64[::1], boolean, int64, int64, {f}[:,::1])"
    ]
)
def take_states(table, masks, part, dropped, row, old, plain, batch, first, out):  # type: ignore[no-untyped-def]
    """out (n,N): the state before each of the slots from `first` on, times the dropout mask of its row."""
    width = table.shape[1]
    for i in range(cuda.grid(1), out.shape[0] * width, cuda.gridsize(1)):
        s, k = first + i // width, i % width
        value = table[s if plain else old[s], k]
        out[i // width, k] = value * masks[part, s % batch if plain else row[s], k] if dropped else value


@jit(signatures=["void({f}[:,::1], {f}[:,:,::1], int64, boolean, int64[::1], int64[::1], boolean, {f}[:,:,::1])"])
def put_steps(d, masks, part, dropped, row, step, plain, d_x):  # type: ignore[no-untyped-def]
    """d_x (B,T,I) of each slot += d (S,I) times the dropout mask of its row."""
    batch, inputs = d_x.shape[0], d_x.shape[2]
    for i in range(cuda.grid(1), d.shape[0] * inputs, cuda.gridsize(1)):
        s, k = i // inputs, i % inputs
        b = s % batch if plain else row[s]
        value = d[s, k]
        d_x[b, s // batch if plain else step[s], k] += value * masks[part, b, k] if dropped else value


@jit(signatures=["void({f}[:,::1], int64[:,::1], boolean, int64, {f}[:,:,::1])"])
def take_outputs(h, output, plain, first, y):  # type: ignore[no-untyped-def]
    """y (B,n,P): the outputs of the steps from `first` on, from the table of states."""
    batch, steps, width = y.shape
    for i in range(cuda.grid(1), batch * steps * width, cuda.gridsize(1)):
        b, t, u = i // (steps * width), i // width % steps, i % width
        at = (first + t + 1) * batch + b if plain else output[b, first + t]
        y[b, t, u] = h[at, u] if at >= 0 else y.dtype.type(0)


@jit(signatures=["void({f}[:,:,::1], int64[:,::1], boolean, int64, {f}[:,::1])"])
def add_output_gradients(d_y, output, plain, first, d_out):  # type: ignore[no-untyped-def]
    """d_out (S,P) += the gradients of all outputs that a slot's state is; one thread adds all of a unit of a row."""
    batch, steps, width = d_y.shape
    for i in range(cuda.grid(1), batch * width, cuda.gridsize(1)):
        b, u = i // width, i % width
        for t in range(steps):
            at = (first + t + 1) * batch + b if plain else output[b, first + t]
            if at >= 0:
                d_out[at - batch, u] += d_y[b, t, u]


@jit(signatures=["void({f}[:,::1], int64[::1], {f}[:,::1])"])
def take_rows(table, index, out):  # type: ignore[no-untyped-def]
    """out[b] = table[index[b]]."""
    width = out.shape[1]
    for i in range(cuda.grid(1), out.shape[0] * width, cuda.gridsize(1)):
        out[i // width, i % width] = table[index[i // width], i % width]


@jit(signatures=["void({f}[:,::1], int64, {f}[:,::1], boolean, {f}[:,::1])"])
def add_chunks(a, first, b, paired, out):  # type: ignore[no-untyped-def]
    """out (chunks,N): sums over chunks of rows of a[:, first:first + N], elementwise times b (S,N) if `paired`."""
    chunks, width = out.shape
    rows = a.shape[0]
    for i in range(cuda.grid(1), chunks * width, cuda.gridsize(1)):
        chunk, k = i // width, i % width
        result = out.dtype.type(0)
        for s in range(chunk * rows // chunks, (chunk + 1) * rows // chunks):
            result += a[s, first + k] * b[s, k] if paired else a[s, first + k]
        out[chunk, k] = result


_MOST_CHUNKS = 128


def column_sums(a: DeviceArray, b: DeviceArray | None = None, first: int = 0, width: int | None = None) -> DeviceArray:
    """The sums of a's columns from `first` on, or of its products with b; in an order that the shape alone fixes."""
    width = a.shape[1] if width is None else width
    chunks = max(1, min(_MOST_CHUNKS, a.shape[0] // 16))
    out = empty((chunks, width), a.dtype)
    launch(add_chunks, chunks * width, a, first, a if b is None else b, b is not None, out)
    return out[0] if chunks == 1 else column_sums(out)


def last_rows(table: DeviceArray, last: Any, plain: bool, batch: int) -> DeviceArray:
    """A copy of the final states from a table."""
    if plain:
        return table[table.shape[0] - batch :].copy()
    out = empty((batch, table.shape[1]), table.dtype)
    launch(take_rows, out.size, table, last, out)
    return out

"""NumPy's ufuncs on device arrays, called or as ``reduce``, ``accumulate`` and ``outer``; else on the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends import device_operations
from fusedlstm.backends import device_reductions as reductions
from fusedlstm.backends.device_matmul import matmul
from fusedlstm.backends.device_memory import DTYPES, Strided, download, overlap

Dtype = np.dtype[Any]

#: Names of NumPy's for the same.
_ALIASES = {"true_divide": "divide", "fabs": "absolute", "conjugate": "positive"}
_POWERS = {2: np.square, 0.5: np.sqrt, 1: np.positive}


def compute(cls: Any, ufunc: np.ufunc, method: str, inputs: Sequence[Any], out: Any, options: dict[str, Any]) -> Any:
    """What ``ufunc.method(*inputs, out=out, **options)`` gives, on the device; NotImplemented if no kernel does it.

    Parameters
    ----------
    cls : type
        Of the results, a class of Strided.
    inputs : sequence of Strided, array or number
    out : Strided, optional
    options : dict
        NumPy's keyword arguments.
    """
    options = dict(options)
    where, dtype = options.pop("where", True), options.pop("dtype", None)
    options.pop("casting", None)
    inputs = [_operand(cls, x) for x in inputs]
    which = None if where is True else cls.of(where)
    if method == "__call__" and not options:
        if ufunc is np.matmul:
            return NotImplemented if which is not None else _matmul(inputs[0], inputs[1], out)
        return call(cls, ufunc, inputs, out, which, dtype)
    if method == "outer" and not options and which is None and len(inputs) == 2:
        a, b = map(cls.of, inputs)
        return call(cls, ufunc, (a.reshape(*a.shape, *(1,) * b.ndim), b), out, None, dtype)
    axis = options.pop("axis", inputs[1] if len(inputs) > 1 else 0)
    result: Any = NotImplemented
    if method == "reduce":
        keepdims, initial = bool(options.pop("keepdims", False)), options.pop("initial", None)
        if not options:
            result = _reduce(ufunc, inputs[0], axis, dtype, keepdims, initial, which)
    elif method == "accumulate" and not options and which is None:
        result = reductions.accumulate(ufunc, inputs[0], axis, dtype)
    if result is NotImplemented or out is None:
        return result
    if out.shape != result.shape:
        raise ValueError(f"device array: a result of shape {result.shape} does not fit into out {out.shape}")
    out[...] = result
    return out


def _operand(cls: Any, x: Any) -> Any:
    """Numbers, and arrays of one, as they are; else a device array."""
    if isinstance(x, (Strided, int, float, np.generic, tuple)) or x is None:
        return x
    array = np.asarray(x)
    return array[()] if not array.ndim else cls.of(array)


def _matmul(a: Any, b: Any, out: Any) -> Any:
    if np.result_type(a.dtype, b.dtype).kind != "f":
        return NotImplemented
    if out is None or not (overlap(a, out) or overlap(b, out)):
        return matmul(a, b, out=out)
    out[...] = matmul(a, b)
    return out


def _reduce(ufunc: np.ufunc, x: Any, axis: Any, dtype: Any, keepdims: bool, initial: Any, which: Strided | None) -> Any:
    if which is not None:
        neutral = reductions.identity(ufunc.__name__, x.dtype)
        if neutral is None:
            return NotImplemented
        x = np.where(which, x, neutral)  # type: ignore[call-overload]
    return reductions.reduce(ufunc, x, axis, dtype, keepdims, initial)


@functools.lru_cache(2048)
def _plan(ufunc: np.ufunc, kinds: tuple[Any, ...], dtype: Dtype | None) -> tuple[str, tuple[Dtype, ...], Dtype] | None:
    """Operation, dtypes of its loop and of the result; None if kernels do not have it."""
    if ufunc.nout != 1 or ufunc.signature is not None or len(kinds) != ufunc.nin:
        return None
    signature: Any = {} if dtype is None else {"signature": (None,) * ufunc.nin + (dtype,)}
    *loop, result = ufunc.resolve_dtypes((*kinds, None), **signature)
    if not DTYPES.issuperset((*loop, result)) or len(set(loop)) != 1:
        return None
    name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
    return None if device_operations.operation(name, loop[0]) is None else (name, tuple(loop), result)


def _kind(x: Any) -> Any:
    """What `resolve_dtypes` takes for an operand: the dtype, or for a plain number its type."""
    return type(x) if type(x) in (int, float) else np.dtype(bool) if type(x) is bool else x.dtype


def call(cls: Any, ufunc: np.ufunc, inputs: Sequence[Any], out: Any, which: Strided | None, dtype: Any) -> Any:
    """``ufunc(*inputs, out=out, where=which)``; NotImplemented if no kernel computes it."""
    if ufunc is np.power and type(inputs[1]) in (int, float) and inputs[1] in _POWERS:
        ufunc, inputs = _POWERS[inputs[1]], inputs[:1]
    found = _plan(ufunc, tuple(map(_kind, inputs)), None if dtype is None else np.dtype(dtype))
    if found is None:
        return NotImplemented
    name, loop, result = found
    arrays = [elementwise.operand(cls, x, t) for x, t in zip(inputs, loop, strict=True)]
    shapes = [x.shape for x in arrays] + ([] if which is None else [which.shape])
    shape = shapes[0] if all(s == shapes[0] for s in shapes) else np.broadcast_shapes(*shapes)
    if out is None:
        out = cls.new(shape, result)
    else:
        if not np.can_cast(result, out.dtype, "same_kind"):
            raise TypeError(f"device array: {ufunc.__name__} gives {result}, which does not go into out of {out.dtype}")
        if np.broadcast_shapes(shape, out.shape) != out.shape:
            raise ValueError(f"device array: {ufunc.__name__} of shape {shape} does not fit into out {out.shape}")
        if not out.writeable:
            raise ValueError("device array: the output is read-only")
    if which is None:
        elementwise.run(name, loop, out, arrays)
    else:
        computed = cls.new(out.shape, out.dtype)
        elementwise.run(name, loop, computed, arrays)
        elementwise.select(out, which, computed, out)
    return out


def on_host(cls: Any, function: Any, args: Any, kwargs: Any, name: str, changed: Any = None) -> Any:
    """A function of NumPy's on copies; arrays among the results go back to the device. Counted in `transfers`.

    `changed` is an argument that the function writes to, as it does to ``out``.
    """
    copies: list[tuple[Any, Any]] = []

    def down(x: Any) -> Any:
        if isinstance(x, Strided):
            host = download(x if x.contiguous else elementwise.copy(x), f"to_host: fallback {name}")
            copies.append((x, host))
            return host
        if isinstance(x, (tuple, list)):
            return type(x)(map(down, x))
        return {k: down(v) for k, v in x.items()} if isinstance(x, dict) else x

    def up(x: Any) -> Any:
        if isinstance(x, np.ndarray) and x.dtype in DTYPES:
            same = next((device for device, host in copies if host is x and is_written(device)), None)
            return cls.of(x, f"to_device: fallback {name}") if same is None else same
        return type(x)(map(up, x)) if type(x) in (tuple, list) else x

    outs = kwargs.get("out")
    written = (*outs, changed) if isinstance(outs, tuple) else (outs, changed)

    def is_written(x: Any) -> bool:
        return any(x is array for array in written)

    result = function(*down(args), **down(kwargs))
    for device, host in copies:
        if is_written(device):
            device[...] = host
    return up(result)

"""Device arrays beside NumPy: every operation, over shapes, strides, dtypes, sizes of zero, NaN and infinities."""

from __future__ import annotations

import copy
import gc
import math
import operator
import pickle
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_case import need_cuda, record_launches, simulated

need_cuda()

from fusedlstm.backends import cuda_api, device_interchange, device_matmul, device_operations  # noqa: E402
from fusedlstm.backends.device_array import (  # noqa: E402
    empty,
    full,
    is_device,
    pool,
    to_device,
    to_host,
    transfers,
    zeros,
)

pytestmark = pytest.mark.cuda

FLOATS = ("float32", "float64")


def same(device, host, ulps=4, signs=True):
    """Whether both have the same shape and dtype, and numbers that agree but for rounding."""
    host = np.asarray(host)
    assert is_device(device), type(device)
    got = to_host(device)
    assert (got.shape, got.dtype) == (host.shape, host.dtype)
    if host.dtype.kind == "f":
        np.testing.assert_allclose(
            got, host, rtol=ulps * np.finfo(host.dtype).eps, atol=ulps * np.finfo(host.dtype).tiny
        )
        if signs:
            np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(host[got == 0]))
    else:
        np.testing.assert_array_equal(got, host)


def close(device, host, tolerance=1e-5):
    """The same for sums, whose order differs."""
    host = np.asarray(host)
    assert is_device(device), type(device)
    got = to_host(device)
    assert (got.shape, got.dtype) == (host.shape, host.dtype)
    np.testing.assert_allclose(got, host, rtol=tolerance, atol=tolerance)


def on_device_alone(function, *arrays):
    """What the function gives, for which nothing may go to the host."""
    with transfers.counted() as counts:
        result = function(*arrays)
    assert not counts, counts
    return result


@pytest.fixture
def x(rng):
    return rng.standard_normal((3, 4, 5)).astype(np.float32)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1.5, 2.5, 3.7, -3.7, 1e-3, 30.0, np.inf, -np.inf, np.nan]


def ufuncs(dtype, operands):
    """The names of NumPy's that there are kernels for."""
    known = (getattr(np, name, None) for name in device_operations.names(np.dtype(dtype)))
    return [u.__name__ for u in known if isinstance(u, np.ufunc) and u.nin == operands]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ufuncs("float32", 1))
def test_functions_of_one_float(name, dtype):
    values = np.array(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(values)
    same(on_device_alone(getattr(np, name), to_device(values)), expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ufuncs("float32", 2))
def test_functions_of_two_floats(name, dtype):
    values = np.array(SPECIAL, dtype)
    if name == "power":  # NumPy is not of one mind about (-inf) ** 0.5, nor (-0.0) ** 0.5
        values = values[values != -np.inf]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(values[:, None], values)
    device = to_device(values)
    signs = name not in ("fmax", "fmin", "maximum", "minimum", "power")  # either zero will do
    same(on_device_alone(getattr(np, name), device[:, None], device), expected, signs=signs)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", ufuncs("int64", 1) + ufuncs("int64", 2))
def test_functions_of_integers(name, dtype):
    function = getattr(np, name)
    values = np.array([0, 1, 2, 3, 7, 100, -1, -3, -7], np.int64).astype(dtype)
    operands = (values[:, None], values) if function.nin == 2 else (values,)
    try:
        with np.errstate(all="ignore"):
            expected = function(*operands)
    except TypeError:  # such as the negative of a bool
        with pytest.raises(TypeError):
            function(*map(to_device, operands))
        return
    same(on_device_alone(function, *map(to_device, operands)), expected)


@pytest.mark.parametrize("left", ["float32", "float64", "int64", "int32", "bool"])
@pytest.mark.parametrize("right", ["float32", "int64", "bool", int, float])
@pytest.mark.parametrize("function", [np.add, np.divide, np.less, np.maximum])
def test_dtypes_are_numpys(left, right, function):
    a = np.arange(1, 4).astype(left)
    b = np.arange(2, 5).astype(right) if isinstance(right, str) else right(3)
    same(function(to_device(a), to_device(b) if isinstance(right, str) else b), function(a, b))
    same(function(to_device(b) if isinstance(right, str) else b, to_device(a)), function(b, a))


def test_numpy_scalars_are_not_weak():
    a = np.ones(2, np.float32)
    same(to_device(a) * np.float64(3), a * np.float64(3))
    same(to_device(a) * np.float32(3), a * np.float32(3))
    same(to_device(a) * np.array(3.0, np.float32), a * np.array(3.0, np.float32))


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "eq", "ne", "gt", "ge", "matmul"]
)
def test_operators(name, rng):
    a, b = rng.random((3, 3)).astype(np.float32) + 1, rng.random((3, 3)).astype(np.float32) + 1
    close(getattr(operator, name)(to_device(a), to_device(b)), getattr(operator, name)(a, b))
    close(getattr(operator, name)(to_device(a), b), getattr(operator, name)(a, b))
    close(getattr(operator, name)(a, to_device(b)), getattr(operator, name)(a, b))


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ipow"])
def test_operators_in_place(name, x):
    d = to_device(x)
    view = d[:, 1:3]
    getattr(operator, name)(view, 2)
    getattr(operator, name)(x[:, 1:3], 2)
    same(d, x)


@pytest.mark.parametrize("exponent", [2, 0.5, 1, 3, -1])
def test_powers(exponent):
    a = np.array([0.25, 1.0, 2.0, 9.0], np.float32)
    same(to_device(a) ** exponent, a**exponent)


@pytest.mark.parametrize(
    "shapes", [((3, 1), (1, 4)), ((4,), (3, 4)), ((2, 1, 3), (4, 1)), ((), (2, 2)), ((0, 3), (1, 3))]
)
def test_broadcasting(shapes, rng):
    a, b = (rng.standard_normal(shape) for shape in shapes)
    same(to_device(np.asarray(a)) + to_device(np.asarray(b)), a + b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_erfc(dtype):
    values = np.array([-3.5, -1, -0.0, 0.25, 2, 6, np.inf, -np.inf], dtype)
    same(to_device(values).erfc(), np.array([math.erfc(v) for v in values], dtype))


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="broadcast"):
        zeros((2, 3)) + zeros((2, 4))
    with pytest.raises(ValueError, match="does not fit into out"):
        np.add(zeros((2, 3)), 1, out=zeros((3,)))


VIEWS = [
    lambda a: a.T,
    lambda a: a[::2],
    lambda a: a[:, ::-1],
    lambda a: a[..., 1],
    lambda a: a[1],
    lambda a: a[-1, :, 2:],
    lambda a: a.transpose(1, 2, 0),
    lambda a: a.swapaxes(0, -1),
    lambda a: a[None, :, None],
    lambda a: a.reshape(12, 5),
    lambda a: a.reshape(3, 2, 2, -1),
    lambda a: a[:, :2].reshape(-1),
    lambda a: a.T.reshape(-1, 3),
    lambda a: a[:, 3:1],
    lambda a: a[5:],
    lambda a: np.expand_dims(a, (0, -1)),
    lambda a: np.moveaxis(a, 0, -1),
    lambda a: np.moveaxis(a, [0, 1], [2, 0]),
    lambda a: np.broadcast_to(a[:, :1], (3, 4, 5)),
    lambda a: a[:, :1].squeeze(1),
    lambda a: a[:1].squeeze(),
    lambda a: np.flip(a, (0, 2)),
    lambda a: a[1, 2, 3],
    lambda a: a.ravel(),
    lambda a: np.squeeze(a[0:1]),
]


@pytest.mark.parametrize("number", range(len(VIEWS)))
def test_views(number, x):
    """They read, they compute, and what is written to them is in the array."""
    take, d = VIEWS[number], to_device(x)
    same(on_device_alone(take, d), take(x))
    same(take(d) * 2 + take(d), take(x) * 2 + take(x))
    close(take(d).sum(), take(x).sum())
    same(take(d).copy().reshape(-1), take(x).copy().reshape(-1))


def test_views_share_memory(x):
    d = to_device(x)
    d[1:, ::2].T[...] = 7
    x[1:, ::2].T[...] = 7
    same(d, x)
    assert np.shares_memory(d, d[2:])
    assert not np.shares_memory(d, d.copy())
    d.reshape(-1)[3] = 5
    assert float(d[0, 0, 3]) == 5


def test_strides_and_flags(x):
    d = to_device(x)
    for view, host in ((d, x), (d.T, x.T), (d[::2, :, 1:], x[::2, :, 1:])):
        assert view.strides == host.strides
        assert (view.shape, view.ndim, view.size, view.nbytes) == (host.shape, host.ndim, host.size, host.nbytes)
        assert view.flags.c_contiguous == host.flags.c_contiguous
        assert view.flags["F_CONTIGUOUS"] == host.flags["F_CONTIGUOUS"]
    assert (len(d), d.itemsize, d.flags.aligned) == (3, 4, True)
    assert [float(row[0, 0]) for row in d] == x[:, 0, 0].tolist()


def test_what_is_read_only_stays():
    d = zeros(3)
    view = d.view()
    view.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        view += 1
    with pytest.raises(ValueError, match="read-only"):
        view[1:] += 1
    with pytest.raises(ValueError, match="read-only"):
        np.broadcast_to(d, (2, 3))[0] = 1
    same(d, np.zeros(3, np.float32))


def test_overlapping_operands_are_read_first():
    a = np.arange(10.0)
    for write in (
        lambda v: np.add(v[1:], v[:-1], out=v[1:]),
        lambda v: np.add(v[:-1], v[1:], out=v[:-1]),
        lambda v: np.multiply(v, v[3], out=v),
        lambda v: np.negative(v[::-1], out=v),
        lambda v: operator.setitem(v, slice(2, None), v[:-2]),
    ):
        device, host = to_device(a), a.copy()
        write(device)
        write(host)
        same(device, host)


def test_out_and_where(x, rng):
    d, mask = to_device(x), rng.random(x.shape) < 0.5
    out, expected = full(x.shape, 9), np.full(x.shape, 9, np.float32)
    assert np.exp(d, out=out, where=to_device(mask)) is out
    np.exp(x, out=expected, where=mask)
    same(out, expected)
    same(np.add(d, 1, out=zeros(x.shape, np.float64)), np.add(x, 1, out=np.zeros(x.shape)))
    with pytest.raises(TypeError, match="does not go into out of int64"):
        np.add(d, 1, out=zeros(x.shape, np.int64))


def test_host_arrays_join(x):
    d = to_device(x)
    same(x + d, x + x)
    same(d - x[0], x - x[0])
    host = x.copy()
    host += d  # its result stays on the host
    np.testing.assert_array_equal(host, x + x)
    with pytest.raises(TypeError):
        d + "text"


REDUCTIONS = [None, 0, 1, -1, (0, 1), (0, 2), (1, 2), (0, 1, 2), ()]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", REDUCTIONS)
def test_reductions(axis, keepdims, x):
    for host, device in ((x, to_device(x)), (x.T[::-1, ::2], to_device(x).T[::-1, ::2])):
        for name in ("sum", "max", "min", "prod", "mean", "any", "all"):
            got = on_device_alone(lambda a, name=name: getattr(np, name)(a, axis=axis, keepdims=keepdims), device)
            close(got, getattr(np, name)(host, axis=axis, keepdims=keepdims))
        close(device.var(axis, keepdims=keepdims), host.var(axis, keepdims=keepdims))
        close(np.std(device, axis, keepdims=keepdims), np.std(host, axis, keepdims=keepdims))


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8", "bool"])
def test_reductions_of_other_dtypes(dtype, rng):
    a = (rng.random((4, 33)) * 5).astype(dtype)
    for name in ("sum", "max", "min", "prod", "mean", "any", "all", "argmax", "argmin", "cumsum"):
        close(getattr(np, name)(to_device(a), axis=1), getattr(np, name)(a, axis=1))
    close(np.add.reduce(to_device(a), axis=0, dtype=np.float64), np.add.reduce(a, axis=0, dtype=np.float64))
    close(np.count_nonzero(to_device(a), axis=1), np.count_nonzero(a, axis=1))


def test_reductions_of_nothing():
    a = np.zeros((3, 0, 2), np.float32)
    d = to_device(a)
    for axis in (None, 0, 1, (1, 2)):
        same(d.sum(axis), a.sum(axis))
        same(d.prod(axis), a.prod(axis))
        same(d.all(axis), a.all(axis))
    same(d.max(0), a.max(0))
    same(d.max(1, initial=-np.inf), a.max(1, initial=-np.inf))
    with pytest.raises(ValueError, match="zero-size array to reduction operation maximum"):
        d.max(axis=1)
    with pytest.raises(ValueError, match="empty sequence"):
        d.argmax(axis=1)
    with pytest.raises(np.exceptions.AxisError):
        d.sum(axis=3)
    with pytest.raises(ValueError, match="twice"):
        d.sum(axis=(0, 0))


def test_nan_and_infinities_in_reductions():
    a = np.array([[1, np.nan, 3, np.nan], [np.inf, 2, -np.inf, 0], [5, 5, 4, 5]], np.float32)
    d = to_device(a)
    for name in ("max", "min", "argmax", "argmin"):
        same(getattr(np, name)(d, axis=1), getattr(np, name)(a, axis=1))
        same(getattr(np, name)(d, axis=0), getattr(np, name)(a, axis=0))
    with np.errstate(invalid="ignore"):
        same(d.sum(1), a.sum(1))
    same(np.argmax(d, axis=1, keepdims=True), np.argmax(a, axis=1, keepdims=True))
    assert int(d.argmax()) == a.argmax()


def test_reductions_where_and_from(x, rng):
    mask, d = rng.random((3, 4, 1)) < 0.5, to_device(x)
    close(np.add.reduce(d, axis=1, where=mask), np.add.reduce(x, axis=1, where=mask))
    close(np.add.reduce(d, axis=1, where=to_device(mask)), np.add.reduce(x, axis=1, where=mask))
    close(d.sum(initial=3), x.sum(initial=3))
    close(d.max(axis=-1, keepdims=True, initial=0.5), x.max(axis=-1, keepdims=True, initial=0.5))
    out = zeros((3, 5))
    assert np.add.reduce(d, axis=1, out=out) is out
    close(out, x.sum(1))


def test_sums_are_the_same_to_the_bit(rng):
    a = to_device(rng.standard_normal((17, 129)).astype(np.float32))
    first = [to_host(a.sum(axis)).tobytes() for axis in (None, 0, 1)]
    assert first == [to_host(a.copy().sum(axis)).tobytes() for axis in (None, 0, 1)]


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_running_totals(axis, x):
    d = to_device(x)
    close(np.cumsum(d, axis), np.cumsum(x, axis))
    close(np.cumprod(d.T, axis), np.cumprod(x.T, axis))
    if axis is not None:
        same(np.maximum.accumulate(d, axis), np.maximum.accumulate(x, axis))


MATRICES = [
    ((2, 3), (3, 4)), ((1, 7), (7, 1)), ((5,), (5, 3)), ((3, 5), (5,)), ((5,), (5,)), ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 0), (0, 2)), ((0, 3), (3, 2)), ((2, 40), (40, 3)),
    ((9, 5), (5, 11)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shapes", MATRICES)
def test_matrix_products(shapes, dtype, rng):
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    close(on_device_alone(np.matmul, to_device(a), to_device(b)), a @ b)


def test_matrix_products_of_views(rng):
    a, b = rng.standard_normal((6, 5)), rng.standard_normal((6, 7))
    da, db = to_device(a), to_device(b)
    close(da.T @ db, a.T @ b)
    close(da[::2, 1:].T @ db[1::2, ::-1], a[::2, 1:].T @ b[1::2, ::-1])
    stacked = rng.standard_normal((2, 3, 2, 4, 5))[:, ::2]
    device = to_device(rng.standard_normal((2, 3, 2, 4, 5)))[:, ::2]
    device[...] = stacked
    close(device.transpose(2, 0, 1, 3, 4) @ da.T[:, :3], stacked.transpose(2, 0, 1, 3, 4) @ a.T[:, :3])
    close(np.broadcast_to(da, (2, 6, 5)) @ da.T, np.broadcast_to(a, (2, 6, 5)) @ a.T)
    out = zeros((5, 14), np.float64)
    np.matmul(da.T, db, out=out[:, ::2])
    close(out[:, ::2], a.T @ b)
    assert not float(abs(out[:, 1::2]).sum())


@pytest.mark.parametrize("deep", [3, 40])  # the longer one in parts
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_matrix_product_with_bias_added_to_what_is_there(with_bias, accumulate, deep, rng):
    a, b, bias, start = (rng.standard_normal(s) for s in ((3, deep), (deep, 4), 8, (3, 4)))
    out = to_device(start)
    given = to_device(bias)[::2] if with_bias else None
    assert device_matmul.matmul(to_device(a), to_device(b), given, out, accumulate) is out
    close(out, a @ b + (bias[::2] if with_bias else 0) + (start if accumulate else 0), 1e-12)


def test_matrix_product_into_one_of_its_operands(rng):
    a, b = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    da, db = to_device(a), to_device(b)
    np.matmul(da, db, out=da)
    close(da, a @ b, 1e-12)
    da @= db
    close(da, a @ b @ b, 1e-12)


def test_matrix_products_that_do_not_fit():
    with pytest.raises(ValueError, match="expected the last axis"):
        zeros((2, 3)) @ zeros((2, 3))
    with pytest.raises(ValueError, match="expected bias of shape"):
        device_matmul.matmul(zeros((2, 3)), zeros((3, 4)), bias=zeros(3))
    with pytest.raises(ValueError, match="expected out of shape"):
        device_matmul.matmul(zeros((2, 3)), zeros((3, 4)), out=zeros((2, 3)))


def test_matrix_products_by_cupy(monkeypatch, rng):
    """Another library's are used where it is there, on the one stream of all work and without waiting for it; here
    NumPy in its place.
    """
    seen, streams = [], []

    class Null:
        def __enter__(self):
            streams.append("null")

        def __exit__(self, *_):
            streams.pop()

    class Cupy:
        cuda = SimpleNamespace(Stream=SimpleNamespace(null=Null()))

        @staticmethod
        def asarray(array):
            interface = array.__cuda_array_interface__
            assert interface["version"] == 3
            assert interface["stream"] is None
            return to_device(array)

        @staticmethod
        def matmul(a, b, out):
            assert streams == ["null"]
            seen.append((a.shape, b.shape))
            out[...] = to_host(a) @ to_host(b)

    interface_of = device_interchange.interface
    monkeypatch.setattr(device_interchange, "interface", lambda array: interface_of(array) | {"stream": 1})
    monkeypatch.setattr(device_matmul, "_cupy", lambda: Cupy)
    a, b, bias, start = (rng.standard_normal(s) for s in ((3, 5), (5, 4), 4, (3, 4)))
    da, db = to_device(a), to_device(b)
    close(device_matmul.matmul(da, db, to_device(bias)), a @ b + bias, 1e-12)
    close(device_matmul.matmul(da, db, None, to_device(start), True), a @ b + start, 1e-12)
    wide = zeros((3, 8), np.float64)
    device_matmul.matmul(da, db, to_device(bias), wide[:, ::2])
    close(wide[:, ::2], a @ b + bias, 1e-12)
    assert seen == [((3, 5), (5, 4))] * 3


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,ij->j", (3, 4), (3, 4)), ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,ij", (3, 4), (3, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)), ("ij->ji", (3, 4)),
    ("ijk->j", (3, 4, 5)), ("ij,k->kj", (3, 4), (2,)), ("i,i->", (4,), (4,)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("...i->...", (2, 3, 4)), ("...i,...i->...", (2, 3, 4), (2, 3, 4)), ("b...,b...->b...", (3, 2, 4), (3, 2, 4)),
    ("i...,ij->...j", (3, 4), (3, 2)), ("ik,kj->ji", (2, 3), (3, 4)), ("bj,jk", (2, 3), (3, 4)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0])
def test_einsum(case, rng):
    text, *shapes = case
    arrays = [rng.standard_normal(shape) for shape in shapes]
    devices = list(map(to_device, arrays))
    close(on_device_alone(lambda: np.einsum(text, *devices)), np.einsum(text, *arrays), 1e-12)


def test_einsum_that_kernels_do_not_have(rng):
    a = rng.standard_normal((3, 3))
    with transfers.counted() as counts:
        close(np.einsum("ii->i", to_device(a)), np.einsum("ii->i", a), 1e-12)
    assert counts["to_host: fallback einsum"] == 1
    with pytest.raises(ValueError, match="einsum"):
        np.einsum("ij,jk->ik", zeros((2, 3)), zeros((2, 3)))


def test_other_products(rng):
    a, b, c = rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal((2, 3, 4))
    da, db, dc = map(to_device, (a, b, c))
    close(np.dot(da, db), np.dot(a, b), 1e-12)
    close(da.dot(db), a.dot(b), 1e-12)
    close(np.dot(da, db[:, 0]), np.dot(a, b[:, 0]), 1e-12)
    close(np.dot(da[0], db[:, 0]), np.dot(a[0], b[:, 0]), 1e-12)
    close(np.dot(da, dc.transpose(0, 2, 1)), np.dot(a, c.transpose(0, 2, 1)), 1e-12)
    close(np.dot(da, 2.0), np.dot(a, 2.0), 1e-12)
    close(np.tensordot(dc, db, 1), np.tensordot(c, b, 1), 1e-12)
    close(np.tensordot(dc, dc, ((0, 2), (0, 2))), np.tensordot(c, c, ((0, 2), (0, 2))), 1e-12)
    close(np.tensordot(dc, dc, 3), np.tensordot(c, c, 3), 1e-12)
    close(np.vdot(da, da), np.vdot(a, a), 1e-12)
    close(np.inner(da, da), np.inner(a, a), 1e-12)
    close(np.outer(da[0], db[0]), np.outer(a[0], b[0]), 1e-12)
    close(np.multiply.outer(da[0], db[0]), np.multiply.outer(a[0], b[0]), 1e-12)
    close(np.linalg.norm(da), np.linalg.norm(a), 1e-12)
    close(np.linalg.norm(da, axis=0, keepdims=True), np.linalg.norm(a, axis=0, keepdims=True), 1e-12)


I = np.array([[2, 0, -1], [1, 1, 0]])
KEYS = [
    (I,), (slice(None), I), (I, I), (I, 1), (0, I), (slice(None), slice(None), I), (I, slice(None), I), (..., I),
    (I[0], slice(1, 3)), (I[0][:, None], I[1]), (None, I), (I, None, I), ([0, 2],), (np.array(1), I[0]), (I[:, :0],),
    (I[0], 2, slice(None, None, -2)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_integer_indices(number, x):
    key = KEYS[number]
    on_device = tuple(to_device(k) if isinstance(k, np.ndarray) and k.ndim else k for k in key)
    for d, host in ((to_device(x), x), (to_device(x).T, x.T)):
        same(d[key], host[key])
        same(d[on_device], host[key])


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_assigning_by_integer_indices(number, x):
    key = KEYS[number]
    d, host = to_device(x), x.copy()
    d[key], host[key] = 3, 3
    same(d, host)
    once = (np.array([2, 0]), *key[1:]) if isinstance(key[0], np.ndarray) else key
    once = tuple(np.array([1, 0]) if isinstance(k, np.ndarray) and i else k for i, k in enumerate(once))
    values = np.arange(host[once].size, dtype=np.float32).reshape(host[once].shape)
    d[once], host[once] = to_device(values), values
    same(d, host)
    d[once] += 1
    host[once] += 1
    same(d, host)


def test_indices_beside_many_axes(rng):
    a = rng.standard_normal((3, 4, 4, 4, 4, 4)).astype(np.float32)
    d = to_device(a)[:, ::2, 1:, ::2, 1:, ::2]
    a = a[:, ::2, 1:, ::2, 1:, ::2].copy()
    same(d[np.array([2, 0])], a[[2, 0]])
    d[np.array([2, 0])] = d[np.array([0, 1])] + 1
    a[[2, 0]] = a[[0, 1]] + 1
    same(d, a)
    close(d.sum((1, 3)), a.sum((1, 3)))
    close(d.max((0, 2, 4)), a.max((0, 2, 4)))
    close(d.sum(0), a.sum(0))
    same(d + d.transpose(0, 5, 4, 3, 2, 1).transpose(0, 5, 4, 3, 2, 1), a + a)


def test_gathering_stays_on_the_device(x):
    d, rows = to_device(x), to_device(np.array([1, 0]))
    with transfers.counted() as counts:
        d[rows] -= d[rows] * 2
        d[np.arange(2, like=d), rows] += 1
    assert not counts
    x[[1, 0]] -= x[[1, 0]] * 2
    x[[0, 1], [1, 0]] += 1
    same(d, x)


def test_indices_that_are_wrong(x):
    d = to_device(x)
    for key in (3, (0, 4), (-4,), (I + 1,), (0, 0, 0, 0), (slice(None), np.array([4])), 1.5, (np.array([0.5]),)):
        with pytest.raises(IndexError):
            x[key]
        with pytest.raises(IndexError):
            d[key]
    same(d[to_device(np.array([7, -9]))], x[[2, 0]])  # found out on the host alone: the nearest ones


def test_boolean_indices(x, rng):
    for shape in ((3,), (3, 4), (3, 4, 5)):
        mask = rng.random(shape) < 0.5
        d, host = to_device(x), x.copy()
        same(d[mask], host[mask])
        same(d[to_device(mask)], host[mask])
        with transfers.counted() as counts:
            d[to_device(mask)] = 4
        assert counts == {"to_device": 1}  # the mask
        host[mask] = 4
        same(d, host)
        values = rng.random(host[mask].shape).astype(np.float32)
        d[mask], host[mask] = values, values
        same(d, host)
    same(to_device(x)[:, mask[0, :, 0]], x[:, mask[0, :, 0]])
    single = to_device(np.array(2.0))
    single[to_device(np.array(True))] = 1
    assert float(single) == 1
    with pytest.raises(IndexError):
        to_device(x)[np.ones((3, 5), bool)] = 1


def test_assigning_to_slices(x):
    d, host = to_device(x), x.copy()
    for key, value in (
        ((0,), 5), ((slice(1), slice(None), 2), np.arange(4.0)), ((..., slice(None, None, 2)), x[..., :3]),
        ((slice(None),), x[:1, :1]), ((1, 2, 3), 8.5), ((slice(None), -1), x[0:1, 0]),
    ):  # fmt: skip
        d[key], host[key] = value, value
        same(d, host)
        d[key] = to_device(np.asarray(value, np.float64))
        same(d, host)
    with pytest.raises(ValueError, match="does not broadcast"):
        d[0] = np.zeros(3, np.float32)


FUNCTIONS = [
    lambda a: np.concatenate([a, a[:1]]),
    lambda a: np.concatenate([a, a.astype(np.float64)], -1),
    lambda a: np.concatenate([a, a], None),
    lambda a: np.stack([a, a * 2], -1),
    lambda a: np.vstack([a[0], a[1]]),
    lambda a: np.hstack([a, a]),
    lambda a: np.split(a, 2, 1)[1],
    lambda a: np.split(a, [1, 3], -1)[1],
    lambda a: np.array_split(a, 3, 2)[2],
    lambda a: np.where(a > 0, a, 0),
    lambda a: np.where(a > 0, 1.0, a),
    lambda a: np.where(a > 0, 1, 2),
    lambda a: np.where(a[0] > 0, a.dtype.type(1), a),
    lambda a: np.clip(a, -0.5, 0.5),
    lambda a: a.clip(0),
    lambda a: a.clip(max=0.25),
    lambda a: np.clip(a, None, 0.1),
    lambda a: np.take(a, [1, 0], 1),
    lambda a: a.take([3, 58]),
    lambda a: a.take([[5, -1]], 0, mode="clip"),
    lambda a: a.take([5, -1], 1, mode="wrap"),
    lambda a: np.take_along_axis(a, np.argmax(a, axis=1, keepdims=True), 1),
    lambda a: np.zeros_like(a),
    lambda a: np.ones_like(a, dtype=np.int64),
    lambda a: np.full_like(a, 3.5),
    lambda a: np.empty_like(a, shape=(2, 3)) * 0 == 5,
    lambda a: np.repeat(a, 2, 1),
    lambda a: a.repeat([1, 0, 2], 0),
    lambda a: np.tile(a, (2, 1, 2)),
    lambda a: np.tile(a[0, 0], 3),
    lambda a: np.pad(a, ((1, 0), (0, 2), (0, 0))),
    lambda a: np.pad(a, 1, constant_values=2.5),
    lambda a: np.roll(a, 2),
    lambda a: np.roll(a, (1, -1), (0, 2)),
    lambda a: np.atleast_1d(a[0, 0, 0]),
    lambda a: np.broadcast_arrays(a, a[:, :1])[1],
    lambda a: np.isclose(a, a + 1e-7),
    lambda a: np.nan_to_num(np.where(a > 0.5, np.inf, np.where(a < -0.5, np.nan, a)).astype(a.dtype)),
    lambda a: a.round(),
    lambda a: a.astype(np.float64),
    lambda a: a.astype(np.int64),
    lambda a: a.astype(bool),
    lambda a: (a > 0).astype(np.float32),
    lambda a: a.copy(),
    lambda a: a.flatten(),
    lambda a: a.view(np.int32),
    lambda a: np.logical_and.reduce(a > -9, axis=1),
    lambda a: abs(-a),
    lambda a: ~(a > 0) | (a < -1) & (a != 0) ^ (a > 1),
    lambda a: np.zeros((2, 3), np.float32, like=a) if is_device(a) else np.zeros((2, 3), np.float32),
    lambda a: np.ones(3, like=a) if is_device(a) else np.ones(3),
    lambda a: np.full((2,), 1.5, like=a) if is_device(a) else np.full((2,), 1.5),
    lambda a: np.arange(2, 11, 3, like=a) if is_device(a) else np.arange(2, 11, 3),
    lambda a: np.arange(5, dtype=np.float32, like=a) if is_device(a) else np.arange(5, dtype=np.float32),
    lambda a: np.arange(3, 0, -0.5, like=a) if is_device(a) else np.arange(3, 0, -0.5),
    lambda a: np.array(a, like=a) if is_device(a) else np.array(a),
    lambda a: np.array([a[0], a[1]], like=a) if is_device(a) else np.array([a[0], a[1]]),
    lambda a: np.ascontiguousarray(a.T, np.float64, like=a) if is_device(a) else np.ascontiguousarray(a.T, np.float64),
]


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_functions(number, x):
    function = FUNCTIONS[number]
    expected = function(x)
    with transfers.counted() as counts:
        got = function(to_device(x))
        upside_down = function(to_device(x[::-1])[::-1])
    assert not any("fallback" in reason or "to_host" in reason for reason in counts), counts
    same(got, expected)
    same(upside_down, expected)


def test_putting_along_an_axis(x):
    d, places = to_device(x), np.argmin(x, 1, keepdims=True)
    np.put_along_axis(d, to_device(places), 7, axis=1)
    np.put_along_axis(x, places, 7, axis=1)
    same(d, x)
    np.copyto(d, -np.inf, where=x > 0)
    np.copyto(x, -np.inf, where=x > 0)
    same(d, x)
    np.copyto(d, 1)
    d[0].fill(2)
    assert float(d.sum()) == 80


def test_questions(x):
    d = to_device(x)
    assert (np.shape(d), np.ndim(d), np.size(d), np.size(d, 1)) == ((3, 4, 5), 3, 60, 4)
    assert np.result_type(d, np.float64) == np.float64
    assert np.result_type(d, 1.0) == np.float32
    assert np.array_equal(d, x)
    assert not np.array_equal(d, x[:2])
    assert np.allclose(d, x + 1e-9)
    assert not np.allclose(d, x + 1)
    assert np.isrealobj(d)
    assert not np.iscomplexobj(d)


def test_what_kernels_do_not_have_runs_on_the_host(x):
    d = to_device(x)
    with transfers.counted() as counts:
        same(np.sort(d, axis=1), np.sort(x, axis=1))
        close(np.mean(d, axis=0, where=x > -9), np.mean(x, axis=0, where=x > -9))
        same(np.gcd(to_device(np.array([4, 6])), 6), np.gcd([4, 6], 6))
        assert [is_device(part) for part in np.unique(d, return_counts=True)] == [True, True]
    assert counts["to_host: fallback sort"] == 1 == counts["to_host: fallback gcd.__call__"]
    assert counts["to_device: fallback sort"] == 1
    d.sort(0)
    same(d, np.sort(x, 0))
    out = zeros(x.shape)
    assert np.cbrt(d, out=out) is out
    same(out, np.cbrt(np.sort(x, 0)))
    total = to_device(np.zeros(3))
    np.add.at(total, np.array([0, 2, 2]), 1.0)
    same(total, np.array([1.0, 0, 2]))


def test_single_numbers_are_fetched_when_asked_for(x):
    d = to_device(x)
    with transfers.counted() as counts:
        total = d.sum() * 2 + 1
        assert is_device(total)
    assert not counts
    with transfers.counted() as counts:
        assert float(total) == pytest.approx(float(x.sum() * 2 + 1), rel=1e-5)
        assert int(d.argmax()) == x.argmax()
        assert bool((d > -100).all())
        assert [10, 11, 12][to_device(np.array(2))] == 12
        assert d[0, 0, 0].item() == x[0, 0, 0]
        assert d.item(1, 2, 3) == x[1, 2, 3]
        assert d.tolist() == x.tolist()
        assert f"{d[0, 0, 0]:.3f}" == f"{x[0, 0, 0]:.3f}"
        np.testing.assert_array_equal(np.asarray(d.T), x.T)
    assert counts["to_host: float"] == counts["to_host: int"] == counts["to_host: bool"] == 1
    assert counts["to_host: __array__"] == 1
    with pytest.raises(ValueError, match="ambiguous"):
        bool(d)
    with pytest.raises(TypeError, match="unhashable"):
        hash(d)
    assert np.array(d, np.float64).dtype == np.float64
    assert repr(d) == "<DeviceArray shape=(3, 4, 5) dtype=float32>"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3), (2, 1, 4)])
def test_there_and_back(shape, dtype, rng):
    a = (rng.random(shape) * 3).astype(dtype)
    same(to_device(a), a)
    same(to_device(a.T), a.T)
    assert to_device(a).flags.c_contiguous
    d = to_device(a)
    assert to_device(d) is d
    assert to_device(a, np.float64).dtype == np.float64
    same(pickle.loads(pickle.dumps(d)), a)
    twin = copy.deepcopy(d)
    twin[...] = 1
    same(d, a)


def test_dtypes_that_kernels_do_not_have():
    with pytest.raises(TypeError, match="expected a dtype of bool, integers, float32 or float64, got complex128"):
        to_device(np.ones(2, complex))
    with pytest.raises(TypeError, match="got float16"):
        zeros(2).astype(np.float16)
    with pytest.raises(ValueError, match="without negative sizes"):
        zeros((2, -1))
    with pytest.raises(ValueError, match="cannot reshape array of size 6"):
        zeros((2, 3)).reshape(4, -1)


@pytest.mark.skipif(not simulated(), reason="needs the simulator")
@pytest.mark.parametrize("dtype", FLOATS)
def test_kernels_are_launched_as_they_are_compiled_ahead(dtype, rng, monkeypatch):
    """On a GPU another type of argument would be another kernel, which no table shows."""
    for make in cuda_api.MAKERS:
        make()
    known = set(cuda_api.KERNELS)
    a, b = to_device(rng.random((6, 5)).astype(dtype)), to_device(rng.random((6, 5)).astype(dtype))
    rows = to_device(np.array([1, 3]))
    unforeseen = record_launches(monkeypatch)
    np.exp(a * b.T.T - 0.25)
    np.maximum(a, 0) / b
    np.where(a > b, a, 0)
    a[:, None, ::2] + b[None, :, ::2]
    for axis in (None, 0, 1):
        (a.sum(axis), a.max(axis), a.mean(axis), a.min(axis), a.prod(axis), (a > b).any(axis), (a > b).all(axis))
    (a.argmax(1), np.cumsum(a, 0), np.arange(5, dtype=dtype, like=a), np.count_nonzero(a > b))
    a[rows] += 1
    a[rows, rows] = a[rows, 0] + a.astype(dtype)[rows, 1]
    a @ b.T + np.einsum("ij,kj->ik", a, b)
    device_matmul.matmul(a.T, b, bias=a[0], out=zeros((5, 5), dtype), accumulate=True)
    np.zeros((2, 3), dtype, like=a).fill(2)
    if dtype == "float32":
        a.astype(np.float64).astype(bool)
        assert not unforeseen
    assert set(cuda_api.KERNELS) == known


# Memory


def test_a_step_like_the_last_allocates_nothing(rng):
    w, x = to_device(rng.standard_normal((4, 3))), rng.standard_normal((5, 4))

    def step():
        y = np.tanh(to_device(x) @ w)
        d = (y - 1) * (1 - y * y)
        w[...] -= 0.1 * (to_device(x).T @ d) / len(x)
        return float(d.mean())

    before = step(), step()
    allocations = pool.allocations
    assert step() != before[0]
    assert pool.allocations == allocations


def test_out_of_memory_changes_nothing(monkeypatch):
    w = full((3,), 2.0)
    allocate, asked = cuda_api.allocate, []

    def failing(nbytes):
        asked.append(nbytes)
        raise MemoryError

    monkeypatch.setattr(cuda_api, "allocate", failing)
    with pytest.raises(
        cuda_api.CudaError, match=r"out of device memory: .* bytes more were needed.*not begun.*smaller batch_size"
    ):
        empty((1 << 20, 3))
    assert len(asked) == 2  # again, once what was free had been given back
    assert not any(pool._free.values())
    monkeypatch.setattr(cuda_api, "allocate", allocate)
    same(w * 2, np.full(3, 4, np.float32))
    fails = iter([True, False])
    monkeypatch.setattr(cuda_api, "allocate", lambda n: failing(n) if next(fails) else allocate(n))
    assert empty((1 << 19, 3)).shape == (1 << 19, 3)


def test_memory_is_used_again_only_when_no_view_is_left():
    a = full((1000,), 1.0)
    view, address = a[10:20], a.address
    del a
    b = full((1000,), 2.0)
    assert b.address != address
    same(view, np.ones(10, np.float32))
    del view
    gc.collect()
    assert full((1000,), 3.0).address == address


# Other libraries


class Foreign:
    """What another library's array looks like; in the simulator its memory is the host's."""

    def __init__(self, array, **more):
        self.array, self.more = array, more

    @property
    def __cuda_array_interface__(self):
        a = self.array
        return {
            "shape": a.shape, "typestr": a.dtype.str, "strides": a.strides, "data": (a.ctypes.data, False),
            "version": 3, **self.more,
        }  # fmt: skip


@pytest.mark.skipif(not simulated(), reason="needs the simulator, whose memory is the host's")
def test_another_librarys_array_is_not_copied():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    for view in (a, a.T, a[1:, ::2], a[::-1, ::-2], a[:0], np.broadcast_to(a[0], (2, 6))):
        same(to_device(Foreign(view)), view)
    with transfers.counted() as counts:
        d = to_device(Foreign(a[::-1]))
        d += 1
        assert float(a[0, 0]) == 1
    assert not counts
    assert not to_device(Foreign(a, data=(a.ctypes.data, True))).flags.writeable
    owner = Foreign(np.ones(3))
    kept, wrapped = weakref.ref(owner), to_device(owner)[1:]
    del owner
    assert kept() is not None
    del wrapped
    assert kept() is None
    same(zeros((4, 6)) + to_device(Foreign(a)), a)
    with pytest.raises(TypeError, match="without a mask"):
        to_device(Foreign(a, mask=a))
    with pytest.raises(TypeError, match="got complex64"):
        to_device(Foreign(a.astype(np.complex64)))
    with pytest.raises(TypeError, match="multiples"):
        to_device(Foreign(a, strides=(24, 3)))


def test_the_interface_says_where_numbers_are(x):
    d = to_device(x)
    found = d[1:].__cuda_array_interface__
    assert found["data"] == (d.address + 80, False)
    assert (found["shape"], found["typestr"], found["strides"], found["version"]) == ((2, 4, 5), "<f4", None, 3)
    assert d.T.__cuda_array_interface__["strides"] == x.T.strides
    again = to_device(Foreign(x, **d.__cuda_array_interface__)) if simulated() else d
    again[0, 0, 0] = 42
    assert float(d[0, 0, 0]) == 42


@pytest.mark.skipif(not simulated(), reason="needs the simulator, whose memory NumPy can read")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_dlpack_gives_the_same_memory(dtype):
    before = len(device_interchange._exported)
    d = to_device(np.arange(24).reshape(4, 6).astype(dtype))
    host = np.from_dlpack(d[1:, ::-2])
    np.testing.assert_array_equal(host, to_host(d)[1:, ::-2])
    d[...] = 0
    assert not host.any()
    assert len(device_interchange._exported) == before + 1
    address = d.address
    del d
    assert empty((4, 6), dtype).address != address  # the consumer still has it
    del host
    capsule = zeros(3).__dlpack__()
    del capsule
    gc.collect()
    assert len(device_interchange._exported) == before


def test_dlpack_that_cannot_be():
    d = zeros(3)
    with pytest.raises(BufferError, match="copy=True"):
        d.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="expected dl_device"):
        d.__dlpack__(dl_device=(10, 0))
    d.flags.writeable = False
    with pytest.raises(BufferError, match="read-only"):
        d.__dlpack__()


def test_a_single_number_is_a_copy_as_with_numpy():
    w = to_device(np.arange(6, dtype=np.float32).reshape(2, 3))
    old = w[1, 2]
    w[1, 2] = old + 10
    assert (float(old), float(w[1, 2])) == (5, 15)
    shown = w[1, 2, ...]
    w[1, 2] = 7
    assert float(shown) == 7

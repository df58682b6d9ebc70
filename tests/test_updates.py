"""The optimizers' updates of every backend against the reference in float64, and what they refuse."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
from backend_case import load_backend

from fusedlstm.backends import reference

UPDATES = [
    ("sgd_update", 0, {}),
    ("sgd_update", 1, {"momentum": 0.9}),
    ("sgd_update", 1, {"momentum": 0.9, "nesterov": True}),
    ("lion_update", 1, {"beta_1": 0.6, "beta_2": 0.9}),
    ("rmsprop_update", 1, {}),
    ("rmsprop_update", 3, {"rho": 0.8, "momentum": 0.5, "epsilon": 1e-3}),
    ("adagrad_update", 1, {"epsilon": 1e-3}),
    ("adadelta_update", 2, {"rho": 0.8, "epsilon": 1e-3}),
    ("adam_update", 2, {}),
    ("adam_update", 3, {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    ("nadam_update", 2, {"m_factor": 1.3, "g_factor": 0.7, "v_factor": 2.0, "beta_1": 0.8, "beta_2": 0.9}),
    ("adamax_update", 2, {"beta_1": 0.8, "beta_2": 0.9}),
]
SLOTS = {"sgd_update": 1, "rmsprop_update": 3, "adam_update": 3}
IDS = [f"{name}-{'-'.join(options)}" for name, _, options in UPDATES]
COMMON = [{}, {"gradient_scale": 0.3}, {"clip": 0.4}, {"decay": 1e-2, "clip": 0.2, "gradient_scale": 2.0}]


def buffers(name, count, shape, dtype):
    """As many as are used, then None for those that the function takes besides."""
    return [np.full(shape, 0.1, dtype) for _ in range(count)] + [None] * (SLOTS.get(name, count) - count)


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
@pytest.mark.parametrize("common", COMMON, ids="-".join)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_the_reference(kernels, name, count, options, common, dtype):
    for size in (0, 1, 7, 37, 500):
        rng = np.random.default_rng(size)
        w = rng.normal(size=size).astype(dtype)
        state, exact_w, exact = buffers(name, count, size, dtype), w.astype("f8"), buffers(name, count, size, "f8")
        for _ in range(5):
            g = rng.normal(size=size).astype(dtype)
            getattr(kernels, name)(w, g, *state, learning_rate=0.01, **options, **common)
            getattr(reference, name)(exact_w, g.astype("f8"), *exact, learning_rate=0.01, **options, **common)
        tolerance = {"rtol": 1e3 * np.finfo(dtype).eps, "atol": 1e2 * np.finfo(dtype).eps}
        np.testing.assert_allclose(w, exact_w, **tolerance)
        for a, b in zip(state[:count], exact[:count], strict=True):
            np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
@pytest.mark.parametrize("decay", [0.0, 1e-2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_the_dense_gradient(kernels, name, count, options, decay, dtype):
    """Of which rows there is a gradient changes nothing, whether in runs, at the ends, nowhere or everywhere."""
    rng = np.random.default_rng(0)
    for rows, width in itertools.product([[], [0], [11], [0, 1, 2, 7, 8, 11], [3], list(range(12))], (1, 9, 131)):
        rows = np.array(rows, np.int64)
        w = rng.normal(size=(12, width)).astype(dtype)
        values, dense = rng.normal(size=(len(rows), width)).astype(dtype), np.zeros_like(w)
        dense[rows] = values
        whole, state, dense_state = w.copy(), buffers(name, count, w.shape, dtype), buffers(name, count, w.shape, dtype)
        for _ in range(2):
            getattr(kernels, name)(w, values, *state, learning_rate=0.1, decay=decay, rows=rows, **options)
            getattr(kernels, name)(whole, dense, *dense_state, learning_rate=0.1, decay=decay, **options)
        tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).eps}
        np.testing.assert_allclose(w, whole, **tolerance)
        for a, b in zip(state[:count], dense_state[:count], strict=True):
            np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
def test_the_reference_takes_rows_too(name, count, options):
    rng = np.random.default_rng(1)
    w, rows = rng.normal(size=(6, 3)), np.array([1, 4])
    values, dense = rng.normal(size=(2, 3)), np.zeros((6, 3))
    dense[rows] = values
    whole = w.copy()
    getattr(reference, name)(w, values, *buffers(name, count, w.shape, "f8"), learning_rate=0.1, rows=rows, **options)
    getattr(reference, name)(whole, dense, *buffers(name, count, w.shape, "f8"), learning_rate=0.1, **options)
    np.testing.assert_array_equal(w, whole)


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
def test_a_prepared_update_is_the_function_to_the_bit(backend, name, count, options):
    """With numbers that change from step to step, and whole gradients between those of some rows."""
    module, rng = load_backend(backend), np.random.default_rng(3)
    w = rng.normal(size=(6, 5)).astype("f4")
    same, state, same_state = w.copy(), buffers(name, count, w.shape, "f4"), buffers(name, count, w.shape, "f4")
    prepared = module.prepare_updates(name, [(same, same_state)])
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    common = ("gradient_scale", "clip", "decay", "rows")
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in common}
    for step, rows in enumerate([None, np.array([1, 4]), None, np.array([0, 2, 5])]):
        g = rng.normal(size=w.shape if rows is None else (len(rows), 5)).astype("f4")
        scale, clip, decay = 0.5 + step, 1.0 / (1 + step), 0.01 * step
        now = {**defaults, "learning_rate": 0.1 / (1 + step), **options}
        getattr(module, name)(w, g, *state, gradient_scale=scale, clip=clip, decay=decay, rows=rows, **now)
        prepared([g], [scale], clip, [decay], {} if rows is None else {0: rows}, now)
        np.testing.assert_array_equal(same, w)
        for a, b in zip(same_state[:count], state[:count], strict=True):
            np.testing.assert_array_equal(a, b)
    if module is not reference:
        with pytest.raises(ValueError, match=rf"{name}: expected g \(6, 5\) of float32, got \(5,\) of float32"):
            prepared([np.zeros(5, "f4")], [1.0], 1.0, [0.0], {}, now)


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
def test_several_variables_are_updated_as_each_by_itself(backend, name, count, options):
    """Of any shapes and dtypes, with a scale and decay of its own, some of their rows, none at all; twice."""
    module, rng = load_backend(backend), np.random.default_rng(4)
    forms = [((3, 4), "f4"), ((5,), "f8"), ((6, 5), "f4"), ((2,), "f4"), ((0,), "f4")]
    w = [rng.normal(size=shape).astype(dtype) for shape, dtype in forms]
    state = [buffers(name, count, shape, dtype) for shape, dtype in forms]
    same = [array.copy() for array in w]
    same_state = [[None if array is None else array.copy() for array in arrays] for arrays in state]
    prepared = module.prepare_updates(name, list(zip(same, same_state, strict=True)))
    scales, decays, now = [1.0, 0.5, 2.0, 3.0, 1.0], [0.0, 0.1, 0.0, 0.2, 0.0], {"learning_rate": 0.1, **options}
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    common = ("gradient_scale", "clip", "decay", "rows")
    now |= {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in (*common, *now)}
    for rows in ({}, {2: np.array([1, 4])}, {}):
        gradients = [rng.normal(size=shape).astype(dtype) for shape, dtype in forms]
        gradients[0] = np.asfortranarray(gradients[0])
        if rows:
            gradients[2], gradients[3] = gradients[2][:2], None
        prepared(gradients, scales, 0.7, decays, rows, now)
        for k, g in enumerate(gradients):
            if g is not None:
                more = {"gradient_scale": scales[k], "clip": 0.7, "decay": decays[k], "rows": rows.get(k)}
                getattr(module, name)(w[k], g, *state[k], **now, **more)
            for a, b in zip([same[k], *same_state[k]], [w[k], *state[k]], strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [False, True])
def test_threads_change_nothing(rows):
    """In sizes that do not divide, whole or by row; large enough that the work is shared out."""
    module, rng = load_backend("c"), np.random.default_rng(5)
    table, vector = rng.normal(size=(10007, 13)).astype("f4"), rng.normal(size=70001)
    some = np.flatnonzero(rng.random(len(table)) < 0.5)
    given = {0: some} if rows else {}
    gradients = [rng.normal(size=(len(some), 13) if rows else table.shape).astype("f4"), rng.normal(size=vector.shape)]
    options = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7}
    threads, found = module.get_num_threads(), []
    try:
        for count in (1, 2, 3, 5):
            module.set_num_threads(count)
            arrays = [[array.copy(), np.zeros_like(array), np.zeros_like(array)] for array in (table, vector)]
            prepared = module.prepare_updates("adam_update", [(w, [m, v, None]) for w, m, v in arrays])
            for _ in range(3):
                prepared(gradients, [1.0, 1.0], 2.0, [0.0, 0.01], given, options)
            found.append([array for each in arrays for array in each])
    finally:
        module.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_refused_update_keeps_the_others_from_running():
    w = [np.zeros((3, 2), "f"), np.zeros((3, 2), "f")]
    prepared = load_backend("c").prepare_updates("sgd_update", [(array, [None]) for array in w])
    gradients = [np.ones((3, 2), "f"), np.ones((2, 2), "f")]
    options = {"learning_rate": 1.0, "momentum": 0.0, "nesterov": False}
    with pytest.raises(IndexError, match=r"update: expected ascending rows in 0 \.\.\. 2, got \[2 3\]"):
        prepared(gradients, [1.0] * 2, 1.0, [0.0] * 2, {1: np.array([2, 3])}, options)
    assert not w[0].any()
    prepared([gradients[0]] * 2, [1.0] * 2, 1.0, [0.0] * 2, {}, options)
    assert (w[1] == -1).all()


@pytest.mark.parametrize(("name", "count", "options"), UPDATES, ids=IDS)
def test_nan_stays_in_its_element(kernels, name, count, options):
    for module in (kernels, reference):
        w, g = np.ones(40, np.float32), np.ones(40, np.float32)
        g[5] = np.nan
        getattr(module, name)(w, g, *buffers(name, count, 40, "f4"), learning_rate=0.1, clip=0.5, **options)
        assert np.isnan(w[5])
        assert np.isfinite(np.delete(w, 5)).all()


@pytest.mark.parametrize("name", ["sgd_update", "adagrad_update"])
def test_a_scale_that_is_nan_reaches_rows_without_gradient(kernels, name):
    """As in the dense update: an infinite global norm makes all weights NaN, which fit shows."""
    w = np.ones((4, 3), np.float32)
    state = buffers(name, name == "adagrad_update", w.shape, "f4")
    rows = np.array([2], np.int64)
    getattr(kernels, name)(w, w[:1].copy(), *state, learning_rate=0.1, gradient_scale=np.nan, rows=rows)
    assert np.isnan(w).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average(kernels, dtype):
    rng = np.random.default_rng(2)
    for size in (0, 1, 37):
        w, average = rng.normal(size=size).astype(dtype), rng.normal(size=size).astype(dtype)
        expected = 0.9 * average + (1 - 0.9) * w
        copy = average.copy()
        kernels.average_update(w, average, momentum=0.9)
        reference.average_update(w, copy, momentum=0.9)
        for actual in (average, copy):
            np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


W, ROWS = np.zeros((3, 2), "f"), np.array([0, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: b.lion_update(W.copy(), W, W[:1], learning_rate=1), ValueError, r"lion_update: expected m \(3, 2\)"),
        (
            lambda b: b.adam_update(W.copy(), W[:1], W.copy(), W.copy(), None, learning_rate=1, rows=ROWS),
            ValueError,
            r"adam_update: expected g \(2, 2\) of float32, got \(1, 2\)",
        ),
        (
            lambda b: b.sgd_update(W.copy(), W[:2], None, learning_rate=1, rows=ROWS.astype("i4")),
            ValueError,
            r"sgd_update: expected rows \(2,\) of int64, got \(2,\) of int32",
        ),
        (
            lambda b: b.sgd_update(np.zeros(3, "f"), W[:2], None, learning_rate=1, rows=ROWS),
            ValueError,
            r"sgd_update: expected w of 2 axes with rows, got \(3,\)",
        ),
        (
            lambda b: b.sgd_update(W.copy(), W, None, learning_rate=1, clip=np.nan),
            ValueError,
            "sgd_update: argument 'clip' is out of its domain",
        ),
        (
            lambda b: b.sgd_update(W.copy(), W, None, learning_rate=1, rho=0.9),
            TypeError,
            r"sgd_update\(\) got an unexpected keyword argument 'rho'",
        ),
        (
            lambda b: b.average_update(W, W.copy()[:, :1], momentum=0.5),
            ValueError,
            r"average_update: expected average \(3, 2\)",
        ),
        (
            lambda b: b.average_update(W, W.copy().T.copy().T, momentum=0.5),
            ValueError,
            "average_update: expected average contiguous",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["c", "numba"])
def test_refused(backend, call, error, message):
    with pytest.raises(error, match=message):
        call(load_backend(backend))


@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
@pytest.mark.parametrize("rows", [[0, 3], [-1, 2], [2, 0], [1, 1]])
def test_rows_out_of_range_or_order(backend, rows):
    w = np.zeros((3, 2), "f")
    with pytest.raises(IndexError, match=r"update: expected ascending rows in 0 \.\.\. 2"):
        load_backend(backend).sgd_update(w, np.ones((2, 2), "f"), None, learning_rate=1, rows=np.array(rows, np.int64))
    assert not w.any()

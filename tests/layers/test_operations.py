"""Arithmetic on symbolic tensors, and slices of them."""

import numpy as np
import pytest

from fusedlstm.layers import LSTM, Dense, Input, Masking
from fusedlstm.layers.operations import Arithmetic, Slice
from fusedlstm.models import Model

RNG = np.random.default_rng(0)
A = RNG.uniform(0.5, 2, (3, 4, 2))
B = RNG.uniform(0.5, 2, (3, 4, 2))
C = RNG.uniform(0.5, 2, (4, 2))

EXPRESSIONS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "negative": lambda a, b: -a,
    "numbers on the right": lambda a, b: (a + 1) * 2 - 3,
    "numbers on the left": lambda a, b: 1 - 2 * a + 3 / b + (2 + a),
    "powers of numbers": lambda a, b: 2**a - a**2 + b**0.5,
    "arrays on the right": lambda a, b: a * C - b / C[0],
    "arrays on the left": lambda a, b: C - a + C[:1] / b - C**a,
    "numpy's functions": lambda a, b: np.multiply(a, b) + np.negative(np.subtract(C, a)),
    "broadcast": lambda a, b: a[:, :1] * b + b[..., -1:],
    "the same twice": lambda a, b: a * a * a,
    "last step": lambda a, b: a[:, -1] * b[:, 0],
    "steps": lambda a, b: a[:, 1:, :] - b[:, :-1],
    "every other": lambda a, b: a[:, ::2, 0] + b[:, 1::2, 1],
    "reversed": lambda a, b: a[:, ::-1],
    "dots": lambda a, b: a[..., 0] + b[..., -1],
    "new axis": lambda a, b: a[:, :, None] * b[:, :, None, :],
    "numpy's integers": lambda a, b: a[:, np.int64(1)],
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_and_their_gradients(name):
    expression = EXPRESSIONS[name]
    a, b = Input((4, 2), dtype="float64"), Input((4, 2), dtype="float64")
    y = expression(a, b)
    expected = expression(A, B)
    assert y.shape == (None, *expected.shape[1:])
    assert y.dtype == np.float64
    model = Model([a, b], [y, a, b])
    np.testing.assert_allclose(model.predict([A, B], verbose=0)[0], expected, rtol=1e-12)
    _, _, backward = model.graph.forward([A, B], False, None, True, True)
    weight = RNG.normal(size=expected.shape)
    gradients = backward([weight, np.zeros_like(A), np.zeros_like(B)])
    for k, given in enumerate((A, B)):
        for index in [(0, 0, 0), (1, 2, 1), (2, 3, 0), (2, 1, 1)]:
            sums = []
            for step in (1e-6, -1e-6):
                moved = [A.copy(), B.copy()]
                moved[k][index] += step
                sums.append(float((expression(*moved) * weight).sum()))
            numeric = (sums[0] - sums[1]) / 2e-6
            np.testing.assert_allclose(gradients[k][index], numeric, rtol=1e-5, atol=1e-7, err_msg=f"{index} {given}")


def test_powers_at_zero_have_finite_gradients_where_there_is_one():
    a = Input((3,), dtype="float64")
    for exponent, expected in ((0, 0.0), (1, 1.0), (2, 0.0)):
        graph = Model(a, a**exponent).graph
        _, _, backward = graph.forward([np.zeros((1, 3))], False, None, True, True)
        np.testing.assert_array_equal(backward([np.ones((1, 3))])[0], np.full((1, 3), expected))


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda i: i + 1, "int32"),
        (lambda i: 1 - i, "int32"),
        (lambda i: i * i, "int32"),
        (lambda i: -i, "int32"),
        (lambda i: i[:, 1:], "int32"),
        (lambda i: i / 2, "float32"),
        (lambda i: i * 0.5, "float32"),
        (lambda i: i + i / 2, "float32"),
    ],
)
def test_integers_stay_integers_as_long_as_they_can(make, dtype):
    i = Input((3,), dtype="int32")
    y = make(i)
    assert y.dtype == dtype
    x = np.array([[1, 2, 3]], dtype="int32")
    got = Model(i, y).predict(x, verbose=0)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, make(x))


def test_a_float32_tensor_stays_one_beside_a_float64_array():
    a = Input((2,))
    assert (a * np.ones(2)).dtype == np.float32
    assert (a + Dense(2, dtype="float64")(a)).dtype == np.float64


def masked(expression):
    """A model that multiplies LSTM outputs by 0 where the mask that comes out of `expression` is False."""
    a = Input((4, 2))
    return Model(a, LSTM(2, return_sequences=True, zero_output_for_mask=True)(expression(Masking()(a))))


X = np.array([[[1, 1], [2, 2], [0, 0], [3, 3]], [[0, 0], [1, 1], [1, 1], [1, 1]]], "float32")
MASK = X.any(axis=-1)


@pytest.mark.parametrize(
    ("expression", "mask"),
    [
        (lambda h: h * 2 + 1, MASK),
        (lambda h: h + h, MASK),
        (lambda h: h[:, 1:], MASK[:, 1:]),
        (lambda h: h[..., :1], MASK),
        (lambda h: h[:, ::-1, :1], MASK[:, ::-1]),
        (lambda h: h[:, 1:] + h[:, :-1], MASK[:, 1:] & MASK[:, :-1]),
        (lambda h: h[:, 1:] + h[:, 0][:, None], MASK[:, 1:]),
    ],
)
def test_masks_go_through(expression, mask):
    y = masked(expression).predict(X, verbose=0)
    np.testing.assert_array_equal(y.any(axis=-1), mask)


def test_one_step_has_no_mask():
    a = Input((4, 2))
    h = Masking()(a)
    _, masks, _ = Model(a, [h[:, 0], h[:, None]]).graph.forward([X])
    assert masks == [None, None]


@pytest.mark.parametrize(
    "layer",
    [
        Arithmetic("divide", constant=C, reverse=True, dtype="float64", name="o"),
        Arithmetic("power", constant=2, dtype="float64", name="o"),
        Slice((slice(None), -1), name="o", dtype="float64"),
        Slice((Ellipsis, None, slice(0, None, 2)), name="o", dtype="float64"),
    ],
    ids=str,
)
def test_a_copy_from_the_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(A), layer(A))


def test_names_are_the_operations():
    from fusedlstm.layers.base import automatic_name

    number = automatic_name(Arithmetic, "subtract")
    a = Input((2,))
    names = {(a - 1).name, (a - 2).name}
    assert len(names) == 2
    assert all(name.startswith("subtract_") for name in names)
    assert number not in names


def test_sizes_that_vary():
    a, b = Input((None, 2)), Input((1, 2))
    assert (a + b).shape == (None, None, 2)
    assert (a + np.ones((4, 2))).shape == (None, 4, 2)
    assert a[:, 1:].shape == (None, None, 2)
    assert a[:, -1].shape == (None, 2)

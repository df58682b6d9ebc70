"""Constraints: what they make of a weight, names and configurations."""

import numpy as np
import pytest

from fusedlstm import constraints
from fusedlstm.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm

W = np.array([[3.0, 0.3, -0.1], [4.0, -0.4, 0.0]])


def norms(w, axis=0):
    return np.sqrt((w * w).sum(axis=axis))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_they_make_of_a_weight(dtype):
    w = W.astype(dtype)
    kept = w.copy()
    for constraint, expected in (
        (MaxNorm(2), [2, 0.5, 0.1]),
        (UnitNorm(), [1, 1, 1]),
        (MinMaxNorm(0.2, 1), [1, 0.5, 0.2]),
        (MinMaxNorm(0.2, 1, rate=0.5), [3, 0.5, 0.15]),
    ):
        new = constraint(w)
        assert new.dtype == dtype
        np.testing.assert_allclose(norms(new), expected, rtol=1e-5)
        np.testing.assert_allclose(np.sign(new), np.sign(w))
    np.testing.assert_array_equal(NonNeg()(w), np.maximum(w, 0))
    np.testing.assert_array_equal(w, kept)


def test_axes():
    np.testing.assert_allclose(norms(UnitNorm(axis=1)(W), axis=1), 1, rtol=1e-6)
    kernel = np.random.default_rng(0).normal(size=(3, 2, 4))
    np.testing.assert_allclose(norms(UnitNorm([0, 1])(kernel), axis=(0, 1)), 1, rtol=1e-6)
    np.testing.assert_array_equal(UnitNorm()(np.zeros((2, 2))), 0)


@pytest.mark.parametrize(
    ("identifier", "config"),
    [
        ("max_norm", {"max_value": 2, "axis": 0}),
        ("NonNeg", {}),
        ("unit_norm", {"axis": 0}),
        (MinMaxNorm, {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0}),
        (constraints.max_norm(3), {"max_value": 3, "axis": 0}),
        ({"class_name": "UnitNorm", "config": {"axis": 1}}, {"axis": 1}),
    ],
)
def test_get(identifier, config):
    found = constraints.get(identifier)
    assert found.get_config() == config
    assert constraints.get(constraints.serialize(found)).get_config() == config


class Halved(constraints.Constraint):
    def __call__(self, w):
        return np.asarray(w) / 2


def test_own_classes():
    config = constraints.serialize(Halved())
    assert config == {"class_name": "Halved", "config": {}}
    assert type(constraints.deserialize(config, {"Halved": Halved})) is Halved
    with pytest.raises(ValueError, match="unknown constraint 'Halved'"):
        constraints.deserialize(config)


def test_none_and_functions():
    assert constraints.get(None) is None
    assert constraints.serialize(None) is None
    assert constraints.get(np.abs) is np.abs


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: constraints.get("norm"), ValueError, "unknown constraint 'norm': expected one of 'max_norm', "),
        (lambda: constraints.get(3), TypeError, "constraint: expected a name, a Constraint or a function, got 3"),
        (lambda: constraints.serialize(np.abs), TypeError, "serialize: expected a Constraint, got <ufunc"),
        (lambda: MaxNorm(-1), ValueError, "MaxNorm: expected max_value to be a finite number from 0 on, got -1"),
        (lambda: MaxNorm(axis=0.5), TypeError, "MaxNorm: expected axis to be an integer or several, got 0.5"),
        (lambda: MinMaxNorm(2, 1), ValueError, "MinMaxNorm: expected min_value <= max_value, got 2 and 1"),
        (lambda: MinMaxNorm(rate=2), ValueError, "MinMaxNorm: expected rate to be a number from 0 to 1, got 2"),
        (lambda: MinMaxNorm("0"), TypeError, "MinMaxNorm: expected min_value to be a number, got '0'"),
        (lambda: UnitNorm(axis=2)(W), ValueError, "UnitNorm: axis 2 does not fit a weight of shape (2, 3)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)

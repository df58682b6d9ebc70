"""Regularizers: values, gradients, names and configurations."""

import numpy as np
import pytest

from fusedlstm import regularizers
from fusedlstm.regularizers import L1, L1L2, L2, OrthogonalRegularizer

W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]])
MADE = [L1(0.1), L2(0.2), L1L2(0.1, 0.2), OrthogonalRegularizer(0.3), OrthogonalRegularizer(0.3, "columns")]


@pytest.mark.parametrize(
    ("regularizer", "value"),
    [(L1(0.1), 0.56), (L2(0.1), 0.704), (L1L2(0.1, 0.1), 1.264), (L1(), 0.056), (L2(), 0.0704), (L1L2(), 0)],
)
def test_values(regularizer, value):
    assert regularizer(W) == pytest.approx(value)
    assert regularizer(W.tolist()) == pytest.approx(value)


def test_orthogonal_is_the_mean_cosine_of_pairs():
    rows = W / np.sqrt((W * W).sum(axis=1, keepdims=True))
    assert OrthogonalRegularizer(0.5)(W) == pytest.approx(0.5 * abs(rows[0] @ rows[1]))
    assert OrthogonalRegularizer(0.5)(np.eye(3)) == 0
    assert OrthogonalRegularizer()(W[:1]) == 0
    value, gradient = OrthogonalRegularizer().value_and_gradient(np.zeros((2, 3)))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("regularizer", MADE, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients(regularizer, dtype):
    numeric = np.zeros_like(W)
    for index in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[index] = 1e-6
        numeric[index] = (regularizer(W + step) - regularizer(W - step)) / 2e-6
    value, gradient = regularizer.value_and_gradient(W.astype(dtype))
    assert isinstance(value, float)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("identifier", "config"),
    [
        ("l1", {"l1": 0.01}),
        ("L2", {"l2": 0.01}),
        ("l1_l2", {"l1": 0.01, "l2": 0.01}),
        ("orthogonal_regularizer", {"factor": 0.01, "mode": "rows"}),
        (L1L2, {"l1": 0.0, "l2": 0.0}),
        (regularizers.l2(0.5), {"l2": 0.5}),
        ({"class_name": "L2", "config": {"l2": 0.3}}, {"l2": 0.3}),
    ],
)
def test_get(identifier, config):
    found = regularizers.get(identifier)
    assert found.get_config() == config
    assert regularizers.get(regularizers.serialize(found)).get_config() == config


class Cubes(regularizers.Regularizer):
    """sum |w|^3"""

    def value_and_gradient(self, w):
        return float((np.abs(w) ** 3).sum()), 3 * w * np.abs(w)


def test_own_classes():
    config = regularizers.serialize(Cubes())
    assert config == {"class_name": "Cubes", "config": {}}
    assert type(regularizers.deserialize(config, {"Cubes": Cubes})) is Cubes
    with pytest.raises(ValueError, match="unknown regularizer 'Cubes'"):
        regularizers.deserialize(config)
    assert regularizers.get("l1l2").get_config() == regularizers.get("L1L2").get_config()


def test_none_is_none():
    assert regularizers.get(None) is None
    assert regularizers.serialize(None) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: regularizers.get("l3"), ValueError, "unknown regularizer 'l3': expected one of 'l1', 'l1_l2', 'l2', "),
        (lambda: regularizers.get({"class_name": "L3"}), ValueError, "unknown regularizer 'L3'"),
        (lambda: regularizers.get(3), TypeError, "regularizer: expected a name or a fusedlstm.regularizers.Regular"),
        (lambda: regularizers.get(np.sum), TypeError, "regularizer: expected a name or a fusedlstm.regularizers.Reg"),
        (lambda: regularizers.serialize("l2"), TypeError, "serialize: expected a Regularizer, got 'l2'"),
        (lambda: L1(-1), ValueError, "L1: expected l1 to be a finite number from 0 on, got -1"),
        (lambda: L2(float("nan")), ValueError, "L2: expected l2 to be a finite number from 0 on, got nan"),
        (lambda: L1L2("0.1"), TypeError, "L1L2: expected l1 to be a number, got '0.1'"),
        (lambda: OrthogonalRegularizer(mode="row"), ValueError, "expected mode 'rows' or 'columns', got 'row'"),
        (lambda: OrthogonalRegularizer()(np.ones(3)), ValueError, "expected a weight of 2 axes, got shape (3,)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)

"""Masking."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer

from fusedlstm.layers import Masking

X = np.array([[[1.0, 0.0], [0.0, 0.0], [2.0, 3.0]], [[0.0, 0.0], [2.0, 2.0], [2.0, 1.0]]])


@pytest.mark.parametrize(("value", "used"), [(0, [[1, 0, 1], [0, 1, 1]]), (2, [[1, 1, 1], [1, 0, 1]])])
def test_masked_steps(value, used):
    used = np.array(used, bool)
    layer = Masking(value)
    assert layer.makes_mask
    np.testing.assert_array_equal(layer.compute_mask(X), used)
    np.testing.assert_array_equal(layer(X), np.where(used[..., None], X, 0).astype("float32"))


def test_gradients(rng):
    x = rng.normal(size=(2, 3, 2))
    x[1, 1] = 7.0
    layer = Masking(7, dtype="float64")
    y, backward = layer.forward(x, training=True)
    d_y = rng.normal(size=y.shape)
    np.testing.assert_array_equal(backward(d_y), np.where(layer.compute_mask(x)[..., None], d_y, 0))
    check_layer(Masking(9, dtype="float64"), x)


def test_a_value_in_float32_is_compared_in_float32():
    assert not Masking(0.1).compute_mask(np.full((1, 1, 2), 0.1)).any()


def test_an_earlier_mask_does_not_count():
    np.testing.assert_array_equal(Masking().compute_mask(X, np.zeros((2, 3), bool)), [[1, 0, 1], [0, 1, 1]])

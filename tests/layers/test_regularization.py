"""SpatialDropout1D and GaussianNoise."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer

from fusedlstm.layers import GaussianNoise, SpatialDropout1D
from fusedlstm.utils import set_random_seed

X = np.random.default_rng(0).normal(size=(3, 4, 5))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [lambda **k: SpatialDropout1D(0.4, **k), lambda **k: GaussianNoise(0.7, **k)])
def test_gradients(make, training):
    check_layer(make(dtype="float64"), X.copy(), training=training)


def test_spatial_dropout_drops_a_feature_at_all_steps():
    x = np.ones((50, 4, 20), "float32")
    y = SpatialDropout1D(0.25, seed=1)(x, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert 0.2 < (y == 0).mean() < 0.3
    np.testing.assert_array_equal(SpatialDropout1D(0.25, seed=1)(x, training=True), y)
    np.testing.assert_array_equal(SpatialDropout1D(0.25)(x), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gaussian_noise(dtype):
    x = np.full((200, 50), 3.0, dtype)
    layer = GaussianNoise(0.5, seed=1, dtype=dtype)
    y = layer(x, training=True)
    assert y.dtype == dtype
    assert abs(y.mean() - 3) < 0.02
    assert abs(y.std() - 0.5) < 0.02
    assert not np.array_equal(layer(x, training=True), y)
    np.testing.assert_array_equal(GaussianNoise(0.5, seed=1, dtype=dtype)(x, training=True), y)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(GaussianNoise(0)(x, training=True), x)
    draws = []
    for _ in range(2):
        set_random_seed(4)
        draws.append(GaussianNoise(2)(x, training=True))
    np.testing.assert_array_equal(*draws)

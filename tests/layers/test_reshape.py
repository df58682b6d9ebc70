"""Reshape, Permute and RepeatVector."""

import warnings

import numpy as np
import pytest
from layers.layer_gradients import check_layer

from fusedlstm.layers import Conv1D, Flatten, GlobalMaxPooling1D, MaxPooling1D, Permute, RepeatVector, Reshape

X = np.random.default_rng(0).normal(size=(2, 6, 2))


@pytest.mark.parametrize("target", [(12,), (3, 4), (-1,), (2, -1, 3), (6, 2, 1), (4, 3)])
def test_reshape(target):
    layer = Reshape(target, dtype="float64")
    check_layer(layer, X.copy())
    np.testing.assert_array_equal(layer(X), X.reshape(2, *target))


def test_reshape_of_sizes_that_vary():
    assert Reshape((-1, 4)).compute_output_shape((None, None, 2)) == (None, None, 4)
    assert Reshape((3, 4)).compute_output_shape((None, 12)) == (None, 3, 4)
    assert Reshape((3, 4)).compute_output_shape((None, None)) == (None, 3, 4)
    assert Reshape(12)(X).shape == (2, 12)
    assert Reshape((0, -1))(np.zeros((2, 0))).shape == (2, 0, 0)


@pytest.mark.parametrize("dims", [(1, 2), (2, 1)])
def test_permute(dims):
    layer = Permute(dims, dtype="float64")
    check_layer(layer, X.copy())
    np.testing.assert_array_equal(layer(X), X.transpose(0, *dims))


def test_permute_of_three_axes():
    x = np.random.default_rng(0).normal(size=(2, 2, 3, 2))
    check_layer(Permute((3, 1, 2), dtype="float64"), x)
    assert Permute((3, 1, 2)).compute_output_shape((None, 4, 5, 6)) == (None, 6, 4, 5)


@pytest.mark.parametrize("n", [1, 3])
def test_repeat_vector(n):
    layer = RepeatVector(n, dtype="float64")
    check_layer(layer, X[:, 0].copy())
    np.testing.assert_array_equal(layer(X[:, 0]), np.stack([X[:, 0]] * n, axis=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reshape((12,), name="l"),
        lambda: Permute((2, 1), name="l"),
        lambda: RepeatVector(2, name="l"),
        lambda: Flatten(name="l"),
        lambda: Conv1D(1, 1, name="l"),
        lambda: MaxPooling1D(name="l"),
        lambda: GlobalMaxPooling1D(name="l"),
    ],
)
def test_a_mask_ends_with_one_warning_a_layer(make):
    layer, mask = make(), np.ones((2, 6), bool)
    assert layer.compute_mask(X) is None
    with pytest.warns(UserWarning, match=r"^\w+ 'l': the mask does not fit its outputs and ends here$"):
        assert layer.compute_mask(X, mask) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layer.compute_mask(X, mask) is None
    with pytest.warns(UserWarning, match="ends here"):
        make().compute_mask(X, mask)


def test_automatic_names_are_keras_s():
    for make, stem in ((lambda: Conv1D(1, 1), "conv1d"), (GlobalMaxPooling1D, "global_max_pooling1d")):
        assert make().name.startswith(stem)
        assert make().name.removeprefix(stem).startswith("_")

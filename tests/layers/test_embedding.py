"""Embedding."""

import warnings

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import Embedding

IDS = np.array([[1, 0, 3], [3, 3, 0]])


@pytest.mark.parametrize(
    "options", pairs({"mask_zero": [False, True], "dtype_of_ids": ["int8", "uint64", "float32"], "rank": [1, 2, 3]})
)
def test_gradients(options):
    ids = {1: IDS[0], 2: IDS, 3: np.stack([IDS, IDS[::-1]])}[options["rank"]].astype(options["dtype_of_ids"])
    layer = Embedding(5, 2, mask_zero=options["mask_zero"], dtype="float64")
    check_layer(layer, ids, differentiable=False)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64"])
def test_any_dtype_of_ids_finds_the_same_rows(dtype):
    layer = Embedding(5, 4)
    y = layer(IDS.astype(dtype))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, layer.embeddings.value[IDS])


def test_mask_zero_makes_a_mask_and_its_absence_ends_one_with_a_single_warning():
    layer = Embedding(5, 4, mask_zero=True)
    assert layer.makes_mask
    np.testing.assert_array_equal(layer.compute_mask(IDS), IDS != 0)
    plain = Embedding(5, 4, name="e")
    assert not plain.makes_mask
    assert plain.compute_mask(IDS) is None
    with pytest.warns(UserWarning, match="^Embedding 'e': without mask_zero, the mask of the ids ends here$"):
        assert plain.compute_mask(IDS, IDS > 0) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain.compute_mask(IDS, IDS > 0) is None


def test_starts_from_given_weights():
    table = np.arange(10.0).reshape(5, 2)
    for weights in (table, [table]):
        layer = Embedding(5, 2, weights=weights, input_length=3)
        np.testing.assert_array_equal(layer(IDS), table[IDS])
        layer.build((None, 3))
        np.testing.assert_array_equal(layer(IDS), table[IDS])


def test_rows_that_were_not_used_have_no_gradient():
    layer = Embedding(5, 2)
    y, backward = layer.forward(IDS, training=True)
    assert backward(np.ones_like(y)) is None
    np.testing.assert_array_equal(layer.gradients[0], np.array([[2, 2], [1, 1], [0, 0], [3, 3], [0, 0]]))
    layer.trainable = False
    y, backward = layer.forward(IDS, training=True)
    backward(np.ones_like(y))
    assert layer.gradients == []


def test_no_ids_at_all():
    assert Embedding(5, 2)(np.zeros((0, 3), int)).shape == (0, 3, 2)


def test_initial_values_are_uniform_within_a_twentieth():
    layer = Embedding(200, 50)
    layer.build((None, None))
    values = layer.embeddings.value
    assert np.abs(values).max() <= 0.05
    assert np.abs(values).max() > 0.049
    assert abs(values.mean()) < 0.002

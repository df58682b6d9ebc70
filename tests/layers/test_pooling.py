"""Pooling over windows and over all steps."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import AveragePooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D

RNG = np.random.default_rng(0)
GRID = pairs(
    {
        "kind": [MaxPooling1D, AveragePooling1D],
        "pool_size": [1, 2, 3, 5],
        "strides": [None, 1, 2, 4],
        "padding": ["valid", "same"],
        "steps": [5, 8],
    }
)


@pytest.mark.parametrize("options", GRID)
def test_windows(options):
    x = RNG.permutation(2 * options["steps"] * 3).reshape(2, -1, 3) / 10.0 - 2  # no ties
    arguments = {name: options[name] for name in ("pool_size", "strides", "padding")}
    layer = options["kind"](**arguments, dtype="float64")
    check_layer(layer, x)
    size, stride = options["pool_size"], options["strides"] or options["pool_size"]
    reduce = np.max if options["kind"] is MaxPooling1D else np.mean
    if options["padding"] == "valid":
        starts = range(0, options["steps"] - size + 1, stride)
    else:
        count = -(-options["steps"] // stride)
        ahead = max(0, (count - 1) * stride + size - options["steps"]) // 2
        starts = [k * stride - ahead for k in range(count)]
    expected = np.stack([reduce(x[:, max(0, s) : s + size], axis=1) for s in starts], axis=1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)


def test_steps_that_vary_and_sizes_in_a_tuple():
    assert MaxPooling1D((3,), strides=(2,)).compute_output_shape((None, None, 4)) == (None, None, 4)
    assert MaxPooling1D((3,), strides=(2,)).compute_output_shape((None, 8, 4)) == (None, 3, 4)
    assert AveragePooling1D(3, padding="same").compute_output_shape((7, 8, 4)) == (7, 3, 4)
    assert MaxPooling1D()(np.zeros((0, 4, 2))).shape == (0, 2, 2)


def test_of_equal_values_the_first_gets_the_gradient():
    y, backward = MaxPooling1D(3).forward(np.zeros((1, 3, 1)), training=True)
    np.testing.assert_array_equal(backward(np.ones_like(y)).ravel(), [1, 0, 0])


MASK = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)


@pytest.mark.parametrize(
    "options",
    pairs({"kind": [GlobalMaxPooling1D, GlobalAveragePooling1D], "keepdims": [False, True], "mask": [None, MASK]}),
)
def test_all_steps(options):
    x = RNG.permutation(36).reshape(3, 4, 3) / 10.0
    layer = options["kind"](keepdims=options["keepdims"], dtype="float64")
    check_layer(layer, x, mask=options["mask"])
    expected = x.max(axis=1)
    if options["kind"] is GlobalAveragePooling1D:
        used = np.ones((3, 4)) if options["mask"] is None else options["mask"]
        expected = (x * used[..., None]).sum(axis=1) / np.maximum(used.sum(axis=1), 1)[:, None]
    expected = expected[:, None] if options["keepdims"] else expected
    np.testing.assert_allclose(layer.forward(x, mask=options["mask"])[0], expected)


def test_the_global_average_ends_a_mask_silently():
    assert GlobalAveragePooling1D().compute_mask(np.zeros((3, 4, 2)), MASK) is None


def test_masked_nan_is_not_averaged():
    x = np.array([[[1.0], [np.nan]]])
    assert GlobalAveragePooling1D()(x, mask=np.array([[True, False]])) == 1

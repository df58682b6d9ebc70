"""ReLU and Softmax."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import ReLU, Softmax

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "options", pairs({"max_value": [None, 0.8], "negative_slope": [0.0, 0.3], "threshold": [0.0, 0.4]})
)
def test_relu(options):
    x = RNG.normal(size=(6, 5))
    edges = [0, options["threshold"], options["max_value"] or 9]
    x += 0.01 * (np.abs(x[..., None] - edges) < 1e-3).any(axis=-1)  # away from the kinks
    layer = ReLU(**options, dtype="float64")
    check_layer(layer, x)
    below = options["negative_slope"] * (x - options["threshold"])
    expected = np.where(x < options["threshold"], below, np.minimum(x, options["max_value"] or np.inf))
    np.testing.assert_allclose(layer(x), expected)


SHAPES = {2: (3, 4), 3: (2, 3, 4), 4: (2, 3, 4, 2)}


@pytest.mark.parametrize(
    "options",
    pairs({"rank": [2, 3, 4], "axis": [-1, 1, [-1], [1, -1]], "mask": [None, "all", "steps", "broadcast", "empty"]}),
)
def test_softmax(options):
    x = RNG.normal(size=SHAPES[options["rank"]]) * 3
    if options["rank"] == 2 and options["axis"] == [1, -1]:
        with pytest.raises(ValueError, match="with an axis"):
            Softmax([1, -1], dtype="float64")(x)
        return
    mask = {
        None: None,
        "all": RNG.uniform(size=x.shape) < 0.6,
        "steps": RNG.uniform(size=x.shape[:2]) < 0.6,
        "broadcast": RNG.uniform(size=(1, *x.shape[1:])) < 0.6,
        "empty": np.zeros(x.shape, bool),
    }[options["mask"]]
    layer = Softmax(options["axis"], dtype="float64")
    check_layer(layer, x, mask=mask)
    axes = tuple(np.atleast_1d(options["axis"]))
    full = np.ones(x.shape, bool)
    if mask is not None:
        full &= mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)) if options["mask"] == "steps" else mask
    e = np.where(full, np.exp(x), 0)
    total = e.sum(axis=axes, keepdims=True)
    np.testing.assert_allclose(layer.forward(x, mask=mask)[0], e / np.where(total == 0, 1, total), atol=1e-12)


def test_softmax_of_large_numbers_and_its_mask_from_the_last_axes():
    x = np.array([[1e30, 1e30, 0], [0, -1e30, -1e30]], "float32")
    np.testing.assert_array_equal(Softmax()(x), [[0.5, 0.5, 0], [1, 0, 0]])
    np.testing.assert_array_equal(Softmax()(x, mask=np.array([False, True, True])), [[0, 1, 0], [0, 0.5, 0.5]])
    assert Softmax()(np.zeros((0, 3))).shape == (0, 3)

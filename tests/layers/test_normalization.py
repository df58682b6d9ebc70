"""LayerNormalization and BatchNormalization."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import BatchNormalization, LayerNormalization

RNG = np.random.default_rng(0)
SHAPES = {2: (5, 4), 3: (3, 4, 3), 4: (2, 3, 2, 3)}


@pytest.mark.parametrize(
    "options",
    pairs(
        {
            "rank": [2, 3, 4],
            "axis": [-1, 1, [-1], [1, -1], [-1, 1]],
            "center": [False, True],
            "scale": [False, True],
            "epsilon": [1e-3, 0.5],
        }
    ),
)
def test_layer_normalization(options):
    x = RNG.normal(size=SHAPES[options["rank"]])
    axes = tuple(np.atleast_1d(options["axis"]))
    if options["rank"] == 2 and len(axes) == 2:
        axes = (1,)
        options = options | {"axis": [1]}
    arguments = {name: options[name] for name in ("axis", "center", "scale", "epsilon")}
    layer = LayerNormalization(**arguments, dtype="float64")
    check_layer(layer, x)
    assert [w.name for w in layer.weights] == ["gamma"] * options["scale"] + ["beta"] * options["center"]
    sizes = tuple(x.shape[a] for a in sorted(a % x.ndim for a in axes))
    assert all(w.shape == sizes for w in layer.weights)
    plain = LayerNormalization(options["axis"], options["epsilon"], dtype="float64")(x)
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    np.testing.assert_allclose(plain, (x - mean) / np.sqrt(variance + options["epsilon"]), atol=1e-12)


@pytest.mark.parametrize(
    "options",
    pairs(
        {
            "rank": [2, 3, 4],
            "axis": [-1, 1],
            "center": [False, True],
            "scale": [False, True],
            "mask": [None, "some", "none"],
            "training": [False, True],
        }
    ),
)
def test_batch_normalization(options):
    x = RNG.normal(size=SHAPES[options["rank"]]) * 2 + 1
    mask = None if options["mask"] is None else RNG.uniform(size=x.shape[:-1]) < 0.6
    if options["mask"] == "none":
        mask[...] = False
    arguments = {name: options[name] for name in ("axis", "center", "scale")}
    layer = BatchNormalization(**arguments, momentum=0.9, dtype="float64")
    check_layer(layer, x, mask=mask, training=options["training"])
    layer = BatchNormalization(**arguments, momentum=0.9, dtype="float64")
    y, _ = layer.forward(x, options["training"], mask)
    moved, outputs = np.moveaxis(x, options["axis"], -1), np.moveaxis(y, options["axis"], -1)
    full = np.ones(x.shape, bool) if mask is None else np.broadcast_to(mask[..., None], x.shape)
    full = np.moveaxis(full, options["axis"], -1)
    for k in range(moved.shape[-1]):
        mean, variance = 0.0, 1.0
        if options["training"]:
            values = moved[..., k][full[..., k]]
            mean, variance = (values.mean(), values.var()) if values.size else (0.0, 0.0)
            if full.any():
                assert layer.moving_mean.value[k] == pytest.approx(0.1 * mean)
                assert layer.moving_variance.value[k] == pytest.approx(0.9 + 0.1 * variance)
        np.testing.assert_allclose(outputs[..., k], (moved[..., k] - mean) / np.sqrt(variance + 1e-3), atol=1e-10)
    if not options["training"] or not full.any():
        np.testing.assert_array_equal(layer.moving_mean.value, 0)
        np.testing.assert_array_equal(layer.moving_variance.value, 1)


def test_moving_statistics_are_not_trainable_and_come_last():
    layer = BatchNormalization(name="b")
    layer.build((None, 3))
    assert [w.path for w in layer.weights] == ["b/gamma", "b/beta", "b/moving_mean", "b/moving_variance"]
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]
    assert [w.name for w in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]


def test_a_frozen_layer_normalizes_by_the_moving_statistics():
    layer, x = BatchNormalization(), RNG.normal(size=(8, 3)).astype("float32") + 5
    layer.build(x.shape)
    layer.trainable = False
    y, backward = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, layer(x))
    np.testing.assert_array_equal(layer.moving_mean.value, 0)
    assert backward(np.ones_like(y)).shape == x.shape
    assert layer.gradients == []


def test_the_moving_statistics_are_followed_until_inference_agrees_with_training():
    layer, x = BatchNormalization(momentum=0.5), RNG.normal(size=(64, 3)).astype("float32") * 3 + 5
    for _ in range(40):
        y = layer(x, training=True)
    np.testing.assert_allclose(layer(x), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [LayerNormalization, BatchNormalization])
def test_float32_and_no_rows(make):
    x = RNG.normal(size=(4, 5, 6)).astype("float32")
    y, backward = make().forward(x, training=True)
    assert y.dtype == np.float32
    assert backward(np.ones_like(y)).dtype == np.float32
    assert make()(np.zeros((0, 5, 6)), training=True).shape == (0, 5, 6)

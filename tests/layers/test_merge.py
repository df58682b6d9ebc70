"""Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate and Dot."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm import layers
from fusedlstm.layers import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract

RNG = np.random.default_rng(0)
SHAPES = {
    "same": [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
    "broadcast": [(2, 3, 4), (2, 1, 4), (2, 3, 1)],
    "lower rank": [(2, 4), (2, 3, 4), (2, 4)],
    "both": [(2, 1, 1), (2, 4), (2, 3, 4)],
}
MASKS = {
    "none": [None, None, None],
    "all": [[[1, 0, 1], [0, 0, 1]], [[1, 1, 0], [0, 1, 1]], [[0, 1, 0], [0, 1, 0]]],
    "one": [None, [[1, 1, 0], [0, 1, 1]], None],
}
EXPECTED = {
    Add: lambda a: sum(a[1:], a[0]),
    Average: lambda a: sum(a[1:], a[0]) / len(a),
    Multiply: lambda a: np.prod(np.broadcast_arrays(*a), axis=0),
    Maximum: lambda a: np.max(np.broadcast_arrays(*a), axis=0),
    Minimum: lambda a: np.min(np.broadcast_arrays(*a), axis=0),
    Subtract: lambda a: a[0] - a[1],
}


def draw(shapes):
    """Numbers without ties or zeros."""
    size = sum(map(int, map(np.prod, shapes)))
    numbers = iter(RNG.permutation(size) / 10.0 + 0.05 - size / 20)
    return [np.array([next(numbers) for _ in range(int(np.prod(shape)))]).reshape(shape) for shape in shapes]


@pytest.mark.parametrize("options", pairs({"kind": list(EXPECTED), "count": [1, 2, 3], "shapes": list(SHAPES)}))
def test_elementwise(options):
    count = 2 if options["kind"] is Subtract else options["count"]
    arrays = draw(SHAPES[options["shapes"]][:count])
    layer = options["kind"](dtype="float64")
    check_layer(layer, arrays)
    rank = max(x.ndim for x in arrays)
    aligned = [x.reshape(2, *(1,) * (rank - x.ndim), *x.shape[1:]) for x in arrays]
    np.testing.assert_allclose(layer(arrays), EXPECTED[options["kind"]](aligned), rtol=1e-12)


@pytest.mark.parametrize("options", pairs({"kind": list(EXPECTED), "count": [2, 3], "masks": list(MASKS)}))
def test_elementwise_with_masks(options):
    count = 2 if options["kind"] is Subtract else options["count"]
    arrays = draw(SHAPES["same"][:count])
    masks = [None if m is None else np.array(m, bool) for m in MASKS[options["masks"]][:count]]
    layer = options["kind"](dtype="float64")
    check_layer(layer, arrays, mask=masks)
    merged = layer.compute_mask(arrays, masks)
    if any(m is None for m in masks):
        assert merged is None
    else:
        np.testing.assert_array_equal(merged, np.logical_or.reduce(masks))
    y = layer.forward(arrays, mask=masks)[0]
    used = [np.ones((2, 3, 1), bool) if m is None else m[..., None] for m in masks]
    any_used = np.logical_or.reduce(used)
    if options["kind"] is Multiply:
        expected = np.prod([np.where(m, x, 1) for m, x in zip(used, arrays, strict=True)], axis=0)
        np.testing.assert_allclose(y, np.where(any_used, expected, 0))
    elif options["kind"] in (Maximum, Minimum):
        worst = -np.inf if options["kind"] is Maximum else np.inf
        best = EXPECTED[options["kind"]]([np.where(m, x, worst) for m, x in zip(used, arrays, strict=True)])
        np.testing.assert_array_equal(y, np.where(any_used, best, arrays[0]))
    else:
        np.testing.assert_allclose(y, EXPECTED[options["kind"]](arrays))


def test_maximum_keeps_nan_and_gives_ties_to_the_first():
    a, b = np.array([[np.nan, 1.0, 2.0]]), np.array([[0.0, np.nan, 2.0]])
    np.testing.assert_array_equal(Maximum()([a, b]), [[np.nan, np.nan, 2]])
    np.testing.assert_array_equal(Minimum()([b, a]), [[np.nan, np.nan, 2]])
    y, backward = Maximum().forward([np.ones((1, 2)), np.ones((1, 2))], training=True)
    np.testing.assert_array_equal(backward(np.ones_like(y)), [[[1, 1]], [[0, 0]]])


@pytest.mark.parametrize("options", pairs({"axis": [-1, 1, 2, -2], "count": [1, 2, 3], "mask": ["none", "all", "one"]}))
def test_concatenate(options):
    count, axis = options["count"], options["axis"]
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]][:count]
    for k, shape in enumerate(shapes):
        shape[axis] += k
    arrays = [RNG.normal(size=shape) for shape in shapes]
    masks = [RNG.uniform(size=shape[:2]) < 0.5 for shape in shapes]
    if options["mask"] != "all":
        masks = [None] * (count - 1) + [masks[-1] if options["mask"] == "one" else None]
    layer = Concatenate(axis, dtype="float64")
    check_layer(layer, arrays, mask=masks)
    np.testing.assert_array_equal(layer(arrays), np.concatenate(arrays, axis))
    merged = layer.compute_mask(arrays, masks)
    if all(m is None for m in masks):
        assert merged is None
        return
    full = [
        np.ones(s, bool) if m is None else np.repeat(m[..., None], s[2], -1) for m, s in zip(masks, shapes, strict=True)
    ]
    np.testing.assert_array_equal(merged, np.concatenate(full, axis).any(axis=-1))


def test_concatenate_with_sizes_that_vary():
    shapes = [(None, None, 3), (None, 5, 4)]
    assert Concatenate().compute_output_shape(shapes) == (None, 5, 7)
    assert Concatenate(1).compute_output_shape([(None, None, 3), (None, 5, 3)]) == (None, None, 3)
    assert Add().compute_output_shape([(None, None, 3), (4, 5, 3), (None, 3)]) == (4, None, 3)
    assert Dot(-1).compute_output_shape([(None, None, 3), (4, 5, 3)]) == (4, None, 5)


DOTS = [
    ((2, 4), (2, 4), 1),
    ((2, 4), (2, 4), -1),
    ((2, 3, 4), (2, 5, 4), -1),
    ((2, 3, 4), (2, 4, 5), (2, 1)),
    ((2, 3, 4), (2, 3, 5), 1),
    ((2, 3, 4), (2, 4), (2, 1)),
    ((2, 4), (2, 3, 4), (1, 2)),
    ((2, 2, 3, 4), (2, 3, 2), (2, 1)),
    ((2, 3, 2), (2, 2, 3, 2), (1, 2)),
]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("first", "second", "axes"), DOTS)
def test_dot(first, second, axes, normalize):
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    layer = Dot(axes, normalize, dtype="float64")
    check_layer(layer, [a, b])
    y = layer([a, b])
    k, m = axes if isinstance(axes, tuple) else (axes, axes)
    if normalize:
        a = a / np.sqrt((a * a).sum(axis=k, keepdims=True))
        b = b / np.sqrt((b * b).sum(axis=m, keepdims=True))
    expected = np.stack([np.tensordot(p, q, (k % a.ndim - 1, m % b.ndim - 1)) for p, q in zip(a, b, strict=True)])
    expected = expected[:, None] if expected.ndim == 1 else expected
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert layer([a[:0], b[:0]]).shape == (0, *expected.shape[1:])
    assert layer.compute_mask([a, b], [np.ones(a.shape[:2], bool), None]) is None


def test_dot_of_a_zero_vector_normalized_is_zero():
    y, backward = Dot(-1, True).forward([np.zeros((1, 3)), np.ones((1, 3))], training=True)
    assert y == 0
    assert all(np.isfinite(d).all() for d in backward(np.ones_like(y)))


def test_functions_call_the_layers():
    a, b = RNG.normal(size=(2, 3)).astype("float32"), RNG.normal(size=(2, 3)).astype("float32")
    for name in ("add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate", "dot"):
        cls = getattr(layers, name.capitalize())
        layer = cls(-1) if cls is Dot else cls()
        np.testing.assert_array_equal(getattr(layers, name)([a, b]), layer([a, b]))


def test_inputs_stay_as_they_are():
    a = np.ones((2, 3), "float32")
    for kind in EXPECTED:
        y = kind()([a, a])
        assert y is not a
    assert Add()([a]) is not a

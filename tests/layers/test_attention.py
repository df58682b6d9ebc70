"""Attention, AdditiveAttention and MultiHeadAttention."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import AdditiveAttention, Attention, MultiHeadAttention

RNG = np.random.default_rng(0)
QUERY_MASK = np.array([[1, 1, 0], [1, 0, 1]], bool)
VALUE_MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 0]], bool)
MASKS = {"none": None, "query": [QUERY_MASK, None], "value": [None, VALUE_MASK], "both": [QUERY_MASK, VALUE_MASK]}
COMMON = {
    "key": [False, True],
    "mask": list(MASKS),
    "causal": [False, True],
    "scores": [False, True],
    "dropout": [0.0, 0.3],
    "training": [False, True],
}


def inputs(options, width=5):
    query, value = RNG.normal(size=(2, 3, width)), RNG.normal(size=(2, 4, 6 if options["key"] else width))
    return [query, value, RNG.normal(size=(2, 4, width))] if options["key"] else [query, value]


def run(layer, options, arrays, **more):
    masks = MASKS[options["mask"]]
    masks = masks if masks is None or len(arrays) == 2 else [*masks, None]
    arguments = {"return_attention_scores": options["scores"], "use_causal_mask": options["causal"], **more}
    check_layer(layer, arrays, mask=masks, training=options["training"], **arguments)
    assert layer.compute_mask(arrays, masks) is (None if masks is None else masks[0])
    layer.forward(arrays, mask=masks, **arguments)
    if options["dropout"] and options["training"]:
        return None
    return layer.forward(arrays, mask=masks, return_attention_scores=True, use_causal_mask=options["causal"], **more)[0]


def allowed(options):
    result = np.ones((2, 3, 4), bool)
    if options["causal"]:
        result &= np.tri(3, 4, dtype=bool)
    if options["mask"] in ("value", "both"):
        result &= VALUE_MASK[:, None]
    return result


def softmax(scores, where):
    e = np.where(where, np.exp(scores), 0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


@pytest.mark.parametrize("options", pairs({"use_scale": [False, True], "score_mode": ["dot", "concat"], **COMMON}))
def test_attention(options):
    arrays = inputs(options)
    arguments = {name: options[name] for name in ("use_scale", "score_mode", "dropout")}
    layer = Attention(**arguments, seed=1, dtype="float64")
    result = run(layer, options, arrays)
    scale = layer.scale.value if options["use_scale"] else 1.0
    names = ["scale"] * options["use_scale"] + ["concat_score_weight"] * (options["score_mode"] == "concat")
    assert [(w.name, w.shape) for w in layer.weights] == [(name, ()) for name in names]
    if result is None:
        return
    query, key = arrays[0][:, :, None], arrays[-1][:, None]
    if options["score_mode"] == "dot":
        scores = scale * (query * key).sum(axis=-1)
    else:
        scores = layer.concat_score_weight.value * np.tanh(scale * (query + key)).sum(axis=-1)
    weights = softmax(scores, allowed(options))
    y = weights @ arrays[1]
    if options["mask"] in ("query", "both"):
        y *= QUERY_MASK[..., None]
    np.testing.assert_allclose(result[0], y, atol=1e-12)
    np.testing.assert_allclose(result[1], weights, atol=1e-12)


@pytest.mark.parametrize("options", pairs({"use_scale": [False, True], **COMMON}))
def test_additive_attention(options):
    arrays = inputs(options)
    layer = AdditiveAttention(options["use_scale"], options["dropout"], seed=1, dtype="float64")
    result = run(layer, options, arrays)
    assert [(w.name, w.shape) for w in layer.weights] == [("scale", (5,))] * options["use_scale"]
    if result is None:
        return
    scale = layer.scale.value if options["use_scale"] else 1.0
    scores = (scale * np.tanh(arrays[0][:, :, None] + arrays[-1][:, None])).sum(axis=-1)
    weights = softmax(scores, allowed(options))
    np.testing.assert_allclose(result[1], weights, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    pairs(
        {
            "num_heads": [1, 2],
            "value_dim": [None, 2],
            "use_bias": [False, True],
            "output_shape": [None, 3, (2, 2)],
            "sliding_window": [None, 2],
            "attention_mask": [None, 2, 3],
            **COMMON,
        }
    ),
)
def test_multi_head_attention(options):
    arrays = inputs(options, 4)
    names = ("num_heads", "value_dim", "use_bias", "output_shape", "sliding_window", "dropout")
    layer = MultiHeadAttention(key_dim=3, **{name: options[name] for name in names}, seed=1, dtype="float64")
    given = {2: RNG.uniform(size=(3, 4)) < 0.7, 3: RNG.uniform(size=(2, 3, 4)) < 0.7}.get(options["attention_mask"])
    result = run(layer, options, arrays, attention_mask=given)
    if result is None:
        return
    weights = layer.get_weights()
    step = 2 if options["use_bias"] else 1
    q, k, v = (
        np.einsum("btd,dnk->bntk", x, kernel)
        for x, kernel in zip([arrays[0], arrays[-1], arrays[1]], weights[: 3 * step : step], strict=True)
    )
    if options["use_bias"]:
        q, k, v = (z + bias[:, None] for z, bias in zip((q, k, v), weights[1:6:2], strict=True))
    where = allowed(options)
    if options["mask"] in ("query", "both"):
        where &= QUERY_MASK[..., None]
    if given is not None:
        where &= given
    if options["sliding_window"]:
        where &= np.abs(np.arange(3)[:, None] - np.arange(4)) < 2
    shares = softmax(q @ k.swapaxes(2, 3) / np.sqrt(3), where[:, None])
    y = np.einsum("bntk,nk...->bt...", shares @ v, weights[3 * step])
    y = y + weights[-1] if options["use_bias"] else y
    np.testing.assert_allclose(result[0], y, atol=1e-12)
    np.testing.assert_allclose(result[1], shares, atol=1e-12)


def test_multi_head_attention_is_called_as_in_keras():
    layer = MultiHeadAttention(2, 3)
    query, value = RNG.normal(size=(2, 3, 4)).astype("float32"), RNG.normal(size=(2, 4, 5)).astype("float32")
    y = layer(query, value)
    assert y.shape == (2, 3, 4)
    np.testing.assert_array_equal(layer(query, value, value), y)
    masked, weights = layer(
        query, value, query_mask=QUERY_MASK, value_mask=VALUE_MASK, return_attention_scores=True, use_causal_mask=True
    )
    assert weights.shape == (2, 2, 3, 4)
    expected, _ = layer.forward([query, value], mask=[QUERY_MASK, VALUE_MASK], use_causal_mask=True)
    np.testing.assert_array_equal(masked, expected)
    np.testing.assert_array_equal(layer(query, value, key_mask=VALUE_MASK), layer(query, value, value_mask=VALUE_MASK))
    names = [w.path.split("/", 1)[1] for w in layer.weights]
    parts = ("query", "key", "value", "attention_output")
    assert names == [f"{part}/{kind}" for part in parts for kind in ("kernel", "bias")]


def test_projections_of_one_shape_start_from_different_values():
    layer = MultiHeadAttention(2, 3)
    layer.build([(None, 4, 5), (None, 4, 5)])
    query, key = layer.weights[0].value, layer.weights[2].value
    assert query.shape == key.shape
    assert not np.array_equal(query, key)


@pytest.mark.parametrize("make", [Attention, AdditiveAttention, lambda **k: MultiHeadAttention(2, 3, **k)])
def test_float32_scores_alone_and_frozen_layers(make):
    arrays = [RNG.normal(size=(2, 3, 4)).astype("float32"), RNG.normal(size=(2, 4, 4)).astype("float32")]
    layer = make()
    (y, weights), backward = layer.forward(arrays, training=True, return_attention_scores=True)
    assert y.dtype == weights.dtype == np.float32
    d_query, d_value = backward([None, np.ones_like(weights)])
    assert d_query.dtype == d_value.dtype == np.float32
    np.testing.assert_allclose(d_query, 0, atol=1e-5)  # the weights add up to 1 whatever the query is
    layer.trainable = False
    y, backward = layer.forward(arrays, training=True)
    backward(np.ones_like(y))
    assert layer.gradients == []


def test_dropout_scales_what_it_keeps():
    arrays = [np.zeros((4, 50, 2)), np.ones((4, 60, 2))]
    layer = Attention(dropout=0.25, seed=3)
    _, weights = layer(arrays, training=True, return_attention_scores=True)
    assert 0.2 < (weights == 0).mean() < 0.3
    np.testing.assert_allclose(weights[weights > 0], 1 / 60 / 0.75, rtol=1e-5)
    np.testing.assert_allclose(layer(arrays), 1, rtol=1e-5)

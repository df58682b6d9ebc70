"""Calls of the layers around the recurrent ones that are compared with Keras: the same here and there.

A case is (class, arguments, shapes of the inputs, masks, arguments of the call, training). There is one input unless
the shapes are a list. Masks are named, one for each input. Values come from fixed seeds.
"""

from __future__ import annotations

import itertools

import numpy as np

B, T, S, F = 2, 4, 5, 6
X = (B, T, F)
PAIR, THREE = [X, X], [X, X, X]
QV, QVK = [X, (B, S, F)], [X, (B, S, 3), (B, S, F)]
STEPS = {"class_name": "Dense", "config": {"units": 3, "activation": "tanh"}}


def product(**options):
    """All dicts with one value for each option."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def _cases():
    yield "Embedding", {"input_dim": 7, "output_dim": 3}, (B, T), None, {}, False
    yield "Embedding", {"input_dim": 7, "output_dim": 3, "mask_zero": True}, (B, T), None, {}, False
    for value in (0.0, 2.0):
        yield "Masking", {"mask_value": value}, X, None, {}, False
    for options in (
        {},
        {"max_value": 0.5},
        {"negative_slope": 0.2, "threshold": 0.3},
        {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.5},
    ):
        yield "ReLU", options, X, "steps", {}, False
    for axis in (-1, 1, [1, 2]):
        yield "Softmax", {"axis": axis}, X, None, {}, False
        yield "Softmax", {"axis": axis}, X, "full", {}, False
    for name in ("Dropout", "SpatialDropout1D"):
        yield name, {"rate": 0.5}, X, "steps", {}, False
    yield "GaussianNoise", {"stddev": 0.5}, X, "steps", {}, False
    for use_scale, mask, causal, training in itertools.product(
        (False, True), (None, "q", "v", "qv"), (False, True), (False, True)
    ):
        call = {"return_attention_scores": True, "use_causal_mask": causal}
        inputs = QVK if training else QV
        yield "Attention", {"use_scale": use_scale}, inputs, mask, call, training
        yield "Attention", {"use_scale": use_scale, "score_mode": "concat"}, inputs, mask, call, training
        yield "AdditiveAttention", {"use_scale": use_scale}, inputs, mask, call, training
        options = {"num_heads": 2, "key_dim": 3, "use_bias": use_scale}
        if causal:
            options |= {"value_dim": 4, "output_shape": 5}
        yield "MultiHeadAttention", options, inputs, mask, call, training
    yield "Attention", {}, QV, "qv", {}, False
    yield "MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, QV, "v", {}, False
    yield (
        "MultiHeadAttention",
        {"num_heads": 2, "key_dim": 3, "sliding_window": 2},
        PAIR,
        "v",
        {"return_attention_scores": True},
        False,
    )
    for options in product(axis=[-1, 1, [1, 2]], center=[False, True], scale=[False, True]):
        yield "LayerNormalization", options, X, "steps", {}, False
    yield "LayerNormalization", {"epsilon": 0.5}, X, None, {}, True
    for options in product(axis=[-1, 1], center=[False, True], scale=[False, True]):
        for training in (False, True):
            yield "BatchNormalization", options | {"momentum": 0.9}, X, None, {}, training
    for training in (False, True):
        yield "BatchNormalization", {}, X, "steps", {}, training
        yield "BatchNormalization", {"epsilon": 0.1}, (B * T, F), None, {}, training
    for padding, size, (strides, dilation) in itertools.product(
        ("valid", "same", "causal"), (1, 2, 3), ((1, 1), (2, 1), (1, 2))
    ):
        options = {"filters": 4, "kernel_size": size, "padding": padding, "strides": strides, "dilation_rate": dilation}
        groups = 2 if size == 3 else 1
        yield "Conv1D", options | {"groups": groups}, (B, 7, F), None, {}, False
    yield "Conv1D", {"filters": 4, "kernel_size": 2, "activation": "relu", "use_bias": False}, X, "steps", {}, False
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        for mask in (None, "qv", "q"):
            yield name, {}, PAIR, mask, {}, False
        yield name, {}, [X, (B, F)], None, {}, False
        yield name, {}, [(B, T, 1), (B, 1, F)], None, {}, False
        if name != "Subtract":
            yield name, {}, THREE, "qvk", {}, False
    for axis, mask in itertools.product((-1, 1, 2), (None, "qv", "q")):
        yield "Concatenate", {"axis": axis}, PAIR, mask, {}, False
    for shapes, axes in (([(B, F)] * 2, 1), (PAIR, -1), (PAIR, (2, 2)), (PAIR, (1, 1)), ([X, (B, F)], (2, 1))):
        yield "Dot", {"axes": axes}, shapes, None, {}, False
        yield "Dot", {"axes": axes, "normalize": True}, shapes, None, {}, False
    for size, strides, padding in itertools.product((1, 2, 3), (None, 1, 2), ("valid", "same")):
        options = {"pool_size": size, "strides": strides, "padding": padding}
        yield "MaxPooling1D", options, (B, 7, 3), None, {}, False
        yield "AveragePooling1D", options, (B, 7, 3), None, {}, False
    for keepdims in (False, True):
        yield "GlobalMaxPooling1D", {"keepdims": keepdims}, X, "steps", {}, False
        yield "GlobalAveragePooling1D", {"keepdims": keepdims}, X, "steps", {}, False
        yield "GlobalAveragePooling1D", {"keepdims": keepdims}, X, None, {}, False
    for target in ((24,), (-1, 3), (3, -1, 2)):
        yield "Reshape", {"target_shape": target}, X, "steps", {}, False
    yield "Permute", {"dims": (2, 1)}, X, "steps", {}, False
    yield "RepeatVector", {"n": 3}, (B, F), None, {}, False
    yield "Flatten", {}, X, "steps", {}, False
    yield "TimeDistributed", {"layer": STEPS}, X, "steps", {}, False
    yield "TimeDistributed", {"layer": STEPS}, (B, T, 3, F), "steps", {}, False
    convolution = {"class_name": "Conv1D", "config": {"filters": 2, "kernel_size": 2}}
    yield "TimeDistributed", {"layer": convolution}, (B, T, 3, F), None, {}, False


CASES = list(_cases())


def describe(case):
    """The case as a test's name."""
    name, options, shapes, masks, call, training = case
    parts = [f"{k}={v['class_name'] if isinstance(v, dict) else v}" for k, v in {**options, **call}.items()]
    return " ".join([name, *parts, str(shapes), str(masks), "training" * training]).strip()


def arrays(case):
    """The inputs in float64: a list, of one array if there is one input."""
    name, options, shapes, *_ = case
    rng = np.random.default_rng(5)
    if name == "Embedding":
        return [rng.integers(0, options["input_dim"], shapes)]
    made = [rng.normal(size=shape) for shape in (shapes if isinstance(shapes, list) else [shapes])]
    if name == "Masking":
        made[0][0, 1] = made[0][1, 3] = options["mask_value"]
    return made


def masks(case):
    """A list of masks, None where there is none; a mask of the inputs' shape for the kind "full"."""
    _, _, shapes, kind, _, _ = case
    rng = np.random.default_rng(6)
    listed = shapes if isinstance(shapes, list) else [shapes]
    given = {"steps": "q", "full": "q", None: ""}.get(kind, kind)
    result = []
    for letter, shape in zip("qvk", listed, strict=False):
        mask = rng.uniform(size=shape if kind == "full" else shape[:2]) < 0.6
        mask[:, 0] = True  # Keras has no answer to what nothing is left of
        result.append(mask if letter in given else None)
    return result


def weights(shapes):
    """Values for weights of these shapes, in float64; positive, as a variance has to be."""
    rng = np.random.default_rng(7)
    return [rng.uniform(0.2, 1.2, size=shape) for shape in shapes]


def run_ours(case, dtype):
    """What Keras's numbers are compared with, as `run_keras` in make_keras_around.py returns it."""
    import warnings

    from fusedlstm import layers

    name, options, shapes, kind, call, training = case
    options = {**options, "dtype": dtype}
    if name == "TimeDistributed":
        inner = options["layer"]
        config = {**inner["config"], "dtype": dtype}
        options["layer"] = getattr(layers, inner["class_name"])(**config)
    layer = getattr(layers, name)(**options)
    several = isinstance(shapes, list)
    inputs = arrays(case) if several else arrays(case)[0]
    layer.build(shapes)
    described = [[w.name.split("/")[-1], list(w.shape), w.trainable] for w in layer.weights]
    layer.set_weights(weights([w.shape for w in layer.weights]))
    mask = masks(case) if several else masks(case)[0]
    outputs, _ = layer.forward(inputs, training, mask, need_backward=False, **call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that end
        mask_of_inputs = None if kind is None or kind == "full" else mask
        output_mask = layer.compute_mask(inputs, mask_of_inputs)
    results = outputs if isinstance(outputs, list) else [outputs]
    assert all(y.dtype == dtype for y in results)
    moving = [w.numpy() for w in layer.non_trainable_weights]
    return described, [*results, *moving], output_mask

"""Every loss beside Keras, live: values and gradients, with every reduction, weights and masks."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest
from loss_cases import IDS, LOSSES, B, T, data

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras

from fusedlstm import losses, utils

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs Keras on JAX"),
]
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]
RNG = np.random.default_rng(4)
MASK = np.arange(T) < np.array([[T], [3], [1], [0]])


def theirs(loss, y_true, y_pred, weight, mask):
    """Value and gradient of Keras's loss; the mask goes in where its `__call__` reads it from y_pred."""
    reduce = keras.src.losses.loss.reduce_weighted_values

    def value(pred):
        values = loss.call(keras.ops.convert_to_tensor(y_true), pred)
        own = keras.src.backend.get_keras_mask(values)
        used = mask if own is None else own if mask is None else mask & own
        return reduce(values, sample_weight=weight, mask=used, reduction=loss.reduction, dtype="float32")

    result, gradient = jax.value_and_grad(value)(np.asarray(y_pred, np.float32))
    return float(result), np.asarray(gradient)


@pytest.mark.parametrize(("name", "arguments", "true", "pred"), LOSSES, ids=IDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_and_gradients(name, arguments, true, pred, reduction) -> None:
    y_true, y_pred = data(true, RNG), data(pred, RNG).astype(np.float32)
    y_true = y_true if true == "labels" else y_true.astype(np.float32)
    ours = getattr(losses, name)(reduction=reduction, **arguments)
    other = getattr(keras.losses, name)(reduction=reduction, **arguments)
    along_time = arguments.get("axis", -1) != -1  # the values are then one for each class
    weights = [None, RNG.uniform(size=B), RNG.uniform(size=(B, 3 if along_time else T))]
    for weight in weights:
        for mask in (None, RNG.uniform(size=(B, 3)) < 0.6 if along_time else MASK):
            if weight is not None and weight.ndim == 1:
                weight = weight[:, None]
            value, gradient = ours.value_and_gradient(y_true, y_pred, weight, mask)
            w = None if weight is None else np.broadcast_to(weight, (B, 3 if along_time else T)).astype(np.float32)
            want, want_gradient = theirs(other, y_true, y_pred, w, mask)
            np.testing.assert_allclose(value, want, rtol=2e-5, atol=2e-6)
            np.testing.assert_allclose(gradient, want_gradient, rtol=2e-3, atol=3e-6)


@pytest.mark.parametrize(("name", "arguments", "true", "pred"), LOSSES, ids=IDS)
def test_functions(name, arguments, true, pred) -> None:
    between = losses.get(name)
    function = "huber" if name == "Huber" else between.name
    y_true, y_pred = data(true, RNG), data(pred, RNG).astype(np.float32)
    got = getattr(losses, function)(y_true, y_pred, **arguments)
    want = getattr(keras.losses, function)(
        y_true.astype("int32" if true == "labels" else "float32"), y_pred, **arguments
    )
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-4, atol=1e-6)


def test_names() -> None:
    known = [name for name in keras.src.losses.ALL_OBJECTS_DICT if _in_the_surface(name)]
    assert len(known) == 18 * 2 + 12
    for name in known:
        given = keras.losses.get(name)
        other = given.name if isinstance(given, keras.losses.Loss) else given.__name__
        assert losses.get(name).name.removesuffix("_loss") == other.removesuffix("_loss")


def _in_the_surface(name: str) -> bool:
    missing = ("circle", "dice", "tversky", "generalized", "losswrapper", "lossfunction")
    return name != "Loss" and not any(part in name.lower() for part in missing)


def test_loss_in_fit_with_weights_per_output() -> None:
    """Two outputs, one per step and masked, in three training steps."""
    from fusedlstm import layers, models

    x = RNG.integers(0, 6, (8, 5))
    y = {"steps": RNG.uniform(size=(8, 5, 1)).astype("float32"), "last": RNG.integers(0, 3, 8)}
    weights = {"steps": RNG.uniform(size=(8, 5)).astype("float32"), "last": RNG.uniform(size=8).astype("float32")}
    built = []
    for package, kinds in ((models, layers), (keras, keras.layers)):
        inputs = kinds.Input((5,))
        hidden = kinds.Embedding(6, 4, mask_zero=True, name="embedding")(inputs)
        steps = kinds.LSTM(3, return_sequences=True, name="lower")(hidden)
        outputs = {
            "steps": kinds.Dense(1, name="steps")(steps),
            "last": kinds.Dense(3, activation="softmax", name="last")(kinds.LSTM(3, name="upper")(steps)),
        }
        model = package.Model(inputs, outputs)
        model.compile(
            "sgd",
            loss={"steps": "log_cosh", "last": "sparse_categorical_crossentropy"},
            loss_weights={"steps": 0.3, "last": 2.0},
        )
        built.append(model)
    ours, other = built
    for name in ("embedding", "lower", "upper", "steps", "last"):
        ours.get_layer(name).set_weights(other.get_layer(name).get_weights())
    for _ in range(3):
        got = ours.train_on_batch(x, y, sample_weight=weights, return_dict=True)
        want = other.train_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert got["loss"] == pytest.approx(float(want["loss"]), rel=1e-4)


@pytest.mark.parametrize("case", range(4))
def test_decoding(case) -> None:
    steps, classes = [(6, 4), (9, 5), (5, 8), (1, 4)][case]
    x = (2 * RNG.normal(size=(3, steps, classes))).astype("float32")
    lengths = RNG.integers(1, steps + 1, 3)
    for mask_index in (0, None):
        for merge in (True, False):
            options = {"merge_repeated": merge, "mask_index": mask_index}
            paths, scores = utils.ctc_decode(x, lengths, **options)
            want_paths, want_scores = keras.ops.ctc_decode(x, lengths, **options)
            np.testing.assert_array_equal(paths, np.asarray(want_paths))
            np.testing.assert_allclose(scores, np.asarray(want_scores), rtol=1e-5)
        for width, top in ((1, 1), (20, 4)):
            paths, scores = utils.ctc_decode(x, lengths, "beam_search", width, top, mask_index=mask_index)
            want = keras.ops.ctc_decode(x, lengths, "beam_search", width, top, mask_index=mask_index)
            want_paths, want_scores = (np.asarray(part) for part in want)
            np.testing.assert_allclose(scores, want_scores, rtol=1e-4)
            found = np.isfinite(want_scores).T
            np.testing.assert_array_equal(paths[found], want_paths[found])

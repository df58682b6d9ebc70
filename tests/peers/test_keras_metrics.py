"""Every metric beside Keras, live: random batches of unequal sizes, with and without weights."""

from __future__ import annotations

import inspect
import os
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import layers, losses, metrics, models

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RNG = np.random.default_rng(3)
SIZES = (16, 16, 5)


def numbers(*shape):
    return [(RNG.normal(size=(n, *shape)), RNG.normal(size=(n, *shape))) for n in SIZES]


def positive(*shape):
    return [(RNG.uniform(0.1, 3, size=(n, *shape)), RNG.uniform(0.1, 3, size=(n, *shape))) for n in SIZES]


def decisions(*shape, logits=False):
    found = []
    for n in SIZES:
        true = RNG.integers(0, 2, size=(n, *shape))
        pred = np.clip(RNG.normal(0.35 + 0.3 * true, 0.25), 0, 1)
        found.append((true, 8 * (pred - 0.5) if logits else pred))
    return found


def classes(count, *shape, sparse=False):
    found = []
    for n in SIZES:
        labels = RNG.integers(0, count, size=(n, *shape))
        pred = RNG.uniform(0.01, 1, size=(n, *shape, count)) + 0.4 * np.eye(count)[labels]
        found.append((labels if sparse else np.eye(count)[labels], pred / pred.sum(axis=-1, keepdims=True)))
    return found


def ranked():
    """Labels and the numbers of classes, the best first."""
    return [(RNG.integers(0, 8, n), np.stack([RNG.permutation(8) for _ in range(n)])) for n in SIZES]


THRESHOLDS = [0.3, 0.5, 0.71]
CASES = [
    ("Accuracy", {}, [(RNG.integers(0, 3, (n, 4)), RNG.integers(0, 3, (n, 4))) for n in SIZES]),
    ("BinaryAccuracy", {}, decisions(1)),
    ("BinaryAccuracy", {"threshold": 0.3}, decisions(6, 2)),
    ("CategoricalAccuracy", {}, classes(4)),
    ("CategoricalAccuracy", {}, classes(4, 6)),
    ("SparseCategoricalAccuracy", {}, classes(4, sparse=True)),
    ("SparseCategoricalAccuracy", {}, classes(4, 6, sparse=True)),
    ("TopKCategoricalAccuracy", {}, classes(9)),
    ("TopKCategoricalAccuracy", {"k": 2}, classes(9, 6)),
    ("SparseTopKCategoricalAccuracy", {}, classes(9, sparse=True)),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, classes(9, 6, sparse=True)),
    ("SparseTopKCategoricalAccuracy", {"k": 3, "from_sorted_ids": True}, ranked()),
    ("MeanSquaredError", {}, numbers(3)),
    ("MeanSquaredError", {}, numbers(6, 3)),
    ("RootMeanSquaredError", {}, numbers(3)),
    ("MeanAbsoluteError", {}, numbers(1)),
    ("MeanAbsolutePercentageError", {}, numbers(3)),
    ("MeanSquaredLogarithmicError", {}, positive(3)),
    ("LogCoshError", {}, numbers(6, 3)),
    ("CosineSimilarity", {}, numbers(3)),
    ("CosineSimilarity", {}, numbers(6, 3)),
    ("CosineSimilarity", {"axis": 1}, numbers(6, 3)),
    *[("R2Score", {"class_aggregation": how}, numbers(3)) for how in ("uniform_average", "variance_weighted_average")],
    ("R2Score", {"class_aggregation": None}, numbers(3)),
    ("R2Score", {"num_regressors": 4}, numbers(2)),
    *[
        (name, {"axis": axis}, numbers(6, 5))
        for name in ("PearsonCorrelation", "ConcordanceCorrelation")
        for axis in (-1, (1, 2))
    ],
    ("Hinge", {}, decisions(2)),
    ("SquaredHinge", {}, decisions(2)),
    ("CategoricalHinge", {}, classes(4)),
    ("KLDivergence", {}, [(p, q) for (_, p), (_, q) in zip(classes(4), classes(4), strict=True)]),
    ("Poisson", {}, positive(3)),
    ("BinaryCrossentropy", {}, decisions(1)),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, decisions(6, 2, logits=True)),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, classes(4)),
    ("CategoricalCrossentropy", {"from_logits": True}, classes(4, 6)),
    ("SparseCategoricalCrossentropy", {}, classes(4, sparse=True)),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, classes(4, 6, sparse=True)),
    *[
        (name, {"thresholds": given}, data)
        for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall")
        for given, data in ((None, decisions(1)), (0.4, decisions(3)), (THRESHOLDS, decisions(3)))
    ],
    *[
        (name, arguments, classes(5))
        for name in ("Precision", "Recall")
        for arguments in (
            {"top_k": 2},
            {"class_id": 3, "thresholds": 0.2},
            {"top_k": 2, "class_id": 1},
            {"top_k": 3, "thresholds": [0.1, 0.3]},
        )
    ],
    *[
        (name, arguments, decisions(3))
        for name, least in (
            ("SensitivityAtSpecificity", "specificity"),
            ("SpecificityAtSensitivity", "sensitivity"),
            ("PrecisionAtRecall", "recall"),
            ("RecallAtPrecision", "precision"),
        )
        for arguments in ({least: 0.7}, {least: 0.8, "num_thresholds": 21, "class_id": 1}, {least: 1.0})
    ],
    *[
        ("AUC", {"curve": curve, "summation_method": method}, decisions(3))
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ],
    ("AUC", {"num_thresholds": 7}, decisions(1)),
    ("AUC", {"thresholds": [0.9, 0.2, 0.35, 0.6]}, decisions(3)),
    ("AUC", {"from_logits": True}, decisions(3, logits=True)),
    ("AUC", {"label_weights": [0.2, 1.0, 3.0]}, decisions(3)),
    *[
        ("AUC", {"multi_label": True, "curve": curve, "summation_method": method, **more}, decisions(3))
        for curve in ("ROC", "PR")
        for method in ("interpolation", "minoring")
        for more in ({}, {"num_labels": 3, "label_weights": [0.2, 1.0, 3.0]}, {"thresholds": [0.2, 0.5, 0.7]})
    ],
    *[
        (name, {"average": average, "threshold": threshold, **more}, decisions(4))
        for name, more in (("F1Score", {}), ("FBetaScore", {"beta": 2.0}))
        for average in (None, "micro", "macro", "weighted")
        for threshold in (None, 0.6)
    ],
]


def weights_of(data, kind):
    rng = np.random.default_rng(5)
    shapes = [pred.shape[: 2 if kind == "steps" else 1] for _, pred in data]
    return [None if kind == "none" else rng.uniform(0.2, 2, shape).astype("float32") for shape in shapes]


def evaluated(metric, data, weights, convert):
    for (true, pred), weight in zip(data, weights, strict=True):
        metric.update_state(convert(true), convert(pred), weight)
    return np.asarray(metric.result())


def as_float32(array):
    return array.astype("float32") if array.dtype.kind == "f" else array


RUNS = [
    (*case, weight)
    for case in CASES
    for weight in ("none", "samples", "steps")
    if weight != "steps" or (case[2][0][1].ndim > 2 and case[1].get("axis") in (None, -1))  # there are steps
]


@pytest.mark.parametrize(("name", "arguments", "data", "weight"), RUNS, ids=[f"{r[0]}-{r[1]}-{r[3]}" for r in RUNS])
def test_results(name, arguments, data, weight) -> None:
    weights = weights_of(data, weight)
    ours, theirs = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    want = evaluated(theirs, data, weights, as_float32)
    got = evaluated(ours, data, weights, as_float32)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)
    assert np.isfinite(want).all()
    again = metrics.get(metrics.serialize(ours))
    np.testing.assert_array_equal(evaluated(again, data, weights, as_float32), got)
    again.reset_state()
    np.testing.assert_array_equal(evaluated(again, data, weights, as_float32), got)


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES} | {"Mean", "Sum"}))
def test_signatures(name) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (metrics, keras.metrics))
    assert list(ours.parameters) == list(theirs.parameters)
    for mine, other in zip(ours.parameters.values(), theirs.parameters.values(), strict=True):
        if mine.name != "name":  # Keras numbers the names that it does not give
            assert mine.default == other.default, mine.name
    if all(p.default is not inspect.Parameter.empty for p in theirs.parameters.values()):
        assert getattr(metrics, name)().name == getattr(keras.metrics, name)(name=None).name.rstrip("_0123456789") or (
            getattr(metrics, name)().name == getattr(keras.metrics, name)().name
        )


def test_every_name_of_keras_is_known() -> None:
    functions = {name for name in dir(keras.metrics) if name.islower() and not name.startswith("_")}
    assert functions <= set(metrics.__all__)
    known = keras.src.metrics.ALL_OBJECTS_DICT
    ours = {cls.__name__ for cls in vars(metrics).values() if isinstance(cls, type)}
    missing = {cls.__name__ for cls in known.values()} - ours
    assert missing == {
        *("IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"),  # of pictures
    }
    for name, cls in known.items():
        needs = [p for p in inspect.signature(cls).parameters.values() if p.default is inspect.Parameter.empty]
        if cls.__name__ in missing or cls.__name__ == "Metric" or needs or name in ("accuracy", "Accuracy"):
            continue
        metric = metrics.get(name)
        assert (type(metric).__name__, metric.name) == (cls.__name__, name)


@pytest.mark.parametrize("weight", [None, "samples"])
def test_mean_and_sum(weight) -> None:
    for name in ("Mean", "Sum"):
        ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
        for n in SIZES:
            values = RNG.normal(size=(n, 3)).astype("float32")
            given = None if weight is None else RNG.uniform(size=n).astype("float32")
            ours.update_state(values, given)
            theirs.update_state(values, given)
        np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-5)


def test_a_function_with_arguments() -> None:
    def far(y_true, y_pred, power=1):
        return abs(y_true - y_pred) ** power

    data = numbers(3)
    ours, theirs = (m.MeanMetricWrapper(far, name="far", power=3) for m in (metrics, keras.metrics))
    weights = weights_of(data, "samples")
    np.testing.assert_allclose(
        evaluated(ours, data, weights, as_float32), evaluated(theirs, data, weights, as_float32), rtol=1e-5
    )


def test_too_many_regressors() -> None:
    ours, theirs = (m.R2Score(num_regressors=100) for m in (metrics, keras.metrics))
    data = numbers(1)[:1]
    with pytest.warns(UserWarning, match="too few to adjust for 100"):
        got = evaluated(ours, data, [None], as_float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(got, evaluated(theirs, data, [None], as_float32), rtol=1e-4)


def test_labels_that_are_ignored_do_not_count() -> None:
    (labels, pred), *_ = classes(4, 6, sparse=True)
    weight = np.ones(labels.shape, "float32")
    ours, theirs = (m.SparseCategoricalCrossentropy(ignore_class=2) for m in (metrics, keras.metrics))
    theirs.update_state(labels, as_float32(pred), weight)  # without weights it counts them as 0
    for given in (None, weight):
        ours.update_state(labels, as_float32(pred), given)
        np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-5)
        ours.reset_state()


NAMED = ["accuracy", "auc", "precision", "recall", "f1_score", "r2_score", "mse", "cosine_similarity", "bce", "hinge"]


def test_in_fit_and_evaluate() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 5, 3)).astype("float32")
    y = np.eye(4, dtype="float32")[rng.integers(0, 4, 50)]
    weight = rng.uniform(0.2, 2, 50).astype("float32")

    def build(library, module):
        model = module.Sequential([library.Input((5, 3)), library.LSTM(6), library.Dense(4, activation="sigmoid")])
        # Losses of one's own stand for themselves; Keras takes the function, with its class's name.
        model.compile("sgd", "binary_crossentropy", metrics=list(NAMED), weighted_metrics=["mae", "categorical_hinge"])
        return model

    ours, theirs = build(layers, models), build(keras.layers, keras)
    ours.set_weights(theirs.get_weights())
    for _ in range(2):
        got, want = (
            m.evaluate(x, y, batch_size=16, sample_weight=weight, verbose=0, return_dict=True) for m in (ours, theirs)
        )
        assert list(got) == list(want)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-6, err_msg=name)
        got, want = (m.fit(x, y, 16, sample_weight=weight, shuffle=False, verbose=0).history for m in (ours, theirs))
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert isinstance(metrics.get(losses.Huber()), metrics.LossMetric)

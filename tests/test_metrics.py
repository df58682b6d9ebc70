"""Metrics against Keras's numbers, how "accuracy" is resolved, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusedlstm import losses, metrics

KERAS = json.loads((Path(__file__).parent / "fixtures" / "keras_training.json").read_text())
WEIGHTS = {name: None if w is None else np.array(w) for name, w in KERAS["weights"].items()}
IDS = [f"{c['metric']}-{c['arguments']}-{c['weight']}" for c in KERAS["metrics"]]


@pytest.mark.parametrize("case", KERAS["metrics"], ids=IDS)
def test_results_are_those_of_keras(case):
    metric = getattr(metrics, case["metric"])(**case["arguments"])
    for batch in case["batches"]:
        metric.update_state(np.array(batch["y_true"]), np.array(batch["y_pred"]), WEIGHTS[case["weight"]])
    result = metric.result()
    assert type(result) is float
    assert result == pytest.approx(case["result"], rel=1e-6)
    metric.reset_state()
    assert metric.result() == 0


@pytest.mark.parametrize(
    ("y_true", "y_pred", "cls"),
    [
        ((8, 1), (8, 1), metrics.BinaryAccuracy),
        ((8,), (8, 1), metrics.BinaryAccuracy),
        ((8, 5, 1), (8, 5, 1), metrics.BinaryAccuracy),
        ((8,), (8, 3), metrics.SparseCategoricalAccuracy),
        ((8, 1), (8, 3), metrics.SparseCategoricalAccuracy),
        ((8, 5), (8, 5, 3), metrics.SparseCategoricalAccuracy),
        ((8, 3), (8, 3), metrics.CategoricalAccuracy),
        ((8, 5, 3), (8, 5, 3), metrics.CategoricalAccuracy),
    ],
)
def test_accuracy_by_shape(y_true, y_pred, cls):
    for name in ("accuracy", "acc", "Accuracy"):
        metric = metrics.get(name, y_true, y_pred)
        assert type(metric) is cls
        assert metric.name == name
        assert metric.direction == "up"
    metric.update_state(np.zeros(y_true), np.zeros(y_pred))
    assert metric.result() == 1


def test_mask_leaves_steps_out():
    y_true, y_pred = np.zeros((2, 3, 1)), np.array([[[1.0], [2.0], [np.nan]], [[3.0], [np.nan], [np.nan]]])
    mask = np.array([[True, True, False], [True, False, False]])
    for metric in (metrics.MeanAbsoluteError(), metrics.get(lambda t, p: np.abs(t - p)[..., 0])):
        metric.update_state(y_true, y_pred, mask=mask)
        assert metric.result() == pytest.approx(2)
    metric = metrics.MeanAbsoluteError()
    metric.update_state(y_true, y_pred, [1.0, 3.0], mask)
    assert metric.result() == pytest.approx((1 + 2 + 9) / 5)


def test_mean_of_losses_weighted_by_batch_size():
    mean = metrics.Mean("loss")
    mean.update_state(1.0, 32.0)
    mean.update_state(4.0, 16.0)
    assert mean.result() == pytest.approx(2)
    mean.update_state(np.array([7.0, 9.0]))
    assert mean.result() == pytest.approx((32 + 64 + 16) / 50)
    assert (metrics.Mean().name, mean.name) == ("mean", "loss")


def test_float64_sums_do_not_drift():
    metric = metrics.MeanSquaredError()
    for _ in range(1000):
        metric.update_state(np.zeros((64, 1), np.float32), np.full((64, 1), np.float32(0.1)))
    assert metric.result() == pytest.approx(float(np.float32(0.1) ** 2), rel=1e-7)


def test_integers_do_not_overflow():
    metric = metrics.MeanSquaredError()
    metric.update_state(np.array([[200]], np.uint8), np.array([[100]], np.uint8))
    assert metric.result() == 10000
    metric = metrics.MeanAbsoluteError()
    metric.update_state(np.array([[200]], np.uint8), np.array([[100]], np.uint8))
    assert metric.result() == 100


def test_accuracy_compares():
    metric = metrics.Accuracy()
    metric.update_state([[1], [2], [3], [4]], [[0], [2], [3], [4]], [1, 1, 0, 0])
    assert metric.result() == 0.5


@pytest.mark.parametrize(
    ("identifier", "cls", "name"),
    [
        ("mae", metrics.MeanAbsoluteError, "mae"),
        ("MSE", metrics.MeanSquaredError, "MSE"),
        ("mean_squared_error", metrics.MeanSquaredError, "mean_squared_error"),
        ("RootMeanSquaredError", metrics.RootMeanSquaredError, "RootMeanSquaredError"),
        (metrics.RootMeanSquaredError, metrics.RootMeanSquaredError, "root_mean_squared_error"),
        ("binary_accuracy", metrics.BinaryAccuracy, "binary_accuracy"),
        ({"class_name": "BinaryAccuracy", "config": {"threshold": 0.2}}, metrics.BinaryAccuracy, "binary_accuracy"),
    ],
)
def test_get(identifier, cls, name):
    metric = metrics.get(identifier)
    assert (type(metric), metric.name) == (cls, name)
    assert metrics.get(metric) is metric


@pytest.mark.parametrize(
    ("identifier", "value"),
    [("bce", np.log(2)), ("huber", 0.125), (losses.huber, 0.125), (losses.mean_absolute_error, 0.5)],
    ids=["bce", "huber", "function huber", "function mean_absolute_error"],
)
def test_losses_are_metrics(identifier, value):
    metric = metrics.get(identifier)
    metric.update_state([[1.0], [0.0]], [[0.5], [0.5]])
    assert metric.result() == pytest.approx(value)
    assert metric.direction == "down"
    assert metric.name == getattr(identifier, "__name__", identifier)


def test_a_function_is_a_metric():
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    metric = metrics.get(largest)
    metric.update_state(np.zeros((2, 3)), np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert (metric.name, metric.result()) == ("largest", 4.5)


def test_serialize():
    metric = metrics.BinaryAccuracy("mine", threshold=0.25)
    again = metrics.get(json.loads(json.dumps(metrics.serialize(metric))))
    assert again.__dict__ == metric.__dict__


ONES = np.ones((4, 2))
ERRORS = [
    (lambda: metrics.get("accuracy"), ValueError, "metric 'accuracy': which accuracy it is depends on the shapes"),
    (lambda: metrics.get("acuracy"), ValueError, "unknown metric 'acuracy': expected one of 'acc', 'accuracy'"),
    (lambda: metrics.get(None), TypeError, "metric: expected a name, a Metric or a function, got None"),
    (lambda: metrics.get(int), TypeError, "got <class 'int'>"),
    (lambda: metrics.get(metrics.Metric), TypeError, "metric: Metric lacks methods"),
    (lambda: metrics.get({"class_name": "eval"}), ValueError, "unknown metric 'eval'"),
    (lambda: metrics.MeanMetricWrapper(3), TypeError, "expected fn to be a function, got 3"),
    (lambda: metrics.BinaryAccuracy(threshold=None), TypeError, "BinaryAccuracy: expected threshold to be a number"),
    (lambda: metrics.serialize("mae"), TypeError, "serialize: expected a Metric, got 'mae'"),
    (
        lambda: metrics.MeanSquaredError("mse").update_state(np.ones((4, 3)), ONES),
        ValueError,
        r"metric 'mse': expected y_true shaped like y_pred \(4, 2\), got \(4, 3\)",
    ),
    (
        lambda: metrics.MeanSquaredError("mse").update_state(["a"], [1.0]),
        TypeError,
        "metric 'mse': expected y_true to be numbers, got dtype <U1",
    ),
    (
        lambda: metrics.MeanSquaredError("mse").update_state(ONES, ONES, np.ones(3)),
        ValueError,
        r"metric 'mse': expected sample_weight to fit values of shape \(4, 2\), got shape \(3,\)",
    ),
    (
        lambda: metrics.SparseCategoricalAccuracy("acc").update_state(ONES, ONES),
        ValueError,
        r"metric 'acc': expected y_true shaped like y_pred \(4,\), got \(4, 2\)",
    ),
    (lambda: metrics.Mean("m").update_state("x"), TypeError, "metric 'm': expected numbers, got dtype <U1"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Metrics against Keras's numbers, how "accuracy" is resolved, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusedlstm import losses, metrics
from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.utils import custom_object_scope

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


class Largest(metrics.Metric):
    """As a program for Keras writes one."""

    def __init__(self, name="largest", **kwargs):
        super().__init__(name=name, **kwargs)
        self.largest = self.add_weight(name="largest", initializer="zeros")
        self.seen = self.add_variable(shape=(2,), initializer="zeros", dtype="int64")

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = np.abs(y_true - y_pred)
        if sample_weight is not None:
            error = error[..., 0] * sample_weight
        self.largest.assign(np.maximum(self.largest, error.max()))
        self.seen.assign_add([1, len(y_true)])

    def result(self):
        return self.largest


def test_a_metric_of_ones_own_keeps_what_it_counts_in_variables():
    metric = Largest(dtype="float32")
    assert metric(np.zeros((3, 1)), np.array([[1.0], [-4.0], [2.0]])) == 4
    metric.update_state(np.zeros((2, 1)), np.array([[1.0], [2.0]]))
    assert metric.seen.numpy().tolist() == [2, 5]
    assert metric.result() == 4
    metric.seen.assign_sub([1, 1])
    assert [v.tolist() for v in metric.variables] == [4, [1, 4]]
    metric.reset_state()
    assert [v.tolist() for v in metric.variables] == [0, [0, 0]]
    with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(3,\)"):
        metric.seen.assign([1, 2, 3])
    with custom_object_scope({"Largest": Largest}):
        assert type(metrics.get("Largest")) is Largest
        again = metrics.get(metrics.serialize(metric))
    assert type(metrics.deserialize(metrics.serialize(metric), {"Largest": Largest})) is Largest
    assert (type(again), again.dtype) == (Largest, "float32")


def test_in_fit_a_metric_may_have_a_value_for_each_class(capsys):
    model = Sequential([Input((5, 2)), LSTM(4), Dense(3, activation="softmax")])
    per_class, largest = metrics.F1Score(), Largest()
    model.compile("sgd", "categorical_crossentropy", metrics=[per_class, largest, metrics.Recall([0.2, 0.6])])
    y = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
    history = model.fit(np.ones((8, 5, 2)), y, 4, epochs=2, verbose=2).history
    assert [f.shape for f in history["f1_score"]] == [(3,), (3,)]
    assert [r.shape for r in history["recall"]] == [(2,), (2,)]
    assert all(type(value) is float for value in history["largest"])
    out = capsys.readouterr().out
    assert f"f1_score: {history['f1_score'][0].mean():.4f}" in out
    logs = model.evaluate(np.ones((8, 5, 2)), y, verbose=0, return_dict=True)
    np.testing.assert_array_equal(logs["f1_score"], per_class.result())


def masked(rng, *shape):
    """A batch of steps and the mask that leaves the last ones out, in which nothing is a number."""
    mask = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, shape[0])[:, None]
    true = rng.integers(0, 2, shape).astype(float)
    pred = rng.uniform(0.01, 1, shape)
    true[~mask] = pred[~mask] = np.nan
    return true, pred, mask


MASKED = [
    metrics.AUC(),
    metrics.AUC(multi_label=True, curve="PR", label_weights=[1, 2, 0.5]),
    metrics.Precision([0.3, 0.6]),
    metrics.Recall(top_k=1),
    metrics.FalsePositives(),
    metrics.SensitivityAtSpecificity(0.4),
    metrics.F1Score("macro", 0.5),
    metrics.FBetaScore("weighted", 2.0),
    metrics.R2Score("variance_weighted_average"),
    metrics.CosineSimilarity(),
    metrics.MeanSquaredError(),
    metrics.RootMeanSquaredError(),
    metrics.CategoricalAccuracy(),
    metrics.TopKCategoricalAccuracy(2),
    metrics.BinaryCrossentropy(),
]


@pytest.mark.parametrize("weight", ["none", "samples", "steps"])
@pytest.mark.parametrize("metric", MASKED, ids=lambda m: m.name)
def test_under_a_mask_the_valid_steps_count_as_samples(metric, weight, rng):
    """One after another, over batches, is what all of them in one batch are."""
    metric.reset_state()
    batches = [masked(rng, n, 7, 3) for n in (4, 4, 2)]
    weights = [
        {"none": None, "samples": rng.uniform(0.2, 1, len(m)), "steps": rng.uniform(0.2, 1, m.shape)}[weight]
        for *_, m in batches
    ]
    for (true, pred, mask), w in zip(batches, weights, strict=True):
        metric.update_state(true, pred, w, mask)
    result = metric.result()
    assert np.isfinite(result).all()
    metric.reset_state()
    each = [
        np.ones(m.shape) if w is None else np.broadcast_to(w.reshape(len(m), -1), m.shape)
        for (*_, m), w in zip(batches, weights, strict=True)
    ]
    true, pred, w = (
        np.concatenate([rows[m] for rows, (*_, m) in zip(parts, batches, strict=True)])
        for parts in ([b[0] for b in batches], [b[1] for b in batches], each)
    )
    metric.update_state(true, pred, w)
    np.testing.assert_allclose(metric.result(), result, rtol=1e-12)


def test_auc_of_many_thresholds_is_the_share_of_pairs_in_order(rng):
    true, pred = rng.integers(0, 2, 300), rng.uniform(size=300)
    pairs = pred[true == 1][:, None] > pred[true == 0]
    metric = metrics.AUC(num_thresholds=20000)
    metric.update_state(true, pred)
    assert metric.result() == pytest.approx(pairs.mean(), abs=1e-3)
    bounds = [metrics.AUC(num_thresholds=20, summation_method=how) for how in ("minoring", "majoring")]
    for bound in bounds:
        bound.update_state(true, pred)
    assert bounds[0].result() < pairs.mean() < bounds[1].result()


def test_r2_of_numbers_far_from_zero(rng):
    y = 1e9 + rng.normal(size=(100, 1))
    metric = metrics.R2Score()
    for part in np.split(y, 4):
        metric.update_state(part, part + 0.5)
    assert metric.result() == pytest.approx(1 - 0.25 / y.var(), rel=1e-5)
    assert np.isnan(metrics.R2Score().result())


def test_predictions_that_are_no_numbers_are_above_no_threshold():
    metric = metrics.TruePositives([0.0, 0.5])
    metric.update_state([1, 1, 1], [np.nan, 0.4, 0.9])
    assert metric.result().tolist() == [2, 1]
    top = metrics.SparseTopKCategoricalAccuracy(2)
    top.update_state([0, 1, 2, 3], [[np.nan, 0.1, 0.2]] * 4)
    assert top.result() == 0.5


def test_thresholds_stand_in_the_order_that_they_were_given_in():
    metric = metrics.Recall(thresholds=[0.8, 0.2, 0.5])
    metric.update_state([1, 1, 1, 1], [0.1, 0.3, 0.6, 0.9])
    assert metric.result().tolist() == [0.25, 0.75, 0.5]


def test_before_anything_is_counted():
    for metric in MASKED:
        metric.reset_state()
        if not isinstance(metric, metrics.R2Score):
            assert not np.any(metric.result()), metric
        metric.update_state(np.full((2, 7, 3), np.nan), np.full((2, 7, 3), np.nan), None, np.zeros((2, 7), bool))
        assert isinstance(metric, metrics.R2Score) or not np.any(metric.result()), metric


def test_the_best_of_decisions_that_are_no_floats():
    for dtype in (bool, "uint8", "int64"):
        metric = metrics.Precision(top_k=1)
        metric.update_state([[0, 1, 0], [1, 0, 1]], np.array([[0, 1, 0], [0, 1, 0]], dtype))
        assert metric.result() == 0.5


MORE_ERRORS = [
    (lambda: metrics.Mean(dtype="int32"), "metric 'mean': expected dtype 'float32', 'float64' or None, got 'int32'"),
    (lambda: metrics.AUC(curve="RC"), "AUC: expected curve to be 'ROC', 'PR' or 'PRGAIN', got 'RC'"),
    (lambda: metrics.AUC(summation_method="x"), "AUC: expected summation_method to be 'interpolation', 'minoring'"),
    (lambda: metrics.AUC(num_labels=3), "AUC: expected num_labels None without multi_label, got 3"),
    (lambda: metrics.AUC(1), "AUC: expected num_thresholds to be an integer from 2 on, got 1"),
    (lambda: metrics.AUC(thresholds=[0.5, 2]), r"AUC: expected thresholds in 0 ... 1, got 2"),
    (lambda: metrics.AUC(label_weights=[-1.0]), "AUC: expected label_weights to be a list of numbers from 0 on"),
    (
        lambda: metrics.AUC(multi_label=True, num_labels=3).update_state(ONES, ONES),
        "metric 'auc': expected y_pred with 3 labels, as num_labels says, got 2",
    ),
    (lambda: metrics.Precision(1.5), "Precision: expected thresholds in 0 ... 1, got 1.5"),
    (lambda: metrics.Precision([]), "Precision: expected at least one threshold, got none"),
    (lambda: metrics.Recall(top_k=0), "Recall: expected top_k to be an integer from 1 on, got 0"),
    (
        lambda: metrics.Recall(class_id=2).update_state(ONES, ONES),
        "metric 'recall': expected y_pred with more than 2 classes, got 2",
    ),
    (
        lambda: metrics.SensitivityAtSpecificity(1.5),
        "SensitivityAtSpecificity: expected specificity in 0 ... 1, got 1.5",
    ),
    (lambda: metrics.PrecisionAtRecall(0.5, 0), "PrecisionAtRecall: expected num_thresholds to be an integer from 1"),
    (lambda: metrics.F1Score("mean"), "F1Score: expected average None, 'micro', 'macro' or 'weighted', got 'mean'"),
    (lambda: metrics.FBetaScore(beta=0), "FBetaScore: expected beta to be a number above 0, got 0"),
    (lambda: metrics.F1Score(threshold=0), "F1Score: expected threshold above 0 and up to 1 or None, got 0"),
    (lambda: metrics.R2Score("mean"), "R2Score: expected class_aggregation to be 'uniform_average'"),
    (lambda: metrics.R2Score(num_regressors=-1), "R2Score: expected num_regressors to be an integer from 0 on, got -1"),
    (lambda: metrics.TopKCategoricalAccuracy(0), "TopKCategoricalAccuracy: expected k to be an integer from 1 on"),
]


@pytest.mark.parametrize(("call", "message"), MORE_ERRORS, ids=range(len(MORE_ERRORS)))
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Forgetful(metrics.Metric):
    def update_state(self, y_true, y_pred, sample_weight=None): ...

    def result(self):
        return 0.0


def test_other_refusals():
    with pytest.raises(TypeError, match="metric 'forgetful': define reset_state, or keep what is counted in add_var"):
        Forgetful().reset_state()
    with pytest.raises(TypeError, match="metric: PrecisionAtRecall cannot be made without arguments"):
        metrics.get("precision_at_recall")
    with pytest.raises(TypeError, match="LossMetric: expected loss to be a Loss, got None"):
        metrics.LossMetric(None)
    metric = metrics.F1Score()
    metric.update_state(ONES, ONES)
    with pytest.raises(ValueError, match="metric 'f1_score': expected 2 classes as before, got 3"):
        metric.update_state(np.ones((4, 3)), np.ones((4, 3)))

"""Losses against Keras's numbers, their gradients against finite differences, and what they refuse."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from loss_cases import IDS as CASE_IDS
from loss_cases import LOSSES as CASES
from loss_cases import data as case_data

from fusedlstm import layers, losses, models
from fusedlstm.utils import custom_object_scope, set_random_seed

KERAS = json.loads((Path(__file__).parent / "fixtures" / "keras_training.json").read_text())
WEIGHTS = {name: None if w is None else np.array(w) for name, w in KERAS["weights"].items()}
MASK = np.array(KERAS["mask"])
IDS = [f"{d['loss']}-{'-'.join(f'{k}={v}' for k, v in d['arguments'].items())}" for d in KERAS["losses"]]


def gradient_of(function, x, eps=1e-6):
    """Central differences of a function of an array."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += eps
        down[index] -= eps
        result[index] = (function(up) - function(down)) / (2 * eps)
    return result


@pytest.mark.parametrize("data", KERAS["losses"], ids=IDS)
def test_values_are_those_of_keras(data):
    y_true, y_pred = np.array(data["y_true"]), np.array(data["y_pred"])
    assert len(data["cases"]) == 35
    for case in data["cases"]:
        loss = getattr(losses, data["loss"])(reduction=case["reduction"], **data["arguments"])
        true, pred = (y_true, y_pred) if case["steps"] else (y_true[:, 0], y_pred[:, 0])
        value = loss(true, pred, WEIGHTS[case["weight"]], MASK if case["masked"] else None)
        expected = np.array(case["value"]).reshape(np.shape(value))
        # Keras's mean over an axis rounds to float32 whatever the dtype.
        np.testing.assert_allclose(value, expected, rtol=2e-7, atol=1e-12, err_msg=str({**case, "value": None}))


@pytest.mark.parametrize("data", KERAS["losses"], ids=IDS)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_gradients_are_finite_differences(data, reduction):
    loss = getattr(losses, data["loss"])(reduction=reduction, **data["arguments"])
    y_true, y_pred = np.array(data["y_true"]), np.array(data["y_pred"])
    for weight in WEIGHTS.values():
        for mask in (None, MASK):
            value, gradient = loss.value_and_gradient(y_true, y_pred, weight, mask)
            assert value == loss(y_true, y_pred, weight, mask)
            assert gradient.dtype == np.float64
            numeric = gradient_of(lambda p, w=weight, m=mask: loss(y_true, p, w, m), y_pred)
            # At 0, clipping of probabilities has a corner, across which differences are no derivative.
            smooth = np.ones_like(y_pred, bool) if loss.__dict__.get("from_logits", True) else y_pred != 0
            np.testing.assert_allclose(gradient[smooth], numeric[smooth], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("data", KERAS["losses"], ids=IDS)
def test_float32_follows_float64(data):
    loss = getattr(losses, data["loss"])(**data["arguments"])
    y_true, y_pred = np.array(data["y_true"]), np.array(data["y_pred"])
    value, gradient = loss.value_and_gradient(y_true, y_pred, WEIGHTS["step"], MASK)
    value32, gradient32 = loss.value_and_gradient(y_true, y_pred.astype(np.float32), WEIGHTS["step"], MASK)
    assert gradient32.dtype == np.float32
    assert value32 == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(gradient32, gradient, rtol=2e-4, atol=1e-6)


def test_saturated_probabilities_have_no_gradient_and_a_bounded_loss():
    y_pred = np.array([[1.0, 0.0], [0.0, 1.0]])
    value, gradient = losses.CategoricalCrossentropy().value_and_gradient(np.eye(2)[::-1], y_pred)
    assert value == pytest.approx(-np.log(1e-7))
    assert not gradient.any()
    value, gradient = losses.BinaryCrossentropy().value_and_gradient([[1.0]], np.array([[0.0]]))
    assert value == pytest.approx(-np.log(1e-7))
    assert gradient[0, 0] == 0


@pytest.mark.parametrize("x", [1e4, -1e4])
def test_large_logits_stay_finite(x):
    with np.errstate(over="raise", invalid="raise"):
        value, gradient = losses.BinaryCrossentropy(from_logits=True).value_and_gradient([[0.0]], [[x]])
        assert (value, gradient[0, 0]) == ((x, 1) if x > 0 else (0, 0))
    logits = np.array([[x, 0.0, -x]])
    value, gradient = losses.SparseCategoricalCrossentropy(from_logits=True).value_and_gradient([0], logits)
    assert value == (0 if x > 0 else 2e4)
    np.testing.assert_array_equal(gradient, [[0, 0, 0]] if x > 0 else [[-1, 0, 1]])


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "bce"])
def test_a_last_axis_of_one_may_be_missing(name):
    loss, rng = losses.get(name), np.random.default_rng(0)
    y_true, y_pred = rng.uniform(0.1, 0.9, (4, 1)), rng.uniform(0.1, 0.9, (4, 1))
    weight = rng.uniform(size=4)
    expected = loss.value_and_gradient(y_true, y_pred, weight)
    for true, pred in ((y_true[:, 0], y_pred), (y_true, y_pred[:, 0]), (y_true[:, 0], y_pred[:, 0])):
        value, gradient = loss.value_and_gradient(true, pred, weight)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1].reshape(pred.shape))


def test_targets_per_step_without_their_last_axis():
    rng = np.random.default_rng(1)
    y_true, y_pred = rng.normal(size=(4, 3, 1)), rng.normal(size=(4, 3, 1))
    for weight in WEIGHTS.values():
        for mask in (None, MASK):
            expected = losses.MeanSquaredError().value_and_gradient(y_true, y_pred, weight, mask)
            value, gradient = losses.MeanSquaredError().value_and_gradient(y_true[..., 0], y_pred, weight, mask)
            assert value == pytest.approx(expected[0], rel=1e-12)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-12)
    # Keras's values are then one to a sample.
    assert losses.mean_squared_error(y_true[..., 0], y_pred).shape == (4,)


def test_weights_per_sample_spread_over_the_steps():
    y_true, y_pred, weight = np.zeros((3, 3, 1)), np.ones((3, 3, 1)), np.array([1.0, 0.0, 0.0])
    for given in (weight, weight[:, None]):  # for 3 samples of 3 steps the axes could be confused
        value, gradient = losses.MeanSquaredError().value_and_gradient(y_true, y_pred, given)
        assert value == pytest.approx(1 / 3)
        assert gradient[0].all()
        assert not gradient[1:].any()


def test_masked_entries_are_not_looked_at():
    y_true, y_pred = np.zeros((2, 2, 1)), np.array([[[1.0], [np.nan]], [[3.0], [np.inf]]])
    mask = np.array([[True, False], [True, False]])
    value, gradient = losses.MeanAbsoluteError().value_and_gradient(y_true, y_pred, None, mask)
    assert value == 2
    np.testing.assert_array_equal(gradient[..., 0], [[0.5, 0], [0.5, 0]])
    ignored = losses.SparseCategoricalCrossentropy(ignore_class=7, from_logits=True)
    value, gradient = ignored.value_and_gradient([0, 7], [[0.0, 0.0], [np.nan, 1.0]])
    assert value == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0.5], [0, 0]])


def test_nothing_valid_and_nothing_at_all_are_zero():
    value, gradient = losses.MeanSquaredError().value_and_gradient(
        np.zeros((2, 3, 1)), np.ones((2, 3, 1)), None, MASK[[3, 3]]
    )
    assert value == 0
    assert not gradient.any()
    value, gradient = losses.MeanSquaredError().value_and_gradient(np.zeros((0, 1)), np.ones((0, 1)))
    assert (value, gradient.shape) == (0.0, (0, 1))
    weighted = losses.MeanSquaredError("mean_with_sample_weight")
    assert weighted.value_and_gradient(np.zeros((2, 1)), np.ones((2, 1)), [0.0, 0.0])[0] == 0


def test_arguments_are_not_changed():
    for data in KERAS["losses"]:
        loss = getattr(losses, data["loss"])(**data["arguments"])
        arrays = [np.array(data["y_true"]), np.array(data["y_pred"]), WEIGHTS["step"].copy(), MASK.copy()]
        for array in arrays:
            array.flags.writeable = False
        loss.value_and_gradient(*arrays)


def test_any_axis_of_classes():
    rng = np.random.default_rng(2)
    y_pred, labels = rng.uniform(0.1, 0.9, (4, 5, 3)), rng.integers(0, 5, (4, 3))
    for from_logits in (False, True):
        for axis in (1, -2):
            loss = losses.SparseCategoricalCrossentropy(from_logits, axis=axis)
            moved = losses.SparseCategoricalCrossentropy(from_logits)
            value, gradient = loss.value_and_gradient(labels, y_pred, WEIGHTS["step"])
            expected = moved.value_and_gradient(labels, y_pred.swapaxes(1, 2), WEIGHTS["step"])
            assert value == pytest.approx(expected[0], rel=1e-12)
            np.testing.assert_allclose(gradient, expected[1].swapaxes(1, 2), rtol=1e-10)
            onehot = np.eye(5)[labels].swapaxes(1, 2)
            dense = losses.CategoricalCrossentropy(from_logits, axis=axis).value_and_gradient(
                onehot, y_pred, WEIGHTS["step"]
            )
            assert value == pytest.approx(dense[0], rel=1e-12)
            np.testing.assert_allclose(gradient, dense[1], rtol=1e-10, atol=1e-15)


def test_labels_may_be_floats_and_have_a_last_axis():
    y_pred = np.full((2, 3, 4), 0.25)
    for labels in (np.ones((2, 3)), np.ones((2, 3, 1), np.int8), np.ones((2, 3), np.uint64)):
        assert losses.SparseCategoricalCrossentropy()(labels, y_pred) == pytest.approx(np.log(4))


FUNCTIONS = ["mean_squared_error", "mean_absolute_error", "huber", "binary_crossentropy"]
CLASSES = ["MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossentropy"]


@pytest.mark.parametrize(("function", "cls"), list(zip(FUNCTIONS, CLASSES, strict=True)))
def test_functions_return_a_value_for_each_sample(function, cls):
    y_true, y_pred = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[0.5, 0.5], [0.2, 0.1]])
    values = getattr(losses, function)(y_true, y_pred)
    np.testing.assert_array_equal(values, getattr(losses, cls)(reduction="none")(y_true, y_pred))
    assert values.shape == (2,)
    assert getattr(losses, cls)()(y_true, y_pred) == pytest.approx(values.mean())


def test_functions_take_the_options():
    assert losses.huber([[0.0]], [[3.0]], delta=2.0)[0] == 4.0
    assert losses.binary_crossentropy([[1.0]], [[0.0]], from_logits=True)[0] == pytest.approx(np.log(2))
    assert losses.categorical_crossentropy([[0.0, 1.0]], [[0.0, 0.0]], from_logits=True)[0] == pytest.approx(np.log(2))
    ignored = losses.sparse_categorical_crossentropy([0, -1], [[0.5, 0.5]] * 2, ignore_class=-1)
    np.testing.assert_allclose(ignored, [np.log(2), 0])


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [
        ("mse", "MeanSquaredError"),
        ("MSE", "MeanSquaredError"),
        ("mean_squared_error", "MeanSquaredError"),
        ("MeanSquaredError", "MeanSquaredError"),
        ("mae", "MeanAbsoluteError"),
        ("huber", "Huber"),
        ("Huber", "Huber"),
        ("bce", "BinaryCrossentropy"),
        ("categorical_crossentropy", "CategoricalCrossentropy"),
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"),
        (losses.huber, "Huber"),
        (losses.Huber, "Huber"),
        ({"class_name": "Huber", "config": {"delta": 2.0}}, "Huber"),
    ],
)
def test_get(identifier, cls):
    assert type(losses.get(identifier)).__name__ == cls


def test_get_returns_losses_and_none_as_they_are():
    loss = losses.Huber(3.0)
    assert losses.get(loss) is loss
    assert losses.get(None) is None


@pytest.mark.parametrize("data", KERAS["losses"], ids=IDS)
def test_serialize_and_get(data):
    loss = getattr(losses, data["loss"])(**data["arguments"], reduction="sum", name="mine")
    again = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert again.__dict__ == loss.__dict__


def test_names_are_those_of_keras():
    assert [losses.get(n).name for n in ("mse", "huber", "bce")] == [
        "mean_squared_error",
        "huber_loss",
        "binary_crossentropy",
    ]


class Asymmetric(losses.ElementwiseLoss):
    def elements(self, y_true, y_pred):
        error = y_pred - y_true
        factor = np.where(error > 0, 1.0, 3.0)
        return factor * error**2, lambda: 2 * factor * error


def test_a_loss_of_ones_own():
    y_true, y_pred = np.array([[0.0], [0.0]]), np.array([[1.0], [-1.0]])
    value, gradient = Asymmetric().value_and_gradient(y_true, y_pred)
    assert value == 2
    np.testing.assert_array_equal(gradient, [[1], [-3]])
    assert Asymmetric().name == "asymmetric"


def asymmetric(y_true, y_pred):
    """`Asymmetric` as a function: values and the gradient of their sum."""
    error = y_pred - y_true
    factor = np.where(error > 0, 1.0, 3.0)
    return (factor * error**2).mean(axis=-1), 2 * factor * error / error.shape[-1]


def test_a_function_of_ones_own(rng):
    y_true, y_pred, weight = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2)), rng.uniform(size=(4, 3))
    mask = MASK
    loss = losses.get(asymmetric)
    assert (type(loss).__name__, loss.name) == ("FunctionLoss", "asymmetric")
    for w, m in itertools.product([None, weight, weight[:, :1]], [None, mask]):
        value, gradient = loss.value_and_gradient(y_true, y_pred, w, m)
        expected, d_expected = Asymmetric().value_and_gradient(y_true, y_pred, w, m)
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, d_expected, rtol=1e-12)
    # One number for the whole batch.
    value, gradient = losses.get(lambda y, p: (np.sum(p * y), y)).value_and_gradient(y_true, y_pred)
    assert value == pytest.approx((y_true * y_pred).sum())
    np.testing.assert_array_equal(gradient, y_true)


def test_a_model_is_trained_with_a_function(rng):
    x, y = rng.normal(size=(64, 3)).astype("float32"), rng.normal(size=(64, 1)).astype("float32")
    models_ = []
    for loss in (asymmetric, Asymmetric()):
        set_random_seed(3)
        model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
        model.compile("sgd", loss)
        model.fit(x, y, epochs=2, verbose=0, sample_weight=np.linspace(0, 1, 64))
        models_.append(model)
    for mine, other in zip(*(model.get_weights() for model in models_), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5)


def test_classes_of_ones_own_are_found_by_name():
    config = losses.serialize(Asymmetric(name="mine"))
    with pytest.raises(ValueError, match="unknown loss 'Asymmetric'"):
        losses.get(config)
    with custom_object_scope({"Asymmetric": Asymmetric}):
        assert losses.get(config).name == "mine"
        assert type(losses.get("Asymmetric")) is Asymmetric


@pytest.mark.parametrize(("name", "arguments", "true", "pred"), CASES, ids=CASE_IDS)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_every_gradient_is_finite_differences(name, arguments, true, pred, reduction, rng):
    loss = getattr(losses, name)(reduction=reduction, **arguments)
    y_true, y_pred = case_data(true, rng), case_data(pred, rng)
    along_time = arguments.get("axis", -1) != -1  # the values are then one for each class
    shape = (len(y_pred), y_pred.shape[2] if along_time else y_pred.shape[1])
    mask = rng.uniform(size=shape) < 0.6
    for weight, used in itertools.product([None, rng.uniform(size=shape[0]), rng.uniform(size=shape)], [None, mask]):
        value, gradient = loss.value_and_gradient(y_true, y_pred, weight, used)
        assert value == pytest.approx(loss(y_true, y_pred, weight, used), rel=1e-12)
        assert gradient.dtype == np.float64
        numeric = gradient_of(lambda p, w=weight, m=used: loss(y_true, p, w, m), y_pred)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)
        value32, gradient32 = loss.value_and_gradient(y_true, y_pred.astype(np.float32), weight, used)
        assert gradient32.dtype == np.float32
        assert value32 == pytest.approx(value, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(gradient32, gradient, rtol=2e-3, atol=1e-5)
    again = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert again.__dict__ == loss.__dict__


def test_where_losses_have_corners_the_gradient_is_finite():
    zeros, ones = np.zeros((2, 3)), np.ones((2, 3))
    for name, arguments, _, _ in CASES:
        loss = getattr(losses, name)(**arguments)
        labels = name.startswith("Sparse")
        for true, pred in [(zeros, zeros), (ones, zeros), (zeros, ones), (ones, ones)]:
            if loss.__dict__.get("axis", -1) == -1 and not (name.startswith("Categorical") and not pred.any()):
                value, gradient = loss.value_and_gradient(true[:, 0] if labels else true, pred + labels * 0.1)
                assert np.isfinite(value), name
                assert np.isfinite(gradient).all(), name


def test_known_values():
    # Closed forms, by hand.
    assert losses.log_cosh([[0.0]], [[1.0]])[0] == pytest.approx(np.log(np.cosh(1)))
    assert losses.log_cosh([[0.0]], [[500.0]])[0] == pytest.approx(500 - np.log(2))
    assert losses.poisson([[2.0]], [[1.0]])[0] == pytest.approx(1, abs=1e-6)
    assert losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]])[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert losses.hinge([[0.0, 1.0]], [[0.5, 0.5]])[0] == pytest.approx((1.5 + 0.5) / 2)
    assert losses.squared_hinge([[-1.0, 1.0]], [[0.5, 2.0]])[0] == pytest.approx(2.25 / 2)
    assert losses.categorical_hinge([[0.0, 1.0, 0.0]], [[0.3, 0.5, 0.9]])[0] == pytest.approx(1.4)
    assert losses.cosine_similarity([[3.0, 4.0]], [[4.0, 3.0]])[0] == pytest.approx(-0.96)
    assert losses.mean_absolute_percentage_error([[2.0, -4.0]], [[1.0, -5.0]])[0] == pytest.approx(37.5)
    assert losses.mean_squared_logarithmic_error([[np.e - 1]], [[0.0]])[0] == pytest.approx(1, rel=1e-6)
    assert losses.binary_focal_crossentropy([[1.0]], [[0.5]])[0] == pytest.approx(0.25 * np.log(2))
    focal = losses.categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]], alpha=[1, 3], gamma=1)[0]
    assert focal == pytest.approx(1.5 * np.log(2))


def test_a_dtype_of_its_own():
    y_true, y_pred = np.zeros((2, 1)), np.full((2, 1), 0.1, np.float32)
    value, gradient = losses.MeanSquaredError(dtype="float64").value_and_gradient(y_true, y_pred)
    assert value == float(np.float32(0.1)) ** 2
    assert gradient.dtype == np.float32
    assert losses.serialize(losses.Huber(dtype="float32"))["config"]["dtype"] == "float32"


ONES = np.ones((4, 2))
ERRORS = [
    (lambda: losses.MeanSquaredError("average"), ValueError, "MeanSquaredError: expected reduction to be one of"),
    (
        lambda: losses.MeanSquaredError("none").value_and_gradient(ONES, ONES),
        ValueError,
        "a gradient needs a reduction",
    ),
    (
        lambda: losses.MeanSquaredError()(np.ones((4, 3)), ONES),
        ValueError,
        r"MeanSquaredError: expected y_true shaped like y_pred \(4, 2\), got \(4, 3\)",
    ),
    (lambda: losses.MeanSquaredError()(np.ones((4, 1)), ONES), ValueError, r"\(4, 2\), got \(4, 1\)"),
    (
        lambda: losses.MeanSquaredError()(1.0, 1.0),
        ValueError,
        "expected y_pred of at least 1 axis, got a single number",
    ),
    (lambda: losses.MeanSquaredError()(["a", "b"], [1, 2]), TypeError, "expected y_true to be numbers, got dtype <U1"),
    (
        lambda: losses.MeanSquaredError()([1, 2], [1j, 2]),
        TypeError,
        "expected y_pred to be numbers, got dtype complex128",
    ),
    (
        lambda: losses.MeanSquaredError()(ONES, ONES, np.ones(3)),
        ValueError,
        r"MeanSquaredError: expected sample_weight to fit values of shape \(4,\), got shape \(3,\)",
    ),
    (lambda: losses.MeanSquaredError()(ONES, ONES, np.ones(1)), ValueError, r"sample_weight .* got shape \(1,\)"),
    (lambda: losses.MeanSquaredError()(ONES, ONES, np.ones((4, 2))), ValueError, r"sample_weight .* \(4, 2\)"),
    (lambda: losses.MeanSquaredError()(ONES, ONES, ["a"] * 4), TypeError, "expected sample_weight to be numbers"),
    (
        lambda: losses.MeanSquaredError()(ONES, ONES, None, np.ones((4, 3))),
        ValueError,
        r"expected mask to fit .* \(4, 3\)",
    ),
    (lambda: losses.Huber(0), ValueError, "Huber: expected delta > 0, got 0"),
    (lambda: losses.Huber(float("nan")), ValueError, "Huber: expected delta > 0, got nan"),
    (lambda: losses.Huber("1"), TypeError, "Huber: expected delta to be a number, got '1'"),
    (lambda: losses.Huber(alpha=1), TypeError, "alpha"),
    (
        lambda: losses.BinaryCrossentropy(label_smoothing=2),
        ValueError,
        "BinaryCrossentropy: expected label_smoothing in 0",
    ),
    (lambda: losses.CategoricalCrossentropy(label_smoothing="a"), TypeError, "label_smoothing to be a number, got 'a'"),
    (
        lambda: losses.CategoricalCrossentropy(axis=True),
        TypeError,
        "CategoricalCrossentropy: expected axis to be an integer",
    ),
    (lambda: losses.CategoricalCrossentropy(axis=2)(ONES, ONES), ValueError, r"axis 2 is not one of y_pred \(4, 2\)"),
    (
        lambda: losses.CategoricalCrossentropy()(np.ones(4), ONES),
        ValueError,
        r"expected y_true shaped like y_pred \(4, 2\), got \(4,\) \(for labels that are integers use Sparse",
    ),
    (lambda: losses.CategoricalCrossentropy()(ONES[:, :1], ONES[:, :1]), ValueError, "one class has nothing to learn"),
    (
        lambda: losses.SparseCategoricalCrossentropy()(ONES, ONES),
        ValueError,
        r"expected labels of shape \(4,\) for y_pred \(4, 2\), got \(4, 2\) \(for one-hot labels use Categorical",
    ),
    (
        lambda: losses.SparseCategoricalCrossentropy()([0, 1, 2, 1], ONES),
        ValueError,
        r"expected labels in 0 ... 1 for y_pred \(4, 2\), got 0 ... 2",
    ),
    (lambda: losses.SparseCategoricalCrossentropy()([0, -1, 0, 1], ONES), ValueError, r"got -1 ... 1"),
    (
        lambda: losses.SparseCategoricalCrossentropy()([0, 0.5, 0, 1], ONES),
        ValueError,
        "labels to be integers, got 0.5",
    ),
    (
        lambda: losses.SparseCategoricalCrossentropy()([0, np.nan, 0, 1], ONES),
        ValueError,
        "labels to be integers, got nan",
    ),
    (
        lambda: losses.SparseCategoricalCrossentropy(ignore_class=0.5),
        TypeError,
        "ignore_class to be an integer, got 0.5",
    ),
    (lambda: losses.get("msse"), ValueError, "unknown loss 'msse': expected one of 'binary_crossentropy', "),
    (lambda: losses.get({"class_name": "os.system"}), ValueError, "unknown loss 'os.system'"),
    (lambda: losses.get(5), TypeError, "expected a name, a fusedlstm.losses.Loss or a function, got 5"),
    (lambda: losses.get(int), TypeError, "got <class 'int'>"),
    (
        lambda: losses.get(lambda y, p: p)(ONES, ONES),
        TypeError,
        r"loss '<lambda>': expected the function to return \(values, gradient\), got ndarray",
    ),
    (lambda: losses.get(lambda y, p: (p[0], p))(ONES, ONES), ValueError, r"first axes of y_pred \(4, 2\), got \(2,\)"),
    (lambda: losses.get(lambda y, p: (0, p[0]))(ONES, ONES), ValueError, r"a gradient \(4, 2\), got \(2,\)"),
    (lambda: losses.serialize(losses.get(lambda y, p: p)), TypeError, "a function has no config"),
    (lambda: losses.MeanSquaredError(dtype="int8"), ValueError, "expected dtype 'float32', 'float64' or None"),
    (lambda: losses.BinaryFocalCrossentropy(gamma=-1), ValueError, "BinaryFocalCrossentropy: expected gamma >= 0"),
    (lambda: losses.BinaryFocalCrossentropy(alpha="a"), TypeError, "expected alpha to be a number, got 'a'"),
    (
        lambda: losses.CategoricalFocalCrossentropy([1, 2, 3])(ONES, ONES),
        ValueError,
        r"expected alpha to have 2 numbers for y_pred \(4, 2\), got 3",
    ),
    (lambda: losses.CosineSimilarity("a"), TypeError, "CosineSimilarity: expected axis to be an integer, got 'a'"),
    (lambda: losses.serialize("mse"), TypeError, "serialize: expected a Loss, got 'mse'"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

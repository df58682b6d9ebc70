"""Losses and metrics of models with masks: means over the valid steps alone, by hand."""

import numpy as np
import pytest

from fusedlstm import metrics
from fusedlstm.layers import LSTM, Dense, Embedding, Input, Masking
from fusedlstm.models import Sequential

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 4, (10, 7))
IDS[0] = 0
VALID = IDS != 0
W, V = RNG.uniform(0.1, 1, size=10), RNG.uniform(0.1, 1, size=(10, 7))
Y = RNG.normal(size=(10, 7, 1))
F = {"dtype": "float64"}


def model_of(width=1, activation=None, **options):
    model = Sequential(
        [
            Input((7,)),
            Embedding(4, 3, mask_zero=True, **F),
            LSTM(5, return_sequences=True, **F),
            Dense(width, activation=activation, **F),
        ]
    )
    model.compile(**options)
    return model


class Largest(metrics.Metric):
    """A metric of a user's own, with Keras's signature."""

    def __init__(self, name="largest"):
        super().__init__(name)
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        weights = np.ones(len(y_true)) if sample_weight is None else sample_weight
        self.value = max(self.value, float((np.abs(y_true - y_pred)[..., 0] * weights).max()))

    def result(self):
        return self.value

    def reset_state(self):
        self.value = 0.0


@pytest.mark.parametrize("how", ["evaluate", "test_on_batch", "train_on_batch", "fit"])
@pytest.mark.parametrize("weight", [None, W, V], ids=["none", "samples", "steps"])
def test_only_valid_steps_count(weight, how):
    model = model_of(
        loss="mse",
        metrics=["mse", "mae", "root_mean_squared_error", "huber", Largest()],
        weighted_metrics=["mse", "mae", "root_mean_squared_error", "huber", Largest()],
    )
    error = np.abs(model.predict(IDS, verbose=0) - Y)[..., 0]
    if how == "fit":
        history = model.fit(IDS, Y, 10, sample_weight=weight, shuffle=False, verbose=0).history
        logs = {name: value for name, (value,) in history.items()}
    elif how == "evaluate":
        logs = model.evaluate(IDS, Y, sample_weight=weight, verbose=0, return_dict=True)
    else:
        logs = getattr(model, how)(IDS, Y, sample_weight=weight, return_dict=True)
    each = np.ones((10, 7)) if weight is None else np.broadcast_to(weight.reshape(10, -1), (10, 7))
    huber = np.where(error <= 1, error**2 / 2, error - 0.5)
    assert logs["loss"] == pytest.approx((error**2 * each)[VALID].mean())
    for prefix, weights in (("", np.ones((10, 7))), ("weighted_", each)):
        for name, values in (("mse", error**2), ("mae", error), ("huber", huber)):
            assert logs[prefix + name] == pytest.approx(np.average(values[VALID], weights=weights[VALID])), prefix
        mse = np.average(error[VALID] ** 2, weights=weights[VALID])
        assert logs[f"{prefix}root_mean_squared_error"] == pytest.approx(np.sqrt(mse))
        assert logs[f"{prefix}largest"] == pytest.approx((error * weights)[VALID].max())


def test_over_batches_the_loss_is_weighted_by_rows_and_a_metric_by_valid_steps():
    model = model_of(loss="mse", metrics=["mse"])
    error = (model.predict(IDS, verbose=0) - Y)[..., 0] ** 2
    batches = [slice(0, 4), slice(4, 8), slice(8, 10)]
    losses = [error[rows][VALID[rows]].mean() for rows in batches]
    logs = model.evaluate(IDS, Y, batch_size=4, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(np.average(losses, weights=[4, 4, 2]))
    assert logs["mse"] == pytest.approx(error[VALID].mean())
    assert logs["loss"] != pytest.approx(logs["mse"], rel=1e-4)


@pytest.mark.parametrize("shape", [(10, 7), (10, 7, 1)], ids=str)
@pytest.mark.parametrize("weight", [None, W, V], ids=["none", "samples", "steps"])
def test_targets_without_the_last_axis(shape, weight):
    model = model_of(1, "sigmoid", loss="bce", metrics=["accuracy", "bce"], weighted_metrics=["accuracy", "bce"])
    y = RNG.integers(0, 2, (10, 7))
    p = model.predict(IDS, verbose=0)[..., 0]
    logs = model.evaluate(IDS, y.reshape(shape), sample_weight=weight, verbose=0, return_dict=True)
    values = {"bce": -np.log(np.where(y == 1, p, 1 - p)), "accuracy": (p > 0.5) == y}
    each = np.ones((10, 7)) if weight is None else np.broadcast_to(weight.reshape(10, -1), (10, 7))
    for name, value in values.items():
        assert logs[name] == pytest.approx(value[VALID].mean(), rel=1e-6)
        assert logs[f"weighted_{name}"] == pytest.approx(np.average(value[VALID], weights=each[VALID]), rel=1e-6)


def test_what_is_masked_may_be_nan():
    y = np.where(VALID[..., None], Y, np.nan)
    model = model_of(loss="mse", metrics=["mae", "huber"], weighted_metrics=["mse"])
    zeros = np.nan_to_num(y)
    for weight in (None, W, V):
        assert model.evaluate(IDS, y, sample_weight=weight, verbose=0) == model.evaluate(
            IDS, zeros, sample_weight=weight, verbose=0
        )


def test_a_batch_in_which_nothing_is_valid():
    model = Sequential([Input((3, 2)), Masking(), LSTM(4, return_sequences=True), Dense(1)])
    model.compile(loss="mse", metrics=["mae"], weighted_metrics=["mse"])
    assert model.evaluate(np.zeros((2, 3, 2)), np.ones((2, 3, 1)), verbose=0) == [0, 0, 0]

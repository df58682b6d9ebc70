"""What a run is judged by."""

import math

import numpy as np
import pytest

from fusedlstm import metrics
from fusedlstm.callbacks import History
from fusedlstm.tuner import FatalError, Objective
from fusedlstm.tuner.objective import as_goal, mean


class Model:
    def __init__(self, *model_metrics, outputs=()):
        self.metrics = list(model_metrics)
        self.output_names = list(outputs)


class Gain(metrics.Mean):
    direction = "up"


def test_metrics_of_several_values_are_left_out():
    logs = {"loss": 1.0, "f1_score": np.array([0.5, 0.7]), "last": np.array(2.0)}
    goal = as_goal("Tuner", "loss", Model())
    assert goal.judge(logs)[0].metrics == {"loss": 1, "last": 2}
    with pytest.raises(FatalError, match="objective 'f1_score' has 2 values: give the metric an average"):
        as_goal("Tuner", Objective("f1_score", "max"), Model()).judge(logs)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("val_accuracy", "max"),
        ("acc", "max"),
        ("val_binary_accuracy", "max"),
        ("val_mae", "min"),
        ("mean_squared_error", "min"),
        ("val_auc", "max"),
        ("val_gain", "max"),
        ("val_head_loss", "min"),
        ("val_head_accuracy", "max"),
    ],
)
def test_the_direction_is_that_of_the_metric(name, direction):
    goal = as_goal("Tuner", name, Model(Gain("gain"), outputs=["head", "tail"]))
    assert goal.objectives == (Objective(name, direction),)
    assert goal.direction == direction


@pytest.mark.parametrize("name", ["profit", "val_profit", "inverse_accuracy", "other_loss", "mean"])
def test_a_direction_that_is_not_known_is_asked_for(name):
    with pytest.raises(ValueError, match=f"a larger or a smaller '{name}' is better: pass objective=Objective"):
        as_goal("Tuner", name, Model())


@pytest.mark.parametrize("objective", [[], 3, ["loss", 3]])
def test_bad_objectives(objective):
    with pytest.raises((TypeError, ValueError), match="Tuner: expected"):
        as_goal("Tuner", objective, None)
    with pytest.raises(ValueError, match="Objective 'x': expected direction 'min' or 'max', got 'up'"):
        Objective("x", "up")


def history(**columns):
    made = History()
    made.history = columns
    return made


def test_the_best_epoch_counts():
    found = as_goal("Tuner", "val_loss", None).judge(history(loss=[5.0, 4.0, 3.0], val_loss=[2.0, 1.0, 3.0]))
    assert found == [(1.0, {"loss": 4.0, "val_loss": 1.0}, 2)]
    found = as_goal("Tuner", "val_acc", None).judge(history(val_acc=[math.nan, 0.5, 0.7, 0.6]))
    assert found == [(0.7, {"val_acc": 0.7}, 3)]


def test_validation_every_second_epoch():
    found = as_goal("Tuner", "val_loss", None).judge(history(loss=[5.0, 4.0, 3.0, 2.0], val_loss=[2.0, 1.0]))
    assert found == [(1.0, {"val_loss": 1.0}, None)]


def test_nan_all_along_stays_nan():
    (run,) = as_goal("Tuner", "val_loss", None).judge(history(val_loss=[math.nan, math.nan]))
    assert math.isnan(run.score)


def test_several_objectives_are_a_sum_with_signs():
    goal = as_goal("Tuner", ["val_loss", "val_accuracy", Objective("size", "min")], None)
    assert goal.direction == "min"
    assert goal.value({"val_loss": 3.0, "val_accuracy": 0.5, "size": 2.0}) == 4.5
    assert str(goal) == "val_loss - val_accuracy + size"


def test_other_results():
    goal = as_goal("Tuner", "val_loss", None)
    assert goal.judge({"val_loss": 2, "size": 3}) == [(2.0, {"val_loss": 2.0, "size": 3.0}, None)]
    assert goal.judge(0.5) == [(0.5, {"val_loss": 0.5}, None)]
    assert [run.score for run in goal.judge([0.5, {"val_loss": 1.5}])] == [0.5, 1.5]
    assert mean(goal.judge([{"val_loss": 1, "a": 2}, {"val_loss": 3, "a": 6, "b": 1}])) == (2, {"val_loss": 2, "a": 4})
    assert as_goal("Tuner", None, None).judge(0.5) == [(0.5, {"default_objective": 0.5}, None)]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "expected fit to return a History, a dict of metrics or a float, got NoneType"),
        ("x", "got str"),
        ({"loss": 1.0}, "there is no objective 'val_loss' in: loss: pass validation_data"),
        (history(loss=[1.0]), "there is no objective 'val_loss' in: loss: pass validation_data"),
        (history(), "there is no objective 'val_loss' in: nothing"),
    ],
)
def test_results_that_end_the_search(result, message):
    with pytest.raises(FatalError, match=message):
        as_goal("Tuner", "val_loss", None).judge(result)

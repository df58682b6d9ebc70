"""Cross-validation: which rows a fold learns from and is judged on, and what becomes of the scores."""

import numpy as np
import pytest

pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")

import tuner_case
from tuner_case import build, tuner

import fusedlstm.tuner as kt
from fusedlstm.utils.splitting import time_series_folds
from fusedlstm.utils.time_series import timeseries_dataset_from_array


class Recorder(kt.HyperModel):
    def __init__(self):
        super().__init__()
        self.folds = []

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        self.folds.append((x[:, 0].tolist(), y.tolist(), validation_data[0][:, 0].tolist()))
        return model.fit(x, y, validation_data=validation_data, **kwargs)


X, Y = tuner_case.X, tuner_case.Y


class Splitter:
    def split(self, x):
        for last in (20, 30):
            yield np.arange(last), np.arange(last, len(x))


@pytest.mark.parametrize(
    ("cross_validation", "expected"),
    [
        (3, [(np.r_[train], np.r_[held]) for train, held in time_series_folds(48, 3)]),
        (Splitter(), [(np.arange(20), np.arange(20, 48)), (np.arange(30), np.arange(30, 48))]),
        (iter([(slice(0, 9), [9, 11])]), [(np.arange(9), np.array([9, 11]))]),
    ],
)
def test_folds(tmp_path, cross_validation, expected):
    recorder = Recorder()
    search = tuner(tmp_path, hypermodel=recorder, max_trials=2, executions_per_trial=2)
    search.search(X, y=Y, cross_validation=cross_validation, verbose=0)
    rows = [(X[train, 0].tolist(), Y[train].tolist(), X[held, 0].tolist()) for train, held in expected]
    assert recorder.folds == rows * 4
    for trial in search.trials:
        assert len(trial.scores) == 2 * len(expected)
        assert trial.score == pytest.approx(np.mean(trial.scores))
    (model,) = search.get_best_models()
    last = search.get_best_trials()[0].scores[len(expected) - 1 :: len(expected)]
    held = expected[-1][1]
    assert model.evaluate(X[held], Y[held], verbose=0)[0] == pytest.approx(min(last), rel=1e-5)


def test_folds_of_windows_share_no_step():
    from fusedlstm.tuner.folds import arguments_of_folds

    series = np.arange(60.0)
    windows = timeseries_dataset_from_array(series, series, 5, 2, batch_size=4)
    folds = arguments_of_folds("T", 3, (windows,), {})
    assert len(folds) == 3
    for (train,), kwargs in folds:
        parts = (train, kwargs["validation_data"])
        learned, held_out = ({step for x, _ in part for step in x.ravel()} for part in parts)
        assert max(learned) < min(held_out)
    with pytest.raises(ValueError, match="too few for 3 folds of 1 rows with a gap of 6"):
        arguments_of_folds("T", 3, (timeseries_dataset_from_array(series[:12], series, 7),), {})


def test_lists_and_dicts_and_weights(tmp_path):
    from fusedlstm.tuner.folds import arguments_of_folds

    weight = np.arange(48.0)
    ((args, kwargs),) = arguments_of_folds(
        "T", [(slice(0, 2), slice(2, 4))], ([X, Y], {"a": Y}), {"sample_weight": weight, "epochs": 3}
    )
    assert [part.tolist() for part in args[0]] == [X[:2].tolist(), Y[:2].tolist()]
    assert args[1]["a"].tolist() == Y[:2].tolist()
    assert kwargs["sample_weight"].tolist() == [0, 1]
    assert kwargs["epochs"] == 3
    x, y, held_weight = kwargs["validation_data"]
    assert [part.tolist() for part in x] == [X[2:4].tolist(), Y[2:4].tolist()]
    assert y["a"].tolist() == Y[2:4].tolist()
    assert held_weight.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cross_validation": 1}, ValueError, "RandomSearch: expected cross_validation >= 2, got 1"),
        ({"cross_validation": True}, TypeError, "expected cross_validation to be a number of folds"),
        ({"cross_validation": [3]}, TypeError, r"expected cross_validation to hold \(train, validation\) pairs, got 3"),
        ({"cross_validation": []}, ValueError, "expected at least one fold"),
        ({"cross_validation": 90}, ValueError, "too few for 90 folds"),
        ({"cross_validation": 2, "validation_split": 0.2}, ValueError, "expected validation_split to be left out"),
        ({"cross_validation": 2, "y": Y[:9]}, ValueError, "expected x, y and sample_weight of equal length"),
        ({"cross_validation": 2, "x": iter([])}, TypeError, "expected x to be arrays with cross_validation"),
    ],
)
def test_what_is_refused_before_a_trial_starts(tmp_path, arguments, error, message):
    search = tuner(tmp_path)
    with pytest.raises(error, match=message):
        search.search(**{"x": X, "y": Y, "verbose": 0, **arguments})
    assert search.trials == []

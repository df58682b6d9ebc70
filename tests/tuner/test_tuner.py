"""One search from its first trial to its results, in one process."""

import math
import warnings

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")

import tuner_case  # noqa: E402
from tuner_case import Function, build, fit_arguments, tuner, values  # noqa: E402

import fusedlstm.tuner as kt  # noqa: E402
from fusedlstm import metrics  # noqa: E402
from fusedlstm.callbacks import EarlyStopping, LambdaCallback  # noqa: E402
from fusedlstm.layers import LSTM, Dense, Input  # noqa: E402
from fusedlstm.models import Sequential  # noqa: E402
from fusedlstm.utils import timeseries_dataset_from_array  # noqa: E402

fork_warning = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def test_scores_are_of_the_best_epoch_and_the_models_have_its_weights(tmp_path):
    """A rate that overshoots makes the last epoch the worst."""

    def overshooting(hp):
        model = build(hp)
        model.optimizer.learning_rate = 0.3
        return model

    search = tuner(tmp_path, hypermodel=overshooting, max_trials=3, executions_per_trial=2)
    search.search(**fit_arguments(epochs=6))
    assert any(epoch < 6 for trial in search.trials for epoch in trial.epochs)
    best = search.get_best_trials(3)
    assert [trial.score for trial in best] == sorted(trial.score for trial in search.trials)
    for trial, model in zip(best, search.get_best_models(3), strict=True):
        assert len(trial.scores) == 2
        assert trial.score == pytest.approx(np.mean(trial.scores))
        loss, mae = model.evaluate(tuner_case.X[32:], tuner_case.Y[32:], verbose=0)
        assert loss == pytest.approx(min(trial.scores), rel=1e-5)
        assert set(trial.metrics) == {"loss", "mae", "val_loss", "val_mae"}
        assert mae > 0
        assert trial.seconds > 0


def test_a_metric_of_several_values(tmp_path):
    def classifier(hp):
        model = Sequential([Input((3,)), Dense(hp.Int("units", 1, 8)), Dense(2, activation="softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=[metrics.F1Score(), "accuracy"])
        return model

    x, y = tuner_case.X, np.eye(2, dtype=np.float32)[(tuner_case.Y[:, 0] > 0).astype(int)]
    search = tuner(tmp_path, hypermodel=classifier, max_trials=2)
    search.search(x, y, validation_split=0.3, verbose=0)
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 2
    assert set(search.trials[0].metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def shuffled_windows():
    return timeseries_dataset_from_array(tuner_case.X, tuner_case.Y, 6, batch_size=8, shuffle=True, seed=3)


@pytest.mark.parametrize("cross_validation", [None, 2])
def test_shuffled_data_start_over_for_each_execution(tmp_path, cross_validation):
    """A search that is resumed, by a process that makes its data anew, is the one that never stopped."""

    def recurrent(hp):
        model = Sequential([Input((6, 3)), LSTM(hp.Int("units", 1, 8)), Dense(1)])
        model.compile("adam", "mse")
        return model

    found = []
    for name, parts in (("a", (3,)), ("b", (1, 3))):
        for most in parts:
            windows = shuffled_windows()
            validation = {} if cross_validation else {"validation_data": windows.part(slice(0, 9))}
            search = tuner(tmp_path / name, hypermodel=recurrent, max_trials=most, executions_per_trial=2)
            search.search(windows, cross_validation=cross_validation, epochs=2, verbose=0, **validation)
        found.append([trial.scores for trial in search.trials])
    assert found[0] == found[1]
    same = shuffled_windows()
    same.part(slice(0, 9)) if not cross_validation else None
    assert windows.get_state() == same.get_state()


def test_an_objective_to_be_large(tmp_path):
    search = tuner(tmp_path, objective=kt.Objective("val_mae", "max"))
    search.search(**fit_arguments())
    scores = [trial.score for trial in search.get_best_trials(6)]
    assert scores == sorted(scores, reverse=True)
    assert search.study.best_value == scores[0]


def test_several_objectives(tmp_path):
    search = tuner(tmp_path, objective=["val_loss", kt.Objective("loss", "max")], max_trials=2)
    search.search(**fit_arguments())
    for trial in search.trials:
        assert trial.score == pytest.approx(trial.metrics["val_loss"] - trial.metrics["loss"])


def test_same_seed_same_trials(tmp_path):
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        search = tuner(tmp_path / name, seed=seed)
        np.random.seed(len(found))  # noqa: NPY002 - must not matter
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        search.search(**fit_arguments())
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002 - and is as it was
        found.append([(trial.hyperparameters.values, trial.scores) for trial in search.trials])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_finished_search_is_resumed_and_may_be_extended(tmp_path):
    search = tuner(tmp_path, max_trials=3)
    search.search(**fit_arguments())
    first = [(trial.hyperparameters.values, trial.score) for trial in search.trials]
    again = tuner(tmp_path, max_trials=3, hypermodel=forbidden_after_the_first())
    again.search(**fit_arguments())
    assert [(trial.hyperparameters.values, trial.score) for trial in again.trials] == first
    longer = tuner(tmp_path, max_trials=5)
    longer.search(**fit_arguments())
    whole = tuner(tmp_path / "whole", max_trials=5)
    whole.search(**fit_arguments())
    assert values(longer)[:3] == [hp for hp, _ in first]
    assert values(longer) == values(whole)
    assert [trial.scores for trial in longer.trials] == [trial.scores for trial in whole.trials]
    search.reload()
    assert len(search.trials) == 5


def forbidden_after_the_first():
    built = []

    def once(hp):
        built.append(hp)
        assert len(built) == 1, "a trial is repeated"
        return build(hp)

    return once


def test_overwrite_forgets_the_search_and_nothing_else(tmp_path):
    search = tuner(tmp_path, max_trials=2)
    search.search(**fit_arguments())
    (search.project_dir / "notes.txt").write_text("mine")
    new = tuner(tmp_path, max_trials=2, overwrite=True, seed=9)
    assert new.trials == []
    assert not list(search.project_dir.rglob("*.npz"))
    assert (search.project_dir / "notes.txt").read_text() == "mine"
    new.search(**fit_arguments())
    assert len(new.trials) == 2


def test_another_objective_or_seed_is_not_mixed_in(tmp_path):
    tuner(tmp_path)
    with pytest.raises(ValueError, match=r"for val_loss \(min\) already, got loss \(min\): pass overwrite=True"):
        tuner(tmp_path, objective="loss")
    with pytest.raises(ValueError, match="with seed=3 already, got 4"):
        tuner(tmp_path, seed=4)


def test_only_the_best_checkpoints_are_kept(tmp_path):
    search = tuner(tmp_path, max_trials=7, keep_checkpoints=2)
    search.search(**fit_arguments())
    files = {path.name for path in search.checkpoints.folder.iterdir()}
    assert files == {search.checkpoints.path(trial.number).name for trial in search.get_best_trials(2)}
    assert len(search.get_best_models(2)) == 2
    with pytest.raises(kt.FatalError, match=r"no weights of trial \d.* \(keep_checkpoints\) are kept"):
        search.get_best_models(3)


def test_a_model_that_is_built_by_the_data(tmp_path):
    def late(hp):
        model = Sequential([LSTM(hp.Int("units", 2, 4)), Dense(1)])
        model.compile(optimizer="sgd", loss="mse")
        return model

    search = tuner(tmp_path, hypermodel=late, max_trials=2)
    x, y = tuner_case.X[:, :, None], tuner_case.Y
    search.search(x[:32], y[:32], validation_data=(x[32:], y[32:]), verbose=0)
    (model,) = search.get_best_models()
    assert model.evaluate(x[32:], y[32:], verbose=0) == pytest.approx(search.get_best_trials()[0].score, rel=1e-5)


# Failures.


NO = RuntimeError("no")


def failing(at, error=NO, times=10**6):
    """A score of `number`, a count of the trials; those in `at` fail so many times."""
    seen = {}

    def function(hp):
        number = hp.Int("number", 0, 99)
        seen[number] = seen.get(number, 0) + 1
        if len(seen) - 1 in at and seen[number] <= times:  # the first is the tuner's own
            if isinstance(error, float):
                return error
            raise error
        return float(number)

    return Function(function), seen


@pytest.mark.parametrize("error", [RuntimeError("no"), math.nan, math.inf])
def test_failed_trials_are_counted_and_passed_over(tmp_path, error):
    hypermodel, _ = failing({2, 4}, error)
    search = tuner(tmp_path, hypermodel=hypermodel)
    search.search(verbose=0)
    assert [trial.status for trial in search.trials] == ["COMPLETED", "FAILED"] * 2 + ["COMPLETED"] * 2
    assert ("no" if isinstance(error, RuntimeError) else f"val_loss is {error}") in search.trials[1].message
    assert search.trials[1].score is None
    assert [trial.state.name for trial in search.study.trials].count("FAIL") == 2
    assert len(search.get_best_trials(9)) == 4


def test_failed_trials_are_retried(tmp_path):
    hypermodel, seen = failing({2, 4}, times=2)
    search = tuner(tmp_path, hypermodel=hypermodel, max_retries_per_trial=2)
    search.search(verbose=0)
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 6
    assert sorted(seen.values())[-2:] == [3, 3]
    hypermodel, seen = failing({2}, times=3)
    search = tuner(tmp_path / "more", hypermodel=hypermodel, max_retries_per_trial=2)
    search.search(verbose=0)
    assert search.trials[1].status == "FAILED"


def test_a_trial_that_says_so_is_not_retried(tmp_path):
    hypermodel, seen = failing({2}, kt.FailedTrialError("too large"))
    search = tuner(tmp_path, hypermodel=hypermodel, max_retries_per_trial=5)
    search.search(verbose=0)
    assert search.trials[1].status == "FAILED"
    assert max(seen.values()) == 1


@fork_warning
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_of_nothing_but_failures_says_so(tmp_path, jobs):
    def function(hp):
        if failing:
            raise ValueError("bad units")
        return hp.Float("x", 0, 1)

    failing = False
    search = tuner(tmp_path, hypermodel=Function(function), max_trials=2)
    failing = True
    with pytest.raises(RuntimeError, match=r"(?s)none of 2 trials has completed, 2 have failed, .*bad units"):
        search.search(verbose=0, n_jobs=jobs)
    failing = False
    search = tuner(tmp_path, hypermodel=Function(function), max_trials=3)
    search.search(verbose=0)
    assert [trial.status for trial in search.trials] == ["FAILED", "FAILED", "COMPLETED"]


def test_too_many_failures_in_a_row_end_the_search(tmp_path):
    hypermodel, _ = failing({2, 4, 5}, ValueError("bad units"))
    search = tuner(tmp_path, hypermodel=hypermodel, max_consecutive_failed_trials=2)
    with pytest.raises(RuntimeError, match=r"(?s)2 trials in a row have failed.*bad units") as raised:
        search.search(verbose=0)
    assert isinstance(raised.value.__cause__, ValueError)
    assert [trial.status for trial in search.trials] == ["COMPLETED", "FAILED", "COMPLETED", "FAILED", "FAILED"]


def test_what_can_never_work_ends_the_search_and_its_trial_is_done_again(tmp_path):
    search = tuner(tmp_path)
    with pytest.raises(kt.FatalError, match=r"there is no objective 'val_loss' in: .*: pass validation_data"):
        search.search(tuner_case.X, tuner_case.Y, verbose=0)
    search.search(**fit_arguments())
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 6
    whole = tuner(tmp_path / "whole")
    whole.search(**fit_arguments())
    assert values(search) == values(whole)


def test_an_interrupt_at_the_keyboard(tmp_path):
    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    search = tuner(tmp_path)
    for _ in range(5):  # more often than a trial may be killed
        with pytest.raises(KeyboardInterrupt):
            search.search(**fit_arguments(callbacks=[LambdaCallback(on_epoch_end=interrupt)]))
    search.search(**fit_arguments())
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 6


# Spaces.


def test_given_hyperparameters(tmp_path):
    given = kt.HyperParameters()
    given.Int("units", 20, 21)
    given.Fixed("dropout", 0.5)
    search = tuner(tmp_path, hyperparameters=given)
    search.search(**fit_arguments())
    assert {hp["units"] for hp in values(search)} == {20, 21}
    assert {hp["optimizer"] for hp in values(search)} == {"sgd", "adam"}
    assert {hp["dropout"] for hp in values(search)} == {0.5}
    search = tuner(tmp_path / "2", hyperparameters=given, tune_new_entries=False)
    search.search(**fit_arguments())
    assert sorted(hp["units"] for hp in values(search)) == [20, 21]  # there are no others
    assert {hp["optimizer"] for hp in values(search)} == {"sgd"}
    with pytest.raises(kt.FatalError, match=r"asks for a hyperparameter 'optimizer' .*\(units, dropout\)"):
        tuner(tmp_path / "3", hyperparameters=given, allow_new_entries=False)
    with pytest.raises(ValueError, match="expected hyperparameters along with tune_new_entries"):
        tuner(tmp_path / "4", allow_new_entries=False)


def test_batch_size_and_epochs(tmp_path):
    seen = []

    class Model(kt.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            kwargs["batch_size"] = hp.Choice("batch_size", [8, 16])
            history = model.fit(*args, **kwargs)
            seen.append((kwargs["batch_size"], history.epoch[-1] + 1))
            return history

    search = tuner(tmp_path, hypermodel=Model())
    search.search(**fit_arguments(epochs=lambda hp: hp.Int("epochs", 1, 3)))
    assert [(hp["batch_size"], hp["epochs"]) for hp in values(search)] == seen
    assert len({batch for batch, _ in seen}) == 2
    assert len({epochs for _, epochs in seen}) > 1
    assert [p.name for p in search.space] == ["units", "optimizer", "epochs", "batch_size"]


def test_a_tuner_of_ones_own(tmp_path):
    class Own(kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Int("batch_size", 8, 24, step=8)
            return super().run_trial(trial, *args, **kwargs)

    search = Own(build, "val_loss", max_trials=4, seed=1, directory=tmp_path)
    search.search(**fit_arguments())
    assert {hp["batch_size"] for hp in values(search)} <= {8, 16, 24}
    assert len(search.get_best_models()) == 1

    class WithoutModel(kt.RandomSearch):
        def run_trial(self, trial, offset):
            return (trial.hyperparameters.Float("x", -1, 1) - offset) ** 2

    search = WithoutModel(max_trials=20, seed=1, directory=tmp_path / "2")
    search.search(0.25)
    assert abs(search.get_best_hyperparameters()[0]["x"] - 0.25) < 0.2
    assert search.goal.name == "default_objective"


def test_callbacks_are_new_for_each_execution(tmp_path):
    stopping = EarlyStopping("val_loss", patience=0, min_delta=1e9)
    search = tuner(tmp_path, max_trials=2, executions_per_trial=2)
    ran = []
    count = LambdaCallback(on_train_end=lambda logs: ran.append(logs))
    search.search(**fit_arguments(epochs=5, callbacks=[stopping, count]))
    assert len(ran) == 4
    assert stopping.best is None
    assert all(epoch <= 2 for trial in search.trials for epoch in trial.epochs)


def test_trials_that_a_program_puts_into_the_study(tmp_path):
    search = tuner(tmp_path, max_trials=3)
    search.study.enqueue_trial({"units": 5, "optimizer": "adam"})
    search.search(**fit_arguments())
    assert values(search)[0] == {"units": 5, "optimizer": "adam"}
    assert len(values(search)) == 3


# What is shown.


def test_what_is_printed(tmp_path, capfd):
    search = tuner(tmp_path, max_trials=2, executions_per_trial=2)
    search.search(**fit_arguments())
    assert capfd.readouterr() == ("", "")
    search.search_space_summary()
    search.results_summary()
    printed = capfd.readouterr().out
    assert "  units: Int 1 ... 8, default 1\n  optimizer: Choice of 'sgd', 'adam', default 'sgd'\n" in printed
    best = search.get_best_trials()[0]
    assert f"Trial {best.number}\n  units: {best.hyperparameters['units']}\n" in printed
    assert f"  score: {best.score}   of {best.scores[0]:.6g}, {best.scores[1]:.6g}\n" in printed
    assert printed.index(f"Trial {best.number}\n") < printed.index(f"Trial {1 - best.number}\n")
    search = tuner(tmp_path, max_trials=3)
    search.search(**fit_arguments(verbose=2))
    out, err = capfd.readouterr()
    assert out.startswith("Trial 2 (3 of 3) starts\nEpoch 1/2")
    assert f"Trial 2: units={values(search)[2]['units']}, optimizer=" in out
    assert "; best so far" in out
    assert err == ""
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def conditional(hp):
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", "b"):
        depth = hp.Int("depth", 1, 3)
    return 1.0 if kind == "a" else float(depth)


def test_results_dataframe(tmp_path):
    pytest.importorskip("pandas", reason="needs pandas")
    search = kt.GridSearch(Function(conditional), directory=tmp_path)
    assert list(search.results_dataframe()) == ["trial", "status", "score"]
    search.search()
    frame = search.results_dataframe()
    assert list(frame["kind"]) == ["a", "b", "b", "b"]
    assert frame["depth"].isna().tolist() == [True, False, False, False]
    assert frame["depth"].tolist()[1:] == [1, 2, 3]
    assert frame["score"].tolist() == [1, 1, 2, 3]
    search = tuner(tmp_path / "more", max_trials=2, executions_per_trial=2)
    search.search(**fit_arguments())
    frame = search.results_dataframe()
    assert np.allclose((frame["score_1"] + frame["score_2"]) / 2, frame["score"])
    assert {"best_epoch", "seconds", "val_loss", "val_mae", "units", "optimizer"} <= set(frame.columns)


def test_without_pandas_an_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"results_dataframe needs pandas: pip install"):
        tuner(tmp_path).results_dataframe()


def test_optuna_can_read_the_study(tmp_path):
    search = tuner(tmp_path, max_trials=8)
    search.search(**fit_arguments())
    file = search.project_dir / "study.db"
    study = optuna.load_study(study_name="untitled_project", storage=f"sqlite:///{file}")
    assert study.best_value == search.get_best_trials()[0].score
    assert study.best_params == search.get_best_hyperparameters()[0].values
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        importances = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    assert set(importances) == {"units", "optimizer"}
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, the extra [plot]")
    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = optuna.visualization.matplotlib.plot_optimization_history(search.study)
    points = axes.collections[0].get_offsets()
    assert np.allclose(points[:, 1], [trial.score for trial in search.trials])
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"hypermodel": 3},
            TypeError,
            "RandomSearch: expected hypermodel to be a function of hp or a HyperModel, got 3",
        ),
        ({"hypermodel": kt.HyperModel}, TypeError, "got the class HyperModel; call it"),
        ({"hypermodel": None}, ValueError, "expected a hypermodel, or a subclass that defines run_trial"),
        ({"hypermodel": lambda hp: 3}, kt.FatalError, "expected the hypermodel to return a model, got int"),
        ({"max_trials": 0}, ValueError, "expected max_trials to be an integer from 1 on, got 0"),
        ({"executions_per_trial": 1.5}, ValueError, "expected executions_per_trial to be an integer"),
        ({"max_retries_per_trial": -1}, ValueError, "expected max_retries_per_trial to be an integer from 0 on"),
        ({"hyperparameters": {}}, TypeError, "expected hyperparameters to be HyperParameters"),
        ({"seed": "x"}, TypeError, "expected seed to be an integer"),
        ({"project_name": ""}, TypeError, "expected project_name to be a name"),
        ({"tries": 3}, TypeError, "tries"),
    ],
)
def test_bad_arguments(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        tuner(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())

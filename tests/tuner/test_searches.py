"""Which hyperparameters each search tries, and which trials it gives up."""

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")

from tuner_case import Function, build, fit_arguments, values  # noqa: E402

import fusedlstm.tuner as kt  # noqa: E402


def memory():
    """For searches of which nothing has to stay: a trial in a file takes several times as long."""
    return optuna.storages.InMemoryStorage()


def test_random_search_tries_nothing_twice_and_ends_with_the_space(tmp_path):
    hypermodel = Function(lambda hp: hp.Int("a", 1, 3) + hp.Boolean("b"))
    search = kt.RandomSearch(hypermodel, max_trials=20, seed=1, storage=memory(), directory=tmp_path)
    search.search(verbose=0)
    assert sorted((hp["a"], hp["b"]) for hp in values(search)) == [(a, b) for a in (1, 2, 3) for b in (False, True)]


def branches(hp):
    """Without a scope, so that no one knows of `depth` and `width` until `kind` is b."""
    if hp.Choice("kind", ["a", "b"]) == "a":
        return hp.Float("rate", 0, 1, step=0.5)
    if hp.Int("depth", 1, 2) == 2:
        return hp.Fixed("width", 3)
    return float(hp.Int("size", 1, 2) + 10 * hp.Boolean("flag"))


def test_grid_search_takes_each_combination_once(tmp_path):
    search = kt.GridSearch(Function(branches), storage=memory(), directory=tmp_path)
    search.search(verbose=0)
    assert values(search) == [
        {"kind": "a", "rate": 0.0},
        {"kind": "a", "rate": 0.5},
        {"kind": "a", "rate": 1.0},
        {"kind": "b", "depth": 1, "size": 1, "flag": False},
        {"kind": "b", "depth": 1, "size": 1, "flag": True},
        {"kind": "b", "depth": 1, "size": 2, "flag": False},
        {"kind": "b", "depth": 1, "size": 2, "flag": True},
        {"kind": "b", "depth": 2, "width": 3},
    ]
    assert [trial.score for trial in search.trials] == [0, 0.5, 1, 1, 11, 2, 12, 3]


def test_grid_search_of_all_samplings(tmp_path):
    def function(hp):
        hp.Float("rate", 1e-3, 1.0, sampling="log")
        hp.Int("units", 8, 32, step=2, sampling="reverse_log")
        return 0.0

    search = kt.GridSearch(Function(function), storage=memory(), directory=tmp_path)
    search.search(verbose=0)
    rates = sorted({hp["rate"] for hp in values(search)})
    assert np.allclose(np.diff(np.log(rates)), np.log(1000) / 9)
    assert len(search.trials) == 30
    assert {hp["units"] for hp in values(search)} == {8, 24, 32}


def test_grid_search_stops_at_max_trials_and_resumes(tmp_path):
    for most in (3, 5, None):
        search = kt.GridSearch(Function(branches), max_trials=most, directory=tmp_path)
        search.search(verbose=0)
        assert len(search.trials) == (most or 8)
    assert len({str(hp) for hp in values(search)}) == 8


def bowl(hp):
    x, y = hp.Float("x", -5, 5), hp.Float("y", -5, 5)
    return (x - 1.5) ** 2 + (y + 2) ** 2


def test_bayesian_optimization_finds_more_than_chance(tmp_path):
    best = {}
    for kind in (kt.RandomSearch, kt.BayesianOptimization):
        found = []
        for seed in range(2):
            search = kind(Function(bowl), max_trials=25, seed=seed, storage=memory(), directory=tmp_path)
            search.search(verbose=0)
            found.append(search.get_best_trials()[0].score)
        best[kind] = np.mean(found)
    assert best[kt.BayesianOptimization] < 0.5 * best[kt.RandomSearch]


def test_bayesian_optimization_is_repeatable_also_across_a_break(tmp_path):
    found = []
    for parts in ((16,), (9, 16)):
        storage = memory()
        for most in parts:
            search = kt.BayesianOptimization(
                Function(bowl), max_trials=most, seed=1, num_initial_points=4, storage=storage, directory=tmp_path
            )
            search.search(verbose=0)
        found.append(values(search))
    assert found[0] == found[1]


def test_a_sampler_of_ones_own(tmp_path):
    sampler = optuna.samplers.RandomSampler(seed=1)
    search = kt.BayesianOptimization(Function(bowl), max_trials=4, sampler=sampler, directory=tmp_path)
    search.search(verbose=0)
    assert len(search.trials) == 4
    with pytest.raises(ValueError, match="expected sampler 'tpe', 'gp' or an Optuna sampler, got 'cma'"):
        kt.BayesianOptimization(Function(bowl), sampler="cma", directory=tmp_path)


def test_hyperband(tmp_path):
    """The rate decides all from the first epoch on."""

    def rated(hp):
        model = build(hp)
        model.optimizer.learning_rate = hp.Float("rate", 1e-4, 0.3, sampling="log")
        return model

    search = kt.Hyperband(rated, "val_loss", max_epochs=9, factor=3, seed=1, storage=memory(), directory=tmp_path)
    assert search.max_trials == 9 + 5 + 3
    search.search(**fit_arguments(epochs=100))
    found = search.trials
    assert len(found) == 17
    frozen = {trial.user_attrs["number"]: trial for trial in search.study.trials}
    status = [trial.status for trial in found]
    assert set(status) == {"COMPLETED", "PRUNED"}
    for trial in found:
        steps = sorted(frozen[trial.number].intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) == 9 if trial.status == "COMPLETED" else len(steps) in (1, 3)
    epochs = sum(len(trial.intermediate_values) for trial in frozen.values())
    assert epochs < 0.75 * 17 * 9
    pruned = [trial.hyperparameters["rate"] for trial in found if trial.status == "PRUNED"]
    assert search.get_best_hyperparameters()[0]["rate"] > np.median(pruned)
    assert len(search.get_best_models()) == 1


@pytest.mark.parametrize(
    ("arguments", "most"), [({}, 143), ({"max_epochs": 27, "hyperband_iterations": 2}, 2 * (27 + 12 + 6 + 4))]
)
def test_hyperband_starts_as_many_trials_as_the_paper(tmp_path, arguments, most):
    """Li et al. 2018, table 1: brackets of 27, 12 (there 9), 6 and 4 for R = 27, rounded up as in their algorithm."""
    assert kt.Hyperband(build, "val_loss", directory=tmp_path, **arguments).max_trials == most


def test_hyperband_needs_an_objective(tmp_path):
    with pytest.raises(ValueError, match="Hyperband: expected an objective, by which trials are pruned, got None"):
        kt.Hyperband(Function(bowl), directory=tmp_path)
    with pytest.raises(TypeError, match="expected pruner to be left out"):
        kt.Hyperband(build, "val_loss", directory=tmp_path, pruner=optuna.pruners.MedianPruner())


def test_a_pruner_with_another_search(tmp_path):
    pruner = optuna.pruners.ThresholdPruner(upper=-1.0)  # every loss is above
    search = kt.RandomSearch(build, "val_loss", max_trials=2, pruner=pruner, directory=tmp_path)
    search.search(**fit_arguments())
    assert [trial.status for trial in search.trials] == ["PRUNED", "PRUNED"]
    assert search.get_best_trials() == []

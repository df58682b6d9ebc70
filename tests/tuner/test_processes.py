"""Searches of several processes, killed ones, and what a search leaves in memory."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")

import tuner_case  # noqa: E402
from tuner_case import Killed, build, fit_arguments, tuner, values  # noqa: E402

import fusedlstm  # noqa: E402
import fusedlstm.tuner as kt  # noqa: E402

HERE = Path(__file__).parents[1]
fork_warning = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def python(*arguments, **more):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments], env=environment, stdout=subprocess.PIPE, text=True, **more
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The search that nothing interrupts."""
    search = tuner(tmp_path_factory.mktemp("whole"))
    search.search(**fit_arguments())
    return search


def same(search, whole):
    assert values(search) == values(whole)
    assert [trial.scores for trial in search.trials] == [trial.scores for trial in whole.trials]
    assert {path.name for path in search.checkpoints.folder.iterdir()} == {
        path.name for path in whole.checkpoints.folder.iterdir()
    }


def test_a_killed_search_goes_on(tmp_path, whole):
    """At its fourth trial: the three are not repeated, and what it ends with is what no kill would have changed."""
    with python(HERE / "tuner_case.py", str(tmp_path), "3") as process:
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    search = tuner(tmp_path)
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 3 + ["RUNNING"]
    finished = [trial.seconds for trial in search.trials[:3]]
    with python(HERE / "tuner_case.py", str(tmp_path), "3") as process:
        process.wait(60)
    assert process.returncode == 0
    assert [trial.seconds for trial in search.trials[:3]] == finished
    assert [trial.status for trial in search.trials] == ["COMPLETED"] * 6
    states = [trial.state.name for trial in search.study.trials]
    assert (states.count("COMPLETE"), states.count("FAIL"), len(states)) == (6, 1, 7)
    same(search, whole)
    assert list((search.project_dir / "processes").iterdir()) == []


def test_a_trial_that_kills_every_process_is_given_up(tmp_path):
    always = "import tuner_case, sys; tuner_case.os.path.exists = lambda path: False; "
    always += "import fusedlstm.tuner.work as work; work.INTERRUPTIONS = 1; "
    program = always + "tuner_case.tuner(sys.argv[1], hypermodel=tuner_case.Killed(sys.argv[1] + '/x', 0))"
    codes = []
    for _ in range(3):
        with python("-c", program + ".search(**tuner_case.fit_arguments(), n_jobs=1)", str(tmp_path)) as process:
            process.wait(60)
        codes.append(process.returncode)
    # Each next trial kills its process as well; after the first one's second time, the second has its turn.
    assert codes == [-signal.SIGKILL] * 3
    search = tuner(tmp_path)
    assert [trial.status for trial in search.trials] == ["FAILED", "RUNNING"]
    assert search.trials[0].message == "its process was killed"


@fork_warning
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_parallel_trials_are_those_of_one_process(tmp_path, whole, method, monkeypatch):
    context = multiprocessing.get_context(method)
    monkeypatch.setattr(multiprocessing, "get_context", lambda: context)
    monkeypatch.syspath_prepend(str(HERE))
    search = tuner(tmp_path)
    search.search(**fit_arguments(), n_jobs=2)
    same(search, whole)
    assert len(search.get_best_models(2)) == 2


class Slow(kt.HyperModel):
    """Says in its score which process and how many threads it had."""

    def build(self, hp):
        hp.Int("a", 1, 100)
        return tuner_case.Function(lambda hp: 0.0).build(hp)

    def fit(self, hp, model, callbacks=None, verbose=0):
        time.sleep(0.1)
        return {"val_loss": hp["a"], "process": os.getpid(), "threads": fusedlstm.get_num_threads()}


@fork_warning
def test_processes_share_trials_and_threads(tmp_path):
    search = tuner(tmp_path, hypermodel=Slow(), max_trials=8)
    threads = fusedlstm.get_num_threads()
    fusedlstm.set_num_threads(4)
    try:
        search.search(n_jobs=2, verbose=0)
    finally:
        fusedlstm.set_num_threads(0)
    metrics = [trial.metrics for trial in search.trials]
    assert len({metric["process"] for metric in metrics}) == 2
    assert os.getpid() not in {metric["process"] for metric in metrics}
    assert {metric["threads"] for metric in metrics} == {2}
    assert len({hp["a"] for hp in values(search)}) == 8
    assert fusedlstm.get_num_threads() == threads


@fork_warning
def test_grid_search_in_parallel_takes_each_combination_once(tmp_path):
    def function(hp):
        if hp.Choice("kind", ["a", "b"]) == "a":
            return hp.Int("depth", 1, 3)
        time.sleep(0.01)
        return hp.Int("width", 1, 4) + hp.Boolean("flag")

    search = kt.GridSearch(tuner_case.Function(function), directory=tmp_path)
    search.search(n_jobs=3, verbose=0)
    assert len(search.trials) == 3 + 8
    assert len({str(hp) for hp in values(search)}) == 11


@fork_warning
def test_a_killed_process_of_several(tmp_path, whole):
    search = tuner(tmp_path, hypermodel=Killed(str(tmp_path / "killed"), 1))
    with pytest.warns(UserWarning, match="a process was lost with exit code -9"):
        search.search(**fit_arguments(), n_jobs=2)
    same(search, whole)


@fork_warning
def test_an_error_in_a_process_is_the_searchs(tmp_path):
    search = tuner(tmp_path, hypermodel=build)
    with pytest.raises(kt.FatalError, match="there is no objective 'val_loss'"):
        search.search(tuner_case.X, tuner_case.Y, verbose=0, n_jobs=2)


def test_what_cannot_be_pickled_is_said(tmp_path, monkeypatch):
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda: spawn)
    search = tuner(tmp_path, hypermodel=lambda hp: build(hp))
    with pytest.raises(TypeError, match="expected hypermodel, data and callbacks to be picklable for n_jobs > 1"):
        search.search(**fit_arguments(), n_jobs=2)


def test_storages_of_a_programs_own(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    for machine in ("one", "two"):  # with folders of their own
        search = tuner(tmp_path / machine, storage=url, max_trials=3 if machine == "one" else 6)
        search.search(**fit_arguments())
    assert len(search.trials) == 6
    assert len(list((tmp_path / "two").rglob("*.npz"))) == 3
    assert not list(tmp_path.rglob("study.db"))
    search = tuner(tmp_path / "two", storage=url, overwrite=True)
    assert search.trials == []
    memory = optuna.storages.InMemoryStorage()
    search = tuner(tmp_path / "three", storage=memory)
    search.search(**fit_arguments())
    assert len(search.trials) == 6
    with pytest.raises(ValueError, match="expected a storage that processes can share"):
        search.search(**fit_arguments(), n_jobs=2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_over_100_trials(tmp_path):
    """Each of the models has half a megabyte of weights, as much of gradients, and buffers."""
    program = """
import sys, numpy as np, optuna
import fusedlstm.tuner as kt
from fusedlstm.layers import Dense, Input
from fusedlstm.models import Sequential

def build(hp):
    model = Sequential([Input((64,)), Dense(hp.Int("units", 1900, 1999)), Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20

class Watched(kt.RandomSearch):
    seen = []
    def run_trial(self, trial, *args, **kwargs):
        trial.hyperparameters.Int("second", 1, 10**6)
        self.seen.append(resident())
        return super().run_trial(trial, *args, **kwargs)

x, y = np.zeros((8, 64), "f"), np.zeros((8, 1), "f")
storage = optuna.storages.InMemoryStorage()
search = Watched(build, "loss", max_trials=100, seed=1, storage=storage, directory=sys.argv[1], keep_checkpoints=2)
search.search(x, y, verbose=0)
assert len(search.seen) == 100
print(max(search.seen[75:]) - max(search.seen[25:50]))
"""
    with python("-c", program, str(tmp_path)) as process:
        grown = float(process.communicate(timeout=120)[0])
    assert grown < 8, grown  # 50 models would be 33 MB


def test_optuna_is_not_imported_before_a_tuner_is_made():
    program = """
import sys
import fusedlstm, fusedlstm.models, fusedlstm.tuner as kt
assert fusedlstm.tuner is kt
kt.HyperParameters().Int("units", 1, 4)
assert "optuna" not in sys.modules
sys.modules["optuna"] = None
try:
    kt.RandomSearch(lambda hp: None, "val_loss")
except ImportError as error:
    print(error)
"""
    with python("-c", program) as process:
        assert process.communicate()[0] == 'fusedlstm.tuner needs Optuna: pip install "fusedlstm[tuner]"\n'

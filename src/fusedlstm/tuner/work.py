"""A process at a search: it takes a trial, runs it, tells how it ended, and takes the next. Imports Optuna."""

from __future__ import annotations

import contextlib
import gc
import math
import random as python_random
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import random
from fusedlstm.tuner import owners, results
from fusedlstm.tuner.errors import FailedTrialError, FatalError
from fusedlstm.tuner.objective import Run, mean
from fusedlstm.tuner.studies import FrozenTrial, TrialHyperParameters, TrialState, optuna, quiet, seed_of
from fusedlstm.tuner.training import kept, train
from fusedlstm.tuner.trial import Trial
from fusedlstm.tuner.watching import leave_with_parent

if TYPE_CHECKING:
    from fusedlstm.tuner.tuner import Tuner

# How often a trial is done again whose process was killed. One that needs too much memory kills every process.
INTERRUPTIONS = 3
POLL = 0.05  # seconds


def work(tuner: Tuner, args: tuple[Any, ...], kwargs: dict[str, Any], shown: bool) -> None:
    """Do trials until there are no more."""
    _ = tuner.study  # opened in a turn of its own
    with quiet(), owners.owner(tuner.project_dir) as me:
        with owners.turn(tuner.project_dir):
            _tidy(tuner, me)
        while True:
            leave_with_parent()
            with owners.turn(tuner.project_dir):
                taken, more = _take(tuner, me)
            if taken is not None:
                try:
                    _run(tuner, taken, args, kwargs, shown)
                finally:
                    taken = None
                    gc.collect()  # a model is a ring of references, which stay until Python looks for them
            elif not more:
                return
            else:
                time.sleep(POLL)


def _tidy(tuner: Tuner, me: str) -> None:
    """Remove what processes left that were killed."""
    running = tuner.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    needed = {trial.user_attrs.get("owner") for trial in running}
    dead = [name for name in owners.names(tuner.project_dir) if owners.is_dead(tuner.project_dir, name)]
    for name in dead:
        if name not in needed:
            owners.forget(tuner.project_dir, name)
    if set(owners.names(tuner.project_dir)) <= {me, *dead}:
        tuner.checkpoints.remove_unfinished()


def left_over(tuner: Tuner) -> bool:
    """Whether there are trials that wait, or whose process was killed."""
    with quiet():
        trials = tuner.study.get_trials(deepcopy=False)
    return any(trial.state == TrialState.WAITING or _is_interrupted(tuner, trial) for trial in trials)


def _take(tuner: Tuner, me: str) -> tuple[optuna.Trial | None, bool]:
    """The next trial; or None, and whether there may be one later."""
    study = tuner.study
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_interrupted(tuner, trial):
            _do_again(tuner, trial)
    trials = study.get_trials(deepcopy=False)
    number = len({trial.user_attrs["number"] for trial in trials if "number" in trial.user_attrs})
    waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
    if waiting is None or "number" not in waiting.user_attrs:  # a program may put trials into the study itself
        if tuner.max_trials is not None and number >= tuner.max_trials:
            return None, False
        if waiting is None:
            parameters = tuner._propose(trials, number)
            if parameters is None:
                return None, any(_is_running_here(tuner, trial) for trial in trials)
            study.enqueue_trial(parameters, user_attrs={"number": number, "owner": me})
    taken = study.ask()
    if "number" not in taken.user_attrs:
        taken.set_user_attr("number", number)
    if taken.user_attrs.get("owner") != me:
        taken.set_user_attr("owner", me)
    return taken, True


def _is_interrupted(tuner: Tuner, trial: FrozenTrial) -> bool:
    name = trial.user_attrs.get("owner")
    return trial.state == TrialState.RUNNING and name is not None and owners.is_dead(tuner.project_dir, name)


def _is_running_here(tuner: Tuner, trial: FrozenTrial) -> bool:
    name = trial.user_attrs.get("owner")
    return trial.state == TrialState.RUNNING and name is not None and owners.is_alive(tuner.project_dir, name)


def _do_again(tuner: Tuner, trial: FrozenTrial) -> None:
    """End a trial whose process ended, and put one of the same number and hyperparameters into the study."""
    name, number = trial.user_attrs["owner"], trial.user_attrs["number"]
    interrupted = trial.user_attrs.get("interrupted", 0) + owners.was_killed(tuner.project_dir, name)
    later = tuner.study.get_trials(deepcopy=False)[trial.number + 1 :]
    if interrupted <= INTERRUPTIONS and not any(other.user_attrs.get("number") == number for other in later):
        tuner.study.enqueue_trial(
            {**trial.system_attrs.get("fixed_params", {}), **trial.params},
            user_attrs={**trial.user_attrs, "interrupted": interrupted},
        )
    tuner.study.tell(trial.number, state=TrialState.FAIL)
    owners.forget(tuner.project_dir, name)


def _run(tuner: Tuner, taken: optuna.Trial, args: tuple[Any, ...], kwargs: dict[str, Any], shown: bool) -> None:
    """Run a trial, again if it fails and that is wanted, and tell the study how it ended."""
    started = time.perf_counter()
    reported: set[int] = set()

    def report(epoch: int, value: float) -> bool:
        if epoch not in reported:
            reported.add(epoch)
            taken.report(value, epoch)
        return taken.should_prune()

    number: int = taken.user_attrs["number"]
    trial = Trial(number, TrialHyperParameters(taken, tuner.hyperparameters, tuner.allow_new, tuner.tune_new))
    trial._report = report if tuner.prunes else None
    if shown:
        results.show_start(tuner, trial)
    cause: Exception | None = None
    for attempt in range(tuner.max_retries + 1):
        trial._attempt, trial._best = attempt, None
        try:
            with kept(args, kwargs):
                runs = tuner.goal.judge(tuner.run_trial(trial, *args, **kwargs))
            trial.scores = [run.score for run in runs]
            if not all(map(math.isfinite, trial.scores)):
                raise ValueError(f"{tuner.goal.name} is {trial.scores if len(runs) > 1 else trial.scores[0]}")
            trial.score, trial.metrics = mean(runs)
            trial.epochs = [run.epoch for run in runs]
            trial.status = "COMPLETED"
            break
        except optuna.TrialPruned:
            trial.status = "PRUNED"
            break
        except FatalError:
            raise
        except Exception as error:
            trial.status, trial.scores, cause = "FAILED", [], error
            trial.message = traceback.format_exc()
            if isinstance(error, FailedTrialError):
                break
    trial.seconds = time.perf_counter() - started
    tuner._learn(trial.hyperparameters.space)
    _finish(tuner, taken, trial)
    if shown:
        results.show_end(tuner, trial)
    if trial.status == "FAILED":
        _check_failures(tuner, cause)


def _finish(tuner: Tuner, taken: optuna.Trial, trial: Trial) -> None:
    """Write down a trial's end. Killed in the middle of this, it is an interrupted trial."""
    taken.set_user_attr("values", trial.hyperparameters.values)
    taken.set_user_attr("seconds", trial.seconds)
    if trial.status == "FAILED":
        taken.set_user_attr("message", trial.message)
        tuner.study.tell(taken, state=TrialState.FAIL)
        return
    if trial.status == "PRUNED":
        tuner.study.tell(taken, state=TrialState.PRUNED)
        return
    for name in ("scores", "metrics", "epochs"):
        taken.set_user_attr(name, getattr(trial, name))
    model = trial._best[1] if trial._best else None
    if model is not None:
        shape = getattr(model, "batch_input_shape", None)
        if shape is not None:
            taken.set_user_attr("input_shape", shape)
        tuner.checkpoints.save(trial.number, model)
    with owners.turn(tuner.project_dir):  # none is removed that another process has just saved
        tuner.study.tell(taken, trial.score)
        every = results.trials(tuner.study)
        best = results.best_trials(tuner.goal, every)[: tuner.keep_checkpoints]
        running = [other.number for other in every if other.status == "RUNNING"]
        tuner.checkpoints.keep_only([other.number for other in best] + running)


def _check_failures(tuner: Tuner, cause: Exception | None) -> None:
    """RuntimeError if the last trials to end have all failed."""
    ended = [trial for trial in results.frozen_trials(tuner.study) if trial.datetime_complete is not None]
    last = sorted(ended, key=lambda trial: str(trial.datetime_complete))[-tuner.max_failures :]
    if len(last) == tuner.max_failures and all(trial.state == TrialState.FAIL for trial in last):
        raise RuntimeError(
            f"{tuner.label}: {len(last)} trials in a row have failed (max_consecutive_failed_trials), the last one "
            f"by:\n{last[-1].user_attrs.get('message', 'its process was killed')}"
        ) from cause


def check_any_completed(tuner: Tuner) -> None:
    """RuntimeError if trials have failed, and none has completed or may do so yet."""
    ended = results.trials(tuner.study)
    failed = [trial for trial in ended if trial.status == "FAILED"]
    if failed and all(trial.status in ("FAILED", "PRUNED") for trial in ended):
        raise RuntimeError(
            f"{tuner.label}: none of {len(ended)} trials has completed, {len(failed)} have failed, the last one "
            f"by:\n{failed[-1].message}"
        )


@contextlib.contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Everything that is drawn inside depends on these numbers alone; what is drawn afterwards, on what was before."""
    python, legacy = python_random.getstate(), np.random.get_state()  # noqa: NPY002 - set_random_seed seeds it
    sequence = random._base, random._counter
    random.set_random_seed(seed_of(*parts))
    try:
        yield
    finally:
        python_random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        random._base, random._counter = sequence


def execute(tuner: Tuner, trial: Trial, folds: list[Any]) -> list[Run]:
    """The executions of a trial, each over all folds; leaves the best one's model in `trial._best`.

    Of several folds it is the last, which has learned from the most data.
    """
    runs: list[Run] = []
    for execution in range(tuner.executions_per_trial):
        for fold, (args, kwargs) in enumerate(folds):
            first = not runs and trial._attempt == 0
            with seeded(tuner.seed, trial.number, trial._attempt, execution, fold), kept(args, kwargs):
                run, model = train(tuner, trial, args, kwargs, trial._report if first else None)
            runs.append(run)
            last = fold == len(folds) - 1
            if last and (trial._best is None or tuner.goal.better(run.score, trial._best[0])):
                trial._best = (run.score, model)
    return runs

"""One execution of a trial: build the model, train it, keep its best epoch."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fusedlstm.callbacks import Callback
from fusedlstm.random import is_resumable
from fusedlstm.tuner.hypermodel import build
from fusedlstm.tuner.objective import Run
from fusedlstm.tuner.trial import Trial
from fusedlstm.tuner.watching import BestEpoch

if TYPE_CHECKING:
    from fusedlstm.tuner.tuner import Tuner


@contextlib.contextmanager
def kept(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Data that draw what they give, such as shuffled windows, draw afterwards what they would have drawn before.

    Every execution so has the same passes, in whichever process and after however many others.
    """
    given = [*args, *(value for name, value in kwargs.items() if name != "callbacks")]
    states = [(value, value.get_state()) for value in given if is_resumable(value)]
    try:
        yield
    finally:
        for value, state in states:
            value.set_state(state)


def train(
    tuner: Tuner,
    trial: Trial,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    report: Callable[[int, float], bool] | None,
) -> tuple[Run, Any]:
    """A new model for the trial's hyperparameters, trained, with the weights of its best epoch, and how it did.

    Raises
    ------
    optuna.TrialPruned
        If `report` said to stop.
    """
    hp = trial.hyperparameters
    model = build(tuner.label, tuner.hypermodel, hp)
    assert tuner.hypermodel is not None
    given = {name: value(hp) if inspect.isfunction(value) else value for name, value in kwargs.items()}
    callbacks = given.pop("callbacks", None) or []
    watch = BestEpoch(tuner.goal, report)
    # Copies, as callbacks keep what they have seen, and the next model starts anew.
    own = copy.deepcopy([callbacks] if isinstance(callbacks, Callback) else list(callbacks))
    result = tuner.hypermodel.fit(hp, model, *args, callbacks=[*own, watch], **given)
    if watch.pruned:
        from fusedlstm.tuner.studies import optuna

        raise optuna.TrialPruned
    runs = tuner.goal.judge(result)
    if len(runs) == 1:
        return watch.settle(model, runs[0]), model
    scores = [run.score for run in runs]
    best = min(runs, key=lambda run: run.score) if tuner.goal.direction == "min" else max(runs, key=lambda r: r.score)
    return best._replace(score=sum(scores) / len(scores)), model

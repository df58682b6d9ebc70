"""What a search has found, in print and as a table. Imports Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fusedlstm.tuner.hyperparameters import HyperParameters
from fusedlstm.tuner.kinds import HyperParameter
from fusedlstm.tuner.objective import Goal
from fusedlstm.tuner.studies import STATUS, FrozenTrial, TrialState, optuna
from fusedlstm.tuner.trial import Trial

if TYPE_CHECKING:
    from fusedlstm.tuner.tuner import Tuner


def frozen_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The study's trials, of one that was interrupted the last time that it was done, by their numbers."""
    found = {
        trial.user_attrs["number"]: trial for trial in study.get_trials(deepcopy=False) if "number" in trial.user_attrs
    }
    return [found[number] for number in sorted(found)]


def trials(study: optuna.Study) -> list[Trial]:
    """The study's trials as the search's."""
    return [_trial(trial) for trial in frozen_trials(study)]


def _trial(frozen: FrozenTrial) -> Trial:
    attributes = frozen.user_attrs
    hp = HyperParameters()
    hp.values = dict(attributes.get("values", {}))
    failed = frozen.state == TrialState.FAIL
    return Trial(
        number=attributes["number"],
        hyperparameters=hp,
        status=STATUS[frozen.state],
        score=frozen.value,
        scores=list(attributes.get("scores", [])),
        metrics=dict(attributes.get("metrics", {})),
        epochs=list(attributes.get("epochs", [])),
        seconds=attributes.get("seconds"),
        message=attributes.get("message", "its process was killed") if failed else "",
        input_shape=tuple(attributes["input_shape"]) if "input_shape" in attributes else None,
    )


def best_trials(goal: Goal, found: Sequence[Trial]) -> list[Trial]:
    """The completed trials, best first; of equal ones the earlier."""
    sign = 1 if goal.direction == "min" else -1
    completed = [trial for trial in found if trial.status == "COMPLETED" and trial.score is not None]
    return sorted(completed, key=lambda trial: (sign * (trial.score or 0.0), trial.number))


def _values(values: Mapping[str, Any]) -> str:
    shown = (f"{value:.4g}" if isinstance(value, float) else repr(value) for value in values.values())
    return ", ".join(f"{name}={value}" for name, value in zip(values, shown, strict=True)) or "no hyperparameters"


def show_start(tuner: Tuner, trial: Trial) -> None:
    """A line ahead of a trial; what its model will ask for may not be known yet."""
    of = "" if tuner.max_trials is None else f" of {tuner.max_trials}"
    print(f"Trial {trial.number} ({trial.number + 1}{of}) starts", flush=True)


def show_end(tuner: Tuner, trial: Trial) -> None:
    """A line after a trial."""
    line = f"Trial {trial.number}: {_values(trial.hyperparameters.values)}: "
    if trial.status == "FAILED":
        line += f"failed by {trial.message.strip().splitlines()[-1]}"
    elif trial.status == "PRUNED":
        line += "pruned"
    else:
        line += f"{tuner.goal.name} {trial.score:.6g}"
    line += f", {trial.seconds:.1f} s"
    best = best_trials(tuner.goal, trials(tuner.study))
    if best:
        line += f"; best so far {best[0].score:.6g} (trial {best[0].number})"
    print(line, flush=True)


def show_results(tuner: Tuner, number: int) -> None:
    """The best trials, one below the other."""
    found = trials(tuner.study)
    best = best_trials(tuner.goal, found)[:number]
    counts = {status: sum(trial.status == status for trial in found) for status in STATUS.values()}
    print(f"Results in {tuner.project_dir}")
    print(f"{', '.join(f'{count} {status.lower()}' for status, count in counts.items() if count) or 'no trials'}")
    print(f"The best {len(best)} by {tuner.goal}:")
    for trial in best:
        print(f"\nTrial {trial.number}")
        for name, value in trial.hyperparameters.values.items():
            print(f"  {name}: {value}")
        several = f"   of {', '.join(f'{score:.6g}' for score in trial.scores)}" if len(trial.scores) > 1 else ""
        print(f"  score: {trial.score}{several}")
    for trial in found:
        if trial.status == "FAILED":
            print(f"\nTrial {trial.number} failed: {trial.message.strip().splitlines()[-1]}")


def show_space(space: Sequence[HyperParameter]) -> None:
    """A line for each hyperparameter."""
    print(f"{len(space)} hyperparameters")
    for parameter in space:
        where = " and ".join(str(condition) for condition in parameter.conditions)
        print(f"  {parameter.name}: {parameter}, default {parameter.default!r}{f', where {where}' if where else ''}")


def table(found: Sequence[Trial]) -> Any:
    """A pandas DataFrame, a row for each trial."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("results_dataframe needs pandas: pip install pandas") from error
    runs = max((len(trial.scores) for trial in found), default=0)
    rows = []
    for trial in found:
        row: dict[str, Any] = {"trial": trial.number, "status": trial.status, "score": trial.score}
        scores = [*trial.scores, *[None] * (runs - len(trial.scores))]
        row |= {f"score_{k + 1}": score for k, score in enumerate(scores)}
        known = [epoch for epoch in trial.epochs if epoch is not None]
        row |= {"best_epoch": sum(known) / len(known) if known else None, "seconds": trial.seconds}
        row |= {name: value for name, value in trial.metrics.items() if name not in row}
        for name, value in trial.hyperparameters.values.items():
            row[f"hp/{name}" if name in row else name] = value
        rows.append(row)
    columns = dict.fromkeys(name for row in rows for name in row)
    return pandas.DataFrame(rows, columns=list(columns) or ["trial", "status", "score"])

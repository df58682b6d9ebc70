"""What is to be made small or large, and how a run is judged by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm import metrics
from fusedlstm.tuner.errors import FatalError

DIRECTIONS = ("min", "max")


class Objective:
    """A value of the epochs' logs, and which way is better.

    Parameters
    ----------
    name : str
        Such as ``"val_loss"``.
    direction : {"min", "max"}
    """

    def __init__(self, name: str, direction: str) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Objective: expected a name, got {name!r}")
        if direction not in DIRECTIONS:
            raise ValueError(f"Objective '{name}': expected direction 'min' or 'max', got {direction!r}")
        self.name = name
        self.direction = direction

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and (self.name, self.direction) == (other.name, other.direction)

    def __hash__(self) -> int:
        return hash((self.name, self.direction))

    def __repr__(self) -> str:
        return f"Objective({self.name!r}, direction={self.direction!r})"


class Run(NamedTuple):
    """How one training ended."""

    score: float
    metrics: dict[str, float]
    epoch: int | None  # the best one, counted from 1


class Goal:
    """One objective, or several as one: the sum of those to be small less those to be large.

    Parameters
    ----------
    objectives : sequence of Objective
        None of them: a float that the hypermodel's `fit` returns, to be small.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = tuple(objectives)
        self.anonymous = not objectives
        self.direction = objectives[0].direction if len(objectives) == 1 else "min"
        self.name = objectives[0].name if len(objectives) == 1 else "score" if objectives else "default_objective"

    def __str__(self) -> str:
        if len(self.objectives) <= 1:
            return f"{self.name} ({self.direction})"
        signs = ("+" if objective.direction == "min" else "-" for objective in self.objectives)
        return " ".join(f"{s} {o.name}" for s, o in zip(signs, self.objectives, strict=True)).removeprefix("+ ")

    def known(self, logs: Mapping[str, Any]) -> bool:
        """Whether the logs have all that is needed."""
        return not self.anonymous and all(objective.name in logs for objective in self.objectives)

    def value(self, logs: Mapping[str, Any]) -> float:
        """The value of an epoch; FatalError if the logs do not have it."""
        if self.anonymous:
            raise FatalError("without an objective, the hypermodel's fit has to return a float: pass objective=...")
        for objective in self.objectives:
            if objective.name not in logs:
                hint = ": pass validation_data to search()" if objective.name.startswith("val_") else ""
                raise FatalError(f"there is no objective {objective.name!r} in: {', '.join(logs) or 'nothing'}{hint}")
            if np.ndim(logs[objective.name]):
                raise FatalError(
                    f"objective {objective.name!r} has {np.size(logs[objective.name])} values: give the metric an "
                    "average, or name another objective"
                )
        if len(self.objectives) == 1:
            return float(logs[self.name])
        return float(sum(logs[o.name] if o.direction == "min" else -logs[o.name] for o in self.objectives))

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is an improvement; NaN never is, and anything is better than None or NaN."""
        if math.isnan(value):
            return False
        if than is None or math.isnan(than):
            return True
        return value < than if self.direction == "min" else value > than

    def judge(self, result: Any) -> list[Run]:
        """The runs in what a training returned: a `History`, a dict, a float, or a list of these."""
        if isinstance(result, Run):
            return [result]
        if isinstance(result, list | tuple) and result:
            return [run for part in result for run in self.judge(part)]
        if isinstance(result, int | float | np.number) and not isinstance(result, bool):
            return [Run(float(result), {self.name: float(result)}, None)]
        if isinstance(result, Mapping):
            return [Run(self.value(result), numbers(result), None)]
        if isinstance(getattr(result, "history", None), Mapping):
            return [self._best_epoch(result.history)]
        raise FatalError(
            f"expected fit to return a History, a dict of metrics or a float, got {type(result).__name__}"
            + (": return what model.fit returns" if result is None else "")
        )

    def _best_epoch(self, history: Mapping[str, Sequence[Any]]) -> Run:
        self.value(dict.fromkeys(history, 0))  # whether all are there
        epochs = len(history[self.objectives[0].name])
        # Without validation in every epoch, columns are of two lengths; those as long as the objective go with it.
        columns = {name: values for name, values in history.items() if len(values) == epochs}
        rows = [{name: values[k] for name, values in columns.items()} for k in range(epochs)]
        if not rows:
            raise FatalError("expected at least one epoch, got none")
        best = 0
        for epoch, row in enumerate(rows):
            if self.better(self.value(row), self.value(rows[best])):
                best = epoch
        every = epochs == max(len(values) for values in history.values())
        return Run(self.value(rows[best]), numbers(rows[best]), best + 1 if every else None)


def numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Those of the logs that are one number: a metric may have one for each class."""
    return {name: float(value) for name, value in logs.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def mean(runs: Sequence[Run]) -> tuple[float, dict[str, float]]:
    """The score and the metrics over several runs; those of a dict that all of them have."""
    names = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    averages = {name: float(np.mean([run.metrics[name] for run in runs])) for name in names}
    return float(np.mean([run.score for run in runs])), averages


def as_goal(owner: str, objective: Any, model: Any) -> Goal:
    """A goal from a name, an `Objective`, a list of them, or None.

    Parameters
    ----------
    owner : str
    objective : object
    model : Model or None
        Its metrics and outputs tell the direction of names.
    """
    if objective is None:
        return Goal([])
    given = list(objective) if isinstance(objective, list | tuple) else [objective]
    if not given:
        raise ValueError(f"{owner}: expected at least one objective, got none")
    found = []
    for item in given:
        if isinstance(item, Objective):
            found.append(item)
        elif isinstance(item, str):
            found.append(Objective(item, infer_direction(owner, item, model)))
        else:
            raise TypeError(f"{owner}: expected objective to be a name, an Objective or a list of them, got {item!r}")
    return Goal(found)


def infer_direction(owner: str, name: str, model: Any = None) -> str:
    """The better direction of a name in the logs, by the metric of that name; ValueError if it is not known."""
    short = name.removeprefix("val_")
    for metric in getattr(model, "metrics", ()):
        if getattr(metric, "name", None) == short and getattr(metric, "direction", None) in ("up", "down"):
            return "max" if metric.direction == "up" else "min"
    names = [short]
    outputs = sorted(getattr(model, "output_names", ()), key=len, reverse=True)
    names += [short.removeprefix(f"{output}_") for output in outputs if short.startswith(f"{output}_")]
    for candidate in names:
        if candidate == "loss":
            return "min"
        try:
            direction = metrics.get(candidate, (1, 1), (1, 1)).direction
        except (ValueError, TypeError):
            continue
        if direction in ("up", "down"):
            return "max" if direction == "up" else "min"
    raise ValueError(
        f"{owner}: cannot tell whether a larger or a smaller {name!r} is better: pass "
        f'objective=Objective({name!r}, direction="max") or "min"'
    )

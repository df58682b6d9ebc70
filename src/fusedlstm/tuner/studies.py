"""The search's memory: an Optuna study, and how hyperparameters are asked of it. Imports Optuna."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.tuner.hyperparameters import GuidedHyperParameters, HyperParameters
from fusedlstm.tuner.kinds import Choice, Fixed, HyperParameter, Number, Value

try:
    import optuna
except ImportError as error:
    raise ImportError('fusedlstm.tuner needs Optuna: pip install "fusedlstm[tuner]"') from error

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

# How a trial's state is told to the program.
STATUS = {
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETE: "COMPLETED",
    TrialState.PRUNED: "PRUNED",
    TrialState.FAIL: "FAILED",
    TrialState.WAITING: "WAITING",
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing below a warning; as it was afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def database(file: Path) -> Any:
    """A storage in an SQLite file, which stays whole when a process is killed in the middle of writing."""
    from sqlalchemy import URL, event

    url = URL.create("sqlite", database=str(file.resolve())).render_as_string(hide_password=False)
    storage = optuna.storages.RDBStorage(url)
    let_go(storage)
    event.listen(storage.engine, "connect", _write_ahead)
    return storage


def _write_ahead(connection: Any, record: Any) -> None:
    # A trial commits a dozen times. With a log ahead of the file, none has to wait for the disk: what a process that is
    # killed had committed is there; a loss of power may cost the last commits, never the file.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def let_go(storage: Any) -> None:
    """Close a database's connections; they are opened again when they are needed."""
    if hasattr(storage, "engine"):
        storage.remove_session()
        storage.engine.dispose()


def let_go_with(owner: object, storage: Any) -> None:
    """Close a database's connections when `owner` is gone."""
    weakref.finalize(owner, let_go, storage)


# Hyperparameters in Optuna's terms. What Optuna can draw only under another meaning has another name in the study,
# which says what it means, so that its plots show no wrong numbers.


class Translated:
    """A hyperparameter as Optuna draws it: its name there, its distribution, and the value of what was drawn."""

    def __init__(self, parameter: HyperParameter) -> None:
        self.name = parameter.name
        self._value: Callable[[Any], Any] = lambda drawn: drawn
        if isinstance(parameter, Choice):
            self.distribution: BaseDistribution = CategoricalDistribution(parameter.values)
            if parameter.ordered:
                self._by_index(parameter.values)
            return
        assert isinstance(parameter, Number)
        low, high, step = parameter.low, parameter.high, parameter.step
        kind: Any = IntDistribution if parameter.integer else FloatDistribution
        if step is not None and parameter.sampling != "linear":
            self._by_index(parameter.values())
        elif step is not None:
            self.distribution = kind(low, parameter.at(parameter.last), step=step)
            if not parameter.integer:
                self._value = lambda drawn: parameter.at(round((drawn - low) / step))
        else:
            self.distribution = kind(low, high, log=parameter.sampling != "linear")
            if parameter.sampling == "reverse_log":
                self.name = f"{low + high} - {self.name}"
                self._value = lambda drawn: low + high - drawn

    def _by_index(self, values: Sequence[Any]) -> None:
        self.name = f"{self.name} (index)"
        self.distribution = IntDistribution(0, len(values) - 1)
        self._value = lambda drawn: values[drawn]

    def ask(self, trial: optuna.Trial) -> Value:
        """The value in a trial, drawn by the study's sampler if the trial has none yet."""
        drawn: Any
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            drawn = trial.suggest_categorical(self.name, distribution.choices)
        elif isinstance(distribution, IntDistribution):
            drawn = trial.suggest_int(
                self.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        else:
            assert isinstance(distribution, FloatDistribution)
            drawn = trial.suggest_float(
                self.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        return self.value(drawn)

    def value(self, drawn: Any) -> Value:
        """The hyperparameter's value for what Optuna has drawn."""
        value: Value = self._value(drawn)
        return value


class TrialHyperParameters(GuidedHyperParameters):
    """Hyperparameters that a trial of the study decides.

    Parameters
    ----------
    trial : optuna.Trial
    given, allow_new
        As of `GuidedHyperParameters`.
    tune_new : bool
        Whether those that were not given are drawn; else they have their defaults.
    """

    def __init__(
        self, trial: optuna.Trial, given: HyperParameters | None, allow_new: bool = True, tune_new: bool = True
    ) -> None:
        self._trial = trial
        self._tune_new = tune_new
        super().__init__(given, allow_new)

    def _decide(self, parameter: HyperParameter) -> Value:
        if isinstance(parameter, Fixed) or not (self._tune_new or self.is_given(parameter)):
            return super()._decide(parameter)
        return Translated(parameter).ask(self._trial)

    def __deepcopy__(self, memo: Any) -> HyperParameters:
        plain = HyperParameters()
        plain.values, plain.space = dict(self.values), list(self.space)
        return plain


class SeededSampler(BaseSampler):
    """A sampler that is made anew for each trial, from the search's seed and the trial's number.

    So a trial is the same whichever process draws it, and after the search was interrupted.

    Parameters
    ----------
    make : function
        From a seed to a sampler.
    seed : int
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._sampler = make(seed_of(seed, 0))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler = self._make(seed_of(self._seed, trial.user_attrs.get("number", trial.number)))
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class FirstValueSampler(BaseSampler):
    """Always the first of the values that `grid_values` lists."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return grid_values(param_distribution)[0]


def seed_of(*parts: int) -> int:
    """A seed below 2**32 from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def drawn_at_random(space: Sequence[HyperParameter], study: optuna.Study, seed: int) -> dict[str, Any]:
    """Parameters of the study for all of a space that is active, drawn alike."""
    sampler = RandomSampler(seed=seed)
    values: dict[str, Value] = {}
    drawn: dict[str, Any] = {}
    for parameter in space:
        if parameter.name in values or not parameter.is_active(values):
            continue
        if isinstance(parameter, Fixed):
            values[parameter.name] = parameter.default
            continue
        translated = Translated(parameter)
        raw = sampler.sample_independent(study, None, translated.name, translated.distribution)  # type: ignore[arg-type]
        drawn[translated.name] = raw
        values[parameter.name] = translated.value(raw)
    return drawn


# Points of a distribution without steps in a grid.
POINTS = 10


def grid_values(distribution: BaseDistribution) -> list[Any]:
    """The values of a distribution that a grid goes through: all, or some of those that have no step."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None and not distribution.log:
        count = round((high - low) / step) + 1
        return [min(low + k * step, high) for k in range(count)]
    spaced = np.geomspace if distribution.log else np.linspace
    points = spaced(low, high, POINTS).tolist()
    points[0], points[-1] = low, high
    return sorted({round(point) for point in points} if isinstance(distribution, IntDistribution) else set(points))


def next_of_grid(trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """The first parameters of a combination that no trial has, in order; None if there is none.

    Which parameters there are is known only from the trials: those of one have an order, and each decides which come
    after it. So trials are paths in a tree, and what is returned leads to a branch that none has taken. From there on
    the first values are taken.
    """
    paths = [(trial.system_attrs.get("fixed_params", {}) | trial.params, trial.distributions) for trial in trials]
    if not paths:
        return {}

    def search(prefix: dict[str, Any], among: list[Any]) -> dict[str, Any] | None:
        name, distribution = next(
            ((name, found) for _, asked in among for name, found in asked.items() if name not in prefix), (None, None)
        )
        if name is None or distribution is None:
            return None
        for value in grid_values(distribution):
            through = [path for path in among if name in path[0] and path[0][name] == value]
            found = {**prefix, name: value} if not through else search({**prefix, name: value}, through)
            if found is not None:
                return found
        return None

    return search({}, paths)

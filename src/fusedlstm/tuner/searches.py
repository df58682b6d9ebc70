"""The searches: which hyperparameters are tried, and which trials are given up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fusedlstm.tuner.tuner import Tuner


class RandomSearch(Tuner):
    """Hyperparameters drawn at random, none twice; arguments as of `Tuner`.

    It ends before `max_trials` if it finds nothing new.
    """

    # A space of 20 combinations, one of them left, is searched to its end all but surely: 0.95**200 is 4e-5.
    _TRIES = 200

    def _sampler(self, seed: int) -> Any:
        from fusedlstm.tuner.studies import optuna

        return optuna.samplers.RandomSampler(seed=seed)

    def _propose(self, trials: Sequence[Any], number: int) -> dict[str, Any] | None:
        from fusedlstm.tuner.studies import drawn_at_random, seed_of

        before = [trial.system_attrs.get("fixed_params", {}) | trial.params for trial in trials]
        for again in range(self._TRIES):
            drawn = drawn_at_random(self._tuned_space, self.study, seed_of(self.seed, number, again))
            # Parameters that only the training asks for are not known ahead of the first trial.
            if not any(drawn.items() <= parameters.items() for parameters in before) or not drawn:
                return drawn
        return None


class BayesianOptimization(Tuner):
    """Hyperparameters that a model of the trials so far finds promising.

    Parameters
    ----------
    hypermodel, objective, max_trials, seed, **kwargs
        As of `Tuner`.
    num_initial_points : int, optional
        Trials drawn at random, ahead of the first that is not; three for each hyperparameter, but at most half of
        `max_trials`, if None.
    sampler : {"tpe", "gp"} or optuna sampler
        A tree-structured Parzen estimator (Bergstra et al. 2011), or a Gaussian process, which needs PyTorch and SciPy
        and suits few trials that take long. A sampler of your own draws as it does, whatever `seed` is.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        seed: int | None = None,
        *args: Any,
        num_initial_points: int | None = None,
        sampler: Any = "tpe",
        **kwargs: Any,
    ) -> None:
        self.label = type(self).__name__
        if num_initial_points is not None:
            self._count("num_initial_points", num_initial_points, 1)
        if isinstance(sampler, str) and sampler not in ("tpe", "gp"):
            raise ValueError(f"{self.label}: expected sampler 'tpe', 'gp' or an Optuna sampler, got {sampler!r}")
        self._initial, self._kind = num_initial_points, sampler
        super().__init__(hypermodel, objective, max_trials, seed, *args, **kwargs)

    def _sampler(self, seed: int) -> Any:
        from fusedlstm.tuner.studies import optuna

        if not isinstance(self._kind, str):
            return self._kind
        initial = self._initial
        if initial is None:
            most = 10 if self.max_trials is None else self.max_trials // 2
            initial = max(1, min(3 * len(self._tuned_space), most))
        if self._kind == "tpe":
            return optuna.samplers.TPESampler(n_startup_trials=initial, seed=seed)
        return optuna.samplers.GPSampler(n_startup_trials=initial, seed=seed)


class Hyperband(RandomSearch):
    """Many hyperparameters for few epochs, and few for many (Li et al. 2018), on Optuna's pruner.

    Trials are drawn at random and train for `max_epochs`; after a rung's epochs (1, factor, factor² ..., from where on
    differs by the trial's bracket) one goes on only if it is among the best ``1 / factor`` that came so far.

    Parameters
    ----------
    hypermodel, objective, **kwargs
        As of `Tuner`.
    max_epochs : int
        `search` trains for so many, whatever its ``epochs`` is.
    factor : int
    hyperband_iterations : int
        How often the brackets are gone through.
    max_trials : int, optional
        If None, as many as `hyperband_iterations` rounds of all brackets start with: 143 for the defaults.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        *,
        max_trials: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.label = type(self).__name__
        self.max_epochs = self._count("max_epochs", max_epochs, 1)
        self.factor = self._count("factor", factor, 2)
        iterations = self._count("hyperband_iterations", hyperband_iterations, 1)
        if "pruner" in kwargs:
            raise TypeError(f"{self.label}: expected pruner to be left out, it has its own")
        if max_trials is None:
            brackets = 1
            while factor**brackets <= max_epochs:  # not by a logarithm: that of 1000 to base 10 is below 3
                brackets += 1
            max_trials = iterations * sum(math.ceil(brackets * factor**s / (s + 1)) for s in range(brackets))
        super().__init__(hypermodel, objective, max_trials, seed, **kwargs)

    def _pruner(self) -> Any:
        from fusedlstm.tuner.studies import optuna

        return optuna.pruners.HyperbandPruner(1, self.max_epochs, self.factor)

    def _fit_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "epochs": self.max_epochs}


class GridSearch(Tuner):
    """All combinations, the last hyperparameter changing fastest; arguments as of `Tuner`.

    Of a hyperparameter without a step, ten values.

    Parameters
    ----------
    max_trials : int, optional
        None: all combinations.
    """

    def __init__(
        self, hypermodel: Any = None, objective: Any = None, max_trials: int | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(hypermodel, objective, max_trials, *args, **kwargs)

    def _sampler(self, seed: int) -> Any:
        from fusedlstm.tuner.studies import FirstValueSampler

        return FirstValueSampler()

    def _propose(self, trials: Sequence[Any], number: int) -> dict[str, Any] | None:
        from fusedlstm.tuner.studies import next_of_grid

        return next_of_grid(trials)

"""The tuner: what all searches share."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusedlstm import random
from fusedlstm.tuner import hypermodel as hypermodels
from fusedlstm.tuner import owners
from fusedlstm.tuner.checkpoints import Checkpoints
from fusedlstm.tuner.errors import FatalError
from fusedlstm.tuner.folds import arguments_of_folds, check_cross_validation
from fusedlstm.tuner.hyperparameters import GuidedHyperParameters, HyperParameters
from fusedlstm.tuner.kinds import Condition, Fixed, HyperParameter
from fusedlstm.tuner.objective import Run, as_goal
from fusedlstm.tuner.training import kept
from fusedlstm.tuner.trial import Trial


class Tuner:
    """Base of the searches: tries hyperparameters and remembers how well they did.

    All is kept in an Optuna study, in a database of the project's folder: a search that is made again, with the same
    folder and name, goes on where it ended, whether it was finished, interrupted or killed.

    Parameters
    ----------
    hypermodel : HyperModel or function
        Of `HyperParameters`, returns a compiled model. None for a subclass that defines `run_trial`.
    objective : str, Objective, or list of them, optional
        A name in the epochs' logs, such as ``"val_loss"``; of a list, the sum of those to be small less those to be
        large. A trial is judged by its best epoch. None: what the hypermodel's `fit` returns is a float, to be small.
    max_trials : int, optional
        How many hyperparameters are tried, failed ones included; None: as many as there are.
    seed : int, optional
        The same seed gives the same trials, and the same models from them; of the number of processes this is
        independent only for `RandomSearch`. None: drawn, repeatable after `set_random_seed`.
    hyperparameters : HyperParameters, optional
        Definitions that take the place of those of the same name in the model.
    tune_new_entries : bool
        Whether hyperparameters are tuned that are not in `hyperparameters`; else they have their defaults.
    allow_new_entries : bool
        Whether a model may ask for such.
    max_retries_per_trial : int
        How often a trial is run again that raised an exception, or whose objective is not finite.
    max_consecutive_failed_trials : int
        After so many failed trials in a row the search ends with an error.
    directory : str or Path
    project_name : str
        The results are in ``directory/project_name``.
    overwrite : bool
        Forget an earlier search of this name.
    executions_per_trial : int
        How many models are trained for each trial; its score is their mean.
    storage : str or optuna storage, optional
        A database's URL, for a search on several machines: each makes the same tuner and calls `search`. Of a storage
        that machines share, `project_name` is the study's name; weights stay on the machine that trained them.
    keep_checkpoints : int
        Of how many of the best trials the weights are kept.
    pruner : optuna pruner, optional
        Ends trials that are not promising, by the best value up to each epoch of the first execution.

    Attributes
    ----------
    study : optuna.Study
        With all of Optuna's plots and its dashboard. A parameter that Optuna cannot draw as it is stands there under a
        name that says so, such as ``"units (index)"``; trials have their values in ``user_attrs["values"]``.
    hypermodel : HyperModel
    project_dir : Path

    Raises
    ------
    ImportError
        Without Optuna.
    TypeError, ValueError
        For arguments that do not fit, or if there is a search of this name for another objective.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        directory: Any = ".",
        project_name: str = "untitled_project",
        overwrite: bool = False,
        executions_per_trial: int = 1,
        storage: Any = None,
        keep_checkpoints: int = 10,
        pruner: Any = None,
    ) -> None:
        from fusedlstm.tuner import studies  # fails here, not in the middle, where there is no Optuna

        del studies
        self.label = type(self).__name__
        self.max_trials = None if max_trials is None else self._count("max_trials", max_trials, 1)
        self.max_retries = self._count("max_retries_per_trial", max_retries_per_trial, 0)
        self.max_failures = self._count("max_consecutive_failed_trials", max_consecutive_failed_trials, 1)
        self.executions_per_trial = self._count("executions_per_trial", executions_per_trial, 1)
        self.keep_checkpoints = self._count("keep_checkpoints", keep_checkpoints, 1)
        if hyperparameters is not None and not isinstance(hyperparameters, HyperParameters):
            raise TypeError(f"{self.label}: expected hyperparameters to be HyperParameters, got {hyperparameters!r}")
        if hyperparameters is None and not (tune_new_entries and allow_new_entries):
            raise ValueError(f"{self.label}: expected hyperparameters along with tune_new_entries or allow_new_entries")
        if not isinstance(project_name, str) or not project_name:
            raise TypeError(f"{self.label}: expected project_name to be a name, got {project_name!r}")
        self.hyperparameters = hyperparameters
        self.tune_new, self.allow_new = bool(tune_new_entries), bool(allow_new_entries)
        self.hypermodel = hypermodels.as_hypermodel(self.label, hypermodel)
        if self.hypermodel is None and type(self).run_trial is Tuner.run_trial:
            raise ValueError(f"{self.label}: expected a hypermodel, or a subclass that defines run_trial, got neither")
        self.project_name = project_name
        self.project_dir = Path(directory) / project_name
        self.checkpoints = Checkpoints(self.project_dir / "checkpoints")
        self.space: list[HyperParameter] = []
        self._seed = None if seed is None else random.check_seed(self.label, seed)
        self._given_storage, self._given_pruner = storage, pruner
        self._study: Any = None

        self.goal = as_goal(self.label, objective, self._discover())
        if self.goal.anonymous and self.prunes:
            raise ValueError(f"{self.label}: expected an objective, by which trials are pruned, got None")
        self.project_dir.mkdir(parents=True, exist_ok=True)
        if overwrite:
            self._forget()
        self.seed: int = self.study.user_attrs["seed"]

    def _count(self, argument: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{self.label}: expected {argument} to be an integer from {least} on, got {value!r}")
        return value

    # What a search defines.

    def _sampler(self, seed: int) -> Any:
        """Optuna's sampler for a trial."""
        raise NotImplementedError

    def _pruner(self) -> Any:
        """Optuna's pruner, None if trials are not pruned."""
        return self._given_pruner

    def _propose(self, trials: Sequence[Any], number: int) -> dict[str, Any] | None:
        """What the study's next trial starts from; the sampler draws the rest. None if there is nothing to try."""
        return {}

    def _fit_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return kwargs

    @property
    def prunes(self) -> bool:
        return self._pruner() is not None

    # The space.

    def _discover(self) -> Any:
        """Learn the space by building models, one with the defaults, and one for each scope that they left out."""
        if self.hypermodel is None:
            return None
        from fusedlstm.tuner.work import seeded

        first, tried = None, set[tuple[Condition, ...]]()
        due: list[tuple[Condition, ...]] = [()]
        while due:
            conditions = due.pop(0)
            if conditions in tried:
                continue
            tried.add(conditions)
            values = {condition.name: condition.values[0] for condition in conditions}
            hp = GuidedHyperParameters(self.hyperparameters, self.allow_new, values)
            with seeded(0):
                model = hypermodels.build(self.label, self.hypermodel, hp)
            first = model if first is None else first
            self._learn(hp.space)
            due += hp.inactive_scopes
        return first

    def _learn(self, space: Sequence[HyperParameter]) -> None:
        self.space += [parameter for parameter in space if parameter not in self.space]

    @property
    def _tuned_space(self) -> list[HyperParameter]:
        """The space, with the defaults of what is not tuned."""
        if self.tune_new or self.hyperparameters is None:
            return self.space
        given = {parameter.name for parameter in self.hyperparameters.space}
        return [p if p.name in given else Fixed(p.name, p.conditions, p.default) for p in self.space]

    # The study.

    @property
    def study(self) -> Any:
        if self._study is None:
            with owners.turn(self.project_dir):
                self._study = self._open()
        return self._study

    def _open(self) -> Any:
        from fusedlstm.tuner.studies import SeededSampler, database, let_go_with, optuna, quiet

        storage = self._given_storage
        if storage is None:
            storage = database(self.project_dir / "study.db")
            let_go_with(self, storage)
        with quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=self.project_name,
                direction="minimize" if self.goal.direction == "min" else "maximize",
                load_if_exists=True,
                pruner=self._pruner() or optuna.pruners.NopPruner(),
            )
            known = study.user_attrs
            if known.get("goal", str(self.goal)) != str(self.goal):
                raise ValueError(
                    f"{self.label}: there is a search {self.project_name!r} for {known['goal']} already, got "
                    f"{self.goal}: pass overwrite=True, or another project_name"
                )
            if "seed" in known and self._seed not in (None, known["seed"]):
                raise ValueError(
                    f"{self.label}: there is a search {self.project_name!r} with seed={known['seed']} already, got "
                    f"{self._seed}: pass overwrite=True, or another project_name"
                )
            if "seed" not in known:
                study.set_user_attr("goal", str(self.goal))
                study.set_user_attr("seed", random.next_seed() if self._seed is None else self._seed)
            study.sampler = SeededSampler(self._sampler, study.user_attrs["seed"])
        self._storage = storage
        return study

    def _forget(self) -> None:
        """Remove an earlier search of this name, and nothing else that may be in its folder."""
        from fusedlstm.tuner.studies import optuna, quiet

        with owners.turn(self.project_dir), quiet():
            given = self._given_storage
            if given is not None and self.project_name in optuna.get_all_study_names(given):
                optuna.delete_study(study_name=self.project_name, storage=given)
            for file in self.project_dir.glob("study.db*"):
                file.unlink()
            shutil.rmtree(self.checkpoints.folder, ignore_errors=True)
            shutil.rmtree(self.project_dir / "processes", ignore_errors=True)

    def reload(self) -> None:
        """Read the study anew from its storage."""
        self._close()
        self.seed = self.study.user_attrs["seed"]

    def _close(self) -> None:
        """Let go of the study and the connections to its storage; they are there again when they are needed."""
        from fusedlstm.tuner.studies import let_go

        if self._study is not None:
            let_go(self._storage)
        self._study = self._storage = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_study": None, "_storage": None}

    # Searching.

    def search(self, *args: Any, cross_validation: Any = None, n_jobs: int = 1, **kwargs: Any) -> None:
        """Try hyperparameters until there are `max_trials` of them.

        Parameters
        ----------
        *args, **kwargs
            What ``model.fit`` is called with. A keyword argument that is a function is called with the trial's
            `HyperParameters`: ``batch_size=lambda hp: hp.Int("batch_size", 16, 64, step=16)`` tunes the batch size.
            Callbacks are copied for each execution, and shuffled datasets start over. ``verbose=0`` silences the tuner
            too.
        cross_validation : int, iterable or object with ``split``, optional
            Judge by the mean over folds in place of validation data: so many of `utils.time_series_folds`
            (of windows with a gap of their `overlap`), pairs of rows to train on and to validate on, or what
            scikit-learn has. The weights of the last fold are kept.
        n_jobs : int
            Processes that run trials at the same time, each on its share of the threads. They start as
            `multiprocessing` does by default; where that is not by a fork, the hypermodel and the data have to be
            picklable.

        Raises
        ------
        RuntimeError
            If too many trials in a row have failed, or some have and none has completed.
        FatalError
            If the search cannot work, such as for an objective that is not in the logs.
        """
        self._count("n_jobs", n_jobs, 1)
        for name in set(kwargs) & {"hp", "model", "trial"}:
            raise TypeError(f"{self.label}: expected an argument of fit, got {name!r}")
        shown = not (isinstance(kwargs.get("verbose", 1), int) and kwargs.get("verbose", 1) == 0)
        kwargs = self._fit_arguments(kwargs)
        if cross_validation is not None:
            cross_validation = check_cross_validation(self.label, cross_validation)
            with kept(args, kwargs):
                arguments_of_folds(self.label, cross_validation, args, kwargs)
            kwargs["cross_validation"] = cross_validation
        from fusedlstm.tuner.work import check_any_completed, work

        if n_jobs == 1:
            work(self, args, kwargs, shown)
        else:
            from fusedlstm.tuner.parallel import work_in_processes

            work_in_processes(self, n_jobs, args, kwargs, shown)
        check_any_completed(self)

    def run_trial(self, trial: Trial, *args: Any, cross_validation: Any = None, **kwargs: Any) -> Any:
        """Train the models of a trial.

        A subclass may change the arguments, ask ``trial.hyperparameters`` for more, and call this one; or train by
        itself and return what `HyperModel.fit` may return, or a list of it.

        Parameters
        ----------
        trial : Trial
        *args, **kwargs
            Of `search`.

        Returns
        -------
        list
            How each execution did.
        """
        from fusedlstm.tuner.work import execute

        folds = [(args, kwargs)]
        if cross_validation is not None:
            folds = arguments_of_folds(self.label, cross_validation, args, kwargs)
        runs: list[Run] = execute(self, trial, folds)
        return runs

    # Results.

    @property
    def trials(self) -> list[Trial]:
        """All trials, by their numbers."""
        from fusedlstm.tuner import results

        return results.trials(self.study)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """The completed trials with the best scores, best first."""
        from fusedlstm.tuner import results

        return results.best_trials(self.goal, self.trials)[: self._count("num_trials", num_trials, 1)]

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[HyperParameters]:
        """The hyperparameters of the best trials, best first; ``tuner.hypermodel.build`` makes a new model of them."""
        return [trial.hyperparameters for trial in self.get_best_trials(num_trials)]

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """The models of the best trials, best first, with the weights of their best execution's best epoch.

        Raises
        ------
        FatalError
            If no weights were kept: of more trials than `keep_checkpoints`, or on another machine.
        """
        models = []
        for trial in self.get_best_trials(self._count("num_models", num_models, 1)):
            path = self.checkpoints.path(trial.number)
            if not path.exists():
                raise FatalError(
                    f"{self.label}: there are no weights of trial {trial.number} in {self.checkpoints.folder}: those "
                    f"of the best {self.keep_checkpoints} trials (keep_checkpoints) are kept, where they were trained"
                )
            model = hypermodels.build(self.label, self.hypermodel, trial.hyperparameters)
            if not model.built:
                model.build(trial.input_shape)
            model.load_weights(path)
            models.append(model)
        return models

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials, with the scores of their executions."""
        from fusedlstm.tuner import results

        results.show_results(self, self._count("num_trials", num_trials, 1))

    def search_space_summary(self) -> None:
        """Print the hyperparameters that are known so far, and what each may be."""
        from fusedlstm.tuner import results

        results.show_space(self.space)

    def results_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each trial.

        Its columns: trial, status, score, score_1 ... of the executions, best_epoch, seconds, the metrics of the best
        epoch, and the hyperparameters by their names (with ``hp/`` ahead of one that is such a column's name), empty
        where they are not active.

        Raises
        ------
        ImportError
            Without pandas.
        """
        from fusedlstm.tuner import results

        return results.table(self.trials)

"""What is tuned: a model that depends on hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.tuner.errors import FatalError
from fusedlstm.tuner.hyperparameters import HyperParameters


class HyperModel:
    """Base class: implement `build`, and `fit` if hyperparameters of the training are tuned too.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> from fusedlstm.layers import LSTM, Dense, Input
    >>> from fusedlstm.models import Sequential
    >>> class Forecaster(HyperModel):
    ...     def build(self, hp):
    ...         model = Sequential([Input((12, 1)), LSTM(hp.Int("units", 8, 64, step=8)), Dense(1)])
    ...         model.compile(optimizer="adam", loss="mse")
    ...         return model
    ...
    ...     def fit(self, hp, model, *args, **kwargs):
    ...         return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32, 64]), **kwargs)
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def build(self, hp: HyperParameters) -> Any:
        """A compiled model for these hyperparameters."""
        raise NotImplementedError(f"{type(self).__name__}: a HyperModel has to define build(hp)")

    def fit(self, hp: HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train the model.

        Parameters
        ----------
        hp : HyperParameters
        model : Model
            What `build` returned.
        *args, **kwargs
            What `search` was called with; ``callbacks`` has to be passed on to ``model.fit`` for the best epoch to be
            kept and for pruning.

        Returns
        -------
        History, dict of str to float, or float
            A history is judged by its best epoch. A float is the objective itself.
        """
        return model.fit(*args, **kwargs)


class FunctionModel(HyperModel):
    """A HyperModel of which only the function that builds it is given."""

    def __init__(self, function: Callable[[HyperParameters], Any]) -> None:
        super().__init__(getattr(function, "__name__", None))
        self.build = function  # type: ignore[method-assign, assignment]


def as_hypermodel(owner: str, hypermodel: Any) -> HyperModel | None:
    """A HyperModel from one or from a function; TypeError for anything else."""
    if hypermodel is None or isinstance(hypermodel, HyperModel):
        return hypermodel
    if isinstance(hypermodel, type) or not callable(hypermodel):
        made = f"the class {hypermodel.__name__}; call it" if isinstance(hypermodel, type) else repr(hypermodel)
        raise TypeError(f"{owner}: expected hypermodel to be a function of hp or a HyperModel, got {made}")
    return FunctionModel(hypermodel)


def build(owner: str, hypermodel: HyperModel | None, hp: HyperParameters) -> Any:
    """The model of these hyperparameters; FatalError if it is none."""
    if hypermodel is None:
        raise FatalError(f"{owner}: expected a hypermodel, or a subclass that defines run_trial, got neither")
    model = hypermodel.build(hp)
    if not hasattr(model, "fit") or not hasattr(model, "get_weights"):
        raise FatalError(f"{owner}: expected the hypermodel to return a model, got {type(model).__name__}")
    return model

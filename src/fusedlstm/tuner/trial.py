"""A trial: hyperparameters that were, or are being, tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fusedlstm.tuner.hyperparameters import HyperParameters


@dataclass
class Trial:
    """Hyperparameters, and how well they did.

    Attributes
    ----------
    number : int
        From 0 on; a trial that was interrupted and is done again keeps its number.
    hyperparameters : HyperParameters
    status : {"RUNNING", "COMPLETED", "PRUNED", "FAILED", "WAITING"}
    score : float or None
        The mean of `scores`.
    scores : list of float
        Of each execution, and of each fold of a cross-validation within it: of their best epochs.
    metrics : dict of str to float
        Of the best epochs, averaged.
    epochs : list
        The best epoch of each execution, counted from 1; None where it is not known.
    seconds : float or None
    message : str
        Of a failed trial, the traceback.
    input_shape : tuple, optional
        For which the model was built.
    """

    number: int
    hyperparameters: HyperParameters
    status: str = "RUNNING"
    score: float | None = None
    scores: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: list[int | None] = field(default_factory=list)
    seconds: float | None = None
    message: str = ""
    input_shape: tuple[int | None, ...] | None = None
    # While it runs: (epoch, value) -> whether to prune, and the model of the best execution with its score.
    _report: Callable[[int, float], bool] | None = field(default=None, repr=False)
    _best: tuple[float, Any] | None = field(default=None, repr=False)
    _attempt: int = field(default=0, repr=False)

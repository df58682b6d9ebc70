"""Search for hyperparameters, in Keras Tuner's words and on Optuna: ``import fusedlstm.tuner as kt``.

Needs Optuna, the extra ``[tuner]``, as soon as a tuner is made.
"""

from fusedlstm.tuner.errors import FailedTrialError, FatalError
from fusedlstm.tuner.hypermodel import HyperModel
from fusedlstm.tuner.hyperparameters import HyperParameters
from fusedlstm.tuner.objective import Objective
from fusedlstm.tuner.searches import BayesianOptimization, GridSearch, Hyperband, RandomSearch
from fusedlstm.tuner.trial import Trial
from fusedlstm.tuner.tuner import Tuner

__all__ = [
    "BayesianOptimization",
    "FailedTrialError",
    "FatalError",
    "GridSearch",
    "HyperModel",
    "HyperParameters",
    "Hyperband",
    "Objective",
    "RandomSearch",
    "Trial",
    "Tuner",
]

"""A small search that the tests of the tuner share; its processes import it."""

import os
import signal
import sys

import numpy as np

import fusedlstm.tuner as kt
from fusedlstm.layers import Dense, Input
from fusedlstm.models import Sequential

rng = np.random.default_rng(5)
X = rng.normal(size=(48, 3)).astype(np.float32)
Y = (X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=48)).astype(np.float32)[:, None]


def build(hp):
    """A linear model: trials take milliseconds."""
    model = Sequential([Input((3,)), Dense(hp.Int("units", 1, 8)), Dense(1)])
    model.compile(optimizer=hp.Choice("optimizer", ["sgd", "adam"]), loss="mse", metrics=["mae"])
    return model


class Function(kt.HyperModel):
    """Its score is a function of the hyperparameters; the model is not trained."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def build(self, hp):
        model = Sequential([Input((1,)), Dense(1)])
        model.score = self.function(hp)
        return model

    def fit(self, hp, model, callbacks=None, verbose=0):
        return model.score


def fit_arguments(**more):
    return {"x": X[:32], "y": Y[:32], "validation_data": (X[32:], Y[32:]), "epochs": 2, "verbose": 0, **more}


def values(tuner):
    return [trial.hyperparameters.values for trial in tuner.trials]


def tuner(directory, **more):
    arguments = {"objective": "val_loss", "max_trials": 6, "seed": 3, "directory": directory, **more}
    return kt.RandomSearch(arguments.pop("hypermodel", build), **arguments)


class Killed(kt.HyperModel):
    """Kills its process when it builds the given model for the first time."""

    def __init__(self, marker, at):
        super().__init__()
        self.marker, self.at = marker, at
        self.built = -1  # the first is the tuner's own

    def build(self, hp):
        model = build(hp)
        if self.built == self.at and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.built += 1
        return model


if __name__ == "__main__":
    folder, at = sys.argv[1:]
    tuner(folder, hypermodel=Killed(os.path.join(folder, "killed"), int(at))).search(**fit_arguments())

"""What callbacks decide on recorded histories, beside Keras's: stops, learning rates, files, weights, text."""

from __future__ import annotations

import csv
import os

import keras
import numpy as np
import pytest

from fusedlstm import callbacks, layers, models, optimizers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RNG = np.random.default_rng(21)
# Falling with noise, as losses do; with plateaus; rising; with values that repeat.
HISTORIES = [
    *(np.round(np.exp(-0.2 * np.arange(20)) + RNG.normal(0, 0.05, 20), 3).tolist() for _ in range(3)),
    *(np.round(np.maximum(0.3, 1 - 0.1 * np.arange(20)) + RNG.choice([0, 0.01], 20), 3).tolist() for _ in range(2)),
    np.linspace(0.1, 1, 20).tolist(),
    [0.5] * 20,
    [1.0, 0.9, 0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5],
]


def pair():
    """A model of Keras's and one of this package, with a metric that is better when it is larger."""
    theirs = keras.Sequential([keras.Input((2, 1)), keras.layers.LSTM(1)])
    ours = models.Sequential([layers.Input((2, 1)), layers.LSTM(1)])
    theirs.compile(keras.optimizers.SGD(1.0), "mse", metrics=["accuracy"])
    ours.compile(optimizers.SGD(1.0), "mse", metrics=["accuracy"])
    x, y = np.zeros((4, 2, 1), "float32"), np.zeros((4, 1), "float32")
    theirs.evaluate(x, y, verbose=0)
    ours.evaluate(x, y, verbose=0)
    return theirs, ours


def play(callback, model, values, name):
    """The callback's calls in a run that ends as it would; what was seen after each epoch."""
    callback.set_params({"epochs": len(values), "verbose": 0, "steps": 1})
    callback.set_model(model)
    model.stop_training = False
    model.optimizer.learning_rate = 1.0
    seen = []
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.set_weights([np.full(np.shape(w), epoch, "float32") for w in model.get_weights()])
        callback.on_epoch_begin(epoch)
        logs = {"loss": 2 * value, name: value}
        callback.on_epoch_end(epoch, logs)
        seen.append((logs.get("learning_rate"), float(model.optimizer.learning_rate), model.stop_training))
        if model.stop_training:
            break
    callback.on_train_end(logs)
    return seen, float(np.asarray(model.get_weights()[0]).flat[0])


def compare(make, name="val_loss", histories=HISTORIES):
    theirs, ours = pair()
    for values in histories:
        (want, weight), (got, own) = (
            play(make(module.callbacks), model, values, name)
            for module, model in ((keras, theirs), (__import__("fusedlstm"), ours))
        )
        np.testing.assert_allclose(np.array(got, float), np.array(want, float), rtol=1e-5)
        assert own == weight


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"min_delta": 0.0205},  # Keras compares in float32: no ties
        {"min_delta": -0.0995},
        {"baseline": 0.6},
        {"start_from_epoch": 4},
        {"mode": "max"},
        {"min_delta": 0.01, "baseline": 0.4, "start_from_epoch": 2, "mode": "min"},
    ],
)
def test_early_stopping(patience, more):
    for restore in (False, True):
        compare(lambda c, r=restore: c.EarlyStopping(patience=patience, restore_best_weights=r, **more))


@pytest.mark.parametrize("name", ["val_accuracy", "accuracy", "loss"])
def test_the_direction_of_a_metric(name):
    compare(lambda c: c.EarlyStopping(name, patience=1, restore_best_weights=True), name)
    compare(lambda c: c.ReduceLROnPlateau(name, patience=1), name)


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 0},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "factor": 0.3, "cooldown": 2},
        {"patience": 2, "factor": 0.5, "cooldown": 1, "min_lr": 0.2},
        {"patience": 1, "min_delta": 0.05, "factor": 0.7},
        {"patience": 1, "mode": "max", "factor": 0.9},
    ],
)
def test_reduce_lr_on_plateau(arguments):
    compare(lambda c: c.ReduceLROnPlateau(**arguments))


def test_learning_rate_scheduler():
    compare(lambda c: c.LearningRateScheduler(lambda epoch, rate: rate * 0.9 if epoch > 3 else rate))
    compare(lambda c: c.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"save_best_only": True},
        {"save_best_only": True, "mode": "max"},
        {"save_best_only": True, "initial_value_threshold": 0.5},
        {"save_freq": 3},
        {"save_freq": 4, "save_best_only": True, "monitor": "loss"},
    ],
)
@pytest.mark.parametrize("weights_only", [True, False])
def test_model_checkpoint(tmp_path, more, weights_only):
    """Which files there are, under which names, and what they hold."""
    ending = ".weights.h5" if weights_only else ".keras"
    name = "{epoch:02d}-{batch}" if "save_freq" in more else "{epoch:02d}-{val_loss:.2f}"
    for k, values in enumerate(HISTORIES[::5]):
        folders, kept = [], []
        for module, model in zip((keras, __import__("fusedlstm")), pair(), strict=True):
            folder = tmp_path / f"{module.__name__}{k}"
            folder.mkdir()
            callback = module.callbacks.ModelCheckpoint(
                str(folder / (name + ending)), save_weights_only=weights_only, **more
            )
            callback.set_model(model)
            callback.on_train_begin()
            for epoch, value in enumerate(values[:8]):
                model.set_weights([np.full(np.shape(w), epoch, "float32") for w in model.get_weights()])
                callback.on_epoch_begin(epoch)
                for batch in range(5):
                    if "save_freq" in more and "save_best_only" in more and epoch == 0:
                        continue  # Keras asks for the metric's direction when the first epoch ends
                    callback.on_train_batch_end(batch, {"loss": value + 0.01 * batch})
                callback.on_epoch_end(epoch, {"loss": value, "val_loss": value})
            folders.append(sorted(os.listdir(folder)))
            kept.append(folder)
        assert folders[0] == folders[1]
        for file in folders[0]:
            values_of = []
            for folder in kept:  # both are read here
                model = pair()[1]
                model.load_weights(folder / file)
                values_of.append(model.get_weights()[0].flat[0])
            assert values_of[0] == values_of[1]


def test_csv_logger(tmp_path):
    rows = []
    for module, model in zip((keras, __import__("fusedlstm")), pair(), strict=True):
        path = tmp_path / f"{module.__name__}.csv"
        for append in (False, True):
            callback = module.callbacks.CSVLogger(str(path), separator=";", append=append)
            callback.set_model(model)
            callback.on_train_begin()
            callback.on_epoch_end(0, {"loss": 0.5, "accuracy": 1.0})
            callback.on_epoch_end(1, {"loss": 0.25, "accuracy": 1.0, "val_loss": 3.0, "per_class": np.array([1, 2])})
            callback.on_train_end()
        with open(path, newline="") as file:
            rows.append(list(csv.reader(file, delimiter=";")))
    assert rows[0] == rows[1]


def test_swap_ema_weights(tmp_path):
    """The weights at the end of each epoch and of `fit`, and the validation with the averages."""
    x = RNG.normal(size=(16, 2, 1)).astype("float32")
    y = x[:, 0]
    found = []
    start = pair()[0].get_weights()
    for module, model, kind in zip(
        (keras, __import__("fusedlstm")), pair(), (keras.optimizers, optimizers), strict=True
    ):
        model.set_weights(start)
        model.compile(kind.SGD(0.5, use_ema=True, ema_momentum=0.7), "mse")
        weights = []
        note = module.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, m=model, w=weights: w.append(
                np.concatenate([a.ravel() for a in m.get_weights()])
            )
        )
        called = [module.callbacks.SwapEMAWeights(swap_on_epoch=True), note]
        history = model.fit(
            x, y, epochs=3, batch_size=4, shuffle=False, verbose=0, validation_data=(x, y), callbacks=called
        )
        weights.append(np.concatenate([np.ravel(a) for a in model.get_weights()]))
        found.append((np.array(weights), history.history["val_loss"]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4)


def test_names_and_defaults():
    import inspect

    for name in ("EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint", "LearningRateScheduler", "CSVLogger",
                 "BackupAndRestore", "TensorBoard", "TerminateOnNaN", "SwapEMAWeights"):  # fmt: skip
        ours, theirs = (
            {p.name: p.default for p in inspect.signature(getattr(module, name)).parameters.values()}
            for module in (callbacks, keras.callbacks)
        )
        theirs.pop("kwargs", None)
        assert list(ours.items()) == list(theirs.items()), name

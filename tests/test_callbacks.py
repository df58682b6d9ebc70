"""Callbacks, called as `fit` calls them, by a model that only has weights and metrics; and in `fit` itself."""

import copy
import csv
import json
import math
import os
import pickle
import sys

import numpy as np
import pytest

from fusedlstm import callbacks, inspect, layers, metrics, models, optimizers


class Model:
    """Its one weight is the number of the epoch."""

    def __init__(self, *model_metrics):
        self.metrics = list(model_metrics)
        self.stop_training = False
        self.weights = None

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def fit(callback, values, name="val_loss", model=None, start=0):
    """The epochs that ran, and the model, for a value at each epoch."""
    model = model or Model()
    model.stop_training = False
    called = callbacks.CallbackList(callback, model, {"epochs": len(values), "verbose": 0, "steps": 1})
    called.on_train_begin()
    epochs = 0
    for epoch, value in enumerate(values, start):
        called.on_epoch_begin(epoch)
        model.weights = epoch
        called.on_epoch_end(epoch, {"loss": 1.0, name: value})
        epochs += 1
        if model.stop_training:
            break
    called.on_train_end()
    return epochs, model


@pytest.mark.parametrize(
    ("arguments", "values", "epochs"),
    [
        ({}, [3, 2, 2, 1], 3),
        ({}, [3, 2, 1, 0], 4),
        ({}, [1, 2, 3], 2),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"min_delta": 0.5}, [3, 2.4, 2.0, 1], 3),
        ({"min_delta": -0.5}, [3, 2.4, 2.0, 1], 3),
        ({"baseline": 2.5, "patience": 1}, [3, 2.9, 2.8], 3),
        ({"baseline": 2.5, "patience": 2}, [3, 2.4, 2.4, 2.4, 2.3], 4),
        ({"start_from_epoch": 2}, [1, 2, 3, 4, 5], 4),
        ({"mode": "max"}, [1, 2, 3, 3], 4),
        ({"mode": "max", "min_delta": 0.5}, [1, 2, 2.4, 9], 3),
        ({"patience": 1}, [math.nan, 2, 1, 0], 4),
        ({"patience": 1}, [2, math.nan, math.nan, 0], 2),
    ],
)
def test_early_stopping(arguments, values, epochs):
    stopping = callbacks.EarlyStopping(**arguments)
    for _ in range(2):  # an instance may be used again
        ran, model = fit(stopping, values)
        assert ran == epochs
        assert stopping.stopped_epoch == (epochs - 1 if model.stop_training else 0)


@pytest.mark.parametrize(
    ("values", "patience", "restored"), [([3, 1, 2, 2, 2], 2, 1), ([3, 2, 1], 0, 2), ([math.nan, 2, 3, 3], 1, 1)]
)
def test_best_weights_are_restored(values, patience, restored, capsys):
    stopping = callbacks.EarlyStopping(patience=patience, restore_best_weights=True, verbose=1)
    _, model = fit(stopping, values)
    assert model.weights == restored == stopping.best_epoch
    printed = capsys.readouterr().out
    assert f"Restoring the weights of the best epoch, {restored + 1}\n" in printed
    assert ("early stopping" in printed) == model.stop_training


def test_weights_stay_unless_asked():
    _, model = fit(callbacks.EarlyStopping(), [1, 2, 3])
    assert model.weights == 1


def test_direction_comes_from_the_metric():
    model = Model(metrics.get("accuracy", (1,), (1, 2)), metrics.get("mae"))
    assert fit(callbacks.EarlyStopping("val_accuracy"), [0.5, 0.6, 0.55], "val_accuracy", model)[0] == 3
    assert fit(callbacks.EarlyStopping("accuracy"), [0.5, 0.4], "accuracy", model)[0] == 2
    assert fit(callbacks.EarlyStopping("val_mae"), [0.5, 0.4, 0.3], "val_mae", model)[0] == 3
    with pytest.raises(ValueError, match="cannot tell whether a larger or a smaller 'val_score' is better"):
        fit(callbacks.EarlyStopping("val_score"), [1, 2], "val_score", model)


def test_a_missing_value_warns():
    with pytest.warns(UserWarning, match="EarlyStopping: there is no 'val_loss' to monitor, only: loss, acc"):
        assert fit(callbacks.EarlyStopping(), [1, 2, 3], "acc")[0] == 3


def test_history():
    history = callbacks.History()
    _, model = fit(history, [3, 2])
    assert history.history == {"loss": [1.0, 1.0], "val_loss": [3, 2]}
    assert history.epoch == [0, 1]
    assert model.history is history
    fit(history, [1], start=2)
    assert history.history["val_loss"] == [3, 2, 1]
    assert history.epoch == [2]


def test_lambda_callback():
    seen = []
    callback = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(("begin", epoch)),
        on_epoch_end=lambda epoch, logs: seen.append(("end", logs["val_loss"])),
        on_train_batch_end=lambda batch, logs: seen.append(("batch", batch)),
        on_train_end=lambda logs: seen.append("over"),
        on_test_begin=None,
    )
    fit(callback, [5])
    called = callbacks.CallbackList([callback])
    called.on_train_batch_end(7, {})
    assert seen == [("begin", 0), ("end", 5), "over", ("batch", 7)]
    assert not called.has("on_test_begin")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_terminate_on_nan(loss, capsys):
    model = Model()
    called = callbacks.CallbackList(callbacks.TerminateOnNaN(), model)
    called.on_train_batch_end(0, {"loss": 1.0})
    assert not model.stop_training
    called.on_train_batch_end(1, {"loss": loss})
    assert model.stop_training
    assert capsys.readouterr().out == f"Batch 1: the loss is {loss}, training stops\n"
    with pytest.raises(RuntimeError, match=r"TerminateOnNaN: the loss is .* at batch 3"):
        callbacks.TerminateOnNaN(raise_error=True).on_train_batch_end(3, {"loss": loss})


# In `fit`.


def trained(*called, epochs=3, x=None, y=None, optimizer=None, **arguments):
    """The history of a small model's `fit`."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(24, 4, 2)).astype("float32") if x is None else x
    model = models.Sequential([layers.Input((4, 2), name="x"), layers.LSTM(3, name="lstm"), layers.Dense(1, name="d")])
    model.compile(optimizer or optimizers.SGD(0.1), "mse", metrics=["mae"])
    y = x[:, 0, :1] if y is None else y
    return model.fit(x, y, epochs=epochs, batch_size=8, verbose=0, callbacks=list(called), **arguments)


def test_where_nan_comes_from(capsys):
    x = np.ones((24, 4, 2), "float32")
    x[13, 2, 1] = math.nan
    stopping = callbacks.TerminateOnNaN()
    history = trained(stopping, x=x, y=np.zeros((24, 1)), shuffle=False)
    assert history.epoch == [0]
    assert stopping.where == "the input 'x' is not finite in row 5 of the batch"
    assert capsys.readouterr().out == f"Batch 1: the loss is nan, training stops ({stopping.where})\n"


def test_nan_in_a_layers_weights_outputs_and_in_the_loss():
    def spoil(batch, logs=None):
        if batch == 1:
            layer = stopping.model.layers[0]
            layer.set_weights([np.full_like(w, math.nan) for w in layer.get_weights()])

    stopping = callbacks.TerminateOnNaN()
    trained(callbacks.LambdaCallback(on_train_batch_begin=spoil), stopping)
    assert stopping.where == "the weights of LSTM 'lstm' are not finite: kernel"
    y = np.zeros((24, 1), "float32")
    y[3] = math.inf
    with pytest.raises(
        RuntimeError, match=r"at batch 0 \(the outputs are finite: it comes from the targets or the loss"
    ):
        trained(callbacks.TerminateOnNaN(raise_error=True), y=y, shuffle=False)

    class Broken(layers.Layer):
        def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
            return np.full_like(inputs, math.nan), lambda d_outputs: d_outputs

    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(2), Broken(name="b"), layers.Dense(1, name="d")])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4, 2)), np.zeros((4, 1)), verbose=0, callbacks=stopping)
    assert stopping.where == "it first appears in the outputs of Broken 'b'"


def test_learning_rate_scheduler(capsys):
    history = trained(callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1))
    assert history.history["learning_rate"] == [0.05, 0.025, 0.0125]
    assert "Epoch 2: LearningRateScheduler: learning rate 0.025\n" in capsys.readouterr().out
    history = trained(callbacks.LearningRateScheduler(lambda epoch: [0.3, 0.2, 0.1][epoch]))
    assert history.history["learning_rate"] == [0.3, 0.2, 0.1]
    with pytest.raises(TypeError, match="LearningRateScheduler: expected schedule to return a number, got '1'"):
        trained(callbacks.LearningRateScheduler(lambda epoch: "1"))


PLATEAUS = [
    ({"patience": 1, "factor": 0.5}, [3, 3, 3, 2, 2], [1, 0.5, 0.25, 0.25, 0.125]),
    ({"patience": 2, "factor": 0.5}, [3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25]),
    ({"patience": 1, "factor": 0.5, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ({"patience": 1, "factor": 0.1, "min_lr": 0.05}, [3, 3, 3, 3], [1, 0.1, 0.05, 0.05]),
    ({"patience": 1, "factor": 0.5, "min_delta": 0.5}, [3, 2.6, 2.4, 1], [1, 0.5, 0.5, 0.5]),
    ({"patience": 1, "factor": 0.5, "mode": "max"}, [1, 2, 2, 3], [1, 1, 0.5, 0.5]),
    ({"patience": 1, "factor": 0.5}, [math.nan, 2, math.nan], [0.5, 0.5, 0.25]),
]


@pytest.mark.parametrize(("arguments", "values", "rates"), PLATEAUS)
def test_reduce_lr_on_plateau(arguments, values, rates):
    class Optimizer:
        learning_rate = 1.0

    seen = []
    callback = callbacks.ReduceLROnPlateau(**arguments)
    callback.model = Model()
    callback.model.optimizer = Optimizer
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        logs = {"val_loss": value}
        before = Optimizer.learning_rate
        callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == before  # what the epoch ran with
        seen.append(Optimizer.learning_rate)
    assert seen == pytest.approx(rates)


def test_history_holds_the_learning_rate():
    history = trained(callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10, factor=0.5), epochs=3)
    assert history.history["learning_rate"] == [0.1, 0.1, 0.05]
    schedule = optimizers.schedules.ExponentialDecay(0.1, decay_steps=3, decay_rate=0.5)
    history = trained(optimizer=optimizers.SGD(schedule), epochs=3)  # of 3 steps
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.025, 0.0125])
    assert "learning_rate" not in trained(epochs=1).history


@pytest.mark.parametrize("weights_only", [True, False])
def test_model_checkpoint_names(tmp_path, weights_only):
    ending = ".weights.npz" if weights_only else ".fusedlstm"
    name = "deep/{epoch:02d}-{val_loss:.2f}-{mae:.1f}" + ending
    checkpoint = callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=weights_only)
    history = trained(checkpoint, validation_split=0.25).history
    expected = [
        f"{k + 1:02d}-{loss:.2f}-{mae:.1f}{ending}"
        for k, (loss, mae) in enumerate(zip(history["val_loss"], history["mae"], strict=True))
    ]
    assert sorted(os.listdir(tmp_path / "deep")) == sorted(expected)
    path = tmp_path / "deep" / expected[-1]
    if weights_only:
        again = models.Sequential.from_config(checkpoint.model.get_config())
        again.load_weights(path)
    else:
        again = models.load_model(path)
    for a, b in zip(checkpoint.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_model_checkpoint_after_batches(tmp_path):
    trained(callbacks.ModelCheckpoint(str(tmp_path / "{epoch}-{batch}.fusedlstm"), save_freq=2), epochs=3)  # 3 batches
    assert sorted(os.listdir(tmp_path)) == ["1-2.fusedlstm", "2-1.fusedlstm", "2-3.fusedlstm", "3-2.fusedlstm"]


def saves(values, **arguments):
    """In which epochs a file is saved."""
    saved = []

    class Saved(Model):
        def save(self, path, overwrite):
            saved.append(self.weights)

    fit(callbacks.ModelCheckpoint("m.fusedlstm", **arguments), values, model=Saved())
    return saved


def test_model_checkpoint_best(capsys):
    values = [3, 4, 2, 2, math.nan, 1]
    assert saves(values) == [0, 1, 2, 3, 4, 5]
    assert saves(values, save_best_only=True, verbose=1) == [0, 2, 5]
    said = capsys.readouterr().out
    assert "Epoch 1: val_loss improved to 3.00000, saving the model to m.fusedlstm\n" in said
    assert "Epoch 2: val_loss did not improve on 3\n" in said
    assert "Epoch 3: val_loss improved from 3.00000 to 2.00000, saving" in said
    assert saves(values, save_best_only=True, mode="max") == [0, 1]
    assert saves(values, save_best_only=True, initial_value_threshold=2.5) == [2, 5]
    with pytest.warns(UserWarning, match="ModelCheckpoint: there is no 'accuracy' to monitor, only: loss, val_loss"):
        assert saves([1, 2], save_best_only=True, monitor="accuracy", mode="max") == [0, 1]


def test_a_name_that_is_not_in_the_logs():
    with pytest.raises(KeyError, match=r"asks for 'val_acc', there is: 'loss', 'mae', 'epoch'"):
        trained(callbacks.ModelCheckpoint("{val_acc}.fusedlstm"))


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    history = trained(callbacks.CSVLogger(path), validation_split=0.25, validation_freq=2).history
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert [row["val_mae"] for row in rows] == ["NA", repr(history["val_mae"][0]), "NA"]
    trained(callbacks.CSVLogger(path, separator=",", append=True), epochs=1)
    with open(path, newline="") as file:
        assert len(list(csv.reader(file))) == 5  # and one header
    trained(callbacks.CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().splitlines()[0] == "epoch;loss;mae;val_loss;val_mae"


def test_swap_ema_weights(tmp_path):
    def optimizer():
        return optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)

    averages = []
    note = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: averages.append([a.copy() for _, a in note.model.optimizer.averages()])
    )
    path = tmp_path / "{epoch}.fusedlstm"
    swap = callbacks.SwapEMAWeights(swap_on_epoch=True)
    trained(note, swap, callbacks.ModelCheckpoint(path), optimizer=optimizer())
    for epoch, expected in enumerate(averages):
        again = models.load_model(str(path).format(epoch=epoch + 1))
        for a, b in zip(again.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(swap.model.get_weights(), averages[-1], strict=True):
        np.testing.assert_array_equal(a, b)
    plain = trained(optimizer=optimizer(), epochs=2).model
    before = plain.get_weights()
    x = np.ones((2, 4, 2), "float32")
    judged = plain.predict(x, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    for a, b in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    plain.set_weights([a for _, a in plain.optimizer.averages()])
    np.testing.assert_array_equal(plain.predict(x, verbose=0), judged)
    with pytest.raises(ValueError, match="SwapEMAWeights: expected an optimizer with use_ema=True"):
        trained(callbacks.SwapEMAWeights())


def test_progress_is_shown_once(capsys):
    x = np.zeros((4, 4, 2), "float32")
    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(2)])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((4, 2)), verbose=2, callbacks=[callbacks.ProgbarLogger()])
    assert capsys.readouterr().out.count("loss") == 1


def test_some_run_last():
    class Late(callbacks.Callback):
        runs_last = True

    late, first, second = Late(), Short(), Short()
    called = callbacks.CallbackList([late, first, second])
    assert called.callbacks == [first, second, late]
    assert late.siblings == [first, second]


class Short(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs))


class Whole(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []


for _hook in (name for name in dir(callbacks.Callback) if name.startswith("on_")):

    def _note(self, *args, _hook=_hook, **kwargs):
        self.calls.append((_hook, args, kwargs))

    setattr(Whole, _hook, _note)


def test_every_moment_is_passed_on():
    whole = Whole()
    called = callbacks.CallbackList([whole])
    for run in ("train", "test", "predict"):
        getattr(called, f"on_{run}_begin")({"a": 1})
        getattr(called, f"on_{run}_batch_begin")(2, {"b": 1})
        getattr(called, f"on_{run}_batch_end")(3, {"c": 1})
        getattr(called, f"on_{run}_end")()
        assert whole.calls == [
            (f"on_{run}_begin", ({"a": 1},), {}),
            (f"on_{run}_batch_begin", (2,), {"logs": {"b": 1}}),
            (f"on_{run}_batch_end", (3,), {"logs": {"c": 1}}),
            (f"on_{run}_end", (None,), {}),
        ]
        whole.calls.clear()
    called.on_epoch_begin(4)
    called.on_epoch_end(4, {"d": 1})
    assert whole.calls == [("on_epoch_begin", (4, None), {}), ("on_epoch_end", (4, {"d": 1}), {})]
    assert all(called.has(hook) for hook in ("on_train_begin", "on_test_batch_end", "on_predict_batch_begin"))


def test_the_short_names_of_batches_work():
    short = Short()
    called = callbacks.CallbackList([short, callbacks.History()])
    assert called.has("on_train_batch_end")
    assert not called.has("on_train_batch_begin")
    assert not called.has("on_test_batch_end")
    called.on_train_batch_end(3, {"loss": 1.0})
    called.on_batch_end(4)
    assert short.batches == [(3, {"loss": 1.0}), (4, None)]


def test_model_and_params_reach_every_callback():
    model, params, first, second = Model(), {"epochs": 2}, Short(), Short()
    callbacks.CallbackList((first, second), model, params)
    assert first.model is second.model is model
    assert first.params is second.params is params


ERRORS = [
    (lambda: callbacks.CallbackList([print]), TypeError, r"callbacks\[0\]: expected a Callback, got <built-in"),
    (
        lambda: callbacks.CallbackList([callbacks.History(), callbacks.EarlyStopping]),
        TypeError,
        r"callbacks\[1\]: expected a Callback, got .* \(a class: call it to make an instance\)",
    ),
    (
        lambda: callbacks.EarlyStopping(mode="lowest"),
        ValueError,
        "EarlyStopping: expected mode 'auto', 'min' or 'max', got",
    ),
    (lambda: callbacks.EarlyStopping(patience=-1), ValueError, "expected patience to be an integer >= 0, got -1"),
    (lambda: callbacks.EarlyStopping(start_from_epoch=1.5), ValueError, "expected start_from_epoch to be an integer"),
    (
        lambda: callbacks.EarlyStopping(monitor=None),
        TypeError,
        "EarlyStopping: expected monitor to be a name, got None",
    ),
    (lambda: callbacks.EarlyStopping(metric="loss"), TypeError, "metric"),
    (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ValueError, "expected factor from 0 to below 1, got 1.0"),
    (lambda: callbacks.ReduceLROnPlateau(cooldown=-1), ValueError, "expected cooldown to be an integer >= 0, got -1"),
    (lambda: callbacks.ReduceLROnPlateau(min_delta="a"), TypeError, "expected min_delta to be a number, got 'a'"),
    (
        lambda: callbacks.ModelCheckpoint("m.h5"),
        ValueError,
        "expected filepath to end in .fusedlstm or .keras with save_weights_only=False, got 'm.h5'",
    ),
    (
        lambda: callbacks.ModelCheckpoint("m.keras", save_weights_only=True),
        ValueError,
        "expected filepath to end in .weights.npz or .weights.h5 with save_weights_only=True",
    ),
    (lambda: callbacks.ModelCheckpoint("m.keras", save_freq=0), ValueError, "expected save_freq to be 'epoch' or a"),
    (lambda: callbacks.ModelCheckpoint(3), TypeError, "expected filepath to be a path, got 3"),
    (lambda: callbacks.LearningRateScheduler(0.1), TypeError, "expected schedule to be a function, got 0.1"),
    (lambda: callbacks.CSVLogger("a", ", "), ValueError, "expected separator to be one character, got ', '"),
    (lambda: callbacks.LambdaCallback(on_epoch=print), TypeError, "LambdaCallback: unknown argument 'on_epoch'"),
    (lambda: callbacks.LambdaCallback(on_epoch_end=3), TypeError, "expected on_epoch_end to be a function, got 3"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# What is left behind, several values, and errors that come in time.


class StopError(Exception):
    pass


def stop(*args, **kwargs):
    raise StopError


@pytest.mark.parametrize("moment", ["on_train_begin", "on_train_batch_end", "on_epoch_end"])
def test_terminate_on_nan_leaves_nothing_behind(moment):
    watching = callbacks.TerminateOnNaN()
    with pytest.raises(StopError):
        trained(watching, callbacks.LambdaCallback(**{moment: stop}))
    model, x, y = watching.model, np.ones((3, 4, 2), "float32"), np.ones((3, 1), "float32")
    flow = inspect.gradient_flow(model, x, y)
    assert list(flow.norms) == ["lstm"]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    watching.where = None
    model.predict(np.full_like(x, math.nan), verbose=0)
    assert watching.where is None


def test_copies_amid_fit_are_not_watched():
    seen = []
    x, y = np.ones((3, 4, 2), "float32"), np.ones((3, 1), "float32")

    def look(epoch, logs):
        model = watching.model
        seen.append(list(inspect.gradient_flow(model, x, y).norms))
        copy.deepcopy(model).predict(np.full_like(x, math.nan), verbose=0)
        seen.append(watching.where)
        model.predict(np.full_like(x, math.nan), verbose=0)
        seen.append(watching.where)

    watching = callbacks.TerminateOnNaN()
    trained(watching, callbacks.LambdaCallback(on_epoch_end=look), epochs=1)
    assert seen == [["lstm"], None, "the input 'x' is not finite in row 0 of the batch"]


def classes(*called, **arguments):
    """The history of a model whose metric has a value for each class."""
    x = np.random.default_rng(8).normal(size=(24, 4, 2)).astype("float32")
    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(3), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[metrics.F1Score()])
    return model.fit(x, np.eye(3)[np.arange(24) % 3], verbose=0, callbacks=list(called), **arguments)


@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (lambda: callbacks.EarlyStopping("f1_score", mode="max"), "EarlyStopping"),
        (lambda: callbacks.ReduceLROnPlateau("f1_score", mode="max"), "ReduceLROnPlateau"),
        (
            lambda: callbacks.ModelCheckpoint("no.fusedlstm", monitor="f1_score", mode="max", save_best_only=True),
            "ModelCheckpoint",
        ),
    ],
)
def test_a_value_for_each_class_is_not_monitored(make, owner):
    with pytest.raises(ValueError, match=f"{owner}: expected 'f1_score' to be one number, got 3 values"):
        classes(make())


def test_an_array_of_one_number_is_monitored():
    assert fit(callbacks.EarlyStopping(), [np.array([2.0]), np.array(1.0), np.float32(3)])[0] == 3
    with pytest.raises(ValueError, match="EarlyStopping: expected 'val_loss' to be one number, got 'low'"):
        fit(callbacks.EarlyStopping(), ["low"])


def test_csv_logger_writes_several_values_as_a_list(tmp_path):
    history = classes(callbacks.CSVLogger(tmp_path / "log.csv")).history
    with open(tmp_path / "log.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["f1_score"]) == pytest.approx(history["f1_score"][0].tolist())


def test_csv_logger_makes_folders_and_fails_ahead_of_the_first_step(tmp_path):
    trained(callbacks.CSVLogger(tmp_path / "a" / "b" / "log.csv"))
    assert len((tmp_path / "a" / "b" / "log.csv").read_text().splitlines()) == 4
    steps = []
    counting = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(batch))
    with pytest.raises(IsADirectoryError):
        trained(callbacks.CSVLogger(tmp_path / "a"), counting)
    assert not steps


def test_csv_logger_keeps_a_file_until_it_has_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old\n")
    with pytest.raises(StopError):
        trained(callbacks.CSVLogger(path), callbacks.LambdaCallback(on_train_batch_end=stop))
    assert path.read_text() == "old\n"
    trained(callbacks.CSVLogger(path), epochs=1)
    assert path.read_text().startswith("epoch,loss,mae")


@pytest.mark.parametrize("path", ["best.keras", "best.weights.h5"])
def test_model_checkpoint_without_h5py(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'need h5py: pip install "fusedlstm\[keras-files\]"'):
        callbacks.ModelCheckpoint(path, save_weights_only=path.endswith("h5"))


class Halving(optimizers.schedules.LearningRateSchedule):
    """Without get_config."""

    def __call__(self, step):
        return 0.1 / 2**step


@pytest.mark.parametrize("rate", [lambda: 1e-3, Halving()])
@pytest.mark.parametrize("ending", ["fusedlstm", "keras"])
def test_model_checkpoint_of_an_optimizer_without_config(tmp_path, rate, ending):
    if ending == "keras":
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    path = tmp_path / f"m.{ending}"
    with pytest.warns(UserWarning, match="saved without what compile was given: Adam cannot be saved: "):
        history = trained(callbacks.ModelCheckpoint(path), optimizer=optimizers.Adam(rate))
    assert history.epoch == [0, 1, 2]
    again = models.load_model(path)
    assert again.optimizer is None
    for a, b in zip(again.get_weights(), history.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "make",
    [
        lambda: callbacks.ReduceLROnPlateau("loss", patience=50),
        lambda: callbacks.LearningRateScheduler(lambda epoch: 0.1),
    ],
)
def test_a_schedule_and_a_callback_that_sets_the_rate(make):
    callback, steps = make(), []
    counting = callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: steps.append(batch), on_epoch_begin=lambda epoch, logs: steps.append(0)
    )
    schedule = optimizers.schedules.ExponentialDecay(0.1, decay_steps=3, decay_rate=0.5)
    message = f"{type(callback).__name__}: expected an optimizer whose learning rate is a number, got SGD with a "
    with pytest.raises(TypeError, match=f"{message}schedule, ExponentialDecay: use one or the other"):
        trained(counting, callback, optimizer=optimizers.SGD(schedule))
    assert not steps

"""Callbacks, called as `fit` calls them, by a model that only has weights and metrics."""

import math

import pytest

from fusedlstm import callbacks, metrics


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
    (lambda: callbacks.LambdaCallback(on_epoch=print), TypeError, "LambdaCallback: unknown argument 'on_epoch'"),
    (lambda: callbacks.LambdaCallback(on_epoch_end=3), TypeError, "expected on_epoch_end to be a function, got 3"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

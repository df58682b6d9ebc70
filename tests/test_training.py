import io
import sys

import numpy as np
import pytest

from fusedlstm.callbacks import Callback, EarlyStopping, LambdaCallback, TerminateOnNaN
from fusedlstm.layers import LSTM, BatchNormalization, Dense, Dropout, Input, TimeDistributed
from fusedlstm.models import Sequential
from fusedlstm.optimizers import SGD, Adam
from fusedlstm.utils import set_random_seed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 5, 2)).astype("float32")
Y = X.sum(axis=1)[:, :1]


def model(optimizer="sgd", **options):
    made = Sequential([Input((5, 2)), LSTM(3), Dense(1)], name="m")
    made.compile(optimizer, "mse", **options)
    return made


def fitted(**options):
    set_random_seed(7)
    made = model("adam")
    history = made.fit(X, Y, epochs=3, batch_size=8, verbose=0, **options)
    return made, history.history


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def test_training_lowers_the_loss():
    made = model(Adam(0.02))
    history = made.fit(X, Y, epochs=60, batch_size=5, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    assert made.history.history["loss"] is history


def test_the_same_seed_gives_the_same_run_to_the_bit():
    first, again, other = fitted(), fitted(), fitted(shuffle=False)
    assert same(first[0], again[0])
    assert first[1] == again[1]
    assert not same(first[0], other[0])


def test_one_step_is_the_gradient_step():
    made = model(SGD(0.1))
    before = made.get_weights()
    loss, gradients = made.compute_gradients(X, Y)
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))
    assert made.train_on_batch(X, Y) == loss
    for old, gradient, new in zip(before, gradients, made.get_weights(), strict=True):
        np.testing.assert_allclose(new, old - np.float32(0.1) * gradient, rtol=1e-6, atol=1e-7)


def with_state():
    made = Sequential(
        [
            Input((5, 2), batch_size=20),
            BatchNormalization(momentum=0.5),
            LSTM(3, stateful=True, return_sequences=True),
            Sequential([Input((5, 3)), BatchNormalization(momentum=0.5)]),
            TimeDistributed(BatchNormalization(momentum=0.5)),
            LSTM(2, stateful=True),
            Dense(1),
        ]
    )
    made.compile(SGD(0.1), "mse")
    made.fit(X, Y, batch_size=20, shuffle=False, verbose=0)
    return made


def state_of(made):
    lstms = [layer for layer in made.layers if isinstance(layer, LSTM)]
    return [w.numpy() for w in made.weights] + [state.copy() for layer in lstms for state in layer.states]


@pytest.mark.parametrize("training", [False, True])
def test_looking_at_gradients_changes_nothing(training):
    made = with_state()
    before = state_of(made)
    first = made.compute_gradients(X, Y, training=training)
    assert all(map(np.array_equal, before, state_of(made)))
    again = made.compute_gradients(X, Y, training=training)
    assert first[0] == again[0]
    assert all(map(np.array_equal, first[1], again[1]))
    with pytest.raises(ValueError, match="y does not fit"):
        made.compute_gradients(X, np.ones((20, 7)), training=training)
    assert all(map(np.array_equal, before, state_of(made)))


def test_an_own_training_loop_does_what_fit_does():
    set_random_seed(3)
    fitted = with_state()
    set_random_seed(3)
    made = with_state()
    fitted.fit(X, Y, batch_size=20, epochs=4, shuffle=False, verbose=0)
    for _ in range(4):
        _, gradients = made.compute_gradients(X, Y, update_state=True)
        made.optimizer.apply(gradients, made.trainable_weights)
    for a, b in zip(state_of(fitted), state_of(made), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="expected update_state to be True or False"):
        made.compute_gradients(X, Y, update_state=1)


def test_gradients_of_a_model_match_finite_differences():
    made = Sequential(
        [LSTM(3, return_sequences=True, dtype="float64"), LSTM(2, dtype="float64"), Dense(1, "tanh", dtype="float64")]
    )
    made.compile("sgd", "mse")
    weight = RNG.uniform(size=20)
    _, gradients = made.compute_gradients(X, Y, sample_weight=weight)
    for variable, gradient in zip(made.trainable_weights, gradients, strict=True):
        for _ in range(5):
            index = tuple(RNG.integers(0, n) for n in variable.shape)
            losses = []
            for step in (1e-6, -1e-6):
                variable.update()[index] += step
                losses.append(made.test_on_batch(X, Y, sample_weight=weight))
                variable.update()[index] -= step
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-3, abs=1e-5)


def test_the_epoch_s_loss_is_the_mean_over_rows():
    made = model(SGD(0.0))
    loss = made.fit(X, Y, batch_size=8, verbose=0).history["loss"][0]
    assert loss == pytest.approx(float(np.mean((made.predict(X, verbose=0) - Y) ** 2)), rel=1e-6)
    assert made.evaluate(X, Y, batch_size=3, verbose=0) == pytest.approx(loss, rel=1e-6)


def test_targets_and_inputs_may_lack_their_last_axis_of_one():
    one = Sequential([Input((5, 1)), LSTM(2), Dense(1)])
    one.compile(SGD(0.0), "mse")
    assert one.evaluate(X[..., :1], Y, verbose=0) == one.evaluate(X[..., 0], Y[:, 0], verbose=0)


def test_what_evaluate_returns():
    made = model(metrics=["mae"], weighted_metrics=["mae"])
    assert made.metrics == []
    loss, plain, weighted = made.evaluate(X, Y, sample_weight=np.arange(20), verbose=0)
    assert made.metrics_names == ["loss", "mae", "weighted_mae"]
    error = np.abs(made.predict(X, verbose=0) - Y)[:, 0]
    assert plain == pytest.approx(error.mean(), rel=1e-5)
    assert weighted == pytest.approx((error * np.arange(20)).sum() / 190, rel=1e-5)
    named = made.evaluate(X, Y, sample_weight=np.arange(20), verbose=0, return_dict=True)
    assert named == {"loss": loss, "mae": plain, "weighted_mae": weighted}
    assert isinstance(model().evaluate(X, Y, verbose=0), float)
    assert [metric.name for metric in made.metrics] == ["mae", "mae"]


def test_on_batch_values_are_the_batch_s_own():
    made = model(metrics=["mae"])
    whole = made.test_on_batch(X, Y)
    made.test_on_batch(X[:3], Y[:3])
    assert made.test_on_batch(X, Y) == whole
    assert made.train_on_batch(X, Y) == whole
    assert set(made.train_on_batch(X, Y, return_dict=True)) == {"loss", "mae"}


def test_history_has_sorted_names_and_validation():
    made = model(metrics=["mse", "mae"])
    history = made.fit(X, Y, validation_split=0.25, epochs=2, verbose=0)
    assert list(history.history) == ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse"]
    assert history.epoch == [0, 1]
    assert history.params == {"verbose": 0, "epochs": 2, "steps": 1}
    assert all(len(values) == 2 for values in history.history.values())


def test_validation_split_takes_the_last_rows():
    first, history = fitted(validation_split=0.25)
    set_random_seed(7)
    second = model("adam")
    data = (X[15:], Y[15:])
    expected = second.fit(X[:15], Y[:15], epochs=3, batch_size=8, verbose=0, validation_data=data).history
    assert same(first, second)
    assert history == expected


def test_validation_frequency():
    made, epochs = model(), []
    noted = LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch + 1) if "val_loss" in logs else None)
    made.fit(X, Y, epochs=5, validation_data=(X, Y), validation_freq=2, callbacks=[noted], verbose=0)
    assert epochs == [2, 4]
    made.fit(X, Y, epochs=5, validation_data=(X, Y), validation_freq=[1, 5], callbacks=noted, verbose=0)
    assert epochs == [2, 4, 1, 5]


def test_initial_epoch_and_no_epochs():
    assert model().fit(X, Y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    assert model().fit(X, Y, epochs=0, verbose=0).history == {}


def test_class_weight_is_a_sample_weight():
    labels = RNG.integers(0, 3, 20)
    weights = np.array([1.0, 5.0, 1.0])[labels]
    results = []
    for y, more in (
        (labels, {"sample_weight": weights}),
        (labels, {"class_weight": {1: 5.0}}),
        (labels[:, None], {"class_weight": {1: 5.0, 0: 1.0}}),
        (np.eye(3)[labels], {"class_weight": {1: 5.0}}),
    ):
        set_random_seed(1)
        made = Sequential([Input((5, 2)), LSTM(3), Dense(3, "softmax")])
        made.compile("sgd", "categorical_crossentropy" if y.shape == (20, 3) else "sparse_categorical_crossentropy")
        made.fit(X, y, verbose=0, epochs=2, **more)
        results.append(made)
    for made in results[1:]:
        for a, b in zip(results[0].get_weights(), made.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_targets_and_weights_per_time_step():
    made = Sequential([Input((5, 2)), LSTM(3, return_sequences=True), Dense(1)])
    made.compile(SGD(0.0), "mse", weighted_metrics=["mae"])
    targets, weight = X[..., :1], np.ones((20, 5))
    weight[:, 3:] = 0
    loss, error = made.evaluate(X, targets, sample_weight=weight, verbose=0)
    difference = made.predict(X, verbose=0)[:, :3] - targets[:, :3]
    assert loss == pytest.approx((difference**2).sum() / 100, rel=1e-5)
    assert error == pytest.approx(np.abs(difference).mean(), rel=1e-5)


class Indexed:
    """Batches by number, as a data set class has them."""

    passes = 0

    def __len__(self):
        return 4

    def __getitem__(self, k):
        return X[5 * k : 5 * k + 5], Y[5 * k : 5 * k + 5]

    def on_epoch_end(self):
        self.passes += 1


class Loader:
    """Batches by iteration."""

    def __iter__(self):
        return (Indexed()[k] for k in range(4))


@pytest.mark.parametrize("make", [Indexed, Loader])
def test_batches_from_an_object_equal_those_from_arrays(make):
    set_random_seed(1)
    first = model()
    first.fit(X, Y, batch_size=5, shuffle=False, epochs=2, verbose=0)
    set_random_seed(1)
    second, data = model(), make()
    history = second.fit(data, epochs=2, verbose=0, validation_data=make())
    assert same(first, second)
    assert history.params["steps"] == (4 if make is Indexed else None)
    if make is Indexed:
        assert data.passes == 2
    assert second.evaluate(make(), verbose=0) == pytest.approx(first.evaluate(X, Y, verbose=0), rel=1e-5)
    np.testing.assert_allclose(second.predict(make(), verbose=0), first.predict(X, verbose=0), rtol=1e-5, atol=1e-7)


def test_a_generator_with_steps_per_epoch_goes_on():
    seen = []

    def batches():
        for k in range(7):
            seen.append(k)
            yield X[k : k + 2], Y[k : k + 2]

    made = Sequential([LSTM(2), Dense(1)])
    made.compile("sgd", "mse")
    history = made.fit(batches(), epochs=2, steps_per_epoch=3, verbose=0)
    assert seen == list(range(6))
    assert len(history.history["loss"]) == 2
    assert made.built


def test_a_generator_that_ends_stops_training_with_a_warning():
    made = model()
    with pytest.warns(UserWarning, match="^Sequential 'm': fit ran out of data after 0 of some batches of epoch 2"):
        history = made.fit((batch for batch in Loader()), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 1
    with pytest.warns(UserWarning, match="^Sequential 'm': fit ran out of data after 1 of 3 batches of epoch 2"):
        history = made.fit((batch for batch in Loader()), epochs=3, steps_per_epoch=3, verbose=0)
    assert len(history.history["loss"]) == 2


def test_steps_per_epoch_with_arrays_goes_on_with_the_next_rows():
    rows = []

    class Watch(Callback):
        def on_epoch_end(self, epoch, logs=None):
            rows.append(logs["loss"])

    made = model(SGD(0.0))
    made.fit(X, Y, batch_size=5, steps_per_epoch=2, epochs=3, shuffle=False, callbacks=[Watch()], verbose=0)
    halves = [made.evaluate(X[:10], Y[:10], verbose=0), made.evaluate(X[10:], Y[10:], verbose=0)]
    np.testing.assert_allclose(rows, [halves[0], halves[1], halves[0]], rtol=1e-5)


def test_callbacks_get_running_values_and_can_stop():
    losses = []

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])
            self.model.stop_training = batch == 1

    made = model(SGD(0.0))
    history = made.fit(X, Y, batch_size=5, epochs=9, shuffle=False, callbacks=[Stop()], verbose=0)
    assert len(losses) == 2
    assert losses[1] == pytest.approx(made.evaluate(X[:10], Y[:10], verbose=0), rel=1e-5)
    assert len(history.history["loss"]) == 1


def test_the_order_of_the_callbacks_moments():
    moments = []
    names = [f"on_{run}_{end}" for run in ("train", "test", "predict", "epoch") for end in ("begin", "end")]
    names += [f"on_{run}_batch_{end}" for run in ("train", "test", "predict") for end in ("begin", "end")]
    noted = LambdaCallback(**{name: (lambda *_, name=name, **__: moments.append(name[3:])) for name in names})
    made = model()
    made.fit(X, Y, batch_size=20, validation_data=(X, Y), validation_batch_size=20, callbacks=[noted], verbose=0)
    assert moments == [
        *("train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "test_begin", "test_batch_begin"),
        *("test_batch_end", "test_end", "epoch_end", "train_end"),
    ]
    moments.clear()
    made.predict(X, callbacks=[noted], verbose=0)
    assert moments == ["predict_begin", "predict_batch_begin", "predict_batch_end", "predict_end"]


def test_early_stopping_restores_the_best_weights():
    made = model(SGD(5.0, clipnorm=None))
    stopping = EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append((logs["loss"], made.get_weights())))
    made.fit(X, Y * 100, epochs=40, callbacks=[keep, stopping], verbose=0)
    assert len(kept) < 40
    best = min(kept, key=lambda pair: pair[0])[1]
    assert all(np.array_equal(a, b) for a, b in zip(best, made.get_weights(), strict=True))


def test_terminate_on_nan(capsys):
    made, x = model(), X.copy()
    x[0, 0, 0] = np.nan
    history = made.fit(x, Y, epochs=5, batch_size=4, shuffle=False, callbacks=[TerminateOnNaN()], verbose=0)
    assert len(history.history["loss"]) == 1
    assert "Batch 0" in capsys.readouterr().out


def test_dropout_is_at_work_in_fit_only():
    made = Sequential([Input((5, 2)), LSTM(3), Dropout(0.9), Dense(1, kernel_initializer="ones")])
    made.compile(SGD(0.0), "mse")
    losses = made.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert losses[0] != losses[1]
    assert made.evaluate(X, Y, verbose=0) == made.evaluate(X, Y, verbose=0)
    quiet = [made.compute_gradients(X, Y, training=False)[0] for _ in range(2)]
    assert quiet[0] == quiet[1] == pytest.approx(made.evaluate(X, Y, verbose=0), rel=1e-6)


def test_frozen_layers_stay_as_they_are():
    made = model()
    made.layers[0].trainable = False
    made.compile("adam", "mse")
    before = made.get_weights()
    made.fit(X, Y, verbose=0, epochs=2)
    after = made.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert not np.array_equal(before[3], after[3])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", ">f8", "bool"])
def test_data_of_another_dtype_are_cast(dtype):
    x, y = (X * 3).astype(dtype), (Y * 3).astype(dtype)
    assert model().evaluate(x, y, verbose=0) > 0
    made = model(SGD(0.0))
    assert made.evaluate(x, y, verbose=0) == pytest.approx(
        made.evaluate(x.astype("float32"), y.astype("float32"), verbose=0), rel=1e-4
    )


def test_predicting_no_rows_gives_no_rows():
    assert model().predict(X[:0], verbose=0).shape == (0, 1)


def test_data_are_not_changed():
    x, y = X.copy(), Y.copy()
    model().fit(x, y, epochs=2, validation_split=0.2, verbose=0)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2), (2, 2), ("auto", 2), (False, 0)])
def test_what_is_printed_where_there_is_no_terminal(verbose, lines, monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    model().fit(X, Y, epochs=2, verbose=verbose)
    assert len(output.getvalue().splitlines()) == lines
    assert "\r" not in output.getvalue()

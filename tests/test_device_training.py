"""Training on the device beside the C backend: the same numbers, and nothing between host and device but batches."""

from __future__ import annotations

import copy
import json
import pickle

import functional_models
import numpy as np
import pytest
from cuda_case import need_cuda

need_cuda()

from device_case import BITS, CLASSES, IDS, USED, B, F, T, X, Y, assert_close, back_to_c, fit, numbers, on_device  # noqa: E402, F401

import fusedlstm  # noqa: E402
from fusedlstm import backends, inspect, layers, metrics, optimizers  # noqa: E402
from fusedlstm.backends import cuda_api  # noqa: E402
from fusedlstm.backends.cuda_api import CudaError  # noqa: E402
from fusedlstm.backends.device_array import to_device, to_host, transfers  # noqa: E402
from fusedlstm.layers import (  # noqa: E402
    GRU,
    LSTM,
    Attention,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Input,
    LayerNormalization,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential, load_model  # noqa: E402
from fusedlstm.utils import set_random_seed  # noqa: E402

pytestmark = pytest.mark.cuda


def regression():
    return Sequential([LSTM(2, input_shape=(T, F)), Dense(1)]), {"optimizer": "adam", "loss": "mse"}, X, Y


def sentiment():
    parts = [
        Embedding(5, 2, mask_zero=True),
        Bidirectional(LSTM(2)),
        Dropout(0.5),
        Dense(1, activation="sigmoid"),
    ]
    options = {"optimizer": "rmsprop", "loss": "binary_crossentropy", "metrics": ["accuracy"]}
    return Sequential([Input((T,), dtype="int32"), *parts]), options, IDS, BITS


def tagging():
    parts = [
        Embedding(5, 2, mask_zero=True),
        GRU(2, return_sequences=True, dropout=0.2),
        LayerNormalization(),
        GRU(2, return_sequences=True),
        TimeDistributed(Dense(3, activation="softmax")),
    ]
    options = {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    return Sequential([Input((T,), dtype="int32"), *parts]), options, IDS, CLASSES


def attending():
    x = Input((T, F))
    steps, h, c = LSTM(2, return_sequences=True, return_state=True)(x)
    decoded = LSTM(2, return_sequences=True)(x, initial_state=[h, c])
    seen = Concatenate()([decoded, Attention()([decoded, steps])])
    return Model(x, Dense(1)(seen)), {"optimizer": "nadam", "loss": "mae"}, X, numbers(3, B, T, 1)


MODELS = [regression, sentiment, tagging, attending]


def made(make, backend="c"):
    """A compiled model, the same whatever the backend, with its data."""
    fusedlstm.set_backend(backend)
    set_random_seed(7)
    model, options, x, y = make()
    model.compile(**options)
    return model, x, y


# The same as on the host.


@pytest.mark.parametrize("make", MODELS)
def test_fit_evaluate_and_predict_agree(make):
    found = []
    for backend in ("c", "cuda"):
        model, x, y = made(make, backend)
        history = fit(model, x, y, epochs=2)
        found.append([*model.get_weights(), *history.values(), model.evaluate(x, y, verbose=0), model.predict(x)])
    assert_close(found[1], found[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_agree(dtype):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        model = Sequential([Input((T, F)), LSTM(2, dtype=dtype), Dense(1, dtype=dtype)])
        model.compile("sgd", "mse")
        loss, gradients = model.compute_gradients(X, Y)
        assert on_device(gradients) == (backend == "cuda")
        found.append([loss, *gradients])
        assert np.asarray(gradients[0]).dtype == dtype
    assert_close(found[1], found[0], 2e-5 if dtype == "float32" else 1e-12)


def test_what_is_seen_inside_of_layers_is_on_the_host():
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        parts = [Embedding(5, 2, mask_zero=True), LSTM(2, return_sequences=True), GRU(2, name="last"), Dense(1)]
        model = Sequential([Input((T,), dtype="int32"), *parts])
        gates = inspect.gate_activations(model, IDS if backend == "c" else to_device(IDS), "last")
        saturation = inspect.gate_saturation(model, IDS, "last")
        found.append([*gates.values.values(), gates.mask, *saturation.shut["last"].values()])
        assert all(type(array) is np.ndarray for array in found[-1])
    assert_close(found[1], found[0])


@pytest.mark.parametrize("make", functional_models.MODELS)
def test_graphs_agree(make):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        model, options, x, y = make(layers, fusedlstm.models)
        x, y = ([a[:3] for a in part] if isinstance(part, list) else part[:3] for part in (x, y))
        found.append(functional_models.measure(model, optimizers.SGD, options, x, y, np.asarray) | {"layers": None})
    functional_models.assert_same(found[1], found[0])


class Doubled(layers.Layer):
    """A user's layer with weights and arithmetic of its own."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        x = self.check_inputs(inputs)
        scale = self.scale.value

        def backward(d_y):
            self.gradients = [2 * (d_y * x).sum(axis=tuple(range(x.ndim - 1)))]
            return 2 * d_y * scale

        return 2 * x * scale, backward


class Predicts(layers.Layer):
    """A user's layer that NumPy computes."""

    def call(self, inputs):
        return np.sort(np.asarray(inputs), axis=1)[:, ::-1]


class Largest(metrics.Metric):
    """A user's metric."""

    def __init__(self):
        super().__init__("largest")
        self.largest = self.add_variable(())

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(np.maximum(self.largest, np.abs(y_pred - y_true).max()))

    def result(self):
        return self.largest


def test_what_users_write_agrees():
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        model = Sequential([Input((T, F)), Doubled(activity_regularizer="l2"), LSTM(2), Dense(1)])
        model.compile("sgd", lambda t, p: (abs(p - t), np.sign(p - t)), metrics=[Largest()])
        history = fit(model, X, Y, epochs=2)
        assert all(type(value) is float for values in history.values() for value in values)
        assert all(type(value) is float for value in model.losses)
        found.append([*model.get_weights(), *history.values(), model.losses, Predicts()(X)])
        assert type(found[-1][-1]) is np.ndarray
    assert_close(found[1], found[0])


@pytest.mark.parametrize("way", ["tbptt", "online", "step losses", "resumed"])
def test_other_ways_to_train_agree(way):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        model = Sequential([Input((T, F)), GRU(2, return_sequences=True), Dense(1)])
        model.compile("adam", "mse", metrics=["mae"])
        y = numbers(3, B, T, 1)
        if way == "tbptt":
            got = [*fit(model, X, y, tbptt=2).values()]
        elif way == "online":
            got = model.online_update(X, y, window=2)
        elif way == "step losses":
            got = [model.step_losses(X, y)]
        else:
            model.fit(X, y, batch_size=2, verbose=0)
            state = json.loads(json.dumps(model.training_state()))
            model.restore_training_state(state)
            got = [*model.fit(X, y, batch_size=2, epochs=2, verbose=0).history.values()]
        found.append([*got, *model.get_weights()])
    assert_close(found[1], found[0])


def test_a_sine_is_learnt():
    series = np.sin(np.arange(0, 12, 0.5)).reshape(-1, 1)
    x = np.array([series[i : i + 3] for i in range(len(series) - 3)])
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(1)
        model = Sequential([LSTM(4, input_shape=(3, 1)), Dense(1)])
        model.compile(optimizers.Adam(0.1), "mse")
        found.append(model.fit(x, series[3:], epochs=10, batch_size=7, verbose=0).history["loss"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
    assert found[1][-1] < found[1][0] / 10


# What goes between host and device.


def leaves(counts):
    """How often anything went to the host."""
    return sum(n for reason, n in counts.items() if reason.startswith("to_host"))


@pytest.mark.parametrize(
    ("make", "least", "most"), [(regression, 2, 2), (sentiment, 3, 21), (tagging, 5, 25), (attending, 2, 2)]
)
def test_a_step_takes_the_batch_in_and_nothing_out(make, least, most):
    model, x, y = made(make, "cuda")
    model.train_on_batch(x, y)
    batch = model._batch(x, y, None)
    weights = [variable.value.block for variable in model.weights]
    with transfers.counted() as counts:
        model._learn(batch, model._objective, model.optimizer, model.trainable_weights)
    assert leaves(counts) == 0, counts
    # Inputs, targets for loss and metric, masks, and the numbers of the slots of masked sequences.
    assert least <= counts["to_device"] <= most, counts
    assert [variable.value.block for variable in model.weights] == weights
    assert on_device(model.optimizer._buffers())
    assert on_device(model.gradients)
    with transfers.counted() as counts:
        logs = model.train_on_batch(x, y)
    assert leaves(counts) == 1 + len(model.metrics), counts
    assert all(type(value) is float for value in (logs if isinstance(logs, list) else [logs]))


def test_the_loss_of_an_epoch_comes_out_once():
    model, x, y = made(regression, "cuda")
    fit(model, x, y)
    with transfers.counted() as counts:
        fit(model, x, y, epochs=3)
    assert counts == {"to_device": 3 * 2 * 2, "to_host: float": 3}


def test_steps_take_memory_that_earlier_ones_gave_back():
    from fusedlstm.backends.device_array import pool

    model, x, y = made(tagging, "cuda")
    fit(model, x, y, epochs=2)
    before = pool.allocations
    fit(model, x, y, epochs=2)
    assert pool.allocations == before


def test_results_are_where_the_inputs_are():
    class Foreign:
        """An array of another library."""

        def __init__(self, array):
            self._array = array

        @property
        def __cuda_array_interface__(self):
            return self._array.__cuda_array_interface__

    model, x, y = made(regression, "cuda")
    on_host = model.predict(x, verbose=0)
    assert type(on_host) is np.ndarray
    assert type(model(x)) is type(model.predict_on_batch(x)) is type(model.layers[0](x)) is np.ndarray
    there, targets = to_device(x), to_device(y)
    for array in (there, Foreign(there)):
        with transfers.counted() as counts:
            outputs = [model(array), model.predict_on_batch(array), model.predict(array, batch_size=3, verbose=0)]
            first = model.layers[0](array)
        assert on_device([*outputs, first])
        assert not counts
        for output in outputs:
            np.testing.assert_allclose(to_host(output), on_host, rtol=1e-6)
    with transfers.counted() as counts:
        model.fit(Foreign(there), Foreign(targets), batch_size=2, shuffle=False, verbose=0)
    assert counts.keys() == {"to_device", "to_host: float"}
    assert counts["to_device"] == 1  # a prediction for the first row, to look at targets before anything is changed
    assert counts["to_host: float"] == 2  # its loss, and that of the epoch
    again, _, _ = made(regression)
    again.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    assert_close(model.get_weights(), again.get_weights())
    fusedlstm.set_backend("c")
    np.testing.assert_allclose(again.predict(there, verbose=0), again.predict(x, verbose=0))


# Moving.


def test_training_goes_on_where_it_was_on_another_backend():
    whole, x, y = made(sentiment)
    fit(whole, x, y, epochs=3)
    model, x, y = made(sentiment)
    fit(model, x, y)
    fusedlstm.set_backend("cuda")
    assert on_device(variable.value for variable in model.weights)
    fit(model, x, y)
    fusedlstm.set_backend("reference")
    assert all(type(variable.value) is np.ndarray for variable in model.weights)
    fusedlstm.set_backend("c")
    fit(model, x, y)
    assert_close([*model.get_weights(), *model.optimizer.variables], [*whole.get_weights(), *whole.optimizer.variables])


@pytest.mark.parametrize("layer", [LSTM, GRU])
def test_packed_weights_are_not_those_of_before(layer):
    model = Sequential([Input((T, F)), layer(2)])
    model.predict(X, verbose=0)
    fusedlstm.set_backend("cuda")
    fusedlstm.set_backend("reference")
    fusedlstm.set_backend("c")
    model.set_weights([w + 1 for w in model.get_weights()])
    got = model.predict(X, verbose=0)
    fusedlstm.set_backend("reference")
    np.testing.assert_allclose(got, model.predict(X, verbose=0), rtol=1e-5)


def test_states_go_along():
    found = []
    for switches in (False, True):
        fusedlstm.set_backend("c")
        set_random_seed(7)
        model = Sequential([Input((T, F), batch_size=B), LSTM(2, stateful=True), Dense(1)])
        outputs = []
        for backend in ("c", "cuda", "c"):
            fusedlstm.set_backend(backend if switches else "c")
            outputs.append(model.predict(X, batch_size=B, verbose=0))
        found.append(outputs)
    assert_close(found[1], found[0])


def test_out_of_memory_leaves_all_where_it_is(monkeypatch):
    model, x, y = made(regression)
    fit(model, x, y)
    before, given = model.get_weights(), []

    def allocate(nbytes):
        given.append(nbytes)
        raise MemoryError

    monkeypatch.setattr(cuda_api, "allocate", allocate)
    from fusedlstm.backends.device_array import pool

    pool.release()
    with pytest.raises(CudaError, match=r"out of device memory: [0-9]+ bytes"):
        fusedlstm.set_backend("cuda")
    assert given
    assert fusedlstm.get_backend() == "c"
    assert all(type(variable.value) is np.ndarray for variable in model.weights)
    monkeypatch.undo()
    assert_close(model.get_weights(), before, 0)
    again, _, _ = made(regression)
    fit(again, x, y, epochs=2)
    fit(model, x, y)
    assert_close(model.get_weights(), again.get_weights(), 0)


def test_out_of_memory_in_a_step_leaves_the_model_usable(monkeypatch):
    from fusedlstm.backends.device_array import pool

    model, x, y = made(regression, "cuda")
    fit(model, x, y)
    before = model.get_weights()
    monkeypatch.setattr(cuda_api, "allocate", lambda nbytes: (_ for _ in ()).throw(MemoryError))
    large = np.zeros((2000, T, F), "float32")
    with pytest.raises(CudaError, match="out of device memory"):
        model.fit(large, large[:, 0, :1], batch_size=2000, verbose=0)
    monkeypatch.undo()
    pool.release()
    assert_close(model.get_weights(), before, 0)
    fit(model, x, y)
    assert not np.array_equal(model.get_weights()[0], before[0])


def test_files_and_copies_hold_host_arrays(tmp_path):
    model, x, y = made(regression, "cuda")
    fit(model, x, y)
    model.save(tmp_path / "model.fusedlstm")
    data, deep = pickle.dumps(model), copy.deepcopy(model)
    assert on_device(variable.value for variable in deep.weights)
    assert b"DeviceArray" not in data
    fit(model, x, y)
    fit(deep, x, y)
    fusedlstm.set_backend("c")
    copies = [pickle.loads(data), load_model(tmp_path / "model.fusedlstm")]
    for each in copies:
        fit(each, x, y)
    for each in (deep, *copies):
        assert_close(
            [*each.get_weights(), *each.optimizer.variables], [*model.get_weights(), *model.optimizer.variables]
        )
    fusedlstm.set_backend("cuda")
    there = pickle.loads(data)
    assert on_device(variable.value for variable in there.weights)
    assert on_device(there.optimizer._buffers())


# Errors are those of the host.


def test_labels_and_ids_are_looked_at_before_they_go():
    model, x, y = made(tagging, "cuda")
    fit(model, x, y)
    with pytest.raises(ValueError, match=r"expected ids in 0 ... 4, got 5"):
        model.predict(np.array([[1, 2, 5]]), verbose=0)
    with pytest.raises(ValueError, match=r"expected labels in 0 ... 2"):
        model.fit(x, np.array([*CLASSES[:2], *CLASSES[2:] + 5]), batch_size=2, shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=r"expected ids in 0 ... 4, got 5"):
        model.predict(to_device(np.array([[1, 2, 5]])), verbose=0)


def test_environment_chooses_it(monkeypatch):
    import os
    import subprocess
    import sys

    code = """
import numpy, fusedlstm
from fusedlstm.layers import LSTM
layer = LSTM(2)
y = layer(numpy.ones((1, 2, 3), "float32"))
print(fusedlstm.get_backend(), type(y).__name__, type(layer.kernel.value).__name__)
"""
    environment = {**os.environ, "FUSEDLSTM_BACKEND": "cuda"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["cuda", "ndarray", "DeviceArray"]
    assert backends.current().__name__.endswith(".c")

"""Training on the device beside the C backend: the same numbers, and nothing between host and device but batches."""

from __future__ import annotations

import copy
import pickle

import functional_models
import keras_around
import numpy as np
import pytest
from cuda_case import need_cuda

need_cuda()

import fusedlstm  # noqa: E402
from fusedlstm import backends, layers, losses, metrics, optimizers  # noqa: E402
from fusedlstm.activations import Activation  # noqa: E402
from fusedlstm.backends import cuda_api  # noqa: E402
from fusedlstm.backends.cuda_api import CudaError  # noqa: E402
from fusedlstm.backends.device_array import DeviceArray, to_device, to_host, transfers  # noqa: E402
from fusedlstm.layers import (  # noqa: E402
    GRU,
    LSTM,
    RNN,
    Attention,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Input,
    LayerNormalization,
    SimpleRNN,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential, load_model  # noqa: E402
from fusedlstm.utils import set_random_seed  # noqa: E402

pytestmark = pytest.mark.cuda

B, T, F = 4, 3, 2


@pytest.fixture(autouse=True)
def back_to_c():
    fusedlstm.set_backend("c")
    yield
    fusedlstm.set_backend("c")


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X, Y = numbers(1, B, T, F), numbers(2, B, 1)
IDS = np.array([[1, 2, 0], [3, 0, 0], [4, 4, 4], [2, 1, 3]])
USED = IDS != 0
BITS = np.array([[0], [1], [1], [0]])
CLASSES = np.array([[0, 1, 2], [2, 2, 1], [0, 0, 1], [1, 2, 0]])


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


def fit(model, x, y, epochs=1, **options):
    return model.fit(x, y, batch_size=2, epochs=epochs, shuffle=False, verbose=0, **options).history


def assert_close(got, want, tolerance=2e-5):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def on_device(arrays):
    return all(type(array) is DeviceArray for array in arrays)


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


@pytest.mark.parametrize("make", functional_models.MODELS)
def test_graphs_agree(make):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        model, options, x, y = make(layers, fusedlstm.models)
        x, y = ([a[:3] for a in part] if isinstance(part, list) else part[:3] for part in (x, y))
        found.append(functional_models.measure(model, optimizers.SGD, options, x, y, np.asarray) | {"layers": None})
    functional_models.assert_same(found[1], found[0])


def layer_of(case):
    name, options, shapes, *_ = case
    if name == "TimeDistributed":
        inner = options["layer"]
        options = {"layer": getattr(layers, inner["class_name"])(**inner["config"])}
    if name in ("Dropout", "SpatialDropout1D", "GaussianNoise"):
        options = {**options, "seed": 1}
    layer = getattr(layers, name)(**options)
    layer.build(shapes)
    layer.set_weights(keras_around.weights([w.shape for w in layer.weights]))
    return layer


def run_layer(case):
    """Outputs, gradients and weights of a layer's call, and the outputs' mask."""
    name, _, shapes, kind, call, training = case
    layer, several = layer_of(case), isinstance(shapes, list)
    inputs, mask = keras_around.arrays(case), keras_around.masks(case)
    inputs, mask = (inputs, mask) if several else (inputs[0], mask[0])
    noisy = name in ("Dropout", "SpatialDropout1D", "GaussianNoise")
    outputs, backward = layer.forward(inputs, training or noisy, mask, need_backward=True, **call)
    results = outputs if isinstance(outputs, list) else [outputs]
    d_outputs = [numbers(k, *y.shape) for k, y in enumerate(results)]
    d_inputs = backward(d_outputs if isinstance(outputs, list) else d_outputs[0])
    arrays = [*results, *layer.gradients, *(d_inputs if isinstance(d_inputs, list) else [d_inputs])]
    computed = [array for array in arrays if array is not None]
    known = None if kind == "full" else layer.compute_mask(inputs, mask)
    return computed, [variable.numpy() for variable in layer.non_trainable_weights], known


# One in seven of each class's, so that the simulator is done in time.
AROUND = [
    case
    for name in dict.fromkeys(case[0] for case in keras_around.CASES)
    for case in [each for each in keras_around.CASES if each[0] == name][::7]
]


@pytest.mark.parametrize("case", AROUND, ids=keras_around.describe)
@pytest.mark.filterwarnings("ignore:.*mask.*ends here")
def test_layers_agree(case):
    want, moving, mask = run_layer(case)
    fusedlstm.set_backend("cuda")
    layers_of_inputs = run_layer(case)
    with transfers.counted() as counts:
        got, moved, mask_there = run_layer(case)
    assert on_device(got)
    assert counts["to_host"] == 0, counts
    assert sum(n for reason, n in counts.items() if reason.startswith("to_host")) == len(moved), counts
    assert_close([*map(to_host, got), *moved], [*want, *moving], 1e-4)
    del layers_of_inputs
    flat, flat_there = (m if isinstance(m, list) else [m] for m in (mask, mask_there))
    for a, b in zip(flat, flat_there, strict=True):
        assert (a is None) == (b is None)
        np.testing.assert_array_equal(a, b)


OPTIMIZERS = [
    optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.1),
    optimizers.Adam(0.1, amsgrad=True, use_ema=True, ema_momentum=0.5),
    optimizers.AdamW(0.1, weight_decay=0.1, gradient_accumulation_steps=2),
    optimizers.Nadam(0.1, global_clipnorm=0.1),
    optimizers.Adamax(0.1, clipvalue=0.01),
    optimizers.RMSprop(0.1, momentum=0.5, centered=True),
    optimizers.Adagrad(0.1),
    optimizers.Adadelta(1.0),
    optimizers.Lion(0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_optimizers_agree(optimizer):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        options = {"kernel_regularizer": "l2", "bias_regularizer": "l1", "kernel_constraint": "max_norm"}
        model = Sequential([Embedding(60, 3), Dense(2, **options), Dense(1, kernel_constraint="non_neg")])
        mine = type(optimizer).from_config(optimizer.get_config())
        model.compile(mine, "mse")
        fit(model, IDS, numbers(5, B, T, 1), epochs=2)
        assert on_device(mine._buffers()) == (backend == "cuda")
        found.append([*model.get_weights(), *mine.variables])
    assert_close(found[1], found[0])


LOSSES = [
    ("binary_crossentropy", "bits"), (losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), "bits"),
    ("binary_focal_crossentropy", "bits"), ("categorical_crossentropy", "one-hot"),
    (losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), "one-hot"),
    ("categorical_focal_crossentropy", "one-hot"), ("categorical_hinge", "one-hot"), ("kl_divergence", "one-hot"),
    ("sparse_categorical_crossentropy", "classes"),
    (losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2), "classes"),
    (losses.CTC(), "labels"), ("mse", "numbers"), ("mae", "numbers"), ("mape", "numbers"), ("msle", "numbers"),
    ("huber", "numbers"), ("log_cosh", "numbers"), ("poisson", "bits"), ("hinge", "bits"), ("squared_hinge", "bits"),
    ("cosine_similarity", "numbers"), (losses.MeanSquaredError("mean_with_sample_weight"), "numbers"),
    (lambda t, p: ((p - t) ** 2, 2 * (p - t)), "numbers"),
]  # fmt: skip
TARGETS = {
    "bits": (CLASSES > 0)[..., None] * np.ones(3, int),
    "one-hot": np.eye(3, dtype="float32")[CLASSES],
    "classes": CLASSES,
    "labels": np.array([[1, 2], [1, 0], [2, 2], [2, 1]]),
    "numbers": numbers(6, B, T, 3),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("loss", "kind"), LOSSES, ids=lambda v: getattr(v, "name", getattr(v, "__name__", str(v))))
def test_losses_agree(loss, kind, masked):
    loss = losses.get(loss)
    predicted = 1 / (1 + np.exp(-numbers(4, B, T, 3)))
    weight = None if kind == "labels" else np.array([1, 2, 0.5, 0], "float32")
    mask = USED if masked else None
    want, d_want = loss.value_and_gradient(TARGETS[kind], predicted, weight, mask)
    fusedlstm.set_backend("cuda")
    there = to_device(predicted)
    with transfers.counted() as counts:
        value, d_there = loss.value_and_gradient(TARGETS[kind], there, weight, mask)
    assert on_device([d_there])
    assert counts.keys() <= {"to_device", "to_host: float"}, counts
    assert counts["to_host: float"] == (loss.reduction == "mean_with_sample_weight") * (weight is not None)
    assert_close([value, d_there], [want, d_want])
    assert type(loss(TARGETS[kind], there, weight, mask)) is float
    assert_close([loss(TARGETS[kind], predicted, weight, mask)], [want])


METRICS = [
    "mse", "mae", "binary_accuracy", "cosine_similarity", "binary_crossentropy", metrics.AUC(num_thresholds=5),
    metrics.Precision(), metrics.R2Score(), metrics.RootMeanSquaredError(), metrics.F1Score(), "log_cosh",
    metrics.PearsonCorrelation(), metrics.TopKCategoricalAccuracy(2), "categorical_accuracy",
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: getattr(metric, "name", metric))
def test_metrics_agree(metric):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        model = Sequential([Input((T, F)), Dense(3, activation="softmax")])
        model.compile(loss="mse", weighted_metrics=[copy.deepcopy(metric)])
        scores = model.evaluate(X, TARGETS["one-hot"], batch_size=2, sample_weight=np.array([1, 2, 0, 1]), verbose=0)
        found.append(np.concatenate([np.ravel(score) for score in scores]))
    assert_close(found[1], found[0], 1e-5)


@pytest.mark.filterwarnings("ignore:.*the kernels do not have")
@pytest.mark.filterwarnings("ignore:.*is run step by step")
@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTM(2, activation="silu", return_sequences=True),
        lambda: GRU(2, activation=Activation("cube", lambda x: x**3, lambda d, x, y: 3 * d * x * x)),
        lambda: RNN(layers.MUT1(2)),
        lambda: RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_sequences=True),
        lambda: SimpleRNN(2, go_backwards=True, return_sequences=True, recurrent_dropout=0.5),
        lambda: LSTM(2, peephole=True, layer_norm=True, zoneout_h=0.5, projection=3),
        lambda: Bidirectional(RNN(layers.MUT1(2)), merge_mode="mul"),
    ],
)  # fmt: skip
def test_what_falls_back_agrees(make):
    found = []
    for backend in ("c", "cuda"):
        fusedlstm.set_backend(backend)
        set_random_seed(7)
        model = Sequential([Input((T, F)), layers.Masking(), make(), layers.Flatten(), Dense(1, activation="gelu")])
        model.compile("sgd", "mse")
        with (
            pytest.warns(UserWarning, match="mask does not fit")
            if model.layers[1].__dict__.get("return_sequences")
            else np.errstate()
        ):
            fit(model, X * USED[..., None], Y)
        found.append([*model.get_weights(), model.predict(X, verbose=0)])
    assert_close(found[1], found[0], 1e-4)


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

"""Layers, optimizers, losses and metrics on the device beside the C backend: the same numbers."""

from __future__ import annotations

import copy

import keras_around
import numpy as np
import pytest
from cuda_case import need_cuda

need_cuda()

from device_case import CLASSES, IDS, USED, B, F, T, X, Y, assert_close, back_to_c, fit, numbers, on_device  # noqa: E402, F401

import fusedlstm  # noqa: E402
from fusedlstm import layers, losses, metrics, optimizers  # noqa: E402
from fusedlstm.activations import Activation  # noqa: E402
from fusedlstm.backends.device_array import to_device, to_host, transfers  # noqa: E402
from fusedlstm.layers import (  # noqa: E402
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    Input,
    SimpleRNN,
)
from fusedlstm.models import Sequential  # noqa: E402
from fusedlstm.utils import set_random_seed  # noqa: E402

pytestmark = pytest.mark.cuda


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
    with transfers.counted() as counts:
        got, moved, mask_there = run_layer(case)
    assert on_device(got)
    assert counts["to_host"] == 0, counts
    assert sum(n for reason, n in counts.items() if reason.startswith("to_host")) == len(moved), counts
    assert_close([*map(to_host, got), *moved], [*want, *moving], 1e-4)
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
@pytest.mark.filterwarnings("ignore:.*mask does not fit its outputs")
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
        fit(model, X * USED[..., None], Y)
        found.append([*model.get_weights(), model.predict(X, verbose=0)])
    assert_close(found[1], found[0], 1e-4)

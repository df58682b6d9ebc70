"""Files of models and weights, written by Keras and read here, and the other way round."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fusedlstm import layers, models, optimizers, saving

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, on the NumPy at hand
    pytest.mark.filterwarnings("ignore:.*ends here"),
    pytest.mark.filterwarnings("ignore:.*does not support masking"),
]

RNG = np.random.default_rng(11)
X = RNG.normal(size=(6, 5, 3)).astype("float32")
IDS = RNG.integers(1, 7, (6, 5)).astype("int32")
IDS[2:, 3:] = 0


def recurrent(library):
    return [
        library.Input((5, 3)),
        library.LSTM(4, return_sequences=True, kernel_regularizer="l2", recurrent_constraint="max_norm", name="first"),
        library.GRU(3, return_sequences=True, dropout=0.2, bias_initializer="ones"),
        library.SimpleRNN(3, return_sequences=True, activation="relu"),
        library.Bidirectional(library.LSTM(2, return_sequences=True), merge_mode="sum"),
        library.Dense(2, activation="tanh", kernel_regularizer="l1"),
        library.GRU(2, reset_after=False),
    ]


def cells(library):
    return [
        library.Input((5, 3)),
        library.RNN([library.LSTMCell(2), library.GRUCell(3), library.LSTMCell(2)], return_sequences=True),
        library.RNN(library.SimpleRNNCell(3), return_sequences=True),
        library.TimeDistributed(library.Dense(4)),
        library.Bidirectional(library.RNN(library.LSTMCell(2))),
    ]


def around(library):
    return [
        library.Input((5, 3)),
        library.Masking(0.5),
        library.Conv1D(4, 2, padding="causal", activation="relu"),
        library.BatchNormalization(),
        library.LayerNormalization(epsilon=0.01),
        library.SpatialDropout1D(0.2),
        library.GaussianNoise(0.1),
        library.Dropout(0.3),
        library.ReLU(negative_slope=0.1),
        library.MaxPooling1D(2),
        library.Permute((2, 1)),
        library.Reshape((2, 4)),
        library.Flatten(),
        library.RepeatVector(3),
        library.AveragePooling1D(2, strides=1),
        library.GlobalMaxPooling1D(),
        library.Softmax(),
        library.Activation("sigmoid"),
        library.Dense(2, use_bias=False, kernel_initializer="he_normal"),
    ]


def graph(module, library):
    a, ids = library.Input((5, 3), name="a"), library.Input((5,), dtype="int32", name="ids")
    e = library.Embedding(7, 4, mask_zero=True)(ids)
    y, h, c = library.LSTM(4, return_sequences=True, return_state=True)(e)
    z = library.LSTM(4, return_sequences=True)(a, initial_state=[h, c])
    attended = library.MultiHeadAttention(2, 3)(z, y)
    second = library.Attention(use_scale=True)([z, attended])
    third = library.AdditiveAttention()([z, second])
    shared = library.Dense(4)
    joined = library.Concatenate()([shared(attended), shared(third), library.Add()([z, second])])
    inner = module.Sequential([library.Dense(3), library.LSTM(3, return_sequences=True)])
    deep = library.Input((5, 3))
    nested = module.Model(deep, library.Subtract()([library.Dense(3)(deep), deep]))
    out = nested(inner(joined))
    out = (2.0 * out - out / 4.0)[:, -1]
    return module.Model([a, ids], {"last": library.Dense(1)(out), "all": z})


MODELS = {
    "recurrent": (lambda module, library: module.Sequential(recurrent(library)), X),
    "cells": (lambda module, library: module.Sequential(cells(library)), X),
    "around": (lambda module, library: module.Sequential(around(library)), X),
    "graph": (graph, [X, IDS]),
}
OPTIMIZERS = {
    "adam": lambda o: o.Adam(0.01, amsgrad=True),
    "rmsprop": lambda o: o.RMSprop(momentum=0.5, centered=True),
    "sgd": lambda o: o.SGD(0.01, momentum=0.9, nesterov=True),
    "adamw": lambda o: o.AdamW(clipnorm=1.0),
}


def compiled(model, optimizer, name):
    model.compile(optimizer, {"last": "mse", "all": "mae"} if name == "graph" else "mse")
    return model


def targets(model, name):
    if name == "graph":
        return {"last": np.full((6, 1), 0.5, "float32"), "all": np.full((6, 5, 4), 0.5, "float32")}
    return np.full((6, *model.output_shape[1:]), 0.5, "float32")


def arrays(value):
    if isinstance(value, dict):
        return [np.asarray(value[name]) for name in sorted(value)]
    return [np.asarray(v) for v in (value if isinstance(value, list) else [value])]


def assert_same(first, second, x, rtol=2e-5):
    for a, b in zip(arrays(first.predict(x, verbose=0)), arrays(second.predict(x, verbose=0)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "adam") for name in MODELS), *(("graph", o) for o in OPTIMIZERS if o != "adam")]
)
def test_models_go_both_ways_and_train_on(tmp_path, name, optimizer):
    """A model that was trained there, or here, is loaded and trained one more step by each."""
    make, x = MODELS[name]
    for module, library, kind in (
        (keras, keras.layers, keras.optimizers),
        (models, layers, optimizers),
    ):
        path = tmp_path / f"{module.__name__}.keras"
        model = compiled(make(module, library), OPTIMIZERS[optimizer](kind), name)
        y = targets(model, name)
        model.fit(x, y, epochs=2, batch_size=6, shuffle=False, verbose=0)
        model.save(path)
        ours, theirs = models.load_model(path), keras.saving.load_model(path)
        for mine, other, saved in zip(ours.weights, theirs.weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(mine.value, np.asarray(other))
            np.testing.assert_array_equal(mine.value, np.asarray(saved))
        assert_same(ours, theirs, x)
        assert_same(ours, model, x)
        state = zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True)
        for mine, other in state:
            np.testing.assert_allclose(mine, np.asarray(other), rtol=1e-7)
        if name in ("recurrent", "around"):  # dropout
            continue
        for trained in (ours, theirs):
            trained.fit(x, y, batch_size=6, shuffle=False, verbose=0)
        for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(mine, np.asarray(other), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_both_ways(tmp_path, name):
    make, x = MODELS[name]
    theirs, ours = make(keras, keras.layers), make(models, layers)
    theirs.save_weights(tmp_path / "there.weights.h5")
    ours.load_weights(tmp_path / "there.weights.h5")
    assert_same(ours, theirs, x)
    again = make(models, layers)
    again.save_weights(tmp_path / "here.weights.h5")
    theirs.load_weights(tmp_path / "here.weights.h5")
    assert_same(again, theirs, x)


@pytest.mark.parametrize("library", ["keras", "here"])
def test_what_was_compiled_comes_along(tmp_path, library):
    module, parts = (keras, keras.layers) if library == "keras" else (models, layers)
    kind = keras if library == "keras" else __import__("fusedlstm")
    model = module.Sequential([parts.Input((5, 3)), parts.LSTM(2), parts.Dense(3, activation="softmax")])
    model.compile(
        kind.optimizers.Adam(0.02, beta_1=0.8, weight_decay=0.01),
        kind.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", kind.metrics.MeanSquaredError(name="squares")],
        weighted_metrics=["mae"],
    )
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    model.fit(X, y, verbose=0)
    model.save(tmp_path / "m.keras")
    ours, theirs = models.load_model(tmp_path / "m.keras"), keras.saving.load_model(tmp_path / "m.keras")
    for got, want in zip(ours.evaluate(X, y, verbose=0), theirs.evaluate(X, y, verbose=0), strict=True):
        assert got == pytest.approx(float(want), rel=1e-5)
    config = ours.optimizer.get_config()
    assert config["learning_rate"] == pytest.approx(0.02)
    assert (config["beta_1"], config["weight_decay"]) == (0.8, 0.01)
    assert models.load_model(tmp_path / "m.keras", compile=False).optimizer is None


def test_a_schedule_comes_along(tmp_path):
    for module, parts, kind in ((keras, keras.layers, keras.optimizers), (models, layers, optimizers)):
        model = module.Sequential([parts.Input((5, 3)), parts.LSTM(2)])
        model.compile(kind.Adam(kind.schedules.ExponentialDecay(0.1, 10, 0.5)), "mse")
        model.fit(X, np.zeros((6, 2)), verbose=0)
        model.save(tmp_path / "m.keras")
        ours, theirs = models.load_model(tmp_path / "m.keras"), keras.saving.load_model(tmp_path / "m.keras")
        assert float(ours.optimizer.learning_rate) == pytest.approx(float(theirs.optimizer.learning_rate), rel=1e-6)


def own_layer(library, register):
    """A layer that holds others in a dict, a list and an attribute."""

    @register(package="files")
    class Pair(library.Layer):
        def __init__(self, units=2, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.table = {"a": library.Dense(units), "b": [library.Dense(units)]}
            self.last = library.LSTM(units)

        def call(self, inputs):
            return self.last(self.table["a"](inputs) + self.table["b"][0](inputs))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Pair


def test_own_layers_registered_under_the_same_name(tmp_path):
    made = []
    for module, library, register in (
        (keras, keras.layers, keras.saving.register_keras_serializable),
        (models, layers, saving.register_keras_serializable),
    ):
        x = library.Input((5, 3))
        made.append(module.Model(x, own_layer(library, register)(3, name="p")(x)))
    theirs, ours = made
    theirs.save_weights(tmp_path / "there.weights.h5")
    ours.load_weights(tmp_path / "there.weights.h5")
    assert_same(ours, theirs, X)


def test_what_keras_lacks_is_said(tmp_path):
    for layer, word in (
        (layers.LSTM(2, peephole=True, name="p"), "peephole"),
        (layers.RNN(layers.MUT1(3, name="p")), "MUT1"),
    ):
        model = models.Sequential([layers.Input((5, 3)), layer])
        with pytest.raises(ValueError, match=rf"Keras has no {word}, that of \w+ 'p': save it as .fusedlstm"):
            model.save(tmp_path / "m.keras")
        assert not list(tmp_path.iterdir())


def test_code_in_a_file_is_refused(tmp_path):
    a = keras.Input((5, 3))
    keras.Model(a, keras.layers.Lambda(lambda x: x + 1)(a)).save(tmp_path / "m.keras")
    with pytest.raises(saving.FileError, match=r"lambda|unknown layer class 'Lambda'"):
        models.load_model(tmp_path / "m.keras")


def rmse(y_true, y_pred):
    """Has the name of a metric of this package, and is another one."""
    return abs(y_true - y_pred).sum(axis=-1)


def test_metrics_that_are_functions(tmp_path):
    y = X[:, 0, :1]
    theirs = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(1)])
    theirs.compile("sgd", "mse", metrics=[rmse, keras.metrics.mean_absolute_error])
    theirs.fit(X, y, verbose=0)
    theirs.save(tmp_path / "theirs.keras")
    mine = models.load_model(tmp_path / "theirs.keras", custom_objects={"rmse": rmse})
    expected = theirs.evaluate(X, y, verbose=0, return_dict=True)
    assert mine.evaluate(X, y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(saving.FileError, match="unknown function 'rmse'"):
        models.load_model(tmp_path / "theirs.keras")
    mine.save(tmp_path / "mine.keras")
    again = keras.models.load_model(tmp_path / "mine.keras", custom_objects={"rmse": rmse})
    assert again.evaluate(X, y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)

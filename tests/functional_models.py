"""Functional models written once and made with Keras or with this package: for the fixture and the live comparison.

Each function takes the module of layers and that with `Model` and `Sequential`, and returns a model, its compile
arguments, x and y. The numbers of the data are NumPy's, from fixed seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

B, T, F, U = 6, 5, 3, 4


def data(seed: int, *shape: int) -> Any:
    """Normal numbers with three digits."""
    return np.round(np.random.default_rng(seed).normal(size=shape), 3).astype("float32")


X, Z = data(1, B, T, F), data(2, B, T, F)
IDS = np.random.default_rng(3).integers(0, 7, (B, T))
PADDED = X.copy()
PADDED[0, 3:] = PADDED[1, 1:] = 0


def branches(layers: Any, models: Any) -> Any:
    """Arithmetic, slices, a shared layer."""
    a, b = layers.Input((T, F), name="a"), layers.Input((T, F), name="b")
    shared = layers.LSTM(U, return_sequences=True, name="shared")
    h, g = shared(a), shared(b)
    mixed = layers.Concatenate(name="mixed")([h * g + 1.0, (h - g) / 2.0, -h[:, ::-1], g**2])
    y = layers.Dense(2, name="y")(mixed[:, -1])
    return models.Model([a, b], y), {"loss": "mse"}, [X, Z], data(4, B, 2)


def outputs(layers: Any, models: Any) -> Any:
    """Two outputs with losses, weights and metrics of their own."""
    a = layers.Input((T, F), name="a")
    h = layers.LSTM(U, return_sequences=True, name="h")(a)
    p = layers.Dense(1, name="p")(h)
    q = layers.Dense(2, name="q")(h[:, 0])
    options = {"loss": ["mse", "mae"], "loss_weights": [0.5, 2.0], "metrics": [["mae"], ["mse", "mae"]]}
    return models.Model(a, [p, q]), options, X, [data(5, B, T, 1), data(6, B, 2)]


def states(layers: Any, models: Any) -> Any:
    """An encoder's states start a decoder."""
    a, b = layers.Input((None, F), name="a"), layers.Input((None, F), name="b")
    _, h, c = layers.LSTM(U, return_state=True, name="encoder")(a)
    y, h, _ = layers.LSTM(U, return_sequences=True, return_state=True, name="decoder")(b, initial_state=[h, c])
    model = models.Model([a, b], [layers.Dense(2, name="y")(y), h])
    return model, {"loss": ["mse", "mse"]}, [X, Z], [data(7, B, T, 2), data(8, B, U)]


def masks(layers: Any, models: Any) -> Any:
    """A mask goes through layers and a nested model into the loss."""
    parts = [layers.Input((T, F)), layers.LSTM(U, return_sequences=True), layers.Dense(3)]
    inner = models.Sequential(parts, name="inner")
    a = layers.Input((T, F), name="a")
    h = inner(layers.Masking(name="m")(a))
    y = layers.Dense(2, name="y")(layers.LSTM(U, return_sequences=True, name="last")(h))
    # No metric: on JAX, Keras's count what is masked too in fit. tests/peers/test_keras_masks.py has them.
    return models.Model(a, y), {"loss": "mse"}, PADDED, data(9, B, T, 2)


def penalties(layers: Any, models: Any) -> Any:
    """Regularizers of weights and outputs, constraints."""
    a = layers.Input((T, F), name="a")
    h = layers.LSTM(
        U,
        name="h",
        return_sequences=True,
        kernel_regularizer="l2",
        recurrent_regularizer="l1",
        bias_regularizer="l2",
        activity_regularizer="l2",
        kernel_constraint="unit_norm",
    )(a)
    y = layers.Dense(2, name="y", activity_regularizer="l1", kernel_regularizer="l2", bias_constraint="non_neg")(h)
    return models.Model(a, y), {"loss": "mse"}, X, data(10, B, T, 2)


def attention(layers: Any, models: Any) -> Any:
    """Ids with a mask, attention with scores as a second output."""
    ids = layers.Input((T,), dtype="int32", name="ids")
    e = layers.Embedding(7, F, mask_zero=True, name="e")(ids)
    h = layers.LSTM(U, return_sequences=True, name="h")(e)
    y, scores = layers.Attention(name="at")([h, h], return_attention_scores=True, use_causal_mask=True)
    both = layers.Concatenate(name="c")([h, y])
    model = models.Model(ids, [layers.Dense(1, name="y")(both), scores])
    return model, {"loss": ["mse", None]}, IDS, [data(11, B, T, 1), np.zeros((B, T, T), "float32")]


def nested(layers: Any, models: Any) -> Any:
    """A model of two inputs and outputs inside a model."""
    a, b = layers.Input((T, F), name="a"), layers.Input((T, F), name="b")
    pair = models.Model(
        [a, b], [layers.Dense(3, name="d")(a), layers.LSTM(3, name="l", return_sequences=True)(b)], name="pair"
    )
    p, q = layers.Input((T, F), name="p"), layers.Input((T, F), name="q")
    h, g = pair([p, q])
    h, g = pair([g, h])
    return models.Model([p, q], layers.Dense(2, name="y")(h * g)), {"loss": "mse"}, [X, Z], data(12, B, T, 2)


MODELS = [branches, outputs, states, masks, penalties, attention, nested]


def weights_for(shapes: list[tuple[int, ...]]) -> list[Any]:
    """The same numbers for any model of these weights, in their order."""
    return [data(100 + k, *shape) * np.float32(0.3) for k, shape in enumerate(shapes)]


def measure(model: Any, sgd: Any, options: dict[str, Any], x: Any, y: Any, numbers: Any) -> dict[str, Any]:
    """What a model gives: predictions, its evaluation, and weights and history of a short training."""
    model.set_weights(weights_for([w.shape for w in model.get_weights()]))
    model.compile(optimizer=sgd(0.05), **options)
    predictions = model.predict(x, verbose=0)
    predictions = predictions if isinstance(predictions, list) else [predictions]
    evaluation = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return {
        "layers": [layer.name for layer in model.layers if layer.get_weights()],
        "predictions": [numbers(p) for p in predictions],
        "evaluation": {name: float(value) for name, value in evaluation.items()},
        "history": {name: [float(v) for v in values] for name, values in history.items()},
        "weights": [numbers(w) for w in model.get_weights()],
    }


def assert_same(got: dict[str, Any], want: dict[str, Any], tolerance: float = 2e-4) -> None:
    """All that `measure` found, equal but for rounding."""
    assert got["layers"] == want["layers"]
    assert list(got["history"]) == list(want["history"])
    for name, values in want["history"].items():
        np.testing.assert_allclose(got["history"][name], values, rtol=tolerance, err_msg=name)
    assert set(got["evaluation"]) == set(want["evaluation"])
    for name, value in want["evaluation"].items():
        np.testing.assert_allclose(got["evaluation"][name], value, rtol=tolerance, err_msg=name)
    for part in ("predictions", "weights"):
        assert len(got[part]) == len(want[part])
        for mine, other in zip(got[part], want[part], strict=True):
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance / 10, err_msg=part)

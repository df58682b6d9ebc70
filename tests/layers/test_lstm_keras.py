"""LSTM against Keras 3.15's numbers (tests/fixtures/make_keras_layers.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusedlstm.initializers import Constant
from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.optimizers import SGD

FIXTURE = np.load(Path(__file__).parents[1] / "fixtures" / "keras_layers.npz")
CASES = json.loads(str(FIXTURE["cases"]))
MASKS = json.loads(str(FIXTURE["masks"]))
TRAININGS = json.loads(str(FIXTURE["trainings"]))
BATCH, STEPS, INPUTS, UNITS = 2, 4, 3, 5


def sizes():
    """How many numbers each case has: y, h and c."""
    return [BATCH * UNITS * ((STEPS if options.get("return_sequences") else 1) + 2) for options, _, _ in CASES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", range(len(CASES)), ids=lambda k: "-".join(str(part) for part in CASES[k]))
def test_outputs_and_states_are_keras_s(k, dtype):
    options, mask, state = CASES[k]
    start = sum(sizes()[:k])
    expected = FIXTURE[dtype][start : start + sizes()[k]]
    layer = LSTM(
        UNITS,
        kernel_initializer=Constant(0.01),
        recurrent_initializer=Constant(0.02),
        bias_initializer=Constant(0.03),
        return_state=True,
        dtype=dtype,
        **options,
    )
    x = np.arange(BATCH * STEPS * INPUTS, dtype=dtype).reshape(BATCH, STEPS, INPUTS)
    h = np.arange(BATCH * UNITS, dtype=dtype).reshape(BATCH, UNITS) / 10
    outputs = layer(
        x,
        mask=None if mask is None else np.array(MASKS[mask], bool),
        initial_state=[h, h[::-1] + 1] if state else None,
    )
    got = np.concatenate([array.ravel() for array in outputs])
    assert got.dtype == dtype
    # With a mask, Keras's own float64 numbers are only as good as float32's.
    rtol, atol = (2e-5, 1e-6) if dtype == "float32" else (1e-7, 1e-8) if mask else (1e-12, 1e-14)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def test_the_fixture_covers_both_states_of_every_option():
    options = [case[0] for case in CASES]
    for name in ("return_sequences", "go_backwards", "zero_output_for_mask"):
        assert {bool(o.get(name)) for o in options} == {True, False}
    assert {case[1] for case in CASES} == {None, *MASKS}


def arguments(name):
    x, classes, weight = FIXTURE["x"], FIXTURE["classes"], FIXTURE["sample_weight"]
    one_hot = np.eye(3)[classes]
    y, more = {
        "plain": (one_hot, {"validation_split": 0.2}),
        "sample_weight": (one_hot, {"sample_weight": weight, "validation_split": 0.2}),
        "weighted_metrics": (one_hot, {"sample_weight": weight, "validation_split": 0.2}),
        "class_weight": (classes, {"class_weight": {0: 1.0, 1: 3.0}}),
        "validation_data": (classes, {"validation_data": (x[:9], classes[:9], weight[:9])}),
    }[name]
    return x, y, weight, more


@pytest.mark.parametrize("name", TRAININGS)
def test_a_short_training_is_keras_s(name):
    expected = TRAININGS[name]
    x, y, weight, more = arguments(name)
    model = Sequential([Input((6, 2)), LSTM(4, return_sequences=True), LSTM(3), Dense(3, "softmax")])
    ends = np.cumsum([w.value.size for w in model.weights])[:-1]
    first = np.split(FIXTURE["first_weights"], ends)
    model.set_weights([values.reshape(w.shape) for values, w in zip(first, model.weights, strict=True)])
    loss = "categorical_crossentropy" if y.ndim == 2 else "sparse_categorical_crossentropy"
    judged = "metrics" if name in ("plain", "sample_weight") else "weighted_metrics"
    model.compile(SGD(0.1), loss, **{judged: ["accuracy"]})
    history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, **more).history
    assert list(history) == list(expected["history"])
    for key, values in expected["history"].items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)
    close = {"rtol": 1e-5}
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0, batch_size=7), expected["evaluate"], **close)
    weighted = model.evaluate(x, y, verbose=0, batch_size=7, sample_weight=weight)
    np.testing.assert_allclose(weighted, expected["weighted"], **close)
    on_batch = [model.test_on_batch(x[:8], y[:8]), model.train_on_batch(x[:8], y[:8])]
    np.testing.assert_allclose(on_batch, expected["on_batch"], **close)
    last = np.concatenate([w.ravel() for w in model.get_weights()])
    np.testing.assert_allclose(last, FIXTURE[f"weights_{name}"], rtol=1e-4, atol=1e-6)

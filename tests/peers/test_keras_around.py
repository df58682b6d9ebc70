"""The layers around the recurrent ones beside Keras, live: the same weights and inputs give the same numbers."""

from __future__ import annotations

import inspect
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

import keras
from keras_around import CASES, describe, run_ours
from make_keras_around import run_keras

from fusedlstm import constraints, layers, regularizers

# Keras's variables do not take NumPy's newest keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.mark.parametrize("case", CASES, ids=describe)
def test_outputs_masks_and_weights(case) -> None:
    weights, results, mask = run_keras(case, "float32")
    own_weights, own_results, own_mask = run_ours(case, "float32")
    assert own_weights == weights
    for own, expected in zip(own_results, results, strict=True):
        np.testing.assert_allclose(own, expected, rtol=5e-5, atol=5e-5)
    assert (own_mask is None) == (mask is None)
    if mask is not None:
        np.testing.assert_array_equal(own_mask, mask)


NAMES = sorted({case[0] for case in CASES} - {"Flatten", "Dropout"})


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_keras_order_and_defaults(name) -> None:
    def positional(cls):
        found = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]

    own, theirs = positional(getattr(layers, name)), positional(getattr(keras.layers, name))
    assert own == theirs[: len(own)]
    left = {argument for argument, _ in theirs[len(own) :]}
    assert left <= {"lora_rank", "lora_alpha", "quantization_config"}


W = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L1", {}),
        ("L2", {"l2": 0.3}),
        ("L1L2", {"l1": 0.1, "l2": 0.2}),
        ("OrthogonalRegularizer", {}),
        ("OrthogonalRegularizer", {"factor": 0.4, "mode": "columns"}),
        ("OrthogonalRegularizer", {"factor": 0.4, "mode": "rows"}),
    ],
)
def test_regularizers(name, options) -> None:
    own, theirs = getattr(regularizers, name)(**options), getattr(keras.regularizers, name)(**options)
    assert own(W) == pytest.approx(float(theirs(keras.ops.convert_to_tensor(W))), rel=1e-5)
    assert own.get_config() == pytest.approx(theirs.get_config())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxNorm", {}),
        ("MaxNorm", {"max_value": 0.5, "axis": 1}),
        ("NonNeg", {}),
        ("UnitNorm", {}),
        ("UnitNorm", {"axis": [0, 1]}),
        ("MinMaxNorm", {"min_value": 0.4, "max_value": 0.6, "rate": 0.7}),
    ],
)
def test_constraints(name, options) -> None:
    own, theirs = getattr(constraints, name)(**options), getattr(keras.constraints, name)(**options)
    np.testing.assert_allclose(own(W), theirs(W), rtol=1e-5)
    assert own.get_config() == theirs.get_config()

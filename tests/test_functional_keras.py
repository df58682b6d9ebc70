"""Functional models against Keras 3.15's numbers (tests/fixtures/make_keras_functional.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
from functional_models import MODELS, assert_same, measure

from fusedlstm import layers, models, optimizers

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "keras_functional.json").read_text())


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_is_keras_s(make):
    model, options, x, y = make(layers, models)
    assert_same(measure(model, optimizers.SGD, options, x, y, np.asarray), FIXTURE[make.__name__])


def test_the_fixture_has_all_models():
    assert set(FIXTURE) == {make.__name__ for make in MODELS}

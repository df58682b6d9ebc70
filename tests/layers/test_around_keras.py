"""The layers around the recurrent ones against Keras's numbers, masks and weights (fixtures/keras_around.npz)."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras_around import CASES, describe, run_ours

FIXTURE = Path(__file__).parents[1] / "fixtures" / "keras_around.npz"
TOLERANCE = {"float32": 2e-5, "float64": 1e-6}  # Keras adds 1e-7 to counts and norms that it divides by


@pytest.fixture(scope="module")
def fixture():
    """By case: weights, outputs, mask."""
    with np.load(FIXTURE) as file:
        index, numbers = json.loads(str(file["index"])), file["numbers"]
    found, at = {}, 0
    for entry in index:
        results = []
        for shape in entry["shapes"]:
            size = int(np.prod(shape))
            results.append(numbers[at : at + size].reshape(shape))
            at += size
        found[entry["case"]] = (entry["weights"], results, entry["mask"])
    assert at == len(numbers)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=describe)
def test_outputs_masks_and_weights(fixture, case, dtype):
    weights, results, mask = fixture[describe(case)]
    own_weights, own_results, own_mask = run_ours(case, dtype)
    assert own_weights == weights
    assert len(own_results) == len(results)
    for own, expected in zip(own_results, results, strict=True):
        np.testing.assert_allclose(own, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if mask is None:
        assert own_mask is None
    else:
        np.testing.assert_array_equal(own_mask, np.array(mask, bool))


def test_every_case_is_in_the_fixture(fixture):
    assert sorted(fixture) == sorted(map(describe, CASES))

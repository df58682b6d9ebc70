"""The tuner looks for garbage after each trial: here it need not look through what imports and other tests made."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def _little_to_look_through():
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()

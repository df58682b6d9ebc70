"""What the tests of models and of their parts on the device share; import it where CUDA kernels can run."""

from __future__ import annotations

import numpy as np
import pytest

import fusedlstm
from fusedlstm.backends.device_array import DeviceArray

B, T, F = 4, 3, 2


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X, Y = numbers(1, B, T, F), numbers(2, B, 1)
IDS = np.array([[1, 2, 0], [3, 0, 0], [4, 4, 4], [2, 1, 3]])
USED = IDS != 0
BITS = np.array([[0], [1], [1], [0]])
CLASSES = np.array([[0, 1, 2], [2, 2, 1], [0, 0, 1], [1, 2, 0]])


@pytest.fixture(autouse=True)
def back_to_c():
    fusedlstm.set_backend("c")
    yield
    fusedlstm.set_backend("c")


def fit(model, x, y, epochs=1, **options):
    return model.fit(x, y, batch_size=2, epochs=epochs, shuffle=False, verbose=0, **options).history


def assert_close(got, want, tolerance=2e-5):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def on_device(arrays):
    return all(type(array) is DeviceArray for array in arrays)

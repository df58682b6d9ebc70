"""CTC beside PyTorch and Keras, live: values and gradients on random sequences."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import backends, losses

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def sequences(rng, batch):
    """Logits, targets, lengths: short and long, with many repetitions, without labels, too few steps."""
    steps, classes, labels = int(rng.integers(1, 25)), int(rng.integers(2, 20)), int(rng.integers(0, 9))
    logits = rng.normal(size=(batch, steps, classes)) * rng.choice([0.1, 1.0, 5.0])
    most = min(classes, rng.choice([2, 3, 20]))  # few different labels repeat
    targets = rng.integers(1, most, (batch, labels)) if most > 1 else np.ones((batch, labels), int)
    return logits, targets, rng.integers(0, labels + 1, batch), rng.integers(0, steps + 1, batch)


def torchs(logits, targets, target_lengths, input_lengths):
    x = torch.tensor(logits, requires_grad=True)
    log_p = torch.log_softmax(x, -1).transpose(0, 1)
    lengths = torch.tensor(input_lengths), torch.tensor(target_lengths)
    options = {"reduction": "none", "zero_infinity": False}
    values = torch.nn.functional.ctc_loss(log_p, torch.tensor(targets), *lengths, **options)
    values[torch.isfinite(values)].sum().backward()
    gradient = x.grad.numpy()
    gradient[~torch.isfinite(values).numpy()] = 0  # PyTorch's is NaN there
    return values.detach().numpy(), gradient


@pytest.mark.parametrize("backend", ["c", "reference"])
@pytest.mark.parametrize(("dtype", "rtol", "atol"), [("float64", 1e-9, 1e-9), ("float32", 2e-5, 2e-4)])
def test_a_thousand_sequences(backend, dtype, rtol, atol) -> None:
    rng, kernels = np.random.default_rng(11), backends.load(backend)
    batch, impossible, cases = 10, 0, 100
    for _ in range(cases):
        logits, *rest = sequences(rng, batch)
        logits = logits.astype(dtype)
        values, gradient = kernels.ctc_loss(logits, *rest)
        want, want_gradient = torchs(logits.astype("float64"), *rest)
        impossible += np.isinf(want).sum()
        np.testing.assert_allclose(values, want, rtol=rtol, atol=atol)
        np.testing.assert_allclose(gradient, want_gradient, rtol=1e-3, atol=atol)
    assert batch * cases == 1000
    assert 50 < impossible < 500


def test_keras() -> None:
    rng = np.random.default_rng(5)
    compared = 0
    for _ in range(30):
        logits, targets, lengths, _ = sequences(rng, 6)
        y_true = np.where(np.arange(targets.shape[1]) < lengths[:, None], targets, 0)
        if not targets.shape[1]:
            continue  # Keras has no loss of no labels
        want = keras.ops.convert_to_numpy(keras.losses.ctc(y_true, logits.astype("float32")))
        got = losses.ctc(y_true, logits.astype("float32"))
        possible = want < 5e4  # the others are large in both
        np.testing.assert_allclose(got[possible], want[possible], rtol=1e-4, atol=1e-4)
        assert (got[~possible] == 1e5).all()
        compared += possible.sum()
    assert compared > 100


def test_keras_gradient_and_reductions() -> None:
    jax = pytest.importorskip("jax", reason="needs jax: Keras's gradients come from it")
    if keras.backend.backend() != "jax":
        pytest.skip("needs Keras on JAX")
    rng = np.random.default_rng(6)
    logits, y_true = rng.normal(size=(5, 12, 6)).astype("float32"), rng.integers(1, 6, (5, 4))
    y_true[1:3, 2:] = 0
    for reduction in ("sum_over_batch_size", "sum"):
        weight = rng.uniform(size=5).astype("float32")
        other = keras.losses.CTC(reduction=reduction)
        want, want_gradient = jax.value_and_grad(lambda x, o=other, w=weight: o(y_true, x, sample_weight=w))(logits)
        got, gradient = losses.CTC(reduction).value_and_gradient(y_true, logits, weight)
        assert got == pytest.approx(float(want), rel=1e-5)
        np.testing.assert_allclose(gradient, np.asarray(want_gradient), rtol=1e-3, atol=1e-5)

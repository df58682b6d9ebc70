"""Finite differences of a model's loss, for the tests of every kind of graph."""

from __future__ import annotations

import numpy as np

EPSILON = 1e-6


def loss_of(model, x, y, sample_weight=None):
    """The loss on a batch, with its penalties; nothing is changed."""
    return model.compute_gradients(x, y, sample_weight, training=False)[0]


def assert_gradients(model, x, y, sample_weight=None, entries=6):
    """Compare `compute_gradients` of a float64 model with central differences, at some entries of every weight."""
    rng = np.random.default_rng(1)
    _, gradients = model.compute_gradients(x, y, sample_weight, training=False)
    variables = model.trainable_weights
    assert [g.shape for g in gradients] == [v.shape for v in variables]
    assert variables, "nothing to compare"
    for variable, gradient in zip(variables, gradients, strict=True):
        for _ in range(entries):
            index = tuple(int(rng.integers(0, n)) for n in variable.shape)
            losses = []
            for step in (EPSILON, -EPSILON):
                variable.update()[index] += step
                losses.append(loss_of(model, x, y, sample_weight))
                variable.update()[index] -= step
            numeric = (losses[0] - losses[1]) / (2 * EPSILON)
            np.testing.assert_allclose(gradient[index], numeric, rtol=1e-3, atol=1e-6, err_msg=variable.path)

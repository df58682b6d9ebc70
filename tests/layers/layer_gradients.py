"""Finite differences through any layer: for its inputs and its weights, whatever it takes and gives."""

from __future__ import annotations

import itertools

import numpy as np

from fusedlstm import random

EPSILON, ATOL, RTOL = 1e-6, 1e-5, 1e-3


def pairs(options):
    """A small list of dicts in which every two values of different options of `options` meet (greedily chosen)."""
    names = list(options)
    if len(names) == 1:
        return [{names[0]: value} for value in options[names[0]]]
    waiting = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(range(len(names)), 2)
        for i in range(len(options[names[a]]))
        for j in range(len(options[names[b]]))
    }

    def met(place, k, chosen):
        return sum(tuple(sorted(((place, k), other))) in waiting for other in chosen.items())

    result = []
    while waiting:
        chosen = dict(min(waiting))
        for place in range(len(names)):
            if place not in chosen:
                count = len(options[names[place]])
                chosen[place] = max(range(count), key=lambda k, place=place: met(place, k, chosen))
        waiting -= set(itertools.combinations(sorted(chosen.items()), 2))
        result.append({name: options[name][chosen[place]] for place, name in enumerate(names)})
    return result


def numeric_gradient(function, array):
    """Central differences of a number with respect to an array that is changed in place."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + EPSILON
        above = function()
        array[index] = kept - EPSILON
        gradient[index] = (above - function()) / (2 * EPSILON)
        array[index] = kept
    return gradient


def listed(value):
    return value if isinstance(value, list) else [value]


def check_layer(layer, inputs, *, training=True, mask=None, differentiable=True, seed=0, **arguments):
    """Outputs' shape and dtype, and all gradients, of a random linear functional of all outputs.

    Parameters
    ----------
    layer : Layer
        Of float64.
    inputs : array or list of arrays
        Changed in place and back.
    training : bool
        What the layer draws is drawn again with the same seed for every difference.
    differentiable : bool
        Whether there are gradients of the inputs.
    """
    rng = np.random.default_rng(1)
    generators = {id(part): part for part in (layer, *layer.sublayers) if hasattr(part, "_generator")}

    def run(need_backward):
        for part in generators.values():
            part._generator = random.generator(seed)
        return layer.forward(inputs, training, mask, need_backward=need_backward, **arguments)

    outputs, backward = run(True)
    shapes = [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape
    expected_shapes = listed(layer.call_shape(shapes, [], arguments))
    assert [y.shape for y in listed(outputs)] == [tuple(shape) for shape in expected_shapes]
    assert all(y.dtype == np.float64 for y in listed(outputs))
    for weight in layer.weights:  # no longer as they start, where gradients could agree by chance
        if weight.trainable:
            weight.assign(weight.value + 0.3 * rng.normal(size=weight.shape))
    outputs, backward = run(True)
    weights = [rng.normal(size=y.shape) for y in listed(outputs)]
    d_inputs = backward(weights if isinstance(outputs, list) else weights[0])
    gradients = list(layer.gradients)

    def loss():
        return sum(float((y * w).sum()) for y, w in zip(listed(run(False)[0]), weights, strict=True))

    if differentiable:
        assert isinstance(d_inputs, list) == isinstance(inputs, list)
        for k, (x, d_x) in enumerate(zip(listed(inputs), listed(d_inputs), strict=True)):
            assert d_x.shape == x.shape
            assert d_x.dtype == np.float64
            np.testing.assert_allclose(d_x, numeric_gradient(loss, x), rtol=RTOL, atol=ATOL, err_msg=f"inputs {k}")
    else:
        assert d_inputs is None
    assert len(gradients) == len(layer.trainable_weights)
    for variable, gradient in zip(layer.trainable_weights, gradients, strict=True):
        array = variable.update()

        def loss_of(variable=variable):
            variable.update()
            return loss()

        assert gradient.shape == variable.shape
        numeric = numeric_gradient(loss_of, array)
        variable.update()  # what it holds now is what it held before: caches must not keep the last difference
        np.testing.assert_allclose(gradient, numeric, rtol=RTOL, atol=ATOL, err_msg=variable.name)
    if not any(isinstance(y, list) for y in (outputs,)):
        _, backward = layer.forward(inputs, training, mask, need_backward=True, need_d_inputs=False, **arguments)
        backward(weights[0])
        assert len(layer.gradients) == len(gradients)
    check_config(layer, inputs, mask, arguments)


def check_config(layer, inputs, mask=None, arguments=None):
    """A layer from the config, with the same weights, gives the same in inference."""
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build([x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape)
    assert [w.shape for w in copy.weights] == [w.shape for w in layer.weights]
    copy.set_weights(layer.get_weights())
    expected, _ = layer.forward(inputs, False, mask, **(arguments or {}))
    actual, _ = copy.forward(inputs, False, mask, **(arguments or {}))
    for a, b in zip(listed(actual), listed(expected), strict=True):
        np.testing.assert_array_equal(a, b)

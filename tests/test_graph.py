"""The list of layer calls that a model is: branches, shared layers, states as values, masks."""

import numpy as np
import pytest

from fusedlstm.graph import Call, Graph, chain
from fusedlstm.layers import LSTM, Dense, Layer

RNG = np.random.default_rng(0)


class Plus(Layer):
    """The sum of two inputs."""

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        return inputs[0] + inputs[1], lambda d: [d, d]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]


class Marker(Layer):
    """Makes a mask of what is not zero."""

    makes_mask = True

    def compute_mask(self, inputs, mask=None):
        return inputs[..., 0] != 0

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        return inputs, lambda d: d


def gradients_of(graph, inputs, variables):
    """The graph's own, and central differences, of the sum of all outputs times fixed weights."""
    outputs, _, backward = graph.forward(inputs, True, None, True, True)
    weights = [RNG.normal(size=output.shape) for output in outputs]
    d_inputs = backward(weights)
    own = {id(v): g for layer in graph.layers for v, g in zip(layer.weights, layer.gradients, strict=True)}

    def loss():
        return sum(float((o * w).sum()) for o, w in zip(graph.forward(inputs)[0], weights, strict=True))

    pairs = [(v.update, own[id(v)]) for v in variables] + [
        (lambda x=x: x, d) for x, d in zip(inputs, d_inputs, strict=True)
    ]
    for array, gradient in pairs:
        numeric = np.zeros_like(gradient)
        for index in np.ndindex(gradient.shape):
            values = []
            for step in (1e-6, -1e-6):
                array()[index] += step
                values.append(loss())
                array()[index] -= step
            numeric[index] = (values[0] - values[1]) / 2e-6
        yield gradient, numeric


def test_a_chain():
    dense = [Dense(3, "tanh", dtype="float64"), Dense(2, dtype="float64")]
    graph = chain(dense)
    graph.output_shapes([(None, 4)], build=True)
    assert graph.output_shapes([(7, 4)]) == [(7, 2)]
    for gradient, numeric in gradients_of(graph, [RNG.normal(size=(5, 4))], [v for d in dense for v in d.weights]):
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5)


def test_a_shared_layer_gets_the_sum_of_its_gradients():
    shared, last = Dense(4, "tanh", dtype="float64"), Dense(2, dtype="float64")
    plus = Plus(dtype="float64")
    # 0 -shared-> 2 -shared-> 3; (3 + 1) -> 4 -last-> 5
    graph = Graph(
        [Call(shared, (0,), (2,)), Call(shared, (2,), (3,)), Call(plus, (3, 1), (4,)), Call(last, (4,), (5,))],
        inputs=(0, 1),
        outputs=(5, 2),
    )
    graph.output_shapes([(None, 4), (None, 4)], build=True)
    assert graph.layers == [shared, plus, last]
    inputs = [RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))]
    for gradient, numeric in gradients_of(graph, inputs, shared.weights + last.weights):
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5)


def test_an_encoder_hands_its_state_to_a_decoder():
    encoder = LSTM(3, return_state=True, dtype="float64")
    decoder = LSTM(3, return_sequences=True, dtype="float64")
    graph = Graph([Call(encoder, (0,), (2, 3, 4)), Call(decoder, (1,), (5,), states=(3, 4))], (0, 1), (5,))
    graph.output_shapes([(None, None, 2), (None, None, 4)], build=True)
    inputs = [RNG.normal(size=(2, 3, 2)), RNG.normal(size=(2, 4, 4))]
    for gradient, numeric in gradients_of(graph, inputs, encoder.weights + decoder.weights):
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5)


def test_what_the_loss_does_not_reach_has_zero_gradients():
    used, unused = Dense(2), Dense(3)
    graph = Graph([Call(used, (0,), (1,)), Call(unused, (0,), (2,))], (0,), (1, 2))
    graph.output_shapes([(None, 4)], build=True)
    _, _, backward = graph.forward([np.ones((2, 4))], True, None, True)
    assert backward([np.ones((2, 2)), None]) == [None], "d_inputs were not asked for"
    assert [g.shape for g in unused.gradients] == [(4, 3), (3,)]
    assert not any(g.any() for g in unused.gradients)
    assert all(g.any() for g in used.gradients)


@pytest.mark.parametrize("frozen", [0, 1])
def test_frozen_layers_keep_nothing_that_is_not_needed(frozen, monkeypatch):
    dense = [Dense(3), Dense(2)]
    dense[frozen].trainable = False
    kept = []

    def noting(layer, forward):
        def run(*arguments, **options):
            kept.append((options["need_backward"], options["need_d_inputs"]))
            return forward(*arguments, **options)

        return run

    for layer in dense:
        monkeypatch.setattr(layer, "forward", noting(layer, layer.forward))
    graph = chain(dense)
    graph.output_shapes([(None, 4)], build=True)
    _, _, backward = graph.forward([np.ones((2, 4))], True, None, True)
    backward([np.ones((2, 2))])
    assert kept == ([(False, False), (True, False)] if frozen == 0 else [(True, False), (True, True)])
    assert [len(layer.gradients) for layer in dense] == ([0, 2] if frozen == 0 else [2, 0])


def test_a_mask_flows_as_far_as_the_layers_pass_it_on():
    x = RNG.normal(size=(2, 4, 3))
    x[0, 2:] = 0
    marker, first, second = Marker(dtype="float64"), LSTM(2, return_sequences=True, dtype="float64"), Dense(1)
    graph = chain([marker, first, second])
    graph.output_shapes([x.shape], build=True)
    outputs, masks, _ = graph.forward([x])
    np.testing.assert_array_equal(masks[0], [[True, True, False, False], [True] * 4])
    np.testing.assert_allclose(outputs[0], second(first(x, mask=masks[0])), rtol=1e-6)
    last = LSTM(2)
    graph = chain([marker, first, last])
    graph.output_shapes([x.shape], build=True)
    outputs, masks, _ = graph.forward([x])
    assert masks == [None]
    np.testing.assert_allclose(outputs[0], last(first(x, mask=x[..., 0] != 0), mask=x[..., 0] != 0), rtol=1e-6)

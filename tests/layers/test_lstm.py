"""The LSTM layer around its kernels: states, masks, cached weights."""

import numpy as np
import pytest

from fusedlstm import backends
from fusedlstm.layers import LSTM

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 4))
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1]], bool)


def lstm(**options):
    return LSTM(5, dtype="float64", **options)


def test_orthogonal_recurrent_weights_and_a_forget_bias_of_one():
    layer = lstm()
    layer.build((None, 6, 4))
    kernel, recurrent, bias = layer.get_weights()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(5), atol=1e-12)
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 5))
    assert np.abs(kernel).max() <= np.sqrt(6 / (4 + 20))
    ones = LSTM(5, bias_initializer="ones", unit_forget_bias=False)
    ones.build((None, 6, 4))
    np.testing.assert_array_equal(ones.get_weights()[2], np.ones(20))


def test_two_halves_with_the_state_handed_over_equal_the_whole():
    layer = lstm(return_sequences=True, return_state=True)
    y, h, c = layer(X)
    first, *state = layer(X[:, :2])
    second, h_second, c_second = layer(X[:, 2:], initial_state=state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), y, rtol=1e-12)
    np.testing.assert_allclose([h_second, c_second], [h, c], rtol=1e-12)
    np.testing.assert_array_equal(y[:, -1], h)


def test_a_padded_batch_equals_each_sequence_alone():
    layer = lstm(return_state=True)
    lengths = [6, 3, 1]
    mask = np.arange(6) < np.array(lengths)[:, None]
    padded = np.where(mask[..., None], X, 1e3)
    together = layer(padded, mask=mask)
    for row, length in enumerate(lengths):
        for whole, alone in zip(together, layer(X[row : row + 1, :length]), strict=True):
            np.testing.assert_allclose(whole[row], alone[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["bool", "int64", "uint8"])
def test_a_mask_may_be_of_bool_or_integers(kind):
    layer = lstm()
    np.testing.assert_array_equal(layer(X, mask=MASK.astype(kind) * (7 if kind != "bool" else 1)), layer(X, mask=MASK))


def test_go_backwards_is_the_reversed_input():
    layer = lstm(return_sequences=True, go_backwards=True)
    y = layer(X, mask=MASK)
    forwards = lstm(return_sequences=True)
    forwards.build(X.shape)
    forwards.set_weights(layer.get_weights())
    np.testing.assert_array_equal(y, forwards(X[:, ::-1], mask=MASK[:, ::-1]))


def test_an_output_that_is_masked_last_is_zero_with_zero_output_for_mask():
    layer = lstm(zero_output_for_mask=True, return_state=True)
    y, h, _ = layer(X, mask=MASK)
    np.testing.assert_array_equal(y[1], np.zeros(5))
    assert np.abs(h[1]).min() > 0
    np.testing.assert_array_equal(y[2], h[2])


def test_masked_steps_before_the_first_valid_one_give_zero_even_with_a_state():
    state = [np.ones((3, 5)), np.ones((3, 5))]
    y, h, c = lstm(return_sequences=True, return_state=True)(X, mask=np.zeros((3, 6), bool), initial_state=state)
    np.testing.assert_array_equal(y, np.zeros((3, 6, 5)))
    np.testing.assert_array_equal([h, c], state)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_of_states_and_inputs(masked, backwards):
    layer = lstm(return_sequences=True, return_state=True, go_backwards=backwards)
    mask = MASK if masked else None
    h, c, x = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5)), X.copy()
    outputs, backward = layer.forward(x, training=True, mask=mask, initial_state=[h, c])
    weights = [RNG.normal(size=array.shape) for array in outputs]
    d_inputs = backward(weights)

    def loss():
        results = layer(x, mask=mask, initial_state=[h, c])
        return sum(float((a * b).sum()) for a, b in zip(results, weights, strict=True))

    for array, gradient in zip((x, h, c), d_inputs, strict=True):
        for _ in range(8):
            index = tuple(RNG.integers(0, n) for n in array.shape)
            kept = array[index]
            array[index] = kept + 1e-6
            above = loss()
            array[index] = kept - 1e-6
            below = loss()
            array[index] = kept
            assert gradient[index] == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-5)


def test_a_gradient_of_none_is_zero():
    gradients = []
    for zero in (None, np.zeros((3, 5))):
        layer = lstm(return_state=True, kernel_initializer="ones")
        layer.build(X.shape)
        layer.set_weights([np.full(w.shape, 0.1) for w in layer.get_weights()])
        _, backward = layer.forward(X, training=True)
        backward([np.ones((3, 5)), zero, zero])
        gradients.append(layer.gradients)
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_go_on_with_sequences_only():
    assert lstm(return_sequences=True).compute_mask(X, MASK) is MASK
    assert lstm().compute_mask(X, MASK) is None
    assert lstm(return_sequences=True, return_state=True).compute_mask(X, MASK) == [MASK, None, None]


def test_shapes_of_several_outputs():
    layer = lstm(return_sequences=True, return_state=True)
    assert layer.compute_output_shape((None, 6, 4)) == [(None, 6, 5), (None, 5), (None, 5)]
    assert [array.shape for array in layer(X)] == [(3, 6, 5), (3, 5), (3, 5)]


def test_weights_are_packed_again_only_after_a_change(monkeypatch):
    backend, packs = backends.current(), []

    def counted(*arguments, **options):
        pack = original(*arguments, **options)
        return lambda: (packs.append(arguments), pack())[1]

    original = backend.prepare_pack
    monkeypatch.setattr(backend, "prepare_pack", counted)
    layer = lstm()
    first = layer(X)
    layer(X)
    assert len(packs) == 1
    layer.forward(X, training=True)
    assert len(packs) == 2, "a pack for training holds more"
    np.testing.assert_array_equal(layer(X), first)
    assert len(packs) == 2, "and serves inference too"
    for variable in layer.weights:
        variable.assign(variable.value * 2)
        assert not np.array_equal(layer(X), first)
    assert len(packs) == 5


def test_all_arguments_of_keras_are_taken():
    layer = LSTM(
        5, "tanh", "sigmoid", True, "glorot_uniform", "orthogonal", "zeros", True, None, None, None, None, None, None,
        None, 0.0, 0.0, None, False, False, False, False, True, False, zero_output_for_mask=True, implementation=1,
    )  # fmt: skip
    assert layer(X).shape == (3, 5)
    assert layer.get_config()["unroll"] is True

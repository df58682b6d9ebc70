"""What all layers have in common, and those without recurrence."""

import numpy as np
import pytest

from fusedlstm import layers
from fusedlstm.layers import LSTM, Activation, Dense, Dropout, Flatten, Input, InputLayer, Layer
from fusedlstm.utils import set_random_seed

RNG = np.random.default_rng(0)

MAKERS = {
    "dense": (lambda: Dense(3, dtype="float64"), (4, 5)),
    "dense without bias": (lambda: Dense(3, use_bias=False, dtype="float64"), (4, 5)),
    "dense over steps": (lambda: Dense(3, "tanh", dtype="float64"), (2, 4, 5)),
    "dense softmax": (lambda: Dense(3, "softmax", dtype="float64"), (4, 5)),
    "dense gelu": (lambda: Dense(3, "gelu", dtype="float64"), (4, 5)),
    "activation": (lambda: Activation("softplus", dtype="float64"), (4, 5)),
    "flatten": (lambda: Flatten(dtype="float64"), (2, 3, 4)),
    "lstm": (lambda: LSTM(3, dtype="float64"), (2, 4, 5)),
    "lstm sequences": (lambda: LSTM(3, return_sequences=True, dtype="float64"), (2, 4, 5)),
    "lstm backwards": (lambda: LSTM(3, return_sequences=True, go_backwards=True, dtype="float64"), (2, 4, 5)),
    "lstm without bias": (lambda: LSTM(3, use_bias=False, dtype="float64"), (2, 4, 5)),
}


def numeric_gradient(function, array, epsilon=1e-6):
    """Central differences of a number with respect to an array that is changed in place."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + epsilon
        above = function()
        array[index] = kept - epsilon
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * epsilon)
    return gradient


@pytest.mark.parametrize("name", MAKERS)
def test_backward_is_the_gradient(name):
    make, shape = MAKERS[name]
    layer, x = make(), RNG.normal(size=shape)
    outputs, backward = layer.forward(x, training=True)
    assert outputs.shape == layer.compute_output_shape(shape)
    weight = RNG.normal(size=outputs.shape)
    d_x = backward(weight)

    def loss():
        return float((layer(x) * weight).sum())

    np.testing.assert_allclose(d_x, numeric_gradient(loss, x), rtol=1e-3, atol=1e-5)
    assert len(layer.gradients) == len(layer.trainable_weights)
    for variable, gradient in zip(layer.trainable_weights, layer.gradients, strict=True):

        def loss_of(variable=variable):
            variable.update()
            return loss()

        numeric = numeric_gradient(loss_of, variable.update())
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("name", MAKERS)
def test_a_copy_from_the_config_with_the_same_weights_gives_the_same(name):
    make, shape = MAKERS[name]
    layer, x = make(), RNG.normal(size=shape)
    expected = layer(x)
    copy = type(layer).from_config(layer.get_config())
    copy.build(shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), expected)


@pytest.mark.parametrize("name", MAKERS)
def test_d_inputs_are_left_out_when_not_needed(name):
    make, shape = MAKERS[name]
    layer, x = make(), RNG.normal(size=shape)
    outputs, backward = layer.forward(x, training=True, need_d_inputs=False)
    d_x = backward(np.ones_like(outputs))
    if layer.weights:
        assert d_x is None
    assert len(layer.gradients) == len(layer.weights)


def test_a_frozen_layer_has_no_gradients_but_passes_them_on():
    for layer, shape in ((Dense(3), (2, 4)), (LSTM(3), (2, 5, 4))):
        layer.trainable = False
        outputs, backward = layer.forward(np.ones(shape), training=True)
        assert backward(np.ones_like(outputs)).shape == shape
        assert layer.gradients == []
        assert layer.trainable_weights == []
        assert len(layer.non_trainable_weights) == len(layer.weights)


def test_forward_keeps_for_backward_as_asked():
    layer = Dense(3)
    assert layer.forward(np.ones((2, 4)))[1] is None
    assert layer.forward(np.ones((2, 4)), need_backward=True)[1] is not None
    assert layer.forward(np.ones((2, 4)), training=True, need_backward=False)[1] is None


def test_names_count_per_class_and_are_unique():
    class TwoWords(Layer):
        pass

    assert [TwoWords().name, TwoWords().name, TwoWords(name="own").name] == ["two_words", "two_words_1", "own"]
    first, second = Dense(1), Dense(1)
    assert first.name != second.name
    assert repr(Dense(1, name="d")) == "<Dense name=d, built=False>"


def test_weights_have_keras_s_names_and_order():
    layer = LSTM(2, name="encoder")
    layer.build((None, None, 3))
    assert [w.path for w in layer.weights] == ["encoder/kernel", "encoder/recurrent_kernel", "encoder/bias"]
    assert [w.shape for w in layer.weights] == [(3, 8), (2, 8), (8,)]
    assert layer.count_params() == 48


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float16", "float64", ">f4", "int8", "bool"])
def test_inputs_of_another_dtype_are_cast(dtype, given):
    x = (RNG.uniform(size=(2, 3, 4)) * 3).astype(given)
    for layer in (Dense(2, dtype=dtype), LSTM(2, dtype=dtype)):
        outputs = layer(x)
        assert outputs.dtype == dtype
        np.testing.assert_array_equal(outputs, layer(x.astype(dtype)))


def test_inputs_may_have_any_strides():
    x = RNG.normal(size=(3, 5, 8)).astype("float32")
    for layer in (Dense(2), LSTM(2, return_sequences=True)):
        for view in (x[::2, ::-1, 1:5], x[:, ::2, ::2], x.transpose(1, 0, 2)[..., :4]):
            np.testing.assert_allclose(layer(view), layer(np.ascontiguousarray(view)), rtol=1e-6, atol=1e-7)


def test_inputs_may_be_nested_lists():
    assert Dense(2)([[1, 2], [3, 4]]).shape == (2, 2)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_degenerate_sizes_have_the_documented_shape(shape):
    y, h, c = LSTM(5, return_sequences=True, return_state=True)(np.ones(shape))
    assert y.shape == (*shape[:2], 5)
    assert h.shape == c.shape == (shape[0], 5)
    assert Dense(5)(np.ones(shape)).shape == (*shape[:2], 5)
    assert Flatten()(np.ones(shape)).shape == (shape[0], shape[1] * shape[2])


def test_dropout_is_off_unless_training():
    layer, x = Dropout(0.5), RNG.normal(size=(4, 5)).astype("float32")
    np.testing.assert_array_equal(layer(x), x)
    y, backward = layer.forward(x)
    assert backward is None
    np.testing.assert_array_equal(y, x)


def test_dropout_scales_what_it_keeps_and_backward_matches():
    layer, x = Dropout(0.25, seed=1), np.ones((200, 50), "float32")
    y, backward = layer.forward(x, training=True)
    kept = y != 0
    assert 0.72 < kept.mean() < 0.78
    np.testing.assert_allclose(y[kept], 4 / 3)
    np.testing.assert_array_equal(backward(x), y)
    assert not np.array_equal(layer(x, training=True), y), "drawn anew for every call"
    np.testing.assert_array_equal(Dropout(0.25, seed=1)(x, training=True), y)


def test_dropout_follows_the_random_seed_and_the_noise_shape():
    x = np.ones((3, 4, 5))
    masks = []
    for _ in range(2):
        set_random_seed(3)
        masks.append(Dropout(0.5, noise_shape=(None, 1, 5))(x, training=True))
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], np.broadcast_to(masks[0][:, :1], x.shape))
    assert 0 < (masks[0] == 0).mean() < 1


@pytest.mark.parametrize(("rate", "value"), [(0, 1), (1, 0), (1.0, 0)])
def test_dropout_at_its_ends(rate, value):
    np.testing.assert_array_equal(Dropout(rate)(np.ones((3, 4)), training=True), np.full((3, 4), value))


def test_flatten_makes_a_column_of_single_numbers_and_drops_a_mask():
    assert Flatten()(np.ones(3)).shape == (3, 1)
    assert Flatten().compute_output_shape((None, None, 4)) == (None, None)
    layer = Flatten(name="f")
    with pytest.warns(UserWarning, match="^Flatten 'f': the mask does not fit"):
        assert layer.compute_mask(np.ones((2, 3, 4)), np.ones((2, 3), bool)) is None
    assert layer.compute_mask(np.ones((2, 3, 4))) is None


def test_input_is_symbolic_and_names_a_shape():
    symbol = Input((10, 1), name="series")
    assert symbol.shape == (None, 10, 1)
    assert symbol.name == "series"
    assert Input(batch_shape=(8, None, 1)).shape == (8, None, 1)
    assert Input((3,), batch_size=4, dtype="float64").dtype == np.float64
    assert repr(symbol) == "<SymbolicTensor 'series' shape=(None, 10, 1) dtype=float32>"
    layer = InputLayer(input_shape=(10, 1))
    assert layer.batch_shape == (None, 10, 1)
    assert layer(np.ones((2, 10, 1))).shape == (2, 10, 1)
    assert InputLayer.from_config(layer.get_config()).batch_shape == (None, 10, 1)


def test_everything_in_all_is_there():
    assert all(hasattr(layers, name) for name in layers.__all__)

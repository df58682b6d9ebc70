"""A user's own layers that define call: of layers, which are trained, and of NumPy, which predict."""

import numpy as np
import pytest
from model_case import assert_gradients

from fusedlstm.layers import LSTM, Dense, Dropout, Embedding, Input, Layer, Masking, TimeDistributed
from fusedlstm.models import Model, Sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 3))
F = {"dtype": "float64"}


class Block(Layer):
    """Made of layers and arithmetic."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.main = [Dense(units, "tanh", **F), LSTM(units, return_sequences=True, **F)]
        self.side = Dense(units, **F)
        self.drop = Dropout(0.5, **F)

    def call(self, inputs, training=None):
        h = inputs
        for layer in self.main:
            h = layer(h)
        return self.drop(h + 0.5 * self.side(inputs), training=training)


class Unused(Layer):
    """With an attribute that call does not reach."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.used, self.unused = Dense(2, **F), Dense(2, **F)
        self.unused.build((None, 3))

    def call(self, inputs):
        return self.used(inputs)


class Two(Layer):
    """Of two inputs and two outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = Dense(2, **F)

    def call(self, inputs):
        a, b = inputs
        return [self.dense(a) * b, self.dense(b)]


class Softened(Layer):
    """Made with NumPy, with a weight of its own."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def call(self, inputs):
        return np.log1p(np.exp(inputs * self.scale.value)).mean(axis=1)


def test_a_block_of_layers_is_trained():
    a = Input((5, 3))
    block = Block(4, **F)
    model = Model(a, Dense(1, **F)(block(a)))
    assert block.output.shape == (None, 5, 4)
    assert len(block.weights) == 7
    assert model.weights[:7] == block.weights
    model.compile("sgd", "mse")
    y = RNG.normal(size=(6, 5, 1))
    assert_gradients(model, X, y)
    before = model.get_weights()
    model.fit(X, y, verbose=0)
    assert all(not np.array_equal(u, v) for u, v in zip(before, model.get_weights(), strict=True))


def test_dropout_in_a_block_follows_the_model():
    block = Block(4, **F)
    np.testing.assert_array_equal(block(X), block(X))
    h = block.main[1](block.main[0](X)) + 0.5 * block.side(X)
    np.testing.assert_allclose(block(X), h)
    assert (block(X, training=True) == 0).any()


def test_a_block_twice_and_at_several_lengths():
    a = Input((None, 3))
    block = Block(3, **F)
    model = Model(a, block(block(a)))
    model.compile("sgd", "mse")
    assert_gradients(model, X, RNG.normal(size=(6, 5, 3)), entries=3)
    assert model.predict(X[:, :2], verbose=0).shape == (6, 2, 3)


def test_freezing_a_block_freezes_what_is_inside():
    a = Input((5, 3))
    block = Block(4, **F)
    model = Model(a, Dense(1, **F)(block(a)))
    block.trainable = False
    model.compile("sgd", "mse")
    y = RNG.normal(size=(6, 5, 1))
    assert len(model.trainable_weights) == 2
    assert_gradients(model, X, y)


def test_what_call_does_not_reach_has_zero_gradients():
    model = Sequential([Input((3,)), Unused(**F)])
    model.compile("sgd", "mse")
    _, gradients = model.compute_gradients(X[:, 0], RNG.normal(size=(6, 2)))
    assert [g.any() for g in gradients] == [True, True, False, False]


def test_two_inputs_and_two_outputs():
    a, b = Input((3,)), Input((3,))
    h, g = Dense(2, **F)(a), Dense(2, **F)(b)
    model = Model([a, b], Two(**F)([h, g]))
    model.compile("sgd", "mse")
    y = [RNG.normal(size=(6, 2)), RNG.normal(size=(6, 2))]
    assert_gradients(model, [X[:, 0], X[:, 1]], y)


def test_numpy_in_call_predicts_with_its_shape_found_out():
    layer = Softened(**F)
    a = Input((None, 3))
    y = layer(a)
    assert y.shape == (None, 3)
    assert layer.built
    model = Model(a, Dense(1, **F)(y))
    layer.set_weights([np.array([1.0, 2.0, 3.0])])
    expected = np.log1p(np.exp(X * [1, 2, 3])).mean(axis=1)
    np.testing.assert_allclose(layer(X), expected)
    assert model.predict(X, verbose=0).shape == (6, 1)
    layer.trainable = False
    model.compile("sgd", "mse")
    model.fit(X, np.ones((6, 1)), verbose=0)  # what is ahead of the first weights need not be trained


def test_numpy_in_call_is_not_trained():
    a = Input((5, 3))
    model = Model(a, Dense(1, **F)(Softened(name="s", **F)(a)))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"^Softened 's': has call\(\) but no forward\(\)"):
        model.fit(X, np.ones((6, 1)), verbose=0)


def test_a_layer_inside_and_outside_of_a_block():
    a = Input((3,))
    block = Unused(**F)
    shared = block.used
    other = Dense(3, **F)
    model = Model(a, [shared(other(shared_input(block, shared, a)))])
    model.compile("sgd", "mse")
    assert_gradients(model, X[:, 0], RNG.normal(size=(6, 2)))


def shared_input(block, shared, a):
    """The layer's own output beside the block's, back to the inputs' width."""
    return Dense(3, **F)(shared(a) * block(a))


class Reader(Layer):
    """A mask that arises inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table, self.lstm = Embedding(5, 3, mask_zero=True, **F), LSTM(2, **F)

    takes_integers = True

    def call(self, inputs):
        return self.lstm(self.table(inputs))


def test_a_mask_flows_inside_a_block():
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    layer = Reader(**F)
    np.testing.assert_allclose(layer(ids)[0], layer.lstm(layer.table(ids[:1, :2]))[0])
    model = Sequential([Input((4,), dtype="int32"), layer])
    model.compile("sgd", "mse")
    assert_gradients(model, ids, RNG.normal(size=(2, 2)))


class Table(Layer):
    """A block whose mask arises inside and comes out."""

    takes_integers = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table, self.lstm = Embedding(5, 3, mask_zero=True, **F), LSTM(2, return_sequences=True, **F)

    def call(self, inputs):
        return self.lstm(self.table(inputs))


class Last(Layer):
    """A block in which the steps end, and the mask with them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lstm = LSTM(2, **F)

    def call(self, inputs):
        return self.lstm(inputs)


class FirstTwo(Layer):
    """Of NumPy: the first two steps."""

    def call(self, inputs):
        return inputs[:, :2] * 2.0


class FirstTwoMasked(FirstTwo):
    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[:, :2]


class Doubled(Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return np.multiply(inputs, 2.0)


IDS = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 4, 4, 4]])
VALID = np.arange(5) < np.array([5, 1, 3, 5, 2, 4])[:, None]
PADDED = np.where(VALID[..., None], X, 0)


def mask_of(model, x):
    return model.forward_masked(x, False, None, False, False)[1]


def test_a_mask_comes_out_of_a_block():
    table, lstm = Table(**F), LSTM(2, **F)
    np.testing.assert_array_equal(mask_of(Sequential([Input((4,), dtype="int32"), table]), IDS), IDS != 0)
    model = Sequential([Input((4,), dtype="int32"), table, lstm])
    np.testing.assert_allclose(model(IDS), lstm(table(IDS), mask=IDS != 0))
    assert not np.allclose(model(IDS), lstm(table(IDS)))
    model.compile("sgd", "mse")
    assert_gradients(model, IDS, RNG.normal(size=(3, 2)))


def test_the_mask_of_a_block_at_each_step():
    x, parts = np.stack([X, PADDED]), np.stack([VALID, ~VALID])
    np.testing.assert_array_equal(TimeDistributed(Last(**F)).compute_mask(x, parts), parts.any(axis=2))


def test_a_mask_ends_in_a_block():
    block = Last(**F)
    model = Sequential([Input((5, 3)), Masking(**F), block, Dense(1, **F)])
    assert mask_of(model, PADDED) is None
    np.testing.assert_allclose(model(PADDED), model.layers[2](block.lstm(PADDED, mask=VALID)))
    model.compile("sgd", "mse")
    assert_gradients(model, PADDED, RNG.normal(size=(6, 1)))


def test_a_mask_and_numpy():
    with pytest.warns(UserWarning, match=r"^FirstTwo 'f': the mask ends here; set supports_masking = True"):
        assert mask_of(Sequential([Input((5, 3)), Masking(**F), FirstTwo(name="f", **F)]), PADDED) is None
    again = Sequential([Input((5, 3)), Masking(**F), FirstTwoMasked(**F)])
    np.testing.assert_array_equal(mask_of(again, PADDED), VALID[:, :2])
    doubled = Sequential([Input((5, 3)), Masking(**F), Doubled(**F)])
    np.testing.assert_array_equal(mask_of(doubled, PADDED), VALID)
    assert mask_of(Sequential([Input((5, 3)), Doubled(**F)]), PADDED) is None


def test_call_over_another_s_forward_is_refused():
    with pytest.raises(TypeError, match=r"^Twice: defines call, but inherits forward, which is what runs"):

        class Twice(Dense):
            def call(self, inputs):
                return 2 * inputs

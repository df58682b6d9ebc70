"""Regularizers and constraints at work in training: in the loss, the gradients and after the update."""

import numpy as np
import pytest
from model_case import assert_gradients

from fusedlstm import constraints, regularizers
from fusedlstm.layers import (
    LSTM,
    MUT1,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    GRUCell,
    Input,
    Layer,
    LSTMCell,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential
from fusedlstm.optimizers import SGD

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 3))
Y = RNG.normal(size=(6, 1))
F = {"dtype": "float64"}

WEIGHTS = {
    "dense": lambda: Sequential(
        [Input((5, 3)), LSTM(4, **F), Dense(1, kernel_regularizer="l2", bias_regularizer="l1", **F)]
    ),
    "lstm": lambda: Sequential(
        [
            Input((5, 3)),
            LSTM(
                4,
                kernel_regularizer=regularizers.L1L2(0.1, 0.2),
                recurrent_regularizer="l2",
                bias_regularizer=regularizers.L2(0.3),
                **F,
            ),
            Dense(1, **F),
        ]
    ),
    "orthogonal": lambda: Sequential(
        [Input((5, 3)), LSTM(4, kernel_regularizer="orthogonal_regularizer", **F), Dense(1, **F)]
    ),
}
ACTIVITIES = {
    "dense": lambda: Sequential([Input((5, 3)), LSTM(4, **F), Dense(1, activity_regularizer="l2", **F)]),
    "sequences": lambda: Sequential(
        [Input((5, 3)), LSTM(4, return_sequences=True, activity_regularizer="l1", **F), LSTM(2, **F), Dense(1, **F)]
    ),
    "both": lambda: Sequential(
        [Input((5, 3)), LSTM(4, activity_regularizer="l2", kernel_regularizer="l2", **F), Dense(1, **F)]
    ),
    "nested": lambda: Sequential([Input((5, 3)), ACTIVITIES["dense"](), Dense(1, **F)]),
    "each step": lambda: Sequential(
        [Input((5, 3)), TimeDistributed(Dense(2, activity_regularizer="l2", **F)), LSTM(2, **F), Dense(1, **F)]
    ),
    "a model at each step": lambda: Sequential(
        [
            Input((5, 3)),
            TimeDistributed(Sequential([Input((3,)), Dense(2, activity_regularizer="l1", **F), Dense(3, **F)])),
            LSTM(2, **F),
            Dense(1, **F),
        ]
    ),
    "both directions": lambda: Sequential(
        [
            Input((5, 3)),
            Bidirectional(LSTM(2, return_sequences=True, activity_regularizer="l1", **F), merge_mode="mul"),
            Bidirectional(RNN(GRUCell(2, **F), activity_regularizer="l2"), activity_regularizer="l1"),
            Dense(1, **F),
        ]
    ),
}


def compiled(model, optimizer="sgd"):
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("make", [*WEIGHTS.values(), *ACTIVITIES.values()], ids=[*WEIGHTS, *ACTIVITIES])
def test_the_penalty_is_in_the_loss_and_its_gradient(make):
    model = compiled(make())
    assert_gradients(model, X, Y, entries=10)
    mse = float(np.mean((model.predict(X, verbose=0) - Y) ** 2))
    loss = model.test_on_batch(X, Y)
    assert loss == pytest.approx(mse + sum(model.losses), rel=1e-9)
    assert loss > mse + 1e-6
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(loss, rel=1e-9)
    assert model.train_on_batch(X, Y) == pytest.approx(loss, rel=1e-9)


def test_the_penalty_s_value():
    model = compiled(Sequential([Input((3,)), Dense(2, kernel_regularizer="l2", activity_regularizer="l1", **F)]))
    kernel, _ = model.get_weights()
    x = X[:, 0]
    y = model.predict(x, verbose=0)
    expected = 0.01 * (kernel**2).sum() + 0.01 * np.abs(y).sum() / 6
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-9)
    assert model.losses == pytest.approx([0.01 * np.abs(y).sum() / 6, 0.01 * (kernel**2).sum()], rel=1e-9)
    assert model.layers[0].losses == model.losses


def test_the_activity_of_batches_is_divided_by_their_rows():
    model = compiled(Sequential([Input((3,)), Dense(2, activity_regularizer="l1", **F)]))
    x = X[:, 0]
    y = model.predict(x, verbose=0)
    whole = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, batch_size=2, verbose=0) == pytest.approx(whole, rel=1e-9)


def test_penalties_do_not_pile_up():
    model = compiled(ACTIVITIES["sequences"]())
    first = model.test_on_batch(X, Y)
    for _ in range(3):
        model.predict(X, verbose=0, batch_size=2)
        model(X)
        assert model.test_on_batch(X, Y) == first
    assert len(model.losses) == 1


def test_calls_on_arrays_forget_the_penalties_of_earlier_ones():
    for layer in (
        Bidirectional(LSTM(2, activity_regularizer="l2", **F)),
        TimeDistributed(Dense(2, activity_regularizer="l2", **F)),
        ACTIVITIES["dense"](),
    ):
        layer(X)
        first = layer.losses
        layer(2 * X)
        layer(X)
        assert layer.losses == first
        assert all(value > 0 for value in first)


@pytest.mark.parametrize("nested", [False, True])
def test_steps_count_as_they_do_without_time_distributed(nested):
    dense = Dense(2, activity_regularizer="l2", **F)
    dense(X)
    expected = dense.losses
    inner = Sequential([Input((3,)), dense]) if nested else dense
    distributed = TimeDistributed(inner, **F)
    y = distributed(X)
    assert expected == pytest.approx([0.01 * (y**2).sum() / 6], rel=1e-12)
    assert distributed.losses == pytest.approx(expected, rel=1e-12)
    TimeDistributed(distributed, **F)(X.reshape(3, 2, 5, 3))
    assert distributed.losses == pytest.approx([2 * expected[0]], rel=1e-12)


def test_a_direction_s_activity_is_that_of_its_own_outputs():
    layer = Bidirectional(LSTM(2, return_sequences=True, return_state=True, activity_regularizer="l2", **F))
    layer(X)
    for direction in (layer.forward_layer, layer.backward_layer):
        outputs = direction(X)
        assert direction.losses == pytest.approx([0.01 * (y**2).sum() / 6 for y in outputs], rel=1e-12)
    assert layer.losses == layer.forward_layer.losses + layer.backward_layer.losses
    assert len(layer.losses) == 6


def test_a_cell_s_activity_is_refused():
    cell = MUT1(2, activity_regularizer="l2", name="m")
    expected = "RNN 'r': expected a cell without activity_regularizer, MUT1 'm' has one: give it to RNN"
    for cells in (cell, [LSTMCell(3), cell]):
        with pytest.raises(ValueError, match=expected):
            RNN(cells, name="r")
    with pytest.raises(TypeError, match="LSTMCell 'c': unknown argument 'activity_regularizer'"):
        LSTMCell(2, activity_regularizer="l2", name="c")


def test_a_shared_layer_s_activity_counts_at_each_call():
    a = Input((5, 3))
    shared = Dense(3, activity_regularizer="l2", **F)
    y = shared(shared(a))
    model = compiled(Model(a, y[:, -1, :1]))
    assert_gradients(model, X, Y)
    mse = float(np.mean((model.predict(X, verbose=0) - Y) ** 2))
    first = shared(X)
    expected = 0.01 * ((first**2).sum() + (shared(first) ** 2).sum()) / 6
    assert model.test_on_batch(X, Y) == pytest.approx(mse + expected, rel=1e-9)


def test_the_activity_of_an_output_without_a_loss_is_trained():
    a = Input((5, 3))
    side = Dense(2, activity_regularizer="l2", **F)
    model = Model(a, [Dense(1, **F)(a), side(a)])
    model.compile("sgd", ["mse", None])
    y = [RNG.normal(size=(6, 5, 1)), None]
    assert_gradients(model, X, y)
    before = side.get_weights()[0]
    model.train_on_batch(X, y)
    assert not np.array_equal(before, side.get_weights()[0])


def test_frozen_weights_have_no_penalty():
    model = compiled(WEIGHTS["lstm"]())
    model.layers[0].trainable = False
    mse = float(np.mean((model.predict(X, verbose=0) - Y) ** 2))
    assert model.losses == []
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(mse, rel=1e-9)


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ("non_neg", lambda w: (w >= 0).all()),
        (constraints.MaxNorm(0.5), lambda w: (np.linalg.norm(w, axis=0) <= 0.5 + 1e-6).all()),
        ("unit_norm", lambda w: np.allclose(np.linalg.norm(w, axis=0), 1)),
    ],
    ids=["non_neg", "max_norm", "unit_norm"],
)
def test_constraints_hold_after_each_update(constraint, holds):
    model = Sequential(
        [Input((5, 3)), LSTM(4, kernel_constraint=constraint, recurrent_constraint=constraint, **F), Dense(1, **F)]
    )
    compiled(model, SGD(0.5))
    for _ in range(3):
        model.train_on_batch(X, Y)
        assert holds(model.get_weights()[0])
        assert holds(model.get_weights()[1])
    dense = compiled(Sequential([Input((3,)), Dense(2, kernel_constraint=constraint, bias_constraint="non_neg", **F)]))
    dense.fit(X[:, 0], RNG.normal(size=(6, 2)), verbose=0)
    assert holds(dense.get_weights()[0])
    assert (dense.get_weights()[1] >= 0).all()


class Scale(Layer):
    """A layer of a user's own with everything `add_weight` takes."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", regularizer="l2", constraint="non_neg", name="scale")
        self.count = self.add_weight(initializer="zeros", trainable=False)

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        x = self.check_inputs(inputs)

        def backward(d_outputs):
            self.gradients = [(d_outputs * x).sum(axis=0)] if self.trainable else []
            return d_outputs * self.scale.value

        return x * self.scale.value, backward


def test_an_own_layer_s_weights():
    model = compiled(Sequential([Input((3,)), Scale(**F), Dense(1, **F)]))
    scale = model.layers[0]
    assert [w.path for w in scale.weights] == [f"{scale.name}/scale", f"{scale.name}/variable_1"]
    assert scale.trainable_weights == [scale.scale]
    assert scale.built
    assert_gradients(model, X[:, 0], Y)
    assert model.losses == pytest.approx([0.03])
    scale.build((None, 3))
    assert len(scale.weights) == 2, "building again starts anew"


def test_an_embedding_s_penalty():
    model = compiled(Sequential([Embedding(7, 3, embeddings_regularizer="l2", **F), LSTM(2, **F), Dense(1, **F)]))
    ids = RNG.integers(0, 7, (6, 5))
    model.build((None, 5))
    assert_gradients(model, ids, Y)


@pytest.mark.parametrize("make", [*WEIGHTS.values(), *ACTIVITIES.values()], ids=[*WEIGHTS, *ACTIVITIES])
def test_a_copy_from_the_config_has_the_same_penalties(make):
    model = compiled(make())
    again = compiled(Sequential.from_config(model.get_config()))
    again.set_weights(model.get_weights())
    assert again.test_on_batch(X, Y) == model.test_on_batch(X, Y)

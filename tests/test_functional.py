"""Functional models: how they are made, what they take and give, and that every shape of graph has right gradients."""

import copy
import pickle

import numpy as np
import pytest
from model_case import assert_gradients

from fusedlstm.layers import (
    LSTM,
    Attention,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    InputLayer,
    Layer,
    Masking,
    MultiHeadAttention,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 3))
Z = RNG.normal(size=(6, 5, 3))
IDS = RNG.integers(0, 7, (6, 5))
F = {"dtype": "float64"}


def dense(units=2, **options):
    return Dense(units, **F, **options)


def lstm(units=4, **options):
    return LSTM(units, **F, **options)


def compiled(inputs, outputs, loss="mse", **options):
    made = Model(inputs, outputs, name="m")
    made.compile("sgd", loss, **options)
    return made


# Graphs. Each returns a compiled model, x and y.


def one_after_the_other():
    a = Input((5, 3))
    return compiled(a, dense()(lstm()(a))), X, RNG.normal(size=(6, 2))


def branches_that_meet():
    a = Input((5, 3))
    h = lstm(return_sequences=True)(a)
    both = Concatenate(**F)([dense(3, activation="tanh")(h), dense(3)(a), h])
    return compiled(a, dense()(both)), X, RNG.normal(size=(6, 5, 2))


def a_residual():
    a = Input((5, 3), dtype="float64")
    h = dense(3, activation="tanh")(a) + a
    return compiled(a, dense()(h * h - h / 2)), X, RNG.normal(size=(6, 5, 2))


def two_inputs_and_a_shared_layer():
    a, b = Input((5, 3)), Input((5, 3))
    shared = lstm()
    return compiled([a, b], dense()(Concatenate(**F)([shared(a), shared(b)]))), [X, Z], RNG.normal(size=(6, 2))


def a_layer_on_its_own_output():
    a = Input((5, 3))
    shared = dense(3, activation="tanh")
    return compiled(a, shared(shared(shared(a)))), X, RNG.normal(size=(6, 5, 3))


def several_outputs():
    a = Input((5, 3))
    h = lstm(return_sequences=True)(a)
    made = compiled(a, [dense(1)(h), dense(2)(h[:, -1])], ["mae", "mse"], loss_weights=[0.5, 2])
    return made, X, [RNG.normal(size=(6, 5, 1)), RNG.normal(size=(6, 2))]


def an_output_without_a_loss():
    a = Input((5, 3))
    h = lstm(return_sequences=True)(a)
    made = compiled(a, [dense(1)(h), h], ["mse", None])
    return made, X, [RNG.normal(size=(6, 5, 1)), None]


def an_output_that_is_also_used():
    a = Input((5, 3))
    h = lstm(return_sequences=True)(a)
    return compiled(a, [h, dense(1)(h)]), X, [RNG.normal(size=(6, 5, 4)), RNG.normal(size=(6, 5, 1))]


def states_as_edges():
    a, b = Input((None, 3)), Input((None, 3))
    _, h, c = lstm(return_state=True)(a)
    y = lstm(return_sequences=True)(b, initial_state=[h, c])
    return compiled([a, b], dense()(y)), [X, Z], RNG.normal(size=(6, 5, 2))


def states_in_the_list_of_inputs():
    a, b = Input((None, 3)), Input((None, 3))
    _, h, c = lstm(return_state=True)(a)
    y = lstm(return_sequences=True)([b, c, h])
    return compiled([a, b], dense()(y)), [X, Z], RNG.normal(size=(6, 5, 2))


def states_that_are_inputs():
    a, h, c = Input((5, 3)), Input((4,)), Input((4,))
    y, h1, c1 = lstm(return_state=True)(a, initial_state=[dense(4)(h), c])
    x = [X, RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))]
    return compiled([a, h, c], [dense(1)(y), h1 * c1]), x, [RNG.normal(size=(6, 1)), RNG.normal(size=(6, 4))]


def a_mask_that_flows():
    a = Input((5, 3))
    h = lstm(return_sequences=True)(Masking(**F)(a))
    x = X.copy()
    x[0, 3:] = x[1, 1:] = 0
    return compiled(a, dense(1)(dense(3)(h))), x, RNG.normal(size=(6, 5, 1))


def a_mask_that_is_an_input():
    a, mask = Input((5, 3)), Input((5,), dtype="bool")
    y = lstm(return_sequences=True)(a, mask=mask)
    lengths = np.arange(5) < np.array([5, 4, 3, 2, 1, 5])[:, None]
    return compiled([a, mask], dense(1)(y)), [X, lengths], RNG.normal(size=(6, 5, 1))


def ids_with_a_mask():
    ids = Input((None,), dtype="int32")
    h = lstm(return_sequences=True)(Embedding(7, 3, mask_zero=True, **F)(ids))
    return compiled(ids, dense(1)(h)), IDS, RNG.normal(size=(6, 5, 1))


def attention():
    a, b = Input((5, 3)), Input((5, 3))
    h, g = lstm(return_sequences=True)(a), lstm(return_sequences=True)(b)
    y, scores = Attention(use_scale=True, **F)([h, g], return_attention_scores=True, use_causal_mask=True)
    return compiled([a, b], [dense(1)(y), scores]), [X, Z], [RNG.normal(size=(6, 5, 1)), RNG.normal(size=(6, 5, 5))]


def an_attention_mask_that_is_an_input():
    a, allowed = Input((5, 3), name="a"), Input((5, 5), dtype="bool", name="allowed")
    attend = MultiHeadAttention(2, 3, **F)
    y = attend(a, lstm(return_sequences=True)(a), attention_mask=allowed)
    y, scores = attend(y, lstm(return_sequences=True)(y), attention_mask=allowed, return_attention_scores=True)
    mask = RNG.uniform(size=(6, 5, 5)) < 0.6
    return compiled([a, allowed], [y, scores]), [X, mask], [RNG.normal(size=(6, 5, 3)), RNG.normal(size=(6, 2, 5, 5))]


def nested_models():
    inner = Sequential([Input((5, 3)), lstm(return_sequences=True), dense(3, activation="tanh")])
    a, b = Input((5, 3)), Input((5, 3))
    h = inner(a)
    pair = Model([a, b], [dense(2)(h), lstm(2)(b)])
    p, q = Input((5, 3)), Input((5, 3))
    y, z = pair([inner(p), q])
    return compiled([p, q], [dense(1)(y[:, 0] * z), y]), [X, Z], [RNG.normal(size=(6, 1)), RNG.normal(size=(6, 5, 2))]


def a_layer_inside_and_outside_of_a_nested_model():
    shared = dense(3, activation="tanh")
    a = Input((5, 3))
    inner = Model(a, dense(3)(shared(a)))
    b = Input((5, 3))
    return compiled(b, shared(inner(shared(b)))), X, RNG.normal(size=(6, 5, 3))


def a_nested_model_twice():
    a = Input((5, 3))
    inner = Model(a, lstm(3, return_sequences=True)(a))
    b = Input((5, 3))
    return compiled(b, inner(inner(b))), X, RNG.normal(size=(6, 5, 3))


def a_mask_through_a_nested_model():
    inner = Sequential([Embedding(7, 3, mask_zero=True, **F), lstm(return_sequences=True)])
    ids = Input((5,), dtype="int32")
    return compiled(ids, lstm(2)(inner(ids))), IDS, RNG.normal(size=(6, 2))


def frozen_below():
    a = Input((5, 3))
    first = lstm(return_sequences=True)
    made = compiled(a, dense()(dense(3)(first(a))))
    first.trainable = False
    return made, X, RNG.normal(size=(6, 5, 2))


def frozen_between():
    a = Input((5, 3))
    between = lstm(return_sequences=True)
    made = compiled(a, dense()(between(dense(3)(a))))
    between.trainable = False
    return made, X, RNG.normal(size=(6, 5, 2))


GRAPHS = [
    one_after_the_other,
    branches_that_meet,
    a_residual,
    two_inputs_and_a_shared_layer,
    a_layer_on_its_own_output,
    several_outputs,
    an_output_without_a_loss,
    an_output_that_is_also_used,
    states_as_edges,
    states_in_the_list_of_inputs,
    states_that_are_inputs,
    a_mask_that_flows,
    a_mask_that_is_an_input,
    ids_with_a_mask,
    attention,
    an_attention_mask_that_is_an_input,
    nested_models,
    a_layer_inside_and_outside_of_a_nested_model,
    a_nested_model_twice,
    a_mask_through_a_nested_model,
    frozen_below,
    frozen_between,
]


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_gradients(make):
    model, x, y = make()
    assert_gradients(model, x, y)


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_a_copy_from_the_config_predicts_the_same(make):
    model, x, _ = make()
    again = Model.from_config(model.get_config())
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    again.set_weights(model.get_weights())
    first, second = model.predict(x, verbose=0), again.predict(x, verbose=0)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_fit_trains_what_is_trained(make):
    model, x, y = make()
    before = [v.numpy() for v in model.trainable_weights]
    frozen = [v.numpy() for v in model.non_trainable_weights]
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert any(not np.array_equal(a, v.value) for a, v in zip(before, model.trainable_weights, strict=True))
    assert all(np.array_equal(a, v.value) for a, v in zip(frozen, model.non_trainable_weights, strict=True))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(duplicate):
    model, x, y = nested_models()
    model.fit(x, y, verbose=0)
    again = duplicate(model)
    for a, b in zip(model.predict(x, verbose=0), again.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    again.fit(x, y, verbose=0)
    assert not np.array_equal(again.get_weights()[0], model.get_weights()[0])


def test_an_attention_mask_is_that_of_the_batch():
    model, (x, mask), _ = an_attention_mask_that_is_an_input()
    attend = next(layer for layer in model.layers if isinstance(layer, MultiHeadAttention))
    first, second = (layer for layer in model.layers if isinstance(layer, LSTM))
    y = attend(x, first(x), attention_mask=mask)
    y, scores = attend(y, second(y), attention_mask=mask, return_attention_scores=True)
    for got, expected in zip(model.predict([x, mask], verbose=0), (y, scores), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert (scores[:, 0][~mask] == 0).all()
    lines = []
    model.summary(print_fn=lines.append)
    row = next(row for row in lines[0].splitlines() if " multi_head_attention" in row)
    assert "allowed" in row, "what it is connected to"


def test_the_encoder_s_state_is_the_decoder_s_first():
    model, x, _ = states_as_edges()
    first, second, last = (layer for layer in model.layers if layer.weights)
    _, h, c = first(x[0])
    np.testing.assert_array_equal(model(x), last(second(x[1], initial_state=[h, c])))


def test_a_model_of_a_part_shares_its_layers():
    model, x, _ = branches_that_meet()
    middle = model.get_layer(index=1)
    part = Model(model.input, middle.output)
    np.testing.assert_array_equal(part.predict(X, verbose=0), middle(X))
    same = Model(model.inputs, model.outputs)
    same.set_weights([w * 0 for w in same.get_weights()])
    assert not model.predict(x, verbose=0).any()


def test_a_model_may_start_in_the_middle():
    a = Input((5, 3))
    h = dense(4)(a)
    y = dense(2)(h)
    model = Model(h, y)
    assert model.input_shape == (None, 5, 4)
    assert model.layers == [y.layer]
    x = RNG.normal(size=(2, 5, 4))
    np.testing.assert_array_equal(model(x), y.layer(x))


def test_sequential_has_symbolic_inputs_and_outputs():
    model = Sequential([Input((5, 3), name="series"), lstm(return_sequences=True, name="first"), dense(name="last")])
    assert model.inputs[0].name == "series"
    assert model.output.shape == (None, 5, 2)
    part = Model(model.inputs, model.get_layer("first").output)
    np.testing.assert_array_equal(part(X), model.layers[0](X))
    model.add(dense(1, name="more"))
    longer = Model(model.input, [model.get_layer("first").output, model.output])
    np.testing.assert_array_equal(longer(X)[1], model(X))
    model.pop()
    assert model.output_shape == (None, 5, 2)


def test_shapes_names_and_layers():
    a, b = Input((5, 3), name="a"), Input((None,), name="b")
    h = lstm(name="h", return_state=True)(a)
    model = Model([a, b], [*h, dense(name="d")(b[:, :, None])], name="m")
    assert model.input_shape == [(None, 5, 3), (None, None)]
    assert model.output_shape == [(None, 4), (None, 4), (None, 4), (None, None, 2)]
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["h", "h_1", "h_2", "d"]
    assert [layer.name for layer in model.layers if isinstance(layer, InputLayer)] == ["b", "a"]
    assert model.get_layer("h").output == list(h)
    assert model.compute_output_shape([(7, 5, 3), (7, 2)])[3] == (7, 2, 2)
    assert repr(h[0]) == "<SymbolicTensor 'h' shape=(None, 4) dtype=float64>"
    assert Model([a], [h[0]]).output_shape == (None, 4), "a list of one is the one"


def test_a_fixed_batch_size_shows():
    model = Model(a := Input((5, 3), batch_size=4), dense()(a))
    assert model.input_shape == (4, 5, 3)
    assert model.output_shape == (4, 5, 2)
    assert model.predict(X, verbose=0).shape == (6, 5, 2), "nothing here needs 4 rows"


def of_dicts():
    a, b = Input((3,), name="a"), Input((2,), name="b")
    return Model({"p": a, "q": b}, {"u": dense(1, name="d")(a), "v": b * 2.0}, name="m")


DICT_X = {"q": RNG.normal(size=(6, 2)), "p": RNG.normal(size=(6, 3))}


def test_dicts_in_and_out():
    model = of_dicts()
    y = model.predict(DICT_X, batch_size=4, verbose=0)
    assert list(y) == ["u", "v"]
    np.testing.assert_allclose(y["v"], DICT_X["q"] * 2, rtol=1e-6)
    called = model(DICT_X)
    np.testing.assert_allclose(called["u"], y["u"], rtol=1e-6)
    model.compile("sgd", {"u": "mse", "v": "mae"}, metrics={"v": ["mae"]}, loss_weights={"u": 3})
    history = model.fit(DICT_X, y, verbose=0).history
    assert list(history) == ["loss", "u_loss", "v_loss", "v_mae"]
    assert history["loss"][0] == pytest.approx(0, abs=1e-9)
    p, q = Input((3,)), Input((2,))
    outer = Model([p, q], model({"p": p, "q": q})["v"])
    np.testing.assert_array_equal(outer([DICT_X["p"], DICT_X["q"]]), called["v"])


def test_inputs_by_their_names():
    model, x, y = two_inputs_and_a_shared_layer()
    names = model.input_names
    by_name = dict(zip(names, x, strict=True))
    np.testing.assert_array_equal(model.predict(by_name, verbose=0), model.predict(x, verbose=0))
    assert model.evaluate(by_name, y, verbose=0) == model.evaluate(x, y, verbose=0)
    batches = [([x[0][k : k + 2], x[1][k : k + 2]], y[k : k + 2]) for k in (0, 2, 4)]
    history = model.fit(iter(batches), validation_data=(by_name, y), verbose=0).history
    assert set(history) == {"loss", "val_loss"}


def test_several_outputs_are_split_shuffled_and_weighted_as_one():
    model, x, y = several_outputs()
    weight = RNG.uniform(size=6)
    loss = model.evaluate(x, y, sample_weight=weight, verbose=0)[0]
    assert model.evaluate(x, y, sample_weight=[weight, weight], verbose=0)[0] == loss
    named = dict(zip(model.output_names, [weight, weight], strict=True))
    assert model.evaluate(x, y, sample_weight=named, verbose=0)[0] == loss
    assert_gradients(model, x, y, sample_weight=[weight, None])
    history = model.fit(x, y, validation_split=0.5, verbose=0, epochs=2).history
    assert len(history["val_loss"]) == 2
    assert model.metrics_names[0] == "loss"


def test_losses_and_metrics_of_several_outputs():
    model, x, y = several_outputs()
    first, second = model.output_names
    model.compile("sgd", ["mae", "mse"], loss_weights=[0.5, 2], metrics=[["mse", "mae"], None])
    values = model.evaluate(x, y, verbose=0, return_dict=True)
    p, q = model.predict(x, verbose=0)
    mae, mse = np.abs(p - y[0]).mean(), np.mean((q - y[1]) ** 2)
    assert values == pytest.approx(
        {
            "loss": 0.5 * mae + 2 * mse,
            f"{first}_loss": mae,
            f"{second}_loss": mse,
            f"{first}_mse": np.mean((p - y[0]) ** 2),
            f"{first}_mae": mae,
        },
        rel=1e-6,
    )
    assert model.metrics_names == ["loss", f"{first}_loss", f"{second}_loss", f"{first}_mse", f"{first}_mae"]
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(np.mean((p - y[0]) ** 2) + mse, rel=1e-6)


def test_training_given_with_the_call_stays():
    a = Input((4,))
    always, never = Dropout(0.5)(a, training=True), Dropout(0.5)(a, training=False)
    x = np.ones((50, 4), "float32")
    assert (Model(a, always).predict(x, verbose=0) == 0).any()
    model = Model(a, never)
    np.testing.assert_array_equal(model(x, training=True), x)


def test_inputs_keep_what_the_layers_need():
    ids = np.array([[16777217]], dtype=np.int64)
    embedding = Sequential([Embedding(16777218, 1, embeddings_initializer="zeros")])
    assert embedding.predict(ids, verbose=0).shape == (1, 1, 1)
    a = Input((1,))
    twice = Model(a, dense(1, kernel_initializer="ones")(a))
    assert twice.predict(np.array([[1 + 1e-12]]), verbose=0)[0, 0] == 1 + 1e-12, "float64 all the way"
    whole = Model(b := Input((1,), dtype="int32"), b + 1)
    np.testing.assert_array_equal(whole.predict(np.array([[2.0]]), verbose=0), [[3]])


def test_an_unused_input_is_taken_and_not_used():
    a, b = Input((3,)), Input((2,), name="b")
    model = Model([a, b], dense(1)(a))
    assert model.get_layer("b") in model.layers
    assert model.predict([X[:, 0], Z[:, 0, :2]], verbose=0).shape == (6, 1)


def test_an_input_may_be_an_output():
    a = Input((3,), dtype="float64")
    model = Model(a, [a, a])
    first, second = model.predict(X[:, 0], verbose=0)
    np.testing.assert_array_equal(first, X[:, 0])
    np.testing.assert_array_equal(second, X[:, 0])


def test_a_long_chain_needs_no_stack():
    x = a = Input((2,))
    for _ in range(1500):
        x = x + 1.0
    np.testing.assert_allclose(Model(a, x)(np.zeros((1, 2))), 1500)


class Twice(Model):
    """A model made of attributes."""

    def __init__(self):
        super().__init__(name="twice")
        self.first = lstm(return_sequences=True)
        self.drop = Dropout(0.5, **F)
        self.heads = [dense(2), dense(1)]

    def call(self, inputs, training=None):
        h = self.drop(self.first(inputs), training=training)
        return self.heads[0](h) * 2.0


def test_a_subclass_with_call_is_traced():
    model = Twice()
    model.compile("sgd", "mse")
    y = RNG.normal(size=(6, 5, 2))
    assert_gradients(model, X, y)
    model.fit(X, y, epochs=2, verbose=0)
    np.testing.assert_allclose(model(X), 2 * model.heads[0](model.first(X)))
    assert not np.array_equal(model(X, training=True), model(X))
    assert [layer for layer in model.layers if layer.weights] == [model.first, model.heads[0]]
    assert model.heads[1] in model.layers
    assert model.weights[0] is model.first.weights[0]


@pytest.mark.parametrize("around", ["sequential", "functional", "each step"])
def test_a_subclass_with_call_is_a_layer(around):
    inner = Twice()
    x = X
    if around == "sequential":
        model = Sequential([Input((5, 3)), inner, dense(1)])
    elif around == "functional":
        a = Input((5, 3))
        model = Model(a, dense(1)(inner(a)))
    else:
        model, x = Sequential([Input((2, 5, 3)), TimeDistributed(inner), dense(1)]), np.stack([X, -X], axis=1)
    assert model.output_shape == (None, *x.shape[1:-1], 1)
    model.compile("sgd", "mse")
    assert_gradients(model, x, RNG.normal(size=(*x.shape[:-1], 1)))


def test_freezing_at_any_time():
    model, x, y = branches_that_meet()
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    frozen = next(layer for layer in model.layers if isinstance(layer, LSTM))
    frozen.trainable = False
    before = frozen.get_weights()
    model.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, frozen.get_weights(), strict=True))
    model.trainable = False
    assert model.trainable_weights == []
    assert not any(layer.trainable for layer in model.layers)
    model.trainable = True
    assert len(model.trainable_weights) == len(model.weights)


def test_freezing_while_it_trains():
    from fusedlstm.callbacks import LambdaCallback

    model, x, y = branches_that_meet()
    frozen = next(layer for layer in model.layers if isinstance(layer, LSTM))
    kept = []

    def freeze(batch, logs):
        if batch == 0:
            frozen.trainable = False
            kept.append(frozen.get_weights())

    model.fit(x, y, batch_size=2, callbacks=[LambdaCallback(on_train_batch_end=freeze)], verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(kept[0], frozen.get_weights(), strict=True))


class Halves(Layer):
    """A layer with two outputs and an own backward."""

    def compute_output_shape(self, input_shape):
        *rest, n = input_shape
        return [(*rest, n // 2), (*rest, n - n // 2)]

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        at = inputs.shape[-1] // 2
        shape = inputs.shape

        def backward(d_outputs):
            d_x = np.zeros(shape)
            for part, d in zip((slice(0, at), slice(at, None)), d_outputs, strict=True):
                if d is not None:
                    d_x[..., part] = d
            return d_x

        return [inputs[..., :at], inputs[..., at:]], backward


def test_a_layer_with_several_outputs_of_which_one_is_used():
    a = Input((5, 3))
    first, second = Halves(**F)(dense(5)(a))
    assert (first.shape, second.shape) == ((None, 5, 2), (None, 5, 3))
    model = compiled(a, dense(1)(second))
    assert_gradients(model, X, RNG.normal(size=(6, 5, 1)))


def test_the_summary_of_a_branched_model_shows_what_is_connected(monkeypatch):
    monkeypatch.setattr("sys.stdout", type("Output", (), {"encoding": "utf-8"})())
    a, b = Input((5, 3), name="a"), Input((5, 3), name="b")
    shared = lstm(return_state=True, name="s")
    y, _, c = shared(a)
    z = shared(b)[0]
    model = Model([a, b], dense(name="d")(Concatenate(name="j", **F)([y, z, c])), name="m")
    lines = []
    model.summary(print_fn=lines.append)
    rows = {row.split()[1]: row for row in lines[0].splitlines() if "(" in row and row[0] in "│┃"}
    assert "Connected to" in rows["Layer"]
    assert "│ a, b " in rows["s"]
    assert "(None, 4), (None, 4), (None, 4)" in rows["s"]
    assert "│ s, s(2), s[2] " in rows["j"]
    assert "│ - " in rows["a"]
    outer = Model([a, b], Flatten(name="f", **F)(model([a, b])), name="o")
    outer.summary(print_fn=lines.append, expand_nested=True, show_trainable=True)
    assert "    s (LSTM)" in lines[1]
    assert "Trainable" in lines[1].splitlines()[2]
    outer.summary(print_fn=lines.append, layer_range=("m", "f"))
    assert "a (InputLayer)" not in lines[2]
    assert "f (Flatten)" in lines[2]


def test_the_summary_of_a_chain_has_no_connections(capsys):
    one_after_the_other()[0].summary()
    assert "Connected" not in capsys.readouterr().out

"""Wrong calls around functional models: each raises exactly this error, and changes nothing."""

import numpy as np
import pytest
from loss_cases import LOSS_NAMES

from fusedlstm.layers import LSTM, Concatenate, Dense, Embedding, Input, InputLayer, Layer, MultiHeadAttention
from fusedlstm.layers.operations import Arithmetic, Slice
from fusedlstm.models import Model, Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.symbolic import SymbolicError
from fusedlstm.utils import plot_model

X = np.ones((4, 5, 3), "float32")
Y = np.ones((4, 1), "float32")


def a():
    return Input((5, 3), name="a")


def h():
    return Dense(2, name="h")(a())


def pair(**options):
    """Two inputs and two outputs."""
    first, second = a(), Input((2,), name="b")
    made = Model([first, second], [Dense(1, name="p")(first[:, 0]), Dense(1, name="q")(second)], name="m", **options)
    made.compile("sgd", "mse")
    return made


PAIR = [X, np.ones((4, 2))]


def disconnected():
    other = Input((5, 3), name="other")
    return Model(a(), Dense(1, name="d")(Concatenate(name="j")([Dense(2, name="h")(a()), other])), name="m")


def wrong_name():
    x = a()
    return Model(x, Dense(1, name="d")(Dense(2, name="d")(x)), name="m")


def input_twice():
    x = a()
    return Model([x, x], Dense(1)(x), name="m")


def inside_itself():
    inner = Sequential([Dense(1, name="d")], name="inner")
    outer = Sequential([inner], name="outer")
    inner.add(outer)


def stateful(**options):
    made = Sequential([LSTM(2, stateful=True, batch_input_shape=(4, 5, 3), name="e")], name="m")
    made.compile("sgd", "mse")
    return made


class Doubles(Layer):
    """Only a call, of more than layers."""

    def call(self, inputs):
        return np.tanh(inputs)


class Nothing(Layer):
    """Neither forward nor call."""


class Numbers(Model):
    """A call that is not made of layers."""

    def call(self, inputs):
        return np.tanh(inputs)


class Branches(Model):
    """A call that looks at training."""

    def call(self, inputs, training=None):
        return inputs * 2 if training else inputs


class TwoOutputs(Model):
    """A call with two outputs."""

    def call(self, inputs):
        return [inputs, inputs * 2]


def fit_two_outputs():
    made = TwoOutputs(name="m")
    made.compile("sgd", "mse")
    made.fit(X, X, verbose=0)


def fit_doubles():
    x = a()
    made = Model(x, Doubles(name="s")(Dense(1, name="d")(x)), name="m")
    made.compile("sgd", "mse")
    made.fit(X, np.ones((4, 5, 1)), verbose=0)


def thaw():
    made = Sequential([Input((3,)), Dense(2, name="d"), Dense(1, name="e")], name="m")
    made.layers[0].trainable = False
    made.compile(Adam(), "mse")
    made.fit(X[:, 0], Y, verbose=0)
    made.layers[0].trainable = True
    made.fit(X[:, 0], Y, verbose=0)


CALLS = [
    ("model without outputs", lambda: Model(a(), name="m"), ValueError,
     "Model 'm': expected inputs and outputs, got outputs=None"),
    ("model of nothing", lambda: Model(name="m"), ValueError,
     "Model 'm': expected inputs and outputs, got inputs=None"),
    ("model of arrays", lambda: Model(X, X, name="m"), TypeError,
     "Model 'm': expected inputs to be what Input, or a layer called on it, returns, got ndarray"),
    ("model of a layer", lambda: Model(a(), Dense(1), name="m"), TypeError,
     "Model 'm': expected outputs to be what Input, or a layer called on it, returns, got Dense"),
    ("model of an empty list", lambda: Model([], h(), name="m"), ValueError,
     "Model 'm': expected inputs to hold at least one symbolic tensor, got none"),
    ("model unknown argument", lambda: Model(a(), h(), names="m", name="m"), TypeError,
     "Model 'm': unknown argument 'names'"),
    ("disconnected", disconnected, ValueError,
     "Model 'm': expected all that the outputs depend on among the inputs, Dense 'd' depends through Dense 'h' on "
     "InputLayer 'a'"),
    ("names twice", wrong_name, ValueError,
     "Model 'm': expected layers of different names, got Dense 'd' and Dense 'd'"),
    ("input twice", input_twice, ValueError, "Model 'm': expected each input once, got one of them twice"),
    ("a model in itself", inside_itself, ValueError,
     "Sequential 'inner': expected a layer that does not hold this model, got Sequential 'outer'"),
    ("sequential of an output", lambda: Sequential([h()], name="m"), TypeError,
     "Sequential 'm': expected a layer, got the output of Dense 'h'"),
    ("input dtype", lambda: Input((3,), dtype="complex64", name="i"), ValueError,
     "InputLayer 'i': expected dtype to be one of 'float32', 'float64', 'bool', 'uint8', 'int8', 'int16', 'int32', "
     "'int64', got 'complex64'"),
    ("layer misfit", lambda: LSTM(2, name="e")(Input((3,), name="i")), ValueError,
     "LSTM 'e': expected inputs (batch, steps, features), got (None, 3)"),
    ("layer unknown features", lambda: Dense(2, name="d")(Input((None,), name="i")), ValueError,
     "Dense 'd': expected a known number of features, got (None, None)"),
    ("symbolic beside an array", lambda: Concatenate(name="j")([a(), X]), TypeError,
     "Concatenate 'j': expected inputs to be symbolic tensors only, or arrays only, got ndarray among them"),
    ("array as state", lambda: LSTM(2, name="e")(a(), initial_state=[np.ones((4, 2)), np.ones((4, 2))]), TypeError,
     "LSTM 'e': expected initial_state to be symbolic tensors only, or arrays only, got ndarray among them"),
    ("array as mask", lambda: LSTM(2, name="e")(a(), mask=np.ones((4, 5), bool)), TypeError,
     "LSTM 'e': expected mask to be symbolic tensors only, or arrays only, got ndarray among them"),
    ("symbolic option", lambda: MultiHeadAttention(2, 3, name="m")(a(), a(), use_causal_mask=a()), TypeError,
     "MultiHeadAttention 'm': expected use_causal_mask to be a plain value, got a symbolic tensor"),
    ("symbolic attention mask", lambda: MultiHeadAttention(2, 3, name="m")(a(), a(), attention_mask=a()), TypeError,
     "MultiHeadAttention 'm': expected attention_mask to be of bool, got a symbolic tensor of float32: "
     "Input(..., dtype='bool')"),
    ("symbolic attention mask's shape", lambda: MultiHeadAttention(2, 3, name="m")(
        a(), a(), attention_mask=Input((4, 5), dtype="bool")), ValueError,
     "MultiHeadAttention 'm': expected attention_mask (None, 5, 5), got (None, 4, 5)"),
    ("symbolic mask of floats", lambda: LSTM(3, name="l")(a(), mask=Input((5,))), TypeError,
     "LSTM 'l': expected mask to be of bool, got a symbolic tensor of float32: Input(..., dtype='bool')"),
    ("symbolic unknown argument", lambda: Dense(2, name="d")(a(), states=a()), TypeError,
     "Dense 'd': unknown argument 'states'"),
    ("symbolic truth", lambda: bool(a()), SymbolicError, "'a' is symbolic and is neither true nor false"),
    ("symbolic length", lambda: len(a()), SymbolicError,
     "'a' is symbolic and has no length; its shape is (None, 5, 3)"),
    ("symbolic unpacked", lambda: list(a()), SymbolicError,
     "'a' is one symbolic tensor of shape (None, 5, 3) and cannot be unpacked"),
    ("symbolic in NumPy", lambda: np.tanh(a()), SymbolicError,
     "np.tanh of the symbolic 'a' is not available: use a layer, such as Activation"),
    ("slice of the batch", lambda: a()[0], ValueError,
     "Slice 'get_item': expected the batch to be taken whole, as in x[:, 0], got x[0]"),
    ("slice of part of the batch", lambda: a()[1:, 2], ValueError,
     "Slice 'get_item': expected the batch to be taken whole, as in x[:, 0], got x[1:, 2]"),
    ("slice by an array", lambda: Slice((slice(None), [1, 2]), name="s"), TypeError,
     "Slice 's': expected slices and integers between the brackets, got [1, 2]"),
    ("slice too far", lambda: Slice((slice(None), 5), name="s")(a()), ValueError,
     "Slice 's': expected an index of 5 on axis 1, got 5"),
    ("slice of too many axes", lambda: Slice((slice(None), 0, 0, 0), name="s")(a()), ValueError,
     "Slice 's': expected inputs of at least 4 axes for x[:, 0, 0, 0], got 3"),
    ("arithmetic of shapes", lambda: Arithmetic("add", name="o")([a(), Input((4, 3))]), ValueError,
     "Arithmetic 'o': expected shapes that broadcast with the batch first in both, got (None, 5, 3) and (None, 4, 3)"),
    ("arithmetic of ranks", lambda: Arithmetic("add", name="o")([a(), Input((3,))]), ValueError,
     "Arithmetic 'o': expected shapes that broadcast with the batch first in both, got (None, 5, 3) and (None, 3)"),
    ("arithmetic with a batch of constants", lambda: Arithmetic("add", X, name="o")(a()), ValueError,
     "Arithmetic 'o': expected shapes that broadcast with the batch first in both, got (None, 5, 3) and a constant "
     "(4, 5, 3)"),
    ("arithmetic with text", lambda: a() + "1", TypeError,
     "Arithmetic 'add': expected constant to be an array of real numbers, got dtype <U1"),
    ("arithmetic unknown", lambda: Arithmetic("modulo"), ValueError,
     "Arithmetic: expected operation to be one of 'add', 'subtract', 'multiply', 'divide', 'power', got 'modulo'"),
    ("output before a call", lambda: Dense(1, name="d").output, ValueError,
     "Dense 'd': has no input and output yet: call it on symbolic tensors first"),
    ("x one array for two", lambda: pair().predict(X), ValueError,
     "Model 'm': expected x to be a list or dict of 2 arrays (a, b), got ndarray"),
    ("x three for two", lambda: pair().predict([X, X, X]), ValueError,
     "Model 'm': expected x to be a list or dict of 2 arrays (a, b), got 3 items"),
    ("x other names", lambda: pair().predict({"a": X, "c": X}), ValueError,
     "Model 'm': expected x to be a dict with the keys 'a', 'b', got 'a', 'c'"),
    ("x shape", lambda: pair().predict([X, np.ones((4, 3))]), ValueError,
     "Model 'm': expected x['b'] (batch, 2), got (4, 3)"),
    ("x rows", lambda: pair().predict([X, np.ones((3, 2))]), ValueError,
     "Model 'm': expected all inputs to have as many rows, got 4 in x['a'] and 3 in x['b']"),
    ("x text", lambda: pair().predict([X, np.full((4, 2), "a")]), TypeError,
     "Model 'm': expected x['b'] to be an array of real numbers, got dtype <U1"),
    ("x fractions as ids", lambda: Model(i := Input((2,), dtype="int32"), i + 1, name="m").predict([[1.0, 2.5]]),
     ValueError, "Model 'm': expected x to be whole numbers of int32, got 2.5"),
    ("x ids too large", lambda: Model(i := Input((1,), dtype="int8"), i + 1, name="m").predict(np.array([[300]])),
     ValueError, "Model 'm': expected x to be whole numbers of int8, got 300"),
    ("y one for two", lambda: pair().fit(PAIR, Y), ValueError,
     "Model 'm': expected y to be a list or dict of 2 arrays (p, q), got ndarray"),
    ("y names", lambda: pair().fit(PAIR, {"p": Y}), ValueError,
     "Model 'm': expected y to be a dict with the keys 'p', 'q', got 'p'"),
    ("y shape", lambda: pair().fit(PAIR, [Y, np.ones((4, 3))]), ValueError,
     "Model 'm': y does not fit, seen in its first row: MeanSquaredError: expected y_true shaped like y_pred (1, 1), "
     "got (1, 3)"),
    ("y None", lambda: pair().fit(PAIR, [Y, None]), ValueError,
     "Model 'm': y does not fit, seen in its first row: expected y to be an array for output 'q', got None"),
    ("y rows", lambda: pair().fit(PAIR, [Y, Y[:3]]), ValueError,
     "Model 'm': expected y['q'] to have 4 rows, as x has, got 3"),
    ("weight count", lambda: pair().fit(PAIR, [Y, Y], sample_weight=[np.ones(4)] * 3), ValueError,
     "Model 'm': expected sample_weight to be a list or dict of 2 arrays (p, q), got 3 items"),
    ("weight rows", lambda: pair().fit(PAIR, [Y, Y], sample_weight={"q": np.ones(3)}), ValueError,
     "Model 'm': expected sample_weight['q'] to have 4 rows, as x has, got 3"),
    ("class_weight", lambda: pair().fit(PAIR, [Y, Y], class_weight={0: 1.0}), ValueError,
     "Model 'm': expected class_weight None with 2 outputs, use sample_weight"),
    ("losses count", lambda: pair().compile("sgd", ["mse"]), ValueError,
     "Model 'm': expected loss to be a list or dict with an item for each of 2 outputs ('p', 'q'), got 1 items"),
    ("losses names", lambda: pair().compile("sgd", {"p": "mse"}), ValueError,
     "Model 'm': expected loss to be a dict with the keys 'p', 'q', got 'p'"),
    ("losses unknown", lambda: pair().compile("sgd", ["mse", "mess"]), ValueError,
     f"Model 'm': loss: unknown loss 'mess': expected one of {LOSS_NAMES}"),
    ("loss_weights text", lambda: pair().compile("sgd", "mse", loss_weights={"p": "1"}), TypeError,
     "Model 'm': expected loss_weights to be numbers, got '1'"),
    ("loss_weights names", lambda: pair().compile("sgd", "mse", loss_weights={"r": 1}), ValueError,
     "Model 'm': expected loss_weights to be a dict with the keys 'p', 'q', got 'r'"),
    ("metrics for two", lambda: pair().compile("sgd", "mse", metrics=["mae"]), ValueError,
     "Model 'm': expected metrics to be a list or dict with an item for each of 2 outputs ('p', 'q'), got 1 items"),
    ("metrics one for two", lambda: pair().compile("sgd", "mse", metrics="mae"), ValueError,
     "Model 'm': expected metrics to be a list or dict with an item for each of 2 outputs ('p', 'q'), got 'mae'"),
    ("call with other names", lambda: pair()({"a": X}), ValueError,
     "Model 'm': expected inputs to be a dict with the keys 'a', 'b', got 'a'"),
    ("call with one of two", lambda: pair()(X), ValueError, "Model 'm': expected 2 inputs, got 1"),
    ("call with a misfit", lambda: pair()([X, X]), ValueError,
     "Model 'm': expected input 'b' (batch, 2), got (4, 5, 3)"),
    ("nested misfit", lambda: Model(i := Input((5, 4)), Model(x := a(), h_of(x), name="in")(i)), ValueError,
     "Model 'in': expected inputs (batch, 5, 3), got (None, 5, 4)"),
    ("neither forward nor call", lambda: Nothing(name="n")(X), TypeError,
     "Nothing 'n': a subclass of Layer has to define forward, or call"),
    ("training what has only call", fit_doubles, TypeError,
     "Doubles 's': has call() but no forward(), and call() does more than layers and arithmetic can, so that it can "
     "predict but not be trained"),
    ("subclass in NumPy", lambda: Numbers(name="m").predict(X), TypeError,
     "Numbers 'm': expected call to be made of layers and arithmetic: np.tanh of the symbolic 'input_layer' is "
     "not available: use a layer, such as Activation"),
    ("subclass that looks at training", lambda: Branches(name="m").predict(X), TypeError,
     "Branches 'm': expected call to be made of layers and arithmetic: training is not known while call is traced: "
     "pass it on to the layers"),
    ("subclass of two outputs", fit_two_outputs, ValueError,
     "TwoOutputs 'm': has 2 outputs: call build(input_shape) before compile()"),
    ("add_weight shape", lambda: Dense(1, name="d").add_weight((None, 2)), ValueError,
     "Dense 'd': expected shape to have known sizes in add_weight, got (None, 2)"),
    ("add_weight dtype", lambda: Dense(1, name="d").add_weight((2,), dtype="float64"), ValueError,
     "Dense 'd': expected dtype float32 in add_weight, as the layer's, got 'float64'"),
    ("add_weight regularizer", lambda: Dense(1, name="d").add_weight((2,), regularizer="l3"), ValueError,
     "Dense 'd': regularizer: unknown regularizer 'l3': expected one of 'l1', 'l1_l2', 'l2', 'orthogonal_regularizer'"),
    ("dense constraint", lambda: Dense(1, name="d", kernel_constraint="positive"), ValueError,
     "Dense 'd': kernel_constraint: unknown constraint 'positive': expected one of 'max_norm', 'min_max_norm', "
     "'non_neg', 'unit_norm'"),
    ("trainable later", lambda: setattr(Dense(1, name="d"), "trainable", 1), TypeError,
     "Dense 'd': expected trainable to be True or False, got 1"),
    ("thawed after training", thaw, ValueError,
     "Adam: already trains 2 variables, which these 4 are not: make a new optimizer"),
    ("stateful without a batch", lambda: LSTM(2, stateful=True, name="e")(a()), ValueError,
     "LSTM 'e': expected a fixed batch size with stateful=True: give batch_input_shape=, or Input(..., batch_size=)"),
    ("stateful rows", lambda: stateful().predict(X[:3]), ValueError,
     "Sequential 'm': expected a multiple of 4 rows, for which its stateful layers are built, got 3"),
    ("stateful batch_size", lambda: stateful().fit(X, np.ones((4, 2)), batch_size=2), ValueError,
     "Sequential 'm': expected batch_size 4, for which its stateful layers are built, got 2"),
    ("stateful call", lambda: stateful()(X[:3]), ValueError, "LSTM 'e': expected 4 rows, as it is stateful, got 3"),
    ("stateful validation", lambda: stateful().fit(X, np.ones((4, 2)), validation_split=0.5), ValueError,
     "Sequential 'm': validation_split 0.5: expected a multiple of 4 rows, for which its stateful layers are built, "
     "got 2"),
    ("unknown class", lambda: Model.from_config({**pair().get_config(), "layers": [
        {"class_name": "system", "number": 0, "config": {}}]}), ValueError,
        "Model 'm': unknown layer class 'system': a subclass of Layer goes into custom_objects={'system': ...}"),
    ("plot no model", lambda: plot_model(Dense(1)), TypeError, "plot_model: expected a model, got Dense"),
    ("plot unbuilt", lambda: plot_model(Sequential([Dense(1)], name="m")), ValueError,
     "Sequential 'm': not built yet: start with Input(shape), give the first layer input_shape=, or call "
     "build(input_shape)"),
    ("plot rankdir", lambda: plot_model(pair(), rankdir="UP"), ValueError,
     "plot_model: expected rankdir to be one of TB, LR, BT, RL, got 'UP'"),
    ("plot dpi", lambda: plot_model(pair(), dpi=0), ValueError,
     "plot_model: expected dpi to be a positive integer, got 0"),
    ("plot file", lambda: plot_model(pair(), "model"), ValueError,
     "plot_model: expected to_file to end in .png, .svg or .pdf, got 'model'"),
]  # fmt: skip


def h_of(x):
    return Dense(2, name="h")(x)


@pytest.mark.parametrize(("call", "error", "message"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_bad_call_raises(call, error, message, monkeypatch):
    monkeypatch.setattr("fusedlstm.layers.checks._counters", {})
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize("call", [lambda m: m.fit(PAIR, [Y, None]), lambda m: m.fit([X, X], [Y, Y])])
def test_a_refused_fit_changes_nothing(call):
    made = pair()
    before = made.get_weights(), [v.version for v in made.weights], made.history
    with pytest.raises(ValueError, match=r"^Model 'm': "):
        call(made)
    assert all(np.array_equal(u, v) for u, v in zip(before[0], made.get_weights(), strict=True))
    assert before[1:] == ([v.version for v in made.weights], made.history)


def test_a_refused_symbolic_call_leaves_the_layer_unbuilt():
    layer = LSTM(2)
    with pytest.raises(ValueError, match="expected inputs"):
        layer(Input((3,)))
    assert not layer.built
    assert not layer.nodes


class Fails(Layer):
    """A build that gives up half-way."""

    def build(self, input_shape):
        self.add_weight((2,))
        raise ValueError("no")


def test_a_build_that_fails_leaves_no_weights():
    layer = Fails()
    with pytest.raises(ValueError, match=r"^no$"):
        layer.build((None, 2))
    assert not layer.built
    assert layer.weights == []


def test_embedding_in_the_middle_of_integers():
    ids = Input((3,), dtype="int32")
    made = Model(ids, Embedding(5, 2)(ids + 1))
    with pytest.raises(ValueError, match=r"expected ids in 0 \.\.\. 4, got 5"):
        made.predict(np.array([[0, 1, 4]]), verbose=0)


def test_input_layers_are_found():
    assert isinstance(pair().get_layer("b"), InputLayer)

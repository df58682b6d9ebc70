"""Models and layers from configs that name classes of a user's own."""

import json

import numpy as np
import pytest

from fusedlstm import layers, losses, metrics, regularizers
from fusedlstm.layers import LSTM, RNN, Bidirectional, Dense, Input, LSTMCell, StackedRNNCells, TimeDistributed
from fusedlstm.models import Model, Sequential
from fusedlstm.utils import custom_object_scope, register_keras_serializable

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 3)).astype("float32")


class Leaky(layers.Layer):
    """A cell: h' = tanh(x W) + leak h."""

    def __init__(self, units, leak=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units, self.leak, self.state_size = units, leak, units

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], self.units), name="kernel")

    def call(self, inputs, states):
        h = np.tanh(inputs @ self.kernel.value) + self.leak * states[0]
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "leak": self.leak}


class Scale(layers.Layer):
    """A layer with a weight of its own."""

    def __init__(self, start=2.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")
        self.scale.assign(self.scale.value * self.start)

    def forward(self, inputs, training=False, mask=None, *, need_backward=None, need_d_inputs=True):
        x = self.check_inputs(inputs)
        return x * self.scale.value, None

    def get_config(self):
        return {**super().get_config(), "start": self.start}


class Twice(layers.Layer):
    """A layer that holds another."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, inputs):
        return self.layer(self.layer(inputs))

    def get_config(self):
        return {**super().get_config(), "layer": layers.serialize(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "layer": layers.deserialize(config["layer"])})


class Cubes(regularizers.Regularizer):
    """A penalty of a user's own."""

    def __init__(self, factor):
        self.factor = factor

    def value_and_gradient(self, w):
        return self.factor * float((np.abs(w) ** 3).sum()), 3 * self.factor * w * np.abs(w)

    def get_config(self):
        return {"factor": self.factor}


OWN = {cls.__name__: cls for cls in (Leaky, Scale, Twice, Cubes)}


def functional():
    a = Input((5, 3))
    h = Scale(3.0)(LSTM(3, return_sequences=True, kernel_regularizer=Cubes(0.25))(a))
    shared = Scale()
    return Model(a, [shared(h), Twice(shared)(h[:, -1])])


MAKERS = {
    "rnn": lambda: RNN(Leaky(4, 0.25), return_sequences=True),
    "cells": lambda: RNN([LSTMCell(3), Leaky(4), StackedRNNCells([Leaky(2)])]),
    "stack": lambda: RNN(StackedRNNCells([Leaky(4)])),
    "bidirectional": lambda: Bidirectional(RNN(Leaky(4, 0.25))),
    "time_distributed": lambda: TimeDistributed(Twice(Dense(3))),
    "sequential": lambda: Sequential([Input((5, 3)), Scale(), Sequential([Scale(3.0), RNN(Leaky(2))]), Dense(1)]),
    "functional": functional,
}


@pytest.mark.filterwarnings("ignore:.*the cell Leaky is run step by step")
@pytest.mark.parametrize("how", ["argument", "scope"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_copy_from_the_config_does_the_same(make, how):
    made = make()
    expected = made(X)
    config = json.loads(json.dumps(made.get_config()))
    if how == "argument":
        again = type(made).from_config(config, custom_objects=OWN)
    else:
        with custom_object_scope(OWN):
            again = type(made).from_config(config)
    again(X)
    again.set_weights(made.get_weights())
    for a, b in zip(again(X), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.get_config() == made.get_config()


@pytest.mark.filterwarnings("ignore:.*the cell Leaky is run step by step")
@pytest.mark.parametrize(
    ("make", "missing", "owner"),
    [
        ("rnn", "Leaky", "RNN 'rnn"),
        ("cells", "Leaky", "StackedRNNCells"),
        ("bidirectional", "Leaky", "RNN 'forward_rnn"),
        ("time_distributed", "Twice", "TimeDistributed 'time_distributed"),
        ("sequential", "Scale", "Sequential 'sequential"),
        ("functional", "Scale", "Model 'model"),
    ],
)
def test_an_unknown_class_is_named(make, missing, owner):
    made = MAKERS[make]()
    made(X)
    given = {name: cls for name, cls in OWN.items() if name != missing}
    expected = f"unknown layer class '{missing}': a subclass of Layer goes into custom_objects={{'{missing}': ...}}"
    with pytest.raises(ValueError, match=expected) as caught:
        type(made).from_config(made.get_config(), custom_objects=given)
    assert str(caught.value).startswith(owner)
    with pytest.raises(ValueError, match=r"unknown (layer class|regularizer)"):  # nothing stays from the call ahead
        type(made).from_config(made.get_config())


class Tower(Model):
    """A model that is a class of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dense, self.scale = units, Dense(units), Scale()

    def call(self, inputs):
        return self.scale(self.dense(inputs))


class Described(Tower):
    def get_config(self):
        return {"name": self.name, "units": self.units}


def test_a_subclass_of_model_is_made_from_its_arguments():
    model = Described(4)
    expected = model(X)
    again = Described.from_config(model.get_config())
    again(X)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(X), expected)
    outer = Sequential([Input((5, 3)), model])
    again = Sequential.from_config(outer.get_config(), {"Described": Described})
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(X), expected)


def test_a_regularizer_of_a_user_s_own():
    config = Dense(2, kernel_regularizer=Cubes(0.5)).get_config()
    with pytest.raises(ValueError, match="unknown regularizer 'Cubes'"):
        Dense.from_config(config)
    with custom_object_scope({"Cubes": Cubes}):
        dense = Dense.from_config(config)
    assert dense.get_config() == config


def test_own_classes_come_ahead_of_the_package_s():
    class Other(Dense):
        pass

    config = Sequential([Dense(3)]).get_config()
    made = Sequential.from_config(config, custom_objects={"Dense": Other})
    assert type(made.layers[0]) is Other
    assert type(Sequential.from_config(config).layers[0]) is Dense


def test_registered_classes_are_found():
    @register_keras_serializable("mine")
    class Shift(Scale):
        pass

    @register_keras_serializable("mine", name="other")
    class Pull(Scale):
        pass

    made = Sequential([Input((3,)), Shift(4.0), Pull(5.0)])
    config = json.loads(json.dumps(made.get_config()))
    assert [entry["class_name"] for entry in config["layers"]] == ["mine>Shift", "mine>other"]
    again = Sequential.from_config(config)
    assert [(type(layer), layer.start) for layer in again.layers] == [(Shift, 4.0), (Pull, 5.0)]

    class Instead(Scale):
        pass

    for name in ("Shift", "mine>Shift"):
        made = Sequential.from_config(config, custom_objects={name: Instead})
        assert type(made.layers[0]) is Instead


def test_a_layer_of_a_name_is_registered_once():
    def define():
        @register_keras_serializable("again")
        class Same(Scale):
            pass

        return Same

    define()
    second = define()  # as a notebook's cell that is run again
    config = Sequential([second(6.0)]).get_config()
    assert type(Sequential.from_config(config).layers[0]) is second
    with pytest.raises(ValueError, match=r"register_keras_serializable: 'again>Same' is .* already, got .*Leaky"):
        register_keras_serializable("again", "Same")(Leaky)


class Forgetful(layers.Layer):
    """Its get_config lacks what __init__ needs."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width


def tower():
    model = Tower(2, name="t")
    model(X)
    return model


ERRORS = [
    (
        lambda: Tower.from_config(tower().get_config()),
        TypeError,
        "Tower 't': expected get_config to give the arguments of Tower, got those of Model",
    ),
    (
        lambda: Sequential.from_config({"name": "s", "layers": []}, custom_objects=[Leaky]),
        TypeError,
        r"custom_objects: expected a dict of names to classes or functions, got \[<class",
    ),
    (
        lambda: layers.deserialize(layers.serialize(Dense(2)), {"Dense": Dense(2)}),
        TypeError,
        "custom_objects: expected a dict of names to classes or functions, got 'Dense': <Dense",
    ),
    (
        lambda: Sequential.from_config(Sequential([Scale()], name="s").get_config(), custom_objects={"Scale": Cubes}),
        ValueError,
        "Sequential 's': unknown layer class 'Scale': a subclass of Layer goes into custom_objects",
    ),
    (
        lambda: Sequential.from_config(
            Sequential([Forgetful(2, name="f")], name="s").get_config(), custom_objects={"Forgetful": Forgetful}
        ),
        TypeError,
        "Sequential 's': Forgetful cannot be made from its config, its get_config has to give the arguments of its "
        r"class: .*missing 1 required positional argument: 'width'",
    ),
    (lambda: layers.deserialize({"class_name": "Gone", "config": {}}), ValueError, "deserialize: unknown layer class"),
    (lambda: layers.serialize(Dense), TypeError, "serialize: expected a Layer, got <class"),
    (
        lambda: register_keras_serializable()(lambda: None),
        TypeError,
        "register_keras_serializable: expected a class with get_config or a function with a name, got <function",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def off(y_true, y_pred):
    return np.abs(y_true - y_pred).mean(axis=-1)


def squares(y_true, y_pred):
    return ((y_pred - y_true) ** 2).mean(axis=-1), 2 * (y_pred - y_true) / y_true.shape[-1]


def test_functions_are_found_by_their_names():
    with custom_object_scope({"off": off, "squares": squares, "Scale": Scale}):
        assert metrics.get("off").name == "off"
        assert losses.get("squares").function is squares
        again = losses.get(json.loads(json.dumps(losses.serialize(losses.get(squares)))))
        assert Sequential.from_config(Sequential([Scale(3.0)]).get_config()).layers[0].start == 3.0
    assert again.function is squares
    y = RNG.normal(size=(2, 4, 3))
    metric = metrics.deserialize(metrics.serialize(metrics.get(off)), {"off": off})
    metric.update_state(*y)
    assert metric.result() == pytest.approx(off(*y).mean())
    for get in (metrics.get, losses.get):
        with pytest.raises(ValueError, match="unknown"):
            get("off")
    with custom_object_scope({"Dense": off}), pytest.raises(ValueError, match="unknown layer class 'Gone'"):
        layers.deserialize({"class_name": "Gone", "config": {}})


def test_registered_functions_are_found():
    register_keras_serializable("mine")(squares)
    config = losses.serialize(losses.get(squares))
    assert config["config"]["function"]["config"] == "mine>squares"
    assert losses.get(config).function is squares

"""RNN: what the fused layers give, over any cell; gradients; states; cells of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from layers.layer_gradients import check_layer, listed, numeric_gradient, pairs

from fusedlstm.layers import (
    GRU,
    LSTM,
    MUT1,
    MUT2,
    MUT3,
    RNN,
    Dense,
    GRUCell,
    Input,
    Layer,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
)
from fusedlstm.layers.cells import flat_states
from fusedlstm.models import Model, Sequential

MASK = np.array([[True, True, False, True], [False, False, True, True], [False] * 4])
FLAGS = {
    "return_sequences": [False, True],
    "return_state": [False, True],
    "go_backwards": [False, True],
    "zero_output_for_mask": [False, True],
}


class Leaky(Layer):
    """A cell of one's own: its output is wider than its state, which is one array."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.output_size = 2 * units

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], self.units), name="kernel")
        self.out = self.add_weight((self.units, 2 * self.units), name="out")

    def call(self, inputs, states):
        h = 0.5 * states[0] + inputs @ self.kernel.value
        return np.tanh(h @ self.out.value), [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Trained(Leaky):
    """The same, with a way back."""

    def forward(self, inputs, states, training):
        output, (h,) = self.call(inputs, states)

        def backward(d_output, d_states):
            d_z = d_output * (1 - output**2)
            d_h = d_states[0] + d_z @ self.out.value.T
            self.gradients = [inputs.T @ d_h, h.T @ d_z] if self.trainable else []
            return d_h @ self.kernel.value.T, [0.5 * d_h]

        return output, [h], backward


CELLS = {
    "lstm": lambda: LSTMCell(2, dtype="float64"),
    "gru": lambda: GRUCell(2, reset_after=False, dtype="float64"),
    "rnn": lambda: SimpleRNNCell(2, dtype="float64"),
    "mut1": lambda: MUT1(3, dtype="float64"),
    "mut2": lambda: MUT2(3, dtype="float64"),
    "mut3": lambda: MUT3(2, dtype="float64"),
    "stack": lambda: [LSTMCell(2, dtype="float64"), GRUCell(3, dtype="float64"), MUT2(3, dtype="float64")],
    "nested": lambda: [StackedRNNCells([LSTMCell(2, dtype="float64")] * 1), SimpleRNNCell(2, dtype="float64")],
}


@pytest.mark.parametrize("case", pairs({"cell": list(CELLS), "mask": [None, MASK], **FLAGS}))
def test_gradients(case, rng) -> None:
    case = dict(case)
    cell, mask = CELLS[case.pop("cell")](), case.pop("mask")
    check_layer(RNN(cell, **case), rng.normal(size=(3, 4, 3)), mask=mask)


@pytest.fixture
def quiet(monkeypatch):
    """As if the warning about one's own cells had been given."""
    from fusedlstm.layers import through_time

    monkeypatch.setattr(through_time, "_warned", {Leaky, Trained})


def check_states(layer, x, states, mask, rng):
    """Gradients of inputs, initial states and weights, from all outputs."""

    def run():
        return layer.forward(x, True, mask, initial_state=states)

    outputs, backward = run()
    weights = [rng.normal(size=y.shape) for y in outputs]
    weights[1] = None  # zero
    d_inputs = backward(weights)
    gradients = list(layer.gradients)

    def loss():
        return sum(float((y * w).sum()) for y, w in zip(run()[0], weights, strict=True) if w is not None)

    for array, d in zip((x, *states), d_inputs, strict=True):
        np.testing.assert_allclose(d, numeric_gradient(loss, array), rtol=1e-3, atol=1e-5)
    for variable, gradient in zip(layer.trainable_weights, gradients, strict=True):
        array = variable.update()

        def loss_of(variable=variable):
            variable.update()
            return loss()

        np.testing.assert_allclose(gradient, numeric_gradient(loss_of, array), rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("case", pairs({"mask": [None, MASK], **FLAGS}))
@pytest.mark.parametrize("kind", ["lstm", "stack", "own", "own in a stack", "one cell twice"])
def test_gradients_with_states(kind, case, rng) -> None:
    case = {**case, "return_state": True}
    mask = case.pop("mask")
    twice = LSTMCell(2, dtype="float64")
    own = {
        "own": lambda: Trained(2, dtype="float64"),
        "own in a stack": lambda: [Trained(1, dtype="float64"), LSTMCell(2, dtype="float64")],
        "one cell twice": lambda: [twice, twice],
    }
    layer = RNN({**CELLS, **own}[kind](), **case)
    width = 2 if kind == "one cell twice" else 3
    layer.build((None, None, width))
    shapes = layer.compute_output_shape((3, 4, width))[1:]
    check_states(layer, rng.normal(size=(3, 4, width)), [rng.normal(size=s) for s in shapes], mask, rng)


@pytest.mark.parametrize("case", pairs({"mask": [None, MASK], "state": [False, True], **FLAGS}))
@pytest.mark.parametrize(
    ("cell", "layer"), [(LSTMCell, LSTM), (GRUCell, GRU), (SimpleRNNCell, SimpleRNN)], ids=lambda c: c.__name__
)
def test_one_cell_is_the_layer(cell, layer, case, rng) -> None:
    case = dict(case)
    mask, with_state = case.pop("mask"), case.pop("state")
    options = {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 5}
    own, whole = RNN(cell(4, **options), **case), layer(4, **options, **case)
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    for made in (own, whole):
        made.build(x.shape)
    assert [w.name for w in own.weights] == [w.name for w in whole.weights]
    whole.set_weights(own.get_weights())
    count = len(RNN(cell(4), return_state=True).compute_output_shape(x.shape)) - 1
    states = [rng.normal(size=(3, 4)).astype("float32") for _ in range(count)] if with_state else None
    results = []
    for made in (own, whole):
        outputs, backward = made.forward(x, True, mask, initial_state=states)
        several = isinstance(outputs, list)
        ones = [np.ones_like(y) for y in outputs] if several else np.ones_like(outputs)
        d = backward(ones)
        results.append([*(outputs if several else [outputs]), *(d if isinstance(d, list) else [d]), *made.gradients])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    assert own.compute_output_shape(x.shape) == whole.compute_output_shape(x.shape)
    masks = [listed(made.compute_mask(x, mask)) for made in (own, whole)]
    assert all(a is b for a, b in zip(*masks, strict=True))


def test_a_stack_is_its_layers_one_upon_the_other(rng) -> None:
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    stack = RNN([LSTMCell(4), GRUCell(3)], return_state=True, zero_output_for_mask=True, return_sequences=True)
    y, (h, c), g = stack(x, mask=MASK)
    first, second = LSTM(4, return_sequences=True, return_state=True), GRU(3, return_sequences=True, return_state=True)
    second.zero_output_for_mask = True
    first.build(x.shape)
    second.build((3, 4, 4))
    first.set_weights(stack.get_weights()[:3])
    second.set_weights(stack.get_weights()[3:])
    expected, *states = first(x, mask=MASK)
    expected, *more = second(expected, mask=MASK)
    for a, b in zip((y, h, c, g), (expected, *states, *more), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_cell_in_two_layers_has_one_set_of_weights(rng) -> None:
    cell = LSTMCell(3)
    forth, back = RNN(cell), RNN(cell, go_backwards=True, return_sequences=True)
    x = rng.normal(size=(2, 4, 5)).astype("float32")
    assert forth(x).shape == (2, 3)
    np.testing.assert_array_equal(back(x)[:, -1], forth(x[:, ::-1]))
    model_inputs = Input((4, 5))
    model = Model(model_inputs, [forth(model_inputs), back(model_inputs)])
    assert len(model.weights) == 3


def test_stateful(rng) -> None:
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    whole = RNN([GRUCell(3), LSTMCell(2)], return_sequences=True)
    parts = RNN([GRUCell(3), LSTMCell(2)], return_sequences=True, stateful=True)
    expected = whole(x)
    parts.build((2, 3, 3))
    parts.set_weights(whole.get_weights())
    for _ in range(2):
        np.testing.assert_allclose(parts(x[:, :3]), expected[:, :3], rtol=1e-6)
        np.testing.assert_allclose(parts(x[:, 3:]), expected[:, 3:], rtol=1e-5, atol=1e-7)
        parts.reset_states()


def test_own_cell_predicts_with_one_warning(rng) -> None:
    class Warned(Leaky):
        pass

    cell = Warned(2)
    layer = RNN(cell, return_sequences=True, return_state=True, name="r")
    x = rng.normal(size=(2, 4, 3)).astype("float32")
    with pytest.warns(UserWarning, match="RNN 'r': the cell Warned is run step by step in Python"):
        y, h = layer(x)
    again = RNN(cell, return_sequences=True)(x)  # no warning: they are errors
    np.testing.assert_array_equal(again, y)
    state = np.zeros((2, 2), "float32")
    for t in range(4):
        state = 0.5 * state + x[:, t] @ cell.kernel.value
        np.testing.assert_allclose(y[:, t], np.tanh(state @ cell.out.value), rtol=1e-5)
    np.testing.assert_allclose(h, state, rtol=1e-5)


@pytest.mark.usefixtures("quiet")
def test_own_cell_in_a_model(rng) -> None:
    x = rng.normal(size=(32, 5, 3)).astype("float32")
    y = x[:, -1, :1]
    model = Sequential([Input((5, 3)), RNN(Trained(8)), Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.05
    history = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]
    predicting = Sequential([Input((5, 3)), RNN(Leaky(8), name="r"), Dense(1)])
    predicting.compile("adam", "mse")
    assert predicting.predict(x, verbose=0).shape == (32, 1)
    with pytest.raises(TypeError, match=r"RNN 'r': Leaky '.*' defines call alone"):
        predicting.fit(x, y, verbose=0)


@pytest.mark.parametrize("cell", [MUT1, MUT2, MUT3])
def test_mutants_learn(cell, rng) -> None:
    x = rng.normal(size=(64, 6, 8)).astype("float32")
    y = x[:, 0, :1]
    model = Sequential([Input((6, 8)), RNN(cell(8)), Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.02
    history = model.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


def test_a_frozen_cell_has_no_gradients(rng) -> None:
    cell = GRUCell(2)
    layer = RNN([LSTMCell(2), cell])
    layer.build((None, None, 3))
    cell.trainable = False
    _, backward = layer.forward(rng.normal(size=(2, 3, 3)).astype("float32"), True)
    backward(np.ones((2, 2), "float32"))
    assert len(layer.gradients) == len(layer.trainable_weights) == 3


def test_states_as_edges_of_a_graph(rng) -> None:
    x, s = Input((4, 3)), [Input((2,)), Input((2,))]
    y, h, c = RNN(LSTMCell(2), return_state=True)(x, initial_state=s)
    stacked = RNN([LSTMCell(2), GRUCell(3)], return_state=True)(x)
    assert [len(stacked), len(stacked[1]), stacked[2].shape] == [3, 2, (None, 3)]
    model = Model([x, *s], [y, h, c, *stacked[1]])
    outputs = model.predict([rng.normal(size=(5, 4, 3)), *rng.normal(size=(2, 5, 2))], verbose=0)
    assert [o.shape for o in outputs] == [(5, 2)] * 5


X = np.ones((2, 4, 3), "float32")


class Wrong(Leaky):
    """Returns a state of a shape that its state_size does not say."""

    def call(self, inputs, states):
        return super().call(inputs, states)[0], [inputs]


class Nothing(Layer):
    """Has a state_size and nothing to run."""

    state_size = 3


BAD = [
    (lambda: RNN(LSTM(2, name="c")), ValueError, "RNN: expected a cell with a state_size, LSTM 'c' has none"),
    (lambda: RNN("lstm"), TypeError, "RNN: expected a cell that is a Layer, got 'lstm'"),
    (lambda: RNN(Nothing(name="c")), ValueError, "RNN: expected a cell with call or forward, Nothing 'c' has none"),
    (
        lambda: RNN(LSTMCell(2, name="c"), dtype="float64", name="r"),
        ValueError,
        "RNN 'r': expected dtype float32, that of LSTMCell 'c', got float64",
    ),
    (
        lambda: RNN(LSTMCell(2), name="r")(X, initial_state=[X[:, 0]]),
        ValueError,
        "RNN 'r': expected initial_state to be a list of 2, got 1",
    ),
    (
        lambda: RNN(GRUCell(2), name="r")(X, initial_state=[X[:, 0]]),
        ValueError,
        r"RNN 'r': expected initial_state\[0\] \(2, 2\), got \(2, 3\)",
    ),
    (lambda: RNN(GRUCell(2), name="r")(X[0]), ValueError, r"'r': expected inputs \(batch, steps, features\), got"),
    (
        lambda: RNN(GRUCell(2), stateful=True, name="r").build((None, 4, 3)),
        ValueError,
        "RNN 'r': expected a fixed batch size with stateful=True",
    ),
    (lambda: RNN(GRUCell(2), name="r", return_sequences=1), TypeError, "expected return_sequences to be True or False"),
    (lambda: RNN(GRUCell(2), name="r", units=1), TypeError, "RNN 'r': unknown argument 'units'"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_own_cells_states_are_checked(monkeypatch) -> None:
    from fusedlstm.layers import through_time

    monkeypatch.setattr(through_time, "_warned", {Wrong})
    with pytest.raises(ValueError, match=r"Wrong 'c': expected new states of shapes \(2, 2\), as its state_size, got"):
        RNN(Wrong(2, name="c"))(X)


def test_backward_twice() -> None:
    outputs, backward = RNN(GRUCell(2), name="r").forward(X, True)
    backward(outputs)
    with pytest.raises(RuntimeError, match="RNN 'r': backward was already called"):
        backward(outputs)


class Started(Leaky):
    """A cell that does not start from zeros."""

    def get_initial_state(self, batch_size):
        return np.ones((batch_size, self.state_size))


@pytest.mark.filterwarnings("ignore:.*is run step by step in Python")
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda: LSTMCell(2), [(3, 2), (3, 2)]),
        (lambda: [LSTMCell(2), GRUCell(4)], [(3, 2), (3, 2), (3, 4)]),
        (lambda: Leaky(2), [(3, 2)]),
        (lambda: Started(2), [(3, 2)]),
    ],
)
def test_a_call_starts_from_the_states_that_the_layer_says(rng, make, shapes) -> None:
    layer, x = RNN(make()), rng.normal(size=(3, 5, 4)).astype("float32")
    states = layer.get_initial_state(3)
    assert [state.shape for state in flat_states(states)] == shapes
    np.testing.assert_array_equal(layer(x, initial_state=states), layer(x))
    assert not np.allclose(layer(x, initial_state=[s + 1 for s in flat_states(states)]), layer(x))

"""What `fusedlstm.inspect` finds, against finite differences, the reference's equations and known cases."""

from __future__ import annotations

import copy
import html.parser

import numpy as np
import pytest

from fusedlstm import backends, inspect
from fusedlstm.activations import Activation
from fusedlstm.inspect.observing import Observed
from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    GRUCell,
    Input,
    LSTMCell,
    Masking,
    SimpleRNN,
)
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.models import Model, Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.utils import set_random_seed

EVERY_OPTION: dict[str, object] = {
    "peephole": True,
    "cell_clip": 1.5,
    "full_gate_recurrence": True,
    "layer_norm": True,
    "projection": 4,
    "zoneout_h": 0.1,
    "zoneout_c": 0.2,
    "recurrent_activation": "hard_sigmoid",
}


def functional():
    x = Input((6, 3))
    shared = LSTM(3, return_sequences=True, dtype="float64", name="shared")
    once = shared(x)
    _, h, c = LSTM(3, return_state=True, dtype="float64", name="encoder")(shared(once))
    y = LSTM(3, dtype="float64", name="decoder")(once, initial_state=[h, c])
    return Model(x, Dense(1, dtype="float64")(y))


def nested():
    inner = Sequential([Input((6, 3)), GRU(4, return_sequences=True, dtype="float64", name="deep")], name="inner")
    x = Input((6, 3))
    return Model(x, Dense(1, dtype="float64")(SimpleRNN(3, dtype="float64", name="top")(inner(x))))


def chain(*layers):
    return Sequential([Input((6, 3)), *layers, Dense(1, dtype="float64")])


F64 = {"dtype": "float64"}
MODELS = {
    "lstm": lambda: chain(LSTM(4, **F64)),
    "every option": lambda: chain(LSTM(5, **EVERY_OPTION, **F64)),
    "coupled, removed": lambda: chain(LSTM(4, coupled_gates=True, removed=["output_activation"], **F64)),
    "gru": lambda: chain(GRU(4, **F64)),
    "simple": lambda: chain(SimpleRNN(4, **F64)),
    "stacked, masks": lambda: chain(
        Masking(**F64), LSTM(4, return_sequences=True, **F64), GRU(3, return_sequences=True, reset_after=False, **F64),
        SimpleRNN(3, go_backwards=True, **F64),
    ),
    "bidirectional, masks": lambda: chain(
        Masking(**F64), Bidirectional(LSTM(3, return_sequences=True, **F64), merge_mode="mul"),
        Bidirectional(GRU(3, return_state=False, **F64)),
    ),
    "zero output": lambda: chain(
        Masking(**F64), LSTM(3, return_sequences=True, zero_output_for_mask=True, **F64), LSTM(2, **F64)
    ),
    "cells": lambda: chain(Masking(**F64), RNN([LSTMCell(3, **F64), GRUCell(2, **F64)])),
    "functional": functional,
    "nested": nested,
}  # fmt: skip


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, 6, 3))
    x[0, 4:] = 0  # steps that `Masking` masks: at the end, at the beginning, in between
    x[1, :2] = 0
    x[2, 3] = 0
    return x, rng.normal(size=(4, 1))


def made(name):
    set_random_seed(2)
    model = MODELS[name]()
    model.compile(loss="mse")
    for variable in model.trainable_weights:
        variable.assign(np.random.default_rng(len(variable.shape)).normal(size=variable.shape) * 0.8)
    return model


class Nudged(Recurrent):
    """A layer, of its own class, that runs one step a call and adds something to its state h after one of them.

    Written anew, without the pieces of `inspect`: it is what that is held against.
    """

    nudges = ()

    def forward(self, inputs, training=False, mask=None, *, initial_state=None, **options):
        kind = type(self).__bases__[1]
        steps = range(inputs.shape[1])
        order = steps[::-1] if self.go_backwards else steps
        used = np.ones(inputs.shape[:2], bool) if mask is None else mask
        states = initial_state or self.get_initial_state(len(inputs))
        flags = {"return_sequences": False, "return_state": True, "go_backwards": False}
        kept, y = [], np.zeros_like(states[0])
        self.calls_so_far += 1
        for t in order:
            layer = copy.copy(self)
            layer.__class__ = kind
            vars(layer).update(flags)
            (_, *after), _ = layer.forward(inputs[:, t : t + 1], initial_state=states, need_backward=False)
            for call, step, row, unit, size in self.nudges:
                if (call, step) == (self.calls_so_far - 1, t) and used[row, t]:
                    after[0][row, unit] += size
            use = used[:, t, None]
            y = np.where(use, after[0], 0 if self.zero_output_for_mask else y)
            states = [np.where(use, new, old) for new, old in zip(after, states, strict=True)]
            kept.append(y)
        outputs = np.stack(kept, axis=1) if self.return_sequences else y
        return [outputs, *states] if self.return_state else outputs, None


def nudged_loss(model, path, nudge, x, y):
    twin = copy.deepcopy(model)
    layer = twin
    for part in path.split("/"):
        layer = next(inner for inner in layer.sublayers if inner.name == part)
    layer.__class__ = type("Twin", (Nudged, type(layer)), {})
    layer.nudges, layer.calls_so_far = [nudge], 0
    return float(np.mean((twin.predict_on_batch(x) - y) ** 2))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_states_are_what_the_loss_changes_by(name):
    model = made(name)
    x, y = data()
    flow = inspect.gradient_flow(model, x, y)
    assert flow.loss == pytest.approx(float(np.mean((model.predict_on_batch(x) - y) ** 2)))
    rng = np.random.default_rng(1)
    for label, gradient in flow.gradients.items():
        path, _, number = label.partition("[")
        call = int(number[:-1]) if number else 0
        assert np.isfinite(gradient).all()
        assert gradient.any()
        for _ in range(12):
            row, t, unit = (int(rng.integers(n)) for n in gradient.shape)
            up, down = (nudged_loss(model, path, (call, t, row, unit, size), x, y) for size in (1e-6, -1e-6))
            assert gradient[row, t, unit] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-9), (
                label,
                row,
                t,
                unit,
            )
        np.testing.assert_allclose(flow.norms[label], np.linalg.norm(gradient, axis=(0, 2)))


def test_names_tell_where_layers_are():
    x, y = data()

    def names(name):
        return list(inspect.gradient_flow(made(name), x, y).gradients)

    assert names("functional")[0:3] == ["shared", "shared[1]", "encoder"]
    assert names("nested") == ["inner/deep", "top"]
    assert names("bidirectional, masks")[0].startswith("bidirectional")
    assert "/forward_lstm" in names("bidirectional, masks")[0]


def test_masked_steps_have_no_gradient_and_the_others_have():
    x, y = data()
    (gradient,) = [
        g for name, g in inspect.gradient_flow(made("stacked, masks"), x, y).gradients.items() if "gru" in name
    ]
    used = x.any(axis=-1)
    assert (gradient[~used] == 0).all()
    assert (gradient[used] != 0).any(axis=-1).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gates", [False, True])
def test_the_copy_computes_what_the_model_does(name, gates):
    model = made(name)
    x, y = data()
    weights = [w.copy() for w in model.get_weights()]
    observed = Observed("test", model, gates=gates)
    np.testing.assert_allclose(observed.model.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-12, atol=1e-14)
    if not gates:
        loss, gradients = observed.model.compute_gradients(x, y, training=False)
        expected_loss, expected = model.compute_gradients(x, y, training=False)
        assert loss == pytest.approx(expected_loss)
        for found, wanted in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
    for found, wanted in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_frozen_layers_and_dropout_do_not_matter():
    set_random_seed(0)
    model = Sequential([Input((6, 3)), LSTM(4, dropout=0.5, recurrent_dropout=0.5, name="lstm"), Dense(1)])
    model.compile(loss="mse")
    x, y = data()
    first = inspect.gradient_flow(model, x, y).norms["lstm"]
    model.trainable = False
    np.testing.assert_array_equal(inspect.gradient_flow(model, x, y).norms["lstm"], first)
    assert not model.trainable
    assert first.all()


def test_over_100_steps_the_gradient_vanishes_in_a_simple_rnn_and_not_in_an_lstm():
    """The README's model, with windows of 100 steps and a task for which all of them count, after equal training."""
    rng = np.random.default_rng(1)
    numbers, counts = rng.uniform(-2, 2, (2000, 100)), rng.random((2000, 100)) < 0.3
    x = np.stack([numbers, np.where(counts, 2.0, -2.0)], axis=-1)
    y = (numbers * counts).sum(axis=1, keepdims=True) / 6
    share, loss = {}, {}
    for kind in (SimpleRNN, LSTM):
        set_random_seed(1)
        model = Sequential([Input((100, 2)), kind(16), Dense(1)])
        model.compile(optimizer=Adam(clipnorm=1.0), loss="mse")
        model.fit(x[:1800], y[:1800], epochs=7, batch_size=32, verbose=0)
        flow = inspect.gradient_flow(model, x[1800:], y[1800:])
        (norms,) = flow.norms.values()
        assert norms[-1] > 1e-3
        share[kind], loss[kind] = norms[0] / norms[-1], flow.loss
    assert share[SimpleRNN] < 1e-6
    assert share[LSTM] > 0.02
    assert loss[LSTM] < 0.3 < 0.8 < loss[SimpleRNN]


# Gates.


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_gates_are_those_of_the_equations():
    set_random_seed(5)
    model = Sequential([Input((6, 3)), LSTM(4, dtype="float64"), Dense(1, dtype="float64")])
    x, _ = data()
    found = inspect.gate_activations(model, x)
    assert list(found.values) == ["i", "f", "candidate", "o", "c", "h"]
    W, U, b = model.layers[0].get_weights()
    h = c = np.zeros((4, 4))
    for t in range(6):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        for name, value in zip(found.values, (i, f, g, o, c, h), strict=True):
            np.testing.assert_allclose(found[name][:, t], value, rtol=1e-12, atol=1e-15, err_msg=name)


def test_gates_of_a_gru():
    set_random_seed(5)
    model = Sequential([Input((6, 3)), GRU(4, dtype="float64"), Dense(1, dtype="float64")])
    x, _ = data()
    found = inspect.gate_activations(model, x)
    assert list(found.values) == ["z", "r", "candidate", "h"]
    W, U, (b, d) = model.layers[0].get_weights()
    h = np.zeros((4, 4))
    for t in range(6):
        (xz, xr, xh), (hz, hr, hh) = np.split(x[:, t] @ W + b, 3, axis=1), np.split(h @ U + d, 3, axis=1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        g = np.tanh(xh + r * hh)
        h = z * h + (1 - z) * g
        for name, value in zip(found.values, (z, r, g, h), strict=True):
            np.testing.assert_allclose(found[name][:, t], value, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"coupled_gates": True},
        {"removed": ["input_gate", "output_activation"]},
        {"removed": ["forget_gate", "input_activation"]},
        {"removed": ["output_gate", "input_activation", "output_activation"]},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        {"activation": Activation("own", np.sin, lambda d, x, y: d * np.cos(x))},
    ],
)
@pytest.mark.filterwarnings("ignore:.*'own' .your own.*:UserWarning")
def test_gates_of_the_variants_make_the_next_state(options):
    """c = f c' + i g, h = o a(c) and what is coupled or removed hold between the numbers that are found."""
    set_random_seed(3)
    layer = LSTM(4, dtype="float64", **options)
    model = Sequential([Input((6, 3)), Masking(dtype="float64"), layer, Dense(1, dtype="float64")])
    x, _ = data()
    found = inspect.gate_activations(model, x)
    used = x.any(axis=-1)
    np.testing.assert_array_equal(found.mask, used)
    for name in ("i", "f", "candidate", "o"):
        np.testing.assert_array_equal(np.isnan(found[name]), np.repeat(~used[..., None], 4, axis=-1))
    before = np.concatenate([np.zeros((4, 1, 4)), found["c"][:, :-1]], axis=1)
    c = np.where(used[..., None], found["f"] * before + found["i"] * found["candidate"], before)
    np.testing.assert_allclose(found["c"], c, rtol=1e-12, atol=1e-15)
    removed = options.get("removed", ())
    squashed = c if "output_activation" in removed else layer.activation.forward(c)
    np.testing.assert_allclose(found["h"][used], (found["o"] * squashed)[used], rtol=1e-12, atol=1e-15)
    for gate, name in (("i", "input_gate"), ("f", "forget_gate"), ("o", "output_gate")):
        assert (found[gate][used] == 1).all() == (name in removed)
    if options.get("coupled_gates"):
        np.testing.assert_allclose(found["f"][used], 1 - found["i"][used])


def test_layers_inside_others_have_their_gates():
    model = made("bidirectional, masks")
    x, _ = data()
    both = inspect.gate_activations(model, x, layer=model.layers[1].name + "/" + model.layers[1].backward_layer.name)
    assert both["f"].shape == (4, 6, 3)
    # The backward layer starts at the end: its first state, of the last step, comes from zeros.
    alone = LSTM(3, dtype="float64", return_sequences=True, go_backwards=True)
    alone.build((None, None, 3))
    alone.set_weights(model.layers[1].backward_layer.get_weights())
    np.testing.assert_allclose(both["h"][3], alone(x[3:])[0, ::-1], rtol=1e-12)


def test_saturation_counts_steps():
    model = Sequential([Input((None, 1)), Masking(), LSTM(3, name="lstm"), Dense(1)])
    layer = model.layers[1]
    W, U, b = layer.get_weights()
    W[:], U[:], b[:] = 0, 0, 0
    W[0, 3:6] = [8, -8, 0]  # forget gates: open for +1 and shut for -1, the other way, always at 1/2
    layer.set_weights([W, U, b])
    x = np.array([[1, 1, 1, -1, 0, 0], [1, -1, -1, -1, -1, -1]], "f4")[..., None]  # the two zeros are masked
    found = inspect.gate_saturation(model, x)
    np.testing.assert_allclose(found.open["lstm"]["f"], [0.4, 0.6, 0])
    np.testing.assert_allclose(found.shut["lstm"]["f"], [0.6, 0.4, 0])
    np.testing.assert_allclose(found.open["lstm"]["i"], 0)
    wide = inspect.gate_saturation(model, x, low=0.6, high=0.7)
    np.testing.assert_allclose(wide.shut["lstm"]["o"], 1)


def test_saturation_of_all_layers_with_gates():
    x, _ = data()
    model = made("stacked, masks")
    found = inspect.gate_saturation(model, x)
    assert [list(gates) for gates in found.shut.values()] == [["i", "f", "o"], ["z", "r"]]
    gru = list(found.shut)[1]
    assert list(inspect.gate_saturation(model, x, layer=gru).open) == [gru]


# Cells.


def counter():
    """An LSTM whose unit 0 has how many steps there were since a 1 in the inputs, and unit 1 the last input."""
    model = Sequential([Input((None, 1)), LSTM(3, name="lstm", dtype="float64"), Dense(1, dtype="float64")])
    W, U, b = (np.zeros_like(w) for w in model.layers[0].get_weights())
    W[0, 0], W[0, 3], b[0:4] = 20, -30, [5, -20, -20, 15]
    b[0], W[0, 0] = 10, -20  # i: shut by a 1
    b[3], W[0, 3] = 10, -20  # f: likewise
    b[6] = 0.05  # the candidate of unit 0: a little more a step
    W[0, 7], b[1], b[4] = 1, 10, -20  # unit 1 takes the input, and forgets the one before
    b[9:] = 10
    model.layers[0].set_weights([W, U, b])
    return model


def test_cells_are_ranked_by_what_they_follow():
    model = counter()
    rng = np.random.default_rng(0)
    x = (rng.random((2, 300, 1)) < 0.15).astype(float)
    since = np.zeros((2, 300))
    for t in range(1, 300):
        since[:, t] = np.where(x[:, t, 0] == 1, 0, since[:, t - 1] + 1)
    features = {"since": since, "input": x[..., 0].astype(bool), "noise": rng.normal(size=(2, 300))}
    found = inspect.rank_cells(model, x, features)
    assert (found.best("since"), found.best("input")) == (0, 1)
    c = inspect.gate_activations(model, x)["c"]
    expected = np.corrcoef(np.tanh(c[..., 0]).ravel(), since.ravel())[0, 1]
    assert found.scores["since"][0] == pytest.approx(expected)
    assert found.scores["since"][0] > 0.95
    assert np.abs(found.scores["noise"]).max() < 0.15
    assert found.scores["input"][2] == 0, "a unit that never changes follows nothing"
    shared = inspect.rank_cells(model, x, features, by="mutual_information")
    assert (shared.best("since"), shared.best("input")) == (0, 1)
    p = x.mean()
    assert shared.scores["input"][1] == pytest.approx(-p * np.log2(p) - (1 - p) * np.log2(1 - p)), (
        "all there is to know"
    )
    assert shared.scores["noise"].max() < 0.5 < shared.scores["since"][0]
    (row,) = inspect.rank_cells(model, x[:1], {"since": since[0]}).scores.values()
    assert row.shape == (3,)


def test_features_of_a_text():
    found = inspect.text_features('a "Bc" (d1)\nEf')
    assert {name: "".join(str(int(v)) if v < 10 else "x" for v in values) for name, values in found.items()} == {
        "inside quotes": "00011100000000",
        "inside brackets": "00000000111000",
        "position in line": "0123456789xx01",
        "position in word": "00001000010001",
        "capital": "00010000000010",
        "digit": "00000000010000",
        "space before": "10100001000010",
    }
    assert all(values.shape == (0,) for values in inspect.text_features("").values())


# The page.


class Reader(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.spans, self.text, self.links, self.inside = [], "", [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.inside |= tag == "pre"
        if self.inside and tag == "span":
            self.spans.append(dict(attributes))

    def handle_data(self, data):
        self.text += data if self.inside else ""

    def handle_endtag(self, tag):
        self.inside &= tag != "pre"


def test_a_page_shows_the_text_and_nothing_else(tmp_path):
    text = "<script>alert(\"x\")</script> & 'ö'\nend"
    values = np.linspace(-1, 1, len(text))
    page = inspect.color_text(text, values, tmp_path / "cell.html", title="a < b")
    assert (tmp_path / "cell.html").read_text(encoding="utf-8") == page
    read = Reader(page)
    assert read.text == text.replace("\n", "↵\n")
    assert "<script" not in page
    assert "<title>a &lt; b</title>" in page
    assert not read.links
    assert "http" not in page
    assert len(read.spans) == len(text)
    assert read.spans[0]["title"] == "-1.00"
    colors = [span["style"].removeprefix("background:#") for span in read.spans]
    assert (colors[0], colors[-1]) == ("ea7927", "4c8fc1")
    nothing = Reader(inspect.color_text(["a", "b"], [np.nan, 0.0]))
    assert [span["style"] for span in nothing.spans] == ["background:#ffffff"]


# Errors.


def plain():
    model = Sequential([Input((6, 3)), LSTM(4, name="lstm"), Dense(1)], name="plain")
    model.compile(loss="mse")
    return model


X = np.zeros((4, 6, 3))
BAD = [
    (lambda: inspect.gradient_flow("model", X, X), TypeError,
     "gradient_flow: expected model to be a Model or Sequential, got str"),
    (lambda: inspect.gradient_flow(Sequential([LSTM(2)], name="new"), X, X), ValueError, "Sequential 'new': not built"),
    (lambda: inspect.gradient_flow(Sequential([Input((6, 3)), Dense(1)], name="flat"), X, X), ValueError,
     "gradient_flow: expected Sequential 'flat' to have an LSTM, GRU or SimpleRNN layer, there is none"),
    (lambda: inspect.gate_activations(made("stacked, masks"), X), ValueError,
     "gate_activations: expected layer to name one of 'lstm"),
    (lambda: inspect.gate_activations(plain(), X, "gru"), ValueError,
     "gate_activations: expected layer to be one of 'lstm', got 'gru'"),
    (lambda: inspect.gate_activations(plain(), X)["z"], KeyError,
     "\"layer 'lstm' has 'i', 'f', 'candidate', 'o', 'c', 'h', not 'z'\""),
    (lambda: inspect.gate_saturation(made("simple"), X), ValueError,
     "gate_saturation: expected a layer with gates, an LSTM or GRU, a SimpleRNN has none"),
    (lambda: inspect.gate_saturation(plain(), X, low=0.9, high=0.1), ValueError,
     "gate_saturation: expected 0 <= low < high <= 1, got low=0.9, high=0.1"),
    (lambda: inspect.rank_cells(plain(), X, {"a": np.zeros((4, 6))}, by="rank"), ValueError,
     "rank_cells: expected by to be 'correlation' or 'mutual_information', got 'rank'"),
    (lambda: inspect.rank_cells(plain(), X, {}), ValueError,
     "rank_cells: expected features to be a dict of at least one array by its name, got {}"),
    (lambda: inspect.rank_cells(plain(), X, {"a": np.zeros(6)}), ValueError,
     "rank_cells: expected feature 'a' to be (4, 6), a number for each step, got (6,)"),
    (lambda: inspect.rank_cells(plain(), X, {"a": np.full((4, 6), "x")}), TypeError,
     "rank_cells: expected feature 'a' to be of numbers or bool, got <U1"),
    (lambda: inspect.rank_cells(plain(), X, {"a": np.full((4, 6), np.nan)}), ValueError,
     "rank_cells: expected feature 'a' to be finite, got NaN or infinity"),
    (lambda: inspect.text_features(["a"]), TypeError, "text_features: expected text to be a string, got list"),
    (lambda: inspect.color_text("abc", [0, 0]), ValueError,
     "color_text: expected values (3,), one for each character, got (2,)"),
    (lambda: inspect.color_text("ab", [0, 3.5]), ValueError, "color_text: expected values from -1 to 1, got 3.5"),
    (lambda: inspect.color_text(["a", 1], [0, 0]), TypeError,
     "color_text: expected text to be a string or a sequence of them, got 1 in it"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_before_compile():
    model = Sequential([Input((6, 3)), LSTM(4), Dense(1)])
    with pytest.raises(RuntimeError, match="call compile"):
        inspect.gradient_flow(model, *data())


def test_it_runs_on_the_reference_too():
    model = made("stacked, masks")
    x, y = data()
    expected = inspect.gradient_flow(model, x, y).norms
    before = backends.get_backend()
    backends.set_backend("reference")
    try:
        for name, norms in inspect.gradient_flow(model, x, y).norms.items():
            np.testing.assert_allclose(norms, expected[name], rtol=1e-9)
    finally:
        backends.set_backend(before)


def test_a_text_model_end_to_end():
    text = 'he said "no" (twice)\n' * 3
    alphabet = sorted(set(text))
    ids = np.array([[alphabet.index(character) for character in text]])
    model = Sequential([Input((len(text),)), Embedding(len(alphabet), 4), LSTM(6, return_sequences=True), Dense(3)])
    ranked = inspect.rank_cells(model, ids, inspect.text_features(text))
    cell = np.tanh(inspect.gate_activations(model, ids)["c"][0, :, ranked.best("inside quotes")])
    assert Reader(inspect.color_text(text, cell)).text.replace("↵", "") == text

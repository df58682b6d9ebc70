import numpy as np
import pytest

from fusedlstm.layers import LSTM, Activation, Dense, Dropout, Flatten, Input, InputLayer
from fusedlstm.models import Sequential

X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")


def model(**options):
    return Sequential([Input((6, 2)), LSTM(3, name="e"), Dense(1, name="d")], name="m", **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential([Input((6, 2)), LSTM(3)]),
        lambda: Sequential([InputLayer(shape=(6, 2)), LSTM(3)]),
        lambda: Sequential([LSTM(3, input_shape=(6, 2))]),
        lambda: Sequential([LSTM(3, batch_input_shape=(None, 6, 2))]),
        lambda: Sequential((LSTM(3, input_shape=(6, 2)),)),
    ],
)
def test_a_known_input_shape_builds_at_once(make):
    made = make()
    assert made.built
    assert made.input_shape == (None, 6, 2)
    assert made.output_shape == (None, 3)
    assert [w.shape for w in made.get_weights()] == [(2, 12), (3, 12), (12,)]


def test_adding_layer_by_layer_keeps_the_weights():
    made = Sequential()
    made.add(Input((6, 2)))
    assert not made.built
    made.add(LSTM(3))
    first = made.get_weights()
    made.add(Dense(1))
    for old, new in zip(first, made.get_weights(), strict=False):
        np.testing.assert_array_equal(old, new)
    assert made.output_shape == (None, 1)
    assert isinstance(made.pop(), Dense)
    assert made.output_shape == (None, 3)


def test_the_first_data_build_a_model_without_a_shape():
    made = Sequential([LSTM(3), Dense(1)])
    assert made.weights == []
    assert made.predict(X, verbose=0).shape == (4, 1)
    assert made.input_shape == (None, 6, 2)
    assert made.predict(X[:, :4], verbose=0).shape == (4, 1), "the number of steps was not promised"
    with pytest.raises(ValueError, match=r"expected inputs \(batch, steps, 2\), got \(4, 6, 3\)$"):
        made.predict(np.ones((4, 6, 3)), verbose=0)


def test_a_varying_number_of_steps():
    made = Sequential([Input((None, 2)), LSTM(3, return_sequences=True)])
    assert made.output_shape == (None, None, 3)
    for steps in (1, 5):
        assert made.predict(X[:, :steps], verbose=0).shape == (4, steps, 3)


def test_calling_equals_the_layers_one_after_the_other():
    made = Sequential([LSTM(3, return_sequences=True), Dropout(0.5), Flatten(), Dense(2), Activation("tanh")])
    y = made(X)
    expected = X
    for layer in made.layers:
        expected = layer(expected)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(made.predict_on_batch(X), expected)
    np.testing.assert_array_equal(made.predict(X, batch_size=4, verbose=0), expected)


def test_a_model_is_a_layer():
    inner = Sequential([LSTM(3, return_sequences=True), Dense(2)], name="inner")
    outer = Sequential([Input((6, 2)), inner, LSTM(4), Dense(1)], name="outer")
    assert len(outer.weights) == 10
    outer.compile("sgd", "mse")
    _, gradients = outer.compute_gradients(X, np.ones((4, 1)))
    assert [g.shape for g in gradients] == [w.shape for w in outer.trainable_weights]
    before = outer.get_weights()
    outer.train_on_batch(X, np.ones((4, 1)))
    assert all(not np.array_equal(a, b) for a, b in zip(before, outer.get_weights(), strict=True) if a.shape != (12,))
    np.testing.assert_array_equal(outer(X), outer.layers[2](outer.layers[1](inner(X))))
    inner.trainable = False
    assert len(outer.trainable_weights) == 5
    assert len(outer.compute_gradients(X, np.ones((4, 1)))[1]) == 5


def test_a_mask_goes_through_a_model():
    mask = np.arange(6) < np.array([6, 4, 2, 0])[:, None]
    made = Sequential([LSTM(3, return_sequences=True), Dense(2), LSTM(3)])
    first, second, third = made.layers
    np.testing.assert_array_equal(made(X, mask=mask), third(second(first(X, mask=mask)), mask=mask))


def test_get_layer():
    made = model()
    assert made.get_layer("d") is made.layers[1] is made.get_layer(index=-1)


def test_a_copy_from_the_config():
    made = Sequential([Input((6, 2)), LSTM(3, activation="relu"), Dropout(0.1), Sequential([Dense(1)])])
    copy = Sequential.from_config(made.get_config())
    copy.set_weights(made.get_weights())
    np.testing.assert_array_equal(copy(X), made(X))
    config = made.get_config()
    config["layers"][0]["class_name"] = "os.system"
    with pytest.raises(ValueError, match=r"^Sequential '.*': unknown layer class 'os.system': a subclass of Layer"):
        Sequential.from_config(config)


def test_float64_all_the_way():
    made = Sequential([Input((6, 2)), LSTM(3, dtype="float64"), Dense(1, dtype="float64")])
    assert made.predict(X, verbose=0).dtype == np.float64
    made.compile("adam", "mse")
    assert all(g.dtype == np.float64 for g in made.compute_gradients(X, np.ones(4))[1])


def test_layers_of_different_dtypes_meet():
    made = Sequential([Input((6, 2)), LSTM(3, dtype="float64"), Dense(1)])
    made.compile("sgd", "mse")
    _, gradients = made.compute_gradients(X, np.ones(4))
    assert [g.dtype.name for g in gradients] == ["float64"] * 3 + ["float32"] * 2


SUMMARY = """\
Model: "m"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┓
┃ Layer (type)                   ┃ Output Shape             ┃      Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━┩
│ e (LSTM)                       │ (None, 3)                │           72 │
├────────────────────────────────┼──────────────────────────┼──────────────┤
│ d (Dense)                      │ (None, 1)                │            4 │
└────────────────────────────────┴──────────────────────────┴──────────────┘
 Total params: 76 (304.00 B)
 Trainable params: 4 (16.00 B)
 Non-trainable params: 72 (288.00 B)"""


class Output:
    """A standard output of some encoding."""

    def __init__(self, encoding):
        self.encoding = encoding


def test_summary(monkeypatch):
    monkeypatch.setattr("sys.stdout", Output("utf-8"))
    made, lines = model(), []
    made.layers[0].trainable = False
    made.summary(print_fn=lines.append)
    assert lines == [SUMMARY]
    made.summary(print_fn=lines.append, show_trainable=True, layer_range=("d", "d"), line_length=100)
    assert "e (LSTM)" not in lines[1]
    assert "Trainable" in lines[1].splitlines()[2]
    monkeypatch.setattr("sys.stdout", Output("ascii"))
    made.summary(print_fn=lines.append)
    assert lines[2].isascii()
    assert "| e (LSTM)" in lines[2]


def test_summary_of_what_is_not_built_and_of_nested_models(monkeypatch):
    monkeypatch.setattr("sys.stdout", Output("utf-8"))
    lines = []
    Sequential([Dense(1, name="d")]).summary(print_fn=lines.append)
    assert "? " in lines[0]
    assert "0 (unbuilt)" in lines[0]
    inner = Sequential([Dense(5, name="deep")], name="inner")
    outer = Sequential([Input((6, 2)), inner, LSTM(1, name="e")])
    outer.summary(print_fn=lines.append)
    outer.summary(print_fn=lines.append, expand_nested=True)
    assert "deep" not in lines[1]
    assert "    deep (Dense)" in lines[2]
    assert lines[1].splitlines()[-3:] == lines[2].splitlines()[-3:]


def test_summary_prints(capsys):
    model().summary()
    assert capsys.readouterr().out.startswith('Model: "m"\n')


def test_freezing_the_model():
    made = model(trainable=False)
    assert made.trainable_weights == []
    assert len(made.non_trainable_weights) == 5

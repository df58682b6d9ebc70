"""pandas and Arrow as x, y and sample_weight: the same as their arrays, without copies where that is possible."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.tables import real_array
from fusedlstm.utils import set_random_seed, split_dataset, timeseries_dataset_from_array

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = RNG.normal(size=40).astype("float32")
W = RNG.uniform(0.5, 2, size=40)
NAMES = ["a", "b", "c"]


def frame():
    return pd.DataFrame(X, columns=NAMES)


def table():
    return pa.table({name: X[:, k] for k, name in enumerate(NAMES)})


class OnlyArrow:
    """A table of a library that offers nothing but Arrow's protocol."""

    def __init__(self, inner):
        self.inner = inner

    def __arrow_c_stream__(self, requested_schema=None):
        return self.inner.__arrow_c_stream__(requested_schema)


class OnlyArrowColumn:
    def __arrow_array__(self, type=None):  # noqa: A002
        return pa.array(Y)


class OnlyNumpy:
    def to_numpy(self):
        return Y


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (frame(), X),
        (table(), X),
        (table().to_batches()[0], X),
        (OnlyArrow(table()), X),
        (pd.Series(Y), Y),
        (pa.array(Y), Y),
        (pa.chunked_array([Y[:9], Y[9:]]), Y),
        (OnlyArrowColumn(), Y),
        (OnlyNumpy(), Y),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 2]}), [[1, 0.5], [np.nan, 2]]),
        (pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": [True, False]}), [[1, 1], [2, 0]]),
        (pd.Series([1, None], dtype="Float32"), [1, np.nan]),
        (pd.Series([1, 2], dtype="int64[pyarrow]"), [1, 2]),
        (pd.Series([True, None], dtype="boolean"), [1, np.nan]),
        (pa.array([1, None, 3]), [1, np.nan, 3]),
        (pa.table({"a": pa.array([1, None]), "b": pa.array([0.5, 2])}), [[1, 0.5], [np.nan, 2]]),
    ],
    ids=range(16),
)
def test_values(value, want):
    np.testing.assert_array_equal(real_array("test", "x", value), want)


def test_no_copy_where_the_memory_fits():
    data = frame()
    assert np.shares_memory(real_array("test", "x", data), data.to_numpy())
    column = pd.Series(Y)
    assert np.shares_memory(real_array("test", "y", column), column.to_numpy())
    arrow = pa.array(Y)
    assert np.shares_memory(real_array("test", "y", arrow), np.frombuffer(arrow.buffers()[1], "float32"))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        (frame, lambda: pd.Series(Y), lambda: pd.Series(W)),
        (frame, lambda: pd.DataFrame({"y": Y}), lambda: pa.array(W)),
        (table, lambda: pa.array(Y), lambda: pa.chunked_array([W[:7], W[7:]])),
        (lambda: OnlyArrow(table()), lambda: pa.table({"y": Y}), lambda: list(W)),
    ],
    ids=["pandas", "mixed", "arrow", "protocol"],
)
def test_a_model_takes_them_as_their_arrays(given, shuffle):
    def history(x, y, w):
        set_random_seed(0)
        model = Sequential([Input((3, 1)), LSTM(4), Dense(1)])
        model.compile("sgd", "mse", weighted_metrics=["mae"])
        done = model.fit(x, y, 8, epochs=2, sample_weight=w, shuffle=shuffle, validation_split=0.2, verbose=0).history
        return done, model.evaluate(x, y, sample_weight=w, verbose=0), model.predict(x, verbose=0)

    want, got = history(X, Y, W), history(*(make() for make in given))
    assert got[:2] == want[:2]
    np.testing.assert_array_equal(got[2], want[2])


def test_layers_and_tools_take_them():
    layer = Dense(2)
    np.testing.assert_array_equal(layer(frame()), layer(X))
    windows = timeseries_dataset_from_array(frame(), pd.Series(Y), 5, batch_size=4)
    np.testing.assert_array_equal(windows[1][0][0], X[4:9])
    assert np.shares_memory(windows[1][1], Y) or windows[1][1].tolist() == Y[4:8].tolist()
    left, right = split_dataset((frame(), pd.Series(Y)), 30)
    np.testing.assert_array_equal(left[0], X[:30])
    np.testing.assert_array_equal(right[1], Y[30:])


DATES = pd.to_datetime(["2026-01-01", "2026-01-02"])
WRONG = [
    (
        pd.DataFrame({"size": [1, 2], "city": ["x", "y"]}),
        "columns of real numbers, got the column 'city' \\((str|object)",
    ),
    (
        pd.DataFrame({"day": DATES, "size": [1, 2], "kind": pd.Categorical(["u", "v"])}),
        r"columns of real numbers, got the columns 'day' \(datetime64\[\w+\]\), 'kind' \(category\)",
    ),
    (pa.table({"size": [1, 2], "city": ["x", "y"]}), r"columns of real numbers, got the column 'city' \(string\)"),
    (pd.Series(["1.5"]), "an array of real numbers, got dtype object"),
    (pd.Series(DATES), r"an array of real numbers, got dtype datetime64\[\w+\]"),
    (pa.array(["x"]), "an array of real numbers, got dtype object"),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_number_is_named(value, message):
    model = Sequential([Input((2,)), Dense(1)], name="m")
    model.compile("sgd", "mse")
    for argument, call in (
        ("x", lambda: model.predict(value, verbose=0)),
        ("y", lambda: model.fit(np.ones((len(value), 2)), value, verbose=0)),
    ):
        with pytest.raises(TypeError, match=f"Sequential 'm': expected {argument} to (be|have) {message}"):
            call()

"""Windows of a series: against loops over their definition, as views, and in a model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fusedlstm import preprocessing, utils
from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.preprocessing.sequence import TimeseriesGenerator, pad_sequences
from fusedlstm.utils import split_dataset, timeseries_dataset_from_array

SERIES = np.arange(60, dtype=np.float32).reshape(30, 2)
TARGETS = np.arange(30) * 10


def by_loop(data, targets, length, stride=1, rate=1, start=0, end=None):
    """The windows one by one, from the definition."""
    end = len(data) if end is None else end
    windows, answers = [], []
    for first in range(start, end, stride):
        steps = [first + k * rate for k in range(length)]
        if steps[-1] >= end or (targets is not None and first >= len(targets)):
            break
        windows.append([data[step] for step in steps])
        answers.append(None if targets is None else targets[first])
    return np.array(windows), answers


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("bounds", [{}, {"start_index": 3}, {"end_index": 20}, {"start_index": 5, "end_index": 30}])
@pytest.mark.parametrize(("length", "stride", "rate"), [(1, 1, 1), (4, 1, 1), (4, 3, 2), (3, 1, 5), (10, 7, 1)])
@pytest.mark.parametrize(
    "data", [SERIES, SERIES[:, 0], SERIES.reshape(30, 1, 2).astype("float64")], ids=["2", "1", "3"]
)
def test_windows_and_targets(data, length, stride, rate, bounds, batch_size):
    for targets in (None, TARGETS, TARGETS[:14]):
        start, end = bounds.get("start_index", 0), bounds.get("end_index")
        want, answers = by_loop(data, targets, length, stride, rate, start, end)
        found = timeseries_dataset_from_array(data, targets, length, stride, rate, batch_size, **bounds)
        batches = list(found)
        assert len(found) == len(batches) == -(-len(want) // batch_size)
        assert found.samples == len(want)
        x = np.concatenate([b if targets is None else b[0] for b in batches])
        np.testing.assert_array_equal(x, want)
        assert x.dtype == data.dtype
        if targets is not None:
            np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), answers)
        assert all(np.shares_memory(b if targets is None else b[0], data) for b in batches)


def test_shuffled_batches_are_the_same_windows_in_an_order_of_each_pass():
    made = [timeseries_dataset_from_array(SERIES, TARGETS, 4, batch_size=5, shuffle=True, seed=3) for _ in range(2)]
    first, again, other = list(made[0]), list(made[1]), list(made[0])
    for (x, y), (x_again, y_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
        np.testing.assert_array_equal(x[:, 0, 0] * 5, y)
        assert not np.shares_memory(x, SERIES)
    orders = [np.concatenate([y for _, y in batches]) for batches in (first, other)]
    assert (orders[0] != orders[1]).any()
    assert all(sorted(order) == TARGETS[:27].tolist() for order in orders)
    utils.set_random_seed(1)
    one = timeseries_dataset_from_array(SERIES, None, 4, shuffle=True)[0]
    utils.set_random_seed(1)
    np.testing.assert_array_equal(one, timeseries_dataset_from_array(SERIES, None, 4, shuffle=True)[0])


def test_a_state_repeats_passes():
    one, two = (timeseries_dataset_from_array(SERIES, TARGETS, 4, batch_size=3, shuffle=True, seed=s) for s in (1, 2))
    list(one)
    one.part([0, 3])  # draws a seed between two passes
    two.set_state(json.loads(json.dumps(one.get_state())))
    for _ in range(3):
        for (x, y), (same_x, same_y) in zip(one, two, strict=True):
            np.testing.assert_array_equal(x, same_x)
            np.testing.assert_array_equal(y, same_y)
    assert timeseries_dataset_from_array(SERIES, TARGETS, 4).get_state() is None
    drawn, other = (TimeseriesGenerator(SERIES, TARGETS, 4, shuffle=True, batch_size=5) for _ in range(2))
    other.set_state(drawn.get_state())
    np.testing.assert_array_equal(drawn[0][1], other[0][1])
    for kind in (np.random.MT19937, np.random.SFC64, np.random.Philox):  # whose states are arrays
        data = type(one)(SERIES, None, 4, np.random.Generator(kind(1)))
        text = json.dumps(data.get_state())
        before = list(data)
        data.set_state(json.loads(text))
        for a, b in zip(before, data, strict=True):
            np.testing.assert_array_equal(a, b)


def test_without_batches():
    found = timeseries_dataset_from_array(SERIES, TARGETS, 4, batch_size=None)
    assert len(found) == 27
    x, y = found[2]
    assert x.shape == (4, 2)
    assert y == 20
    np.testing.assert_array_equal(found[-1][0], SERIES[-4:])
    with pytest.raises(IndexError):
        found[27]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 128])
@pytest.mark.parametrize(("length", "rate", "stride"), [(3, 1, 1), (6, 2, 1), (7, 3, 2), (5, 1, 6)])
@pytest.mark.parametrize("bounds", [{}, {"start_index": 4, "end_index": 25}])
def test_generator(length, rate, stride, reverse, batch_size, bounds):
    found = TimeseriesGenerator(SERIES, TARGETS, length, rate, stride, reverse=reverse, batch_size=batch_size, **bounds)
    rows = range(bounds.get("start_index", 0) + length, bounds.get("end_index", 29) + 1, stride)
    batches = list(found)
    assert len(found) == len(batches)
    want = np.array([SERIES[row - length : row : rate][:: -1 if reverse else 1] for row in rows])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), want)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), [TARGETS[row] for row in rows])
    assert all(np.shares_memory(x, SERIES) for x, _ in batches)


def test_a_shuffled_generator_draws_windows():
    found = TimeseriesGenerator(SERIES, TARGETS, 4, shuffle=True, batch_size=50)
    x, y = found[0]
    assert x.shape == (50, 4, 2)
    np.testing.assert_array_equal(x[:, -1, 0] * 5 + 10, y)
    assert (found[0][1] != y).any()
    assert set(y) <= set(TARGETS[4:])


def test_old_names():
    assert preprocessing.timeseries_dataset_from_array is timeseries_dataset_from_array
    for place in (preprocessing, preprocessing.sequence, utils):
        assert place.TimeseriesGenerator is TimeseriesGenerator
        assert place.pad_sequences is pad_sequences


def model():
    utils.set_random_seed(0)
    made = Sequential([Input((6, 2)), LSTM(4), Dense(1)])
    made.compile("sgd", "mse")
    return made


def test_in_a_model_they_are_the_arrays_that_they_stand_for():
    y = np.sin(SERIES[:, :1]).astype("float32")
    windows = timeseries_dataset_from_array(SERIES / 60, y, 6, batch_size=8)
    generated = TimeseriesGenerator(SERIES / 60, y, 6, batch_size=8)
    stacked = np.stack([SERIES[k : k + 6] / 60 for k in range(25)])
    whole, from_windows = model(), model()
    history = whole.fit(stacked, y[:25], 8, epochs=2, shuffle=False, verbose=0).history
    assert from_windows.fit(windows, epochs=2, verbose=0).history == history
    assert from_windows.evaluate(windows, verbose=0) == whole.evaluate(stacked, y[:25], 8, verbose=0)
    np.testing.assert_array_equal(from_windows.predict(windows, verbose=0), whole.predict(stacked, 8, verbose=0))
    np.testing.assert_array_equal(from_windows.predict(generated, verbose=0), whole.predict(stacked[:24], 8, verbose=0))
    fitted = model().fit(generated, validation_data=windows, verbose=0).history
    assert set(fitted) == {"loss", "val_loss"}


def test_windows_as_an_array_are_shuffled_without_a_copy_of_all():
    """`fit` on a view of windows gives what it gives on the array of them."""
    stacked = timeseries_dataset_from_array(SERIES / 60, None, 6).windows
    y = np.arange(25.0)[:, None]
    histories = []
    for x in (stacked, stacked.copy()):
        made = model()
        histories.append(made.fit(x, y, 8, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]


def test_split_with_a_gap_shares_no_step():
    windows = timeseries_dataset_from_array(SERIES, TARGETS, 4, 2, 3, batch_size=3)
    assert windows.overlap == 4
    left, right = split_dataset(windows, left_size=0.5, gap=windows.overlap)
    assert (left.samples, right.samples) == (4, 3)
    steps = [{step for x, _ in part for step in x[..., 0].ravel()} for part in (left, right)]
    assert not steps[0] & steps[1]
    left, right = split_dataset(windows, left_size=0.5, gap=windows.overlap - 1)
    steps = [{step for x, _ in part for step in x[..., 0].ravel()} for part in (left, right)]
    assert max(steps[0]) >= min(steps[1])
    shuffled = timeseries_dataset_from_array(SERIES, TARGETS, 4, shuffle=True, seed=0)
    left, right = split_dataset(shuffled, right_size=5)
    assert sorted(right[0][1]) == TARGETS[22:27].tolist()


NAME = "timeseries_dataset_from_array"
BAD = [
    (lambda: timeseries_dataset_from_array(SERIES, None, 0), f"{NAME}: expected sequence_length to be an integer from"),
    (lambda: timeseries_dataset_from_array(SERIES, None, 3, 0), f"{NAME}: expected sequence_stride to be an integer"),
    (lambda: timeseries_dataset_from_array(SERIES, None, 3, 1, 0), f"{NAME}: expected sampling_rate to be an integer"),
    (lambda: timeseries_dataset_from_array(SERIES, None, 3, batch_size=0), f"{NAME}: expected batch_size to be an"),
    (
        lambda: timeseries_dataset_from_array(SERIES, None, 3, start_index=31),
        f"{NAME}: expected start_index to be an integer in 0 ... 30, got 31",
    ),
    (
        lambda: timeseries_dataset_from_array(SERIES, None, 3, start_index=9, end_index=5),
        f"{NAME}: expected end_index to be an integer in 9 ... 30, got 5",
    ),
    (
        lambda: timeseries_dataset_from_array(SERIES, None, 16, 1, 2),
        f"{NAME}: expected data and targets for at least one window of 31 steps, got 30 steps",
    ),
    (
        lambda: timeseries_dataset_from_array(SERIES, TARGETS[:4], 3, start_index=4),
        "got 26 steps and 0 targets from the first of them on",
    ),
    (lambda: timeseries_dataset_from_array(3.0, None, 1), f"{NAME}: expected data to have an axis of time"),
    (
        lambda: TimeseriesGenerator(SERIES, TARGETS[:9], 3),
        "TimeseriesGenerator: expected as many targets as steps, got 9",
    ),
    (
        lambda: TimeseriesGenerator(SERIES, TARGETS, 30),
        "TimeseriesGenerator: expected steps after the first window, got",
    ),
    (lambda: TimeseriesGenerator(SERIES, TARGETS, 3, end_index=30), "expected end_index to be an integer in 0 ... 29"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_numbers():
    with pytest.raises(TypeError, match=f"{NAME}: expected data to be an array of real numbers, got dtype <U1"):
        timeseries_dataset_from_array(["a", "b"], None, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        TimeseriesGenerator(SERIES, TARGETS, 3, steps=2)

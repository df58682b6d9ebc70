"""`split_dataset` and `time_series_folds`: sizes by hand, views, gaps, and each refused argument."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.utils import set_random_seed, split_dataset, time_series_folds

X = np.arange(20).reshape(10, 2)
Y = np.arange(10) * 3


@pytest.mark.parametrize(
    ("sizes", "left", "right"),
    [
        ({"left_size": 0.8}, range(8), range(8, 10)),
        ({"left_size": 0.75}, range(8), range(8, 10)),
        ({"left_size": 7}, range(7), range(7, 10)),
        ({"right_size": 0.3}, range(7), range(7, 10)),
        ({"right_size": 4}, range(6), range(6, 10)),
        ({"left_size": 2, "right_size": 3}, range(2), range(7, 10)),
        ({"left_size": 0.5, "right_size": 0.2}, range(5), range(8, 10)),
        ({"left_size": 0.7, "gap": 2}, range(6), range(8, 10)),
        ({"right_size": 3, "gap": 1}, range(6), range(7, 10)),
        ({"left_size": np.int64(4), "right_size": np.float32(0.5)}, range(4), range(5, 10)),
    ],
)
def test_sizes(sizes, left, right):
    for data in (X, (X, Y), [X, Y], {"a": X, "b": Y}):
        parts = split_dataset(data, **sizes)
        for part, rows in zip(parts, (left, right), strict=True):
            arrays = [part] if isinstance(part, np.ndarray) else list(part.values() if isinstance(part, dict) else part)
            assert type(part) is type(data)
            for array, whole in zip(arrays, (X, Y), strict=False):
                np.testing.assert_array_equal(array, whole[list(rows)])
                assert np.shares_memory(array, whole)


def test_shuffled():
    left, right = split_dataset((X, Y), 0.6, shuffle=True, seed=1)
    again, _ = split_dataset((X, Y), 0.6, shuffle=True, seed=1)
    np.testing.assert_array_equal(left[0], again[0])
    np.testing.assert_array_equal(left[0][:, 0] * 3, left[1] * 2)
    assert sorted([*left[1], *right[1]]) == Y.tolist()
    assert left[1].tolist() != Y[:6].tolist()
    set_random_seed(3)
    first, _ = split_dataset(Y, 5, shuffle=True)
    set_random_seed(3)
    np.testing.assert_array_equal(first, split_dataset(Y, 5, shuffle=True)[0])


class Samples:
    """As torch's Dataset."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(Y)

    def __getitem__(self, k):
        return (X[k], Y[k]) if self.pairs else X[k]


def test_samples_by_number():
    left, right = split_dataset(Samples(pairs=True), 7)
    np.testing.assert_array_equal(left[0], X[:7])
    np.testing.assert_array_equal(right[1], Y[7:])
    np.testing.assert_array_equal(split_dataset(Samples(pairs=False), 7)[1], X[7:])


def test_frames_stay_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": X[:, 0], "b": Y / 2}, index=np.arange(10) + 100)
    for shuffle in (False, True):
        left, right = split_dataset(frame, 0.7, shuffle=shuffle, seed=1 if shuffle else None)
        assert list(left.columns) == list(right.columns) == ["a", "b"]
        pd.testing.assert_frame_equal(pd.concat([left, right]).sort_index(), frame)
        left, right = split_dataset({"x": frame, "y": frame["b"], "z": Y}, 7, shuffle=shuffle)
        assert [type(part) for part in right.values()] == [pd.DataFrame, pd.Series, np.ndarray]
        assert (left["x"]["b"] * 2).tolist() == (left["y"] * 2).tolist() == left["z"].tolist()
    (x, y), _ = split_dataset((frame, Y), 4)
    pd.testing.assert_frame_equal(x, frame[:4])
    assert y.tolist() == Y[:4].tolist()


def folds(*arguments, **more):
    return [(np.r_[t].tolist(), np.r_[v].tolist()) for t, v in time_series_folds(*arguments, **more)]


def test_folds_expand():
    assert folds(6, 3, validation_size=1) == [([0, 1, 2], [3]), ([0, 1, 2, 3], [4]), ([0, 1, 2, 3, 4], [5])]
    assert folds(7, 2) == [([0, 1, 2], [3, 4]), ([0, 1, 2, 3, 4], [5, 6])]
    assert folds(10, 2, gap=2, validation_size=2) == [([0, 1, 2, 3], [6, 7]), ([0, 1, 2, 3, 4, 5], [8, 9])]
    assert folds(10, 2, max_train_size=3, validation_size=2) == [([3, 4, 5], [6, 7]), ([5, 6, 7], [8, 9])]


@pytest.mark.parametrize(("n", "count", "gap"), [(100, 5, 0), (101, 7, 3), (37, 4, 5)])
def test_folds_validate_on_the_last_rows_once(n, count, gap):
    found = list(time_series_folds(n, count, gap))
    assert len(found) == count
    validated = [row for _, v in found for row in range(n)[v]]
    assert validated == list(range(n - len(validated), n))
    for train, validation in found:
        assert train.start == 0
        assert validation.start - train.stop == gap
        assert np.shares_memory(X[train], X) or train.stop > 10


BAD = [
    (lambda: split_dataset(X), "split_dataset: expected left_size or right_size, got None for both"),
    (lambda: split_dataset(X, 1.5), "split_dataset: expected left_size to be a share between 0 and 1, got 1.5"),
    (lambda: split_dataset(X, 10), "split_dataset: expected left_size to be a number of rows from 1 to 9, got 10"),
    (lambda: split_dataset(X, right_size=0), "expected right_size to be a number of rows from 1 to 9, got 0"),
    (lambda: split_dataset(X, 6, 6), "left_size=6 and right_size=6 make 6 and 6 rows of 10"),
    (lambda: split_dataset(X, 0.01), "left_size=0.01 and right_size=None make 0 and 10 rows of 10"),
    (lambda: split_dataset(X, 5, 5, gap=1), "left_size=5 and right_size=5 make 5 and 5 rows of 10 with a gap of 1"),
    (lambda: split_dataset(X, 5, gap=-1), "split_dataset: expected gap to be an integer from 0 on, got -1"),
    (lambda: split_dataset(X, 5, shuffle=True, gap=1), "expected gap 0 with shuffle=True, whose rows have no neighb"),
    (lambda: split_dataset((X, Y[:4]), 5), "split_dataset: expected arrays of equal length, got 10, 4"),
    (lambda: split_dataset([], 5), "split_dataset: expected dataset to hold arrays with rows, got none"),
    (lambda: time_series_folds(0), "time_series_folds: expected n to be an integer from 1 on, got 0"),
    (lambda: time_series_folds(9, 2.0), "time_series_folds: expected folds to be an integer from 1 on, got 2.0"),
    (lambda: time_series_folds(9, 3, gap=3), "9 rows are too few for 3 folds of 2 rows with a gap of 3"),
    (lambda: time_series_folds(3, 5), "3 rows are too few for 5 folds"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_other_types():
    with pytest.raises(TypeError, match="split_dataset: expected left_size to be a number of rows or a share, got 'a'"):
        split_dataset(X, "a")
    with pytest.raises(TypeError, match=r"split_dataset: expected dataset to be an array, a list, .* got int"):
        split_dataset(3, 1)
    with pytest.raises(TypeError, match="split_dataset: expected dataset to be a list of arrays"):
        split_dataset([1, 2, 3], 1)

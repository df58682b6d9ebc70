"""`prefetch`: the same items, made ahead, errors where they belong, and no thread left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Sequential
from fusedlstm.utils import prefetch, set_random_seed, timeseries_dataset_from_array


def threads():
    return [t for t in threading.enumerate() if t.name == "fusedlstm-prefetch"]


def test_items_and_length():
    ahead = prefetch([1, 2, 3, None])
    assert list(ahead) == list(ahead) == [1, 2, 3, None]
    assert len(ahead) == 4
    with pytest.raises(TypeError):
        len(prefetch(iter([1])))
    assert list(prefetch(iter([]))) == []
    assert not threads()


def test_they_are_made_ahead_of_who_takes_them():
    made = []

    def source():
        for k in range(10):
            made.append(k)
            yield k

    items = iter(prefetch(source(), depth=3))
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3, 4]  # one taken, three kept ready, one waiting for room
    items.close()
    assert not threads()


def test_a_pass_that_is_left_early_ends_thread_and_source():
    ended = []

    def source():
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    for item in prefetch(source()):
        if item == 3:
            break
    assert ended == [True]
    assert not threads()


def test_an_error_is_raised_where_the_item_would_have_come():
    def source():
        yield 1
        yield 2
        raise KeyError("third")

    items = iter(prefetch(source(), depth=5))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(items)
    assert not threads()


def fitted(wrap, **options):
    set_random_seed(0)
    model = Sequential([Input((6, 1)), LSTM(4), Dense(1)])
    model.compile("sgd", "mse")
    series = np.sin(np.arange(60, dtype="float32"))[:, None]
    windows = timeseries_dataset_from_array(series, series, 6, batch_size=8, shuffle=True, seed=1)
    return model.fit(wrap(windows), epochs=3, verbose=0, **options).history


def test_in_fit_it_changes_nothing():
    assert fitted(prefetch) == fitted(lambda data: data)
    assert fitted(prefetch, steps_per_epoch=3) == fitted(lambda data: data, steps_per_epoch=3)
    assert not threads()


def test_an_interpreter_that_ends_in_the_middle_of_a_pass_ends():
    code = """
import itertools
from fusedlstm.utils import prefetch
items = iter(prefetch(itertools.count()))
print(next(items))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""


@pytest.mark.parametrize("depth", [0, True, 1.5])
def test_bad_depth(depth):
    with pytest.raises(ValueError, match="prefetch: expected depth to be a positive integer"):
        prefetch([], depth)


def test_what_cannot_be_iterated():
    with pytest.raises(TypeError, match="prefetch: expected an iterable, got int"):
        prefetch(3)

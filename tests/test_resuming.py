"""The same seed gives the same run, whatever the number of threads, and whether or not it was stopped on the way."""

import itertools
import json

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Sequential, random
from fusedlstm.callbacks import Callback
from fusedlstm.layers import (
    GRU,
    LSTM,
    Attention,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    Input,
    SpatialDropout1D,
)
from fusedlstm.metrics import Metric
from fusedlstm.models import Model
from fusedlstm.preprocessing.sequence import TimeseriesGenerator
from fusedlstm.utils import bucket_by_length, prefetch, split_dataset, timeseries_dataset_from_array

ROWS, STEPS = 22, 9
rng = np.random.default_rng(8)
IDS = rng.integers(0, 20, (ROWS, STEPS))
Y = rng.standard_normal((ROWS, 1)).astype(np.float32)
SEQUENCES = rng.standard_normal((ROWS, STEPS, 4)).astype(np.float32)


def everything(units=5):
    """Everything that draws random numbers or adds up over many."""
    ids = Input((None,))
    x = SpatialDropout1D(0.1)(Embedding(20, 6)(ids))
    h = Bidirectional(LSTM(units, return_sequences=True, dropout=0.1, recurrent_dropout=0.2, zoneout_h=0.1))(x)
    h = BatchNormalization()(GaussianNoise(0.1)(h))
    h = Concatenate()([h, Attention(dropout=0.1)([h, h])])
    model = Model(ids, Dense(1)(Dropout(0.2)(GRU(units, recurrent_dropout=0.1)(h))))
    model.compile("adam", "mse", metrics=["mae"])
    return model


def stateful():
    model = Sequential(
        [
            Input((None, 4), batch_size=2),
            LSTM(5, stateful=True, recurrent_dropout=0.1, return_sequences=True),
            GRU(3, stateful=True),
            Dropout(0.2),
            Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


class Largest(Metric):
    """Keeps arrays by several names: as its own, in a list, one made with the first batch, a view, one made anew."""

    def __init__(self, name="largest"):
        super().__init__(name)
        self.n = self.add_weight()
        self.parts = [self.add_weight((2,)), self.add_weight((), dtype="int64")]
        self.first = self.parts[0][:1]
        self.made = None
        self.anew = self.add_weight()

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.made is None:
            self.made = self.add_weight((y_pred.shape[-1],))
        self.n.assign_add(1)
        self.first += float(np.max(y_pred))
        self.parts[1] += len(y_pred)
        self.made.assign(np.maximum(self.made, np.max(y_true, axis=0)))
        self.anew = self.anew + 0.5

    def result(self):
        assert all(any(each is kept for kept in self.variables) for each in (self.n, *self.parts, self.made))
        assert self.first.base is self.parts[0]
        return float(self.n + 10 * self.parts[0][0] + 100 * self.parts[1] + 1000 * self.made[0]) + float(self.anew)


def with_own_metric():
    model = stateful()
    model.compile("adam", "mse", metrics=[Largest()])
    return model


def small():
    model = Sequential([Input((None, 4)), LSTM(5, dropout=0.2), Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def windows(shuffle=True):
    series = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)
    return timeseries_dataset_from_array(series, series[:, :1], 5, batch_size=7, shuffle=shuffle, seed=3)


def buckets(boundaries=None):
    ragged = [sequence[: 1 + k % STEPS] for k, sequence in enumerate(SEQUENCES)]
    return bucket_by_length(ragged, Y, batch_size=4, boundaries=boundaries, seed=3)


def drawn_windows():
    series = windows().windows[:, 0]
    return TimeseriesGenerator(series, series[:, :1], 4, shuffle=True, batch_size=5)


def both_parts():
    train, held_out = split_dataset(windows(), 0.7)
    train.batch_size, held_out.batch_size = 4, 3
    return {"x": train, "validation_data": held_out}


def assert_same_run(a, b):
    assert a[0] == b[0]
    for left, right in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(left, right)


# Threads.


@pytest.mark.parametrize("units", [5, 48])
def test_any_number_of_threads_gives_the_same_run(units):
    runs = []
    before = fusedlstm.get_num_threads()
    try:
        for threads in (1, 2, 3, 4, 1):
            fusedlstm.set_num_threads(threads)
            fusedlstm.utils.set_random_seed(12)
            ids = np.random.default_rng(3).integers(0, 20, (70, 23))  # large enough to be shared out
            model = everything(units)
            history = model.fit(ids, ids[:, :1] / 20, 32, epochs=2, validation_split=0.2, verbose=0)
            runs.append((history.history, model.get_weights()))
    finally:
        fusedlstm.set_num_threads(before)
    for run in runs[1:]:
        assert_same_run(run, runs[0])


def test_another_seed_gives_another_run():
    losses = []
    for seed in (1, 2):
        fusedlstm.utils.set_random_seed(seed)
        losses.append(everything().fit(IDS, Y, verbose=0).history["loss"])
    assert losses[0] != losses[1]


# The package's seeds.


def test_the_state_of_the_seeds_is_read_without_taking_one():
    random.set_random_seed(4)
    first = [random.next_seed() for _ in range(3)]
    state = random.get_state()
    assert random.get_state() == state
    then = [random.next_seed() for _ in range(3)]
    random.set_state(json.loads(json.dumps(state)))
    assert [random.next_seed() for _ in range(3)] == then
    random.set_random_seed(4)
    assert [random.next_seed() for _ in range(3)] == first


# Stopped and resumed.


class Stop(Callback):
    """Takes everything down at one moment, as text, and stops there."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.at = (epoch, batch)
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.epoch, batch):
            self.take()

    def on_epoch_end(self, epoch, logs=None):
        if self.at == (epoch, None):
            self.take()

    def take(self):
        model = self.model
        self.state = json.dumps(model.training_state())
        self.weights = model.get_weights()
        self.optimizer = model.optimizer.variables
        model.stop_training = True


class Restore(Callback):
    """Puts it back when `fit` begins."""

    def __init__(self, stopped):
        super().__init__()
        self.stopped = stopped

    def on_train_begin(self, logs=None):
        restore(self.model, self.stopped)


def restore(model, stopped):
    model.set_weights(stopped.weights)
    model.optimizer.build(model.trainable_weights)
    model.optimizer.set_weights(stopped.optimizer)
    model.restore_training_state(json.loads(stopped.state))


def batches():
    return [(IDS[k : k + 4], Y[k : k + 4]) for k in range(0, ROWS, 4)]


RUNS = {
    "arrays": (everything, lambda: {"x": IDS, "y": Y, "batch_size": 4}),
    "in order": (everything, lambda: {"x": IDS, "y": Y, "batch_size": 4, "shuffle": False}),
    "epochs that are no passes": (everything, lambda: {"x": IDS, "y": Y, "batch_size": 4, "steps_per_epoch": 4}),
    "validated": (everything, lambda: {"x": IDS, "y": Y, "batch_size": 4, "validation_split": 0.3}),
    "an iterable": (everything, lambda: {"x": itertools.cycle(batches()), "steps_per_epoch": 4}),
    "a metric's own arrays": (with_own_metric, lambda: {"x": SEQUENCES, "y": Y, "batch_size": 2}),
    "windows": (small, lambda: {"x": windows()}),
    "windows, epochs that are no passes": (small, lambda: {"x": windows(), "steps_per_epoch": 5}),
    "windows for both": (small, lambda: {"x": (data := windows()), "validation_data": data}),
    "parts of windows": (small, both_parts),
    "made ahead": (small, lambda: {"x": prefetch(windows())}),
    "buckets": (small, lambda: {"x": buckets()}),
    "buckets with boundaries": (small, lambda: {"x": buckets([3, 6])}),
    "drawn windows": (small, lambda: {"x": drawn_windows(), "validation_data": drawn_windows()}),
    "stateful": (stateful, lambda: {"x": SEQUENCES, "y": Y, "batch_size": 2}),
}
MOMENTS = {"first batch": (0, 0), "mid-epoch": (1, 2), "last batch": (1, 3), "end of an epoch": (1, None)}


@pytest.mark.parametrize("which", RUNS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", ["ahead of fit", "in a callback"])
def test_a_run_that_was_stopped_equals_one_that_was_not(which, moment, how):
    make, data = RUNS[which]
    fusedlstm.utils.set_random_seed(21)
    whole = make()
    expected = whole.fit(**data(), epochs=4, verbose=0).history
    after = random.next_seed()

    fusedlstm.utils.set_random_seed(21)
    stop = Stop(*MOMENTS[moment])
    make().fit(**data(), epochs=4, verbose=0, callbacks=[stop])

    fusedlstm.utils.set_random_seed(99)  # another process: other weights, other draws
    resumed = make()
    if how == "ahead of fit":
        restore(resumed, stop)
        found = resumed.fit(**data(), epochs=4, verbose=0).history
    else:
        found = resumed.fit(**data(), epochs=4, verbose=0, callbacks=[Restore(stop)]).history
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in expected.items():
        assert values[-len(found[name]) :] == found[name]
    first = MOMENTS[moment][0] + (MOMENTS[moment][1] is None)
    assert len(found["loss"]) == 4 - first
    assert random.next_seed() == after


def test_resuming_after_fit_continues_it():
    fusedlstm.utils.set_random_seed(2)
    whole = everything()
    whole.fit(IDS, Y, 4, epochs=3, verbose=0)
    fusedlstm.utils.set_random_seed(2)
    model = everything()
    model.fit(IDS, Y, 4, epochs=2, verbose=0)
    state = model.training_state()
    assert (state["epoch"], state["batch"]) == (2, 0)
    fusedlstm.utils.set_random_seed(3)
    model.restore_training_state(state)
    model.fit(IDS, Y, 4, epochs=3, initial_epoch=2, verbose=0)
    for a, b in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_is_refused():
    model = everything()
    model.fit(IDS, Y, verbose=0)
    state = model.training_state()
    with pytest.raises(ValueError, match=r"a model of its layers, .*GRU.* got that of one of .*Attention"):
        stateful().restore_training_state(state)
    model.restore_training_state(state)
    with pytest.raises(ValueError, match=r"expected initial_epoch 0 or 1.*got 3"):
        model.fit(IDS, Y, epochs=5, initial_epoch=3, verbose=0)


def test_fit_does_not_hold_on_to_the_data():
    model = everything()
    model.fit(IDS, Y, verbose=0)
    assert json.dumps(model.training_state())
    assert model.progress._passes is None

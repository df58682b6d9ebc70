"""BackupAndRestore: processes killed at random moments, again and again, end where one that was left alone ends."""

import hashlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from fusedlstm import callbacks, layers, metrics, models, optimizers, saving, utils

PROGRAM = """
import hashlib, json, os, sys
import numpy as np
from fusedlstm import callbacks, layers, models, optimizers, utils
from fusedlstm.random import next_seed

folder, case = sys.argv[1], sys.argv[2]
utils.set_random_seed(7)
rng = np.random.default_rng(1)
x = rng.normal(size=(96, 6, 3)).astype("float32")
y = x[:, 1, :1] - x[:, 4, 1:2]
steps = None
model = models.Sequential([
    layers.Input((6, 3), batch_size=8 if case == "state" else None),
    layers.GaussianNoise(0.1),
    layers.LSTM(8, dropout=0.2, recurrent_dropout=0.1, return_sequences=True, stateful=case == "state"),
    layers.BatchNormalization(),
    layers.Dropout(0.3),
    layers.GRU(4, recurrent_dropout=0.2),
    layers.Dense(1),
])
optimizer = optimizers.Adam(0.01, use_ema=True, amsgrad=True, gradient_accumulation_steps=3)
freq, arguments = "epoch", {}
if case != "epochs":
    freq = 5
if case == "steps":
    arguments = {"steps_per_epoch": 7}
    optimizer = optimizers.RMSprop(0.01, momentum=0.9, centered=True)
if case == "stream":
    class Stream:
        def __len__(self):
            return 12
        def __getitem__(self, k):
            return x[k * 8 : k * 8 + 8], y[k * 8 : k * 8 + 8]
data = (Stream(),) if case == "stream" else (x, y)
if case != "stream":
    arguments["batch_size"] = 8
model.compile(optimizer, "mse", metrics=["mae"])
rows = 16 if case == "state" else 20
called = [
    callbacks.BackupAndRestore(os.path.join(folder, "backup"), save_freq=freq),
    callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.05),
    callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
    callbacks.EarlyStopping(patience=30, restore_best_weights=True),
    callbacks.ModelCheckpoint(os.path.join(folder, "best.weights.npz"), save_best_only=True, save_weights_only=True),
    callbacks.CSVLogger(os.path.join(folder, "log.csv")),
    callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: __import__("time").sleep(0.002)),
]
print("begun", flush=True)
history = model.fit(*data, epochs=9, verbose=0, validation_data=(x[:rows], y[:rows]),
                    validation_batch_size=8 if case == "state" else None, callbacks=called, **arguments)
digest = hashlib.sha256()
for array in model.get_weights() + model.optimizer.variables + [model.predict(x[:8], batch_size=8, verbose=0)]:
    digest.update(np.ascontiguousarray(array).tobytes())
best = models.Sequential.from_config(model.get_config())
best.load_weights(os.path.join(folder, "best.weights.npz"))
for array in best.get_weights():
    digest.update(array.tobytes())
digest.update(repr([optimizer.learning_rate, next_seed()]).encode())
table = open(os.path.join(folder, "log.csv")).read()
print(json.dumps([digest.hexdigest(), history.history, history.epoch, table]), flush=True)
"""


def launch(folder, case):
    os.makedirs(folder, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), case], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    return process


def result(process):
    said = process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0
    return json.loads(said)


@pytest.mark.parametrize("case", ["epochs", "batches", "steps", "stream", "state"])
def test_killed_again_and_again(tmp_path, case):
    process = launch(tmp_path / "whole", case)
    begun = time.monotonic()
    expected = result(process)
    seconds = time.monotonic() - begun
    assert expected[2] == list(range(9))
    rng = np.random.default_rng(5)
    kills = 0
    while kills < 200:
        process = launch(tmp_path / "killed", case)
        try:
            process.wait(seconds * float(rng.uniform(0.08, 0.35)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            process.stdout.close()
            kills += 1
            continue
        break
    found = result(process)
    assert kills >= 2, "it was never cut"
    assert found == expected
    # A checkpoint amid which the process was killed may have left its unfinished file; the backup's folder is gone.
    left = [name for name in sorted(os.listdir(tmp_path / "killed")) if not name.startswith(".unfinished-")]
    assert left == ["best.weights.npz", "log.csv"]


def data():
    x = np.random.default_rng(1).normal(size=(40, 5, 2)).astype("float32")
    return x, x[:, 0, :1]


def make(seed=3):
    utils.set_random_seed(seed)
    model = models.Sequential([layers.Input((5, 2)), layers.LSTM(3, dropout=0.3), layers.Dense(1)])
    model.compile(optimizers.Adam(0.05), "mse")
    return model


class StopError(Exception):
    pass


def stop_at(epoch, batch=None):
    """A callback that breaks off `fit` as an error in the program does."""
    count = [0]

    def at_batch(k, logs):
        if count[0] == epoch and k == batch:
            raise StopError

    def at_end(k, logs):
        count[0] = k + 1
        if k == epoch and batch is None:
            raise StopError

    return callbacks.LambdaCallback(on_train_batch_end=at_batch, on_epoch_end=at_end)


def run(folder, *more, epochs=5, model=None, **options):
    model = model or make()
    called = [*more, callbacks.BackupAndRestore(folder, **options)]
    return model, model.fit(*data(), epochs=epochs, batch_size=8, verbose=0, callbacks=called)


def idle():
    """As many callbacks as in the run that is broken off."""
    return callbacks.LambdaCallback()


def test_an_error_in_the_program(tmp_path):
    whole, expected = run(tmp_path / "a", idle())
    with pytest.raises(StopError):
        run(tmp_path / "b", stop_at(3, 2), save_freq=3)
    model, history = run(tmp_path / "b", idle(), save_freq=3, model=make(99))
    assert history.history == expected.history
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not (tmp_path / "b").exists()


def test_shuffled_windows_go_on_in_their_orders(tmp_path):
    """Data that draw their own order, made anew by the next process, which has a metric of its own."""
    series = np.random.default_rng(2).normal(size=(60, 2)).astype("float32")

    class Count(metrics.Metric):
        def __init__(self, name="count"):
            super().__init__(name)
            self.n = self.add_weight()

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.n.assign_add(len(y_true))

        def result(self):
            return self.n.numpy()

    def fit(folder, called, seed=3, **options):
        windows = utils.timeseries_dataset_from_array(series, series[:, :1], 5, batch_size=8, shuffle=True, seed=3)
        model = make(seed)
        model.compile("adam", "mse", metrics=[Count()])
        backup = callbacks.BackupAndRestore(folder, **options)
        return model, model.fit(windows, epochs=4, verbose=0, callbacks=[called, backup])

    whole, expected = fit(tmp_path / "a", idle())
    assert expected.history["count"] == [56] * 4
    for moment, options in (((1,), {}), ((2, 4), {"save_freq": 3})):
        with pytest.raises(StopError):
            fit(tmp_path / "b", stop_at(*moment), **options)
        model, history = fit(tmp_path / "b", idle(), 99, **options)
        assert history.history == expected.history
        for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_backup_stays_if_asked(tmp_path):
    _, first = run(tmp_path / "b", delete_checkpoint=False)
    _, again = run(tmp_path / "b", delete_checkpoint=False)  # nothing is left to do
    assert again.history == first.history
    _, more = run(tmp_path / "b", epochs=7)
    assert more.epoch == list(range(7))
    assert more.history["loss"] == run(tmp_path / "c", epochs=7)[1].history["loss"]


def test_a_run_that_early_stopping_ended_stays_ended(tmp_path):
    def stopping():
        return callbacks.EarlyStopping("loss", patience=1, mode="max", restore_best_weights=True)

    whole, expected = run(tmp_path / "a", stopping(), epochs=9)
    assert len(expected.epoch) < 9
    run(tmp_path / "b", stopping(), epochs=9, delete_checkpoint=False)
    model, history = run(tmp_path / "b", stopping(), epochs=9, model=make(99))
    assert history.history == expected.history
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_callbacks_and_damage_are_refused(tmp_path):
    run(tmp_path / "b", delete_checkpoint=False)
    with pytest.raises(saving.FileError, match="is of a run with the callbacks History, got LambdaCallback, History"):
        run(tmp_path / "b", idle())
    path = tmp_path / "b" / "backup.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(saving.FileError, match=r"backup '.*backup.zip'"):
        run(tmp_path / "b")


def test_what_a_kill_left_is_removed(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".unfinished-1.zip").write_bytes(b"half")
    run(tmp_path / "b", delete_checkpoint=False)
    assert os.listdir(tmp_path / "b") == ["backup.zip"]


def test_own_callbacks_take_part(tmp_path):
    class Mean(callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.total = np.zeros(2)

        def on_epoch_end(self, epoch, logs=None):
            self.total += [1.0, logs["loss"]]

        def get_state(self):
            return {"total": self.total}

        def set_state(self, state):
            self.total = state["total"].copy()

    whole, broken = Mean(), Mean()
    run(tmp_path / "a", whole, idle())
    with pytest.raises(StopError):
        run(tmp_path / "b", broken, stop_at(2))
    again = Mean()
    run(tmp_path / "b", again, idle())
    np.testing.assert_array_equal(again.total, whole.total)


def test_the_digest_sees_the_random_sequence():
    """What the comparison above rests on: another seed is another run."""
    digests = set()
    for seed in (1, 2, 1):
        model = make(seed)
        model.fit(*data(), epochs=1, verbose=0)
        digests.add(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backup_dir": ""}, "expected backup_dir to be a folder, got ''"),
        ({"backup_dir": "b", "save_freq": 0}, "expected save_freq to be 'epoch' or a number of batches, got 0"),
        ({"backup_dir": "b", "save_freq": "batch"}, "expected save_freq to be 'epoch' or a number of batches"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=f"BackupAndRestore: {message}"):
        callbacks.BackupAndRestore(**arguments)


def test_a_folder_with_other_files_keeps_them(tmp_path):
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    for name in ("program.py", "data/rows.csv", ".unfinished-a.npz"):
        (project / name).write_text("mine")
    (project / ".unfinished-1.zip").write_bytes(b"half")
    run(project)
    assert sorted(os.listdir(project)) == [".unfinished-a.npz", "data", "program.py"]
    assert (project / "data" / "rows.csv").read_text() == "mine"

"""What prepares data beside Keras and PyTorch, live, and what of theirs `fit` takes."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras
from keras.src.legacy.preprocessing.sequence import TimeseriesGenerator

from fusedlstm import layers, models, utils
from fusedlstm.preprocessing import sequence

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RNG = np.random.default_rng(0)
RAGGED = [RNG.integers(1, 9, n).tolist() for n in (3, 1, 6, 0, 4)]
FRAMES = [RNG.normal(size=(n, 2)) for n in (3, 1, 5)]
WORDS = [["a", "bb", "ccc"], ["d"]]


@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2, 8])
def test_pad_sequences(maxlen, padding, truncating) -> None:
    for data, more in (
        (RAGGED, {}),
        (RAGGED, {"dtype": "float32", "value": -1.5}),
        (FRAMES, {"dtype": "float64", "value": 0.5}),
        (FRAMES, {"dtype": "float32", "value": [7.0, 8.0]}),
        (WORDS, {"dtype": object, "value": "pad"}),
        (WORDS, {"dtype": "<U3", "value": "-"}),
    ):
        got, want = (
            f(data, maxlen=maxlen, padding=padding, truncating=truncating, **more)
            for f in (utils.pad_sequences, keras.utils.pad_sequences)
        )
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("classes", [None, 7])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (4, 3), (2, 3, 1)])
def test_to_categorical(shape, classes) -> None:
    for dtype in ("int32", "uint8", "float32"):
        numbers = RNG.integers(0, 5, shape).astype(dtype)
        np.testing.assert_array_equal(
            utils.to_categorical(numbers, classes), keras.utils.to_categorical(numbers, classes)
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"length": 4},
        {"length": 6, "sampling_rate": 2, "batch_size": 5},
        {"length": 7, "sampling_rate": 3, "stride": 2, "batch_size": 3, "reverse": True},
        {"length": 3, "stride": 5, "start_index": 4, "end_index": 30, "batch_size": 2},
    ],
    ids=str,
)
def test_timeseries_generator(arguments) -> None:
    data, targets = RNG.normal(size=(40, 2)), RNG.normal(size=(40,))
    ours, theirs = (
        sequence.TimeseriesGenerator(data, targets, **arguments),
        TimeseriesGenerator(data, targets, **arguments),
    )
    assert len(ours) == len(theirs)
    for k in range(len(theirs)):
        for got, want in zip(ours[k], theirs[k], strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(find_spec("grain") is None, reason="Keras's needs grain or TensorFlow")
@pytest.mark.parametrize("arguments", [{}, {"sequence_stride": 3, "sampling_rate": 2, "start_index": 2}], ids=str)
def test_timeseries_dataset(arguments) -> None:
    data, targets = RNG.normal(size=(40, 2)), RNG.normal(size=(30,))
    ours = utils.timeseries_dataset_from_array(data, targets, 5, batch_size=4, **arguments)
    theirs = keras.utils.timeseries_dataset_from_array(data, targets, 5, batch_size=4, format="grain", **arguments)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize(
    "sizes", [{"left_size": 0.75}, {"left_size": 7}, {"right_size": 0.35}, {"right_size": 3}], ids=str
)
def test_split_dataset(sizes) -> None:
    x, y = RNG.normal(size=(10, 3)), RNG.normal(size=10)
    ours = utils.split_dataset((x, y), **sizes)
    left, right = keras.utils.split_dataset((x, y), preferred_backend="torch", **sizes)
    assert [len(part[0]) for part in ours] == [len(left), len(right)]


def model():
    utils.set_random_seed(0)
    made = models.Sequential([layers.Input((5, 3)), layers.LSTM(4), layers.Dense(1)])
    made.compile("adam", "mse", metrics=["mae"])
    return made


X, Y = RNG.normal(size=(30, 5, 3)).astype("float32"), RNG.normal(size=(30, 1)).astype("float32")
W = RNG.uniform(0.5, 2, size=30).astype("float32")


class Batches(keras.utils.PyDataset):
    """Keras's own kind of data."""

    def __init__(self):
        super().__init__()
        self.ended = 0

    def __len__(self):
        return 4

    def __getitem__(self, k):
        rows = slice(8 * k, 8 * k + 8)
        return X[rows], Y[rows], W[rows]

    def on_epoch_end(self):
        self.ended += 1


def loader():
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y), torch.from_numpy(W))
    return torch.utils.data.DataLoader(data, batch_size=8)


@pytest.mark.parametrize("source", ["PyDataset", "DataLoader", "prefetched DataLoader", "generator", "tensors"])
def test_fit_takes(source) -> None:
    want = model().fit(X, Y, 8, epochs=2, sample_weight=W, shuffle=False, verbose=0).history
    options = {"epochs": 2, "verbose": 0}
    if source == "tensors":
        got = model().fit(
            torch.from_numpy(X), torch.from_numpy(Y), 8, sample_weight=torch.from_numpy(W), shuffle=False, **options
        )
    elif source == "generator":
        got = model().fit((b for _ in range(2) for b in loader()), steps_per_epoch=4, **options)
    else:
        data = Batches() if source == "PyDataset" else loader()
        got = model().fit(utils.prefetch(data) if source.startswith("pre") else data, **options)
        assert source != "PyDataset" or data.ended == 2
    assert got.history == want

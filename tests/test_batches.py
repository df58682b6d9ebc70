"""Batches: cut from arrays of any layout, and from the kinds of objects that give them."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.batches import Arrays, Batch
from fusedlstm.layers import LSTM, Dense, Input
from fusedlstm.models import Model, Sequential
from fusedlstm.utils import set_random_seed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4, 2)).astype("float32")
Y, W = RNG.normal(size=(20, 1)).astype("float32"), RNG.uniform(0.5, 2, 20).astype("float32")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "fortran", "view", "reversed"])
def test_shuffled_batches_are_contiguous_rows_of_any_layout(layout, weighted):
    x = {
        "contiguous": X,
        "fortran": np.asfortranarray(X),
        "view": np.repeat(X, 2, axis=1)[:, ::2],
        "reversed": X[:, ::-1].copy()[:, ::-1],
    }[layout]
    source = Arrays(Batch([x], [Y], [W] if weighted else None), 6, np.random.default_rng(1))
    order = np.random.default_rng(1).permutation(20)
    batches = list(source)
    assert [b.rows for b in batches] == [6, 6, 6, 2]
    assert all(b.x[0].flags.c_contiguous for b in batches)
    np.testing.assert_array_equal(np.concatenate([b.x[0] for b in batches]), X[order])
    np.testing.assert_array_equal(np.concatenate([b.y[0] for b in batches]), Y[order])
    if weighted:
        np.testing.assert_array_equal(np.concatenate([b.weight[0] for b in batches]), W[order])


def test_batches_in_order_are_views():
    for batch in Arrays(Batch([X], [Y], None), 6):
        assert np.shares_memory(batch.x[0], X)
        assert np.shares_memory(batch.y[0], Y)


def model():
    set_random_seed(0)
    made = Sequential([Input((4, 2)), LSTM(3), Dense(1)])
    made.compile("sgd", "mse")
    return made


class Numbered:
    """As Keras's Sequence."""

    def __init__(self):
        self.calls = []

    def __len__(self):
        return 4

    def __getitem__(self, k):
        self.calls.append(k)
        return X[5 * k : 5 * k + 5], Y[5 * k : 5 * k + 5]

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


class Iterated:
    """What has no length."""

    def __iter__(self):
        return ([X[k : k + 5], Y[k : k + 5]] for k in range(0, 20, 5))


class Endless(Iterated):
    def __len__(self):
        raise TypeError("this one has no length")


def test_objects_that_give_batches():
    want = model().fit(X, Y, 5, epochs=2, shuffle=False, verbose=0).history
    numbered = Numbered()
    assert model().fit(numbered, epochs=2, verbose=0).history == want
    assert numbered.calls == ["begin", 0, 1, 2, 3, "end"] * 2
    for source in (Iterated(), Endless(), list(zip(np.split(X, 4), np.split(Y, 4), strict=True)).__iter__()):
        epochs = 1 if hasattr(source, "__next__") else 2
        assert model().fit(source, epochs=epochs, verbose=0).history["loss"] == want["loss"][:epochs]


def test_batches_of_dicts():
    def build():
        set_random_seed(0)
        a, b = Input((4, 2), name="a"), Input((3,), name="b")
        made = Model([a, b], [Dense(1, name="p")(LSTM(3)(a)), Dense(2, name="q")(b)])
        made.compile("sgd", {"p": "mse", "q": "mae"})
        return made

    x = {"a": X, "b": RNG.normal(size=(20, 3)).astype("float32")}
    y, w = {"p": Y, "q": RNG.normal(size=(20, 2)).astype("float32")}, {"p": W, "q": W**2}

    def cut(values, k):
        return {name: array[k : k + 5] for name, array in values.items()}

    want = build().fit(x, y, 5, sample_weight=w, shuffle=False, verbose=0).history
    batches = ((cut(x, k), cut(y, k), cut(w, k)) for k in range(0, 20, 5))
    assert build().fit(batches, verbose=0).history == want

"""`bucket_by_length`: every sequence once and whole, little padding, and in a model what single sequences give."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fusedlstm.layers import LSTM, Dense, Embedding, Input, Masking
from fusedlstm.models import Sequential
from fusedlstm.utils import bucket_by_length, split_dataset

RNG = np.random.default_rng(0)
LENGTHS = np.minimum(1 + RNG.geometric(0.06, 500), 90)
RAGGED = [RNG.integers(1, 50, n) for n in LENGTHS]
NUMBER = np.arange(500)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("boundaries", [None, [5, 10, 20, 40], [1000]], ids=str)
def test_every_sequence_is_there_once_and_whole(boundaries, padding, shuffle):
    found = bucket_by_length(RAGGED, NUMBER, batch_size=16, boundaries=boundaries, padding=padding, shuffle=shuffle)
    seen = []
    batches = list(found)
    for x, y in batches:
        assert x.shape[1] == max(LENGTHS[y])
        assert len(x) <= 16
        for row, number in zip(x, y, strict=True):
            used = row[: LENGTHS[number]] if padding == "post" else row[len(row) - LENGTHS[number] :]
            np.testing.assert_array_equal(used, RAGGED[number])
            assert row.sum() == RAGGED[number].sum()
        if boundaries is not None:
            assert len(np.unique(np.searchsorted(boundaries, LENGTHS[y], side="right"))) == 1
        seen += y.tolist()
    assert sorted(seen) == NUMBER.tolist()
    if boundaries is None:
        assert len(batches) == -(-500 // 16)


def test_batches_of_similar_lengths_have_little_padding():
    buckets = bucket_by_length(RAGGED, NUMBER, batch_size=16, seed=0)
    plain = bucket_by_length(RAGGED, NUMBER, batch_size=16, boundaries=[10**6], seed=0)
    assert plain.padded_share > 0.6
    assert buckets.padded_share < 0.12
    used = sum(LENGTHS)
    total = sum(x.size for x, _ in buckets)
    assert 1 - used / total < 0.12
    ordered = bucket_by_length(RAGGED, NUMBER, batch_size=16, shuffle=False)
    assert ordered.padded_share < 0.1


def test_each_pass_has_other_batches_and_a_seed_repeats_them():
    one, two = (bucket_by_length(RAGGED, NUMBER, batch_size=16, seed=4) for _ in range(2))
    passes = [[y.tolist() for _, y in found] for found in (one, one, two, two)]
    assert passes[0] != passes[1]
    assert passes[0] == passes[2]
    assert passes[1] == passes[3]
    assert sorted(map(sorted, passes[0])) != sorted(map(sorted, passes[1]))
    fixed = bucket_by_length(RAGGED, NUMBER, shuffle=False)
    assert [y.tolist() for _, y in fixed] == [y.tolist() for _, y in fixed]


def test_a_state_repeats_passes():
    one, two = (bucket_by_length(RAGGED, NUMBER, batch_size=16, boundaries=[9], seed=seed) for seed in (4, 5))
    list(one)
    two.set_state(json.loads(json.dumps(one.get_state())))
    for _ in range(2):
        assert [y.tolist() for _, y in one] == [y.tolist() for _, y in two]
    assert bucket_by_length(RAGGED, shuffle=False).get_state() is None


@pytest.mark.parametrize("boundaries", [None, [10, 30]])
def test_split_into_parts(boundaries):
    targets = [sequence * 2 for sequence in RAGGED]
    for given in (NUMBER, targets, None):
        weight = None if given is None else NUMBER + 1.0
        whole = bucket_by_length(RAGGED, given, weight, 16, boundaries, seed=2, value=-1)
        for shuffle in (False, True):
            parts = split_dataset(whole, 0.7, shuffle=shuffle, seed=1 if shuffle else None)
            assert [part.samples for part in parts] == [350, 150]
            lengths = []
            for part in parts:
                for batch in part:
                    x = batch if given is None else batch[0]
                    valid = x != -1
                    lengths += valid.sum(axis=1).tolist()
                    if given is targets:
                        np.testing.assert_array_equal(batch[1][valid], x[valid] * 2)
                    elif given is NUMBER:
                        np.testing.assert_array_equal(batch[2], batch[1] + 1)
                        assert (shuffle or set(batch[1]) <= set(range(350))) or part is parts[1]
            assert sorted(lengths) == sorted(LENGTHS)
    first = [y.tolist() for _, y, _ in split_dataset(bucket_by_length(RAGGED, NUMBER, NUMBER, seed=2), 9)[0]]
    assert first == [y.tolist() for _, y, _ in split_dataset(bucket_by_length(RAGGED, NUMBER, NUMBER, seed=2), 9)[0]]


def test_what_is_left_over_may_be_dropped():
    found = bucket_by_length(RAGGED, NUMBER, batch_size=16, boundaries=[10, 30], drop_remainder=True)
    assert {len(y) for _, y in found} == {16}
    counts = np.bincount(np.searchsorted([10, 30], LENGTHS, side="right"))
    assert len(found) == sum(counts // 16)


def test_targets_of_steps_come_with_weights():
    targets = [sequence * 2 for sequence in RAGGED]
    sample_weight = RNG.uniform(0.5, 1, 500)
    for given in (None, sample_weight):
        for padding in ("post", "pre"):
            found = bucket_by_length(RAGGED, targets, given, 8, padding=padding, target_value=-1)
            for x, y, weight in found:
                assert (weight != 0).sum(axis=1).tolist() == (x != 0).sum(axis=1).tolist()
                np.testing.assert_array_equal(y, np.where(x == 0, -1, x * 2))
                assert ((weight == 0) == (x == 0)).all()
    weights = [(y, w) for _, y, w in bucket_by_length(RAGGED, NUMBER, sample_weight, 8)]
    for y, w in weights:
        np.testing.assert_array_equal(w, sample_weight[y])
    frames = bucket_by_length([RNG.normal(size=(n, 3)) for n in (3, 5)], [RNG.normal(size=(n, 2)) for n in (3, 5)])
    assert [a.shape for a in frames[0]] == [(2, 5, 3), (2, 5, 2), (2, 5)]
    assert isinstance(bucket_by_length([[1.5], [2.5, 3]])[0], np.ndarray)
    assert bucket_by_length([[1.5], [2.5, 3]])[0].dtype == np.float32


def test_in_a_model_a_batch_gives_what_its_sequences_give():
    model = Sequential([Input((None,)), Embedding(50, 4, mask_zero=True), LSTM(5), Dense(1, activation="sigmoid")])
    model.compile("adam", "bce", metrics=["accuracy"])
    y = (np.array([s.mean() for s in RAGGED]) > 25).astype("float32")[:, None]
    found = bucket_by_length(RAGGED, y, batch_size=32, seed=0)
    history = model.fit(found, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    ordered = bucket_by_length(RAGGED[:20], None, batch_size=4, shuffle=False)
    rows = np.concatenate(ordered._batches)
    together = model.predict(ordered, verbose=0)
    alone = np.concatenate([model.predict(RAGGED[row][None], verbose=0) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_padding_counts_neither_in_the_loss_nor_in_weighted_metrics():
    x = [RNG.normal(size=(n, 2)).astype("float32") for n in (2, 5, 3, 7)]
    y = [sequence[:, :1] * 0.5 for sequence in x]
    found = bucket_by_length(x, y, batch_size=4, shuffle=False)
    head = [LSTM(3, return_sequences=True), Dense(1)]
    masked = Sequential([Input((None, 2)), Masking(), *head])
    masked.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    logs = masked.evaluate(found, verbose=0, return_dict=True)
    error = np.concatenate([(masked.predict(s[None], verbose=0)[0] - t) for s, t in zip(x, y, strict=True)])
    assert logs["loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert logs["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert logs["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    plain = Sequential([Input((None, 2)), *head])
    plain.compile("sgd", "mse", weighted_metrics=["mse"])
    assert plain.evaluate(found, verbose=0, return_dict=True)["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)


BAD = [
    (lambda: bucket_by_length([]), "bucket_by_length: expected sequences to have at least one sequence, got none"),
    (lambda: bucket_by_length([1, 2]), "expected sequences to be a list of sequences, got a number at 0"),
    (lambda: bucket_by_length([[1], []]), "expected sequences of at least one step, got none at 1"),
    (lambda: bucket_by_length([np.ones((2, 3)), np.ones((2, 4))]), "expected sequences with steps of one shape, got"),
    (lambda: bucket_by_length([[1]], [1, 2]), "expected as many targets as sequences, got 2 and 1"),
    (
        lambda: bucket_by_length([[1, 2], [3]], [[1, 2], [3, 4, 5]]),
        r"expected a target for each step of sequence 1, 1, or targets of one shape, got shape \(3,\)",
    ),
    (lambda: bucket_by_length([[1]], [1], [1, 2]), r"expected sample_weight to be 1 numbers, got shape \(2,\)"),
    (lambda: bucket_by_length([[1]], None, [1]), "expected targets along with sample_weight, got None"),
    (lambda: bucket_by_length([[1]], batch_size=0), "expected batch_size to be a positive integer, got 0"),
    (lambda: bucket_by_length([[1]], boundaries=[5, 3]), r"expected boundaries to be rising positive integers, got"),
    (lambda: bucket_by_length([[1]], padding="left"), "expected padding to be 'pre' or 'post', got 'left'"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_numbers():
    with pytest.raises(TypeError, match="bucket_by_length: expected sequences of numbers, got dtype <U1 at 0"):
        bucket_by_length([["a"]])

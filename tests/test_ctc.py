"""The CTC loss against the sum over all spellings, finite differences and the reference; what it refuses; decoding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from backend_case import load_backend

from fusedlstm import layers, losses, models, set_num_threads, utils
from fusedlstm.backends import reference


def spells(path) -> tuple[int, ...]:
    """What the classes of all steps spell: repetitions are one label, blanks none."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def by_enumeration(logits) -> dict[tuple[int, ...], float]:
    """The probability of everything that (T,C) logits can spell."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        likely = float(np.prod(p[np.arange(len(path)), list(path)]))
        found[spells(path)] = found.get(spells(path), 0.0) + likely
    return found


def problem(rng, batch=6, steps=9, classes=5, labels=3, dtype="float64"):
    logits = (2 * rng.normal(size=(batch, steps, classes))).astype(dtype)
    return logits, rng.integers(1, classes, (batch, labels)), np.full(batch, labels), np.full(batch, steps)


@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
def test_the_sum_over_all_spellings(backend, rng):
    logits = rng.normal(size=(1, 5, 3))
    found = by_enumeration(logits[0])
    assert sum(found.values()) == pytest.approx(1)
    assert len(found) == 25  # of 0 to 5 labels, with blanks between equal ones
    for labels, probability in found.items():
        targets = np.array([labels], np.int64).reshape(1, -1)
        values, _ = load_backend(backend).ctc_loss(logits, targets, np.array([len(labels)]), np.array([5]))
        assert values[0] == pytest.approx(-np.log(probability), rel=1e-12)


@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
def test_gradients_are_finite_differences(backend, rng):
    logits, targets, target_lengths, input_lengths = problem(rng)
    targets[0] = [2, 2, 2]  # the same label again
    targets[1] = [1, 1, 4]
    targets[5] = [1, 2, 3]  # as many as steps
    target_lengths[2], target_lengths[3], input_lengths[4], input_lengths[5] = 0, 1, 6, 3
    ctc_loss, eps = load_backend(backend).ctc_loss, 1e-6
    values, gradient = ctc_loss(logits, targets, target_lengths, input_lengths)
    assert np.isfinite(values).all()
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += eps
        down[index] -= eps
        sides = [ctc_loss(x, targets, target_lengths, input_lengths, False)[0].sum() for x in (up, down)]
        assert gradient[index] == pytest.approx((sides[0] - sides[1]) / (2 * eps), abs=1e-7)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float64", 1e-12)])
def test_every_width_of_classes_and_labels(kernels, dtype, bound, rng):
    """Classes and states around the widths of vectors, steps of 0 and 1, beside the reference in float64."""
    for classes, labels in [*((k, 3) for k in range(2, 36)), *((5, k) for k in range(20)), (1, 0)]:
        for steps in (0, 1, 2, 3 * labels):
            logits, targets, target_lengths, input_lengths = problem(rng, 3, steps, classes, labels, dtype)
            target_lengths[0], input_lengths[1] = labels // 2, steps // 2
            want, d_want = reference.ctc_loss(logits.astype("float64"), targets, target_lengths, input_lengths)
            got, d_got = kernels.ctc_loss(logits, targets, target_lengths, input_lengths)
            alone, none = kernels.ctc_loss(logits, targets, target_lengths, input_lengths, gradient=False)
            assert none is None
            assert got.dtype == d_got.dtype == dtype
            np.testing.assert_array_equal(alone, got)
            np.testing.assert_allclose(got, want, rtol=bound)
            np.testing.assert_allclose(d_got, d_want, rtol=0, atol=bound)


def test_threads_do_not_change_a_bit(c_kernels, rng):
    logits, targets, target_lengths, input_lengths = problem(rng, 33, 60, 40, 12, "float32")
    input_lengths[:] = rng.integers(30, 61, 33)
    results = []
    try:
        for threads in (1, 2, 3, 16):
            set_num_threads(threads)
            results.append(c_kernels.ctc_loss(logits, targets, target_lengths, input_lengths))
    finally:
        set_num_threads(0)
    for values, gradient in results[1:]:
        np.testing.assert_array_equal(values, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-3), ("float64", 1e-10)])
def test_long_rows_stay_exact(kernels, dtype, bound, rng):
    logits, targets, target_lengths, input_lengths = problem(rng, 2, 1500, 30, 100, dtype)
    want, d_want = reference.ctc_loss(logits.astype("float64"), targets, target_lengths, input_lengths)
    got, d_got = kernels.ctc_loss(logits, targets, target_lengths, input_lengths)
    np.testing.assert_allclose(got, want, rtol=1e-3 * bound)
    np.testing.assert_allclose(d_got, d_want, rtol=0, atol=bound)
    np.testing.assert_allclose(d_got.sum(axis=2), 0, atol=bound)  # the shares of the paths are 1 at every step


@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_row_cannot_spell_stays_in_it(backend, dtype, rng):
    logits, targets, target_lengths, input_lengths = problem(rng, 8, 5, 5, 3, dtype)
    targets[:] = [1, 2, 3]
    ctc_loss = load_backend(backend).ctc_loss
    plain, d_plain = ctc_loss(logits, targets, target_lengths, input_lengths)
    bad = logits.copy()
    input_lengths[0] = 2  # too few steps
    targets[1] = 1  # with the blanks between, 5 are just enough, but not without the last one
    input_lengths[1] = 4
    bad[2, 1, 4] = np.nan
    bad[3, 4, 0] = np.inf
    bad[4, 2] = -np.inf  # no class at all
    bad[5, :, 2] = -np.inf  # never the second label
    bad[6, 0, 4] = -np.inf  # another class
    values, gradient = ctc_loss(bad, targets, target_lengths, input_lengths)
    np.testing.assert_array_equal(np.isposinf(values), [1, 1, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(np.isnan(values), [0, 0, 1, 1, 1, 0, 0, 0])
    assert not gradient[[0, 1, 5]].any()
    assert np.isnan(gradient[2:5]).all()
    assert np.isfinite(gradient[6]).all()
    assert gradient[6, 0, 4] == 0
    np.testing.assert_array_equal(values[7], plain[7])
    np.testing.assert_array_equal(gradient[7], d_plain[7])
    # Steps that do not count are not looked at.
    bad = logits.copy()
    bad[:, 4] = np.nan
    values, gradient = ctc_loss(bad, np.ones_like(targets), np.ones_like(target_lengths), np.full(8, 4))
    assert np.isfinite(values).all()
    assert not gradient[:, 4].any()
    assert np.isfinite(gradient).all()


def test_impossible_rows_are_large_and_teach_nothing(rng):
    logits, y_true, *_ = problem(rng, 4, 3, 5, 3)
    y_true[:] = [[1, 2, 3], [1, 1, 2], [4, 0, 0], [0, 0, 0]]
    value, gradient = losses.CTC("sum").value_and_gradient(y_true, logits)
    alone, d_alone = losses.CTC("sum").value_and_gradient(y_true[[0, 2, 3]], logits[[0, 2, 3]])
    assert losses.ctc(y_true, logits)[1] == 1e5
    assert value == pytest.approx(alone + 1e5, rel=1e-12)
    assert not gradient[1].any()
    np.testing.assert_array_equal(gradient[[0, 2, 3]], d_alone)


def test_no_labels_and_no_rows(rng):
    logits = rng.normal(size=(2, 4, 3))
    value, gradient = losses.CTC("sum").value_and_gradient(np.zeros((2, 0)), logits)
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    assert value == pytest.approx(-np.log(p[..., 0]).sum())
    np.testing.assert_allclose(gradient, p - [1, 0, 0], atol=1e-12)
    value, gradient = losses.CTC().value_and_gradient(np.zeros((0, 2)), np.zeros((0, 4, 3)))
    assert (value, gradient.shape) == (0.0, (0, 4, 3))
    assert losses.CTC("sum")(np.zeros((2, 1)), np.zeros((2, 0, 3))) == 0


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_weights_masks_and_padding_anywhere(reduction, rng):
    logits, y_true, *_ = problem(rng, 5, 9, 5, 3)
    weight, loss = rng.uniform(size=5), losses.CTC(reduction)
    mask = np.ones((5, 9), bool)
    mask[0, 6:] = mask[1, :2] = mask[2, [1, 4, 5]] = False
    value, gradient = loss.value_and_gradient(y_true, logits, weight, mask)
    expected = np.array([losses.CTC("sum")(y_true[b : b + 1], logits[b : b + 1, mask[b]]) for b in range(5)])
    scale = {"sum": 1, "sum_over_batch_size": 1 / 5, "mean_with_sample_weight": 1 / weight.sum()}[reduction]
    assert value == pytest.approx((expected * weight).sum() * scale, rel=1e-12)
    assert loss(y_true, logits, weight[:, None], mask) == pytest.approx(value, rel=1e-12)
    assert not gradient[~mask].any()
    for b in range(5):
        _, alone = losses.CTC("sum").value_and_gradient(y_true[b : b + 1], logits[b : b + 1, mask[b]])
        np.testing.assert_allclose(gradient[b, mask[b]], alone[0] * weight[b] * scale, rtol=1e-10, atol=1e-15)
    padded = np.array([[0, 1, 2, 0], [1, 0, 0, 2], [1, 2, 0, 0], [0, 0, 1, 2], [1, 0, 2, 0]])
    same = losses.ctc(padded, logits)
    np.testing.assert_array_equal(same, losses.ctc(np.tile([1.0, 2.0], (5, 1)), logits))


def test_a_model_learns_to_spell_behind_a_mask(rng):
    """The input length comes from the mask: in a masked model padding changes nothing."""
    utils.set_random_seed(0)
    x, y = np.zeros((24, 12, 4), "float32"), np.zeros((24, 3), "int32")
    for row in range(24):
        y[row, : rng.integers(1, 4)] = 1
        y[row] *= rng.integers(1, 4, 3)
        steps = [label for label in y[row] for _ in range(2) if label]
        x[row, np.arange(len(steps)) + 1, steps] = 1
        x[row, : len(steps) + 2, 0] = 0.1
    model = models.Sequential(
        [layers.Input((None, 4)), layers.Masking(), layers.LSTM(16, return_sequences=True), layers.Dense(4)]
    )
    model.compile(optimizer="adam", loss="ctc")
    model.optimizer.learning_rate = 0.02
    history = model.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]
    longer = np.concatenate([x, np.zeros((24, 5, 4), "float32")], axis=1)
    assert model.evaluate(longer, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)


ONES = np.ones((2, 3, 4))
LABELS = np.ones((2, 2), int)
ERRORS = [
    (
        lambda: losses.CTC()(LABELS, ONES[0]),
        ValueError,
        r"CTC: expected y_pred \(batch, steps, classes\), got \(3, 4\)",
    ),
    (lambda: losses.CTC()(LABELS[0], ONES), ValueError, r"CTC: expected y_true \(2, labels\), got \(2,\)"),
    (lambda: losses.CTC()(LABELS[:1], ONES), ValueError, r"CTC: expected y_true \(2, labels\), got \(1, 2\)"),
    (lambda: losses.CTC()(4 * LABELS, ONES), ValueError, r"CTC: expected labels in 0 ... 3 for y_pred .* got 4 ... 4"),
    (lambda: losses.CTC()(-LABELS, ONES), ValueError, r"got -1 ... -1"),
    (lambda: losses.CTC()(0.5 * LABELS, ONES), ValueError, "CTC: expected labels to be integers, got 0.5"),
    (lambda: losses.CTC()(np.nan * LABELS, ONES), ValueError, "labels to be integers, got nan"),
    (
        lambda: losses.CTC()(LABELS, ONES, np.ones((2, 3))),
        ValueError,
        r"CTC: expected sample_weight to fit .* \(2, 3\)",
    ),
    (lambda: losses.CTC()(LABELS, ONES, None, np.ones((2, 4))), ValueError, r"CTC: expected mask to fit .* \(2, 4\)"),
    (lambda: losses.CTC("none").value_and_gradient(LABELS, ONES), ValueError, "a gradient needs a reduction"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("backend", ["c", "numba", "reference"])
def test_backends_refuse(backend):
    ctc_loss, two = load_backend(backend).ctc_loss, np.array([2, 2])
    for arguments, message in [
        ((ONES[0], LABELS, two, two), r"expected logits \(batch, steps, classes\), got \(3, 4\)"),
        ((ONES, LABELS[:1], two, two), r"expected targets \(2, labels\), got \(1, 2\)"),
        ((ONES, LABELS, two[:1], two), r"expected target_lengths \(2,\), got \(1,\)"),
        ((ONES, LABELS, two, two + 2), "expected input_lengths in 0 ... 3, got 4 ... 4"),
        ((ONES, LABELS, -two, two), "expected target_lengths in 0 ... 2, got -2 ... -2"),
        ((ONES, LABELS * 4, two, two), "expected targets in 1 ... 3, got 4 ... 4"),
        ((ONES, LABELS * 0, two, two), "expected targets in 1 ... 3, got 0 ... 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ctc_loss(*arguments)


# Decoding.


def test_greedy_decoding():
    best = np.array([[1, 1, 0, 1, 2, 2], [0, 3, 3, 0, 0, 1]])
    x = np.eye(4)[best] * 2
    paths, scores = utils.ctc_decode(x, [6, 3])
    np.testing.assert_array_equal(paths, [[[1, 1, 2, -1, -1, -1], [3, -1, -1, -1, -1, -1]]])
    np.testing.assert_array_equal(scores, [[-12], [-6]])
    paths, _ = utils.ctc_decode(x, [6, 3], merge_repeated=False)
    np.testing.assert_array_equal(paths, [[[1, 1, 1, 2, 2, -1], [3, 3, -1, -1, -1, -1]]])
    paths, _ = utils.ctc_decode(x, [6, 3], mask_index=None)
    np.testing.assert_array_equal(paths, [[[1, 0, 1, 2, -1, -1], [0, -1, -1, -1, -1, -1]]])


def test_a_wide_beam_finds_the_likeliest_of_all(rng):
    logits = rng.normal(size=(4, 5, 3))
    paths, scores = utils.ctc_decode(logits, [5, 5, 3, 0], "beam_search", beam_width=100, top_paths=6)
    assert paths.shape == (6, 4, 5)
    for b, steps in enumerate([5, 5, 3, 0]):
        found = sorted(((p, labels) for labels, p in by_enumeration(logits[b, :steps]).items()), reverse=True)[:6]
        for k, (probability, labels) in enumerate(found):
            assert scores[b, k] == pytest.approx(np.log(probability), rel=1e-10)
            np.testing.assert_array_equal(paths[k, b], np.pad(labels, (0, 5 - len(labels)), constant_values=-1))
        assert (scores[b, len(found) :] == -np.inf).all()
        assert (paths[len(found) :, b] == -1).all()


def test_a_beam_is_better_than_the_best_of_each_step():
    # The blank is the likeliest class of both steps, but label 1 is spelled in three ways.
    logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])
    assert (utils.ctc_decode(logits, [2])[0] == -1).all()
    paths, scores = utils.ctc_decode(logits, [2], "beam_search")
    np.testing.assert_array_equal(paths, [[[1, -1]]])
    assert np.exp(scores[0, 0]) == pytest.approx(0.64)


def test_the_losses_of_the_paths_are_their_scores(rng):
    logits = rng.normal(size=(1, 12, 6))
    paths, scores = utils.ctc_decode(logits, [12], "beam_search", beam_width=2000, top_paths=5)
    values = losses.ctc(np.where(paths[:, 0] < 0, 0, paths[:, 0]), np.repeat(logits, 5, axis=0))
    np.testing.assert_allclose(values, -scores[0], rtol=1e-2)  # what fell out of the beam is missing


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((ONES[0], [1, 2]), ValueError, r"expected inputs \(batch, steps, classes\), got \(3, 4\)"),
        ((ONES, [1]), ValueError, r"expected sequence_lengths \(2,\) of integers, got \(1,\)"),
        ((ONES, [1.5, 1]), ValueError, "of float64"),
        ((ONES, [4, 1]), ValueError, r"sequence_lengths in 0 ... 3, got 1 ... 4"),
        ((ONES, [3, 1], "beam"), ValueError, "expected strategy 'greedy' or 'beam_search', got 'beam'"),
        ((ONES, [3, 1], "beam_search", 0), ValueError, "expected beam_width >= 1, got 0"),
        ((ONES, [3, 1], "beam_search", 2.0), TypeError, "expected beam_width to be an integer, got 2.0"),
        ((ONES, [3, 1], "greedy", 1, 0), ValueError, "expected top_paths >= 1, got 0"),
        ((ONES, [3, 1], "greedy", 1, 1, True, 4), ValueError, "expected mask_index in 0 ... 3, got 4"),
    ],
)
def test_decoding_refuses(arguments, error, message):
    with pytest.raises(error, match=f"ctc_decode: .*{message}"):
        utils.ctc_decode(*arguments)

"""`to_categorical` and `pad_sequences`: values by hand, and each refused argument."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.utils import pad_sequences, to_categorical


def test_to_categorical():
    np.testing.assert_array_equal(to_categorical([0, 2, 1]), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert to_categorical([0, 2], 5).shape == (2, 5)
    assert to_categorical([0, 2]).dtype == np.float32
    assert to_categorical([[1], [0]]).shape == (2, 2)
    assert to_categorical([[1, 0], [0, 1], [0, 0]]).shape == (3, 2, 2)
    np.testing.assert_array_equal(to_categorical(np.array([1.0, 0.0])), [[0, 1], [1, 0]])
    assert to_categorical([], 3).shape == (0, 3)


def test_pad_sequences():
    ragged = [[1, 2, 3], [4], []]
    np.testing.assert_array_equal(pad_sequences(ragged), [[1, 2, 3], [0, 0, 4], [0, 0, 0]])
    np.testing.assert_array_equal(pad_sequences(ragged, padding="post", value=9), [[1, 2, 3], [4, 9, 9], [9, 9, 9]])
    np.testing.assert_array_equal(pad_sequences(ragged, maxlen=2), [[2, 3], [0, 4], [0, 0]])
    np.testing.assert_array_equal(pad_sequences(ragged, maxlen=2, truncating="post"), [[1, 2], [0, 4], [0, 0]])
    assert pad_sequences(ragged).dtype == np.int32
    frames = pad_sequences([np.ones((2, 3)), np.ones((1, 3))], dtype="float32", padding="post")
    assert frames.shape == (2, 2, 3)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames[1], [[1, 1, 1], [0, 0, 0]])
    assert pad_sequences([]).shape == (0, 0)


def test_pad_sequences_of_anything():
    words = [["a", "bb"], ["c"]]
    assert pad_sequences(words, dtype=object, value="pad").tolist() == [["a", "bb"], ["pad", "c"]]
    assert pad_sequences(words, dtype=str, value="pad").tolist() == [["a", "bb"], ["pad", "c"]]
    assert pad_sequences(words, dtype="<U2", value="-", padding="post").tolist() == [["a", "bb"], ["c", "-"]]
    steps = pad_sequences([[[1, 2], [3, 4]], [[5, 6]]], value=[7, 8])
    assert steps.tolist() == [[[1, 2], [3, 4]], [[7, 8], [5, 6]]]
    assert pad_sequences((range(3), range(1)), dtype="float64", value=np.nan)[1, 2] == 0
    np.testing.assert_array_equal(pad_sequences([[1.7, 2.2], [3]]), [[1, 2], [0, 3]])


def test_to_categorical_of_many_classes_needs_no_square_of_them():
    numbers = np.array([[3, 199_999], [7, 0]])
    rows = to_categorical(numbers, 200_000)
    assert rows.shape == (2, 2, 200_000)
    np.testing.assert_array_equal(rows.argmax(axis=-1), numbers)
    assert rows.sum() == 4
    assert to_categorical(2, 3).tolist() == [0, 0, 1]


BAD = [
    (lambda: to_categorical([0.5]), "to_categorical: expected x to hold whole numbers, got dtype float64"),
    (lambda: to_categorical(["a"]), "to_categorical: expected x to hold whole numbers, got dtype <U1"),
    (lambda: to_categorical([0, 3], 3), "to_categorical: expected class numbers in 0 ... 2, got 0 ... 3"),
    (lambda: to_categorical([-1, 1]), "to_categorical: expected class numbers in 0 ... 1, got -1 ... 1"),
    (lambda: pad_sequences([[1]], padding="left"), "pad_sequences: expected padding to be 'pre' or 'post', got 'left'"),
    (
        lambda: pad_sequences([[1]], truncating=0),
        "pad_sequences: expected truncating to be 'pre' or 'post', got 0",
    ),
    (lambda: pad_sequences([[1]], maxlen=0), "pad_sequences: expected maxlen to be a positive integer or None, got 0"),
    (lambda: pad_sequences([1, 2]), "pad_sequences: expected sequences to be a list of sequences, got one of numbers"),
    (
        lambda: pad_sequences([["a"]]),
        "pad_sequences: expected sequences and value that fit dtype int32: invalid literal for int() with base 10: "
        "np.str_('a')",
    ),
    (
        lambda: pad_sequences([[[1, 2]], [[1]]]),
        "pad_sequences: expected steps of one shape, got (1,), (2,)",
    ),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_arguments(number):
    call, message = BAD[number]
    with pytest.raises(ValueError, match="expected") as caught:
        call()
    assert str(caught.value) == message

import numpy as np
import pytest

from fusedlstm.variables import Variable


def variable():
    return Variable(np.arange(6, dtype="float32").reshape(2, 3), name="kernel")


def test_the_value_is_a_copy_and_read_only():
    source = np.zeros(3)
    made = Variable(source, name="w")
    source[0] = 1
    assert made.value[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        made.value[0] = 1
    copy = made.numpy()
    copy[0] = 5
    assert made.value[0] == 0


def test_assign_keeps_the_memory_and_counts_versions():
    made = variable()
    view, address = made.value, made.value.ctypes.data
    made.assign(np.ones((2, 3)))
    assert made.version == 1
    assert made.value.ctypes.data == address
    assert made.dtype == np.float32
    np.testing.assert_array_equal(view, np.ones((2, 3)))


def test_update_gives_the_array_itself():
    made = variable()
    array = made.update()
    array += 1
    assert made.version == 1
    np.testing.assert_array_equal(made.value, np.arange(1, 7).reshape(2, 3))


@pytest.mark.parametrize(("value", "error"), [(np.ones((3, 2)), ValueError), (np.ones((2, 3), complex), TypeError)])
def test_a_refused_value_changes_nothing(value, error):
    made = variable()
    with pytest.raises(error, match=r"^variable 'kernel': expected"):
        made.assign(value)
    assert made.version == 0
    np.testing.assert_array_equal(made.value, np.arange(6).reshape(2, 3))


def test_numpy_takes_it_as_an_array():
    made = variable()
    assert np.asarray(made).sum() == 15
    assert np.asarray(made, "float64").dtype == np.float64
    assert np.array(made).flags.writeable
    assert not np.shares_memory(np.array(made), made.value)
    with pytest.raises(ValueError, match="needs a copy"):
        np.array(made, "float64", copy=False)
    assert len(made) == 2
    assert made.shape == (2, 3)
    assert repr(made) == "<Variable 'kernel' shape=(2, 3) dtype=float32>"


def test_a_fortran_ordered_value_becomes_c_ordered():
    assert Variable(np.asfortranarray(np.ones((2, 3))), name="w").value.flags.c_contiguous

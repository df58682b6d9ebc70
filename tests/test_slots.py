"""Slots, by a walk over every row."""

import numpy as np
import pytest

from fusedlstm.backends import slots


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 5), (4, 1), (0, 3), (3, 0), (7, 11)])
@pytest.mark.parametrize("masked", ["all used", "none used", "random", "ragged"])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_slots_are_those_of_a_walk(rng, batch, steps, masked, zero_output_for_mask):
    mask = {
        "all used": np.ones((batch, steps), bool),
        "none used": np.zeros((batch, steps), bool),
        "random": rng.random((batch, steps)) < 0.6,
        "ragged": np.arange(steps) < rng.integers(0, steps + 1, (batch, 1)),
    }[masked]
    numbered = slots.number(mask, batch, steps, zero_output_for_mask)
    state, used = list(range(batch)), 0
    for t in range(steps):
        assert numbered.begin[t] == used
        for b in range(batch):
            if mask[b, t]:
                assert (numbered.row[used], numbered.step[used], numbered.before[used]) == (b, t, state[b])
                state[b] = batch + used
                used += 1
            output = state[b] if mask[b, t] or (state[b] >= batch and not zero_output_for_mask) else -1
            assert numbered.output[b, t] == output
    assert numbered.begin[steps] == numbered.total == used
    assert numbered.last.tolist() == state


def test_no_mask_is_a_mask_of_ones():
    without, ones = slots.number(None, 3, 4), slots.number(np.ones((3, 4), bool), 3, 4)
    for name, a, b in zip(slots.Slots._fields, without, ones, strict=True):
        assert a.dtype == b.dtype == np.int64, name
        for array in (a, b):
            assert array.flags.c_contiguous, f"{name}: kernels would be compiled once more"
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_those_of_long_calls_are_not_kept():
    """A million steps of one row take 48 MB."""
    pytest.importorskip("numba")
    from fusedlstm.backends import numba_cpu_recurrent

    for steps, kept in ((100, True), (20_000, False)):
        first, second = (numba_cpu_recurrent._slots(None, 1, steps, False) for _ in range(2))
        assert (first is second) == kept
        assert first.total == steps

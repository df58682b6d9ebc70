"""Where every seed comes from: one sequence for the process, repeatable after `set_random_seed`."""

from __future__ import annotations

import itertools
import math
import os
import random as _python_random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1

# The sequence is a base and a counter. `next` on a count is atomic, so threads need no lock that a fork could leave
# locked.
_base = int.from_bytes(os.urandom(8), "little")
_counter = itertools.count(1)


def set_random_seed(seed: int) -> None:
    """Make everything that is drawn from now on repeatable: weights, shuffling, dropout.

    Like Keras, this also seeds Python's `random` and NumPy's global generator, on which a program's own data may
    depend.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not an integer, or outside the range.
    """
    global _base, _counter
    seed = check_seed("set_random_seed", seed)
    if seed >= 1 << 32:
        raise ValueError(f"set_random_seed: expected seed in 0 ... 2**32 - 1, got {seed}")
    _python_random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that such programs use
    _base, _counter = seed, itertools.count(1)


def get_state() -> dict[str, int]:
    """Where the sequence is, as plain numbers for `set_state`."""
    # The count is read from its own text, since nothing else tells it without taking one, or warning.
    return {"base": _base, "count": int(repr(_counter).partition("(")[2][:-1])}


def set_state(state: Mapping[str, int]) -> None:
    """Go on where `get_state` found the sequence: what is drawn from now on is what was drawn after it."""
    global _base, _counter
    _base, _counter = int(state["base"]), itertools.count(int(state["count"]))


def next_seed() -> int:
    """The next seed of the sequence, in 0 ... 2**63 - 1."""
    # SplitMix64 (Steele, Lea and Flood 2014): neighbouring states give unrelated seeds.
    z = (_base * 0xD1342543DE82EF95 + next(_counter) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


def generator(seed: int | None = None) -> np.random.Generator:
    """A NumPy generator of its own.

    Parameters
    ----------
    seed : int, optional
        None: seeded by `next_seed`, hence repeatable after `set_random_seed`.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng(next_seed() if seed is None else check_seed("generator", seed))


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Where a generator is, as plain values that its ``bit_generator.state`` can be set to."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    state: dict[str, Any] = plain(generator.bit_generator.state)
    return state


def is_resumable(data: Any) -> bool:
    """Whether data tell what they draw from, and take it up again."""
    return hasattr(data, "get_state") and hasattr(data, "set_state")


def chosen(generator: np.random.Generator, shape: tuple[int, ...], share: float) -> NDArray[np.bool_]:
    """Where an array of this shape is true with a probability of `share`, each entry for itself.

    Decided by 16 random bits an entry, which is several times as fast as by a float; the share is met within 1e-5.
    """
    count = math.prod(shape)
    drawn = generator.bit_generator.random_raw(-(-count // 4)).view(np.uint16)[:count]
    return (drawn < round(share * (1 << 16))).reshape(shape)


def dropout_factors(
    generator: np.random.Generator, shape: tuple[int, ...], rate: float, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """What inverted dropout multiplies by: 0 with a probability of `rate`, else 1 / (1 - rate)."""
    scale = dtype.type(0 if rate == 1 else 1 / (1 - rate))
    return ~chosen(generator, shape, rate) * scale


def check_seed(owner: str, seed: object) -> int:
    """`seed` as an int; TypeError or ValueError naming `owner` if it is not an integer >= 0."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"{owner}: expected seed to be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"{owner}: expected seed >= 0, got {seed}")
    return int(seed)

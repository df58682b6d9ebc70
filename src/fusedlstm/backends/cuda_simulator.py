"""What makes numba-cuda's simulator, which runs kernels as Python threads, behave as a GPU does."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Quiet:
    """A kernel in which NaN and Inf come about without warnings."""

    def __init__(self, function: Callable[..., None]) -> None:
        functools.update_wrapper(self, function)
        self.__globals__ = function.__globals__  # in which the simulator puts its own `cuda`

    def __call__(self, *args: Any) -> None:
        with np.errstate(all="ignore"):
            self.__wrapped__(*args)  # type: ignore[attr-defined]


def _forgiving(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return function(*(np.float64(a) if isinstance(a, float) and not isinstance(a, np.generic) else a for a in args))

    return call


_RENAMED = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "fabs": "abs", "pow": "power",
}  # fmt: skip
_SAME = (
    "ceil", "copysign", "cos", "cosh", "exp", "expm1", "floor", "fmod", "hypot", "log", "log10", "log1p", "log2", "sin",
    "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip


def forgiving_math() -> Any:
    """The module `math` with functions that keep float32, and give Inf or NaN where Python's raise."""
    own = {name: _forgiving(getattr(np, _RENAMED.get(name, name))) for name in (*_RENAMED, *_SAME)}
    others = {name: getattr(math, name) for name in dir(math) if not name.startswith("_")}
    return types.SimpleNamespace(**(others | own))


def share_safely() -> None:
    """Let all threads of a block have the same shared array: the simulator's own look-up is a race between them."""
    module = importlib.import_module("numba.cuda.simulator.kernelapi")
    shared = module.FakeCUDAShared
    as_before = shared.array

    def array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        if shape == 0 or alignment is not None:
            return as_before(self, shape, dtype, alignment)
        if isinstance(dtype, module.types.Type):
            dtype = module.numpy_support.as_dtype(dtype)
        frame = sys._getframe(1)
        place = frame.f_code.co_filename, frame.f_lineno
        return self._allocations.setdefault(place, np.empty(shape, dtype))

    shared.array = array


@contextmanager
def quick_switches() -> Iterator[None]:
    """Threads that wait for each other all the time, as those of a block do, are to take turns quickly."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)

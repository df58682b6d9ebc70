"""How the Numba backends compile: a function when it is first called, and once on a machine that keeps files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

try:
    import numba
    import scipy  # noqa: F401, where Numba finds the BLAS for products of matrices
    from numba import types
    from numba.core import event
    from numba.core.caching import FunctionCache
    from numba.core.compiler_lock import global_compiler_lock
    from numba.extending import overload
except ImportError as error:
    raise ImportError(f'the Numba backends need Numba and SciPy: pip install "fusedlstm[numba]" ({error})') from error

__all__ = ["compile_seconds", "njit", "overload", "types"]

# No threads of Numba's own: its layers die after a fork and under concurrent callers. "contract" lets a product and a
# sum round once, together; anything more would lose NaN, or the order of sums.
_OPTIONS: dict[str, Any] = {"nogil": True, "parallel": False, "error_model": "numpy", "fastmath": {"contract"}}


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` with what all kernels have in common, and a cache on disk: a decorator, with options or without.

    Where no cache can be written there is one warning, and every process compiles anew.
    """
    if function is None:
        return functools.partial(njit, **options)
    kernel = numba.njit(**(_OPTIONS | options))(function)
    if not options.get("forceinline") and options.get("inline") != "always":  # their callers contain those
        try:
            kernel._cache = _Cache(function)
        except RuntimeError as error:  # Numba found no place
            _warn(error)
    return kernel


#: What reading a file of the cache raises that was cut short or written over.
_DAMAGE = (EOFError, pickle.PickleError, AttributeError, ImportError, IndexError, ValueError)


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, which goes by the function's own file: kernels are made of several."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = self._cache_file._source_stamp, _sources()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except OSError:  # unreadable
            return None
        except _DAMAGE:
            with contextlib.suppress(OSError):
                self.flush()  # else neither would the next process come past it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except (OSError, *_DAMAGE) as error:
            _warn(error)


@functools.cache
def _sources() -> bytes:
    """A digest of every file that kernels are made of."""
    folder = Path(__file__).parent
    files = [Path(__file__), folder / "recurrent_arguments.py", *sorted(folder.glob("numba_cpu*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


_warned = False


def _warn(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"Numba's kernels are compiled anew in every process, because their cache cannot be written ({error}): set "
            "NUMBA_CACHE_DIR to a directory that can",
            RuntimeWarning,
            stacklevel=3,
        )


class _CompileTime(event.Listener):  # type: ignore[misc]
    """Adds up how long functions of this package were compiled; events come one at a time, under Numba's lock."""

    def __init__(self) -> None:
        self.seconds = self._since = 0.0
        self._outer: Any = None  # what is compiled for a function is part of it

    def on_start(self, event: Any) -> None:
        if self._outer is None and event.data["dispatcher"].__module__.startswith("fusedlstm."):
            self._outer, self._since = event.data["dispatcher"], perf_counter()

    def on_end(self, event: Any) -> None:
        if event.data["dispatcher"] is self._outer:
            self._outer = None
            self.seconds += perf_counter() - self._since


_compile_time = _CompileTime()
event.register("numba:compile", _compile_time)


def compile_seconds() -> float:
    """How long this process has compiled kernels so far; what comes from the cache is not compiled."""
    return _compile_time.seconds


# A fork waits for what is being compiled, else the child would for ever.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)

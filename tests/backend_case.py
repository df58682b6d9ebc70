"""The backends by their names, for tests of several."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from fusedlstm import backends

PACKAGES = {"numba": ("numba", "scipy"), "cuda": ("numba", "scipy", "numba_cuda")}


def load_backend(name):
    """The backend's module; a test of one whose packages are missing is skipped."""
    missing = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return backends.load(name)

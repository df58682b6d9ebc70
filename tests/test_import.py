"""What ``import fusedlstm`` does, and does not do."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

import fusedlstm


def python(code, **more):
    """What a fresh interpreter prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")} | more
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_no_thread_and_no_compiled_library():
    code = """
import os, sys, threading
import numpy
before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
import fusedlstm
after = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
loaded = [name for name in sys.modules if name.startswith("fusedlstm.") and "_binding" in name]
print(after - before, loaded, "_cffi_backend" in sys.modules)
"""
    assert python(code) == "0 [] False"


def test_it_takes_at_most_100_ms_over_numpy(tmp_path):
    code = """
import time
import numpy
start = time.perf_counter()
import fusedlstm
import fusedlstm.layers, fusedlstm.models
print(time.perf_counter() - start)
"""
    # As for a user: from bytecode, which the first run writes. The least of five, as other programs run too.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    python(code, **bytecode)
    assert min(float(python(code, **bytecode)) for _ in range(5)) <= 0.1


@pytest.mark.parametrize(
    "name",
    [
        "activations",
        "backends",
        "callbacks",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "utils",
    ],
)
def test_submodules_are_attributes(name):
    assert python(f"import fusedlstm; print(fusedlstm.{name}.__name__)") == f"fusedlstm.{name}"


def test_names_of_the_package():
    from fusedlstm.layers import Input
    from fusedlstm.models import Sequential

    assert fusedlstm.Sequential is Sequential
    assert fusedlstm.Input is Input
    assert set(fusedlstm.__all__) <= set(dir(fusedlstm))
    assert all(getattr(fusedlstm, name) is not None for name in fusedlstm.__all__)
    assert callable(fusedlstm.utils.set_random_seed)


def test_the_version_is_the_installed_one():
    assert fusedlstm.__version__ == metadata.version("fusedlstm")

"""Fused LSTM kernels for CPUs under a Keras-like API.

Importing the package starts no thread and loads no compiled code; submodules are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fusedlstm.backends import get_backend, set_backend

if TYPE_CHECKING:
    from fusedlstm import (
        activations,
        backends,
        callbacks,
        constraints,
        initializers,
        inspect,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        plots,
        preprocessing,
        regularizers,
        saving,
        tuner,
        utils,
    )
    from fusedlstm.layers import Input
    from fusedlstm.models import Model, Sequential

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "available_isas",
    "backends",
    "callbacks",
    "constraints",
    "get_backend",
    "get_isa",
    "get_num_threads",
    "initializers",
    "inspect",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plots",
    "preprocessing",
    "regularizers",
    "saving",
    "set_backend",
    "set_isa",
    "set_num_threads",
    "tuner",
    "utils",
]

_SUBMODULES = frozenset(
    [
        "activations",
        "backends",
        "callbacks",
        "constraints",
        "initializers",
        "inspect",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "plots",
        "preprocessing",
        "regularizers",
        "saving",
        "tuner",
        "utils",
    ]
)
_ELSEWHERE = {"Model": "fusedlstm.models", "Sequential": "fusedlstm.models", "Input": "fusedlstm.layers"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"fusedlstm.{name}")
    if name in _ELSEWHERE:
        value = globals()[name] = getattr(importlib.import_module(_ELSEWHERE[name]), name)
        return value
    raise AttributeError(f"module 'fusedlstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def get_isa() -> str:
    """Name of the instruction set that the C backend uses: "v2", "v3", "v4", "neon" or "generic"."""
    from fusedlstm.backends import c

    return c.get_isa()


def set_isa(isa: str | None) -> None:
    """Make the C backend use an instruction set, None for the best one.

    Raises
    ------
    ValueError
        If this machine does not have it, or there is none of this name.
    """
    from fusedlstm.backends import c

    c.set_isa(isa)


def available_isas() -> list[str]:
    """Names of the instruction sets that `set_isa` takes on this machine, best first."""
    from fusedlstm.backends import c

    return list(c.available_isas())


def get_num_threads() -> int:
    """How many threads a call of the C backend may use."""
    from fusedlstm.backends import c

    return c.get_num_threads()


def set_num_threads(threads: int) -> None:
    """Let calls of the C backend use so many threads; 0 returns to the default.

    The default is ``FUSEDLSTM_NUM_THREADS``, else the CPUs that the process may use.

    Raises
    ------
    ValueError
        For a number below 0 or above 1024.
    """
    from fusedlstm.backends import c

    c.set_num_threads(threads)

"""The backends: modules that define the functions in `KERNELS`, one signature each.

`reference` (NumPy, any float dtype) is the specification; `c` runs the fused kernels and is the default; `numba` and
`cuda` are the same kernels in Python, compiled by Numba for the CPU and for NVIDIA's GPUs. A backend is chosen with
`set_backend`, or with ``FUSEDLSTM_BACKEND`` in the environment, and imported when first used.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

#: What a backend module must define, with the signatures of `reference`; and an integer `generation`.
KERNELS = (
    "lstm_pack",
    "lstm_forward",
    "lstm_backward",
    "gru_pack",
    "gru_forward",
    "gru_backward",
    "simple_rnn_pack",
    "simple_rnn_forward",
    "simple_rnn_backward",
    "prepare_pack",
    "prepare_forward",
    "recurrent_together",
    "recurrent_stream",
    "matmul",
    "activation_forward",
    "activation_backward",
    "embedding_gradient",
    "ctc_loss",
    "sgd_update",
    "lion_update",
    "rmsprop_update",
    "adagrad_update",
    "adadelta_update",
    "adam_update",
    "nadam_update",
    "adamax_update",
    "average_update",
    "prepare_updates",
)

#: Name, as `set_backend` takes it -> module.
BACKENDS = {
    "c": "fusedlstm.backends.c",
    "cuda": "fusedlstm.backends.numba_cuda",
    "numba": "fusedlstm.backends.numba_cpu",
    "reference": "fusedlstm.backends.reference",
}

_current: ModuleType | None = None


def load(name: str) -> ModuleType:
    """The module of a backend, imported now if it was not before."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: expected one of {', '.join(map(repr, sorted(BACKENDS)))}")
    return importlib.import_module(BACKENDS[name])


def current() -> ModuleType:
    """The module that layers call now."""
    if _current is None:
        _use(load(os.environ.get("FUSEDLSTM_BACKEND", "c")))
    return _current  # type: ignore[return-value]


def _use(backend: ModuleType) -> None:
    """Make it the current one when all that lives on from call to call is where it computes."""
    global _current
    from fusedlstm.backends import placement  # which needs NumPy

    placement.enter(backend)
    _current = backend


def set_backend(name: str) -> None:
    """Choose the backend of every layer and optimizer from now on.

    Parameters
    ----------
    name : {"c", "cuda", "numba", "reference"}

    Raises
    ------
    ValueError
        If there is no backend of this name; the current one stays.
    CudaError
        If "cuda" cannot be used, or not all weights fit into the device's memory; the current one stays, nothing moves.
    """
    _use(load(name))


def get_backend() -> str:
    """Name of the backend in use, as `set_backend` takes it."""
    module = current().__name__
    return next(name for name, path in BACKENDS.items() if path == module)

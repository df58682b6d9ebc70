"""What kernels of the backend "cuda" that are made for one dtype have in common: types that go by arguments' names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends.cuda_api import jit, simulated

#: Of a NumPy dtype what kernels are made for: what turns their constants, which else would be float64, into its own.
REALS = {np.dtype(np.float32): np.float32, np.dtype(np.float64): np.float64}

#: For indices of inner loops: Numba looks at each signed one whether it counts from the end. Both sides of an operator
#: have to be of it.
index: Any = int if simulated() else np.uint64

_TYPES = {
    "{f}[::1]": "weights scale gain w g velocity m v v_max u mean_square mean_square_step average total x y d_y d_x "
    "values",
    "{f}[:,::1]": "gates h cells extra of_h kept normalization normal outputs a out d d_out d_h d_c d_output d_gates "
    "d_squashed d_of_c d_reset reset_state q",
    "{f}[:,:,::1]": "dropout logits log_p alpha beta d_logits",
    "boolean[:,:,::1]": "zoneout_h zoneout_c",
    "int64[::1]": "old rows place order ids begin target_lengths input_lengths",
    "int64[:,::1]": "bounds targets",
    "boolean": "plain resident dropped moves centered keeps_largest",
    "{f}": "clip rate_h rate_c epsilon",
    "float64": "gradient_scale most decay learning_rate momentum nesterov beta_1 beta_2 rho m_factor g_factor v_factor",
    "int64": "batch steps width groups row_groups tile depth slices flags gate squash_in squash_out first end t part "
    "code",
}
_TYPE = {name: kind for kind, names in _TYPES.items() for name in names.split()}


def kernel_for(real: Any, name: str | None = None) -> Callable[[Callable[..., None]], Any]:
    """A decorator: `jit` for this NumPy float type, the types of the arguments going by their names."""
    element = str(np.dtype(real))

    def decorate(function: Callable[..., None]) -> Any:
        types = ", ".join(_TYPE[argument] for argument in inspect.signature(function).parameters)
        signature = f"void({types})".replace("{f}", element)
        return jit(function, name=f"{name or function.__name__}_{element}", signatures=[signature])

    return decorate


def numba_type(real: Any) -> Any:
    """Numba's own, for arrays inside of kernels."""
    from numba import types

    return types.float32 if real is np.float32 else types.float64

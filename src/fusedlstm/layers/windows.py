"""Windows of steps, as convolution and pooling see them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array


def window_count(steps: int, size: int, stride: int, padding: str, dilation: int = 1) -> tuple[int, int, int]:
    """How many windows there are, and how many steps to pad ahead and behind for them.

    Parameters
    ----------
    steps, size, stride, dilation : int
        Of the inputs; of a window, every `dilation`-th step of `stride` times its number on.
    padding : {"valid", "same", "causal"}
        None; half on each side, the odd one behind; all ahead.
    """
    span = dilation * (size - 1) + 1
    if padding == "valid":
        return max(0, (steps - span) // stride + 1), 0, 0
    count = -(-steps // stride)
    if padding == "causal":
        return count, span - 1, 0
    total = max(0, (count - 1) * stride + span - steps)
    return count, total // 2, total - total // 2


def pad_steps(x: Array, ahead: int, behind: int, value: float = 0.0) -> Array:
    """(B,T,F) with steps of `value` around; x itself if there are none, else contiguous."""
    if not ahead and not behind:
        return x
    batch, steps, features = x.shape
    padded = np.empty((batch, ahead + steps + behind, features), x.dtype, like=x)
    padded[:, :ahead] = value
    padded[:, ahead : ahead + steps] = x
    padded[:, ahead + steps :] = value
    return padded


def windows(x: Array, count: int, size: int, stride: int, dilation: int = 1) -> Array:
    """A read-only view (B,count,size,F) of the windows of x (B,T,F); of what is not on the host a copy."""
    if placement.is_elsewhere(x):
        reach = max(stride * (count - 1) + 1, 0)
        return np.stack([x[:, first : first + reach : stride] for first in range(0, size * dilation, dilation)], axis=2)
    b, t, f = x.strides
    shape = (x.shape[0], count, size, x.shape[2])
    return as_strided(x, shape, (b, stride * t, dilation * t, f), writeable=False)


def check_data_format(label: str, data_format: Any) -> None:
    """A ValueError unless it is that of (batch, steps, features)."""
    if data_format not in (None, "channels_last"):
        raise ValueError(f"{label}: expected data_format None or 'channels_last', got {data_format!r}")


def single(value: Any) -> Any:
    """The one size of a tuple, as Keras takes them too; anything else as it is."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value

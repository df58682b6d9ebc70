"""What gradients have to be multiplied by so that their norms stay below a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def clip_scales(
    gradients: Sequence[Array], scale: float, clipnorm: float | None, global_clipnorm: float | None
) -> list[float]:
    """A factor for each gradient: `scale`, and whatever clips its norm after that.

    Parameters
    ----------
    gradients : sequence of array
    scale : float
        Multiplies them all first.
    clipnorm : float or None
        The largest norm of each; goes ahead of `global_clipnorm`.
    global_clipnorm : float or None
        The largest norm of all together. If it is not finite, the factor is NaN.
    """
    if clipnorm is not None:
        return [scale * _shrink(scale * math.sqrt(_squares(g)), clipnorm) for g in gradients]
    if global_clipnorm is not None:
        norm = scale * math.sqrt(math.fsum(map(_squares, gradients)))
        scale *= _shrink(norm, global_clipnorm) if math.isfinite(norm) else math.nan
    return [scale] * len(gradients)


def _shrink(norm: float, limit: float) -> float:
    return 1.0 if norm <= limit else limit / norm


def _squares(g: Array) -> float:
    # In float64, for large gradients; not through BLAS, whose sum depends on the number of threads.
    return float(np.square(g, dtype=np.float64).sum())

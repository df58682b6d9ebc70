"""Noise in training: SpatialDropout1D, GaussianNoise. Dropout itself is in `simple`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm import random
from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape
from fusedlstm.layers.simple import Dropout


class SpatialDropout1D(Dropout):
    """Dropout of whole features: what is 0 at one step of a sample is 0 at all of them (Tompson et al. 2015).

    Parameters
    ----------
    rate : float
        Share of the features, from 0 to 1.
    seed : int, optional
        Makes the sequence of masks repeatable; else `fusedlstm.utils.set_random_seed` does.
    name, dtype, **kwargs
        Those of `Layer`.
    """

    def __init__(
        self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed=seed, name=name, dtype=dtype, **kwargs)

    def expected_inputs(self) -> str:
        return "(batch, steps, features)"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], 1, shape[2])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config


class GaussianNoise(Layer):
    """In training, add noise that is normal with mean 0.

    Parameters
    ----------
    stddev : float
        Its standard deviation, from 0 on.
    seed : int, optional
        Makes the sequence of draws repeatable; else `fusedlstm.utils.set_random_seed` does.
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        number = isinstance(stddev, int | float | np.number) and not isinstance(stddev, bool)
        if not number or not math.isfinite(stddev) or stddev < 0:
            raise ValueError(f"{self.label}: expected stddev to be a finite number from 0 on, got {stddev!r}")
        self.stddev = float(stddev)
        self.seed = None if seed is None else random.check_seed(self.label, seed)
        self._generator = random.generator(self.seed)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any shape, unchanged unless `training`; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        outputs = x
        if training and self.stddev:
            noise = self._generator.standard_normal(x.shape, dtype=self.dtype.type)  # type: ignore[arg-type]
            noise *= self.dtype.type(self.stddev)
            outputs = placement.beside(noise, x)
            outputs += x
        if not (training if need_backward is None else need_backward):
            return outputs, None
        return outputs, lambda d_outputs: self.check_gradient("y", d_outputs, outputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}

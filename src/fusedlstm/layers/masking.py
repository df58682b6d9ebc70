"""The masking layer: steps that hold nothing but one value are not to be used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array


class Masking(Layer):
    """Pass the inputs (B,T,F) on with a mask: False, and the step set to 0, where all features are `mask_value`.

    Parameters
    ----------
    mask_value : float
    **kwargs
        Those of `Layer`.
    """

    makes_mask = True
    looks_at_inputs = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(mask_value, bool) or not isinstance(mask_value, int | float | np.number):
            raise TypeError(f"{self.label}: expected mask_value to be a number, got {mask_value!r}")
        if math.isnan(mask_value):
            raise ValueError(f"{self.label}: expected mask_value to be a number that equals itself, got nan")
        self.mask_value = float(mask_value)

    def expected_inputs(self) -> str:
        return "(batch, ..., features)"

    def fits(self, shape: Shape) -> bool:
        return len(shape) >= 2

    def compute_mask(self, inputs: Any, mask: Any = None) -> Array:
        """(B,T), True for each step with a value other than `mask_value`; an earlier mask does not count."""
        x = real_array(self.label, "inputs", inputs).astype(self.dtype, copy=False)
        used: Array = placement.fetch((x != self.dtype.type(self.mask_value)).any(axis=-1))
        return used

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B, ..., F), with 0 in the masked steps; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        used = placement.beside(self.compute_mask(inputs)[..., None], x)
        outputs = np.where(used, x, self.dtype.type(0))
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            return np.where(used, self.check_gradient("y", d_outputs, outputs.shape), self.dtype.type(0))

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}

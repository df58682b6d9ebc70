"""TimeDistributed: one layer for each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array, steps_as_rows


class TimeDistributed(Layer):
    """A layer, with the same weights, on each step of the inputs: (B,T,...) -> (B,T,...).

    All steps run in one call of the layer, as a batch of B T samples. The weights are the layer's.

    Parameters
    ----------
    layer : Layer
        Of one input and one output.
    **kwargs
        Those of `Layer`.

    Notes
    -----
    A mask (B,T) goes on to the outputs. The layer gets its part of a mask that has all axes of the inputs but the
    last, so (B,T) for inputs (B,T,F), or (B,T,S) for (B,T,S,F); where the layer ends the latter, a step of the outputs
    is valid if any part of it was. What the layer takes over its batch (the moments of BatchNormalization, a random
    mask) is taken over all steps together. Its `activity_regularizer` counts, over all steps, which in Keras it
    does not. dtype is the layer's if not given.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"TimeDistributed: expected layer to be a layer, got {layer!r}")
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        if self.dtype != layer.dtype:
            raise ValueError(f"{self.label}: expected dtype {layer.dtype}, that of {layer.label}, got {self.dtype}")
        self.layer = layer
        self.makes_mask = layer.makes_mask
        self.takes_integers = layer.takes_integers

    def expected_inputs(self) -> str:
        return f"(batch, steps, ...) with inputs of {self.layer.label} at each step"

    def fits(self, shape: Shape) -> bool:
        return len(shape) >= 2

    @staticmethod
    def _folded_shape(shape: Shape) -> Shape:
        """That of what the layer gets, all steps as one batch."""
        batch, steps, *rest = shape
        return (None if batch is None or steps is None else batch * steps, *rest)

    def build(self, input_shape: Any) -> None:
        """Build the layer, for inputs (B,T,...) of which it gets (B T, ...)."""
        shape = self._folded_shape(self.check_shape(input_shape))
        if not self.layer.built:
            self.layer.build(shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self.check_shape(input_shape)
        inner = self.layer.compute_output_shape(self._folded_shape(shape))
        if isinstance(inner, list):
            raise ValueError(f"{self.label}: expected a layer of one output, {self.layer.label} has {len(inner)}")
        return (*shape[:2], *inner[1:])

    def _folded_mask(self, mask: Any, shape: tuple[int, ...]) -> tuple[Array | None, Array | None]:
        """The mask as an array, and what of it the layer gets."""
        if mask is None:
            return None, None
        rank = max(2, min(np.ndim(mask), len(shape) - 1))
        checked = self.check_mask(mask, shape[:rank])
        inner = checked.reshape(math.prod(shape[:2]), *shape[2:rank]) if checked.ndim == len(shape) - 1 else None
        return checked, inner

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """(B,T), or of more axes if the layer makes or keeps such a mask."""
        array = placement.as_array(inputs)
        outer, inner = self._folded_mask(mask, array.shape)
        # A mask (B,T) is the outputs' too, whatever the layer makes of its steps.
        if self.layer.makes_mask or (inner is not None and inner.ndim > 1):
            result = self.layer.compute_mask(array.reshape(math.prod(array.shape[:2]), *array.shape[2:]), inner)
            if result is not None:
                return result.reshape(*array.shape[:2], *result.shape[1:])
        return None if outer is None else outer.any(axis=tuple(range(2, outer.ndim)))

    def check_inputs(self, inputs: Any) -> Array:
        array = real_array(self.label, "inputs", inputs)  # the layer casts it, or, like Embedding, does not
        shape = self.check_shape(array.shape)
        self.layer.check_shape(self._folded_shape(shape))
        if not self.built:
            self.build(shape)
        return array

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,...) -> (B,T,...); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        _, inner_mask = self._folded_mask(mask, x.shape)
        folded = x.reshape(math.prod(x.shape[:2]), *x.shape[2:])
        with steps_as_rows(x.shape[1]):
            y, inner_backward = self.layer.forward(
                folded, training, inner_mask, need_backward=need_backward, need_d_inputs=need_d_inputs
            )
            if self.layer.activity_regularizer is not None:
                inner_backward = self.layer.penalize(y, inner_backward)
        if isinstance(y, list):
            raise ValueError(f"{self.label}: expected a layer of one output, {self.layer.label} has {len(y)}")
        outputs = y.reshape(*x.shape[:2], *y.shape[1:])
        if inner_backward is None:
            return outputs, None

        def backward(d_outputs: Any) -> Array | None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape)
            d_x: Array | None = inner_backward(d_y.reshape(y.shape))
            self.gradients = self.layer.gradients if self.trainable else []
            return None if d_x is None else d_x.reshape(x.shape)

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        from fusedlstm.model_config import layer_configs

        return {**super().get_config(), "layer": layer_configs([self.layer])[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> TimeDistributed:
        """A layer from what `get_config` gave; `custom_objects` has, by its name, a class not of this package."""
        from fusedlstm.model_config import make_layers, owner_of

        rest = {name: value for name, value in config.items() if name != "layer"}
        return cls(make_layers(owner_of(cls, config), [config["layer"]], custom_objects)[0], **rest)

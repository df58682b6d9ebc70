"""Layers without weights: Dropout, Activation, Flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import activations, random
from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape
from fusedlstm.layers.shared import EndsMask


class Dropout(Layer):
    """In training, set a random share of the inputs to 0 and divide the others by what share remains.

    Parameters
    ----------
    rate : float
        The share, from 0 to 1.
    noise_shape : tuple of int or None, optional
        Shape of the random mask, broadcast against the inputs: 1 to drop along an axis together, None for the
        inputs' size.
    seed : int, optional
        Makes the sequence of masks repeatable; else `fusedlstm.utils.set_random_seed` does.
    **kwargs
        Those of `Layer`.
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate = self.fraction("rate", rate)
        self.noise_shape = None if noise_shape is None else self._check_dimensions("noise_shape", noise_shape)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise ValueError(f"{self.label}: expected seed to be an integer from 0 on, got {seed!r}")
        self.seed = seed
        self._generator = random.generator(seed)

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.noise_shape is None:
            return shape
        noise = self.noise_shape
        if len(noise) != len(shape) or any(n not in (None, 1, size) for n, size in zip(noise, shape, strict=True)):
            raise ValueError(f"{self.label}: expected inputs that broadcast with noise_shape {noise}, got {shape}")
        return tuple(size if n is None else n for n, size in zip(noise, shape, strict=True))

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
        keep = training if need_backward is None else need_backward
        if not training or self.rate == 0:
            return x, (lambda d_outputs: d_outputs) if keep else None
        drawn = random.dropout_factors(self._generator, self._noise(x.shape), self.rate, self.dtype)
        factors = placement.beside(drawn, x)
        outputs = x * factors
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_y: Array = self.check_gradient("y", d_outputs, outputs.shape)
            return d_y * factors

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    activation : str, Activation or function
        See `fusedlstm.activations.get`.
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation: activations.Activation = self.find(activations.get, "activation", activation)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any shape; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        keep = training if need_backward is None else need_backward
        if keep:
            self.activation.require_derivative(f"{self.label}: activation")
        y = self.activation.forward(x)
        if not keep:
            return y, None

        def backward(d_outputs: Any) -> Array:
            return self.activation.backward(self.check_gradient("y", d_outputs, y.shape), x, y)

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Flatten(EndsMask):
    """All axes but the batch's in one: (B, ...) -> (B, product); (B,) -> (B, 1).

    A mask does not fit the outputs and is dropped, with a warning.

    Parameters
    ----------
    data_format : {None, "channels_last"}
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if data_format not in (None, "channels_last"):
            raise ValueError(f"{self.label}: expected data_format None or 'channels_last', got {data_format!r}")

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, *sizes = self.check_shape(input_shape)
        known = [size for size in sizes if size is not None]
        return (batch, math.prod(known) if len(known) == len(sizes) else None)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B, ...) -> (B, product); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        outputs = x.reshape(len(x), math.prod(x.shape[1:]))
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_y: Array = self.check_gradient("y", d_outputs, outputs.shape)
            return d_y.reshape(x.shape)

        return outputs, backward

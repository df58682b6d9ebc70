"""The dense layer: one matrix product on the last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm import activations, backends, constraints, initializers, regularizers
from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape
from fusedlstm.variables import Variable


class Dense(Layer):
    """``activation(x W + b)`` on the last axis of inputs of any rank from 2 on.

    The weights are kernel (inputs, units) and bias (units,).

    Parameters
    ----------
    units : int
        Size of the outputs' last axis.
    activation : str, Activation or function, optional
        See `fusedlstm.activations.get`.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties on the weights; part of the loss.
    activity_regularizer : str or Regularizer, optional
        A penalty on the outputs.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What the weights are made to keep to after each update.
    **kwargs
        Those of `Layer`: name, dtype, trainable, input_shape ...
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = self.positive_integer("units", units)
        self.activation: activations.Activation = self.find(activations.get, "activation", activation)
        self.use_bias = self.boolean("use_bias", use_bias)
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.kernel_regularizer = self.regularizer("kernel_regularizer", kernel_regularizer)
        self.bias_regularizer = self.regularizer("bias_regularizer", bias_regularizer)
        self.kernel_constraint = self.constraint("kernel_constraint", kernel_constraint)
        self.bias_constraint = self.constraint("bias_constraint", bias_constraint)
        self.inputs: int | None = None  # size of the inputs' last axis, once built

    def expected_inputs(self) -> str:
        return f"(batch, ..., {'features' if self.inputs is None else self.inputs})"

    def fits(self, shape: Shape) -> bool:
        return len(shape) >= 2 and (self.inputs is None or shape[-1] == self.inputs or shape[-1] is None)

    def build(self, input_shape: Any) -> None:
        """Create kernel and, with `use_bias`, bias, for inputs whose last axis is known."""
        inputs = self.check_shape(input_shape)[-1]
        if inputs is None:
            raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(input_shape)}")
        self.kernel = self.new_weight(
            "kernel",
            (inputs, self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias: Variable | None = None
        variables = [self.kernel]
        if self.use_bias:
            self.bias = self.new_weight(
                "bias",
                (self.units,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
            variables.append(self.bias)
        self.inputs = inputs
        self.set_variables(variables)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*self.check_shape(input_shape)[:-1], self.units)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(..., inputs) -> (..., units); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        keep = training if need_backward is None else need_backward
        backend, activation, kernel = backends.current(), self.activation, self.kernel.value
        if keep and activation.kernel is None:
            activation.require_derivative(f"{self.label}: activation")
        rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        z = backend.matmul(rows, kernel, None if self.bias is None else self.bias.value)
        y = z if activation.kernel == "linear" else activation.forward(z)
        outputs = y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.units)
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Array | None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape)
            d_y = d_y if d_y.ndim == 2 else d_y.reshape(y.shape)
            d_z = d_y if activation.kernel == "linear" else activation.backward(d_y, z, y)
            if self.trainable:
                self.gradients = [backend.matmul(rows.T, d_z)]
                if self.use_bias:
                    self.gradients.append(np.add.reduce(d_z, axis=0))
            else:
                self.gradients = []
            if not need_d_inputs:
                return None
            d_rows: Array = backend.matmul(d_z, kernel.T)
            return d_rows if x.ndim == 2 else d_rows.reshape(x.shape)

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }

"""Convolution over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm import activations, backends, constraints, initializers, regularizers
from fusedlstm.layers.base import Array, Backward, Shape, show_shape
from fusedlstm.layers.shared import EndsMask
from fusedlstm.layers.windows import check_data_format, pad_steps, single, window_count, windows
from fusedlstm.variables import Variable


class Conv1D(EndsMask):
    """``activation(W * x + b)``: each of the filters seen at every window of steps, (B,T,C) -> (B,windows,F).

    The weights are kernel (K, C / groups, F) and bias (F,). A mask does not fit the outputs and is dropped, with a
    warning.

    Parameters
    ----------
    filters : int
        F.
    kernel_size : int
        K, the steps of a window.
    strides : int
        From one window to the next.
    padding : {"valid", "same", "causal"}
        Whole windows only; zeros on both sides for as many windows as steps (divided by `strides`); zeros ahead, so
        that no window sees a later step than its own.
    data_format : {None, "channels_last"}
    dilation_rate : int
        From one step of a window to the next; other than 1 not with strides other than 1.
    groups : int
        So many parts of the channels and of the filters go together, each with its own.
    activation : str, Activation or function, optional
        See `fusedlstm.activations.get`.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    **kwargs
        Those of `Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int = 1,
        groups: int = 1,
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
        self.filters = self.positive_integer("filters", filters)
        self.kernel_size = self.positive_integer("kernel_size", single(kernel_size))
        self.strides = self.positive_integer("strides", single(strides))
        if padding not in ("valid", "same", "causal"):
            raise ValueError(f"{self.label}: expected padding 'valid', 'same' or 'causal', got {padding!r}")
        self.padding = padding
        check_data_format(self.label, data_format)
        self.dilation_rate = self.positive_integer("dilation_rate", single(dilation_rate))
        if self.strides > 1 and self.dilation_rate > 1:
            raise ValueError(
                f"{self.label}: expected strides or dilation_rate to be 1, got {self.strides} and {self.dilation_rate}"
            )
        self.groups = self.positive_integer("groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"{self.label}: expected filters to divide into {self.groups} groups, got {self.filters}")
        self.activation: activations.Activation = self.find(activations.get, "activation", activation)
        self.use_bias = self.boolean("use_bias", use_bias)
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.kernel_regularizer = self.regularizer("kernel_regularizer", kernel_regularizer)
        self.bias_regularizer = self.regularizer("bias_regularizer", bias_regularizer)
        self.kernel_constraint = self.constraint("kernel_constraint", kernel_constraint)
        self.bias_constraint = self.constraint("bias_constraint", bias_constraint)
        self.channels: int | None = None  # C, once built

    def expected_inputs(self) -> str:
        channels = "channels" if self.channels is None else self.channels
        least = f" of at least {self._span} steps" if self.padding == "valid" else ""
        return f"(batch, steps, {channels}){least}"

    @property
    def _span(self) -> int:
        return self.dilation_rate * (self.kernel_size - 1) + 1

    def fits(self, shape: Shape) -> bool:
        return (
            len(shape) == 3
            and (self.channels is None or shape[2] is None or shape[2] == self.channels)
            and (self.padding != "valid" or shape[1] is None or shape[1] >= self._span)
        )

    def _windows_of(self, steps: int) -> tuple[int, int, int]:
        return window_count(steps, self.kernel_size, self.strides, self.padding, self.dilation_rate)

    def build(self, input_shape: Any) -> None:
        """Create kernel and, with `use_bias`, bias, for inputs (B,T,C) of a known C."""
        channels = self.check_shape(input_shape)[2]
        if channels is None:
            raise ValueError(f"{self.label}: expected a known number of channels, got {show_shape(input_shape)}")
        if channels % self.groups:
            raise ValueError(f"{self.label}: expected channels that divide into {self.groups} groups, got {channels}")
        shape = (self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.new_weight(
            "kernel",
            shape,
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias: Variable | None = None
        variables = [self.kernel]
        if self.use_bias:
            self.bias = self.new_weight(
                "bias",
                (self.filters,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
            variables.append(self.bias)
        self.channels = channels
        self.set_variables(variables)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, steps, _ = self.check_shape(input_shape)
        return (batch, None if steps is None else self._windows_of(steps)[0], self.filters)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,C) -> (B,windows,F); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        batch, steps, channels = x.shape
        size, groups, filters, activation = self.kernel_size, self.groups, self.filters, self.activation
        keep = training if need_backward is None else need_backward
        if keep:
            activation.require_derivative(f"{self.label}: activation")
        count, ahead, behind = self._windows_of(steps)
        padded = pad_steps(x, ahead, behind)
        rows, inner = batch * count, size * channels // groups
        view = windows(padded, count, size, self.strides, self.dilation_rate)
        bias = None if self.bias is None else self.bias.value
        # One product over all windows: ours is the faster one for it, NumPy's for the two backward.
        columns: Array
        kernel: Array
        if groups == 1:
            columns = view.reshape(rows, inner)
            kernel = self.kernel.value.reshape(inner, filters)
            z = backends.current().matmul(columns, kernel, bias)
        else:
            parts = view.reshape(rows, size, groups, channels // groups).transpose(2, 0, 1, 3)
            columns = parts.reshape(groups, rows, inner)
            kernel = self.kernel.value.reshape(inner, groups, filters // groups).transpose(1, 0, 2)
            z = np.matmul(columns, kernel).transpose(1, 0, 2).reshape(rows, filters)
            z = z if bias is None else z + bias
        y = z if activation.kernel == "linear" else activation.forward(z)
        outputs = y.reshape(batch, count, filters)
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Array | None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape).reshape(y.shape)
            d_z = d_y if activation.kernel == "linear" else activation.backward(d_y, z, y)
            d_parts = d_z if groups == 1 else d_z.reshape(rows, groups, filters // groups).transpose(1, 0, 2)
            self.gradients = []
            if self.trainable:
                d_kernel = np.matmul(columns.swapaxes(-1, -2), d_parts)
                if groups > 1:
                    d_kernel = d_kernel.transpose(1, 0, 2)
                self.gradients.append(d_kernel.reshape(self.kernel.shape))
                if self.use_bias:
                    self.gradients.append(d_z.sum(axis=0))
            if not need_d_inputs:
                return None
            d_columns = np.matmul(d_parts, kernel.swapaxes(-1, -2))
            if groups > 1:
                d_columns = d_columns.reshape(groups, rows, size, channels // groups).transpose(1, 2, 0, 3)
            d_view = d_columns.reshape(batch, count, size, channels)
            d_padded = np.zeros(padded.shape, self.dtype, like=d_view)
            for k in range(size):
                first = k * self.dilation_rate
                d_padded[:, first : first + self.strides * (count - 1) + 1 : self.strides] += d_view[:, :, k]
            return d_padded[:, ahead : ahead + steps]

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }

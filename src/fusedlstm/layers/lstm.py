"""The LSTM layer: Keras's arguments and weights on the fused kernels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from fusedlstm import activations, backends, initializers
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array, show_shape
from fusedlstm.variables import Variable


class LSTM(Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000).

    For each step, with B the batch, T the steps, I the inputs' features and H the units:
    ``i, f, o = recurrent_activation(x W + h U + b)`` and ``g = activation(x W + h U + b)``, each with its own quarter
    of the weights, then ``c = f c + i g`` and ``h = o activation(c)``.

    The weights are kernel (I,4H), recurrent_kernel (H,4H) and bias (4H,), the gates in the order i f c o.

    Parameters
    ----------
    units : int
        H, the width of the output and of each state.
    activation, recurrent_activation : str
        Of the candidate and of the cell's output; of the gates. Each one of "tanh", "sigmoid", "relu", "linear" (or
        None), "hard_sigmoid", "softsign", "elu", "softplus": all run in the same kernels.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    unit_forget_bias : bool
        Start the forget gate's bias at 1, whatever `bias_initializer` gives.
    dropout, recurrent_dropout, stateful, *_regularizer, *_constraint
        Not available yet: anything but the default raises.
    return_sequences : bool
        Outputs (B,T,H), every step's, instead of the last one's (B,H).
    return_state : bool
        Outputs the list ``[y, h, c]`` with the final states (B,H).
    go_backwards : bool
        Read the steps from last to first; the outputs stay in the order in which they were computed.
    zero_output_for_mask : bool
        The output of a masked step is 0 instead of the previous output.
    seed, unroll, use_cudnn, implementation
        Accepted for the sake of programs that have them, without effect.
    **kwargs
        Those of `Layer`: name, dtype, trainable, input_shape ...

    Notes
    -----
    A mask (B,T), True where a step is to be used, goes with the call: ``layer(x, mask=mask)``. A masked step carries
    both states over; its output is the previous one, or 0 if there was none yet (even with an initial state).
    ``initial_state=[h, c]``, each (B,H), goes with the call too.
    """

    call_arguments = ("initial_state",)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: None = None,
        recurrent_regularizer: None = None,
        bias_regularizer: None = None,
        activity_regularizer: None = None,
        kernel_constraint: None = None,
        recurrent_constraint: None = None,
        bias_constraint: None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        *,
        zero_output_for_mask: bool = False,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = self.positive_integer("units", units)
        self.activation = self._kernel_activation("activation", activation)
        self.recurrent_activation = self._kernel_activation("recurrent_activation", recurrent_activation)
        self.use_bias = self.boolean("use_bias", use_bias)
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.recurrent_initializer = self.initializer("recurrent_initializer", recurrent_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.unit_forget_bias = self.boolean("unit_forget_bias", unit_forget_bias)
        for argument, value, default in (
            ("kernel_regularizer", kernel_regularizer, None),
            ("recurrent_regularizer", recurrent_regularizer, None),
            ("bias_regularizer", bias_regularizer, None),
            ("kernel_constraint", kernel_constraint, None),
            ("recurrent_constraint", recurrent_constraint, None),
            ("bias_constraint", bias_constraint, None),
            ("dropout", dropout, 0.0),
            ("recurrent_dropout", recurrent_dropout, 0.0),
            ("stateful", stateful, False),
        ):
            self.unavailable(argument, value, default)
        self.seed = seed
        self.return_sequences = self.boolean("return_sequences", return_sequences)
        self.return_state = self.boolean("return_state", return_state)
        self.go_backwards = self.boolean("go_backwards", go_backwards)
        self.unroll = self.boolean("unroll", unroll)
        self.zero_output_for_mask = self.boolean("zero_output_for_mask", zero_output_for_mask)
        self.use_cudnn = use_cudnn
        self.implementation = implementation
        self.inputs: int | None = None  # I, once built
        self._pack: tuple[Any, bool, Any] | None = None  # (what it was made from, for training, the packed weights)

    def _kernel_activation(self, argument: str, identifier: Any) -> activations.Activation:
        activation = self.find(activations.get, argument, identifier)
        if activation.kernel is None:
            raise ValueError(
                f"{self.label}: {argument} {activation.name!r} is not available in the recurrent kernels yet, expected "
                "'tanh', 'sigmoid', 'relu', 'linear', 'hard_sigmoid', 'softsign', 'elu' or 'softplus'"
            )
        return activation

    # Shapes and weights.

    def expected_inputs(self) -> str:
        return f"(batch, steps, {'features' if self.inputs is None else self.inputs})"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3 and (self.inputs is None or shape[2] == self.inputs or shape[2] is None)

    def build(self, input_shape: Any) -> None:
        """Create kernel, recurrent_kernel and, with `use_bias`, bias.

        Parameters
        ----------
        input_shape : tuple
            (B,T,I); only I has to be known.
        """
        inputs = self.check_shape(input_shape)[2]
        if inputs is None:
            raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(input_shape)}")
        units = self.units
        self.kernel = self.new_weight("kernel", (inputs, 4 * units), self.kernel_initializer)
        self.recurrent_kernel = self.new_weight("recurrent_kernel", (units, 4 * units), self.recurrent_initializer)
        self.bias: Variable | None = None
        variables = [self.kernel, self.recurrent_kernel]
        if self.use_bias:
            self.bias = self.new_weight("bias", (4 * units,), self.bias_initializer)
            if self.unit_forget_bias:
                self.bias.update()[units : 2 * units] = 1
            variables.append(self.bias)
        self.inputs = inputs
        self.set_variables(variables)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, steps, _ = self.check_shape(input_shape)
        state = (batch, self.units)
        y = (batch, steps, self.units) if self.return_sequences else state
        return [y, state, state] if self.return_state else y

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        y_mask = mask if self.return_sequences else None
        return [y_mask, None, None] if self.return_state else y_mask

    def _packed(self, backend: ModuleType, training: bool) -> Any:
        """The weights as the kernels read them; packed anew only when they, or the backend, changed."""
        bias = self.bias
        key = (
            backend,
            getattr(backend, "generation", 0),
            self.kernel.version,
            self.recurrent_kernel.version,
            bias.version if bias is not None else 0,
        )
        # One tuple, read and replaced in one go: several threads may run the layer at once.
        cached = self._pack
        if cached is not None and cached[0] == key and cached[1] >= training:
            return cached[2]
        packed = backend.lstm_pack(
            self.kernel.value, self.recurrent_kernel.value, bias.value if bias is not None else None, training
        )
        self._pack = (key, training, packed)
        return packed

    def _check_state(self, initial_state: Any, batch: int) -> list[Array]:
        if not isinstance(initial_state, list | tuple) or len(initial_state) != 2:
            got = (
                f"{len(initial_state)} arrays"
                if isinstance(initial_state, list | tuple)
                else type(initial_state).__name__
            )
            raise ValueError(f"{self.label}: expected initial_state to be a list [h, c], got {got}")
        states = []
        for name, state in zip("hc", initial_state, strict=True):
            array = real_array(self.label, f"initial_state {name}", state)
            if array.shape != (batch, self.units):
                expected = show_shape((batch, self.units))
                raise ValueError(
                    f"{self.label}: expected initial_state {name} {expected}, got {show_shape(array.shape)}"
                )
            states.append(np.ascontiguousarray(array, self.dtype))
        return states

    # Forward and backward.

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        initial_state: Any = None,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        """Run over a batch of sequences.

        Parameters
        ----------
        inputs : (B,T,I) array
        training : bool
        mask : (B,T) array of bool, optional
            True: use the step.
        initial_state : [h, c], optional
            Each (B,H); zeros if None.
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : (B,T,H) or (B,H) array, or with `return_state` a list [y, h, c]
        backward : function or None
            Takes the gradient of the outputs (any of a list's may be None: zero); returns that of the inputs, or
            [d_inputs, d_h, d_c] if there was an initial state.
        """
        x = self.check_inputs(inputs)
        if mask is not None:
            mask = self.check_mask(mask, x.shape[:2])
        h0, c0 = (None, None) if initial_state is None else self._check_state(initial_state, len(x))
        if self.go_backwards:
            x = x[:, ::-1]
            mask = mask if mask is None else mask[:, ::-1]
        backend = backends.current()
        keep = training if need_backward is None else need_backward
        y, h, c, saved = backend.lstm_forward(
            x,
            self._packed(backend, keep),
            h0=h0,
            c0=c0,
            mask=mask,
            activation=self.activation.kernel,
            recurrent_activation=self.recurrent_activation.kernel,
            return_sequences=self.return_sequences,
            zero_output_for_mask=self.zero_output_for_mask,
            training=keep,
        )
        outputs = [y, h, c] if self.return_state else y
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Any:
            nonlocal saved
            if saved is None:
                raise RuntimeError(f"{self.label}: backward was already called for this forward call")
            several = self.return_state
            d_y, d_h, d_c = d_outputs if several else (d_outputs, None, None)
            d_y = self.check_gradient("y", d_y, y.shape, optional=several)
            d_h = self.check_gradient("h", d_h, h.shape, optional=True)
            d_c = self.check_gradient("c", d_c, c.shape, optional=True)
            consumed, saved = saved, None
            d_x, d_kernel, d_recurrent, d_bias, d_h0, d_c0 = backend.lstm_backward(
                consumed, d_y, d_h, d_c, need_d_x=need_d_inputs
            )
            if self.trainable:
                self.gradients = [d_kernel, d_recurrent, d_bias] if self.use_bias else [d_kernel, d_recurrent]
            else:
                self.gradients = []
            if self.go_backwards and d_x is not None:
                d_x = d_x[:, ::-1]
            return d_x if h0 is None else [d_x, d_h0, d_c0]

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
            "seed": self.seed,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
        }

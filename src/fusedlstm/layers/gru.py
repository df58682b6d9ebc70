"""The GRU layer: Keras's arguments and weights on the fused kernels."""

from __future__ import annotations

from typing import Any

from fusedlstm.layers.recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    With h' the state before the step and s the recurrent activation, ``z = s(x W_z + h' U_z + b_z)``,
    ``r = s(x W_r + h' U_r + b_r)``, ``g = activation(x W_h + r (h' U_h + d_h) + b_h)``, or without `reset_after`
    ``g = activation(x W_h + (r h') U_h + b_h)``, then ``h = z h' + (1 - z) g``.

    The weights are kernel (I,3H), recurrent_kernel (H,3H) and bias (2,3H), without `reset_after` (3H,), the gates in
    the order z r h. With `return_state` the outputs are [y, h].

    Parameters
    ----------
    recurrent_activation : str, Activation or function
        Of the gates z and r.
    reset_after : bool
        Apply the reset gate after the product with the recurrent weights, or ahead of it.
    units, activation ... zero_output_for_mask
        As in `Recurrent`; in this order, which is Keras's.
    """

    kernels = "gru"
    gates = 3
    activation_names = ("activation", "recurrent_activation")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        *,
        zero_output_for_mask: bool = False,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            implementation=implementation,
            **kwargs,
        )
        self.recurrent_activation = self.find_activation("recurrent_activation", recurrent_activation)
        self.use_cudnn = use_cudnn
        self.reset_after = self.boolean("reset_after", reset_after)

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def pack_options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after}

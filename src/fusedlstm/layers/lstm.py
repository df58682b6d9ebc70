"""The LSTM layer: Keras's arguments and weights on the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fusedlstm import activations, initializers
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.variables import Variable

#: What `removed` may name, and what the literature calls such an LSTM (Greff et al. 2015).
REMOVABLE = {
    "input_gate": "NIG",
    "forget_gate": "NFG",
    "output_gate": "NOG",
    "input_activation": "NIAF",
    "output_activation": "NOAF",
}


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000).

    For each step ``i, f, o = recurrent_activation(x W + h' U + b)`` and ``g = activation(x W + h' U + b)``, each with
    its own quarter of the weights and h', c' the states before the step, then ``c = f c' + i g`` and
    ``h = o activation(c)``.

    The weights are kernel (I,4H), recurrent_kernel (H,4H) and bias (4H,), the gates in the order i f c o, and with
    `peephole` peephole_kernel (3,H). With `return_state` the outputs are [y, h, c].

    Parameters
    ----------
    recurrent_activation : str
        Of the gates.
    unit_forget_bias : bool
        Start the forget gate's bias at 1, whatever `bias_initializer` gives.
    peephole : bool
        The gates see the cell: i and f the old one, o the new one, each unit its own (Gers and Schmidhuber 2000). The
        weights start at 0.
    coupled_gates : bool
        ``f = 1 - i`` (CIFG; Greff et al. 2015). The forget gate's weights are there and have no effect.
    removed : sequence of str
        Some of "input_gate", "forget_gate", "output_gate" (that gate is 1: NIG, NFG, NOG), "input_activation",
        "output_activation" (the identity takes its place: NIAF, NOAF). Weights of a removed gate have no effect.
    cell_clip : float, optional
        Clip c to plus or minus this.
    units, activation ... zero_output_for_mask
        As in `Recurrent`; in this order, which is Keras's.
    """

    kernels = "lstm"
    gates = 4
    state_names = ("h", "c")

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
        use_cudnn: Any = "auto",
        *,
        zero_output_for_mask: bool = False,
        implementation: int = 2,
        peephole: bool = False,
        coupled_gates: bool = False,
        removed: Sequence[str] = (),
        cell_clip: float | None = None,
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
        self.recurrent_activation = self.kernel_activation("recurrent_activation", recurrent_activation)
        self.use_cudnn = use_cudnn
        self.unit_forget_bias = self.boolean("unit_forget_bias", unit_forget_bias)
        self.peephole = self.boolean("peephole", peephole)
        self.coupled_gates = self.boolean("coupled_gates", coupled_gates)
        if not isinstance(removed, str | list | tuple):
            raise TypeError(f"{self.label}: expected removed to be a list of names, got {removed!r}")
        self.removed = (removed,) if isinstance(removed, str) else tuple(removed)
        for name in self.removed:
            if name not in REMOVABLE:
                choices = ", ".join(map(repr, REMOVABLE))
                raise ValueError(f"{self.label}: expected removed to be some of {choices}, got {name!r}")
        if self.coupled_gates and {"input_gate", "forget_gate"} & set(self.removed):
            raise ValueError(
                f"{self.label}: expected removed without 'input_gate' and 'forget_gate', as coupled_gates=True"
            )
        if cell_clip is not None and not (isinstance(cell_clip, int | float) and 0 < cell_clip < float("inf")):
            raise ValueError(f"{self.label}: expected cell_clip to be a positive number or None, got {cell_clip!r}")
        self.cell_clip = cell_clip

    def more_weights(self) -> list[Variable]:
        self.peephole_kernel: Variable | None = None
        if self.peephole:
            self.peephole_kernel = self.new_weight("peephole_kernel", (3, self.units), initializers.get("zeros"))
        return [] if self.peephole_kernel is None else [self.peephole_kernel]

    def build(self, input_shape: Any) -> None:
        """Create the weights; see `Recurrent.build`."""
        super().build(input_shape)
        if self.bias is not None and self.unit_forget_bias:
            self.bias.update()[self.units : 2 * self.units] = 1

    def kernel_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"recurrent_activation": self.recurrent_activation.kernel}
        if self.peephole_kernel is not None:
            options["peepholes"] = self.peephole_kernel.value
        if self.coupled_gates or self.removed:
            options.update(coupled_gates=self.coupled_gates, removed=self.removed)
        if self.cell_clip is not None:
            options["cell_clip"] = float(self.cell_clip)
        return options

    def get_config(self) -> dict[str, Any]:
        own = {"recurrent_activation": activations.serialize(self.recurrent_activation)}
        own |= {
            name: getattr(self, name)
            for name in ("unit_forget_bias", "peephole", "coupled_gates", "removed", "cell_clip")
        }
        return {**super().get_config(), **own}

"""The LSTM layer: Keras's arguments and weights on the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import initializers, random
from fusedlstm.layers.base import Array
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

    The weights are kernel (I,4H), recurrent_kernel (H,4H) and bias (4H,), the gates in the order i f c o, then those
    of the options, in the options' order. With `return_state` the outputs are [y, h, c]. `docs/lstm-variants.md` has
    the equations of the options; any of them go together, but for what is said at `removed`.

    Parameters
    ----------
    recurrent_activation : str, Activation or function
        Of the gates.
    unit_forget_bias : bool
        Start the forget gate's bias at 1, whatever `bias_initializer` gives.
    peephole : bool
        The gates see the cell: i and f the old one, o the new one, each unit its own (Gers and Schmidhuber 2000). The
        weights start at 0.
    coupled_gates : bool
        ``f = 1 - i`` (CIFG; Greff et al. 2015). The forget gate's weights are there and have no effect,
        but on the statistics of `layer_norm`.
    removed : sequence of str
        Some of "input_gate", "forget_gate", "output_gate" (that gate is 1: NIG, NFG, NOG), "input_activation",
        "output_activation" (the identity takes its place: NIAF, NOAF). Weights of a removed gate have no effect, but on
        the statistics of `layer_norm`.
    cell_clip : float, optional
        Clip c to plus or minus this.
    full_gate_recurrence : bool
        The gates see all gates of the step before (FGR; Greff et al. 2015): weights gate_recurrence_kernel (3H,3H), in
        the order i f o, from the old ones (rows) to the new (columns). The old gates are a third state, "gates" (B,3H),
        after h and c. Initializer, regularizer and constraint are those of recurrent_kernel.
    layer_norm : bool
        Layer normalisation (Ba, Kiros and Hinton 2016) of the sums over x and over the state, all 4H of each together,
        and of c on its way to the output: weights normalization_kernel (10,H), the gains of the sums over x and over
        the state, four rows each, then gain and shift of c. The gains start at 1, the shift at 0.
    layer_norm_epsilon : float
        Added to the variances.
    projection : int, optional
        P, the width of h and of the outputs (LSTMP; Sak, Senior and Beaufays 2014): ``h = (o activation(c)) W_p`` with
        weights projection_kernel (H,P); recurrent_kernel is (P,4H). Initializer, regularizer and constraint of
        projection_kernel are those of kernel.
    zoneout_h, zoneout_c : float
        In training, the share of h and of c that stays as it was at a step, drawn for each unit and step; otherwise old
        and new are mixed in this ratio (zoneout; Krueger et al. 2017).
    units, activation ... zero_output_for_mask
        As in `Recurrent`; in this order, which is Keras's.
    """

    kernels = "lstm"
    gates = 4
    activation_names = ("activation", "recurrent_activation")
    peephole_kernel: Variable | None = None
    gate_recurrence_kernel: Variable | None = None
    projection_kernel: Variable | None = None
    normalization_kernel: Variable | None = None

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
        full_gate_recurrence: bool = False,
        layer_norm: bool = False,
        layer_norm_epsilon: float = 1e-5,
        projection: int | None = None,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
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
        number = isinstance(cell_clip, int | float | np.number) and not isinstance(cell_clip, bool)
        if cell_clip is not None and not (number and 0 < cell_clip < float("inf")):
            raise ValueError(f"{self.label}: expected cell_clip to be a positive number or None, got {cell_clip!r}")
        self.cell_clip = None if cell_clip is None else float(cell_clip)
        self.full_gate_recurrence = self.boolean("full_gate_recurrence", full_gate_recurrence)
        self.layer_norm = self.boolean("layer_norm", layer_norm)
        self.layer_norm_epsilon = self.positive_number("layer_norm_epsilon", layer_norm_epsilon)
        self.projection = None if projection is None else self.positive_integer("projection", projection)
        self.zoneout_h = self.fraction("zoneout_h", zoneout_h)
        self.zoneout_c = self.fraction("zoneout_c", zoneout_c)
        if self._generator is None and (self.zoneout_h or self.zoneout_c):
            self._generator = random.generator(seed)
        self.state_sizes = {"h": self.projection or self.units, "c": self.units}
        if self.full_gate_recurrence:
            self.state_sizes["gates"] = 3 * self.units

    def make_weights(self, inputs: int) -> dict[str, Variable]:
        made, units = super().make_weights(inputs), self.units
        if self.peephole:
            made["peepholes"] = self.new_weight("peephole_kernel", (3, units), initializers.get("zeros"))
        if self.full_gate_recurrence:
            made["gate_recurrence"] = self._weight("gate_recurrence_kernel", (3 * units, 3 * units), "recurrent")
        if self.projection is not None:
            made["projection"] = self._weight("projection_kernel", (units, self.projection), "kernel")
        if self.layer_norm:
            made["normalization"] = self.new_weight("normalization_kernel", (10, units), _gains_and_shift)
        return made

    def build(self, input_shape: Any) -> None:
        """Create the weights; see `Recurrent.build`."""
        super().build(input_shape)
        if self.bias is not None and self.unit_forget_bias:
            self.bias.update()[self.units : 2 * self.units] = 1

    def kernel_options(self, training: bool) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.coupled_gates or self.removed:
            options.update(coupled_gates=self.coupled_gates, removed=self.removed)
        if self.cell_clip is not None:
            options["cell_clip"] = self.cell_clip
        if self.layer_norm:
            options["epsilon"] = self.layer_norm_epsilon
        if not training and (self.zoneout_h or self.zoneout_c):
            options.update(zoneout_h=self.zoneout_h, zoneout_c=self.zoneout_c)
        return options

    def _masks(self, batch: int, steps: int) -> dict[str, Array]:
        """Also those of zoneout, (T,B,P) and (T,B,H), true where a unit stays as it was."""
        masks = super()._masks(batch, steps)
        for name, rate, width in (
            ("zoneout_h_mask", self.zoneout_h, self.state_sizes["h"]),
            ("zoneout_c_mask", self.zoneout_c, self.units),
        ):
            if rate:
                assert self._generator is not None
                masks[name] = random.chosen(self._generator, (steps, batch, width), rate)
        return masks

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in (
            "unit_forget_bias", "peephole", "coupled_gates", "removed", "cell_clip", "full_gate_recurrence",
            "layer_norm", "layer_norm_epsilon", "projection", "zoneout_h", "zoneout_c",
        ):  # fmt: skip
            config[name] = getattr(self, name)
        return config


def _gains_and_shift(shape: tuple[int, ...], dtype: str) -> Array:
    """The first values of normalization_kernel (10,H)."""
    values = np.ones(shape, dtype)
    values[9] = 0
    return values

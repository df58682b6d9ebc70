"""What our LSTM can do beside the plain call: the variants of docs/lstm-variants.md, and what goes with a call."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from cases import Array, Case


class Option(NamedTuple):
    layer: Mapping[str, Any] = MappingProxyType({})  # its arguments
    mask: bool = False
    initial_state: bool = False
    cell: str = ""  # of RNN, instead of the LSTM layer

    def missing(self) -> str:
        """Which of them the layer does not have; "" if it has all."""
        import inspect

        from fusedlstm import layers

        if self.cell:
            return "" if hasattr(layers, self.cell) else self.cell
        known = {*inspect.signature(layers.LSTM).parameters, "dtype"}
        return ", ".join(sorted(set(self.layer) - known))

    def call(self, case: Case, dtype: Any) -> dict[str, Any]:
        """Arguments of a call."""
        rng = np.random.default_rng(3)
        arguments: dict[str, Any] = {}
        if self.mask:
            arguments["mask"] = rng.random((case.batch, case.steps)) < 0.95
        if self.initial_state:
            states: list[Array] = [rng.uniform(-0.5, 0.5, (case.batch, case.units)).astype(dtype) for _ in "hc"]
            arguments["initial_state"] = states
        return arguments


OPTIONS = {
    "": Option(),
    "mask": Option(mask=True),
    "dropout, recurrent dropout": Option({"dropout": 0.2, "recurrent_dropout": 0.2, "seed": 1}),
    "activation relu": Option({"activation": "relu"}),
    "initial state": Option(initial_state=True),
    "reversed time": Option({"go_backwards": True}),
    "float64": Option({"dtype": "float64"}),
    "peepholes": Option({"peephole": True}),
    "coupled gates (CIFG)": Option({"coupled_gates": True}),
    "no input gate (NIG)": Option({"removed": ["input_gate"]}),
    "no forget gate (NFG)": Option({"removed": ["forget_gate"]}),
    "no output gate (NOG)": Option({"removed": ["output_gate"]}),
    "no input activation (NIAF)": Option({"removed": ["input_activation"]}),
    "no output activation (NOAF)": Option({"removed": ["output_activation"]}),
    "cell clip": Option({"cell_clip": 1.0}),
    "full gate recurrence": Option({"full_gate_recurrence": True}),
    "projection to a half": Option({"projection": 64}),
    "layer normalisation": Option({"layer_norm": True}),
    "zoneout": Option({"zoneout_h": 0.1, "zoneout_c": 0.1, "seed": 1}),
    "MUT1 (I = H)": Option(cell="MUT1"),
    "MUT2 (I = H)": Option(cell="MUT2"),
    "MUT3 (I = H)": Option(cell="MUT3"),
}

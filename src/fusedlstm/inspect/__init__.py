"""What goes on inside recurrent layers: how gradients flow back, what gates do, what cells follow.

All of it looks at a model as it predicts, without dropout, and leaves the model as it is.
"""

from fusedlstm.inspect.cells import CellRanking, rank_cells, text_features
from fusedlstm.inspect.gates import GateActivations, GateSaturation, gate_activations, gate_saturation
from fusedlstm.inspect.gradients import GradientFlow, gradient_flow
from fusedlstm.inspect.page import color_text

__all__ = [
    "CellRanking",
    "GateActivations",
    "GateSaturation",
    "GradientFlow",
    "color_text",
    "gate_activations",
    "gate_saturation",
    "gradient_flow",
    "rank_cells",
    "text_features",
]

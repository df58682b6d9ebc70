"""How the gradient of the loss flows back through the steps of recurrent layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.inspect.observing import Observed
from fusedlstm.layers.base import Array


class GradientFlow(NamedTuple):
    """dL/dh_t, the gradient of the loss with respect to the state h after each step, for each recurrent layer.

    It counts both ways in which h_t matters: as the step's output and, through the recurrent weights, in all later
    steps; the cell state c_t is held fixed.

    Attributes
    ----------
    loss : float
    gradients : dict of str to (B,T,H) array
        By the layer's name; "outer/inner" for one inside another, such as "bidirectional/forward_lstm". t counts the
        steps of the inputs, also of a layer that goes back. 0 at masked steps.
    norms : dict of str to (T,) array
        The norm of dL/dh_t over batch and units, of each t (Pascanu, Mikolov and Bengio 2013).
    """

    loss: float
    gradients: dict[str, Array]
    norms: dict[str, Array]

    def plot(self, ax: Any = None, path: str | Path | None = None, label: str | None = None) -> Any:
        """Draw the norms over the steps on a logarithmic scale, a line for each layer.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            To draw into, beside what is there: another model's flow, say.
        path : str or Path, optional
            Where to write the picture.
        label : str, optional
            What to call the lines, ahead of the layers' names; alone, if there is one layer.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from fusedlstm.plots import diagnostics

        return diagnostics.gradient_flow(self.norms, ax=ax, path=path, label=label)


def gradient_flow(model: Any, x: Any, y: Any, sample_weight: Any = None) -> GradientFlow:
    """The gradient of the loss with respect to the states of all recurrent layers, step by step.

    Makes vanishing and exploding gradients visible: norms that shrink, or grow, by a factor a step on the way back.

    Parameters
    ----------
    model : Model or Sequential
        Compiled with a loss.
    x, y, sample_weight : array
        A batch, as for `fit`; a mask in the model counts.

    Returns
    -------
    GradientFlow

    Raises
    ------
    RuntimeError
        Before `compile`.
    ValueError
        If the model has no LSTM, GRU or SimpleRNN, or the data do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.inspect import gradient_flow
    >>> from fusedlstm.layers import LSTM, Dense, Input
    >>> from fusedlstm.models import Sequential
    >>> model = Sequential([Input((10, 1)), LSTM(16, name="lstm"), Dense(1)])
    >>> model.compile(loss="mse")
    >>> flow = gradient_flow(model, np.ones((4, 10, 1)), np.ones((4, 1)))
    >>> flow.norms["lstm"].shape, flow.gradients["lstm"].shape
    ((10,), (4, 10, 16))
    """
    observed = Observed("gradient_flow", model)
    loss, _ = observed.model.compute_gradients(x, y, sample_weight, training=False)
    # A layer that the loss does not depend on is never asked for its gradient.
    gradients = {
        name: np.zeros_like(seen.states["h"]) if seen.gradient is None else seen.gradient
        for name, seen in observed.seen().items()
    }
    norms = {name: np.sqrt(np.square(d, dtype=np.float64).sum(axis=(0, 2))) for name, d in gradients.items()}
    return GradientFlow(loss, gradients, norms)

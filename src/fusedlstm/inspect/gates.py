"""What the gates and states of recurrent layers are at every step, and how often the gates stand open or shut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.inspect.observing import Observed
from fusedlstm.layers.base import Array
from fusedlstm.layers.simple_rnn import SimpleRNN

#: Those from 0 to 1 that open and shut.
GATES = ("i", "f", "o", "z", "r")


@dataclass(frozen=True)
class GateActivations:
    """Gates and states of one recurrent layer.

    Attributes
    ----------
    layer : str
        Its name.
    values : dict of str to (B,T,H) array
        Of an LSTM "i", "f", "candidate", "o" (input, forget and output gate), "c" and "h"; of a GRU "z", "r" (update
        and reset gate), "candidate" and "h"; of a SimpleRNN "h". t counts the steps of the inputs, also of a layer
        that goes back. A gate is NaN at a masked step; states are carried over there.
    mask : (B,T) array of bool
        True where the step was used.
    """

    layer: str
    values: dict[str, Array]
    mask: Array

    def __getitem__(self, name: str) -> Array:
        if name not in self.values:
            known = ", ".join(map(repr, self.values))
            raise KeyError(f"layer {self.layer!r} has {known}, not {name!r}")
        return self.values[name]

    def plot(
        self, sample: int = 0, units: Any = None, labels: Any = None, ax: Any = None, path: str | Path | None = None
    ) -> Any:
        """Draw a picture for each gate and state: units downwards, steps to the right, coloured by the value.

        Parameters
        ----------
        sample : int
            Which row of the batch.
        units : sequence of int, optional
            Which units, in this order; all if None.
        labels : str or sequence of str, optional
            What to write at the steps, such as the text.
        ax : sequence of matplotlib Axes, optional
            One for each gate and state.
        path : str or Path, optional
            Where to write the picture.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from fusedlstm.plots import diagnostics

        batch, _, width = self.values["h"].shape
        chosen = np.arange(width) if units is None else np.asarray(units)
        if not -batch <= sample < batch:
            raise ValueError(f"GateActivations.plot: expected sample to be one of {batch} rows, got {sample}")
        if chosen.ndim != 1 or not chosen.size or chosen.min() < 0 or chosen.max() >= width:
            raise ValueError(f"GateActivations.plot: expected units to be some of 0 ... {width - 1}, got {units!r}")
        shown = {name: values[sample][:, chosen] for name, values in self.values.items()}
        return diagnostics.gate_activations(shown, chosen, labels=labels, title=self.layer, ax=ax, path=path)


class GateSaturation(NamedTuple):
    """How often each gate of each unit is nearly shut, and nearly open, as shares of the steps.

    Attributes
    ----------
    shut, open : dict of str to dict of str to (H,) array
        By the layer's and the gate's name: the share of steps with the gate below `low`, and above `high`.
    low, high : float
    """

    shut: dict[str, dict[str, Array]]
    open: dict[str, dict[str, Array]]
    low: float
    high: float

    def plot(self, ax: Any = None, path: str | Path | None = None) -> Any:
        """Draw a scatter for each gate: a dot for each unit, to the right the more it is open, up the more it is shut.

        Units in the corner at the bottom left are never saturated; along the diagonal always, one way or the other.

        Parameters
        ----------
        ax : sequence of matplotlib Axes, optional
            One for each gate.
        path : str or Path, optional
            Where to write the picture.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from fusedlstm.plots import diagnostics

        return diagnostics.gate_saturation(self.shut, self.open, self.low, self.high, ax=ax, path=path)


def gate_activations(model: Any, x: Any, layer: str | None = None) -> GateActivations:
    """The gates and states of a recurrent layer at every step, for some inputs.

    Parameters
    ----------
    model : Model or Sequential
    x : array
        As for `predict`; all rows run as one batch.
    layer : str, optional
        The layer's name, "outer/inner" for one inside another; not needed if there is only one.

    Returns
    -------
    GateActivations

    Raises
    ------
    ValueError
        If there is no such layer, or several and no name.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.inspect import gate_activations
    >>> from fusedlstm.layers import LSTM, Dense, Input
    >>> from fusedlstm.models import Sequential
    >>> model = Sequential([Input((10, 1)), LSTM(16), Dense(1)])
    >>> gates = gate_activations(model, np.ones((4, 10, 1)))
    >>> gates["f"].shape
    (4, 10, 16)
    """
    observed = observed_layer("gate_activations", model, layer)
    return _activations(observed, x)[0]


def observed_layer(owner: str, model: Any, layer: str | None) -> Observed:
    """A model observed with the gates of one layer, which may be left unnamed if it is the only one."""
    observed = Observed(owner, model, None if layer is None else [layer], gates=True)
    if len(observed.names) > 1:
        known = ", ".join(map(repr, observed.names))
        raise ValueError(f"{owner}: expected layer to name one of {known}, got None")
    return observed


def _activations(observed: Observed, x: Any) -> list[GateActivations]:
    """Of each observed layer; predicts on `x`."""
    observed.model.predict_on_batch(x)
    # A gate's recurrent state, of an LSTM with full gate recurrence, is the gates over again.
    return [
        GateActivations(name, {**seen.gates, **{s: seen.states[s] for s in ("c", "h") if s in seen.states}}, seen.mask)
        for name, seen in observed.seen().items()
    ]


def gate_saturation(
    model: Any, x: Any, layer: str | None = None, low: float = 0.1, high: float = 0.9
) -> GateSaturation:
    """How often gates are nearly shut or open (Karpathy, Johnson and Fei-Fei 2015), for each unit.

    A forget gate that is open most of the time belongs to a unit that remembers for long; one of which no gate is
    ever saturated works in a nearly linear way.

    Parameters
    ----------
    model : Model or Sequential
    x : array
        As for `predict`; masked steps do not count.
    layer : str, optional
        The layer's name; all recurrent layers with gates if None.
    low, high : float
        Below and above which a gate counts as shut and as open.

    Returns
    -------
    GateSaturation

    Raises
    ------
    ValueError
        If there is no layer with gates, no step to count, or not 0 <= low < high <= 1.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"gate_saturation: expected 0 <= low < high <= 1, got low={low!r}, high={high!r}")
    observed = Observed("gate_saturation", model, None if layer is None else [layer], gates=True)
    if all(isinstance(observed.layer(name), SimpleRNN) for name in observed.names):
        raise ValueError("gate_saturation: expected a layer with gates, an LSTM or GRU, a SimpleRNN has none")
    shut: dict[str, dict[str, Array]] = {}
    opened: dict[str, dict[str, Array]] = {}
    for found in _activations(observed, x):
        used = {name: values[found.mask] for name, values in found.values.items() if name in GATES}
        if not used:
            continue
        if not found.mask.any():
            raise ValueError(f"gate_saturation: expected x to have at least one step for layer {found.layer!r}, got 0")
        shut[found.layer] = {name: (values < low).mean(axis=0) for name, values in used.items()}
        opened[found.layer] = {name: (values > high).mean(axis=0) for name, values in used.items()}
    return GateSaturation(shut, opened, low, high)

"""A layer as plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusedlstm.layers.base import Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """A layer as plain values, from which `deserialize` makes an equal one: for ``get_config`` of what holds it."""
    from fusedlstm.model_config import layer_configs

    if not isinstance(layer, Layer):
        raise TypeError(f"serialize: expected a Layer, got {layer!r}")
    return layer_configs([layer])[0]


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """The layer, with new weights, that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Classes that are not of this package, by their names.

    Raises
    ------
    ValueError
        If there is no class of a name.
    """
    from fusedlstm.model_config import make_layers

    return make_layers("deserialize", [config], custom_objects)[0]

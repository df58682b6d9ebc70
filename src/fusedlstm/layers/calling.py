"""Layers that define ``call`` instead of `forward`: traced where they are made of layers, else run as they are."""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.checks import Array, Shape, level_of_caller
from fusedlstm.symbolic import FOLLOWING, SymbolicError
from fusedlstm.tables import real_array

if TYPE_CHECKING:
    from fusedlstm.functional import Model
    from fusedlstm.layers.base import Layer


def shape_of_call(layer: Layer, input_shape: Any) -> Any:
    """What ``call`` makes of zeros: sizes that are not known are tried as two numbers."""
    several = isinstance(input_shape, list)
    shapes = [layer.check_shape(shape) for shape in (input_shape if several else [input_shape])]
    if not layer.built:
        layer.build(input_shape)
    found: list[Any] = []
    for size in (2, 3):
        zeros = [np.zeros([size if n is None else n for n in shape], layer.dtype) for shape in shapes]
        with np.errstate(all="ignore"):
            found.append(_run(layer, zeros if several else zeros[0], {}))

    def common(a: Array, b: Array) -> Shape:
        return tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True))

    if isinstance(found[0], list):
        return [common(a, b) for a, b in zip(*found, strict=True)]
    return common(*found)


def forward_of_call(
    layer: Layer,
    inputs: Any,
    training: bool,
    mask: Any,
    need_backward: bool,
    need_d_inputs: bool,
) -> tuple[Any, Any, Callable[[Any], Any] | None]:
    """`Layer.forward_masked` for a layer that defines ``call``: outputs, their mask or masks, backward.

    Raises
    ------
    TypeError
        If there is to be a backward, and ``call`` is not made of layers and arithmetic alone.
    """
    several = isinstance(inputs, list)
    arrays = [real_array(layer.label, "inputs", x) for x in (inputs if several else [inputs])]
    if not layer.takes_integers:
        arrays = [placement.place(x.astype(layer.dtype, copy=False)) for x in arrays]
    if not layer.built:
        shapes = [x.shape for x in arrays]
        layer.build(shapes if several else shapes[0])
    traced = _trace(layer, [x.shape for x in arrays], several)
    if traced is None:
        if need_backward:
            raise TypeError(
                f"{layer.label}: has call() but no forward(), and call() does more than layers and arithmetic can, "
                "so that it can predict but not be trained"
            )
        options = {"training": training, "mask": mask}
        return _run(layer, arrays if several else arrays[0], options), _mask_after(layer, inputs, mask), None
    outputs, masks, backward = traced.forward_masked(
        arrays if len(arrays) > 1 else arrays[0], training, mask, need_backward, need_d_inputs
    )
    if _has_own_mask(layer):
        masks = layer.compute_mask(inputs, mask)
    if backward is None:
        return outputs, masks, None

    def run_backward(d_outputs: Any) -> Any:
        d_inputs = backward(d_outputs)
        found = {id(v): g for v, g in zip(traced.trainable_weights, traced.gradients, strict=True)}
        layer.gradients = [found[id(v)] if id(v) in found else np.zeros_like(v.value) for v in layer.trainable_weights]
        return [d_inputs] if several and len(arrays) == 1 else d_inputs

    return outputs, masks, run_backward


def _has_own_mask(layer: Layer) -> bool:
    from fusedlstm.layers.base import Layer

    return type(layer).compute_mask is not Layer.compute_mask


_ended: weakref.WeakSet[Layer] = weakref.WeakSet()


def _mask_after(layer: Layer, inputs: Any, mask: Any) -> Any:
    """The mask of what ``call`` made in NumPy: as the layer says, else, as in Keras, none, with one warning."""
    if _has_own_mask(layer):
        return layer.compute_mask(inputs, mask)
    if getattr(layer, "supports_masking", False):
        return mask
    given = mask if isinstance(mask, list | tuple) else [mask]
    if any(m is not None for m in given) and layer not in _ended:
        _ended.add(layer)
        warnings.warn(
            f"{layer.label}: the mask ends here; set supports_masking = True if it fits the outputs, or define "
            "compute_mask",
            stacklevel=level_of_caller(),
        )
    return None


def _run(layer: Layer, inputs: Any, options: dict[str, Any]) -> Any:
    call: Callable[..., Any] = layer.call  # type: ignore[attr-defined]
    known = inspect.signature(call).parameters
    outputs = call(inputs, **{name: value for name, value in options.items() if name in known})
    if isinstance(outputs, list | tuple):
        return [placement.as_array(y) for y in outputs]
    return placement.as_array(outputs)


def _trace(layer: Layer, shapes: list[tuple[int, ...]], several: bool) -> Model | None:
    """The model that ``call`` is, for inputs of these shapes; None if it needs arrays, or has weights of its own."""
    from fusedlstm.functional import Model
    from fusedlstm.layers.input import InputLayer

    known = inspect.signature(layer.call).parameters  # type: ignore[attr-defined]
    if layer._weights or not layer.sublayers or "mask" in known:
        return None
    key = tuple((None, *shape[1:]) for shape in shapes)
    if key not in layer.traces:
        inputs = [InputLayer(batch_shape=shape, name=f"input_{k}").output for k, shape in enumerate(key)]
        options = {"training": FOLLOWING} if "training" in known else {}
        try:
            outputs = layer.call(inputs if several else inputs[0], **options)  # type: ignore[attr-defined]
            ends = list(outputs) if isinstance(outputs, tuple) else outputs
            layer.traces[key] = Model(inputs, ends, name=f"{layer.name}_call")
        except SymbolicError:
            layer.traces[key] = None
    traced: Model | None = layer.traces[key]
    return traced

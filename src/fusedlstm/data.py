"""What `fit`, `evaluate` and `predict` take, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, real_array, show_shape
from fusedlstm.tables import is_columnar


class Place(NamedTuple):
    """An input or output of a model; shapes have the batch axis, None is a size that varies or is not known yet."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype[Any] | None  # None: integers stay what they are, all else becomes float32


class Spec(NamedTuple):
    """What a model takes and gives."""

    owner: str
    inputs: Sequence[Place]
    outputs: Sequence[Place]


def is_iterable_of_batches(x: Any) -> bool:
    """Whether `x` is a generator, a loader or the like rather than an array or what becomes one."""
    if isinstance(x, np.ndarray | list | tuple | dict | str | bytes) or is_columnar(x) or placement.is_elsewhere(x):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def _listed(spec: Spec, argument: str, value: Any, places: Sequence[Place]) -> list[Any]:
    """`value`, given as one array, a list or a dict by names, as a list with one item for each place."""
    names = [place.name for place in places]
    if isinstance(value, dict):
        if set(value) != set(names):
            expected, got = ", ".join(map(repr, names)), ", ".join(map(repr, value)) or "none"
            raise ValueError(f"{spec.owner}: expected {argument} to be a dict with the keys {expected}, got {got}")
        return [value[name] for name in names]
    if len(places) == 1:
        if isinstance(value, list | tuple) and value and all(map(placement.is_array, value)):
            if len(value) == 1 and value[0].ndim:
                return [value[0]]
            if argument == "x" and value[0].ndim:
                raise ValueError(f"{spec.owner}: expected x to be one array, got {len(value)} arrays")
        return [value]
    if not isinstance(value, list | tuple) or len(value) != len(places):
        got = f"{len(value)} items" if isinstance(value, list | tuple) else type(value).__name__
        raise ValueError(
            f"{spec.owner}: expected {argument} to be a list or dict of {len(places)} arrays "
            f"({', '.join(names)}), got {got}"
        )
    return list(value)


def check_x(spec: Spec, x: Any) -> list[Array]:
    """The inputs as a list of arrays of the model's dtypes, or an error that names the model and `x`."""
    if x is None:
        raise ValueError(f"{spec.owner}: expected x to be an array, got None")
    if isinstance(x, dict) and len(spec.inputs) == 1 and spec.inputs[0].name not in x:
        raise TypeError(f"{spec.owner}: expected x to be one array, got a dict")
    several = len(spec.inputs) > 1
    if type(x) is np.ndarray and not several and x.dtype == spec.inputs[0].dtype:
        shape = spec.inputs[0].shape
        if shape is not None and x.ndim == len(shape) and x.shape[1:] == shape[1:]:
            return [x]  # as it should be
    arrays: list[Array] = []
    for place, value in zip(spec.inputs, _listed(spec, "x", x, spec.inputs), strict=True):
        argument = f"x[{place.name!r}]" if several else "x"
        array = real_array(spec.owner, argument, value)
        if array.ndim == 0:
            raise ValueError(f"{spec.owner}: expected {argument} to have a batch axis, got a single number")
        shape = place.shape
        if shape is not None:
            if array.ndim == len(shape) - 1 and shape[-1] == 1:
                array = array[..., None]  # one feature a step, as Keras takes it
            if array.ndim != len(shape) or any(
                n is not None and n != size for n, size in zip(shape[1:], array.shape[1:], strict=True)
            ):
                sizes = ", ".join(["batch", *("any" if n is None else str(n) for n in shape[1:])])
                raise ValueError(f"{spec.owner}: expected {argument} ({sizes}), got {show_shape(array.shape)}")
        if arrays and len(array) != len(arrays[0]):
            raise ValueError(
                f"{spec.owner}: expected all inputs to have as many rows, got {len(arrays[0])} in "
                f"x[{spec.inputs[0].name!r}] and {len(array)} in {argument}"
            )
        arrays.append(cast(spec.owner, argument, array, place.dtype))
    return arrays


def cast(owner: str, argument: str, array: Array, dtype: np.dtype[Any] | None) -> Array:
    """An array in the dtype of an input, or a ValueError if its numbers are not whole, or too large, for integers."""
    if dtype is None:
        return array if array.dtype.kind in "iu" else array.astype(np.float32, copy=False)
    if dtype.kind not in "iu" or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        whole = array.astype(dtype)
    if not np.array_equal(whole, array):
        wrong = placement.fetch(array[whole != array]).flat[0]
        raise ValueError(f"{owner}: expected {argument} to be whole numbers of {dtype}, got {wrong}")
    return whole


def check_y(spec: Spec, y: Any, rows: int) -> list[Any]:
    """The targets, one per output: floats in the model's dtype, integers as they are."""
    targets: list[Any] = []
    for place, value in zip(spec.outputs, _listed(spec, "y", y, spec.outputs), strict=True):
        if value is None and len(spec.outputs) > 1:
            targets.append(None)
            continue
        array = _check_rows(spec, "y" if len(spec.outputs) == 1 else f"y[{place.name!r}]", value, rows)
        targets.append(array.astype(place.dtype, copy=False) if array.dtype.kind == "f" else array)
    return targets


def check_weight(spec: Spec, weight: Any, rows: int) -> list[Any] | None:
    """The sample weights in the model's dtype, one per output: one per row, or per row and time step.

    One array goes for all outputs.
    """
    if weight is None:
        return None
    places = spec.outputs
    several = len(places) > 1
    if (
        several
        and not isinstance(weight, dict)
        and not (isinstance(weight, list | tuple) and (len(weight) == len(places) or any(np.ndim(w) for w in weight)))
    ):
        weight = [weight] * len(places)
    if isinstance(weight, dict):
        weight = {**{place.name: None for place in places}, **weight}
    weights: list[Any] = []
    for place, value in zip(places, _listed(spec, "sample_weight", weight, places), strict=True):
        argument = f"sample_weight[{place.name!r}]" if several else "sample_weight"
        if value is None:
            weights.append(None)
            continue
        array = _check_rows(spec, argument, value, rows)
        if array.ndim > 2:
            raise ValueError(
                f"{spec.owner}: expected {argument} ({rows},) or ({rows}, steps), got {show_shape(array.shape)}"
            )
        weights.append(array.astype(place.dtype, copy=False))
    return weights


def _check_rows(spec: Spec, argument: str, value: Any, rows: int) -> Array:
    array = real_array(spec.owner, argument, value)
    if array.ndim == 0:
        raise ValueError(f"{spec.owner}: expected {argument} to have a batch axis, got a single number")
    if len(array) != rows:
        raise ValueError(f"{spec.owner}: expected {argument} to have {rows} rows, as x has, got {len(array)}")
    return array


def class_weights(spec: Spec, y: Array, class_weight: Any) -> Array:
    """Each row's weight by its class: integers (B,) or (B,1), or one-hot rows (B,C); a class without one weighs 1."""
    if not isinstance(class_weight, dict):
        raise TypeError(f"{spec.owner}: expected class_weight to be a dict, got {type(class_weight).__name__}")
    for key, value in class_weight.items():
        if (
            isinstance(key, bool)
            or not isinstance(key, int | np.integer)
            or not isinstance(value, int | float | np.number)
        ):
            raise TypeError(f"{spec.owner}: expected class_weight to map classes to numbers, got {key!r}: {value!r}")
    if y.ndim > 2:
        raise ValueError(f"{spec.owner}: expected y of rank 1 or 2 with class_weight, got {show_shape(y.shape)}")
    classes = np.rint(y.reshape(len(y)) if y.ndim == 1 or y.shape[1] == 1 else y.argmax(axis=1))
    weight = np.ones(len(y), spec.outputs[0].dtype)
    for key, value in class_weight.items():
        weight[classes == key] = value
    return weight


def combine(
    spec: Spec, y: Any, sample_weight: Any, class_weight: Any, rows: int
) -> tuple[list[Any] | None, list[Any] | None]:
    """Targets and weights, of which there may be `sample_weight` or `class_weight`, not both."""
    targets = None if y is None else check_y(spec, y, rows)
    weights = check_weight(spec, sample_weight, rows)
    if class_weight is not None:
        if weights is not None:
            raise ValueError(f"{spec.owner}: expected sample_weight or class_weight, got both")
        if targets is None:
            raise ValueError(f"{spec.owner}: expected y along with class_weight, got None")
        if len(targets) > 1:
            raise ValueError(f"{spec.owner}: expected class_weight None with {len(targets)} outputs, use sample_weight")
        weights = [class_weights(spec, targets[0], class_weight)]
    return targets, weights

"""Labels and sequences as arrays: `to_categorical`, `pad_sequences`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """One-hot rows of class numbers.

    Parameters
    ----------
    x : array of integers, of any shape
        Class numbers from 0 on; a last axis of size 1 is dropped.
    num_classes : int, optional
        The largest class number plus one if None.

    Returns
    -------
    (..., num_classes) array of float32

    Raises
    ------
    ValueError
        If a number is not whole, or outside 0 ... num_classes-1.
    """
    numbers = np.asarray(x)
    if numbers.dtype.kind not in "iub" and (numbers.dtype.kind != "f" or not (numbers == np.floor(numbers)).all()):
        raise ValueError(f"to_categorical: expected x to hold whole numbers, got dtype {numbers.dtype}")
    numbers = numbers.astype(np.int64)
    if numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    if num_classes is None:
        num_classes = int(numbers.max(initial=-1)) + 1
    if numbers.size and (numbers.min() < 0 or numbers.max() >= num_classes):
        got = f"{numbers.min()} ... {numbers.max()}"
        raise ValueError(f"to_categorical: expected class numbers in 0 ... {num_classes - 1}, got {got}")
    rows = np.zeros((*numbers.shape, num_classes), np.float32)
    np.put_along_axis(rows, numbers[..., None], 1, axis=-1)
    return rows


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0,
) -> NDArray[Any]:
    """Sequences of unequal lengths as one array.

    Parameters
    ----------
    sequences : sequence of sequences
        Of numbers, or of arrays of one shape S.
    maxlen : int, optional
        T, the length to pad or cut to; that of the longest if None.
    dtype : dtype
        ``object`` takes anything, and ``str`` is as wide as the longest.
    padding, truncating : {"pre", "post"}
        Whether to fill up, and to cut, at the beginning or at the end.
    value : scalar
        What to fill up with.

    Returns
    -------
    (len(sequences), T, *S) array

    Raises
    ------
    ValueError
        For another `padding` or `truncating`, a `maxlen` below 1, steps of unequal shapes, or what `dtype` cannot hold.
    """
    for name, choice in (("padding", padding), ("truncating", truncating)):
        if choice not in ("pre", "post"):
            raise ValueError(f"pad_sequences: expected {name} to be 'pre' or 'post', got {choice!r}")
    if maxlen is not None and (isinstance(maxlen, bool) or not isinstance(maxlen, int | np.integer) or maxlen < 1):
        raise ValueError(f"pad_sequences: expected maxlen to be a positive integer or None, got {maxlen!r}")
    arrays = [np.asarray(sequence) for sequence in sequences]
    if any(array.ndim == 0 for array in arrays):
        raise ValueError("pad_sequences: expected sequences to be a list of sequences, got one of numbers")
    shapes = {array.shape[1:] for array in arrays if len(array)}
    if len(shapes) > 1:
        raise ValueError(f"pad_sequences: expected steps of one shape, got {', '.join(map(str, sorted(shapes)))}")
    steps = max((len(array) for array in arrays), default=0) if maxlen is None else int(maxlen)
    if np.dtype(dtype).kind in "US" and not np.dtype(dtype).itemsize:
        dtype = np.result_type(np.dtype(dtype), np.asarray(value), *{array.dtype for array in arrays if len(array)})
    try:
        padded = np.full((len(arrays), steps, *(shapes.pop() if shapes else ())), value, dtype)
        for row, array in zip(padded, arrays, strict=True):
            kept = array[-steps:] if truncating == "pre" else array[:steps]
            if len(kept):
                row[slice(-len(kept), None) if padding == "pre" else slice(len(kept))] = kept
    except (TypeError, ValueError) as error:
        wanted = np.dtype(dtype).name
        raise ValueError(f"pad_sequences: expected sequences and value that fit dtype {wanted}: {error}") from None
    return padded

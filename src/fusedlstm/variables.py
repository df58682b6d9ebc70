"""A named array that layers compute with and optimizers change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm.backends import placement


class Variable:
    """A weight of a layer, or any other array that training changes in place.

    The array's memory stays where it is, until `set_backend` moves all variables to where another backend computes.
    Every change goes through `assign` or `update`, which bump `version`, so that whoever keeps something derived from
    the values (packed weights) knows when it is out of date.

    Parameters
    ----------
    value : array of float32, float64 or integers
        Copied, in C order.
    name : str
    trainable : bool
        Whether an optimizer may change it.

    Attributes
    ----------
    name : str
    path : str
        The owner's name and the variable's, ``"dense/kernel"``; the name alone until a layer sets it.
    version : int
        Grows with every change.
    """

    __slots__ = ("__weakref__", "_data", "_view", "constraint", "name", "path", "regularizer", "trainable", "version")

    def __init__(self, value: ArrayLike, *, name: str, trainable: bool = True) -> None:
        self._hold(placement.place(np.array(value, order="C", copy=True)))
        self.name = name
        self.path = name
        self.trainable = trainable
        self.version = 0
        self.regularizer: Any = None
        self.constraint: Any = None
        placement.follow(self)

    def _hold(self, data: NDArray[Any]) -> None:
        self._data, self._view = data, data.view()
        self._view.flags.writeable = False

    def moved(self, move: Callable[[Any], Any]) -> Callable[[], None]:
        """See `placement.Owner`."""
        data = move(self._data)
        return lambda: self._hold(data)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__ if name not in ("__weakref__", "_view")}
        return state | {"_data": placement.fetch(self._data)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._hold(placement.place(state.pop("_data")))  # a view that was copied by itself would not follow
        for name, value in state.items():
            setattr(self, name, value)
        placement.follow(self)

    @property
    def value(self) -> NDArray[Any]:
        """The array itself, where the backend computes, read-only: it shows later changes."""
        return self._view

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, which never changes."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype, which never changes."""
        return self._data.dtype

    def numpy(self) -> NDArray[Any]:
        """A copy of the array, on the host."""
        return np.array(self._data)

    def assign(self, value: ArrayLike) -> None:
        """Copy `value` in.

        Parameters
        ----------
        value : array
            Of the variable's shape, real numbers; cast to its dtype.

        Raises
        ------
        ValueError
            If the shape differs; nothing is changed.
        TypeError
            If the values are not real numbers.
        """
        new = self.check(value)
        self._data[...] = new
        self.version += 1

    def check(self, value: ArrayLike) -> NDArray[Any]:
        """`value` as an array that `assign` takes, or the error that it raises."""
        new: NDArray[Any] = placement.as_array(value)
        if new.dtype.kind not in "fiub":
            raise TypeError(f"variable '{self.path}': expected real numbers, got dtype {new.dtype}")
        if new.shape != self._data.shape:
            raise ValueError(f"variable '{self.path}': expected shape {self._data.shape}, got {new.shape}")
        return new

    @property
    def writable(self) -> NDArray[Any]:
        """The array itself, for changes in place, after each of which `update` has to be called."""
        return self._data

    def update(self) -> NDArray[Any]:
        """The writable array, for a change in place that follows now; bumps `version`."""
        self.version += 1
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if dtype is None or dtype == self._data.dtype:
            view: NDArray[Any] = placement.fetch(self._view)
            return np.array(view) if copy else view
        if copy is False:
            raise ValueError(f"variable '{self.path}': {self._data.dtype} as {dtype} needs a copy")
        return self.numpy().astype(dtype)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"<Variable '{self.path}' shape={self.shape} dtype={self.dtype}>"

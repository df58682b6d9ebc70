"""The weights of a layer and of the layers inside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.layers.checks import Array, Named
from fusedlstm.variables import Variable


def _completing(build: Callable[..., None]) -> Callable[..., None]:
    """A class's `build` that starts without weights, and leaves the layer as it was if it fails, else built."""

    @functools.wraps(build)
    def run(self: Weighted, *arguments: Any, **options: Any) -> None:
        if self._building:  # called by a subclass's
            build(self, *arguments, **options)
            return
        before = self._weights
        self._building = True
        try:
            fresh = self._weights = [] if self.built else list(before)  # what was added ahead of build stays
            build(self, *arguments, **options)
        except BaseException:
            self._weights = before
            raise
        finally:
            self._building = False
            self._inner = None
        if self._weights is fresh and not fresh:
            self._weights = before  # it was built, and had nothing to do
        self.built = True

    return run


class Weighted(Named):
    """Base of `Layer`: its weights, and those of the layers inside it."""

    dtype: np.dtype[Any]
    #: How often `trainable` was set, anywhere: `fit` looks whether it has to ask again for what is trained.
    changes = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in vars(cls):
            cls.build = _completing(vars(cls)["build"])  # type: ignore[attr-defined]

    def __init__(self, trainable: bool) -> None:
        self._trainable = trainable
        self.built = False
        self._building = False
        self._weights: list[Variable] = []
        self._inner: list[Any] | None = None

    @property
    def sublayers(self) -> list[Any]:
        """The layers among the attributes, and in lists, tuples and dicts among them."""
        if self._inner is None or not self.built:
            found: dict[int, Any] = {}
            for name, value in vars(self).items():
                if name in ("_inner", "nodes", "traces"):
                    continue
                if isinstance(value, dict):
                    value = list(value.values())
                for item in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(item, Weighted):
                        found[id(item)] = item
            self._inner = list(found.values())
        return self._inner

    def all_layers(self) -> list[Any]:
        """The layer itself and all inside it, each once."""
        found: dict[int, Any] = {}
        waiting: list[Any] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                waiting += reversed(layer.sublayers)
        return list(found.values())

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; it may be set at any time."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = self.boolean("trainable", value)
        Weighted.changes += 1
        for layer in self.all_layers():
            layer._trainable = value

    def new_weight(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Callable[..., Array],
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> Variable:
        """A variable with initial values; `build` hands all of them to `set_variables` at once when none failed."""
        value = np.asarray(initializer(shape, dtype=self.dtype.name))
        if value.shape != shape:
            raise ValueError(f"{self.label}: expected the initializer of {name} to give {shape}, got {value.shape}")
        variable = Variable(value.astype(self.dtype, copy=False), name=name, trainable=trainable)
        variable.path = f"{self.name}/{name}"
        variable.regularizer, variable.constraint = regularizer, constraint
        return variable

    def set_variables(self, variables: list[Variable]) -> None:
        """Make these the layer's weights: the last step of `build`."""
        self._weights = variables
        self.built = True

    def add_weight(
        self,
        shape: Sequence[int] | int | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        *,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Make a variable and add it to the weights: for subclasses, in `build` or ``__init__``.

        Parameters
        ----------
        shape : tuple of int
            A single number if None.
        initializer : str or Initializer, optional
            "glorot_uniform" if None.
        dtype
            The layer's, or None.
        trainable : bool
            Whether training changes it.
        regularizer, constraint : str or object, optional
        name : str, optional
            "variable" with a number if None.

        Returns
        -------
        Variable
            Its `value` is the array.
        """
        if dtype is not None and self._check_dtype(dtype) != self.dtype:
            raise ValueError(f"{self.label}: expected dtype {self.dtype} in add_weight, as the layer's, got {dtype!r}")
        sizes = self._check_dimensions("shape", () if shape is None else shape)
        if any(n is None for n in sizes):
            raise ValueError(f"{self.label}: expected shape to have known sizes in add_weight, got {sizes}")
        variable = self.new_weight(
            name or f"variable_{len(self._weights)}",
            sizes,  # type: ignore[arg-type]
            self.initializer("initializer", initializer or "glorot_uniform"),
            self.boolean("trainable", trainable),
            self.regularizer("regularizer", regularizer),
            self.constraint("constraint", constraint),
        )
        self._weights.append(variable)
        return variable

    @property
    def weights(self) -> list[Variable]:
        """All variables, each once: the layer's own, then those of the layers inside."""
        inner = self.sublayers
        if not inner:
            return list(self._weights)
        found = {id(v): v for v in (*self._weights, *(v for layer in inner for v in layer.weights))}
        return list(found.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that training changes; none if the layer is not `trainable`."""
        if not self._trainable:
            return []
        inner = self.sublayers
        own = [variable for variable in self._weights if variable.trainable]
        if not inner:
            return own
        found = {id(v): v for v in (*own, *(v for layer in inner for v in layer.trainable_weights))}
        return list(found.values())

    @property
    def learns(self) -> bool:
        """Whether there is any weight that training may change."""
        if not self._trainable:
            return False
        if self._weights:
            return True
        inner = self._inner if self._inner is not None and self.built else self.sublayers
        return bool(inner) and any(layer.learns for layer in inner)

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that training leaves alone."""
        trainable = {id(variable) for variable in self.trainable_weights}
        return [variable for variable in self.weights if id(variable) not in trainable]

    def require_built(self) -> None:
        """Raise a ValueError if there are no weights yet."""
        if not self.built:
            raise ValueError(f"{self.label}: not built yet: call build(input_shape), or run it on data, first")

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        self.require_built()
        return sum(variable.value.size for variable in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies of the weights' arrays, in the order of `weights`."""
        self.require_built()
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights; nothing is changed if one of them does not fit.

        Parameters
        ----------
        weights : sequence of arrays
            In the order and of the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs, or the layer is not built.
        TypeError
            If an array does not hold real numbers.
        """
        self.require_built()
        variables = self.weights
        if len(weights) != len(variables):
            raise ValueError(f"{self.label}: expected {len(variables)} weights, got {len(weights)}")
        arrays = [variable.check(value) for variable, value in zip(variables, weights, strict=True)]
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

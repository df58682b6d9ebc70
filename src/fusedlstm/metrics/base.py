"""What every metric is, and the mean, weighted and masked, that most of them are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import initializers, losses
from fusedlstm.backends import placement
from fusedlstm.losses.base import spread
from fusedlstm.utils.custom_objects import find_function, function_from, is_function_config
from fusedlstm.utils.names import snake_case

Array = NDArray[Any]


class State(np.ndarray[Any, Any]):
    """An array that a metric keeps: as any other, with the methods by which programs for Keras change theirs."""

    def assign(self, value: ArrayLike) -> State:
        """Take these values, of its shape."""
        new = np.asarray(value)
        if new.shape != self.shape:
            raise ValueError(f"state of a metric: expected shape {self.shape}, got {new.shape}")
        self[...] = new
        return self

    def assign_add(self, value: ArrayLike) -> State:
        """Add to the values."""
        return self.assign(np.asarray(self) + value)

    def assign_sub(self, value: ArrayLike) -> State:
        """Subtract from the values."""
        return self.assign(np.asarray(self) - value)

    def numpy(self) -> Array:
        """A copy as a plain array."""
        return np.array(self)


class Metric(ABC):
    """Base class: implement `update_state` and `result`, and `reset_state` unless all is kept in `add_variable`.

    Parameters
    ----------
    name : str, optional
        By default made from the class's name.
    dtype : {"float32", "float64"}, optional
        Accepted as in Keras, without effect: sums are kept in float64.

    Attributes
    ----------
    name : str
    direction : {"up", "down", None}
        Which way is better, for `EarlyStopping`; None: unknown.
    """

    direction: str | None = None

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        try:
            known = dtype is None or np.dtype(dtype).kind == "f"
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"metric '{self.name}': expected dtype 'float32', 'float64' or None, got {dtype!r}")
        self.dtype = None if dtype is None else np.dtype(dtype).name
        self._variables: list[State] = []

    @abstractmethod
    def update_state(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred : array
        sample_weight : (B,), (B,1) or (B,T) array, optional
        mask : (B,T) array, optional
            False: the step does not count. A method without this argument gets the mask as weights.
        """

    @abstractmethod
    def result(self) -> Any:
        """The value over all that was counted since the last `reset_state`: a float, or an array of several."""

    def reset_state(self) -> None:
        """Forget everything: all of `variables` become 0."""
        if not self._variables:
            raise TypeError(f"metric '{self.name}': define reset_state, or keep what is counted in add_variable")
        for variable in self._variables:
            variable[...] = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()

    def add_variable(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> State:
        """An array of the metric's own, which `reset_state` sets to 0.

        Parameters
        ----------
        shape : int or tuple of int
        initializer : str or Initializer
        dtype : dtype, optional
            float64 if None.
        name : str, optional
            Accepted as in Keras, without effect.
        """
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        values = initializers.get(initializer or "zeros")(shape, dtype="float64")
        variable = np.array(values, dtype or np.float64).view(State)
        self._variables.append(variable)
        return variable

    def add_weight(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> State:
        """As `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name)

    @property
    def variables(self) -> list[State]:
        """What `add_variable` made."""
        return list(self._variables)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"


def plain(result: Any) -> Any:
    """What `Metric.result` gave, as a float where it is one number."""
    return np.asarray(result) if np.ndim(result) else float(result)


def _numbers(owner: str, name: str, value: ArrayLike) -> Array:
    array: Array = placement.as_array(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: expected {name} to be numbers, got dtype {array.dtype}")
    return array


def aligned(owner: str, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Both as arrays of y_pred's shape: a last axis of 1 may be missing in either."""
    true, pred = _numbers(owner, "y_true", y_true), _numbers(owner, "y_pred", y_pred)
    if true.shape != pred.shape:
        if true.shape + (1,) != pred.shape and true.shape != pred.shape + (1,):
            raise ValueError(f"{owner}: expected y_true shaped like y_pred {pred.shape}, got {true.shape}")
        true = true.reshape(pred.shape)
    return true, pred


def as_rows(
    owner: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None,
    mask: ArrayLike | None,
) -> tuple[Array, Array, Array | None]:
    """What counts of a batch as rows (N,C), one for each sample or step, and the weight of every number in them.

    On the host, as sorting and counting are.
    """
    true, pred = aligned(owner, placement.fetch(y_true), placement.fetch(y_pred))
    sample_weight, mask = placement.fetch(sample_weight), placement.fetch(mask)
    if not pred.ndim:
        raise ValueError(f"{owner}: expected y_pred to have a batch axis, got a single number")
    if pred.ndim == 1:
        true, pred = true[:, None], pred[:, None]
    weight = None if sample_weight is None else spread(owner, "sample_weight", sample_weight, pred.shape)
    columns = pred.shape[-1]
    if mask is None:
        true, pred = true.reshape(-1, columns), pred.reshape(-1, columns)
        return true, pred, None if weight is None else weight.reshape(-1, columns)
    used = spread(owner, "mask", mask, pred.shape[:-1]) != 0
    return true[used], pred[used], None if weight is None else weight[used]


class _Reduction(Metric):
    """Sums of values and of their weights, in which every sample counts the same, whatever its number of steps."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self._total = self._count = 0.0

    def update_state(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None, mask: ArrayLike | None = None
    ) -> None:
        """Count values (B, ...), or one value.

        Parameters
        ----------
        values : array or float
        sample_weight : array or float, optional
            Of the first axes of values.
        mask : array, optional
            Likewise; False: does not count.
        """
        if isinstance(values, float) and mask is None and (sample_weight is None or isinstance(sample_weight, float)):
            weight = 1.0 if sample_weight is None else sample_weight
            self._total += values * weight
            self._count += weight
            return
        owner = f"metric '{self.name}'"
        array = placement.as_array(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{owner}: expected numbers, got dtype {array.dtype}")
        per_sample = self._per_sample(array.shape)
        if sample_weight is None and mask is None:
            self._total += placement.plain_number(array.sum(dtype=np.float64)) / per_sample
            self._count += array.size / per_sample
            return
        weights = np.ones(array.shape)
        if sample_weight is not None:
            weights = spread(owner, "sample_weight", sample_weight, array.shape).astype(np.float64)
        if mask is not None:
            used = spread(owner, "mask", mask, array.shape) != 0
            weights, array = np.where(used, weights, 0), np.where(used, array, 0)
        self._total += placement.plain_number((array * weights).sum()) / per_sample
        self._count += placement.plain_number(weights.sum()) / per_sample

    @abstractmethod
    def _per_sample(self, shape: tuple[int, ...]) -> int:
        """What the sum over the values of a sample is divided by."""

    def reset_state(self) -> None:
        self._total = self._count = 0.0


class Mean(_Reduction):
    """The weighted mean of values; 0 where nothing was counted.

    Every sample counts the same, whatever its number of steps.
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _per_sample(self, shape: tuple[int, ...]) -> int:
        return max(math.prod(shape[1:]), 1)

    def result(self) -> float:
        total, count = float(self._total), float(self._count)
        return total / count if count else 0.0


class Sum(_Reduction):
    """The weighted sum of values."""

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _per_sample(self, shape: tuple[int, ...]) -> int:
        return 1

    def result(self) -> float:
        return float(self._total)


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred) that returns a value for each sample, or each step.

    Parameters
    ----------
    fn : callable
    name : str, optional
        By default the function's.
    dtype
        As in `Metric`.
    **kwargs
        Passed to the function.
    """

    def __init__(self, fn: Callable[..., ArrayLike], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise TypeError(f"MeanMetricWrapper: expected fn to be a function, got {fn!r}")
        super().__init__(name or getattr(fn, "__name__", None), dtype)
        self._fn, self._kwargs = fn, kwargs

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        super().update_state(self._fn(y_true, y_pred, **self._kwargs), sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        """As of any metric; the function stands in it as it is, so only a program that has it can use this."""
        return {**super().get_config(), "fn": self._fn, **self._kwargs}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MeanMetricWrapper:
        """The metric that `get_config` described; from a file the function's name has come."""
        fn = config.get("fn")
        if isinstance(fn, str) or is_function_config(fn):
            config = {**config, "fn": _function(fn)}
        return cls(**config)


def _function(config: Any) -> Any:
    """A function of one's own, or of this package, by its name."""
    from fusedlstm import metrics

    name, module = (config, "fusedlstm") if isinstance(config, str) else (config["config"], config.get("module"))
    found = find_function(name)
    if found is None and str(module).partition(".")[0] == "fusedlstm" and name in metrics.__all__:
        found = getattr(metrics, name)
    return function_from({"config": name}) if found is None else found


class ElementMean(Mean):
    """The mean of what `values` makes of arrays of one shape."""

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        super().update_state(self.values(*self.align(y_true, y_pred)), sample_weight, mask)

    def align(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
        """The arrays that `values` gets."""
        return aligned(f"metric '{self.name}'", y_true, y_pred)

    @abstractmethod
    def values(self, y_true: Array, y_pred: Array) -> Array:
        """What the mean is of: one for each element, or for each but for the last axis."""


class LossMetric(Mean):
    """The mean of a loss's values, which are one for each step where there are weights or a mask per step.

    Parameters
    ----------
    loss : Loss
        Its reduction does not matter. Entries of its ``ignore_class`` do not count.
    name : str, optional
        The loss's if None.
    dtype
        As in `Metric`.
    """

    direction = "down"

    def __init__(self, loss: Any, name: str | None = None, dtype: Any = None) -> None:
        self.loss = losses.get(loss)
        if self.loss is None:
            raise TypeError("LossMetric: expected loss to be a Loss, got None")
        super().__init__(name or self.loss.name, dtype)

    def update_state(  # type: ignore[override]
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        ignored = getattr(self.loss, "ignore_class", None)
        if ignored is not None:
            shape = list(np.shape(y_pred))
            del shape[self.loss.axis]
            counted = (placement.as_array(y_true) != ignored).reshape(shape)
            mask = counted if mask is None else counted & (spread(self.name, "mask", mask, counted.shape) != 0)
        values = self.loss.values(y_true, y_pred, sample_weight, mask)
        super().update_state(values, sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": losses.serialize(self.loss)}

"""Learning rates that follow the number of updates: objects that an optimizer calls with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom
from fusedlstm.utils.numbers import boolean, finite

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule(ABC):
    """Base class: implement ``__call__(step)``, and `get_config` for models that are saved."""

    @abstractmethod
    def __call__(self, step: int) -> Any:
        """The learning rate of the update after `step` others."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        raise NotImplementedError(
            f"{type(self).__name__}: a schedule whose optimizer is saved has to define get_config"
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The schedule that `get_config` described."""
        return cls(**config)

    def _rate(self, argument: str, value: Any) -> float:
        return finite(type(self).__name__, argument, value, 0)

    def _steps(self, argument: str, value: Any) -> Any:
        if finite(type(self).__name__, argument, value) <= 0:
            raise ValueError(f"{type(self).__name__}: expected {argument} > 0, got {value!r}")
        return value


class _Staircase(LearningRateSchedule):
    """Base of those that fall with step / decay_steps, or with `staircase` with its whole part."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = self._rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.decay_rate = self._rate("decay_rate", decay_rate)
        self.staircase = boolean(type(self).__name__, "staircase", staircase)
        self.name = name or type(self).__name__

    def _periods(self, step: int) -> float:
        return step // self.decay_steps if self.staircase else step / self.decay_steps

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class ExponentialDecay(_Staircase):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; with `staircase` whole periods only count.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Above 0.
    decay_rate : float
    staircase : bool
    name : str, optional
    """

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate * self.decay_rate ** self._periods(step)


class InverseTimeDecay(_Staircase):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``; the arguments of `ExponentialDecay`."""

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : sequence of numbers
        Ascending.
    values : sequence of float
        One more.
    name : str, optional
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        for boundary in boundaries:
            finite("PiecewiseConstantDecay", "boundaries", boundary)
        self.boundaries = list(boundaries)
        self.values = [self._rate("values", value) for value in values]
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstantDecay: expected one value more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"PiecewiseConstantDecay: expected ascending boundaries, got {self.boundaries}")
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


class PolynomialDecay(LearningRateSchedule):
    """From `initial_learning_rate` to `end_learning_rate` within `decay_steps`, as (1 - step / decay_steps) ** power.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Above 0.
    end_learning_rate : float
    power : float
    cycle : bool
        Go on beyond `decay_steps` from higher up again: the decay then takes the next multiple of it.
    name : str, optional
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = self._rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.end_learning_rate = self._rate("end_learning_rate", end_learning_rate)
        self.power = self._rate("power", power)
        self.cycle = boolean("PolynomialDecay", "cycle", cycle)
        self.name = name

    def __call__(self, step: int) -> float:
        periods = max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1
        left = max(0.0, 1 - step / (self.decay_steps * periods))
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }


def _cosine(share: float) -> float:
    """1 at share 0, falling to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate to `alpha` times it, after a linear warm-up if `warmup_target` is given.

    Source: Loshchilov and Hutter 2017; Goyal et al. 2017 for the warm-up.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Above 0; the warm-up's come first.
    alpha : float
    name : str, optional
    warmup_target : float, optional
        The rate that the warm-up goes to from `initial_learning_rate`, and the decay starts from.
    warmup_steps : int
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = self._rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.alpha = self._rate("alpha", alpha)
        self.name = name
        self.warmup_target = None if warmup_target is None else self._rate("warmup_target", warmup_target)
        self._rate("warmup_steps", warmup_steps)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start, step = self.warmup_target, step - self.warmup_steps  # type: ignore[assignment]
        share = min(step / self.decay_steps, 1.0)
        return start * ((1 - self.alpha) * _cosine(share) + self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class CosineDecayRestarts(LearningRateSchedule):
    """`CosineDecay` that starts anew whenever it is done, for longer and from another height (SGDR).

    Source: Loshchilov and Hutter 2017.

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
        Above 0.
    t_mul : float
        Each period has so many times the steps of the one before; at least 1.
    m_mul : float
        Each starts from so many times the rate of the one before.
    alpha : float
        The lowest rate, as a share of `initial_learning_rate`.
    name : str, optional
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = self._rate("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = self._steps("first_decay_steps", first_decay_steps)
        self.t_mul = finite("CosineDecayRestarts", "t_mul", t_mul, 1)
        self.m_mul = self._rate("m_mul", m_mul)
        self.alpha = self._rate("alpha", alpha)
        self.name = name

    def __call__(self, step: int) -> float:
        period, share = self._period(step / self.first_decay_steps)
        height = self.m_mul**period * _cosine(share)
        return self.initial_learning_rate * ((1 - self.alpha) * height + self.alpha)

    def _period(self, done: float) -> tuple[int, float]:
        """How many restarts there were after `done` first periods, and the share of the present one that is over."""
        if self.t_mul == 1:
            return math.floor(done), done % 1
        # The k-th period begins at 1 + t + ... + t^(k-1) = (t^k - 1) / (t - 1), but for rounding.
        period = math.floor(math.log(1 + done * (self.t_mul - 1), self.t_mul) + 1e-9)
        longer = self.t_mul**period
        return period, max(0.0, (done - (longer - 1) / (self.t_mul - 1)) / longer)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self.t_mul,
            "m_mul": self.m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }


_BY_NAME: dict[str, type[LearningRateSchedule]] = {
    cls.__name__: cls
    for cls in (
        ExponentialDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        InverseTimeDecay,
        CosineDecay,
        CosineDecayRestarts,
    )
}


def serialize(learning_rate_schedule: Any) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `deserialize` makes an equal schedule.

    Raises
    ------
    TypeError
        If it is not a LearningRateSchedule.
    """
    if not isinstance(learning_rate_schedule, LearningRateSchedule):
        raise TypeError(f"serialize: expected a LearningRateSchedule, got {learning_rate_schedule!r}")
    return {"class_name": class_name(type(learning_rate_schedule)), "config": learning_rate_schedule.get_config()}


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> LearningRateSchedule:
    """The schedule that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Own classes by their names.

    Raises
    ------
    ValueError
        If there is no schedule of this name.
    TypeError
        If `config` is not such a dict.
    """
    if not isinstance(config, Mapping) or "class_name" not in config:
        raise TypeError(f"learning rate schedule: expected a dict with class_name and config, got {config!r}")
    name = config["class_name"]
    with custom_object_scope(custom_objects):
        cls = find_custom(name, LearningRateSchedule) or _BY_NAME.get(name)
    if cls is None:
        expected = ", ".join(map(repr, sorted(_BY_NAME)))
        raise ValueError(f"unknown learning rate schedule {name!r}: expected one of {expected}")
    return cls.from_config(dict(config.get("config") or {}))

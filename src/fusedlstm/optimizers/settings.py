"""What an optimizer is told: its common arguments, checked, the learning rate, and their config."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fusedlstm.optimizers import schedules
from fusedlstm.utils.numbers import boolean, counting, finite
from fusedlstm.variables import Variable

Rate = float | schedules.LearningRateSchedule | Callable[[], Any]


class Settings(ABC):
    """Base of `Optimizer`, whose arguments these are."""

    @property
    @abstractmethod
    def built(self) -> bool:
        """Whether it has its buffers, that is, state to save."""

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        owner = type(self).__name__
        for argument in unknown:
            hint = {"lr": "learning_rate", "decay": "weight_decay or a schedule as learning_rate"}.get(argument)
            raise TypeError(f"{owner}: unknown argument {argument!r}" + (f": use {hint}" if hint else ""))
        self.name = name or owner.lower()
        self._iterations = 0
        self._learning_rate: Rate = 0.0
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else self._number("weight_decay", weight_decay)
        self.clipnorm = self._positive("clipnorm", clipnorm, "no clipping")
        self.clipvalue = self._positive("clipvalue", clipvalue, "no clipping")
        self.global_clipnorm = self._positive("global_clipnorm", global_clipnorm, "no clipping")
        if sum(value is not None for value in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                f"{owner}: expected one of clipnorm, clipvalue and global_clipnorm, "
                f"got clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        self.use_ema = boolean(owner, "use_ema", use_ema)
        self.ema_momentum = self._share("ema_momentum", ema_momentum)
        self.ema_overwrite_frequency = self._count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        if ema_overwrite_frequency is not None and not use_ema:
            raise ValueError(
                f"{owner}: expected use_ema=True with ema_overwrite_frequency {ema_overwrite_frequency}, got False"
            )
        self.loss_scale_factor = self._positive("loss_scale_factor", loss_scale_factor, "no scaling")
        self.gradient_accumulation_steps = self._count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self._not_decayed: list[Variable] = []
        self._not_decayed_names: list[re.Pattern[str]] = []

    def _number(self, argument: str, value: Any, below: float = math.inf) -> float:
        return finite(type(self).__name__, argument, value, 0, below)

    def _share(self, argument: str, value: Any) -> float:
        """A number in 0 ... 1."""
        share = self._number(argument, value)
        if share > 1:
            raise ValueError(f"{type(self).__name__}: expected {argument} in 0 ... 1, got {value!r}")
        return share

    def _positive(self, argument: str, value: Any, without: str) -> float | None:
        if value is None:
            return None
        limit = self._number(argument, value)
        if limit == 0:
            raise ValueError(f"{type(self).__name__}: expected {argument} > 0 (None: {without}), got {value!r}")
        return limit

    def _count(self, argument: str, value: Any, least: int) -> int | None:
        return None if value is None else counting(type(self).__name__, argument, value, least)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update; settable, but that of a schedule only to another schedule."""
        rate = self._learning_rate
        if isinstance(rate, float):
            return rate
        value = rate(self._iterations) if isinstance(rate, schedules.LearningRateSchedule) else rate()
        return self._number("learning_rate", value.item() if isinstance(value, np.ndarray | np.generic) else value)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, schedules.LearningRateSchedule) or (callable(value) and not isinstance(value, type)):
            self._learning_rate = value
            return
        rate = self._number("learning_rate", value)
        if self.scheduled:
            raise TypeError(
                f"{type(self).__name__}: expected learning_rate to be a schedule, as it has one, got {value!r} "
                "(a number is settable where the optimizer was made with one)"
            )
        self._learning_rate = rate

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate is a schedule's or function's, not a number; `fit` then logs it."""
        return not isinstance(self._learning_rate, float)

    @property
    def iterations(self) -> int:
        """How many updates there were; of those accumulated, every `gradient_accumulation_steps` calls count as one."""
        return self._iterations // (self.gradient_accumulation_steps or 1)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Let weight decay leave these variables alone; replaces what was excluded before.

        Parameters
        ----------
        var_list : iterable of Variable, optional
        var_names : iterable of str, optional
            Regular expressions: variables are excluded whose name, such as "bias", one of them is found in.

        Raises
        ------
        ValueError
            Once the optimizer has its buffers.
        """
        if self.built:
            raise ValueError(f"{type(self).__name__}: call exclude_from_weight_decay before the first update")
        self._not_decayed = list(var_list or ())
        self._not_decayed_names = [
            re.compile(name) for name in ([var_names] if isinstance(var_names, str) else var_names or ())
        ]

    def _decays(self, variable: Variable) -> bool:
        listed = any(variable is other for other in self._not_decayed)
        return not listed and not any(pattern.search(variable.name) for pattern in self._not_decayed_names)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`: for training loops that pass the gradients of that to `apply`."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer, without its state.

        Raises
        ------
        TypeError
            If the learning rate is a function: a `schedules.LearningRateSchedule` has a config.
        """
        rate = self._learning_rate
        return {
            "name": self.name,
            "learning_rate": rate if isinstance(rate, float) else schedules.serialize(rate),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The optimizer that `get_config` described."""
        rate = config.get("learning_rate")
        return cls(**{**config, "learning_rate": schedules.deserialize(rate)} if isinstance(rate, dict) else config)

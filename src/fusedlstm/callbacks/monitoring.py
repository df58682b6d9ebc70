"""Which way a value that a callback watches is better, and whether it became better."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs


class MonitorCallback(Callback):
    """Base of the callbacks that watch one value of the epochs' logs.

    Parameters
    ----------
    monitor : str
        Name in the logs.
    mode : {"auto", "min", "max"}
        Which way is better; "auto" asks the model's metric of that name.
    min_delta : float
        Improvements that are not larger than this do not count.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0) -> None:
        super().__init__()
        self.owner = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(f"{self.owner}: expected monitor to be a name, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{self.owner}: expected mode 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(self.check_number("min_delta", min_delta))
        self.best: float | None = None
        self._sign: int | None = None  # 1: smaller is better, -1: larger

    def check_number(self, name: str, value: Any) -> float:
        """`value` if it is a number, else a TypeError."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{self.owner}: expected {name} to be a number, got {value!r}")
        return value  # type: ignore[return-value]

    def check_count(self, name: str, value: Any) -> int:
        """`value` if it is an integer from 0 on, else a ValueError."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{self.owner}: expected {name} to be an integer >= 0, got {value!r}")
        return value

    def value_in(self, logs: Logs | None) -> float | None:
        """The value, or None with a warning.

        Raises
        ------
        ValueError
            If it is not one number: of a metric with a value for each class, say.
        """
        current: Any = (logs or {}).get(self.monitor)
        if current is None:
            available = ", ".join(logs or {}) or "none"
            warnings.warn(f"{self.owner}: there is no {self.monitor!r} to monitor, only: {available}", stacklevel=3)
            return None
        if np.size(current) != 1 or np.asarray(current).dtype.kind not in "fiub":
            got = f"{np.size(current)} values" if np.size(current) != 1 else repr(current)
            raise ValueError(
                f"{self.owner}: expected {self.monitor!r} to be one number, got {got}: monitor another value, or give "
                "the metric an average"
            )
        one: float = current.item() if isinstance(current, np.ndarray) else current
        return one

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than another one, or than none; NaN never is."""
        if math.isnan(value):
            return False
        if self._sign is None:
            self._sign = self._find_sign()
        return reference is None or self._sign * value + self.min_delta < self._sign * reference

    def _find_sign(self) -> int:
        if self.mode != "auto":
            return 1 if self.mode == "min" else -1
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return 1
        for metric in getattr(self.model, "metrics", None) or ():
            direction = getattr(metric, "direction", None)
            if getattr(metric, "name", None) == name and direction in ("up", "down"):
                return 1 if direction == "down" else -1
        raise ValueError(
            f"{self.owner}: cannot tell whether a larger or a smaller {self.monitor!r} is better: pass mode='max' "
            "or mode='min'"
        )

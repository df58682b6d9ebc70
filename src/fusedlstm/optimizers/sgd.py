"""Gradient descent."""

from __future__ import annotations

from typing import Any

from fusedlstm import backends
from fusedlstm.optimizers.base import Array, Optimizer


class SGD(Optimizer):
    """Gradient descent: w -= lr g; or v = momentum v - lr g and w += v, or with Nesterov w += momentum v - lr g.

    Source: Sutskever et al. 2013.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        In 0 ... 1; 0 keeps no velocity.
    nesterov : bool
    weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.momentum = self._number("momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"SGD: expected momentum in 0 ... 1, got {momentum!r}")
        self.nesterov = bool(nesterov)

    def slots(self) -> tuple[bool, ...]:
        return (self.momentum != 0,)

    def update(self, w: Array, g: Array, buffers: tuple[Array | None, ...], scale: float, decay: float) -> None:
        backends.current().sgd_update(
            w,
            g,
            buffers[0],
            learning_rate=self._learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            gradient_scale=scale,
            decay=decay,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}

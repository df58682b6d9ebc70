"""Base of the optimizers whose update is one of the backends' functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from fusedlstm import backends
from fusedlstm.optimizers.base import Array, Optimizer


class KernelOptimizer(Optimizer):
    """An optimizer that names its function and, for each step, what that is to be told."""

    takes_rows = True
    #: The backends' function.
    kernel: ClassVar[str]

    _prepared: Any = None  # a backend, and its prepared updates by the variables' places

    @abstractmethod
    def kernel_options(self, learning_rate: float) -> dict[str, float]:
        """Keyword arguments of the function, for all variables of the step that follows."""

    def arrange(self, buffers: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
        """A variable's buffers in the function's order."""
        return buffers

    def update(
        self, w: Array, g: Array, buffers: tuple[Array | None, ...], learning_rate: float, **common: Any
    ) -> None:
        function = getattr(backends.current(), self.kernel)
        function(w, g, *self.arrange(buffers), **self.kernel_options(learning_rate), **common)

    def updates(self, learning_rate: float) -> Callable[..., None]:
        if type(self).update is not KernelOptimizer.update:  # a subclass of a user's
            return super().updates(learning_rate)
        backend, options = backends.current(), self.kernel_options(learning_rate)
        if self._prepared is None or self._prepared[0] is not backend:
            self._prepared = backend, {}
        prepared = self._prepared[1]

        def update(
            place: int, w: Array, g: Array, gradient_scale: float, clip: float, decay: float, rows: Array | None
        ) -> None:
            if place not in prepared:
                prepared[place] = backend.prepare_update(self.kernel, w, self.arrange(self._slots[place]))
            prepared[place](g, gradient_scale, clip, decay, rows, options)

        return update

    def _elsewhere(self, move: Callable[[Any], Any]) -> dict[str, Any]:
        return super()._elsewhere(move) | {"_prepared": None}

"""Base of the optimizers whose update is one of the backends' functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from fusedlstm import backends
from fusedlstm.optimizers.base import Array, Optimizer


class KernelOptimizer(Optimizer):
    """An optimizer that names its function and, for each step, what that is to be told."""

    takes_rows = True
    #: The backends' function.
    kernel: ClassVar[str]

    _prepared: Any = None  # a backend, and its updates of the variables of `build`

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

    def update_all(
        self,
        gradients: Sequence[Array | None],
        scales: list[float],
        clip: float,
        decays: list[float],
        rows: Mapping[int, Array],
        learning_rate: float,
    ) -> None:
        if type(self).update is not KernelOptimizer.update:  # a subclass of a user's
            super().update_all(gradients, scales, clip, decays, rows, learning_rate)
            return
        trained, backend = self._trained or [], backends.current()
        if self._prepared is None or self._prepared[0] is not backend:
            arrays = [(v.writable, self.arrange(slots)) for v, slots in zip(trained, self._slots, strict=True)]
            self._prepared = backend, backend.prepare_updates(self.kernel, arrays)
        try:
            self._prepared[1](gradients, scales, clip, decays, rows, self.kernel_options(learning_rate))
        finally:  # a backend that was refused in the middle has changed some
            for variable, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    variable.update()

    def _elsewhere(self, move: Callable[[Any], Any]) -> dict[str, Any]:
        return super()._elsewhere(move) | {"_prepared": None}

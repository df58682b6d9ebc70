"""What a recurrent layer's calls of the kernels have in common, and the way back of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.layers import segments
from fusedlstm.layers.checks import Array
from fusedlstm.layers.kernel_calls import KernelCall, Steps, run

if TYPE_CHECKING:
    from fusedlstm.layers.recurrent import Recurrent

#: What the kernels call the first values of each state.
INITIAL = {"h": "h0", "c": "c0", "gates": "g0"}


class Kind(NamedTuple):
    """What all calls of a layer have in common that have inputs of one shape and the same options."""

    backend: ModuleType
    forward: Callable[..., Sequence[Any]]  # prepared, but for segments: each is of another shape
    backward: Callable[..., Any]
    options: dict[str, Any]  # of a forward function that is not prepared
    ends: list[int] | None  # of a call in segments: where they begin, and the end
    numbers: int  # saved for each step of each row, about

    def in_segments(self, x: Array, packed: Any, arrays: dict[str, Array]) -> Steps:
        """Returns, as generators do, the results of a forward call in segments."""
        assert self.ends is not None
        call = KernelCall(self.backend, self.forward, (x, packed), {"mask": None, **self.options, **arrays})
        return (yield from segments.forward(call, self.ends, self.numbers))


class Back:
    """Takes the gradient of a forward call's outputs back, once."""

    __slots__ = ("_given", "_kind", "_layer", "_need_d_inputs", "_saved", "_shape")

    def __init__(
        self, layer: Recurrent, kind: Kind, saved: Any, shape: tuple[int, ...], given: bool, need_d_inputs: bool
    ) -> None:
        self._layer, self._kind, self._saved, self._shape = layer, kind, saved, shape
        self._given, self._need_d_inputs = given, need_d_inputs

    def __call__(self, d_outputs: Any) -> Any:
        """The gradient of the inputs, or a list of that and those of the initial states; sets the layer's gradients."""
        if self._kind.ends is not None:
            return run(self.steps(d_outputs))
        saved, d_y, d_states = self._checked(d_outputs)
        return self._after(self._kind.backward(saved, d_y, *d_states, need_d_x=self._need_d_inputs))

    def steps(self, d_outputs: Any) -> Steps:
        """Returns, as generators do, what a call returns."""
        kind, need_d_x = self._kind, self._need_d_inputs
        saved, d_y, d_states = self._checked(d_outputs)
        if kind.ends is None:
            found = yield KernelCall(kind.backend, kind.backward, (saved, d_y, *d_states), {"need_d_x": need_d_x})
        else:
            found = yield from segments.backward(kind.backend, kind.backward, saved, d_y, d_states, need_d_x)
        return self._after(found)

    def _checked(self, d_outputs: Any) -> tuple[Any, Any, list[Any]]:
        """What was saved, the gradient of y, and those of the final states, if there are any."""
        layer, saved, shape = self._layer, self._saved, self._shape
        if saved is None:
            raise RuntimeError(f"{layer.label}: backward was already called for this forward call")
        d_states: list[Any] = []
        if not layer.return_state:
            d_y = layer.check_gradient("y", d_outputs, shape)
        else:
            d_y, *d_states = d_outputs
            d_y = layer.check_gradient("y", d_y, shape, optional=True)
            d_states = [
                None if d_state is None else layer.check_gradient(name, d_state, (shape[0], size))
                for (name, size), d_state in zip(layer.state_sizes.items(), d_states, strict=True)
            ]
        self._saved = None
        layer.gradients = []  # those of the step before make room for the new ones
        return saved, d_y, d_states

    def _after(self, found: Any) -> Any:
        layer = self._layer
        if layer.trainable:
            layer.gradients = [getattr(found, f"d_{name}") for name, v in layer.parts.items() if v.trainable]
        d_x = found.d_x
        if layer.go_backwards and d_x is not None:
            d_x = d_x[:, ::-1]
        return [d_x, *(getattr(found, f"d_{INITIAL[name]}") for name in layer.state_sizes)] if self._given else d_x

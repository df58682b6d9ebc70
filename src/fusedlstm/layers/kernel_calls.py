"""What a layer does around its call of the kernels, so that the calls of several layers can be made at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple


class KernelCall(NamedTuple):
    """A call of a backend's function, or of what prepared one."""

    backend: ModuleType
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def made(self) -> Any:
        """Its result."""
        return self.function(*self.arguments, **self.options)


#: What a layer does around its calls of the kernels: yields each, is sent its result, at last returns its own.
Steps = Generator[KernelCall, Any, Any]


def run(steps: Steps) -> Any:
    """What some steps return, with their calls of the kernels made."""
    try:
        call = next(steps)
        while True:
            call = steps.send(call.made())
    except StopIteration as end:
        return end.value


def run_together(several: Sequence[Steps]) -> list[Any]:
    """What each of some steps returns; their first calls of the kernels are run at once, then their second ones ..."""
    returned: list[Any] = [None] * len(several)
    waiting = [(k, steps, next(steps)) for k, steps in enumerate(several)]
    while waiting:
        results = _run([call for _, _, call in waiting])
        going = []
        for (k, steps, _), result in zip(waiting, results, strict=True):
            try:
                going.append((k, steps, steps.send(result)))
            except StopIteration as end:
                returned[k] = end.value
        waiting = going
    return returned


def _run(calls: list[KernelCall]) -> list[Any]:
    backend = calls[0].backend
    if len(calls) == 1 or any(call.backend is not backend for call in calls):
        return [call.made() for call in calls]
    together: list[Any] = backend.recurrent_together([call[1:] for call in calls])
    return together

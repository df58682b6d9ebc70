"""What a layer does around its call of the kernels, so that the calls of several layers can be made at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import ModuleType
from typing import Any, NamedTuple


class KernelCall(NamedTuple):
    """A call of a backend's function."""

    backend: ModuleType
    function: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


#: What a layer does around one call of the kernels: yields it, is sent its result, returns its own.
Steps = Generator[KernelCall, Any, Any]


def run_together(several: Sequence[Steps]) -> list[Any]:
    """What each of some steps returns, with their calls of the kernels run at once."""
    calls = [next(steps) for steps in several]
    backends_used = {call.backend for call in calls}
    if len(calls) == 1 or len(backends_used) > 1:
        results = [getattr(call.backend, call.function)(*call.arguments, **call.options) for call in calls]
    else:
        results = calls[0].backend.recurrent_together([call[1:] for call in calls])
    returned = []
    for steps, result in zip(several, results, strict=True):
        try:
            steps.send(result)
        except StopIteration as end:
            returned.append(end.value)
    return returned

"""Our layers behind the call signature of every peer, and what a peer has to compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from cases import Array, Case, data
from options import OPTIONS
from runs import Make, Run


def network(case: Case) -> Any:
    """The case in our layers, built: a layer, or a model of several."""
    from fusedlstm import Sequential, layers

    option = OPTIONS[case.option]
    if option.cell:
        layer: Any = layers.RNN(getattr(layers, option.cell)(case.units), return_sequences=True)
        layer.build((None, None, case.inputs))
        return layer
    arguments: dict[str, Any] = {"return_sequences": True, "zero_output_for_mask": case.ragged, **option.layer}
    stack = [getattr(layers, case.cell)(case.units, **arguments) for _ in range(case.layers)]
    if case.bidirectional:
        stack = [layers.Bidirectional(layer) for layer in stack]
    if len(stack) > 1:
        return Sequential([layers.Input((None, case.inputs)), *stack])
    stack[0].build((None, None, case.inputs))
    return stack[0]


def weights(case: Case, start: list[Array]) -> list[Array]:
    """Those of `data(case)`; where an option has others, its first values and some noise."""
    given, rng = data(case).weights, np.random.default_rng(4)
    if [w.shape for w in start] == [w.shape for w in given]:
        return given
    return [w + rng.normal(0, 0.3 * case.units**-0.5, w.shape) for w in start]


def fusedlstm(case: Case, threads: int) -> Run:
    import fusedlstm

    fusedlstm.set_num_threads(threads)
    return run_of(case)


def run_of(case: Case) -> Run:
    """On the backend that is set now."""
    from fusedlstm import utils

    option = OPTIONS[case.option]
    utils.set_random_seed(0)
    net = network(case)
    net.set_weights(weights(case, net.get_weights()))
    x, d_y = (array.astype(net.dtype) for array in (data(case).x, data(case).d_y))
    arguments = option.call(case, net.dtype)
    if case.ragged:
        arguments["mask"] = np.arange(case.steps) < data(case).lengths[:, None]  # type: ignore[index]
    if "projection" in option.layer:
        d_y = d_y[..., : option.layer["projection"]]

    def forward() -> Any:
        return net(x, **arguments)

    def forward_backward() -> Any:
        for variable in net.weights:
            variable.update()  # as in training, where every step changes them: they are packed anew
        y, backward = net.forward(x, training=True, **arguments)
        d_x = backward(d_y)
        return y, d_x[0] if isinstance(d_x, list) else d_x

    def gradients() -> list[Array]:
        return [*forward_backward(), *net.gradients]

    if case.stream:
        ours = net.stream(case.batch)
        return stream(case, lambda x_t: ours(x_t[:, 0]), ours.reset)
    call, results = (forward_backward, gradients) if case.training else (forward, lambda: [forward()])
    return Run(call, results, lambda: expected(case))


def stream(case: Case, step: Callable[[Array], Any], reset: Callable[[], Any]) -> Run:
    """A run of one step (1,1,I) -> (1,1,H) that keeps its state."""
    x = data(case).x
    steps = [np.ascontiguousarray(x[:, t : t + 1]) for t in range(x.shape[1])]

    def results() -> list[Array]:
        reset()
        return [np.concatenate([np.asarray(step(x_t)).reshape(1, 1, -1) for x_t in steps], axis=1)]

    return Run(lambda: step(steps[0]), results, lambda: expected(case))


@lru_cache(maxsize=2)
def expected(case: Case) -> list[Array]:
    """By the specification: [y], or in training [y, d_x, and the gradients of the weights]."""
    from fusedlstm import get_backend, set_backend

    backend = get_backend()
    set_backend("reference")
    try:
        return run_of(case._replace(stream=False, steps=data(case).x.shape[1])).results()
    finally:
        set_backend(backend)


def instead(**changes: Any) -> Make:
    """Our layer on another case, for scale."""
    return lambda case, threads: fusedlstm(case._replace(**changes), threads)

"""The peers of our layers: `LAYERS[name](case, threads)` makes a `Run` of a `Case`, None if it has no such call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import GATES, Array, Case, data
from ours import expected, fusedlstm, stream
from runs import Run, available

# PyTorch.


def keras_order(cell: str, array: Array) -> Array:
    """The gates, side by side along the last axis, from PyTorch's order to Keras's and back: r z h and z r h."""
    if cell != "GRU":
        return array
    z, r, h = np.split(array, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)


def pytorch(case: Case, threads: int) -> Run | None:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(threads)
    given = data(case)
    kind = {"SimpleRNN": "RNN"}.get(case.cell, case.cell)
    layer = getattr(torch.nn, kind)(
        case.inputs, case.units, num_layers=case.layers, bidirectional=case.bidirectional, batch_first=True
    )
    suffixes = [f"l{k}{end}" for k in range(case.layers) for end in ("", "_reverse")[: case.directions]]
    with torch.no_grad():
        for k, suffix in enumerate(suffixes):
            kernel, recurrent, bias = (keras_order(case.cell, w) for w in given.weights[3 * k : 3 * k + 3])
            two = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
            for name, array in (("weight_ih", kernel.T), ("weight_hh", recurrent.T), ("bias_ih", two[0])):
                getattr(layer, f"{name}_{suffix}").copy_(torch.from_numpy(np.ascontiguousarray(array)))
            getattr(layer, f"bias_hh_{suffix}").copy_(torch.from_numpy(two[1]))
    x, d_y = torch.from_numpy(given.x.copy()), torch.from_numpy(given.d_y.copy())
    lengths = torch.from_numpy(given.lengths) if given.lengths is not None else None

    def run() -> Any:
        if lengths is None:
            return layer(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=case.steps)[0]

    def forward() -> Any:
        with torch.inference_mode():
            return run()

    def forward_backward() -> Any:
        x.requires_grad_()
        x.grad = None
        layer.zero_grad(set_to_none=True)
        y = run()
        y.backward(d_y)
        return y

    def gradients() -> list[Array]:
        results = [forward_backward().detach().numpy(), x.grad.numpy()]  # type: ignore[union-attr]
        for suffix in suffixes:
            d = {
                n: getattr(layer, f"{n}_{suffix}").grad.numpy()
                for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            bias = np.stack([d["bias_ih"], d["bias_hh"]]) if case.cell == "GRU" else d["bias_ih"]
            results += [keras_order(case.cell, w) for w in (d["weight_ih"].T, d["weight_hh"].T, bias)]
        return results

    state = None

    def step(x_t: Array) -> Any:
        nonlocal state
        with torch.inference_mode():
            y, state = layer(torch.from_numpy(x_t), state)
            return y.numpy()

    def reset() -> None:
        nonlocal state
        state = None

    if case.stream:
        return stream(case, step, reset)
    if case.training:
        return Run(forward_backward, gradients, lambda: expected(case))
    return Run(forward, lambda: [forward().numpy()], lambda: expected(case))


# ONNX Runtime and OpenVINO, from one ONNX file. Neither has a backward pass.


def onnx_file(case: Case) -> bytes:
    """Of time-major x (T,B,I), `n` (B,) of a ragged batch, h and c of a stream, to y (T,directions,B,H) and h1, c1."""
    from onnx import TensorProto, helper, numpy_helper

    def gates(weights: Array) -> Array:  # (…,nH) -> (nH,…), of an LSTM in i o f c instead of i f c o
        parts = np.split(weights.T, GATES[case.cell])
        return np.concatenate([parts[0], parts[3], parts[1], parts[2]] if case.cell == "LSTM" else parts)

    def info(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    batch, steps, _, units = case[:4]
    count = case.directions
    inputs, constants, nodes, last = [info("x", steps, batch, case.inputs)], {}, [], "x"
    attributes: dict[str, Any] = {"hidden_size": units, "direction": "bidirectional" if count == 2 else "forward"}
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1
    for k in range(case.layers):
        each = [data(case).weights[3 * d : 3 * d + 3] for d in range(count * k, count * k + count)]
        constants[f"w{k}"] = np.stack([gates(kernel) for kernel, _, _ in each])
        constants[f"r{k}"] = np.stack([gates(recurrent) for _, recurrent, _ in each])
        biases = [b if b.ndim == 2 else np.stack([b, np.zeros_like(b)]) for _, _, b in each]
        constants[f"b{k}"] = np.stack([np.concatenate([gates(part) for part in two]) for two in biases])
        names = [last, f"w{k}", f"r{k}", f"b{k}", "n" if case.ragged else ""]
        states = ["h", "c"][: 1 + (case.cell == "LSTM")] if case.stream else []
        outputs = ["y" if k + 1 == case.layers else f"y{k}", *(f"{state}1" for state in states)]
        nodes.append(helper.make_node(case.cell.replace("SimpleRNN", "RNN"), [*names, *states], outputs, **attributes))
        if k + 1 < case.layers:
            last = f"x{k + 1}"
            constants["sizes"] = np.array([steps, batch, count * units])
            nodes.append(helper.make_node("Transpose", [f"y{k}"], [f"t{k}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"t{k}", "sizes"], [last]))
    if case.ragged:
        inputs.append(info("n", batch, kind=TensorProto.INT32))
    inputs += [info(state, 1, batch, units) for state in states]
    results = [info("y", steps, count, batch, units), *(info(f"{state}1", 1, batch, units) for state in states)]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "layers", inputs, results, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return model.SerializeToString()


def from_onnx(case: Case, infer: Callable[[dict[str, Array]], Any]) -> Run:
    """A run of what takes the inputs of `onnx_file` by name and gives its outputs in order."""
    given = data(case)
    feed = {"x": np.ascontiguousarray(given.x.swapaxes(0, 1))}
    if given.lengths is not None:
        feed["n"] = given.lengths.astype(np.int32)

    def results() -> list[Array]:
        y = np.asarray(infer(feed)[0])  # (T,directions,B,H)
        return [y.transpose(2, 0, 1, 3).reshape(case.batch, case.steps, -1)]

    def step(x_t: Array) -> Any:  # (1,1,I) is batch-major and time-major
        feed["x"] = x_t
        y, *states = infer(feed)
        feed.update(zip("hc", states, strict=False))
        return y

    def reset() -> None:
        feed.update({state: np.zeros((1, case.batch, case.units), np.float32) for state in "hc"})

    if case.stream:
        return stream(case, step, reset)
    return Run(lambda: infer(feed), results, lambda: expected(case))


def onnx_runtime(case: Case, threads: int) -> Run | None:
    if case.training:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(onnx_file(case), options, providers=["CPUExecutionProvider"])
    return from_onnx(case, lambda feed: session.run(None, feed))


def openvino(case: Case, threads: int) -> Run | None:
    if case.training:
        return None
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
    }
    request = core.compile_model(core.read_model(onnx_file(case)), "CPU", settings).create_infer_request()
    count = 3 if case.stream else 1
    # Outputs are views into the request: those of a stream are copied, since they are its next inputs.
    return from_onnx(
        case, lambda feed: list(request.infer(feed, share_inputs=True, share_outputs=not case.stream).values())[:count]
    )


# JAX.


def jax(case: Case, threads: int) -> Run | None:
    """A scan as its documentation would write it. Threads: those of the CPUs that the process may use."""
    import jax
    from jax import numpy as jnp
    from jax.nn import sigmoid

    def lstm(states: Any, z: Any, recurrent: Any, _: Any) -> Any:
        h, c = states
        i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(states: Any, z: Any, recurrent: Any, bias: Any) -> Any:
        (h,) = states
        z_z, z_r, z_h = jnp.split(z, 3, axis=-1)
        u_z, u_r, u_h = jnp.split(h @ recurrent + bias, 3, axis=-1)
        update = sigmoid(z_z + u_z)
        return (update * h + (1 - update) * jnp.tanh(z_h + sigmoid(z_r + u_r) * u_h),)

    def simple(states: Any, z: Any, recurrent: Any, _: Any) -> Any:
        return (jnp.tanh(z + states[0] @ recurrent),)

    cell = {"LSTM": lstm, "GRU": gru, "SimpleRNN": simple}[case.cell]

    def layer(x: Any, states: Any, weights: Any, used: Any, reverse: bool) -> Any:
        """Time-major."""
        kernel, recurrent, bias = weights
        of_input, of_state = bias if bias.ndim == 2 else (bias, None)

        def step(states: Any, now: Any) -> Any:
            z, use = now
            new = cell(states, z, recurrent, of_state)
            if use is None:
                return new, new[0]
            new = tuple(jnp.where(use, n, old) for n, old in zip(new, states, strict=True))
            return new, jnp.where(use, new[0], 0)

        return jax.lax.scan(step, states, (x @ kernel + of_input, used), reverse=reverse)

    zeros = (jnp.zeros((case.batch, case.units)),) * (2 if case.cell == "LSTM" else 1)

    def forward(x: Any, weights: Any, used: Any) -> Any:
        x = x.swapaxes(0, 1)
        for k in range(0, len(weights), 3 * case.directions):
            parts = [
                layer(x, zeros, weights[k + 3 * d : k + 3 * d + 3], used, d == 1)[1] for d in range(case.directions)
            ]
            x = jnp.concatenate(parts, axis=-1)
        return x.swapaxes(0, 1)

    @jax.jit
    def backward(x: Any, weights: Any, used: Any, d_y: Any) -> Any:
        y, pull = jax.vjp(lambda x, weights: forward(x, weights, used), x, weights)
        return y, pull(d_y)

    given = data(case)
    x, d_y, weights = jax.device_put((given.x, given.d_y, given.weights))
    used = None
    if given.lengths is not None:
        used = jnp.asarray(np.arange(case.steps)[:, None] < given.lengths)[..., None]
    forward_only = jax.jit(forward)

    def gradients() -> list[Array]:
        y, (d_x, d_weights) = backward(x, weights, used, d_y)
        return [np.asarray(array) for array in (y, d_x, *d_weights)]

    if case.stream:
        one_step = jax.jit(lambda x, states, weights: layer(x, states, weights, None, False))
        states = zeros

        def step(x_t: Array) -> Any:
            nonlocal states
            states, y = one_step(x_t, states, weights)
            return np.asarray(y)

        def reset() -> None:
            nonlocal states
            states = zeros

        return stream(case, step, reset)
    if case.training:
        return Run(lambda: jax.block_until_ready(backward(x, weights, used, d_y)), gradients, lambda: expected(case))
    return Run(
        lambda: forward_only(x, weights, used).block_until_ready(),
        lambda: [np.asarray(forward_only(x, weights, used))],
        lambda: expected(case),
    )


LAYERS = available(
    {
        "fusedlstm": ("fusedlstm", fusedlstm),
        "PyTorch": ("torch", pytorch),
        "ONNX Runtime": ("onnxruntime", onnx_runtime),
        "OpenVINO": ("openvino", openvino),
        "JAX": ("jax", jax),
    }
)

"""Every peer behind one call signature: `PEERS[name](data, threads, training)` makes a `Run`.

A run's `call` is what is timed: one forward pass of an LSTM layer (B,T,I) -> (B,T,H), with `training` also the
backward pass to the input and the weights, from weights that have just changed. `results` calls it once and gives
[y], or [y, d_x, d_kernel, d_recurrent, d_bias], as Keras lays them out. Peers that are not installed are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from cases import Array, Data


class Run(NamedTuple):
    call: Callable[[], Any]
    results: Callable[[], list[Array]]


def fusedlstm(data: Data, threads: int, training: bool) -> Run:
    from fusedlstm import backends

    kernels = backends.current()
    kernels.set_num_threads(threads)
    x, kernel, recurrent, bias, d_y = data
    packed = kernels.lstm_pack(kernel, recurrent, bias)

    def forward() -> Any:
        return kernels.lstm_forward(x, packed, return_sequences=True)

    def forward_backward() -> Any:
        fresh = kernels.lstm_pack(kernel, recurrent, bias, training=True)
        y, _, _, saved = kernels.lstm_forward(x, fresh, return_sequences=True, training=True)
        return y, *kernels.lstm_backward(saved, d_y)

    if training:
        return Run(forward_backward, lambda: list(forward_backward()[:5]))
    return Run(forward, lambda: [forward()[0]])


def pytorch(data: Data, threads: int, training: bool) -> Run:
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.LSTM(data.kernel.shape[0], data.recurrent.shape[0], batch_first=True)
    with torch.no_grad():  # its gates stand in the same order, its weights are transposed, its bias comes in two parts
        layer.weight_ih_l0.copy_(torch.from_numpy(data.kernel.T.copy()))
        layer.weight_hh_l0.copy_(torch.from_numpy(data.recurrent.T.copy()))
        layer.bias_ih_l0.copy_(torch.from_numpy(data.bias))
        layer.bias_hh_l0.zero_()
    x, d_y = torch.from_numpy(data.x.copy()), torch.from_numpy(data.d_y.copy())

    def forward() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    def forward_backward() -> Any:
        x.requires_grad_()
        x.grad = None
        layer.zero_grad(set_to_none=True)
        y = layer(x)[0]
        y.backward(d_y)
        return y

    def gradients() -> list[Array]:
        y = forward_backward().detach().numpy()
        weights = layer.weight_ih_l0.grad.numpy().T, layer.weight_hh_l0.grad.numpy().T, layer.bias_ih_l0.grad.numpy()
        return [y, x.grad.numpy(), *weights]

    if training:
        return Run(forward_backward, gradients)
    return Run(forward, lambda: [forward().numpy()])


def onnx_runtime(data: Data, threads: int, training: bool) -> Run | None:
    if training:
        return None  # its inference package has no backward pass
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def gates(weights: Array) -> Array:  # (…,4H) in i f c o -> (1,4H,…) in i o f c
        i, f, c, o = np.split(weights.T, 4)
        return np.ascontiguousarray(np.concatenate([i, o, f, c]))[None]

    bias = gates(data.bias)
    weights = {
        "W": gates(data.kernel),
        "R": gates(data.recurrent),
        "B": np.concatenate([bias, np.zeros_like(bias)], axis=1),
    }
    units = data.recurrent.shape[0]
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["x", *weights], ["y"], hidden_size=units)],
        "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", data.kernel.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, "B", units])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = {"x": np.ascontiguousarray(data.x.swapaxes(0, 1))}  # it only takes time-major data

    def forward() -> Any:
        return session.run(None, x)[0]

    return Run(forward, lambda: [forward()[:, 0].swapaxes(0, 1)])


#: Name in tables -> (the package it needs, how to make a run of it).
_ALL: dict[str, tuple[str, Callable[[Data, int, bool], Run | None]]] = {
    "fusedlstm": ("fusedlstm", fusedlstm),
    "PyTorch": ("torch", pytorch),
    "ONNX Runtime": ("onnxruntime", onnx_runtime),
}
PEERS = {name: make for name, (package, make) in _ALL.items() if find_spec(package)}
MISSING = sorted(set(_ALL) - set(PEERS))

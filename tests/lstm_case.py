"""A random LSTM call, and how close a backend must come to the reference in float64.

float32 is held to 4 ceil(log2(K T)) eps of the scale of the values (K the inner dimension of the products), backward to
twice that; float64 likewise.
"""

from __future__ import annotations

import math

import numpy as np

from fusedlstm.backends import reference

GATES = ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "softsign", "elu", "softplus"]
GRADIENTS = ("d_x", "d_kernel", "d_recurrent", "d_bias", "d_h0", "d_c0")
TOLERANCE_TO_TORCH = {"float32": 2e-5, "float64": 1e-13}


def assert_close(actual, expected, dtype, inner, factor=1.0, what=""):
    """Within the bound of the module's docstring; NaN and Inf in the same places."""
    assert actual.shape == expected.shape, what
    assert actual.dtype == dtype, what
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(actual), finite, err_msg=what)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0)))
    bound = factor * 4 * max(1, math.ceil(math.log2(max(inner, 2)))) * float(np.finfo(dtype).eps) * scale
    error = float(np.abs(actual[finite] - expected[finite]).max(initial=0))
    assert error <= bound, f"{what}: error {error:.3g}, bound {bound:.3g}"


class Case:
    """A random LSTM call in float64, and the same numbers in `dtype` for the backend under test."""

    def __init__(
        self, rng, dtype, batch, steps, inputs, units, *, bias=True, state=True, mask=None, gain=1.0, **options
    ):
        self.dtype, self.inner, self.options = dtype, (inputs + units) * max(steps, 1), options
        self.shape, self.state = (batch, steps, inputs, units), state
        self.mask = rng.random((batch, steps)) < 0.7 if isinstance(mask, str) else mask

        def draw(*shape, scale=1.0):
            return (rng.normal(size=shape) * scale).astype(dtype)

        self.x = draw(batch, steps, inputs)
        self.kernel = draw(inputs, 4 * units, scale=gain / math.sqrt(max(inputs, 1)))
        self.recurrent = draw(units, 4 * units, scale=0.7 * gain / math.sqrt(units))
        self.bias = draw(4 * units, scale=gain) if bias else None
        self.h0, self.c0 = draw(batch, units), draw(batch, units)
        out = (batch, steps, units) if options.get("return_sequences") else (batch, units)
        self.d_y, self.d_h, self.d_c = draw(*out), draw(batch, units), draw(batch, units)

    def run(self, module, dtype, need_d_x=True):
        """y, h, c and the six gradients."""

        def cast(array):
            return None if array is None else array.astype(dtype, copy=False)

        packed = module.lstm_pack(cast(self.kernel), cast(self.recurrent), cast(self.bias), training=True)
        states = {"h0": cast(self.h0), "c0": cast(self.c0)} if self.state else {}
        *outputs, saved = module.lstm_forward(
            cast(self.x), packed, mask=self.mask, training=True, **states, **self.options
        )
        return outputs, module.lstm_backward(saved, cast(self.d_y), cast(self.d_h), cast(self.d_c), need_d_x=need_d_x)

    def compare(self, module):
        outputs, gradients = self.run(module, self.dtype)
        exact_outputs, exact_gradients = self.run(reference, np.dtype(np.float64))
        for name, actual, exact in zip("yhc", outputs, exact_outputs, strict=True):
            assert_close(actual, exact, self.dtype, self.inner, what=f"{name} {self.shape} {self.options}")
        for name, actual, exact in zip(GRADIENTS, gradients, exact_gradients, strict=True):
            assert_close(actual, exact, self.dtype, self.inner, 2, what=f"{name} {self.shape} {self.options}")


def compare_with_torch(backend, case, dtype):
    """Runs the case's inputs and weights in `dtype`, and holds everything against PyTorch's float64 numbers."""

    def cast(name):
        return case[name].astype(dtype)

    mask = None if case["mask"].all() else case["mask"]
    states = {"h0": cast("h0"), "c0": cast("c0")} if "h0" in case else {}
    packed = backend.lstm_pack(cast("kernel"), cast("recurrent"), cast("bias"), training=True)
    y, h, c, saved = backend.lstm_forward(
        cast("x"), packed, mask=mask, return_sequences=True, zero_output_for_mask=True, training=True, **states
    )
    gradients = backend.lstm_backward(saved, cast("d_y"), cast("d_h"), cast("d_c"))
    actual = {"y": y, "h": h, "c": c, **dict(zip(GRADIENTS, gradients, strict=True))}
    for name, array in actual.items():
        if name in case:
            scale = max(1.0, float(np.abs(case[name]).max()))
            np.testing.assert_allclose(array, case[name], rtol=0, atol=TOLERANCE_TO_TORCH[dtype] * scale, err_msg=name)

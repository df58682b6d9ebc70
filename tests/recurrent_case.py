"""A random call of a recurrent layer, and how close a backend must come to the reference in float64.

float32 is held to 4 ceil(log2(K T)) eps of the scale of the values (K the inner dimension of the products), backward to
twice that; float64 likewise.
"""

from __future__ import annotations

import math

import numpy as np

from fusedlstm.backends import reference
from fusedlstm.backends.reference_recurrent import Gradients

GATES = ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "softsign", "elu", "softplus"]
GRADIENTS = Gradients._fields
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


GATE_COUNT = {"lstm": 4, "gru": 3, "simple_rnn": 1}


class Case:
    """A random call of a recurrent layer, and the same numbers in any dtype for the backend under test.

    `input_dropout` and `recurrent_dropout` are numbers of masks: 0, 1 or one a gate.
    """

    def __init__(
        self,
        rng,
        dtype,
        batch,
        steps,
        inputs,
        units,
        *,
        cell="lstm",
        bias=True,
        state=True,
        mask=None,
        gain=1.0,
        input_dropout=0,
        recurrent_dropout=0,
        peepholes=False,
        reset_after=True,
        gate_recurrence=False,
        projection=None,
        normalization=False,
        zoneout_masks=False,
        **options,
    ):
        gates = GATE_COUNT[cell]
        self.cell, self.dtype, self.inner, self.options = cell, dtype, (inputs + units) * max(steps, 1), options
        self.shape, self.state = (batch, steps, inputs, units), state
        self.mask = rng.random((batch, steps)) < 0.7 if isinstance(mask, str) else mask
        self.pack_options = {"reset_after": reset_after} if cell == "gru" else {}

        def draw(*shape, scale=1.0):
            return (rng.normal(size=shape) * scale).astype(dtype)

        def draw_masks(sets, width):
            return ((rng.random((sets, batch, width)) < 0.75) / 0.75).astype(dtype) if sets else None

        self.x = draw(batch, steps, inputs)
        self.kernel = draw(inputs, gates * units, scale=gain / math.sqrt(max(inputs, 1)))
        outputs = projection or units
        self.recurrent = draw(outputs, gates * units, scale=0.7 * gain / math.sqrt(units))
        bias_shape = (2, 3 * units) if cell == "gru" and reset_after else (gates * units,)
        self.bias = draw(*bias_shape, scale=gain) if bias else None
        self.states = {"h0": draw(batch, outputs)}
        if cell == "lstm":
            self.states["c0"] = draw(batch, units)
        if gate_recurrence:
            self.states["g0"] = draw(batch, 3 * units)
            self.pack_options["gate_recurrence"] = draw(3 * units, 3 * units, scale=0.4 * gain / math.sqrt(units))
        if projection:
            self.pack_options["projection"] = draw(units, projection, scale=1 / math.sqrt(units))
        self.masks = {
            "input_dropout": draw_masks(input_dropout, inputs),
            "recurrent_dropout": draw_masks(recurrent_dropout, outputs),
        }
        if normalization:
            self.masks["normalization"] = draw(10, units) + np.asarray([1.0] * 9 + [0.0], dtype)[:, None]
        if zoneout_masks:
            self.masks["zoneout_h_mask"] = rng.random((steps, batch, outputs)) < 0.3
            self.masks["zoneout_c_mask"] = rng.random((steps, batch, units)) < 0.3
        if peepholes:
            self.masks["peepholes"] = draw(3, units, scale=0.5 * gain)
        self.d_y = draw(batch, steps, outputs) if options.get("return_sequences") else draw(batch, outputs)
        self.d_states = [draw(*state.shape) for state in self.states.values()]

    def function(self, module, name):
        return getattr(module, f"{self.cell}_{name}")

    def forward(self, module, dtype, training=True, training_pack=False):
        """What the forward call returns, `saved` last."""

        def cast(array):
            if not isinstance(array, np.ndarray) or array.dtype == bool:
                return array
            return array.astype(dtype, copy=False)

        packed = self.function(module, "pack")(
            cast(self.kernel),
            cast(self.recurrent),
            cast(self.bias),
            training=training or training_pack,
            **{name: cast(option) for name, option in self.pack_options.items()},
        )
        states = {name: cast(state) for name, state in self.states.items() if self.state}
        masks = {name: cast(array) for name, array in self.masks.items()}
        return self.function(module, "forward")(
            cast(self.x), packed, mask=self.mask, training=training, **states, **masks, **self.options
        )

    def run(self, module, dtype, need_d_x=True):
        """The outputs and the gradients."""
        *outputs, saved = self.forward(module, dtype)
        gradients = [array.astype(dtype, copy=False) for array in (self.d_y, *self.d_states)]
        return outputs, self.function(module, "backward")(saved, *gradients, need_d_x=need_d_x)

    def compare(self, module):
        """Hold outputs and gradients of a backend against the reference's in float64."""
        outputs, gradients = self.run(module, self.dtype)
        exact_outputs, exact_gradients = self.run(reference, np.dtype(np.float64))
        what = f"{self.cell} {self.shape} {self.options}"
        for name, actual, exact in zip("yhcg", outputs, exact_outputs, strict=False):
            assert_close(actual, exact, self.dtype, self.inner, what=f"{name} {what}")
        for name, actual, exact in zip(GRADIENTS, gradients, exact_gradients, strict=True):
            if exact is None:
                assert actual is None, name
            else:
                assert_close(actual, exact, self.dtype, self.inner, 2, what=f"{name} {what}")


def compare_with_torch(backend, case, dtype):
    """Runs the case's inputs and weights in `dtype`, and holds everything against PyTorch's float64 numbers."""

    def cast(name):
        return case[name].astype(dtype)

    mask = None if case["mask"].all() else case["mask"]
    states = {"h0": cast("h0"), "c0": cast("c0")} if "h0" in case else {}
    projection = cast("projection") if "projection" in case else None
    packed = backend.lstm_pack(cast("kernel"), cast("recurrent"), cast("bias"), training=True, projection=projection)
    y, h, c, saved = backend.lstm_forward(
        cast("x"), packed, mask=mask, return_sequences=True, zero_output_for_mask=True, training=True, **states
    )
    gradients = backend.lstm_backward(saved, cast("d_y"), cast("d_h"), cast("d_c"))
    actual = {"y": y, "h": h, "c": c, **gradients._asdict()}
    for name, array in actual.items():
        if name in case:
            scale = max(1.0, float(np.abs(case[name]).max()))
            np.testing.assert_allclose(array, case[name], rtol=0, atol=TOLERANCE_TO_TORCH[dtype] * scale, err_msg=name)

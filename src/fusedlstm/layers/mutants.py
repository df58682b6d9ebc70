"""MUT1, MUT2 and MUT3: the cells that a search over ten thousand found (Jozefowicz, Zaremba and Sutskever 2015)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusedlstm import activations, constraints, initializers, regularizers
from fusedlstm.layers.base import Array, Shape, show_shape
from fusedlstm.layers.cells import Cell, StepBackward
from fusedlstm.variables import Variable


class Mutant(Cell):
    """Base of the three: h' = z tanh(A) + (1 - z) h, with gates z and r, and A of x and r h. For `RNN`; in NumPy.

    Parameters
    ----------
    units : int
        H, the width of the output and of the state.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
    **kwargs
        name, dtype and trainable.
    """

    #: What has a product with x, with h: the parts of kernel and recurrent_kernel, side by side.
    of_x: ClassVar[str]
    of_h: ClassVar[str]
    #: Where x itself goes in.
    plain_x: ClassVar[str] = ""

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = self.positive_integer("units", units)
        self.use_bias = self.boolean("use_bias", use_bias)
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.recurrent_initializer = self.initializer("recurrent_initializer", recurrent_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.kernel_regularizer = self.regularizer("kernel_regularizer", kernel_regularizer)
        self.recurrent_regularizer = self.regularizer("recurrent_regularizer", recurrent_regularizer)
        self.bias_regularizer = self.regularizer("bias_regularizer", bias_regularizer)
        self.kernel_constraint = self.constraint("kernel_constraint", kernel_constraint)
        self.recurrent_constraint = self.constraint("recurrent_constraint", recurrent_constraint)
        self.bias_constraint = self.constraint("bias_constraint", bias_constraint)
        self.inputs: int | None = None  # I, once built
        self._sigmoid = activations.get("sigmoid").forward

    def expected_inputs(self) -> str:
        width = self.units if self.plain_x else "features" if self.inputs is None else self.inputs
        return f"(batch, {width})" + (" as wide as the state" if self.plain_x else "")

    def fits(self, shape: Shape) -> bool:
        width = self.units if self.plain_x else self.inputs
        return len(shape) == 2 and (width is None or shape[1] in (width, None))

    def build(self, input_shape: Any) -> None:
        """Create kernel, recurrent_kernel and, with `use_bias`, bias, for inputs (B,I)."""
        _, inputs = self.check_shape(input_shape)
        if inputs is None:
            raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(input_shape)}")
        units = self.units
        self.kernel = self._weight("kernel", (inputs, len(self.of_x) * units), "kernel")
        self.recurrent_kernel = self._weight("recurrent_kernel", (units, len(self.of_h) * units), "recurrent")
        self.bias = self._weight("bias", (3 * units,), "bias") if self.use_bias else None
        self.inputs = inputs
        self.set_variables([self.kernel, self.recurrent_kernel, *([] if self.bias is None else [self.bias])])

    def _weight(self, name: str, shape: tuple[int, ...], part: str) -> Variable:
        initializer, regularizer, constraint = (
            getattr(self, f"{part}_{kind}") for kind in ("initializer", "regularizer", "constraint")
        )
        return self.new_weight(name, shape, initializer, regularizer=regularizer, constraint=constraint)

    def _split(self, weights: Array, parts: str) -> dict[str, Array]:
        return dict(zip(parts, np.split(weights, len(parts), axis=1), strict=True))

    def seen_by_z(self, h: Array) -> tuple[Array, Array]:
        """What the gate z has of the state, and its derivative."""
        return h, np.ones_like(h)

    def seen_by_a(self, x: Array) -> tuple[Array, Array]:
        """What A has of x without a product, and its derivative."""
        return np.tanh(x), 1 - np.tanh(x) ** 2

    def forward(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> tuple[Array, list[Any], StepBackward]:
        x = self.check_inputs(inputs)
        (h,) = self.check_states(states, len(x))
        w, u = self._split(self.kernel.value, self.of_x), self._split(self.recurrent_kernel.value, self.of_h)
        bias = np.zeros((1, 3 * self.units), x.dtype, like=x) if self.bias is None else self.bias.value[None]
        pre = {part: np.repeat(b, len(x), axis=0) for part, b in self._split(bias, "zra").items()}
        for part, weights in w.items():
            pre[part] += x @ weights
        for_z, d_for_z = self.seen_by_z(h)
        if "z" in u:
            pre["z"] += for_z @ u["z"]
        pre["r"] += h @ u["r"]
        if self.plain_x == "r":
            pre["r"] += x
        z, r = self._sigmoid(pre["z"]), self._sigmoid(pre["r"])
        pre["a"] += (r * h) @ u["a"]
        for_a, d_for_a = self.seen_by_a(x) if self.plain_x == "a" else (x, x)
        if self.plain_x == "a":
            pre["a"] += for_a
        a = np.tanh(pre["a"])
        new_h = z * a + (1 - z) * h

        def backward(d_output: Any, d_states: Any) -> tuple[Array, list[Array]]:
            d_new = d_output + d_states[0]
            d = {"a": d_new * z * (1 - a * a), "z": d_new * (a - h) * z * (1 - z)}
            d_reset = d["a"] @ u["a"].T
            d["r"] = d_reset * h * r * (1 - r)
            d_h = d_new * (1 - z) + d_reset * r + d["r"] @ u["r"].T
            if "z" in u:
                d_h += d["z"] @ u["z"].T * d_for_z
            d_x = np.concatenate([d[part] for part in self.of_x], axis=1) @ self.kernel.value.T
            if self.plain_x:
                d_x += d["r"] if self.plain_x == "r" else d["a"] * d_for_a
            self.gradients = []
            if self.trainable:
                seen = {"z": for_z, "r": h, "a": r * h}
                self.gradients = [
                    x.T @ np.concatenate([d[part] for part in self.of_x], axis=1),
                    np.concatenate([seen[part].T @ d[part] for part in self.of_h], axis=1),
                ]
                if self.use_bias:
                    self.gradients.append(np.concatenate([d[part].sum(axis=0) for part in "zra"]))
            return d_x, [d_h]

        return new_h, [new_h], backward

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "units": self.units, "use_bias": self.use_bias}
        for part in ("kernel", "recurrent", "bias"):
            for kind, module in (
                ("initializer", initializers),
                ("regularizer", regularizers),
                ("constraint", constraints),
            ):
                name = f"{part}_{kind}"
                config[name] = module.serialize(getattr(self, name))  # type: ignore[attr-defined]
        return config


class MUT1(Mutant):
    """``z = s(W_z x + b_z)``, ``r = s(W_r x + U_r h + b_r)``, ``A = U_a (r h) + tanh(x) + b_a``; inputs as wide as h.

    Then ``h' = z tanh(A) + (1 - z) h``. The weights are kernel (I,2H), parts z r, recurrent_kernel (H,2H), parts r a,
    and bias (3H,), parts z r a. The arguments are those of `Mutant`.
    """

    of_x = "zr"
    of_h = "ra"
    plain_x = "a"


class MUT2(Mutant):
    """``z = s(W_z x + U_z h + b_z)``, ``r = s(x + U_r h + b_r)``, ``A = U_a (r h) + W_a x + b_a``; inputs as wide as h.

    Then ``h' = z tanh(A) + (1 - z) h``. The weights are kernel (I,2H), parts z a, recurrent_kernel (H,3H) and bias
    (3H,), parts z r a. The arguments are those of `Mutant`.
    """

    of_x = "za"
    of_h = "zra"
    plain_x = "r"


class MUT3(Mutant):
    """``z = s(W_z x + U_z tanh(h) + b_z)``, ``r = s(W_r x + U_r h + b_r)``, ``A = U_a (r h) + W_a x + b_a``.

    Then ``h' = z tanh(A) + (1 - z) h``. The weights are kernel (I,3H), recurrent_kernel (H,3H) and bias (3H,), parts
    z r a. The arguments are those of `Mutant`.
    """

    of_x = "zra"
    of_h = "zra"

    def seen_by_z(self, h: Array) -> tuple[Array, Array]:
        squashed = np.tanh(h)
        return squashed, 1 - squashed**2

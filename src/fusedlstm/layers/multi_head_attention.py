"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm import backends, constraints, initializers, regularizers
from fusedlstm.backends import placement
from fusedlstm.layers.activation import softmax_backward, softmax_in_place
from fusedlstm.layers.attention import attention_dropout, causal_mask
from fusedlstm.layers.base import Array, Backward, Shape, show_shape
from fusedlstm.layers.shared import SeveralInputs
from fusedlstm.variables import Variable


class MultiHeadAttention(SeveralInputs):
    """Scaled dot-product attention of several heads to projections of query, key and value, projected back.

    Called as ``layer(query, value, key=None)`` on (B,T,Q), (B,S,V) and (B,S,K); the values are the keys too if there
    are no others. The outputs are (B,T,Q), or (B,T,*output_shape).

    The weights, each kernel followed by its bias, with N the heads: query (Q,N,key_dim) and (N,key_dim), key
    (K,N,key_dim), value (V,N,value_dim), attention_output (N,value_dim,*output) and output.

    Parameters
    ----------
    num_heads : int
        N.
    key_dim : int
        Of each head's queries and keys.
    value_dim : int, optional
        Of each head's values; `key_dim` if None.
    dropout : float
        Of the weights after the softmax.
    use_bias : bool
    output_shape : int or tuple of int, optional
        Of each step of the outputs; the query's features if None.
    attention_axes : None or 1
        The axis of the steps; others are not available.
    sliding_window : int, optional
        Attend only to steps less than so many away.
    flash_attention
        Accepted for the sake of programs that have it, without effect.
    kernel_initializer, bias_initializer : str or Initializer
        Each of the four projections draws anew.
    kernel_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    use_gate
        Not available: True raises.
    seed : int, optional
        Of dropout.
    **kwargs
        Those of `Layer`.

    Notes
    -----
    Masks (B,T) of the query and (B,S) of value and key, and an `attention_mask` (B,T,S) or (T,S), are combined:
    weights are 0 wherever one is False, and a query with nothing left to attend to gets the output's bias. The
    outputs' mask is the query's.
    """

    least, most = 2, 3
    mask_arguments = ("attention_mask",)
    call_arguments = ("attention_mask", "return_attention_scores", "use_causal_mask")

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.num_heads = self.positive_integer("num_heads", num_heads)
        self.key_dim = self.positive_integer("key_dim", key_dim)
        self.value_dim = self.key_dim if value_dim is None else self.positive_integer("value_dim", value_dim)
        self._dropout = attention_dropout(self, dropout, seed)
        self.dropout, self.seed = float(dropout), seed
        self.use_bias = self.boolean("use_bias", use_bias)
        self.output_shape: tuple[int, ...] | None = None
        if output_shape is not None:
            sizes = output_shape if isinstance(output_shape, list | tuple) else (output_shape,)
            self.output_shape = tuple(self.positive_integer("output_shape", n) for n in sizes)
        if attention_axes not in (None, 1, -2, (1,), [1], (-2,), [-2]):
            raise ValueError(f"{self.label}: expected attention_axes None or 1, got {attention_axes!r}")
        self.sliding_window = (
            None if sliding_window is None else self.positive_integer("sliding_window", sliding_window)
        )
        self.kernel_initializer = self.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = self.initializer("bias_initializer", bias_initializer)
        self.kernel_regularizer = self.regularizer("kernel_regularizer", kernel_regularizer)
        self.bias_regularizer = self.regularizer("bias_regularizer", bias_regularizer)
        self.kernel_constraint = self.constraint("kernel_constraint", kernel_constraint)
        self.bias_constraint = self.constraint("bias_constraint", bias_constraint)
        self.unavailable("use_gate", use_gate, False)
        self._features: list[int] | None = None  # Q, V, K, once built

    def expected_inputs(self) -> str:
        if self._features is None:
            return "query (batch, steps, features), value and key of the same steps"
        q, v, k = self._features
        return f"query (batch, steps, {q}), value (batch, other steps, {v}), key (batch, other steps, {k})"

    def fits_all(self, shapes: list[Shape]) -> bool:
        three = shapes if len(shapes) == 3 else [*shapes, shapes[1]]
        if any(len(shape) != 3 for shape in three):
            return False
        query, value, key = three
        pairs = [(query[0], value[0]), (query[0], key[0]), (value[1], key[1])]
        if self._features is not None:
            pairs += [(shape[2], n) for shape, n in zip(three, self._features, strict=True)]
        return all(a is None or b is None or a == b for a, b in pairs)

    def build(self, input_shape: Any) -> None:
        """Create the weights of the four projections, for inputs of known features."""
        shapes = self.check_shapes(input_shape)
        shapes = shapes if len(shapes) == 3 else [*shapes, shapes[1]]
        features = [shape[2] for shape in shapes if shape[2] is not None]
        if len(features) < 3:
            got = ", ".join(map(show_shape, shapes))
            raise ValueError(f"{self.label}: expected known numbers of features, got {got}")
        heads, output = self.num_heads, self.output_shape or (features[0],)
        self._projections: list[tuple[Variable, Variable | None]] = []
        for name, kernel, bias in (
            ("query", (features[0], heads, self.key_dim), (heads, self.key_dim)),
            ("key", (features[2], heads, self.key_dim), (heads, self.key_dim)),
            ("value", (features[1], heads, self.value_dim), (heads, self.value_dim)),
            ("attention_output", (heads, self.value_dim, *output), output),
        ):
            self._projections.append(self._new_projection(name, kernel, bias))
        self._features = features
        self.set_variables([v for pair in self._projections for v in pair if v is not None])

    def _new_projection(
        self, name: str, kernel: tuple[int, ...], bias: tuple[int, ...]
    ) -> tuple[Variable, Variable | None]:
        def fresh(initializer: Any) -> Any:
            # One without a seed of its own would give every projection of one shape the same values.
            if isinstance(initializer, initializers.Initializer):
                return type(initializer).from_config(initializer.get_config())
            return initializer

        made = self.new_weight(
            f"{name}/kernel",
            kernel,
            fresh(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if not self.use_bias:
            return made, None
        return made, self.new_weight(
            f"{name}/bias",
            bias,
            fresh(self.bias_initializer),
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        query = self.check_shapes(input_shape)[0]
        return (*query[:2], *(self.output_shape or query[2:]))

    def call_shape(self, input_shape: Any, state_shapes: Any, arguments: Mapping[str, Any]) -> Any:
        y = self.compute_output_shape(input_shape)
        attention_mask = arguments.get("attention_mask")
        if attention_mask is not None:
            self._check_attention_mask(np.shape(attention_mask), (y[0], input_shape[0][1], input_shape[1][1]))
        if not arguments.get("return_attention_scores"):
            return y
        return [y, (y[0], self.num_heads, input_shape[0][1], input_shape[1][1])]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The query's."""
        return None if mask is None else mask[0]

    def __call__(  # type: ignore[override]
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """The outputs, or ``[outputs, weights]`` with `return_attention_scores`, weights (B,N,T,S)."""
        inputs = [query, value] if key is None else [query, value, key]
        masks = [query_mask, value_mask, key_mask]
        if key is None and key_mask is not None:
            value_mask = key_mask if value_mask is None else np.logical_and(value_mask, key_mask)
            masks = [query_mask, value_mask]
        return super().__call__(
            inputs,
            training=training,
            mask=None if all(m is None for m in masks) else masks[: len(inputs)],
            attention_mask=attention_mask,
            return_attention_scores=return_attention_scores,
            use_causal_mask=use_causal_mask,
        )

    def _allowed(self, masks: Any, attention_mask: Any, causal: bool, shape: tuple[int, int, int]) -> Array | None:
        """All masks together, to broadcast against (B,N,T,S)."""
        batch, queries, keys = shape
        parts = []
        if masks is not None:
            sizes = [(batch, queries), (batch, keys), (batch, keys)]
            for k, (mask, size) in enumerate(zip(masks, sizes, strict=False)):
                if mask is not None:
                    checked = self.check_mask(mask, size)
                    parts.append(checked[:, None, :, None] if k == 0 else checked[:, None, None])
        if attention_mask is not None:
            given = placement.as_array(attention_mask)
            self._check_attention_mask(given.shape, shape)
            checked = self.check_mask(given, given.shape)
            parts.append(checked[:, None] if checked.ndim == 3 else checked)
        if causal:
            parts.append(causal_mask(queries, keys))
        if self.sliding_window is not None:
            distance = np.abs(np.arange(queries)[:, None] - np.arange(keys))
            parts.append(distance < self.sliding_window)
        allowed: Array | None = None
        for part in parts:
            allowed = part if allowed is None else allowed & part
        return allowed

    def _check_attention_mask(self, given: Shape, expected: Shape) -> None:
        """Raise a ValueError unless a mask of this shape goes with (B,T,S); sizes that are not known fit any."""
        pairs = list(zip(reversed(given), reversed(expected), strict=False))
        if len(given) not in (2, 3) or any(n != 1 and n != m and None not in (n, m) for n, m in pairs):
            raise ValueError(f"{self.label}: expected attention_mask {show_shape(expected)}, got {show_shape(given)}")

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        """Attend.

        Parameters
        ----------
        inputs : [query, value] or [query, value, key]
        training : bool
        mask : [query_mask, value_mask] or [query_mask, value_mask, key_mask], optional
            (B,T) and (B,S), each maybe None.
        attention_mask : (B,T,S) or (T,S) array of bool, optional
        return_attention_scores, use_causal_mask : bool
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : (B,T,...) array, or with `return_attention_scores` a list with the weights (B,N,T,S)
        backward : function or None
            Takes the gradient of the outputs (any of a list's may be None: zero); returns a list of the inputs'.
        """
        arrays = self.check_arrays(inputs)
        query, value, key = arrays if len(arrays) == 3 else (*arrays, arrays[1])
        batch, queries, keys = len(query), query.shape[1], value.shape[1]
        if mask is not None and (not isinstance(mask, list | tuple) or len(mask) != len(arrays)):
            got = f"{len(mask)} masks" if isinstance(mask, list | tuple) else type(mask).__name__
            raise ValueError(f"{self.label}: expected mask to be a list of {len(arrays)}, as the inputs, got {got}")
        allowed = self._allowed(mask, attention_mask, use_causal_mask, (batch, queries, keys))
        matmul, heads = backends.current().matmul, self.num_heads
        (w_q, b_q), (w_k, b_k), (w_v, b_v), (w_o, b_o) = self._projections

        def project(x: Array, kernel: Variable, bias: Variable | None) -> Array:
            """(B,N,T,dim): the heads as a view of one product."""
            flat = x.reshape(math.prod(x.shape[:2]), x.shape[2])
            weight = kernel.value.reshape(len(kernel), math.prod(kernel.shape[1:]))
            z = matmul(flat, weight, None if bias is None else bias.value.ravel())
            return z.reshape(*x.shape[:2], heads, kernel.shape[2]).swapaxes(1, 2)  # type: ignore[no-any-return]

        q, k, v = project(query, w_q, b_q), project(key, w_k, b_k), project(value, w_v, b_v)
        scale = self.dtype.type(1 / math.sqrt(self.key_dim))
        q *= scale
        weights = softmax_in_place(np.matmul(q, k.swapaxes(2, 3)), allowed)
        keep = training if need_backward is None else need_backward
        dropped, through_dropout = weights, None
        if self._dropout is not None and training:
            dropped, through_dropout = self._dropout.forward(weights, True, need_backward=keep)
        context = np.empty((batch, queries, heads, self.value_dim), self.dtype, like=query)
        np.matmul(dropped, v, out=context.swapaxes(1, 2))
        context = context.reshape(batch * queries, heads * self.value_dim)
        out_kernel = w_o.value.reshape(context.shape[1], math.prod(w_o.shape[2:]))
        z = matmul(context, out_kernel, None if b_o is None else b_o.value.ravel())
        y = z.reshape(batch, queries, *w_o.shape[2:])
        outputs = [y, weights] if return_attention_scores else y
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> list[Array] | None:
            d_y, d_given = d_outputs if return_attention_scores else (d_outputs, None)
            d_y = self.check_gradient("y", d_y, y.shape, optional=return_attention_scores)
            d_given = self.check_gradient("attention_scores", d_given, weights.shape, optional=True)
            d_z = np.zeros_like(z) if d_y is None else d_y.reshape(z.shape)
            d_context = matmul(d_z, out_kernel.T).reshape(batch, queries, heads, self.value_dim).swapaxes(1, 2)
            d_weights = np.matmul(d_context, v.swapaxes(2, 3))
            if through_dropout is not None:
                d_weights = through_dropout(d_weights)
            if d_given is not None:
                d_weights = d_weights + d_given
            d_scores = softmax_backward(d_weights, weights, out=d_weights)
            gradients: list[Array] = []

            def unproject(x: Array, d_left: Array, d_right: Array, kernel: Variable) -> Array | None:
                """From the two factors of the gradient of (B,N,T,dim) to that of x; keeps the weights' gradients."""
                d_heads = np.empty((*x.shape[:2], heads, kernel.shape[2]), self.dtype, like=x)
                np.matmul(d_left, d_right, out=d_heads.swapaxes(1, 2))
                d_flat = d_heads.reshape(math.prod(x.shape[:2]), heads * kernel.shape[2])
                if self.trainable:
                    flat = x.reshape(len(d_flat), x.shape[2])
                    gradients.append(np.matmul(flat.T, d_flat).reshape(kernel.shape))
                    if self.use_bias:
                        gradients.append(d_flat.sum(axis=0).reshape(kernel.shape[1:]))
                if not need_d_inputs:
                    return None
                d_x: Array = matmul(d_flat, kernel.value.reshape(len(kernel), d_flat.shape[1]).T).reshape(x.shape)
                return d_x

            d_query = unproject(query, d_scores, k * scale, w_q)
            d_key = unproject(key, d_scores.swapaxes(2, 3), q, w_k)  # q holds the scale already
            d_value = unproject(value, dropped.swapaxes(2, 3), d_context, w_v)
            if self.trainable:
                gradients.append(np.matmul(context.T, d_z).reshape(w_o.shape))
                if self.use_bias:
                    gradients.append(d_z.sum(axis=0).reshape(w_o.shape[2:]))
            self.gradients = gradients
            if d_query is None or d_key is None or d_value is None:
                return None
            return [d_query, d_value, d_key] if len(arrays) == 3 else [d_query, d_value + d_key]

        return outputs, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": self.output_shape,
            "sliding_window": self.sliding_window,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "seed": self.seed,
        }

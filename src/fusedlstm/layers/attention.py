"""Attention of one sequence to another: dot products (Luong et al. 2015) or sums (Bahdanau et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fusedlstm import initializers, random
from fusedlstm.backends import placement
from fusedlstm.layers.activation import softmax_backward, softmax_in_place
from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape
from fusedlstm.layers.shared import SeveralInputs
from fusedlstm.layers.simple import Dropout
from fusedlstm.variables import Variable


def causal_mask(queries: int, keys: int) -> Array:
    """(queries,keys), True where the key is no later than the query."""
    return np.tri(queries, keys, dtype=bool)


def attention_dropout(layer: Layer, rate: Any, seed: Any) -> Dropout | None:
    """The dropout of a layer's attention weights, None at rate 0; errors name the layer."""
    rate = layer.fraction("dropout", rate)
    if seed is not None:
        random.check_seed(layer.label, seed)
    return Dropout(rate, seed=seed, name=f"{layer.name}_dropout", dtype=layer.dtype) if rate else None


def _d_tanh(y: Array, d_scores: Array) -> Array:
    """Through the tanh y (B,Tq,Tv,D), for scores (B,Tq,Tv) that are its sums."""
    d = y * y
    np.subtract(1, d, out=d)
    d *= d_scores[..., None]
    return d


def _sums(d: Array) -> tuple[Array, Array]:
    """(B,Tq,Tv,D) over the values, and over the queries; as products, which are faster than sums."""
    batch, queries, values, features = d.shape
    over_values = np.matmul(np.ones((1, values), d.dtype, like=d), d)[:, :, 0]
    over_queries = np.matmul(np.ones((1, queries), d.dtype, like=d), d.reshape(batch, queries, values * features))
    return over_values, over_queries.reshape(batch, values, features)


class Attention(SeveralInputs):
    """For each query, the mean of the values, weighted by the softmax of the scores of its keys.

    Called on ``[query, value]`` or ``[query, value, key]``, of shapes (B,Tq,D), (B,Tv,V) and (B,Tv,D); the values are
    the keys too if there are no others. The outputs are (B,Tq,V).

    Parameters
    ----------
    use_scale : bool
        Multiply the scores by a weight, ``scale`` (a single number, 1 at first); without it, they are not scaled.
    score_mode : {"dot", "concat"}
        ``query . key``, or ``w sum(tanh(scale (query + key)))`` with another weight ``concat_score_weight``.
    dropout : float
        Of the weights after the softmax.
    seed : int, optional
        Of dropout.
    **kwargs
        Those of `Layer`.

    Notes
    -----
    With the call go a mask ``[query_mask, value_mask]`` (or three; the last is not heeded), (B,Tq) and (B,Tv), each
    maybe None: masked values get no weight, masked queries the output 0, and the outputs' mask is the query's. A
    query without any value to attend to gets 0. ``use_causal_mask=True`` hides later values from a query.
    ``return_attention_scores=True`` gives the list ``[outputs, weights]``, weights (B,Tq,Tv).
    """

    mask_is_second = True
    least, most = 2, 3
    call_arguments = ("return_attention_scores", "use_causal_mask")

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = self.boolean("use_scale", use_scale)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"{self.label}: expected score_mode 'dot' or 'concat', got {score_mode!r}")
        self.score_mode = score_mode
        self._dropout = attention_dropout(self, dropout, seed)
        self.dropout, self.seed = float(dropout), seed
        self.scale: Variable | None = None
        self.concat_score_weight: Variable | None = None

    def expected_inputs(self) -> str:
        return "[query, value] or [query, value, key] of (batch, steps, features)"

    def fits_all(self, shapes: list[Shape]) -> bool:
        query, value, key = shapes if len(shapes) == 3 else (*shapes, shapes[1])
        pairs = [(query[0], value[0]), (query[0], key[0]), (query[-1], key[-1]), (value[1:2], key[1:2])]
        return all(len(s) == 3 for s in shapes) and all(None in (a, b) or a == b or (None,) in (a, b) for a, b in pairs)

    def build(self, input_shape: Any) -> None:
        """Create scale and concat_score_weight as far as there are such."""
        self.check_shapes(input_shape)
        variables = []
        if self.use_scale:
            self.scale = self.new_weight("scale", (), initializers.Ones())
            variables.append(self.scale)
        if self.score_mode == "concat":
            self.concat_score_weight = self.new_weight("concat_score_weight", (), initializers.Ones())
            variables.append(self.concat_score_weight)
        self.set_variables(variables)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self.check_shapes(input_shape)
        return (*shapes[0][:-1], shapes[1][-1])

    def call_shape(self, input_shape: Any, state_shapes: Any, arguments: Mapping[str, Any]) -> Any:
        y = self.compute_output_shape(input_shape)
        if not arguments.get("return_attention_scores"):
            return y
        return [y, (*y[:2], input_shape[1][1])]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The query's."""
        return None if mask is None else mask[0]

    def _scores(self, query: Array, key: Array) -> tuple[Array, Any]:
        """(B,Tq,Tv) scores, and the function from their gradient to those of query and key and the weights'."""
        scale = None if self.scale is None else self.scale.value
        if self.score_mode == "dot":
            products = np.matmul(query, key.swapaxes(1, 2))
            scores = products if scale is None else products * scale  # to be written over

            def through_products(d_scores: Array) -> tuple[Array, Array, list[Array]]:
                d_products = d_scores if scale is None else d_scores * scale
                d_scale = [] if scale is None else [placement.as_array((d_scores * products).sum())]
                return np.matmul(d_products, key), np.matmul(d_products.swapaxes(1, 2), query), d_scale

            return scores, through_products

        assert self.concat_score_weight is not None
        weight = self.concat_score_weight.value
        sums = query[:, :, None] + key[:, None]  # (B,Tq,Tv,D)
        squashed = np.tanh(sums if scale is None else sums * scale)
        totals = np.matmul(squashed, np.ones(query.shape[-1], self.dtype, like=query))

        def through_sums(d_scores: Array) -> tuple[Array, Array, list[Array]]:
            d_sums = _d_tanh(squashed, d_scores * weight)
            gradients = [placement.as_array((d_scores * totals).sum())]
            if scale is not None:
                gradients.insert(0, placement.as_array(np.vdot(d_sums, sums)))
                d_sums *= scale
            return *_sums(d_sums), gradients

        return totals * weight, through_sums

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
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
        mask : [query_mask, value_mask], optional
            (B,Tq) and (B,Tv), each maybe None.
        return_attention_scores, use_causal_mask : bool
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : (B,Tq,V) array, or with `return_attention_scores` a list with the weights (B,Tq,Tv)
        backward : function or None
            Takes the gradient of the outputs (any of a list's may be None: zero); returns a list of the inputs'.
        """
        arrays = self.check_arrays(inputs)
        query, value, key = arrays if len(arrays) == 3 else (*arrays, arrays[1])
        query_mask, allowed = self._check_mask_pair(mask, arrays)
        if use_causal_mask:
            causal = causal_mask(query.shape[1], value.shape[1])
            allowed = causal if allowed is None else allowed & causal
        scores, through_scores = self._scores(query, key)
        weights = softmax_in_place(scores, allowed)
        keep = training if need_backward is None else need_backward
        dropped, through_dropout = weights, None
        if self._dropout is not None and training:
            dropped, through_dropout = self._dropout.forward(weights, True, need_backward=keep)
        y = np.matmul(dropped, value)
        if query_mask is not None:
            y *= query_mask
        outputs = [y, dropped] if return_attention_scores else y
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> list[Array] | None:
            d_y, d_dropped = d_outputs if return_attention_scores else (d_outputs, None)
            d_y = self.check_gradient("y", d_y, y.shape, optional=return_attention_scores)
            d_dropped = self.check_gradient("attention_scores", d_dropped, dropped.shape, optional=True)
            d_y = np.zeros_like(y) if d_y is None else d_y if query_mask is None else d_y * query_mask
            d_value = np.matmul(dropped.swapaxes(1, 2), d_y)
            d_weights = np.matmul(d_y, value.swapaxes(1, 2))
            if d_dropped is not None:
                d_weights += d_dropped
            if through_dropout is not None:
                d_weights = through_dropout(d_weights)
            d_query, d_key, gradients = through_scores(softmax_backward(d_weights, weights, out=d_weights))
            self.gradients = gradients if self.trainable else []
            if not need_d_inputs:
                return None
            return [d_query, d_value, d_key] if len(arrays) == 3 else [d_query, d_value + d_key]

        return outputs, backward

    def _check_mask_pair(self, mask: Any, arrays: list[Array]) -> tuple[Array | None, Array | None]:
        """The query's mask as (B,Tq,1), the values' as (B,1,Tv)."""
        if mask is None:
            return None, None
        if not isinstance(mask, list | tuple) or len(mask) not in (2, 3):
            got = f"{len(mask)} masks" if isinstance(mask, list | tuple) else type(mask).__name__
            raise ValueError(f"{self.label}: expected mask to be a list [query_mask, value_mask], got {got}")
        query, value = (
            None if m is None else self.check_mask(m, x.shape[:2]) for m, x in zip(mask[:2], arrays[:2], strict=True)
        )
        return None if query is None else query[:, :, None], None if value is None else value[:, None]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """`Attention` with the scores ``sum(scale tanh(query + key))``.

    Parameters
    ----------
    use_scale : bool
        Weigh the features by a weight, ``scale`` (D,); else each counts 1.
    dropout : float
    seed : int, optional
    **kwargs
        Those of `Layer`.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        if "score_mode" in kwargs:
            raise TypeError(f"{type(self).__name__}: unknown argument 'score_mode'")
        super().__init__(use_scale, "dot", dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Create scale, for a query of a known number of features."""
        shapes = self.check_shapes(input_shape)
        if self.use_scale:
            features = shapes[0][-1]
            if features is None:
                raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(shapes[0])}")
            self.scale = self.new_weight("scale", (features,), initializers.GlorotUniform())
        self.set_variables([] if self.scale is None else [self.scale])

    def fits_all(self, shapes: list[Shape]) -> bool:
        features = None if self.scale is None else self.scale.shape[0]
        return super().fits_all(shapes) and (features is None or shapes[0][-1] in (None, features))

    def _scores(self, query: Array, key: Array) -> tuple[Array, Any]:
        scale = np.ones(query.shape[-1], self.dtype, like=query) if self.scale is None else self.scale.value
        squashed = query[:, :, None] + key[:, None]  # (B,Tq,Tv,D)
        np.tanh(squashed, out=squashed)

        def through_scores(d_scores: Array) -> tuple[Array, Array, list[Array]]:
            d_scale = [] if self.scale is None else [np.tensordot(d_scores, squashed, 3)]
            d_query, d_key = _sums(_d_tanh(squashed, d_scores))
            return d_query * scale, d_key * scale, d_scale

        return np.matmul(squashed, scale), through_scores

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config

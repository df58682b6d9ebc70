"""The embedding layer: a row of a table for each id."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fusedlstm import backends, constraints, initializers, regularizers
from fusedlstm.backends import placement
from fusedlstm.gradients import RowGradient, row_gradients_wanted
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array


class Embedding(Layer):
    """Ids of any shape (B, ...) to vectors (B, ..., output_dim), the rows of the weight embeddings (V,D).

    Parameters
    ----------
    input_dim : int
        V, how many ids there are: 0 ... V - 1.
    output_dim : int
        D.
    embeddings_initializer : str or Initializer
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or Constraint, optional
    mask_zero : bool
        Whether 0 stands for padding: the outputs' mask is ``ids != 0``.
    weights : (V,D) array, or a list that holds it, optional
        To start from.
    input_length
        Accepted for the sake of programs that have it, without effect.
    **kwargs
        Those of `Layer`.

    Notes
    -----
    Ids may be of any integer or float dtype; float32 holds all integers up to 16 777 216 only. An id that is not
    whole or outside 0 ... V - 1 raises a ValueError. The gradient is added up for the rows that were used; there is
    none for the ids, so backward returns None.
    """

    takes_integers = True
    looks_at_inputs = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        *,
        input_length: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = self.positive_integer("input_dim", input_dim)
        self.output_dim = self.positive_integer("output_dim", output_dim)
        self.embeddings_initializer = self.initializer("embeddings_initializer", embeddings_initializer)
        self.embeddings_regularizer = self.regularizer("embeddings_regularizer", embeddings_regularizer)
        self.embeddings_constraint = self.constraint("embeddings_constraint", embeddings_constraint)
        self.mask_zero = self.boolean("mask_zero", mask_zero)
        self.makes_mask = self.mask_zero
        self._warned = False
        if weights is not None:
            table = real_array(self.label, "weights", weights[0] if isinstance(weights, list) else weights)
            shape = (self.input_dim, self.output_dim)
            if table.shape != shape:
                raise ValueError(f"{self.label}: expected weights {shape}, got {table.shape}")
            self.build((None,))
            self.set_weights([table])

    def build(self, input_shape: Any = None) -> None:
        """Create embeddings, once; they do not depend on the inputs' shape."""
        if input_shape is not None:
            self.check_shape(input_shape)
        if self.built:
            return  # what `weights` gave stays
        self.embeddings = self.new_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )
        self.set_variables([self.embeddings])

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*self.check_shape(input_shape), self.output_dim)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Array | None:
        """Where the ids are not 0, with `mask_zero`; the ids' own mask ends here."""
        if self.mask_zero:
            used: Array = placement.as_array(inputs) != 0
            return used
        if mask is not None and not self._warned:
            self._warned = True
            warnings.warn(f"{self.label}: without mask_zero, the mask of the ids ends here", stacklevel=2)
        return None

    def _check_ids(self, inputs: Any) -> Array:
        """The ids as int64, or the error that one of them deserves."""
        given = real_array(self.label, "inputs", inputs)
        self.check_shape(given.shape)
        if given.size:
            low, high = given.min(), given.max()
            if not (low >= 0 and high < self.input_dim):  # NaN is neither
                wrong = placement.fetch(low if not low >= 0 else high)
                raise ValueError(f"{self.label}: expected ids in 0 ... {self.input_dim - 1}, got {wrong}")
        ids = given.astype(np.int64, copy=False)
        if given.dtype.kind == "f" and not np.array_equal(ids, given):
            wrong = placement.fetch(given[ids != given]).flat[0]
            raise ValueError(f"{self.label}: expected ids to be whole numbers, got {wrong}")
        return ids

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B, ...) ids -> (B, ..., D); see `Layer.forward`. The gradient of the ids is None."""
        ids = self._check_ids(inputs)
        if not self.built:
            self.build(ids.shape)
        # Checked above; "raise" would take a copy.
        outputs = self.embeddings.value.take(placement.place(ids), axis=0, mode="clip")
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> None:
            d_y = self.check_gradient("y", d_outputs, outputs.shape)
            self.gradients = []
            if self.trainable:
                self.gradients = [self._gradient(ids, d_y)]

        return outputs, backward

    def _gradient(self, ids: Array, d_y: Array) -> Any:
        """Of the table; where the caller takes that, and most of the rows were not used, of those that were."""
        if not row_gradients_wanted() or 4 * ids.size > self.input_dim:  # with more, runs of rows are too short
            d_table = np.zeros_like(self.embeddings.value)
            backends.current().embedding_gradient(ids, d_y, d_table)
            return d_table
        ids = placement.fetch(ids)
        used = np.zeros(self.input_dim, bool)
        used[ids] = True
        rows = np.flatnonzero(used)
        places = np.empty(self.input_dim, np.int64)
        places[rows] = np.arange(len(rows))
        values = np.zeros((len(rows), self.output_dim), self.dtype, like=d_y)
        backends.current().embedding_gradient(places[ids], d_y, values)
        return RowGradient(rows, values, self.input_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        }

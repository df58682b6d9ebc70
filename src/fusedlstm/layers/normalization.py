"""Normalization: of each sample's features, or of each feature over the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import constraints, initializers, regularizers
from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape
from fusedlstm.layers.shared import axes_last
from fusedlstm.variables import Variable


class _Normalization(Layer):
    """Base of both: the arguments for gamma and beta, and the shape along the axes."""

    def __init__(
        self,
        axis: int | Sequence[int],
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        axes: list[Any] = list(axis) if isinstance(axis, list | tuple) else [axis]
        if not axes or any(isinstance(a, bool) or not isinstance(a, int | np.integer) or a == 0 for a in axes):
            raise ValueError(f"{self.label}: expected axis to be an integer other than 0, or several, got {axis!r}")
        self.axis = [int(a) for a in axes] if isinstance(axis, list | tuple) else int(axes[0])
        self._axes = tuple(int(a) for a in axes)
        number = isinstance(epsilon, int | float | np.number) and not isinstance(epsilon, bool)
        if not number or not math.isfinite(epsilon) or epsilon <= 0:
            raise ValueError(f"{self.label}: expected epsilon to be a finite number above 0, got {epsilon!r}")
        self.epsilon = float(epsilon)
        self.center = self.boolean("center", center)
        self.scale = self.boolean("scale", scale)
        self.beta_initializer = self.initializer("beta_initializer", beta_initializer)
        self.gamma_initializer = self.initializer("gamma_initializer", gamma_initializer)
        self.beta_regularizer = self.regularizer("beta_regularizer", beta_regularizer)
        self.gamma_regularizer = self.regularizer("gamma_regularizer", gamma_regularizer)
        self.beta_constraint = self.constraint("beta_constraint", beta_constraint)
        self.gamma_constraint = self.constraint("gamma_constraint", gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self._sizes: tuple[int, ...] | None = None  # along the axes, once built

    def expected_inputs(self) -> str:
        sizes = "" if self._sizes is None else f" of size {', '.join(map(str, self._sizes))}"
        return f"(batch, ...) with an axis {self.axis}{sizes}"

    def fits(self, shape: Shape) -> bool:
        rank = len(shape)
        if rank < 2 or not all(-rank < a < rank for a in self._axes) or len(set(self._sorted(rank))) < len(self._axes):
            return False
        found = [shape[a] for a in self._sorted(rank)]
        return self._sizes is None or all(n is None or n == m for n, m in zip(found, self._sizes, strict=True))

    def _sorted(self, rank: int) -> tuple[int, ...]:
        return tuple(sorted(a % rank for a in self._axes))

    def _new_weights(self, input_shape: Any) -> tuple[list[Variable], tuple[int, ...]]:
        """gamma and beta as far as there are such, and their shape; the caller sets them when no later one failed."""
        shape = self.check_shape(input_shape)
        sizes = tuple(shape[a] for a in self._sorted(len(shape)))
        known = tuple(n for n in sizes if n is not None)
        if len(known) < len(sizes):
            raise ValueError(f"{self.label}: expected a known size of axis {self.axis}, got {show_shape(shape)}")
        made = []
        for name, used in (("gamma", self.scale), ("beta", self.center)):
            if used:
                initializer, regularizer, constraint = (
                    getattr(self, f"{name}_{part}") for part in ("initializer", "regularizer", "constraint")
                )
                variable = self.new_weight(name, known, initializer, regularizer=regularizer, constraint=constraint)
                setattr(self, name, variable)
                made.append(variable)
        return made, known

    def _scaled(self, normalized: Array, keep: bool) -> Array:
        """``gamma normalized + beta``, of rows (R,D) along the axes; written over them unless they are kept."""
        y = normalized
        if self.gamma is not None:
            y = np.multiply(normalized, self.gamma.value.ravel(), out=None if keep else normalized)
        if self.beta is not None:
            y = np.add(y, self.beta.value.ravel(), out=None if keep and self.gamma is None else y)
        return y

    def _parameter_gradients(self, d_y: Array, normalized: Array) -> None:
        """Of rows (R,D) along the axes; sets `gradients`."""
        self.gradients = []
        if self.trainable:
            if self.gamma is not None:
                self.gradients.append(np.einsum("ij,ij->j", d_y, normalized).reshape(self.gamma.shape))
            if self.beta is not None:
                self.gradients.append(d_y.sum(axis=0).reshape(self.beta.shape))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "gamma_constraint": constraints.serialize(self.gamma_constraint),
        }


class LayerNormalization(_Normalization):
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``, over the features of each sample (Ba et al. 2016).

    The weights are gamma and beta, shaped like the axes.

    Parameters
    ----------
    axis : int or sequence of int
        Over which mean and variance are taken, together; not the batch's.
    epsilon : float
    center, scale : bool
        Whether there is beta; gamma.
    beta_initializer, gamma_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    **kwargs
        Those of `Layer`.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Create gamma and beta, for inputs whose size along the axes is known."""
        variables, self._sizes = self._new_weights(input_shape)
        self.set_variables(variables)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any rank from 2 on; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        rows, back = axes_last(x.shape, self._sorted(x.ndim))
        moved = rows(x)
        size = moved.shape[-1]
        flat = moved.reshape(moved.size // size if size else 0, size)
        normalized = flat - flat.mean(axis=1, keepdims=True) if size else flat.copy()
        variance = np.einsum("ij,ij->i", normalized, normalized)[:, None] / self.dtype.type(max(size, 1))
        inverse = 1 / np.sqrt(variance + self.dtype.type(self.epsilon))
        normalized *= inverse
        keep = training if need_backward is None else need_backward
        gamma = None if self.gamma is None else self.gamma.value.ravel()
        y = self._scaled(normalized, keep)
        outputs = back(y.reshape(moved.shape))
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Array | None:
            d_y = rows(self.check_gradient("y", d_outputs, outputs.shape)).reshape(flat.shape)
            self._parameter_gradients(d_y, normalized)
            if not need_d_inputs:
                return None
            d_normalized = d_y if gamma is None else d_y * gamma
            along = np.einsum("ij,ij->i", d_normalized, normalized)[:, None] / self.dtype.type(max(size, 1))
            d_flat = d_normalized - d_normalized.mean(axis=1, keepdims=True) if size else d_normalized.copy()
            d_flat -= normalized * along
            d_flat *= inverse
            return back(d_flat.reshape(moved.shape))

        return outputs, backward


class BatchNormalization(_Normalization):
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``, over the batch for each feature (Ioffe, Szegedy 2015).

    In training the mean and variance are the batch's, of the steps that the mask uses; and the moving ones follow
    them, ``moving = momentum moving + (1 - momentum) batch``. Else, and always if the layer is not trainable, they
    are the moving ones. The weights are gamma, beta, moving_mean and moving_variance, (F,) each, the last two not
    trainable.

    Parameters
    ----------
    axis : int
        The features'.
    momentum : float
        From 0 to 1.
    epsilon : float
    center, scale : bool
        Whether there is beta; gamma.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    renorm, renorm_clipping, renorm_momentum, synchronized
        Not available: anything but the default raises.
    **kwargs
        Those of `Layer`.

    Notes
    -----
    A batch without any step to use leaves the moving statistics as they are.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        if not isinstance(self.axis, int):
            raise ValueError(f"{self.label}: expected axis to be one integer, got {axis!r}")
        self.momentum = self.fraction("momentum", momentum)
        self.moving_mean_initializer = self.initializer("moving_mean_initializer", moving_mean_initializer)
        self.moving_variance_initializer = self.initializer("moving_variance_initializer", moving_variance_initializer)
        self.unavailable("renorm", renorm, False)
        self.unavailable("renorm_clipping", renorm_clipping, None)
        self.unavailable("renorm_momentum", renorm_momentum, 0.99)
        self.unavailable("synchronized", synchronized, False)

    def build(self, input_shape: Any) -> None:
        """Create the weights, for inputs whose size along the axis is known."""
        variables, sizes = self._new_weights(input_shape)
        self.moving_mean = self.new_weight("moving_mean", sizes, self.moving_mean_initializer, trainable=False)
        self.moving_variance = self.new_weight(
            "moving_variance", sizes, self.moving_variance_initializer, trainable=False
        )
        self._sizes = sizes
        self.set_variables([*variables, self.moving_mean, self.moving_variance])

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Inputs of any rank from 2 on, and a mask of one axis less; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        rows, back = axes_last(x.shape, self._axes)
        moved = rows(x)
        flat = moved.reshape(moved.size // moved.shape[-1] if moved.shape[-1] else 0, moved.shape[-1])
        use_batch = training and self.trainable
        used: Array | None = None  # (R,F) or (R,1), 1 for what counts
        if mask is not None:
            mask = self.check_mask(mask, x.shape[:-1])
            if use_batch:
                used = rows(np.broadcast_to(mask[..., None], x.shape)).reshape(flat.shape).astype(self.dtype)
        count: Any = self.dtype.type(max(len(flat), 1))
        if use_batch:
            if used is not None:
                count = np.maximum(used.sum(axis=0), 1)
            if used is None:  # a product is faster than a sum over rows
                mean = np.matmul(np.ones(len(flat), self.dtype, like=flat), flat) / count
            else:
                mean = np.einsum("ij,ij->j", flat, used) / count
            centered = flat - mean
            each = centered if used is None else centered * used
            variance = np.einsum("ij,ij->j", each, centered) / count
            if len(flat) and (used is None or used.any()):
                self._follow(self.moving_mean, mean)
                self._follow(self.moving_variance, variance)
        else:
            centered, variance = flat - self.moving_mean.value, self.moving_variance.value
        inverse = 1 / np.sqrt(variance + self.dtype.type(self.epsilon))
        normalized = centered
        normalized *= inverse
        keep = training if need_backward is None else need_backward
        gamma = None if self.gamma is None else self.gamma.value
        y = self._scaled(normalized, keep)
        outputs = back(y.reshape(moved.shape))
        if not keep:
            return outputs, None

        def backward(d_outputs: Any) -> Array | None:
            d_y = rows(self.check_gradient("y", d_outputs, outputs.shape)).reshape(flat.shape)
            self._parameter_gradients(d_y, normalized)
            if not need_d_inputs:
                return None
            d_normalized = d_y if gamma is None else d_y * gamma
            d_flat = d_normalized
            if use_batch:  # mean and variance depend on the inputs that count, and all outputs on them
                through_mean = d_normalized.sum(axis=0) / count
                through_variance = np.einsum("ij,ij->j", d_normalized, normalized) / count
                through = through_mean + normalized * through_variance
                d_flat = d_normalized - (through if used is None else used * through)
            return back((d_flat * inverse).reshape(moved.shape))

        return outputs, backward

    def _follow(self, moving: Variable, batch: Array) -> None:
        momentum = self.dtype.type(self.momentum)
        moving.assign(moving.value * momentum + batch * (1 - momentum))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }

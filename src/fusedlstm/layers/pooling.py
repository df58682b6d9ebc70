"""Pooling over time: the largest or the mean value of a window of steps, or of all steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.layers.base import Array, Backward, Layer, Shape
from fusedlstm.layers.shared import EndsMask
from fusedlstm.layers.windows import check_data_format, pad_steps, single, window_count, windows


class _Pooling(EndsMask):
    """Base of the pooling over windows; see `MaxPooling1D`."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str, data_format: str | None, name: str | None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = self.positive_integer("pool_size", single(pool_size))
        self.strides = self.pool_size if strides is None else self.positive_integer("strides", single(strides))
        if padding not in ("valid", "same"):
            raise ValueError(f"{self.label}: expected padding 'valid' or 'same', got {padding!r}")
        self.padding = padding
        check_data_format(self.label, data_format)

    def expected_inputs(self) -> str:
        least = f" of at least {self.pool_size} steps" if self.padding == "valid" else ""
        return f"(batch, steps, features){least}"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3 and (shape[1] is None or self.padding == "same" or shape[1] >= self.pool_size)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, steps, features = self.check_shape(input_shape)
        count = None
        if steps is not None:
            count = window_count(steps, self.pool_size, self.strides, self.padding)[0]
        return (batch, count, features)

    def _tap(self, k: int, count: int) -> slice:
        """The steps that are the k-th of their window."""
        return slice(k, k + self.strides * (count - 1) + 1, self.strides)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


class MaxPooling1D(_Pooling):
    """The largest value of each window of steps: (B,T,F) -> (B,windows,F).

    A mask does not fit the outputs and is dropped, with a warning. Of equal values the first gets the gradient.

    Parameters
    ----------
    pool_size : int
        Steps of a window.
    strides : int, optional
        From one window to the next; `pool_size` if None.
    padding : {"valid", "same"}
        Whole windows only, or as many as ``steps / strides`` rounded up, which may reach over the ends.
    data_format : {None, "channels_last"}
    name, **kwargs
        Those of `Layer`.
    """

    def __init__(
        self,
        pool_size: int = 2,
        strides: int | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,F) -> (B,windows,F); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        steps = x.shape[1]
        count, ahead, behind = window_count(steps, self.pool_size, self.strides, self.padding)
        padded = pad_steps(x, ahead, behind, -np.inf)
        view = windows(padded, count, self.pool_size, self.strides)
        outputs = view.max(axis=2)
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_y = self.check_gradient("y", d_outputs, outputs.shape)
            d_padded = np.zeros(padded.shape, self.dtype, like=d_y)
            free = np.ones(outputs.shape, bool, like=d_y)
            for k in range(self.pool_size):
                hit = ~(view[:, :, k] < outputs) & free  # NaN too
                free &= ~hit
                d_padded[:, self._tap(k, count)] += d_y * hit
            return d_padded[:, ahead : ahead + steps]

        return outputs, backward


class AveragePooling1D(_Pooling):
    """The mean of each window of steps: (B,T,F) -> (B,windows,F). Steps over the ends do not count.

    A mask does not fit the outputs and is dropped, with a warning.

    Parameters
    ----------
    pool_size, strides, padding, data_format, name, **kwargs
        As `MaxPooling1D`'s.
    """

    def __init__(
        self,
        pool_size: int,
        strides: int | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,F) -> (B,windows,F); see `Layer.forward`."""
        x = self.check_inputs(inputs)
        steps = x.shape[1]
        count, ahead, behind = window_count(steps, self.pool_size, self.strides, self.padding)
        padded = pad_steps(x, ahead, behind)
        first = np.arange(count) * self.strides - ahead
        inside = np.minimum(first + self.pool_size, steps) - np.maximum(first, 0)
        share = (1 / inside).astype(self.dtype)[:, None]
        outputs = windows(padded, count, self.pool_size, self.strides).sum(axis=2)
        outputs *= share
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_each = self.check_gradient("y", d_outputs, outputs.shape) * share
            d_padded = np.zeros(padded.shape, self.dtype, like=d_each)
            for k in range(self.pool_size):
                d_padded[:, self._tap(k, count)] += d_each
            return d_padded[:, ahead : ahead + steps]

        return outputs, backward


class _GlobalPooling(Layer):
    """Base of the pooling over all steps."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_data_format(self.label, data_format)
        self.keepdims = self.boolean("keepdims", keepdims)

    def expected_inputs(self) -> str:
        return "(batch, steps, features)"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3 and shape[1] != 0

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, _, features = self.check_shape(input_shape)
        return (batch, 1, features) if self.keepdims else (batch, features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalMaxPooling1D(_GlobalPooling, EndsMask):
    """The largest value of all steps: (B,T,F) -> (B,F). A mask is not heeded, and dropped with a warning.

    Parameters
    ----------
    data_format : {None, "channels_last"}
    keepdims : bool
        Outputs (B,1,F).
    **kwargs
        Those of `Layer`.
    """

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,F) -> (B,F), or (B,1,F) with `keepdims`; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        outputs = x.max(axis=1, keepdims=self.keepdims)
        if not (training if need_backward is None else need_backward):
            return outputs, None
        where = x.argmax(axis=1)[:, None]

        def backward(d_outputs: Any) -> Array:
            d_y: Array = self.check_gradient("y", d_outputs, outputs.shape)
            d_x = np.zeros_like(x)
            np.put_along_axis(d_x, where, d_y if self.keepdims else d_y[:, None], axis=1)
            return d_x

        return outputs, backward


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of all steps, with a mask (B,T) of those that it uses: (B,T,F) -> (B,F). The mask ends here.

    The mean of no step at all is 0.

    Parameters
    ----------
    data_format : {None, "channels_last"}
    keepdims : bool
        Outputs (B,1,F).
    **kwargs
        Those of `Layer`.
    """

    mask_is_second = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: the steps are gone."""

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """(B,T,F) -> (B,F), or (B,1,F) with `keepdims`; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        if mask is None:
            used = np.ones((x.shape[0], x.shape[1]), bool, like=x)
            outputs = x.mean(axis=1)
            share = np.full((len(x), 1), 1 / x.shape[1], self.dtype, like=x)
        else:
            used = self.check_mask(mask, x.shape[:2])
            share = (1 / np.maximum(used.sum(axis=1), 1)).astype(self.dtype)[:, None]
            outputs = np.add.reduce(x, axis=1, where=used[:, :, None]) * share
        outputs = outputs[:, None] if self.keepdims else outputs
        if not (training if need_backward is None else need_backward):
            return outputs, None

        def backward(d_outputs: Any) -> Array:
            d_y = self.check_gradient("y", d_outputs, outputs.shape).reshape(x.shape[0], x.shape[2])
            return np.where(used[:, :, None], (d_y * share)[:, None], self.dtype.type(0))

        return outputs, backward

"""Users' own functions as losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.backends import placement
from fusedlstm.losses.base import Array, Backward, Loss
from fusedlstm.utils.custom_objects import function_config, function_from


class FunctionLoss(Loss):
    """A function that returns values and their gradient, as a loss; `get` makes it.

    Parameters
    ----------
    function : callable
        Called with y_true, as it is, and y_pred (B, ...). Returns values, of the shape of y_pred or of its first axes,
        or a single number; and the gradient of their sum with respect to y_pred, of y_pred's shape.
    reduction, name, dtype
        As in `Loss`; the name is the function's if None.
    """

    def __init__(
        self,
        function: Callable[[Array, Array], tuple[Any, Any]],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__), reduction, dtype)
        self.function = function

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        return y_true, y_pred

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        result = self.function(y_true, y_pred)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"loss '{self.name}': expected the function to return (values, gradient), got {type(result).__name__} "
                "(a gradient is not found by itself)"
            )
        values, gradient = (
            placement.beside(placement.as_array(part).astype(y_pred.dtype, copy=False), y_pred) for part in result
        )
        if values.shape != y_pred.shape[: values.ndim]:
            raise ValueError(
                f"loss '{self.name}': expected values of the first axes of y_pred {y_pred.shape}, got {values.shape}"
            )
        if gradient.shape != y_pred.shape:
            raise ValueError(f"loss '{self.name}': expected a gradient {y_pred.shape}, got {gradient.shape}")

        def backward(d_values: Any) -> Array:
            d = placement.as_array(d_values).astype(y_pred.dtype, copy=False)
            return gradient * d.reshape(d.shape + (1,) * (gradient.ndim - d.ndim))

        return values, backward

    def get_config(self) -> dict[str, Any]:
        """As of any loss, with the function's name: it is found again by `custom_object_scope`.

        Raises
        ------
        TypeError
            If it is a lambda, or an object that can be called.
        """
        try:
            return {**super().get_config(), "function": function_config(self.function)}
        except TypeError as error:
            raise TypeError(
                f"loss '{self.name}': {error}; define it with a name, or make a subclass of fusedlstm.losses.Loss, to "
                "save it"
            ) from None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FunctionLoss:
        return cls(**{**config, "function": function_from(config["function"])})

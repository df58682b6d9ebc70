"""The updates of the optimizers in C: `reference_updates`'s functions with the same signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, check, contiguous, require_in_place
from fusedlstm.backends.c_arguments import NULL, dtype_of, error_slot, from_buffer, new, refuse
from fusedlstm.backends.reference_updates import Update
from fusedlstm.backends.updates import as_functions

_UPDATE = ffi.typeof("struct fusedlstm_update *")
#: Of each function the rule, and the buffers in the order in which it takes them, and the struct's slots hold them.
_RULES = {
    "sgd_update": (lib.FUSEDLSTM_SGD, ("velocity",)),
    "lion_update": (lib.FUSEDLSTM_LION, ("m",)),
    "rmsprop_update": (lib.FUSEDLSTM_RMSPROP, ("mean_square", "average", "velocity")),
    "adagrad_update": (lib.FUSEDLSTM_ADAGRAD, ("total",)),
    "adadelta_update": (lib.FUSEDLSTM_ADADELTA, ("mean_square", "mean_square_step")),
    "adam_update": (lib.FUSEDLSTM_ADAM, ("m", "v", "v_max")),
    "nadam_update": (lib.FUSEDLSTM_NADAM, ("m", "v")),
    "adamax_update": (lib.FUSEDLSTM_ADAMAX, ("m", "u")),
}
_FIELDS = {"rho": "beta_2"}  # options that the struct has by another name


class _Update:
    """An update of one variable on a struct that is made once."""

    def __init__(self, function: str, w: Array, buffers: Sequence[Array | None]) -> None:
        rule, names = _RULES[function]
        code = dtype_of(function, "w", w)
        require_in_place(function, "w", w)
        for name, array in zip(names, buffers, strict=True):
            if array is not None:
                check(function, name, array, w.shape, w.dtype)
                require_in_place(function, name, array)
        self._function, self._shape, self._dtype = function, w.shape, w.dtype
        self._still = rule == lib.FUSEDLSTM_SGD and buffers[0] is None  # momentum needs a velocity
        # What the struct points to lives as long as these.
        self._kept = [from_buffer(w), *(NULL if array is None else from_buffer(array) for array in buffers)]
        self._struct = new(_UPDATE, (w.size, code, rule, False, False, self._kept[0], NULL, self._kept[1:]))

    def __call__(
        self,
        g: Array,
        gradient_scale: float,
        clip: float,
        decay: float,
        rows: Array | None,
        options: Mapping[str, float],
    ) -> None:
        struct = self._struct
        if rows is None:
            check(self._function, "g", g, self._shape, self._dtype)
            struct.by_row = False
        else:
            rows = self._check_rows(g, rows)
            struct.by_row, struct.width, struct.row_count = True, self._shape[1], len(rows)
            struct.rows = ffi.cast("int64_t *", rows.ctypes.data)
        g = contiguous(g)
        struct.g = from_buffer(g)
        struct.gradient_scale, struct.clip, struct.decay = gradient_scale, clip, decay
        for name, value in options.items():
            setattr(struct, _FIELDS.get(name, name), value)
        if self._still:
            struct.momentum = 0.0
        slot = error_slot()
        status = lib.fusedlstm_update(struct, slot)
        if status and rows is not None and ffi.string(slot[0]) == b"rows":
            raise IndexError(f"update: expected ascending rows in 0 ... {self._shape[0] - 1}, got {rows}")
        if status:
            refuse(self._function, status, slot)

    def _check_rows(self, g: Array, rows: Array) -> Array:
        check(self._function, "rows", rows, (len(rows),), np.int64)
        if len(self._shape) != 2:
            raise ValueError(f"{self._function}: expected w of 2 axes with rows, got {self._shape}")
        check(self._function, "g", g, (len(rows), self._shape[1]), self._dtype)
        return contiguous(rows)


def prepare_update(function: str, w: Array, buffers: Sequence[Array | None]) -> Update:
    """See `reference_updates.prepare_update`."""
    return _Update(function, w, buffers)


(
    sgd_update,
    lion_update,
    rmsprop_update,
    adagrad_update,
    adadelta_update,
    adam_update,
    nadam_update,
    adamax_update,
) = as_functions(prepare_update)


def average_update(w: Array, average: Array, *, momentum: float) -> None:
    """See `reference_updates.average_update`."""
    code = dtype_of("average_update", "w", w)
    check("average_update", "average", average, w.shape, w.dtype)
    require_in_place("average_update", "average", average)
    w, slot = contiguous(w), error_slot()
    status = lib.fusedlstm_average_update(code, w.size, from_buffer(w), from_buffer(average), momentum, slot)
    if status:
        refuse("average_update", status, slot)

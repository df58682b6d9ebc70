"""The updates of the optimizers in C: `reference_updates`'s functions with the same signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, check, contiguous, require_in_place
from fusedlstm.backends.c_arguments import NULL, dtype_of, error_slot, from_buffer, new, refuse
from fusedlstm.backends.reference_updates import Updates
from fusedlstm.backends.updates import as_functions

_UPDATE, _UPDATES = ffi.typeof("struct fusedlstm_update *"), ffi.typeof("struct fusedlstm_update *[]")
_INT = ffi.typeof("int *")
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


class _Updates:
    """The updates of some variables on structs that are made once; one call of the library runs all of them."""

    def __init__(self, function: str, variables: Sequence[tuple[Array, Sequence[Array | None]]]) -> None:
        rule, names = _RULES[function]
        self._function = function
        self._variables: list[tuple[Any, tuple[int, ...], Any]] = []  # struct, shape, dtype
        self._still: list[Any] = []  # the structs of SGD without a velocity, which momentum needs
        self._by_row: list[Any] = []  # the structs whose last gradient was that of some rows
        self._kept: list[Any] = []  # what the structs point to lives as long as these
        for w, buffers in variables:
            code = dtype_of(function, "w", w)
            require_in_place(function, "w", w)
            for name, array in zip(names, buffers, strict=True):
                if array is not None:
                    check(function, name, array, w.shape, w.dtype)
                    require_in_place(function, name, array)
            kept = [from_buffer(w), *(NULL if array is None else from_buffer(array) for array in buffers)]
            struct = new(_UPDATE, (w.size, code, rule, False, False, kept[0], NULL, kept[1:]))
            self._variables.append((struct, w.shape, w.dtype))
            self._kept.append(kept)
            if rule == lib.FUSEDLSTM_SGD and buffers[0] is None:
                self._still.append(struct)
        self._all = new(_UPDATES, [struct for struct, _, _ in self._variables])
        # The numbers that stand in the structs.
        self._common: tuple[list[float], float, list[float]] | None = None
        self._options: dict[str, float] = {}

    def __call__(
        self,
        gradients: Sequence[Array | None],
        scales: list[float],
        clip: float,
        decays: list[float],
        rows: Mapping[int, Array],
        options: Mapping[str, float],
    ) -> None:
        kept: list[Array] = []  # what is copied lives until the library has read it
        variables = self._variables if not (rows or self._by_row) else self._with_rows(rows, kept)
        count = 0
        for (struct, shape, dtype), g in zip(variables, gradients, strict=True):
            if g is None:
                continue
            if g.shape != shape or g.dtype != dtype:
                check(self._function, "g", g, shape, dtype)
            if not g.flags.carray:
                g = contiguous(g)
                kept.append(g)
            struct.g = from_buffer(g)
            count += 1
        self._set_numbers((scales, clip, decays), options)
        structs = self._all
        if count < len(gradients):
            structs = [each[0] for each, g in zip(self._variables, gradients, strict=True) if g is not None]
        slot, which = error_slot(), new(_INT)
        status = lib.fusedlstm_update_together(count, structs, which, slot)
        if not status:
            return
        if rows and ffi.string(slot[0]) == b"rows":
            k = [k for k, g in enumerate(gradients) if g is not None][which[0]]
            count = self._variables[k][1][0]
            raise IndexError(f"update: expected ascending rows in 0 ... {count - 1}, got {rows[k]}")
        refuse(self._function, status, slot)

    def _with_rows(self, rows: Mapping[int, Array], kept: list[Array]) -> list[tuple[Any, tuple[int, ...], Any]]:
        """Structs, shapes and dtypes of the gradients where some are of these rows, and no other is any more."""
        while self._by_row:
            self._by_row.pop().by_row = False
        variables = list(self._variables)
        for k, array in rows.items():
            struct, shape, dtype = variables[k]
            check(self._function, "rows", array, (len(array),), np.int64)
            if len(shape) != 2:
                raise ValueError(f"{self._function}: expected w of 2 axes with rows, got {shape}")
            variables[k] = struct, (len(array), shape[1]), dtype
            kept.append(contiguous(array))
            struct.by_row, struct.width, struct.row_count = True, shape[1], len(array)
            struct.rows = ffi.cast("int64_t *", kept[-1].ctypes.data)
            self._by_row.append(struct)
        return variables

    def _set_numbers(self, common: tuple[list[float], float, list[float]], options: Mapping[str, float]) -> None:
        """Write those into the structs that are not there from the step before."""
        if common != self._common:
            scales, clip, decays = common
            for (struct, _, _), scale, decay in zip(self._variables, scales, decays, strict=True):
                struct.gradient_scale, struct.clip, struct.decay = scale, clip, decay
            self._common = common
        for name, value in options.items():
            if self._options.get(name) != value:
                field = _FIELDS.get(name, name)
                for struct, _, _ in self._variables:
                    setattr(struct, field, value)
                self._options[name] = value
                for struct in self._still:
                    struct.momentum = 0.0


def prepare_updates(function: str, variables: Sequence[tuple[Array, Sequence[Array | None]]]) -> Updates:
    """See `reference_updates.prepare_updates`."""
    return _Updates(function, variables)


(
    sgd_update,
    lion_update,
    rmsprop_update,
    adagrad_update,
    adadelta_update,
    adam_update,
    nadam_update,
    adamax_update,
) = as_functions(prepare_updates)


def average_update(w: Array, average: Array, *, momentum: float) -> None:
    """See `reference_updates.average_update`."""
    code = dtype_of("average_update", "w", w)
    check("average_update", "average", average, w.shape, w.dtype)
    require_in_place("average_update", "average", average)
    w, slot = contiguous(w), error_slot()
    status = lib.fusedlstm_average_update(code, w.size, from_buffer(w), from_buffer(average), momentum, slot)
    if status:
        refuse("average_update", status, slot)

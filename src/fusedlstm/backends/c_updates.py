"""The updates of the optimizers in C: `reference_updates`'s functions with the same signatures."""

from __future__ import annotations

import math

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.c_arguments import (
    NULL,
    Array,
    check,
    contiguous,
    dtype_of,
    error_slot,
    from_buffer,
    new,
    refuse,
    require_in_place,
)

_UPDATE = ffi.typeof("struct fusedlstm_update *")


def _run(
    function: str,
    rule: int,
    w: Array,
    g: Array,
    slots: tuple[tuple[str, Array | None], ...],
    learning_rate: float,
    gradient_scale: float,
    clip: float,
    decay: float,
    rows: Array | None,
    momentum: float = 0.0,
    beta_1: float = 0.0,
    beta_2: float = 0.0,
    epsilon: float = 0.0,
    m_factor: float = 0.0,
    g_factor: float = 0.0,
    v_factor: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Check the arrays, fill the struct and call."""
    shape, dtype = w.shape, w.dtype
    code = dtype_of(function, "w", w)
    require_in_place(function, "w", w)
    pointers = []
    for name, array in slots:
        if array is None:
            pointers.append(NULL)
        else:
            check(function, name, array, shape, dtype)
            require_in_place(function, name, array)
            pointers.append(from_buffer(array))
    row_count, width, first_row = 0, 0, NULL
    if rows is None:
        check(function, "g", g, shape, dtype)
    else:
        check(function, "rows", rows, (len(rows),), np.int64)
        if len(shape) != 2:
            raise ValueError(f"{function}: expected w of 2 axes with rows, got {shape}")
        check(function, "g", g, (len(rows), shape[1]), dtype)
        rows = contiguous(rows)
        row_count, width, first_row = len(rows), shape[1], ffi.cast("int64_t *", rows.ctypes.data)
    g = contiguous(g)
    # By position: a dict of the fields' names would take longer than the update of a small variable.
    fields = (
        w.size,
        code,
        rule,
        nesterov,
        rows is not None,
        from_buffer(w),
        from_buffer(g),
        pointers,
        learning_rate,
        gradient_scale,
        clip,
        decay,
        momentum,
        beta_1,
        beta_2,
        epsilon,
        m_factor,
        g_factor,
        v_factor,
        width,
        row_count,
        first_row,
    )
    slot = error_slot()
    status = lib.fusedlstm_update(new(_UPDATE, fields), slot)
    if status and rows is not None and ffi.string(slot[0]) == b"rows":
        raise IndexError(f"update: expected ascending rows in 0 ... {len(w) - 1}, got {rows}")
    if status:
        refuse(function, status, slot)


def sgd_update(
    w: Array,
    g: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.sgd_update`."""
    slots = (("velocity", velocity),)
    common = (learning_rate, gradient_scale, clip, decay, rows)
    momentum = 0.0 if velocity is None else momentum
    _run("sgd_update", lib.FUSEDLSTM_SGD, w, g, slots, *common, momentum=momentum, nesterov=nesterov)


def lion_update(
    w: Array,
    g: Array,
    m: Array,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.lion_update`."""
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run("lion_update", lib.FUSEDLSTM_LION, w, g, (("m", m),), *common, beta_1=beta_1, beta_2=beta_2)


def rmsprop_update(
    w: Array,
    g: Array,
    mean_square: Array,
    average: Array | None,
    velocity: Array | None,
    *,
    learning_rate: float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.rmsprop_update`."""
    slots = (("mean_square", mean_square), ("average", average), ("velocity", velocity))
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run(
        "rmsprop_update",
        lib.FUSEDLSTM_RMSPROP,
        w,
        g,
        slots,
        *common,
        beta_2=rho,
        momentum=momentum,
        epsilon=epsilon,
    )


def adagrad_update(
    w: Array,
    g: Array,
    total: Array,
    *,
    learning_rate: float,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.adagrad_update`."""
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run("adagrad_update", lib.FUSEDLSTM_ADAGRAD, w, g, (("total", total),), *common, epsilon=epsilon)


def adadelta_update(
    w: Array,
    g: Array,
    mean_square: Array,
    mean_square_step: Array,
    *,
    learning_rate: float,
    rho: float = 0.95,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.adadelta_update`."""
    slots = (("mean_square", mean_square), ("mean_square_step", mean_square_step))
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run("adadelta_update", lib.FUSEDLSTM_ADADELTA, w, g, slots, *common, beta_2=rho, epsilon=epsilon)


def adam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.adam_update`."""
    slots = (("m", m), ("v", v), ("v_max", v_max))
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run(
        "adam_update",
        lib.FUSEDLSTM_ADAM,
        w,
        g,
        slots,
        *common,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
    )


def nadam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    learning_rate: float,
    m_factor: float,
    g_factor: float,
    v_factor: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.nadam_update`."""
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run(
        "nadam_update",
        lib.FUSEDLSTM_NADAM,
        w,
        g,
        (("m", m), ("v", v)),
        *common,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        m_factor=m_factor,
        g_factor=g_factor,
        v_factor=v_factor,
    )


def adamax_update(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    clip: float = math.inf,
    decay: float = 0.0,
    rows: Array | None = None,
) -> None:
    """See `reference_updates.adamax_update`."""
    common = (learning_rate, gradient_scale, clip, decay, rows)
    _run(
        "adamax_update",
        lib.FUSEDLSTM_ADAMAX,
        w,
        g,
        (("m", m), ("u", u)),
        *common,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
    )


def average_update(w: Array, average: Array, *, momentum: float) -> None:
    """See `reference_updates.average_update`."""
    code = dtype_of("average_update", "w", w)
    check("average_update", "average", average, w.shape, w.dtype)
    require_in_place("average_update", "average", average)
    w, slot = contiguous(w), error_slot()
    status = lib.fusedlstm_average_update(code, w.size, from_buffer(w), from_buffer(average), momentum, slot)
    if status:
        refuse("average_update", status, slot)

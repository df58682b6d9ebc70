"""The CTC loss on the C library."""

from __future__ import annotations

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, contiguous
from fusedlstm.backends.c_arguments import NULL, dtype_of, error_slot, here, new, pointer, refuse
from fusedlstm.backends.reference_ctc import check_ctc

_CTC = ffi.typeof("struct fusedlstm_ctc *")


def ctc_loss(
    logits: Array, targets: Array, target_lengths: Array, input_lengths: Array, gradient: bool = True
) -> tuple[Array, Array | None]:
    """See `reference_ctc.ctc_loss`."""
    code = dtype_of("ctc_loss", "logits", logits)
    check_ctc(logits, targets, target_lengths, input_lengths)
    logits = contiguous(logits)
    integers = [np.ascontiguousarray(array, np.int64) for array in (targets, target_lengths, input_lengths)]
    values = np.empty(len(logits), logits.dtype)
    d_logits = np.empty_like(logits) if gradient else None
    args = new(
        _CTC,
        (
            *logits.shape,
            targets.shape[1],
            code,
            lib.fusedlstm_num_threads(),
            pointer(logits),
            *[ffi.cast("int64_t *", array.ctypes.data) for array in integers],
            pointer(values),
            pointer(d_logits),
            NULL,
        ),
    )
    args.workspace = here.own.workspace(lib.fusedlstm_ctc_workspace_size(args))
    slot = error_slot()
    status = lib.fusedlstm_ctc_loss(args, slot)
    if status:
        refuse("ctc_loss", status, slot)
    return values, d_logits

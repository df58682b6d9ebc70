# The compiled module that csrc/cffi_build.py generates from fusedlstm.h.

from typing import Any

ffi: Any
lib: Any

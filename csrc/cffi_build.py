"""Generates the C source of the Python module `fusedlstm._binding` from the header, into the build folder.

Usage: `python cffi_build.py fusedlstm.h _binding.c`.
The header is the only list of declarations: what it declares, `fusedlstm._binding.lib` has.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cffi import FFI


def declarations(header: str) -> str:
    """What cffi can parse of a header: no preprocessor lines, no export macro, no extern "C" around the rest."""
    header = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    header = header.replace("\\\n", " ")  # a directive that goes on becomes one line
    header = re.sub(r"^[ \t]*#.*$", "", header, flags=re.MULTILINE)
    header = header.replace("FUSEDLSTM_API", "")
    body, wrapped = re.subn(r'extern\s+"C"\s*\{', "", header)
    if wrapped:
        body = body.rstrip()
        if not body.endswith("}"):
            raise ValueError('cffi_build: expected the header to end with the "}" of extern "C" {')
        body = body[:-1]
    return body


def main(header: Path, output: Path) -> None:
    ffi = FFI()
    ffi.cdef(declarations(header.read_text(encoding="utf-8")))
    ffi.set_source("fusedlstm._binding", f'#include "{header.name}"')
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} HEADER OUTPUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))

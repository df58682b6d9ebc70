"""What every benchmark times: a `Run`, made by a peer for a case, ``make(case, threads)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple

from cases import Array


class Run(NamedTuple):
    """One peer at work on one case."""

    call: Callable[[], Any]  # what is timed
    results: Callable[[], list[Array]]  # to be compared with `expected()`; called once, before anything is timed
    expected: Callable[[], list[Array]]  # by the specification
    calls: int = 1  # so many of what the case asks for are in one `call`
    about: Mapping[str, Any] = MappingProxyType({})  # more for the report


Make = Callable[[Any, int], Run | None]

#: Peers that are not timed -> why.
LEFT_OUT: dict[str, str] = {}
#: What keeps peers to an instruction set, in the environment, and which ones it does.
ISAS = {
    "v2": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "v3": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
LIMITED = ("fusedlstm", "torch", "openvino")


def available(makers: dict[str, tuple[str, Make]]) -> dict[str, Make]:
    """Name in tables -> how to make a run, of those whose package is here and keeps to the instruction set."""
    isa = os.environ.get("FUSEDLSTM_ISA", "")
    found = {}
    for name, (package, make) in makers.items():
        if find_spec(package) is None:
            LEFT_OUT[name] = "not installed"
        elif isa in ISAS and package not in LIMITED:
            LEFT_OUT[name] = f"cannot be kept to {isa}"
        else:
            found[name] = make
    return found

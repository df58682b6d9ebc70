"""How long does a program take that only imports, and how much does the package take on disk?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement
from programs import KERAS_BACKEND
from runs import Make, Run, available

QUESTION = "Import"
#: Name in tables -> packages, and what a program begins with.
IMPORTS = {
    "fusedlstm": (["fusedlstm"], "import fusedlstm.layers, fusedlstm.models; fusedlstm.get_isa()"),  # loads the C code
    "PyTorch": (["torch"], "import torch"),
    "ONNX Runtime": (["onnxruntime"], "import onnxruntime"),
    "OpenVINO": (["openvino"], "import openvino"),
    "JAX": (["jax"], "import jax.numpy"),
    f"Keras ({KERAS_BACKEND})": (["keras", KERAS_BACKEND], "import keras"),
}


class Import:
    phase = ""
    flops = weight_bytes = working_set = 0

    def __str__(self) -> str:
        return "python -c 'import ...'"


def needed(packages: list[str]) -> set[str]:
    """Their names and those of all that they need."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            lines = importlib.metadata.distribution(name).requires or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        if name not in found:
            found.add(name)
            requirements = map(Requirement, lines)
            waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def size(package: str) -> int:
    """Bytes of its files, without what Python compiled."""
    files = {Path(str(file.locate())) for file in importlib.metadata.files(package) or []}
    spec = importlib.util.find_spec("fusedlstm")
    if package == "fusedlstm" and spec and spec.origin:  # an editable install has its modules elsewhere
        files |= set(Path(spec.origin).parent.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def importing(packages: list[str], statement: str) -> Make:
    def make(case: Import, threads: int) -> Run:
        about = {"bytes": size(packages[0]), "bytes_with_needed": sum(map(size, needed(packages)))}

        def call() -> None:
            subprocess.run([sys.executable, "-c", statement], check=True)

        def results() -> list:
            call()
            return []

        return Run(call, results, list, about=about)

    return make


PEERS = available(
    {name: (packages[0], importing(packages, statement)) for name, (packages, statement) in IMPORTS.items()}
)
CASES = [Import()]


def bench_import(timed: Callable[[], None]) -> None:
    timed()

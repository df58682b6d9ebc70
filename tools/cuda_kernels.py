"""Compiles every CUDA kernel to PTX, and where ``ptxas`` is found to machine code: no GPU is needed.

Prints what each takes (registers, static shared memory) as a table for docs/backends.md. Exit status 1 if a kernel does
not compile, or spills registers. Run: python tools/cuda_kernels.py [--capability 7.5] [--match matmul]
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from fusedlstm import backends
from fusedlstm.backends import cuda_api

CAPABILITIES = ("7.5", "8.0", "9.0")


class Result(NamedTuple):
    """One kernel for one signature and compute capability; None where ptxas was not there to say."""

    kernel: str
    family: str
    signature: str
    capability: str
    error: str | None
    registers: int | None = None
    shared: int | None = None
    stack: int | None = None
    spills: int | None = None


def all_kernels() -> list[cuda_api.Kernel]:
    """Those that import makes, and those that are otherwise made at first use."""
    for module in pkgutil.iter_modules(backends.__path__):
        if module.name.startswith(("device_", "numba_cuda")):
            importlib.import_module(f"fusedlstm.backends.{module.name}")
    for make in cuda_api.MAKERS:
        make()
    return sorted(cuda_api.KERNELS.values())


def find_ptxas() -> str | None:
    """On the PATH, or in NVIDIA's wheel."""
    found = shutil.which("ptxas")
    if found is None:
        try:
            package = importlib.import_module("nvidia.cuda_nvcc")
        except ImportError:
            return None
        wheel = Path(next(iter(package.__path__))) / "bin" / "ptxas"
        found = str(wheel) if wheel.exists() else None
    return found


def to_ptx(kernel: cuda_api.Kernel, signature: str, capability: str) -> str:
    """The PTX of a kernel, whose device functions would otherwise ask the GPU for its capability."""
    major, minor = map(int, capability.split("."))
    device = SimpleNamespace(compute_capability=(major, minor))
    known = {name: kernel.options[name] for name in ("fastmath", "launch_bounds") if name in kernel.options}
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx, _ = cuda_api.cuda.compile(
            kernel.function, signature, cc=(major, minor), device=False, abi="numba", output="ptx", **known
        )
    return str(ptx)


def assemble(ptxas: str, ptx: str, kernel: cuda_api.Kernel, capability: str) -> dict[str, Any]:
    """What ptxas reports."""
    most = kernel.options.get("max_registers")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas, "-v", f"-arch=sm_{capability.replace('.', '')}", str(source), "-o", str(source) + ".cubin"]
        # What NVIDIA's device library is to be linked for (the barrier of a whole grid) cannot be made whole.
        command += ["-c"] if "cudaCG" in ptx else []
        command += [f"-maxrregcount={most}"] if most else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())

    def number(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, done.stderr)))

    return {
        "registers": number(r"Used (\d+) registers"),
        "shared": number(r"(\d+) bytes smem"),
        "stack": number(r"(\d+) bytes stack frame"),
        "spills": number(r"(\d+) bytes spill (?:stores|loads)"),
    }


def compile_all(match: list[str], capability: str) -> list[Result]:
    """Every kernel whose name has one of these in it, for every signature."""
    ptxas = find_ptxas()
    results = []
    for kernel in all_kernels():
        for signature in kernel.signatures if any(text in kernel.name for text in match) else ():
            facts: dict[str, Any] = {"error": None}
            try:
                ptx = to_ptx(kernel, signature, capability)
                if ptxas is not None:
                    facts |= assemble(ptxas, ptx, kernel, capability)
            except Exception as error:  # numba's and NVVM's have no common type
                facts["error"] = f"{type(error).__name__}: {error}"
            results.append(Result(kernel.name, kernel.family or kernel.name, signature, capability, **facts))
    return results


def table(results: Iterable[Result]) -> str:
    """In Markdown, a row for each family of kernels and dtype."""
    rows: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        found = re.search(r"float\d+", result.signature)
        dtype = found[0] if found else "other"
        rows[re.sub(rf"[ _]{dtype}$", "", result.family), dtype].append(result)
    capabilities = sorted({result.capability for members in rows.values() for result in members})
    head = ["kernel", "dtype", "kernels", *(f"registers, {c}" for c in capabilities)]
    head += ["shared memory", "local memory", "spills"]
    lines = [head, ["---"] * len(head)]
    for (family, dtype), members in sorted(rows.items()):
        registers = [_range(r.registers for r in members if r.capability == c) for c in capabilities]
        count = len({(r.kernel, r.signature) for r in members})
        memory = [_range(getattr(r, name) for r in members) for name in ("shared", "stack", "spills")]
        lines.append([family, dtype, str(count), *registers, *memory])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _range(numbers: Iterable[int | None]) -> str:
    known = sorted({n for n in numbers if n is not None})
    return "" if not known else str(known[0]) if len(known) == 1 else f"{known[0]} ... {known[-1]}"


def failures(results: Iterable[Result]) -> list[Result]:
    """Those that did not compile, or keep registers in memory."""
    return [result for result in results if result.error or result.spills]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", action="append", help="of these only; may be given several times")
    parser.add_argument("--match", action="append", help="kernels with this in their names; may be given several times")
    options = parser.parse_args(arguments)
    capabilities = options.capability or CAPABILITIES
    # Each capability in a process of its own: most of the time is spent in Python.
    with ProcessPoolExecutor(min(len(capabilities), os.cpu_count() or 1)) as pool:
        several = pool.map(functools.partial(compile_all, options.match or [""]), capabilities)
        results = [result for results in several for result in results]
    print(table(results))
    bad = failures(results)
    for result in bad:
        what = result.error or f"{result.spills} bytes of spills"
        print(f"{result.kernel}, {result.signature}, {result.capability}: {what}", file=sys.stderr)
    count = len({r.kernel for r in results})
    note = "" if find_ptxas() else "; ptxas was not found, so only PTX was made"
    print(f"\n{count} kernels, {len(results)} compilations, {len(bad)} bad{note}", file=sys.stderr)
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the benchmarks and prints what they measured as Markdown tables.

`python benchmarks/report.py [-k forward] [--turns 5] [--threads 1]` hands its arguments on to pytest;
`python benchmarks/report.py results.json` only prints an earlier run.

Times are medians over all turns. `ratio` is the best peer's time over ours: above 1 we are faster. GFLOP/s count the
matrix products; the last column is their part of the peak that benchmarks/fma_peak.c measures in the same run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = "fusedlstm"


def measure(arguments: list[str], output: Path) -> int:
    command = [sys.executable, "-m", "pytest", str(HERE), "-q", "-p", "no:cacheprovider", "-W", "default"]
    for option in ("python_files=bench_*.py", "python_functions=bench_*", "addopts="):
        command += ["-o", option]
    command += ["--benchmark-disable-gc", "--benchmark-quiet", f"--benchmark-json={output}", *arguments]
    return subprocess.run(command, check=False).returncode


def fma_peak(threads: int) -> float:
    """GFLOP/s in float32, 0 without a C compiler."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "fma_peak"
        compiler = os.environ.get("CC", "cc").split()
        options = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread", "-o", str(program)]
        try:
            subprocess.run([*compiler, *options, str(HERE / "fma_peak.c")], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            print(f"no FMA peak: {problem}", file=sys.stderr)
            return 0.0
        return float(subprocess.run([str(program), str(threads)], check=True, capture_output=True, text=True).stdout)


def shown(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-2 else f"{seconds * 1e6:.1f} µs"


def tables(results: dict[str, Any]) -> str:
    """Markdown: one table for every question and number of threads."""
    times: dict[tuple[str, int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    flops: dict[tuple[str, int, str], int] = {}
    for benchmark in results["benchmarks"]:
        extra = benchmark["extra_info"]
        key = extra["question"], extra["threads"], extra["case"]
        times[key][extra["peer"]] += benchmark["stats"]["data"]
        flops[key] = extra["flops"]
    lines = [f"{results['machine']}, load {results['load']:.1f} before the run; float32; medians."]
    for question, threads in dict.fromkeys(key[:2] for key in times):
        keys = [key for key in times if key[:2] == (question, threads)]
        peers = sorted({peer for key in keys for peer in times[key]} - {OURS})
        peak = results["fma_peak"].get(str(threads), 0)
        counted = peak and any(flops[key] for key in keys)
        lines += ["", f"### {question}, {threads} thread{'s' * (threads > 1)}", ""]
        heads = ["B, T, I, H" if counted else "program", OURS, *peers, "ratio"]
        heads += ["GFLOP/s", f"of {peak:.0f} peak"] if counted else []
        lines += ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
        for key in keys:
            median = {peer: statistics.median(data) for peer, data in times[key].items()}
            row = [key[2].replace("x", ", ") if counted else key[2]]
            row += [shown(median[peer]) if peer in median else "–" for peer in (OURS, *peers)]
            others = [value for peer, value in median.items() if peer != OURS]
            row.append(f"{min(others) / median[OURS]:.2f}" if others and OURS in median else "–")
            if counted and OURS in median:
                rate = flops[key] / median[OURS] * 1e-9
                row += [f"{rate:.1f}", f"{rate / peak:.0%}"]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        print(tables(json.loads(Path(arguments[0]).read_text())))
        return 0
    output = Path(os.environ.get("FUSEDLSTM_BENCH_JSON", HERE.parent / "build" / "benchmarks.json"))
    output.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]  # a machine that others work on shows here
    if failed := measure(arguments, output):
        return failed
    results = json.loads(output.read_text())
    cpu = results["machine_info"]["cpu"]
    results["load"] = load
    results["machine"] = f"{cpu.get('brand_raw', platform.processor())}, {len(os.sched_getaffinity(0))} cores"
    threads = {benchmark["extra_info"]["threads"] for benchmark in results["benchmarks"]}
    results["fma_peak"] = {str(n): fma_peak(n) for n in sorted(threads)}
    output.write_text(json.dumps(results))
    print(f"\n{tables(results)}\n\nEvery time: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

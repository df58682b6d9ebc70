"""Runs the benchmarks and says in Markdown and a plot what they measured.

    python benchmarks/report.py [--full] [--isa v3] [--threads 1,2] [-k forward] [--turns 5] ...
    python benchmarks/report.py build/benchmarks/results.json

What it does not know it hands on to pytest; with a .json file it only reports an earlier run. results.json, report.md
and ratios.svg come to stand in the folder `--output`.

A time is the median over the turns of a turn's median. `ratio` is the best peer's time over ours: above 1 we are
faster; where memory was measured, it is of that. `speed-up` is our time on one thread over that on these. `cost` is
ours with an option over ours without. `of the floor` is the least time that the call can take, over
ours. The floor is the larger of two: the flops of the matrix products over the FMA peak; the bytes of the weights, the
recurrent ones once a step, over the bandwidth at which every core reads its share of them again and again. Both rates
are measured by limits.c in the same run. A call may beat the second one by keeping weights nearer than that.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = "fusedlstm"
QUICK = ["--turns=2", "--seconds=0.1"]  # within ten minutes on two cores
FULL = ["--turns=5", "--seconds=0.5"]
# With the most threads only: always, but for --full, and only there.
ONCE = ["bench_import.py", "bench_memory.py"]
ONCE_IF_QUICK = ["bench_options.py", "bench_programs.py", "bench_scaling.py"]
ONLY_FULL = ["bench_deepbench.py"]

# Measuring.


def bench(files: list[str], arguments: list[str], output: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run files in a process of their own: pytest's exit status, and what pytest-benchmark wrote."""
    command = [sys.executable, "-m", "pytest", *(str(HERE / file) for file in files), "-q", "--benchmark-quiet"]
    command += [f"--benchmark-json={output}", *arguments]
    status = subprocess.run(command, check=False, env={**os.environ, **environment}).returncode
    text = output.read_text() if output.exists() else ""
    return status, json.loads(text) if text else {"benchmarks": []}


def run(full: bool, threads: list[int], arguments: list[str]) -> tuple[int, dict[str, Any]]:
    """Run everything; the status of the first process that failed, and all that a report needs."""
    every = sorted(file.name for file in HERE.glob("bench_*.py"))
    once = ONCE if full else ONCE + ONCE_IF_QUICK
    common = [file for file in every if file not in once + ONLY_FULL]
    jobs: list[tuple[list[str], list[str], dict[str, str]]] = []
    for count in threads:
        files = common + (once if count == max(threads) else [])
        jobs.append((files, [f"--threads={count}", *(FULL if full else QUICK)], {}))
        if full:
            for backend in ("torch", "tensorflow"):
                if importlib.util.find_spec(backend):
                    jobs.append((["bench_programs.py"], [f"--threads={count}", *FULL], {"KERAS_BACKEND": backend}))
    if full:
        jobs.append((ONLY_FULL, [f"--threads={max(threads)}", "--turns=1"], {}))

    results: dict[str, Any] = {"load": os.getloadavg()[0], "benchmarks": []}  # which shows if others are at work
    results["date"] = time.strftime("%Y-%m-%d")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (files, options, environment) in enumerate(jobs):
            status, found = bench(files, [*options, *arguments], Path(folder) / f"{number}.json", **environment)
            if status not in (0, 5):  # 5: no benchmark of these files was asked for
                failed = failed or status
            if "suite" not in found:
                continue
            cpu = found["machine_info"]["cpu"].get("brand_raw", platform.processor())
            results["machine"] = (
                f"{cpu}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}"
            )
            left_out = {**results.get("left_out", {}), **found["suite"]["left_out"]}
            results |= {**found["suite"], "left_out": left_out}
            results["benchmarks"] += [
                {**benchmark["extra_info"], "seconds": benchmark["stats"]["median"] / benchmark["extra_info"]["calls"]}
                for benchmark in found["benchmarks"]
            ]
    if results["benchmarks"]:
        results["limits"] = limits(results["isa"], results["benchmarks"])
    return failed, results


def limits(isa: str, benchmarks: list[dict[str, Any]]) -> dict[str, float]:
    """By limits.c: "THREADS" -> GFLOP/s, "THREADS BYTES" -> GB/s, of all that `floor` asks; {} without a compiler."""
    asked = {key for benchmark in benchmarks if benchmark["flops"] for key in limit_keys(benchmark)}
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "limits")
        compiler = os.environ.get("CC", "cc").split()
        target = {"v2": "x86-64-v2", "v3": "x86-64-v3", "v4": "x86-64-v4"}.get(isa, "native")
        options = ["-O3", f"-march={target}", "-ffp-contract=fast", "-pthread", "-o", program, str(HERE / "limits.c")]
        try:
            subprocess.run([*compiler, *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            print(f"limits of the machine not measured: {problem}", file=sys.stderr)
            return {}
        return {
            key: float(subprocess.run([program, *key.split()], check=True, capture_output=True, text=True).stdout)
            for key in sorted(asked)
        }


# Reporting.


def limit_keys(benchmark: dict[str, Any]) -> tuple[str, str]:
    threads = benchmark["threads"]
    return str(threads), f"{threads} {benchmark['working_set'] // threads}"


def floor(benchmark: dict[str, Any], limits: dict[str, float]) -> float | None:
    """The least seconds that the call can take; None if that is not known."""
    peak, bandwidth = (limits.get(key) for key in limit_keys(benchmark))
    if not benchmark["flops"] or not peak or not bandwidth:
        return None
    return max(benchmark["flops"] / peak, benchmark["weight_bytes"] / bandwidth) * 1e-9


class Line:
    """A case with one number of threads: the time of every peer, ours, and what they come to."""

    def __init__(self, benchmarks: list[dict[str, Any]], limits: dict[str, float]) -> None:
        first = benchmarks[0]
        self.of_memory = "peak_bytes" in first
        self.question, self.threads, self.case = first["question"], first["threads"], first["case"]
        self.help = first["help"]
        turns: dict[str, list[float]] = {}
        for benchmark in benchmarks:
            turns.setdefault(benchmark["peer"], []).append(benchmark.get("peak_bytes", benchmark["seconds"]))
        #: Or bytes.
        self.seconds = {peer: statistics.median(times) for peer, times in turns.items()}
        self.about = {benchmark["peer"]: benchmark for benchmark in benchmarks}
        own = self.seconds.get(OURS)
        others = [seconds for peer, seconds in self.seconds.items() if not peer.startswith(OURS)]
        plain = self.seconds.get(f"{OURS}, plain")
        self.ratio = min(others) / own if own and others else None
        self.cost = own / plain if own and plain else None
        self.speed_up: float | None = None
        #: Of a row and step.
        self.each = own / first["rows_and_steps"] if own and "rows_and_steps" in first else None
        least = floor(first, limits) if self.cost is None and not self.of_memory else None
        self.of_floor = least / own if own and least else None


def lines_of(results: dict[str, Any]) -> list[Line]:
    grouped: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for benchmark in results["benchmarks"]:
        key = benchmark["question"], benchmark["threads"], benchmark["case"]
        grouped.setdefault(key, []).append(benchmark)
    lines = [Line(benchmarks, results.get("limits", {})) for benchmarks in grouped.values()]
    alone = {(line.question, line.case): line for line in lines if line.threads == 1}
    for line in lines:
        one = alone.get((line.question, line.case))
        if one and line.threads > 1 and not line.of_memory and OURS in one.seconds and OURS in line.seconds:
            line.speed_up = one.seconds[OURS] / line.seconds[OURS]
    return lines


def shown(seconds: float) -> str:
    units = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))
    unit, factor = next((known for known in units if seconds * known[1] >= 1), units[-1])
    number = seconds * factor
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f} {unit}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def plural(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def table(rows: list[list[str]]) -> list[str]:
    """Markdown; the first row is the head, a column without an entry below it is dropped."""
    kept = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    head, *body = ([row[k] or "–" * (row is not rows[0]) for k in kept] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(kept) - 1)], *body)]


def question_table(lines: list[Line]) -> list[str]:
    peers = list(dict.fromkeys(peer for line in lines for peer in line.seconds))
    peers.sort(key=lambda peer: not peer.startswith(OURS))
    rows = [["B, T, I, H" if lines[0].case[0].isdigit() else "", *peers]]
    rows[0] += ["a row and step", "ratio", "cost", "speed-up", "of the floor"]
    for line in lines:
        measured = (line.seconds.get(peer) for peer in peers)
        show = megabytes if line.of_memory else shown
        rows.append([line.case, *("" if number is None else show(number) for number in measured)])
        rows[-1].append(shown(line.each) if line.each else "")
        rows[-1] += [f"{number:.2f}" if number else "" for number in (line.ratio, line.cost, line.speed_up)]
        rows[-1].append(f"{line.of_floor:.0%}" if line.of_floor else "")
    return table(rows)


def size_table(line: Line) -> list[str]:
    rows = [["package", "itself, MB", "with all that it needs, MB"]]
    for peer, benchmark in line.about.items():
        rows.append([peer, *(f"{benchmark[key] / 1e6:.1f}" for key in ("bytes", "bytes_with_needed"))])
    return table(rows)


def markdown(results: dict[str, Any], plot_file: str = "") -> str:
    lines = lines_of(results)
    compared = [line for line in lines if line.ratio]
    text = ["# fusedlstm beside its peers", ""]
    text += [f"{results['date']}, {results['machine']}; load {results['load']:.1f} before the run."]
    text += [f"Instruction set {results['isa']}; float32 but where it says otherwise; medians.", ""]
    text += [", ".join(f"{name} {version}" for name, version in results["versions"].items()) + ".", ""]
    rates = {key: value for key, value in results.get("limits", {}).items() if " " not in key}
    if rates:
        text += ["FMA peak: " + ", ".join(f"{r:.0f} GFLOP/s on {plural(int(n))}" for n, r in rates.items()) + ".", ""]
    text += [f"- Left out: {name}, {why}." for name, why in results["left_out"].items()]
    if compared:
        ahead = sum(line.ratio > 1 for line in compared if line.ratio)
        text += ["", f"Ahead of every peer on {ahead} of {len(compared)} lines.", ""]
    if plot_file:
        text += [f"![ratio to the best peer]({plot_file})", ""]
    for question in dict.fromkeys(line.question for line in lines):
        of_question = [line for line in lines if line.question == question]
        text += [f"## {question}", "", of_question[0].help.strip(), ""]
        for threads in dict.fromkeys(line.threads for line in of_question):
            group = [line for line in of_question if line.threads == threads]
            text += [f"{plural(threads)}:", "", *question_table(group), ""]
            if "bytes" in group[0].about.get(OURS, {}):
                text += [*size_table(group[0]), ""]
    return "\n".join(text).rstrip() + "\n"


def plot(results: dict[str, Any], file: Path) -> bool:
    """Draw every ratio to the best peer; False without matplotlib, or with nothing to draw."""
    lines = [line for line in lines_of(results) if line.ratio]
    if not lines or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    names = list(dict.fromkeys((line.question, line.case) for line in lines))
    threads = sorted({line.threads for line in lines})
    figure = Figure(figsize=(9, 1.2 + 0.14 * len(names) * (len(threads) + 1)), layout="constrained")
    axes = figure.add_subplot()
    for rank, count in enumerate(threads):
        drawn = [line for line in lines if line.threads == count]
        places = [names.index((line.question, line.case)) + 0.8 * (rank + 0.5) / len(threads) - 0.4 for line in drawn]
        lengths = [(line.ratio or 1) - 1 for line in drawn]
        axes.barh(places, lengths, 0.8 / len(threads), left=1, label=plural(count))
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("the best peer's time (or memory) over ours: right of 1 we are ahead")
    axes.set_yticks(range(len(names)), [f"{question}: {case}" for question, case in names], fontsize=7)
    axes.invert_yaxis()
    ticks = [tick for tick in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if _within(tick, lines)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(file)
    return True


def _within(tick: float, lines: list[Line]) -> bool:
    ratios = [1.0, *(line.ratio or 1.0 for line in lines)]
    return min(ratios) / 1.5 < tick < max(ratios) * 1.5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more turns, other backends of Keras, DeepBench: hours")
    parser.add_argument(
        "--threads", default="1,2", help="numbers of threads, with commas; those of more cores fall out"
    )
    parser.add_argument("--output", type=Path, default=HERE.parent / "build" / "benchmarks", help="a folder")
    chosen, rest = parser.parse_known_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    if rest and rest[0].endswith(".json"):
        results = json.loads(Path(rest[0]).read_text())
    else:
        threads = [n for n in map(int, chosen.threads.split(",")) if n <= len(os.sched_getaffinity(0))]
        failed, results = run(chosen.full, threads, rest)
        if not results["benchmarks"]:
            print("report.py: nothing was measured", file=sys.stderr)
            return failed or 1
        (chosen.output / "results.json").write_text(json.dumps(results, indent=1))
    drawn = plot(results, chosen.output / "ratios.svg")
    text = markdown(results, "ratios.svg" if drawn else "")
    (chosen.output / "report.md").write_text(text)
    print(f"\n{text}\nIn {chosen.output}: results.json, report.md{', ratios.svg' * drawn}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

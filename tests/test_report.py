"""What the benchmarks' report makes of the times, and what it takes a case to be worth."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report, cases = load("report"), load("cases")


def times(peer: str, *seconds: float, **others: Any) -> list[dict[str, Any]]:
    """One entry a turn, of a case whose floor is 1 ms by flops and 0.5 ms by bytes with `LIMITS`."""
    case = {"question": "LSTM, inference", "case": "1, 2, 3, 4", "threads": 1, "help": "How fast?\n"}
    work = {"flops": 100_000_000, "weight_bytes": 5_000_000, "working_set": 64}
    return [{**case, **work, "peer": peer, "seconds": s, **others} for s in seconds]


LIMITS = {"1": 100.0, "1 64": 10.0, "2": 200.0, "2 32": 20.0}


def results(*entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "date": "2026-11-21",
        "machine": "a machine",
        "load": 0.0,
        "isa": "v4",
        "versions": {"torch": "2.13"},
        "left_out": {"JAX": "not installed"},
        "limits": LIMITS,
        "benchmarks": [benchmark for some in entries for benchmark in some],
    }


def test_a_ratio_is_of_medians_and_to_the_best_peer() -> None:
    ours = times("fusedlstm", 2e-3, 9e-3, 2e-3)
    entries = results(ours, times("PyTorch", 8e-3), times("JAX", 5e-3, 6e-3), times("fusedlstm, every step", 1e-3))
    (line,) = report.lines_of(entries)
    assert line.seconds["JAX"] == pytest.approx(5.5e-3)
    assert line.ratio == pytest.approx(5.5e-3 / 2e-3)
    assert line.cost is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.5),
        ({"weight_bytes": 15_000_000}, 0.75),  # the bytes take longer than the flops
        ({"threads": 2}, 0.25),  # each reads its half, from nearer
        ({"working_set": 128}, None),  # not measured
        ({"flops": 0}, None),  # a whole program
    ],
)
def test_the_floor_is_the_larger_of_flops_and_bytes(changes: dict[str, Any], expected: float | None) -> None:
    (line,) = report.lines_of(results(times("fusedlstm", 2e-3, **changes)))
    assert line.of_floor == (None if expected is None else pytest.approx(expected))


def test_an_option_is_reported_by_its_cost() -> None:
    option = {"case": "mask", "question": "Options, training"}
    entries = results(times("fusedlstm", 3e-3, **option), times("fusedlstm, plain", 2e-3, **option))
    (line,) = report.lines_of(entries)
    assert (line.ratio, line.of_floor) == (None, None)
    assert "| mask | 3.00 ms | 2.00 ms | 1.50 |" in report.markdown(entries)


def test_markdown_says_what_was_measured_where_and_what_was_not() -> None:
    entries = results(
        times("PyTorch", 0.5, threads=2),
        times("fusedlstm", 0.1, threads=2),
        times("fusedlstm", 12.34e-6, case="5, 6, 7, 8", threads=2),
    )
    text = report.markdown(entries, "ratios.svg")
    assert "| B, T, I, H | fusedlstm | PyTorch | ratio | of the floor |" in text
    assert "| 1, 2, 3, 4 | 100 ms | 500 ms | 5.00 | 0% |" in text
    assert "| 5, 6, 7, 8 | 12.3 µs | – | – |" in text
    assert "Ahead of every peer on 1 of 1 lines." in text
    for part in ("a machine", "Instruction set v4", "torch 2.13", "JAX, not installed", "200 GFLOP/s on 2 threads"):
        assert part in text
    assert "![ratio to the best peer](ratios.svg)" in text
    assert "## LSTM, inference\n\nHow fast?\n\n2 threads:\n" in text


def test_an_earlier_run_is_reported_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    entries = results(times("fusedlstm", 1e-3), times("PyTorch", 2e-3))
    file.write_text(json.dumps(entries))
    assert report.main([str(file), "--output", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert "| 1, 2, 3, 4 | 1.00 ms | 2.00 ms | 2.00 |" in text
    assert (tmp_path / "ratios.svg").exists() == ("ratios.svg" in text)


def test_every_compared_case_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra [plot]")
    file = tmp_path / "ratios.svg"
    assert not report.plot(results(times("fusedlstm", 1e-3)), file)
    two = [times(peer, 1e-3, threads=n) for n in (1, 2) for peer in ("fusedlstm", "PyTorch")]
    assert report.plot(results(*two), file)
    assert "<!-- LSTM, inference: 1, 2, 3, 4 -->" in file.read_text()


def test_the_limits_of_the_machine_are_measured() -> None:
    if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        pytest.skip("needs a C compiler")
    found = report.limits("native", times("fusedlstm", 1e-3, working_set=16384))
    assert set(found) == {"1", "1 16384"}
    assert all(1 < rate < 10_000 for rate in found.values()), found


def test_the_work_of_a_case() -> None:
    one = cases.Case(3, 5, 7, 11)
    assert one.flops == 8 * 3 * 5 * 11 * (7 + 11)
    assert one._replace(training=True).flops == 3 * one.flops
    assert one.weight_bytes == 16 * 11 * (7 + 5 * 11)
    assert one.working_set == 16 * 11 * 11
    assert one._replace(stream=True).working_set == 16 * 11 * (7 + 11)
    stack = one._replace(layers=2, bidirectional=True)
    assert stack.shapes == [(7, 44), (7, 44), (22, 44), (22, 44)]
    assert [w.shape for w in cases.data(stack).weights][6:9] == [(22, 44), (11, 44), (44,)]


def test_a_large_case_is_compared_over_fewer_steps() -> None:
    large = cases.Case(128, 25, 4096, 4096, training=True)
    assert 0 < large.shortened().flops <= cases.CHECKED_FLOPS * 2
    small = cases.Case(32, 100, 64, 128)
    assert small.shortened() == small


def test_a_peer_that_computes_something_else_is_refused() -> None:
    want = [cases.data(cases.Case(2, 3, 4, 5)).x]
    cases.check("PyTorch", [want[0] + 1e-4], want)
    with pytest.raises(AssertionError, match=r"PyTorch, result 0: expected an error below 0.001, got"):
        cases.check("PyTorch", [want[0] + 1e-1], want)
    with pytest.raises(AssertionError, match=r"PyTorch, result 1: expected an error below 0.001, got nan"):
        cases.check("PyTorch", [want[0], want[0] * float("nan")], want * 2)
    zeros = [want[0] * 0]  # the recurrent weights' gradient after a single step
    cases.check("PyTorch", zeros, zeros)
    with pytest.raises(AssertionError, match=r"PyTorch, result 0: expected an error below 0.001, got 0.01"):
        cases.check("PyTorch", [zeros[0] + 0.01], zeros)
    with pytest.raises(AssertionError, match=r"PyTorch, result 0: expected shape \(2, 3, 4\), got \(2, 3\)"):
        cases.check("PyTorch", [want[0][..., 0]], want)


def test_memory_is_compared_and_shown_as_memory() -> None:
    entries = results(times("fusedlstm", 1e-7, peak_bytes=26_500_000), times("PyTorch", 1e-7, peak_bytes=63_600_000))
    (line,) = report.lines_of(entries)
    assert line.ratio == pytest.approx(2.4)
    assert line.of_floor is None
    assert "| 1, 2, 3, 4 | 26.5 MB | 63.6 MB | 2.40 |" in report.markdown(entries)


def test_more_threads_are_reported_by_their_speed_up() -> None:
    one = times("fusedlstm", 9e-3, rows_and_steps=1000)
    two = times("fusedlstm", 5e-3, rows_and_steps=1000, threads=2)
    alone, together = report.lines_of(results(one, two))
    assert (alone.speed_up, together.speed_up) == (None, pytest.approx(1.8))
    assert together.each == pytest.approx(5e-6)
    text = report.markdown(results(one, two))
    assert "| B, T, I, H | fusedlstm | a row and step | of the floor |" in text
    assert "| 1, 2, 3, 4 | 5.00 ms | 5.00 µs | 1.80 | 10% |" in text


def test_a_row_and_step_may_take_nanoseconds() -> None:
    assert [report.shown(seconds) for seconds in (2.5, 4e-3, 31e-6, 1.25e-7, 4e-10)] == [
        "2.50 s", "4.00 ms", "31.0 µs", "125 ns", "0.40 ns",
    ]  # fmt: skip

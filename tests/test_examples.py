"""Every program in examples/ runs as a user would run it, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(program: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / program), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert [file.name for file in sorted(EXAMPLES.glob("*.py"))] == ["sunspots.py"]


def test_sunspots_beats_the_naive_forecast_and_draws_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra [plot]")
    output = run("sunspots.py", folder=tmp_path)
    errors = [float(number) for number in re.findall(r"^  \w.*? {2,}([0-9.]+)$", output, re.MULTILINE)]
    assert len(errors) == 2, output
    assert errors[0] < 0.7 * errors[1], output
    assert "Epoch 1/20" in output
    assert (tmp_path / "sunspots.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sunspots.png").stat().st_size > 20_000


def test_output_off_a_terminal_has_no_control_codes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra [plot]")
    output = run("sunspots.py", "--epochs", "1", "--plot", "other.png", folder=tmp_path)
    assert (tmp_path / "other.png").exists()
    assert "\r" not in output
    assert "\b" not in output
    assert "\x1b" not in output

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
    known = ["characters.py", "gradient_flow.py", "sunspots.py", "tones.py", "tuning.py"]
    assert [file.name for file in sorted(EXAMPLES.glob("*.py"))] == known


def test_tones_are_read(tmp_path: Path) -> None:
    output = run("tones.py", folder=tmp_path)
    assert float(output.rpartition(":")[2]) > 0.85, output
    assert "GGD     GGD" in output


def test_tuning_finds_a_forecaster(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")
    for trials in ("4", "5"):  # the second time it goes on
        output = run("tuning.py", "--trials", trials, "--folder", "kept", folder=tmp_path)
        assert f"{trials} completed" in output
    forecast, naive = re.findall(r"error: ([0-9.]+); last value repeated: ([0-9.]+)", output)[0]
    assert float(forecast) < 0.8 * float(naive), output


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


def test_the_character_model_writes_the_same_both_ways(tmp_path: Path) -> None:
    output = run("characters.py", "--epochs", "2", "--letters", "120", folder=tmp_path)
    assert "Both wrote the same text: yes" in output
    streamed, again = (float(rate.replace(",", "")) for rate in re.findall(r"([0-9,]+) characters/s", output))
    assert streamed > 2 * again, output
    possible = float(re.findall(r"one of ([0-9.]+); at", output)[0])
    assert possible < 40, output
    assert len(re.findall(r"^  \| ", output, re.MULTILINE)) >= 4


def test_the_gradient_vanishes_in_a_simple_rnn_and_not_in_an_lstm(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, the extra [plot]")
    output = run("gradient_flow.py", "--plot", "flow.png", folder=tmp_path)
    rows = re.findall(r"^(\w+), (\w+) +([0-9.]+) +(\S+) +(\S+) +\S+$", output, re.MULTILINE)
    found = {(name, when): (float(error), float(first) / float(last)) for name, when, error, first, last in rows}
    assert len(found) == 4, output
    (rnn_error, rnn_ratio), (lstm_error, lstm_ratio) = found["SimpleRNN", "trained"], found["LSTM", "trained"]
    assert lstm_error < 0.3 < 0.8 < rnn_error, output
    assert lstm_ratio > 0.02, output
    assert rnn_ratio < 1e-6, output
    assert (tmp_path / "flow.png").stat().st_size > 20_000

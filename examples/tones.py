"""Reads melodies: which tones a noisy recording holds, and in what order, learned without being told when each begins.

The CTC loss sums over all ways in which a melody could lie in the recording. Usage: `python examples/tones.py`.
"""

from __future__ import annotations

import argparse

import numpy as np

from fusedlstm.layers import LSTM, Bidirectional, Dense, Input, Masking
from fusedlstm.losses import CTC
from fusedlstm.models import Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.utils import ctc_decode, set_random_seed

NAMES = "-CDEGA"  # the first stands for the blank: nothing new sounds
FREQUENCIES = np.array([262, 294, 330, 392, 440])  # Hz
RATE, FRAME = 4000, 200  # samples a second, and in a frame of 50 ms
LONGEST, STEPS = 6, 60  # tones of a melody, frames of a recording


def recordings(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (count,STEPS,bins), zeros behind the end, and melodies (count,LONGEST), zeros behind the last tone."""
    spectra = np.zeros((count, STEPS, FRAME // 2 + 1), "float32")
    melodies = np.zeros((count, LONGEST), "int32")
    for row in range(count):
        tones = rng.integers(1, len(NAMES), rng.integers(1, LONGEST + 1))
        melodies[row, : len(tones)] = tones
        parts = [np.zeros(rng.integers(1, 3) * FRAME)]
        for tone in tones:
            time = np.arange(rng.integers(3, 7) * FRAME) / RATE
            parts += [np.sin(2 * np.pi * FREQUENCIES[tone - 1] * time), np.zeros(rng.integers(1, 3) * FRAME)]
        sound = np.concatenate(parts)
        sound = sound * rng.uniform(0.3, 1) + rng.normal(scale=0.5, size=len(sound))
        frames = sound.reshape(-1, FRAME) * np.hanning(FRAME)
        spectra[row, : len(frames)] = np.log(np.abs(np.fft.rfft(frames)) + 0.1)
    return spectra[:, :, :48], melodies  # up to 940 Hz


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=8, help="how often the recordings are heard (default 8)")
    options = arguments.parse_args()
    set_random_seed(1)
    rng = np.random.default_rng(1)
    (x, y), (x_test, y_test) = recordings(2000, rng), recordings(200, rng)

    model = Sequential(
        [
            Input((STEPS, x.shape[2])),
            Masking(),  # the frames behind the end; the loss gets the length of each recording from it
            Bidirectional(LSTM(32, return_sequences=True)),
            Dense(len(NAMES)),
        ]
    )
    model.compile(optimizer=Adam(learning_rate=0.005), loss=CTC())
    model.fit(x, y, epochs=options.epochs, batch_size=32, validation_data=(x_test, y_test), verbose=2)

    lengths = x_test.any(axis=2).sum(axis=1)
    paths, scores = ctc_decode(model.predict(x_test, verbose=0), lengths, "beam_search", beam_width=10)

    def name(labels: np.ndarray) -> str:
        return "".join(NAMES[label] for label in labels if label > 0)

    print("\nheard   played  probability")
    for path, melody, score in zip(paths[0, :8], y_test, scores[:8, 0], strict=False):
        print(f"{name(path):<7} {name(melody):<7} {np.exp(score):.2f}")
    right = np.mean([name(path) == name(melody) for path, melody in zip(paths[0], y_test, strict=True)])
    print(f"\nmelodies read without an error: {right:.3f}")


if __name__ == "__main__":
    main()

"""Learns to write Python's documentation letter by letter, then writes on from a seed in two ways, and times both.

Usage: `python examples/characters.py [--epochs 20] [--letters 300]`.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from pydoc_data.topics import topics  # what Python's help() shows: about 700 000 characters of English

import numpy as np

from fusedlstm.generation import choose
from fusedlstm.layers import LSTM, Dense, Embedding, Input
from fusedlstm.losses import SparseCategoricalCrossentropy
from fusedlstm.models import Sequential
from fusedlstm.optimizers import Adam
from fusedlstm.utils import set_random_seed

CHARACTERS = 150_000  # of the text are learned
WINDOW = 100  # characters that the model is trained on at a time
TEMPERATURE = 0.6
SEED = "The following "


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=20, help="how often the text is read (default 20)")
    arguments.add_argument("--letters", type=int, default=300, help="how many characters to write (default 300)")
    options = arguments.parse_args()
    set_random_seed(1)

    text = "\n".join(topics[name] for name in sorted(topics))[:CHARACTERS]
    alphabet = sorted(set(text))
    number = {character: k for k, character in enumerate(alphabet)}
    ids = np.array([number[character] for character in text])
    windows = np.lib.stride_tricks.sliding_window_view(ids, WINDOW + 1)[::WINDOW]
    x, y = windows[:, :-1], windows[:, 1:]  # at every character, the next one is to be told
    print(f"{len(text):,} characters, {len(alphabet)} different ones, in {len(x):,} windows\n")

    model = Sequential(
        [Input((None,)), Embedding(len(alphabet), 32), LSTM(128, return_sequences=True), Dense(len(alphabet))]
    )
    model.compile(optimizer=Adam(learning_rate=0.005), loss=SparseCategoricalCrossentropy(from_logits=True))
    start = time.perf_counter()
    history = model.fit(x, y, epochs=options.epochs, batch_size=32, verbose=2)
    guesses = np.exp(history.history["loss"][-1])
    print(
        f"Trained in {time.perf_counter() - start:.0f} s. To the model the next character is one of {guesses:.1f}; at ",
        end="",
    )
    print(f"first it was one of {len(alphabet)}.\n")

    # One way: a stream. The model keeps its states, so that a character costs one step, however long the text is.
    seed = np.array([number[character] for character in SEED])
    start = time.perf_counter()
    written = model.generate(seed, options.letters, temperature=TEMPERATURE, rng=7)
    streamed = time.perf_counter() - start

    # The other way: all of the text goes through the model again for each character that is added to it.
    start = time.perf_counter()
    reread = read_again(model, seed, options.letters)
    again = time.perf_counter() - start

    print(textwrap.indent(SEED + "".join(alphabet[k] for k in written), "  | "))
    print(f"\nwritten as a stream         {options.letters / streamed:10,.0f} characters/s")
    print(f"text read again each time   {options.letters / again:10,.0f} characters/s")
    print(f"Both wrote the same text: {'yes' if np.array_equal(written, reread) else 'no'}")

    several = model.generate([seed[:3], seed, seed[-5:]], 40, temperature=TEMPERATURE, top_k=5, stop=number["\n"])
    print("\nThree lines at once, from seeds of different lengths, each until its end or 40 characters:")
    for begun, line in zip((SEED[:3], SEED, SEED[-5:]), several, strict=True):
        print("  | " + begun + "".join(alphabet[k] for k in line).rstrip("\n"))


def read_again(model: Sequential, seed: np.ndarray, steps: int) -> np.ndarray:
    """What `model.generate` gives with the same random numbers, without a stream."""
    text = list(seed)
    for draw in np.random.default_rng(7).random(steps):
        logits = model.predict_on_batch(np.array([text]))[:, -1]
        text.append(int(choose(logits.astype(float), np.array([draw]), TEMPERATURE, None, None)[0]))
    return np.array(text[len(seed) :])


if __name__ == "__main__":
    main()

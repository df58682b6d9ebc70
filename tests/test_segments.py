"""Long sequences in segments: the same results, and to the bit the same whether activations are kept or made again."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Sequential
from fusedlstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, Dropout, GRUCell, Input, SimpleRNN, segments

ROWS, STEPS, FEATURES, UNITS = 5, 53, 3, 6

LAYERS = {
    "LSTM": lambda **o: LSTM(UNITS, **o),
    "LSTM, dropout": lambda **o: LSTM(UNITS, dropout=0.3, recurrent_dropout=0.2, seed=1, **o),
    "LSTM, variants": lambda **o: LSTM(
        UNITS, peephole=True, cell_clip=0.7, zoneout_h=0.2, zoneout_c=0.1, projection=4, seed=1, **o
    ),
    "LSTM, normalised": lambda **o: LSTM(UNITS, layer_norm=True, full_gate_recurrence=True, **o),
    "GRU": lambda **o: GRU(UNITS, **o),
    "GRU, reset first": lambda **o: GRU(UNITS, reset_after=False, dropout=0.3, seed=1, **o),
    "SimpleRNN": lambda **o: SimpleRNN(UNITS, **o),
    "backwards": lambda **o: GRU(UNITS, go_backwards=True, **o),
    "in NumPy": lambda **o: SimpleRNN(UNITS, activation="gelu", **o),
    "RNN": lambda **o: RNN(GRUCell(UNITS, dtype="float64"), **o),
    "Bidirectional": lambda **o: Bidirectional(LSTM(UNITS, **o)),
}


@pytest.fixture
def cut(monkeypatch):
    """Whether sequences of this module are long."""

    def set_long(yes):
        monkeypatch.setattr(segments, "LONG", 20 if yes else 10**9)
        monkeypatch.setattr(segments, "SHORTEST", 16)

    return set_long


def mask_of(kind, rng):
    if kind == "none":
        return None
    mask = rng.random((ROWS, STEPS)) < 0.3  # leaves gaps across the ends of segments
    mask[0, :20], mask[1, 35:], mask[2, 14:40], mask[3] = False, False, False, False
    return mask


def run(layer, x, mask, states, d_outputs, generators):
    """Outputs and all gradients of a call in training."""
    for generator, state in generators:
        generator.bit_generator.state = state
    outputs, back = layer.forward(x, True, mask, **({} if states is None else {"initial_state": states}))
    if not d_outputs:
        rng = np.random.default_rng(2)
        d_outputs += [rng.standard_normal(y.shape) for y in outputs]
    d_inputs = back([d.copy() for d in d_outputs])
    d_inputs = d_inputs if isinstance(d_inputs, list) else [d_inputs]
    return [*outputs, *d_inputs, *layer.gradients]


@pytest.mark.filterwarnings("ignore:.*step by step in NumPy")
@pytest.mark.parametrize("which", LAYERS)
@pytest.mark.parametrize("masked", ["none", "masked", "zero output"])
@pytest.mark.parametrize("sequences", [True, False])
def test_segments_change_no_result(which, masked, sequences, cut):
    rng = np.random.default_rng(1)
    options = {"return_sequences": sequences, "return_state": True, "dtype": "float64"}
    if masked == "zero output":
        options["zero_output_for_mask"] = True
    layer = LAYERS[which](**options)
    x = rng.standard_normal((ROWS, STEPS, FEATURES))
    mask = mask_of(masked, rng)
    layer.build(x.shape)
    states = None
    if which not in ("LSTM, dropout", "Bidirectional"):
        states = [rng.standard_normal(s.shape) for s in layer.get_initial_state(batch_size=ROWS)]
    parts = [part for part in layer.all_layers() if getattr(part, "_generator", None) is not None]
    generators = [(part._generator, part._generator.bit_generator.state) for part in parts]
    d_outputs = []
    cut(False)
    whole = run(layer, x, mask, states, d_outputs, generators)
    cut(True)
    found = []
    for recompute in (False, True, "auto"):
        with segments.recomputing(recompute):
            found.append(run(layer, x, mask, states, d_outputs, generators))
    assert len(whole) == len(found[0])
    for a, b in zip(whole, found[0], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_segments_are_about_the_root_of_the_steps_long():
    for steps in (segments.LONG, 10**6, 10**8 + 7):
        ends = segments.bounds(steps)
        sizes = np.diff(ends)
        assert ends[0] == 0
        assert ends[-1] == steps
        assert (sizes[:-1] == sizes[0]).all()
        assert 0 < sizes[-1] <= sizes[0]
        assert sizes[0] == max(segments.SHORTEST, int(np.ceil(np.sqrt(steps))))


def deep():
    fusedlstm.utils.set_random_seed(4)
    model = Sequential(
        [
            Input((None, 1)),
            LSTM(3, return_sequences=True, recurrent_dropout=0.1),
            Dropout(0.2),
            Bidirectional(GRU(2, return_sequences=True)),
            SimpleRNN(3),
            Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model


def test_fit_is_the_same_to_the_bit(cut):
    cut(True)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4, 77, 1)).astype(np.float32)
    y = rng.standard_normal((4, 1)).astype(np.float32)
    results = []
    for checkpoint_time in (False, True, "auto"):
        model = deep()
        history = model.fit(x, y, 2, epochs=2, verbose=0, checkpoint_time=checkpoint_time)
        results.append((history.history["loss"], model.get_weights()))
    for losses, weights in results[1:]:
        assert losses == results[0][0]
        for a, b in zip(results[0][1], weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_made_again_is_made_only_for_long_sequences(monkeypatch):
    calls = []
    forward = segments.forward
    monkeypatch.setattr(segments, "forward", lambda *a: calls.append(a) or forward(*a))
    layer = LSTM(2)
    layer.forward(np.zeros((1, segments.LONG - 1, 1), np.float32), True)
    layer.forward(np.zeros((1, segments.LONG, 1), np.float32), False)
    assert not calls
    layer.forward(np.zeros((1, segments.LONG, 1), np.float32), True)
    assert len(calls) == 1


def test_wrong_values_are_refused():
    model = deep()
    for wrong in ("yes", 1, None):
        with pytest.raises(ValueError, match="checkpoint_time"):
            model.fit(np.zeros((2, 4, 1)), np.zeros((2, 1)), verbose=0, checkpoint_time=wrong)


# How far resident memory rises at most, in KB.
PEAK = """
import sys
import numpy as np
from fusedlstm import Sequential
from fusedlstm.layers import LSTM, Dense, Input
def memory(which):
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith(which)).split()[1])
model = Sequential([Input((None, 1)), LSTM(16), Dense(1)])
model.compile("sgd", "mse")
model.fit(np.zeros((1, 9000, 1), np.float32), np.zeros((1, 1)), verbose=0)
x = np.random.default_rng(0).standard_normal((1, int(sys.argv[1]), 1)).astype(np.float32)
with open("/proc/self/clear_refs", "w") as peaks:
    peaks.write("5")
before = memory("VmRSS")
model.fit(x, np.zeros((1, 1)), verbose=0, checkpoint_time=sys.argv[2] == "True")
print(memory("VmHWM") - before)
"""


def peak(steps, checkpoint_time):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(steps), str(checkpoint_time)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc/self/clear_refs")
@pytest.mark.skipif(os.environ.get("FUSEDLSTM_BACKEND") == "reference", reason="takes minutes in NumPy")
def test_memory_grows_with_the_root_of_the_steps():
    steps = 1 << 18
    activations = steps * (4 + 2) * 16 * 4 // 1024  # KB: gates and states
    assert peak(steps, False) > 0.8 * activations
    # A shuffled copy of the data, a segment's activations, and the states between segments.
    assert peak(steps, True) < steps * 4 // 1024 + 0.05 * activations

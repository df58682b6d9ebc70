"""Every backend, on every instruction set that this machine has, against the reference in float64."""

from __future__ import annotations

import inspect
import itertools
import os

import numpy as np
import pytest
from backend_case import load_backend
from recurrent_case import GATE_COUNT, GATES, Case, assert_close

from fusedlstm import backends
from fusedlstm.backends import reference

c = backends.load("c")
ISAS = c.available_isas()

#: A call of each cell, with options that change how a step goes.
CELLS = [
    {"cell": "lstm"},
    {"cell": "lstm", "peepholes": True, "input_dropout": 4, "recurrent_dropout": 4},
    {"cell": "lstm", "gate_recurrence": True, "zoneout_masks": True, "coupled_gates": True},
    {"cell": "lstm", "projection": 9, "zoneout_h": 0.1, "zoneout_c": 0.2},
    {"cell": "lstm", "normalization": True, "peepholes": True},
    {"cell": "lstm", "gate_recurrence": True, "projection": 9, "normalization": True, "zoneout_masks": True},
    {"cell": "gru"},
    {"cell": "gru", "reset_after": False, "input_dropout": 3, "recurrent_dropout": 3},
    {"cell": "simple_rnn"},
    {"cell": "simple_rnn", "input_dropout": 1, "recurrent_dropout": 1},
]


@pytest.fixture
def backend(kernels):
    """Each backend in turn, with each of its instruction sets."""
    return kernels


def lanes(backend, dtype):
    """How many numbers a vector of the backend's has; where it does not tell, as many as any."""
    isa = backend.get_isa() if hasattr(backend, "get_isa") else "v4"
    return {"v4": 64, "v3": 32, "v2": 16, "neon": 16, "generic": 16}[isa] // dtype.itemsize


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


def test_every_backend_has_the_reference_signatures():
    for name in backends.KERNELS:
        expected = inspect.signature(getattr(reference, name))
        for backend in backends.BACKENDS:
            module = load_backend(backend)
            assert inspect.signature(getattr(module, name)) == expected, f"{backend}: {name}"
            assert isinstance(module.generation, int)


def test_lanes_are_straddled(backend, dtype, rng):
    """Every number of units, and of inputs, from 1 to two vectors and one."""
    for size in range(1, 2 * lanes(backend, dtype) + 2):
        Case(rng, dtype, 2, 3, size, 3, return_sequences=True).compare(backend)
        Case(rng, dtype, 3, 2, 2, size, return_sequences=True).compare(backend)


@pytest.mark.parametrize("options", [*CELLS, {"cell": "lstm", "normalization": True, "input_dropout": 4}], ids=str)
def test_last_units(backend, dtype, rng, options):
    """Every number of units in the last vector: where they are few, their gates share vectors."""
    if "normalization" in options:
        options = {**options, "epsilon": 1.0}  # a row of nearly equal sums multiplies errors by 1 / sqrt(epsilon)
    for rest, batch in itertools.product(range(1, lanes(backend, dtype)), (1, 8)):
        for units in (rest, lanes(backend, dtype) + rest):
            Case(rng, dtype, batch, 3, 3, units, return_sequences=True, **options).compare(backend)


@pytest.mark.parametrize(("batch", "steps"), list(itertools.product([0, 1, 2, 5, 7, 13, 20], [0, 1, 2, 9])))
def test_batch_and_steps(backend, dtype, rng, batch, steps):
    """Batches around the height of a register tile; no rows and no steps give the documented shapes."""
    for return_sequences, mask in itertools.product([False, True], [None, "random"]):
        Case(rng, dtype, batch, steps, 3, 18, mask=mask, return_sequences=return_sequences).compare(backend)


@pytest.mark.parametrize("activation", GATES)
@pytest.mark.parametrize("recurrent_activation", GATES)
def test_activations_of_the_gates(backend, dtype, rng, activation, recurrent_activation):
    # Unbounded gates multiply an error from step to step: the gain keeps them from exploding, the bound stays.
    case = Case(
        rng, dtype, 3, 4, 2, 5, gain=0.3,
        return_sequences=True, activation=activation, recurrent_activation=recurrent_activation,
    )  # fmt: skip
    case.compare(backend)


# Every cell, and every option in any combination.

REMOVED = ["input_gate", "forget_gate", "output_gate", "input_activation", "output_activation"]
VARIANTS = [
    {},
    {"peepholes": True},
    {"coupled_gates": True},
    {"coupled_gates": True, "peepholes": True, "removed": ("output_gate",)},
    {"cell_clip": 0.4},
    {"cell_clip": 0.4, "peepholes": True, "removed": ("output_activation",)},
    *({"removed": (name,)} for name in REMOVED),
    *({"removed": (name,), "peepholes": True} for name in REMOVED),
    {"removed": tuple(REMOVED)},
    {"gate_recurrence": True},
    {"projection": 5},
    {"projection": 40, "peepholes": True},
    {"normalization": True},
    {"normalization": True, "removed": ("forget_gate", "output_activation"), "peepholes": True},
    {"zoneout_masks": True},
    {"zoneout_h": 0.2, "zoneout_c": 0.4, "cell_clip": 0.4},
    {"zoneout_c": 0.5, "peepholes": True, "gate_recurrence": True, "coupled_gates": True},
    {"gate_recurrence": True, "projection": 7, "normalization": True, "peepholes": True, "zoneout_masks": True},
    {"gate_recurrence": True, "projection": 33, "zoneout_h": 0.3, "removed": ("input_gate",), "cell_clip": 0.4},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dropout", [(0, 0), (1, 0), (4, 4)])
def test_lstm_variants(backend, dtype, rng, variant, dropout):
    for shape, mask, activation in (((7, 5, 3, 18), None, "tanh"), ((2, 4, 20, 33), "random", "softsign")):
        Case(
            rng, dtype, *shape, mask=mask, activation=activation, return_sequences=True,
            input_dropout=dropout[0], recurrent_dropout=dropout[1], **variant,
        ).compare(backend)  # fmt: skip


def test_lstm_options_in_any_combination(backend, dtype, rng):
    """Drawn at random, with shapes around the lanes and the height of a tile."""
    draw = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    for _ in range(60):
        coupled = draw(False, True)
        removable = REMOVED[2:] if coupled else REMOVED
        options = {
            "projection": draw(None, None, 3, 16, 21),
            "gate_recurrence": draw(False, True),
            "normalization": draw(False, True),
            "epsilon": 0.1,  # a row of nearly equal sums multiplies errors by 1 / sqrt(epsilon)
            "peepholes": draw(False, True),
            "coupled_gates": coupled,
            "removed": tuple(name for name in removable if draw(False, False, True)),
            "cell_clip": draw(0.0, 0.5),
            "zoneout_masks": draw(False, True),
            "zoneout_h": draw(0.0, 0.2),
            "zoneout_c": draw(0.0, 0.5),
            "mask": draw(None, "random"),
            "state": draw(False, True),
            "bias": draw(False, True),
            "return_sequences": draw(False, True),
            "zero_output_for_mask": draw(False, True),
            "input_dropout": draw(0, 0, 1, 4),
            "recurrent_dropout": draw(0, 0, 1, 4),
        }
        shape = (draw(1, 2, 5, 13), draw(1, 3, 8), draw(0, 1, 7, 40), draw(1, 4, 16, 19, 35))
        Case(rng, dtype, *shape, gain=0.5, **options).compare(backend)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru reset first", "simple_rnn"])
@pytest.mark.parametrize("dropout", ["none", "inputs", "state", "both", "each gate", "inputs shared"])
@pytest.mark.parametrize("mask", [None, "random"])
def test_cells_and_dropout(backend, dtype, rng, cell, dropout, mask):
    gates = GATE_COUNT[cell.split()[0]]
    inputs, state = {
        "none": (0, 0), "inputs": (1, 0), "state": (0, gates), "both": (1, 1), "each gate": (gates, gates),
        "inputs shared": (1, gates),
    }[dropout]  # fmt: skip
    for shape in ((1, 1, 1, 1), (7, 5, 3, 18), (2, 20, 40, 70), (14, 3, 70, 33), (0, 3, 2, 4), (3, 0, 2, 4)):
        for return_sequences, zero_output, bias, initial in ((True, False, True, True), (False, True, False, False)):
            Case(
                rng, dtype, *shape, cell=cell.split()[0], reset_after="first" not in cell, mask=mask,
                input_dropout=inputs, recurrent_dropout=state, return_sequences=return_sequences,
                zero_output_for_mask=zero_output, bias=bias, state=initial,
            ).compare(backend)  # fmt: skip


@pytest.mark.parametrize("activation", GATES)
def test_activations_of_gru_and_simple_rnn(backend, dtype, rng, activation):
    for recurrent_activation in ("sigmoid", "relu", "softsign", activation):
        for reset_after in (True, False):
            Case(
                rng, dtype, 3, 4, 2, 5, cell="gru", gain=0.3, return_sequences=True, reset_after=reset_after,
                activation=activation, recurrent_activation=recurrent_activation,
            ).compare(backend)  # fmt: skip
    Case(rng, dtype, 3, 4, 2, 70, cell="simple_rnn", gain=0.3, return_sequences=True, activation=activation).compare(
        backend
    )


def test_units_of_gru_and_simple_rnn_straddle_the_lanes(backend, dtype, rng):
    vector = lanes(backend, dtype)
    for size in [*range(1, 2 * vector + 2), 4 * vector - 1, 4 * vector, 4 * vector + 1]:
        for options in (o for o in CELLS if o["cell"] != "lstm"):
            Case(rng, dtype, 3, 2, 2, size, return_sequences=True, **options).compare(backend)


def masks(rng, batch, steps):
    lengths = rng.integers(0, steps + 1, batch)
    return {
        "right": np.arange(steps) < lengths[:, None],
        "left": np.arange(steps)[::-1] < lengths[:, None],
        "scattered": rng.random((batch, steps)) < 0.5,
        "all": np.ones((batch, steps), bool),
        "none": np.zeros((batch, steps), bool),
    }


@pytest.mark.parametrize("kind", ["right", "left", "scattered", "all", "none"])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_masks_and_states(backend, dtype, rng, kind, return_sequences, zero_output_for_mask, state, bias):
    for batch in (1, 4, 15):
        case = Case(
            rng, dtype, batch, 6, 3, 17, mask=masks(rng, batch, 6)[kind], state=state, bias=bias,
            return_sequences=return_sequences, zero_output_for_mask=zero_output_for_mask,
        )  # fmt: skip
        case.compare(backend)


@pytest.mark.parametrize("shape", [(3, 5, 4, 140), (70, 3, 33, 20), (1, 70, 9, 64), (2, 40, 70, 33)])
def test_larger_shapes(backend, dtype, rng, shape):
    """Several panels, blocks of slots, and the kernel hoisted out of the steps."""
    Case(rng, dtype, *shape, return_sequences=True).compare(backend)
    Case(rng, dtype, *shape, mask="random", return_sequences=False).compare(backend)


@pytest.mark.parametrize("options", CELLS, ids=str)
def test_several_blocks_of_slots(backend, dtype, rng, options):
    """Gradients of weights are summed over 256 slots at once; with tiles of rows that are not full, and few inputs."""
    if options.get("normalization"):
        options = options | {"epsilon": 0.1}  # as above
    for inputs, mask in ((1, None), (4, "random"), (37, None)):
        Case(rng, dtype, 70, 9, inputs, 20, gain=0.5, mask=mask, return_sequences=True, **options).compare(backend)


@pytest.mark.parametrize("cell", GATE_COUNT)
def test_memory_for_inputs_is_for_those_of_the_call(backend, cell):
    """Scratch for a chunk of steps of a fixed size would take more than 100 GB here."""
    inputs, gates = 2_000_000, GATE_COUNT[cell]
    kernel, recurrent = np.ones((inputs, gates), np.float32), np.ones((1, gates), np.float32)
    packed = getattr(backend, f"{cell}_pack")(kernel, recurrent, None)
    y, *_ = getattr(backend, f"{cell}_forward")(np.ones((1, 2, inputs), np.float32), packed, return_sequences=True)
    assert y.shape == (1, 2, 1)
    assert np.isfinite(y).all()


LAYOUTS = {
    "time-major": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "reversed time": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "reversed batch": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "gaps": lambda x: np.concatenate([x, x, x], axis=2)[:, :, x.shape[2] : 2 * x.shape[2]],
    "every other step": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "features apart": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_x_mask_and_d_y(backend, dtype, rng, layout):
    case = Case(rng, dtype, 5, 6, 3, 18, mask="random", return_sequences=True)
    expected = case.run(backend, dtype)
    change = LAYOUTS[layout]
    x, d_y = case.x, case.d_y
    case.x, case.d_y = change(x), change(d_y)
    if layout not in ("unaligned", "features apart", "gaps"):
        case.mask = change(case.mask[..., None])[..., 0]
    np.testing.assert_array_equal(case.x, x)
    actual = case.run(backend, dtype)
    for a, b in zip([*actual[0], *actual[1]], [*expected[0], *expected[1]], strict=True):
        assert (a is None) == (b is None)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", CELLS)
def test_inference_equals_training_to_the_bit(backend, dtype, rng, options):
    for shape, mask in itertools.product([(3, 5, 4, 33), (1, 40, 3, 20), (20, 3, 5, 8)], [None, "random"]):
        case = Case(rng, dtype, *shape, mask=mask, return_sequences=True, **options)
        *trained, _ = case.forward(backend, dtype)
        *inferred, _ = case.forward(backend, dtype, training=False)
        # A pack for training serves inference too.
        *same_pack, _ = case.forward(backend, dtype, training=False, training_pack=True)
        for a, b in zip(same_pack, trained, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(inferred, trained, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [o for o in CELLS if "input_dropout" not in o], ids=str)
def test_steps_one_by_one_equal_one_call_to_the_bit(backend, dtype, rng, options):
    """A streaming caller hands the states from call to call."""
    case = Case(rng, dtype, 2, 7, 3, 20, return_sequences=True, **options)
    y, *final, _ = case.forward(backend, dtype, training=False)
    x, masks = case.x, {name: mask for name, mask in case.masks.items() if name.startswith("zoneout")}
    for t in range(7):
        case.x = x[:, t : t + 1]
        case.masks |= {name: mask[t : t + 1] for name, mask in masks.items()}
        step, *states, _ = case.forward(backend, dtype, training=False)
        np.testing.assert_array_equal(step[:, 0], y[:, t])
        case.states = dict(zip(case.states, states, strict=True))
    for state, expected in zip(case.states.values(), final, strict=True):
        np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("options", CELLS)
def test_any_number_of_threads_gives_the_same_bits(c_kernels, dtype, rng, options):
    """Shapes large enough to be shared out by rows, and by units."""
    for shape, mask in itertools.product([(40, 10, 20, 50), (2, 4, 60, 400), (1, 12, 8, 320)], [None, "random"]):
        case = Case(rng, dtype, *shape, mask=mask, return_sequences=True, **options)
        try:
            results = []
            for threads in (1, 2, 3, 4, 8):
                c_kernels.set_num_threads(threads)
                assert c_kernels.get_num_threads() == threads
                *inferred, _ = case.forward(c_kernels, dtype, training=False)
                results.append([a for a in itertools.chain(*case.run(c_kernels, dtype), inferred) if a is not None])
        finally:
            c_kernels.set_num_threads(0)
        for other in results[1:]:
            for a, b in zip(other, results[0], strict=True):
                np.testing.assert_array_equal(a, b)


def test_calls_together_give_the_bits_of_single_calls(backend, dtype, rng):
    """The threads are divided among the calls, whose sizes and cells have nothing to do with each other."""
    cases = [
        Case(rng, dtype, *shape, mask=mask, return_sequences=True, **options)
        for shape, mask, options in (
            ((1, 12, 8, 320), None, CELLS[0]),
            ((40, 10, 20, 50), "random", {"cell": "lstm", "normalization": True}),
            ((3, 5, 4, 33), None, {"cell": "gru"}),
        )
    ]

    def forward(case):
        packed = case.function(backend, "pack")(case.kernel, case.recurrent, case.bias, training=True)
        masks = {name: mask for name, mask in case.masks.items() if mask is not None}
        options = {"mask": case.mask, "training": True, **case.states, **masks, **case.options}
        return case.function(backend, "forward"), (case.x, packed), options

    def backward(case, saved):
        return case.function(backend, "backward"), (saved, case.d_y, *case.d_states), {}

    set_num_threads = getattr(backend, "set_num_threads", lambda threads: None)
    try:
        results = []
        for threads, count in itertools.product((1, 2, 3, 5), (1, 2, 3)):
            set_num_threads(threads)
            outputs = backend.recurrent_together([forward(case) for case in cases[:count]])
            calls = [backward(case, y[-1]) for case, y in zip(cases, outputs, strict=False)]
            results.append((outputs, backend.recurrent_together(calls)))
    finally:
        set_num_threads(0)
    for outputs, gradients in results:
        for case, actual, d in zip(cases, outputs, gradients, strict=False):
            expected, exact_d = case.run(backend, dtype)
            for a, b in zip((*actual[:-1], *d), (*expected, *exact_d), strict=True):
                np.testing.assert_array_equal(a, b)
    function, (x, packed), options = forward(cases[0])
    bad_calls = [forward(cases[1]), (function, (x[0], packed), options)]
    with pytest.raises(ValueError, match=r"lstm_forward: expected x \(batch, steps, 8\), got \(12, 8\)"):
        backend.recurrent_together(bad_calls)
    assert len(backend.recurrent_together([forward(cases[2])])) == 1  # nothing of the refused calls is left
    assert backend.recurrent_together([]) == []


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_in_their_row(backend, dtype, rng, poison):
    case = Case(rng, dtype, 9, 4, 3, 20, return_sequences=True)
    clean_outputs, clean_gradients = case.run(backend, dtype)
    case.x[4, 1, 0] = poison
    outputs, gradients = case.run(backend, dtype)
    others = np.arange(9) != 4
    for a, b in zip(
        [*outputs, gradients[0], gradients[4], gradients[5]],
        [*clean_outputs, clean_gradients[0], clean_gradients[4], clean_gradients[5]],
        strict=True,
    ):
        np.testing.assert_array_equal(a[others], b[others])
    if np.isnan(poison):
        assert np.isnan(outputs[0][4, 1:]).all()
        assert not np.isnan(outputs[0][4, 0]).any()


def test_saturated_gates_are_finite(backend, dtype, rng):
    case = Case(rng, dtype, 4, 5, 3, 9, return_sequences=True)
    case.x = case.x * dtype.type(1e4)
    outputs, gradients = case.run(backend, dtype)
    for array in (*outputs, *gradients[:6]):
        assert np.isfinite(array).all()


def test_d_x_is_left_out_on_request(backend, dtype, rng):
    case = Case(rng, dtype, 3, 4, 2, 5)
    with_d_x, without = case.run(backend, dtype)[1], case.run(backend, dtype, need_d_x=False)[1]
    assert without[0] is None
    for a, b in zip(with_d_x[1:6], without[1:6], strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_activations_serve_once(backend, rng):
    case = Case(rng, np.dtype(np.float32), 3, 4, 2, 5)
    packed = backend.lstm_pack(case.kernel, case.recurrent, case.bias, training=True)
    *_, saved = backend.lstm_forward(case.x, packed, training=True)
    backend.lstm_backward(saved, case.d_y)
    with pytest.raises(ValueError, match="expected saved activations of a forward call"):
        backend.lstm_backward(saved, case.d_y)


@pytest.mark.parametrize(
    ("function", "columns", "options"),
    [("lstm_pack", 20, {}), ("gru_pack", 15, {"reset_after": False}), ("simple_rnn_pack", 5, {})],
)
def test_a_prepared_pack_reads_the_weights_anew(backend, dtype, rng, function, columns, options):
    kernel, recurrent = (rng.normal(size=(rows, columns)).astype(dtype) for rows in (3, 5))
    x, bias = rng.normal(size=(2, 4, 3)).astype(dtype), np.zeros(columns, dtype)
    pack = backend.prepare_pack(function, kernel, recurrent, bias, False, **options)
    forward = getattr(backend, function.replace("_pack", "_forward"))
    before = pack()
    first = forward(x, before)[0]
    for weights in (kernel, recurrent, bias):
        weights += dtype.type(0.25)
    expected = forward(x, getattr(backend, function)(kernel, recurrent, bias, False, **options))[0]
    np.testing.assert_array_equal(forward(x, pack())[0], expected)
    np.testing.assert_array_equal(forward(x, before)[0], first)  # what was packed before stays as it was
    assert not np.array_equal(first, expected)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("training", [False, True])
def test_a_prepared_forward_call_gives_the_bits_of_the_function(backend, dtype, rng, cell, training):
    """With other arrays each time, laid out otherwise, and backward calls that come late."""
    case = Case(rng, dtype, 3, 5, 4, 7, cell=cell, mask="random", return_sequences=True)
    forward, back = case.function(backend, "forward"), case.function(backend, "backward")
    packed = case.function(backend, "pack")(case.kernel, case.recurrent, case.bias, training=training)
    options = {**case.options, "training": training, "return_sequences": True}
    arrays = {"mask": case.mask, **case.states}
    prepared = backend.prepare_forward(forward.__name__, case.x, packed, arrays, **options)
    without_states = backend.prepare_forward(forward.__name__, case.x, packed, arrays, False, **options)
    outcomes = []
    for k in range(3):
        x, mask = (case.x[:, ::-1], case.mask[:, ::-1]) if k == 1 else (case.x * dtype.type(k + 1), case.mask)
        given = {name: np.asfortranarray(state + dtype.type(k)) for name, state in case.states.items()}
        expected = forward(x, packed, mask=mask, **given, **options)
        outcomes.append((expected, prepared(x, packed, mask=mask, **given)))
        y, *_, saved = without_states(x, packed, mask=mask, **given)
        np.testing.assert_array_equal(y, expected[0])
        assert (saved is None) == (not training)
    for expected, results in outcomes:
        assert len(results) == len(expected)
        for a, b in zip(results[:-1], expected[:-1], strict=True):
            np.testing.assert_array_equal(a, b)
        if training:
            d_y = np.ascontiguousarray(case.d_y.transpose(1, 0, 2)).transpose(1, 0, 2)
            for a, b in zip(back(results[-1], d_y), back(expected[-1], d_y), strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_array_equal(a, b)


def test_what_is_prepared_is_checked(rng):
    case = Case(rng, np.dtype(np.float32), 3, 5, 4, 7)
    packed = c.lstm_pack(case.kernel, case.recurrent, case.bias)
    for x, arrays, options, message in (
        (case.x[0], {}, {}, r"lstm_forward: expected x \(batch, steps, 4\), got \(5, 4\)"),
        (case.x, {"h0": case.x[0]}, {}, r"lstm_forward: expected h0 \(3, 7\) of float32, got \(5, 4\) of float32"),
        (case.x, {"mask": np.ones((3, 5))}, {}, r"expected mask \(3, 5\) of bool, got \(3, 5\) of float64"),
        (case.x, {}, {"training": True}, "expected weights packed with training=True for training=True"),
        (case.x, {}, {"removed": ["gate"]}, "expected removed to be some of input_gate"),
    ):
        with pytest.raises(ValueError, match=message):
            c.prepare_forward("lstm_forward", x, packed, arrays, **options)


def test_weights_of_another_cell_are_refused(rng):
    case = Case(rng, np.dtype(np.float32), 3, 4, 2, 5, cell="gru")
    packed = c.gru_pack(case.kernel, case.recurrent, case.bias)
    with pytest.raises(TypeError, match="lstm_forward: expected packed weights from lstm_pack of this backend"):
        c.lstm_forward(case.x, packed)
    *_, saved = case.forward(c, case.dtype)
    with pytest.raises(TypeError, match="simple_rnn_backward: expected what simple_rnn_forward of this backend saved"):
        c.simple_rnn_backward(saved, case.d_y)


def test_weights_of_another_instruction_set_are_refused(rng):
    if len(ISAS) < 2:
        pytest.skip("needs a CPU with two instruction sets that the library knows")
    case = Case(rng, np.dtype(np.float32), 3, 4, 2, 5)
    before = c.get_isa()
    try:
        c.set_isa(ISAS[0])
        packed = c.lstm_pack(case.kernel, case.recurrent, case.bias)
        c.set_isa(ISAS[1])
        with pytest.raises(ValueError, match="'packed' is out of its domain"):
            c.lstm_forward(case.x, packed)
    finally:
        c.set_isa(before)


# Around the layer.


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (7, 300, 5), (13, 4, 70), (64, 65, 33), (3, 0, 4), (0, 3, 4), (40, 600, 1)]
)
@pytest.mark.parametrize("layout", ["C", "F", "reversed", "broadcast"])
def test_matmul(backend, dtype, rng, sizes, layout):
    rows, inner, columns = sizes
    a, b = rng.normal(size=(rows, inner)).astype(dtype), rng.normal(size=(inner, columns)).astype(dtype)
    bias = rng.normal(size=columns).astype(dtype)
    if layout == "F":
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    if layout == "reversed":
        a, b = a[::-1, ::-1], b[::-1, ::-1]
    if layout == "broadcast" and rows and inner:
        a, b = np.broadcast_to(a[:1], a.shape), np.broadcast_to(b[:, :1], b.shape)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    out = rng.normal(size=(rows, columns)).astype(dtype)
    before = out.astype(np.float64)
    assert_close(backend.matmul(a, b), exact, dtype, inner)
    assert_close(backend.matmul(a, b, bias), exact + bias, dtype, inner)
    assert_close(backend.matmul(a, b, bias, out=out, accumulate=True), before + exact + bias, dtype, inner)


def test_matmul_takes_arrays_of_any_memory(backend, dtype, rng):
    """Off their alignment, which neither shape nor strides tell, and fields of records, whose strides are not whole."""
    a, b, bias = (rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (4, 2), (2,)))
    expected = backend.matmul(a, b, bias)
    for array in (a, b, bias):
        array.flags.writeable = False
    moved = []
    for array in (a, b, bias):
        place = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        place[...] = array
        moved.append(place)
    records = np.zeros(a.shape, [("byte", "i1"), ("number", dtype)])
    records["number"] = a
    for _ in range(2):
        np.testing.assert_array_equal(backend.matmul(*moved), expected)
        np.testing.assert_array_equal(backend.matmul(records["number"], b, bias), expected)
        np.testing.assert_array_equal(backend.matmul(a, b, bias), expected)
    with pytest.raises(ValueError, match=r"matmul: expected bias \(2,\)"):
        backend.matmul(a, b, bias[:1])


def test_matmul_overflows_in_silence(backend):
    a, b = np.array([[np.inf, 1e38]], np.float32), np.array([[1], [3e38]], np.float32)
    assert np.isnan(backend.matmul(a, b, np.array([-np.inf], np.float32)))


def test_matmul_is_the_same_for_any_number_of_threads(c_kernels, dtype, rng):
    for rows, columns in ((200, 90), (2, 900)):
        a, b = rng.normal(size=(rows, 500)).astype(dtype), rng.normal(size=(500, columns)).astype(dtype)
        try:
            results = []
            for threads in (1, 2, 3, 8):
                c_kernels.set_num_threads(threads)
                results.append(c_kernels.matmul(a, b))
        finally:
            c_kernels.set_num_threads(0)
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("activation", [*GATES, "exp"])
def test_elementwise_activations(backend, dtype, rng, activation):
    x = (rng.normal(size=(7, 41)) * 4).astype(dtype)
    exact = reference.activation_forward(x.astype(np.float64), activation)
    y = backend.activation_forward(x, activation)
    np.testing.assert_allclose(y, exact, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    d_y = rng.normal(size=x.shape).astype(dtype)
    expected = reference.activation_backward(y.astype(np.float64), d_y.astype(np.float64), activation)
    np.testing.assert_allclose(
        backend.activation_backward(y, d_y, activation),
        expected,
        rtol=1e2 * np.finfo(dtype).eps,
        atol=np.finfo(dtype).eps,
    )
    in_place = x.copy()
    assert backend.activation_forward(in_place, activation, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, y)
    np.testing.assert_array_equal(backend.activation_forward(x[::2, ::-3], activation), y[::2, ::-3])


def test_embedding_gradient(backend, dtype, rng):
    ids = rng.integers(0, 6, (4, 9))
    d_out = rng.normal(size=(4, 9, 5)).astype(dtype)
    actual, expected = np.ones((6, 5), dtype), np.ones((6, 5))
    backend.embedding_gradient(ids, d_out, actual)
    reference.embedding_gradient(ids, d_out.astype(np.float64), expected)
    assert_close(actual, expected, dtype, 36)
    unchanged = actual.copy()
    for bad in (-1, 6):
        ids[2, 3] = bad
        with pytest.raises(IndexError, match=r"expected ids in 0 \.\.\. 5"):
            backend.embedding_gradient(ids, d_out, actual)
        np.testing.assert_array_equal(actual, unchanged)


UPDATES = [
    ("sgd_update", [None], {}),
    ("sgd_update", ["velocity"], {"momentum": 0.9}),
    ("sgd_update", ["velocity"], {"momentum": 0.9, "nesterov": True, "decay": 1e-3}),
    ("rmsprop_update", ["mean_square", None, None], {}),
    ("rmsprop_update", ["mean_square", "average", None], {"rho": 0.8}),
    ("rmsprop_update", ["mean_square", None, "velocity"], {"momentum": 0.5, "gradient_scale": 0.3}),
    ("rmsprop_update", ["mean_square", "average", "velocity"], {"momentum": 0.5, "decay": 1e-2}),
    ("adam_update", ["m", "v", None], {}),
    ("adam_update", ["m", "v", "v_max"], {"beta_1": 0.8, "beta_2": 0.95}),
    ("adam_update", ["m", "v", None], {"gradient_scale": 0.1, "decay": 1e-2, "epsilon": 1e-3}),
]


@pytest.mark.parametrize(("name", "state", "options"), UPDATES)
@pytest.mark.parametrize("size", [1, 37, 500])
def test_optimizer_updates(backend, dtype, rng, name, state, options, size):
    w = rng.normal(size=size).astype(dtype)
    exact_w = w.astype(np.float64)
    buffers = [None if s is None else np.zeros(size, dtype) for s in state]
    exact_buffers = [None if s is None else np.zeros(size) for s in state]
    for _ in range(10):
        g = rng.normal(size=size).astype(dtype)
        getattr(backend, name)(w, g, *buffers, learning_rate=0.01, **options)
        getattr(reference, name)(exact_w, g.astype(np.float64), *exact_buffers, learning_rate=0.01, **options)
    np.testing.assert_allclose(w, exact_w, rtol=1e3 * np.finfo(dtype).eps, atol=1e2 * np.finfo(dtype).eps)


# Wrong arguments reach no kernel.


def read_only(*shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


BAD_CALLS = [
    (lambda b, k: b.lstm_forward(k["x"][0], k["packed"]), ValueError,
     "lstm_forward: expected x (batch, steps, 2), got (4, 2)"),
    (lambda b, k: b.lstm_forward(k["x"].astype("f8"), k["packed"]), ValueError,
     "lstm_forward: expected x (3, 4, 2) of float32, got (3, 4, 2) of float64"),
    (lambda b, k: b.lstm_forward(k["x"].astype(">f4"), k["packed"]), ValueError,
     "lstm_forward: expected x (3, 4, 2) of float32, got (3, 4, 2) of >f4"),
    (lambda b, k: b.lstm_forward(k["x"][..., :1], k["packed"]), ValueError,
     "lstm_forward: expected x (3, 4, 2) of float32, got (3, 4, 1) of float32"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], h0=np.zeros((3, 4), "f")), ValueError,
     "lstm_forward: expected h0 (3, 5) of float32, got (3, 4) of float32"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], c0=np.zeros((1, 5), "f")), ValueError,
     "lstm_forward: expected c0 (3, 5) of float32, got (1, 5) of float32"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], mask=np.ones((3, 3), bool)), ValueError,
     "lstm_forward: expected mask (3, 4) of bool, got (3, 3) of bool"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], mask=np.ones((3, 4))), ValueError,
     "lstm_forward: expected mask (3, 4) of bool, got (3, 4) of float64"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], training=True), ValueError,
     "lstm_forward: expected weights packed with training=True for training=True"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 20), "f"), np.zeros((5, 16), "f"), None), ValueError,
     "lstm_pack: expected recurrent (5, 20) of float32, got (5, 16) of float32"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 20), "i4"), np.zeros((5, 20), "f"), None), TypeError,
     "lstm_pack: expected kernel of dtype float32 or float64, got int32"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 20), "f"), np.zeros((5, 20), "f"), None, False, np.zeros((5, 5), "f")),
     ValueError, "lstm_pack: expected gate_recurrence (15, 15) of float32, got (5, 5) of float32"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 20), "f"), np.zeros((3, 20), "f"), None, projection=np.zeros((3, 5), "f")),
     ValueError, "lstm_pack: expected projection (5, 3) of float32, got (3, 5) of float32"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 20), "f"), np.zeros((0, 20), "f"), None, projection=np.zeros((5, 0), "f")),
     ValueError, "lstm_pack: argument 'projection' is out of its domain"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], g0=np.zeros((3, 15), "f")), ValueError,
     "lstm_forward: expected g0 only with weights packed with gate_recurrence"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], normalization=np.zeros((8, 5), "f")), ValueError,
     "lstm_forward: expected normalization (10, 5) of float32, got (8, 5) of float32"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], zoneout_c=1.5), ValueError,
     "lstm_forward: argument 'zoneout_c' is out of its domain"),
    (lambda b, k: b.lstm_forward(k["x"], k["packed"], zoneout_h_mask=np.zeros((3, 4, 5), bool)), ValueError,
     "lstm_forward: expected zoneout_h_mask (4, 3, 5) of bool, got (3, 4, 5) of bool"),
    (lambda b, k: b.lstm_pack(np.zeros((2, 0), "f"), np.zeros((0, 0), "f"), None), ValueError,
     "lstm_pack: argument 'units' is out of its domain"),
    (lambda b, k: b.matmul(np.zeros((2, 3), "f"), np.zeros((4, 2), "f")), ValueError,
     "matmul: expected a (rows, inner) and b (inner, columns), got (2, 3) and (4, 2)"),
    (lambda b, k: b.matmul(np.zeros((2, 3), "f"), np.zeros((3, 2), "f"), accumulate=True), ValueError,
     "matmul: expected out with accumulate=True, got None"),
    (lambda b, k: b.matmul(np.zeros((2, 3), "f"), np.zeros((3, 2), "f"), out=read_only(2, 2)), ValueError,
     "matmul: expected out writeable"),
    (lambda b, k: b.activation_forward(np.zeros(3, "f"), "tanh", out=read_only(3)), ValueError,
     "activation_forward: expected out writeable"),
    (lambda b, k: b.activation_backward(np.zeros(3, "f"), np.zeros(3, "f"), "tanh", out=read_only(3)), ValueError,
     "activation_backward: expected out writeable"),
    (lambda b, k: b.adam_update(np.zeros(3, "f"), np.zeros(4, "f"), np.zeros(3, "f"), np.zeros(3, "f"), None,
                                learning_rate=0.1), ValueError,
     "adam_update: expected g (3,) of float32, got (4,) of float32"),
    (lambda b, k: b.sgd_update(np.zeros((3, 2), "f")[:, 0], np.zeros(3, "f"), None, learning_rate=0.1), ValueError,
     "sgd_update: expected w contiguous and writeable"),
    (lambda b, k: b.sgd_update(np.zeros(3, "f"), np.zeros(3, "f"), None, learning_rate=np.nan), ValueError,
     "sgd_update: argument 'learning_rate' is out of its domain"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
def test_bad_calls(backend, rng, number):
    call, error, message = BAD_CALLS[number]
    kernel, recurrent = np.zeros((2, 20), np.float32), np.zeros((5, 20), np.float32)
    known = {"x": np.zeros((3, 4, 2), np.float32), "packed": backend.lstm_pack(kernel, recurrent, None)}
    with pytest.raises(error) as caught:
        call(backend, known)
    assert str(caught.value) == message


def test_unknown_backend_and_instruction_set():
    with pytest.raises(
        ValueError, match="unknown backend 'fortran': expected one of 'c', 'cuda', 'numba', 'reference'"
    ):
        backends.set_backend("fortran")
    before = c.get_isa()
    with pytest.raises(ValueError, match=r"set_isa: expected one of \["):
        c.set_isa("v9")
    assert c.get_isa() == before


def test_wrong_settings_change_nothing():
    before = c.get_num_threads(), c.get_isa()
    for call, error, message in (
        (lambda: c.set_num_threads(2.5), TypeError, "set_num_threads: expected threads to be an integer, got 2.5"),
        (lambda: c.set_num_threads("a"), TypeError, "set_num_threads: expected threads to be an integer, got 'a'"),
        (lambda: c.set_num_threads(-1), ValueError, "set_num_threads: expected 0 ... 1024, got -1"),
        (lambda: c.set_isa(3), TypeError, "set_isa: expected isa to be a name or None, got 3"),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
        assert (c.get_num_threads(), c.get_isa()) == before


def test_the_environment_chooses_the_instruction_set():
    """`make test` runs the suite once per instruction set: this asserts that the one asked for ran."""
    wanted = os.environ.get("FUSEDLSTM_ISA")
    assert c.get_isa() == (wanted or ISAS[0])

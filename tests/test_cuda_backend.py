"""The backend "cuda" against the reference in float64, on a GPU or in numba-cuda's simulator.

Without a GPU: ``NUMBA_ENABLE_CUDASIM=1 pytest -m cuda``. The simulator takes microseconds for a multiplication: all
sizes are small.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_case import need_cuda, simulated
from recurrent_case import GATE_COUNT, GATES, Case, assert_close
from test_backends import BAD_CALLS

from fusedlstm import backends
from fusedlstm.backends import reference

pytestmark = pytest.mark.cuda
need_cuda()

from fusedlstm.backends import cuda_simulator, numba_cuda_loop, numba_cuda_lstm_steps, numba_cuda_recurrent  # noqa: E402
from fusedlstm.backends import numba_cuda as backend  # noqa: E402
from fusedlstm.backends.device_array import is_device, to_device, to_host, transfers  # noqa: E402

CELLS = ["lstm", "gru", "gru reset first", "simple_rnn"]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=["resident", "streamed", "steps"])
def path(request, monkeypatch):
    """Each way of going through time; `steps` is an LSTM's only."""
    if request.param == "streamed":
        few = numba_cuda_loop.Machine(multiprocessors=3, shared=1 << 13)
        monkeypatch.setattr(numba_cuda_loop, "plan", lambda *sizes: numba_cuda_loop.streamed(*sizes, few))
    if request.param == "steps":
        monkeypatch.setattr(numba_cuda_recurrent, "_module", lambda call: numba_cuda_lstm_steps)
    return request.param


def case(rng, dtype, *shape, cell="lstm", **options):
    reset_after = "first" not in cell
    return Case(rng, dtype, *shape, cell=cell.split()[0], reset_after=reset_after, return_sequences=True, **options)


def test_the_functions_have_the_reference_signatures():
    for name in backends.KERNELS:
        assert inspect.signature(getattr(backend, name)) == inspect.signature(getattr(reference, name)), name
    assert isinstance(backend.generation, int)


# Recurrent layers.


@pytest.mark.parametrize("options", [{}, {"mask": "random", "state": False}], ids=str)
def test_lstm_on_every_path(path, dtype, rng, options):
    case(rng, dtype, 5, 3, 2, 6, **options).compare(backend)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dropout", ["none", "shared", "each gate"])
@pytest.mark.parametrize("mask", [None, "random"])
def test_cells_and_dropout(dtype, rng, cell, dropout, mask):
    masks = {"none": 0, "shared": 1, "each gate": GATE_COUNT[cell.split()[0]]}[dropout]
    sizes = {"input_dropout": masks, "recurrent_dropout": masks}
    case(rng, dtype, 3, 3, 2, 4, cell=cell, mask=mask, bias=mask is None, **sizes).compare(backend)


@pytest.mark.parametrize(("cell", "units"), [("lstm", 34), ("gru", 34), ("simple_rnn", 131)])
def test_groups_of_units_and_of_rows_and_parts_of_sums(monkeypatch, rng, cell, units):
    """More than a job for a block, and more factors than are in shared memory at a time."""
    few = numba_cuda_loop.Machine(multiprocessors=3, shared=1 << 13)
    monkeypatch.setattr(numba_cuda_loop, "plan", lambda *sizes: numba_cuda_loop.streamed(*sizes, few))
    plan = numba_cuda_loop.plan(9, units, GATE_COUNT[cell], 1, 4)
    assert plan.groups > 1
    assert plan.row_groups > 1 or cell == "simple_rnn"
    assert plan.depth < units or cell != "simple_rnn"
    for mask in (None, "random"):
        case(rng, np.dtype("float32"), 9, 1, 1, units, cell=cell, mask=mask).compare(backend)


def run_all_blocks(kernel, plan, arrays, batch, steps, plain, options):
    """As `numba_cuda_loop.run`, but all blocks at once: a Python thread for each of theirs, barriers between them.

    Shared and local memory hold NaN at first. A barrier that not all come to breaks.
    """
    own, threads = threading.local(), 3
    of_grid = threading.Barrier(plan.blocks * threads)
    kind = arrays[0].dtype

    class Cuda:
        threadIdx = property(lambda self: own.thread)  # noqa: N815 - numba's names
        blockIdx = property(lambda self: own.block)  # noqa: N815
        blockDim, gridDim = SimpleNamespace(x=threads), SimpleNamespace(x=plan.blocks)  # noqa: N815
        cg = SimpleNamespace(this_grid=lambda: SimpleNamespace(sync=lambda: of_grid.wait(30)))
        shared = SimpleNamespace(array=lambda shape, dtype: own.shared)
        local = SimpleNamespace(array=lambda shape, dtype: np.full(shape, np.nan, kind))

        def syncthreads(self):
            own.barrier.wait(30)

    host = [array.numba._ary for array in arrays]
    sizes = plan.width, plan.groups, plan.row_groups, plan.tile, plan.depth, plan.slices, plan.resident
    failures = []

    def work(block, thread, shared, barrier):
        own.block, own.thread = SimpleNamespace(x=block), SimpleNamespace(x=thread)
        own.shared, own.barrier = shared, barrier
        try:
            kernel.fn(*host, batch, steps, *sizes, plain, *options)
        except Exception as error:
            failures.append(error)
            of_grid.abort()
            barrier.abort()

    workers = []
    for block in range(plan.blocks):
        memory = np.full(plan.shared // kind.itemsize, np.nan, kind), threading.Barrier(threads)
        workers += [threading.Thread(target=work, args=(block, thread, *memory)) for thread in range(threads)]
    with pytest.MonkeyPatch.context() as patch, cuda_simulator.quick_switches():
        patch.setattr(numba_cuda_loop, "cuda", Cuda())
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not failures, failures


@pytest.mark.skipif(not simulated(), reason="a GPU runs all blocks at once by itself")
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize(("units", "resident"), [(10, True), (34, False)], ids=["resident", "streamed"])
@pytest.mark.parametrize("mask", [None, "random"])
def test_blocks_that_run_at_once_meet_after_every_step(monkeypatch, dtype, rng, cell, units, resident, mask):
    device = numba_cuda_loop.Machine(multiprocessors=6, shared=1 << 14)
    division = numba_cuda_loop._resident if resident else numba_cuda_loop.streamed
    runs = []

    def run(kernel, plan, *others):
        runs.append(plan)
        run_all_blocks(kernel, plan, *others)

    monkeypatch.setattr(numba_cuda_loop, "plan", lambda *sizes: division(*sizes, device))
    monkeypatch.setattr(numba_cuda_loop, "run", run)
    case(rng, dtype, 5, 2, 1, units, cell=cell, mask=mask, recurrent_dropout=GATE_COUNT[cell]).compare(backend)
    assert len(runs) == 2
    assert all(plan.resident == resident and plan.blocks > 1 for plan in runs)


VARIANTS = [
    {"peepholes": True},
    {"coupled_gates": True, "peepholes": True, "removed": ("output_gate",)},
    {"cell_clip": 0.4, "peepholes": True, "removed": ("output_activation",)},
    {"removed": ("input_gate", "forget_gate", "input_activation")},
    {"zoneout_masks": True},
    {"zoneout_h": 0.2, "zoneout_c": 0.4, "cell_clip": 0.4},
]
WITH_PRODUCTS = [
    {"gate_recurrence": True},
    {"projection": 3},
    {"normalization": True},
    {"normalization": True, "removed": ("forget_gate", "output_activation"), "peepholes": True},
    {"zoneout_c": 0.5, "peepholes": True, "gate_recurrence": True, "coupled_gates": True},
    {"gate_recurrence": True, "projection": 3, "normalization": True, "peepholes": True, "zoneout_masks": True},
    {"gate_recurrence": True, "projection": 7, "zoneout_h": 0.3, "removed": ("input_gate",), "cell_clip": 0.4},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_lstm_variants_on_every_path(path, dtype, rng, variant):
    case(rng, dtype, 3, 3, 2, 4, recurrent_dropout=4, mask="random", **variant).compare(backend)


@pytest.mark.parametrize("variant", WITH_PRODUCTS, ids=str)
@pytest.mark.parametrize(("dropout", "mask", "real"), [(0, None, "f8"), (1, "random", "f4"), (4, "random", "f8")])
def test_lstm_variants_with_more_products(rng, variant, dropout, mask, real):
    options = {"input_dropout": dropout, "recurrent_dropout": dropout, "mask": mask, "epsilon": 0.1}
    case(rng, np.dtype(real), 2, 3, 2, 4, **options, **variant).compare(backend)


def test_lstm_options_in_any_combination(rng):
    draw = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    for _ in range(15):
        coupled = draw(False, True)
        removable = ["output_gate", "input_activation", "output_activation"]
        removable += [] if coupled else ["input_gate", "forget_gate"]
        options = {
            "projection": draw(None, None, 3, 5),
            "gate_recurrence": draw(False, False, True),
            "normalization": draw(False, False, True),
            "epsilon": 0.1,
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
        shape = (draw(1, 2, 5), draw(1, 3), draw(0, 1, 3), draw(1, 4, 5))
        Case(rng, np.dtype(draw("float32", "float64")), *shape, gain=0.5, **options).compare(backend)


@pytest.mark.parametrize("activation", GATES)
def test_activations(dtype, rng, activation):
    for cell in CELLS:
        recurrent = {} if cell == "simple_rnn" else {"recurrent_activation": activation}
        case(rng, dtype, 2, 2, 1, 3, cell=cell, gain=0.3, activation=activation, **recurrent).compare(backend)


def masks(rng, batch, steps):
    lengths = rng.integers(0, steps + 1, batch)
    return {
        "right": np.arange(steps) < lengths[:, None],
        "left": np.arange(steps)[::-1] < lengths[:, None],
        "all": np.ones((batch, steps), bool),
        "none": np.zeros((batch, steps), bool),
    }


@pytest.mark.parametrize("kind", ["right", "left", "all", "none"])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
def test_masks(dtype, rng, kind, return_sequences, zero_output_for_mask):
    for cell in ("lstm", "gru"):
        Case(
            rng, dtype, 3, 3, 1, 2, cell=cell, mask=masks(rng, 3, 3)[kind], return_sequences=return_sequences,
            zero_output_for_mask=zero_output_for_mask,
        ).compare(backend)  # fmt: skip


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (3, 0, 2, 4), (2, 2, 0, 3), (1, 1, 1, 1), (5, 1, 1, 9)], ids=str)
def test_shapes_at_the_edge(dtype, rng, shape):
    for cell, return_sequences in itertools.product(("lstm", "gru", "simple_rnn"), (False, True)):
        Case(rng, dtype, *shape, cell=cell, return_sequences=return_sequences).compare(backend)
    for options in ({"projection": 2}, {"normalization": True}, {"gate_recurrence": True}):
        Case(rng, dtype, *shape, return_sequences=True, mask="random", **options).compare(backend)


@pytest.mark.parametrize("options", [{}, {"projection": 3}, {"cell": "gru"}, {"cell": "gru reset first"}], ids=str)
def test_inference_and_steps_one_by_one_give_the_same_bits(rng, options):
    each = case(rng, np.dtype("float32"), 2, 3, 2, 4, **options)
    *trained, _ = each.forward(backend, each.dtype)
    y, *final, saved = each.forward(backend, each.dtype, training=False)
    assert saved is None
    for a, b in zip((y, *final), trained, strict=True):
        np.testing.assert_array_equal(a, b)
    x = each.x
    for t in range(3):
        each.x = x[:, t : t + 1]
        step, *states, _ = each.forward(backend, each.dtype, training=False)
        np.testing.assert_array_equal(step[:, 0], y[:, t])
        each.states = dict(zip(each.states, states, strict=True))


def test_nan_stays_in_its_row(rng):
    poisoned = case(rng, np.dtype("float32"), 5, 2, 2, 3)
    clean, clean_d = poisoned.run(backend, poisoned.dtype)
    poisoned.x[2, 1, 0] = np.nan
    outputs, d = poisoned.run(backend, poisoned.dtype)
    others = np.arange(5) != 2
    for a, b in zip((*outputs, d.d_x, d.d_h0, d.d_c0), (*clean, clean_d.d_x, clean_d.d_h0, clean_d.d_c0), strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    assert np.isnan(outputs[0][2, 1]).all()
    assert not np.isnan(outputs[0][2, 0]).any()


@pytest.mark.parametrize("layout", ["reversed time", "time-major"])
def test_layouts_of_x_and_mask(rng, layout):
    change = {
        "reversed time": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        "time-major": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    }[layout]
    each = case(rng, np.dtype("float32"), 3, 3, 2, 3, mask="random")
    expected = each.run(backend, each.dtype)
    each.x, each.d_y, each.mask = change(each.x), change(each.d_y), change(each.mask[..., None])[..., 0]
    for a, b in zip(itertools.chain(*each.run(backend, each.dtype)), itertools.chain(*expected), strict=True):
        if b is not None:
            np.testing.assert_array_equal(a, b)


def test_what_is_on_the_device_stays_there(rng):
    each = case(rng, np.dtype("float32"), 3, 3, 2, 4)
    y, h, c, saved = each.forward(backend, each.dtype)
    d = backend.lstm_backward(saved, each.d_y, *each.d_states)
    weights = [to_device(array) for array in (each.kernel, each.recurrent, each.bias)]
    states = {name: to_device(state) for name, state in each.states.items()}
    gradients = [to_device(array) for array in (each.d_y, *each.d_states)]
    x = to_device(each.x)
    with transfers.counted() as counts:
        packed = backend.lstm_pack(*weights, training=True)
        *outputs, saved = backend.lstm_forward(x, packed, return_sequences=True, training=True, **states)
        d_device = backend.lstm_backward(saved, *gradients)
    assert not {name: count for name, count in counts.items() if count}
    for actual, expected in zip((*outputs, *d_device), (y, h, c, *d), strict=True):
        if expected is not None:
            assert is_device(actual)
            np.testing.assert_array_equal(to_host(actual), expected)


def first_from_zeros(forward, x, packed):
    return forward(x[:, :1], packed)[0]


def test_a_mask_is_numbered_once_for_all_layers(rng):
    each = case(rng, np.dtype("float32"), 3, 3, 2, 3, mask="random")
    expected = each.run(backend, each.dtype)
    packed = backend.lstm_pack(each.kernel, each.recurrent, each.bias)
    x = to_device(each.x)
    with transfers.counted() as counts:
        backend.lstm_forward(x, packed, mask=each.mask.copy())
    assert not counts.total()
    each.mask[:] = ~each.mask  # in place: what was kept is of no use
    each.compare(backend)
    each.mask[:] = ~each.mask
    for a, b in zip(each.run(backend, each.dtype)[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_calls_and_streams(rng):
    cases = [case(rng, np.dtype("float32"), 2, 3, 2, 3, cell=cell) for cell in ("lstm", "gru")]
    calls = []
    for each in cases:
        packed = each.function(backend, "pack")(each.kernel, each.recurrent, each.bias, training=True)
        forward = each.function(backend, "forward")
        calls.append((forward, (each.x, packed), {"return_sequences": True, **each.states}))
    together = backend.recurrent_together(calls)
    for each, (forward, (x, packed), options), outputs in zip(cases, calls, together, strict=True):
        expected = forward(x, packed, **options)
        for a, b in zip(outputs, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)
        states = {name: state.copy() for name, state in each.states.items()}
        stream = backend.recurrent_stream(forward.__name__, "layer", packed, x[:, :1].copy(), states)
        for t in range(3):
            np.testing.assert_array_equal(stream(x[:, t]), expected[0][:, t])
        for a, b in zip(stream.states, expected[1:], strict=False):
            np.testing.assert_array_equal(a, b)
        stream.reset()
        for bad in (x[:, 0].astype("f8"), to_device(x[:, 0, :1])):
            with pytest.raises(ValueError, match=r"layer: expected inputs \(2, 2\) of float32, got"):
                stream(bad)
        np.testing.assert_array_equal(to_host(stream(to_device(x[:, 0]))), first_from_zeros(forward, x, packed))


def test_a_prepared_pack_reads_the_weights_anew(rng):
    kernel, recurrent = (rng.normal(size=(rows, 12)).astype("f") for rows in (2, 3))
    for place in (lambda a: a, to_device):
        weights = [place(w.copy()) for w in (kernel, recurrent, np.zeros(12, "f"))]
        x = rng.normal(size=(2, 2, 2)).astype("f")
        pack = backend.prepare_pack("lstm_pack", *weights, False)
        before = pack()
        first = backend.lstm_forward(x, before)[0]
        for w in weights:
            w += np.float32(0.25)
        expected = backend.lstm_forward(x, backend.lstm_pack(*weights, False))[0]
        np.testing.assert_array_equal(backend.lstm_forward(x, pack())[0], expected)
        np.testing.assert_array_equal(backend.lstm_forward(x, before)[0], first)
        assert not np.array_equal(first, expected)


def test_refusals(rng):
    each = case(rng, np.dtype("float32"), 2, 2, 2, 3, cell="gru")
    packed = backend.gru_pack(each.kernel, each.recurrent, each.bias)
    with pytest.raises(TypeError, match="lstm_forward: expected packed weights from lstm_pack of this backend"):
        backend.lstm_forward(each.x, packed)
    with pytest.raises(TypeError, match="gru_forward: expected packed weights from gru_pack of this backend"):
        backend.gru_forward(each.x, reference.gru_pack(each.kernel, each.recurrent, each.bias))
    with pytest.raises(ValueError, match="gru_forward: expected weights packed with training=True for training=True"):
        backend.gru_forward(each.x, packed, training=True)
    with pytest.raises(ValueError, match=r"gru_forward: expected x \(2, 2, 2\) of float32, got \(2, 2, 2\) of float64"):
        backend.gru_forward(each.x.astype("f8"), packed)
    *_, saved = each.forward(backend, each.dtype)
    with pytest.raises(TypeError, match="simple_rnn_backward: expected what simple_rnn_forward of this backend saved"):
        backend.simple_rnn_backward(saved, each.d_y)
    with pytest.raises(ValueError, match=r"gru_backward: expected d_y \(2, 2, 3\) of float32, got \(2, 3\)"):
        backend.gru_backward(saved, each.d_y[:, 0])
    backend.gru_backward(saved, each.d_y)
    with pytest.raises(ValueError, match="expected saved activations of a forward call"):
        backend.gru_backward(saved, each.d_y)


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
def test_bad_calls_get_the_answers_of_the_other_backends(number):
    call, error, message = BAD_CALLS[number]
    packed = backend.lstm_pack(np.zeros((2, 20), "f"), np.zeros((5, 20), "f"), None)
    with pytest.raises(error) as caught:
        call(backend, {"x": np.zeros((3, 4, 2), "f"), "packed": packed})
    assert str(caught.value) == message


def test_plans_fit_their_device():
    """For GPUs from a T4 to an H200: weights stay where they fit, and no block has more than it can."""
    devices = [(40, 65536), (84, 101376), (108, 166912), (132, 232448)]
    for (processors, shared), units, batch, gates, itemsize in itertools.product(
        devices, (1, 31, 64, 128, 512, 1024, 3000), (1, 16, 64, 500), (1, 3, 4), (4, 8)
    ):
        device = numba_cuda_loop.Machine(processors, shared)
        for sets in {1, gates}:
            sizes = batch, units, gates, sets, itemsize, device
            found = numba_cuda_loop._resident(*sizes), numba_cuda_loop.streamed(*sizes)
            for plan in filter(None, found):
                weights = gates * units * plan.width if plan.resident else 0
                factors = sets * plan.tile * plan.depth
                used = weights + factors + plan.tile * plan.slices * gates * plan.width
                assert used * itemsize == plan.shared <= shared
                assert plan.width * plan.groups >= units > plan.width * (plan.groups - 1)
                assert plan.tile % numba_cuda_loop.ROWS == 0 < plan.slices
                assert plan.blocks <= processors
                assert not plan.resident or plan.blocks == plan.groups * plan.row_groups
            if gates * units * units * itemsize < processors * shared / 4 and units <= 512:
                assert found[0] is not None, sizes


# Around the layer.


def test_matmul(dtype, rng):
    a, b = rng.normal(size=(3, 5)).astype(dtype), rng.normal(size=(5, 4)).astype(dtype)
    bias, out = rng.normal(size=4).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    before = out.astype("f8")
    exact = a.astype("f8") @ b.astype("f8")
    assert_close(backend.matmul(a, b), exact, dtype, 5)
    assert_close(backend.matmul(a, b[:, ::-1], bias), exact[:, ::-1] + bias, dtype, 5)
    assert_close(backend.matmul(a, b, bias, out=out, accumulate=True), before + exact + bias, dtype, 5)
    on_device = backend.matmul(to_device(a), b)
    assert is_device(on_device)
    with pytest.raises(ValueError, match="matmul: expected out with accumulate=True, got None"):
        backend.matmul(a, b, accumulate=True)
    with pytest.raises(ValueError, match=r"and b \(inner, columns\), got \(3, 5\) and \(3, 5\)"):
        backend.matmul(a, a)


@pytest.mark.parametrize("activation", [*GATES, "exp"])
def test_elementwise_activations(dtype, rng, activation):
    x = (rng.normal(size=(3, 7)) * 4).astype(dtype)
    exact = reference.activation_forward(x.astype("f8"), activation)
    y = backend.activation_forward(x, activation)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, exact, rtol=8 * eps, atol=eps)
    d_y = rng.normal(size=x.shape).astype(dtype)
    expected = reference.activation_backward(y.astype("f8"), d_y.astype("f8"), activation)
    np.testing.assert_allclose(backend.activation_backward(y, d_y, activation), expected, rtol=100 * eps, atol=eps)
    in_place = x.copy()
    assert backend.activation_forward(in_place, activation, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, y)
    there = to_device(x)
    assert backend.activation_forward(there, activation, out=there) is there
    np.testing.assert_array_equal(to_host(there), y)


def test_embedding_gradient(dtype, rng):
    ids, d_out = rng.integers(0, 4, (3, 5)), rng.normal(size=(3, 5, 2)).astype(dtype)
    expected = np.ones((4, 2))
    reference.embedding_gradient(ids, d_out.astype("f8"), expected)
    results = []
    for place in (lambda a: a, to_device):
        actual, there, d = place(np.ones((4, 2), dtype)), place(ids), place(d_out)
        with transfers.counted() as counts:
            backend.embedding_gradient(there, d, actual)
        assert place is not to_device or not counts.total()
        results.append(to_host(actual))
        assert_close(results[-1], expected, dtype, 15)
    np.testing.assert_array_equal(*results)
    ids[2, 3] = 4
    with pytest.raises(IndexError, match=r"expected ids in 0 \.\.\. 3, got 0 \.\.\. 4"):
        backend.embedding_gradient(ids, d_out, to_host(actual))


UPDATES = [
    ("sgd_update", [None], {}),
    ("sgd_update", ["velocity"], {"momentum": 0.9}),
    ("sgd_update", ["velocity"], {"momentum": 0.0, "clip": 0.3}),
    ("sgd_update", ["velocity"], {"momentum": 0.9, "nesterov": True, "decay": 1e-3}),
    ("lion_update", ["m"], {"decay": 0.1}),
    ("rmsprop_update", ["mean_square", None, None], {"clip": 0.5}),
    ("rmsprop_update", ["mean_square", "average", "velocity"], {"momentum": 0.5, "decay": 1e-2}),
    ("adagrad_update", ["total"], {"gradient_scale": 0.3}),
    ("adadelta_update", ["mean_square", "mean_square_step"], {}),
    ("adam_update", ["m", "v", None], {"gradient_scale": 0.1, "decay": 1e-2, "epsilon": 1e-3}),
    ("adam_update", ["m", "v", "v_max"], {"beta_1": 0.8, "beta_2": 0.95}),
    ("nadam_update", ["m", "v"], {"m_factor": 0.8, "g_factor": 0.3, "v_factor": 0.7}),
    ("adamax_update", ["m", "u"], {}),
]


@pytest.mark.parametrize(("name", "state", "options"), UPDATES)
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("place", ["host", "device"])
def test_optimizer_updates(dtype, rng, name, state, options, by_row, place):
    put = to_device if place == "device" else lambda a: a
    w = rng.normal(size=(4, 3)).astype(dtype)
    exact_w, w = w.astype("f8"), put(w)
    buffers = [None if s is None else put(np.zeros((4, 3), dtype)) for s in state]
    exact_buffers = [None if s is None else np.zeros((4, 3)) for s in state]
    rows = np.array([0, 2]) if by_row else None
    for _ in range(3):
        g = rng.normal(size=(2, 3) if by_row else (4, 3)).astype(dtype)
        getattr(backend, name)(w, put(g), *buffers, learning_rate=0.01, rows=rows, **options)
        getattr(reference, name)(exact_w, g.astype("f8"), *exact_buffers, learning_rate=0.01, rows=rows, **options)
    for actual, exact in zip((w, *buffers), (exact_w, *exact_buffers), strict=True):
        if exact is not None:
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(to_host(actual), exact, rtol=1e3 * eps, atol=1e2 * eps)


def test_average_update(dtype, rng):
    w, average = (rng.normal(size=7).astype(dtype) for _ in range(2))
    expected = average.astype("f8")
    reference.average_update(w.astype("f8"), expected, momentum=0.9)
    backend.average_update(w, average, momentum=0.9)
    assert_close(average, expected, dtype, 2)


def test_updates_refuse(rng):
    w = np.zeros((3, 2), "f")
    with pytest.raises(ValueError, match=r"adam_update: expected g \(3, 2\) of float32, got \(4,\) of float32"):
        backend.adam_update(w, np.zeros(4, "f"), w.copy(), w.copy(), None, learning_rate=0.1)
    with pytest.raises(ValueError, match="sgd_update: argument 'learning_rate' is out of its domain"):
        backend.sgd_update(w, w.copy(), None, learning_rate=np.nan)
    with pytest.raises(IndexError, match=r"update: expected ascending rows in 0 \.\.\. 2"):
        backend.sgd_update(w, w[:2].copy(), None, learning_rate=0.1, rows=np.array([2, 1]))
    assert not w.any()


# CTC.


def ctc_case(rng, dtype, batch=4, steps=6, classes=4, labels=3):
    targets = rng.integers(1, classes, (batch, labels))
    lengths = rng.integers(0, labels + 1, batch), rng.integers(0, steps + 1, batch)
    return rng.normal(size=(batch, steps, classes)).astype(dtype) * 2, targets, *lengths


def compare_ctc(dtype, logits, *others):
    exact, exact_d = reference.ctc_loss(logits.astype("f8"), *others)
    values, d = backend.ctc_loss(logits, *others)
    assert values.dtype == d.dtype == dtype
    np.testing.assert_allclose(values, exact, rtol=100 * np.finfo(dtype).eps)
    np.testing.assert_allclose(d, exact_d, atol=100 * np.finfo(dtype).eps)
    assert backend.ctc_loss(logits, *others, gradient=False)[1] is None


def test_ctc(dtype, rng):
    for _ in range(5):
        compare_ctc(dtype, *ctc_case(rng, dtype))
    logits, targets, _, _ = ctc_case(rng, dtype)
    full = np.full(4, 3), np.full(4, 6)
    targets[0] = 1  # repeats need a blank between
    targets[1] = 1, 2, 2
    logits[2, 3, 1] = -np.inf
    logits[3, 2, :] = np.nan
    compare_ctc(dtype, logits, targets, *full)
    compare_ctc(dtype, logits[:, :0], targets, np.array([0, 1, 0, 3]), np.zeros(4, int))
    compare_ctc(dtype, logits[:, :, :1], targets[:, :0], np.zeros(4, int), np.array([0, 1, 6, 2]))
    compare_ctc(dtype, logits[:0], targets[:0], np.zeros(0, int), np.zeros(0, int))
    on_host = backend.ctc_loss(logits, targets, *full)
    arrays = [to_device(array) for array in (logits, targets, *full)]
    with transfers.counted() as counts:
        on_device = backend.ctc_loss(*arrays)
    assert not counts.total()
    for a, b in zip(on_device, on_host, strict=True):
        assert is_device(a)
        np.testing.assert_array_equal(to_host(a), b)
    with pytest.raises(ValueError, match=r"ctc_loss: expected targets in 1 \.\.\. 3, got"):
        backend.ctc_loss(logits, targets + 3, *full)

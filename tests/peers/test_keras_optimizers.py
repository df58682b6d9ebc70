"""Optimizers, schedules, regularizers and constraints beside Keras, live: ten steps on random gradients."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
import keras

from fusedlstm import constraints, initializers, optimizers, regularizers
from fusedlstm.gradients import RowGradient
from fusedlstm.variables import Variable

# Keras's variables do not take NumPy's newest keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SHAPES = [(5, 3), (7,), (2, 3, 4)]

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.8, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.8, "momentum": 0.5, "centered": True}),
    ("Adam", {}),
    ("Adam", {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True}),
    ("Nadam", {}),
    ("Nadam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}),
    ("Adamax", {}),
    ("Adamax", {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-4}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "epsilon": 1e-3}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"rho": 0.8, "epsilon": 1e-3}),
    ("Lion", {}),
    ("Lion", {"beta_1": 0.5, "beta_2": 0.8}),
]

COMMON = [
    {},
    {"weight_decay": 0.05},
    {"clipnorm": 0.7},
    {"clipvalue": 0.3},
    {"global_clipnorm": 1.1},
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "clipnorm": 0.5, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.1, "clipvalue": 0.2, "loss_scale_factor": 4.0},
    {"loss_scale_factor": 8.0, "global_clipnorm": 0.3},
]

SCHEDULES = [
    ("ExponentialDecay", {"decay_steps": 4, "decay_rate": 0.5}),
    ("ExponentialDecay", {"decay_steps": 4, "decay_rate": 0.5, "staircase": True}),
    ("InverseTimeDecay", {"decay_steps": 3, "decay_rate": 0.7}),
    ("InverseTimeDecay", {"decay_steps": 3, "decay_rate": 0.7, "staircase": True}),
    ("PolynomialDecay", {"decay_steps": 7}),
    ("PolynomialDecay", {"decay_steps": 4, "end_learning_rate": 0.01, "power": 0.5, "cycle": True}),
    ("PolynomialDecay", {"decay_steps": 4, "end_learning_rate": 0.3, "power": 2.0}),
    ("CosineDecay", {"decay_steps": 8}),
    ("CosineDecay", {"decay_steps": 6, "alpha": 0.1, "warmup_target": 0.5, "warmup_steps": 3}),
    ("CosineDecay", {"decay_steps": 6, "warmup_target": 0.05}),
    ("CosineDecayRestarts", {"first_decay_steps": 3}),
    ("CosineDecayRestarts", {"first_decay_steps": 3, "t_mul": 1.0, "m_mul": 0.5, "alpha": 0.2}),
    ("CosineDecayRestarts", {"first_decay_steps": 2, "t_mul": 1.5, "m_mul": 0.9}),
]


def ids(cases):
    return [f"{k}-{case[0]}" if isinstance(case, tuple) else "-".join(case) or "plain" for k, case in enumerate(cases)]


def pair(seed, constraint=None):
    """The same variables of ours and of Keras, and ten steps of gradients."""
    rng = np.random.default_rng(seed)
    starts = [rng.standard_normal(shape).astype("float32") for shape in SHAPES]
    ours = [Variable(w, name=f"w{k}") for k, w in enumerate(starts)]
    theirs = [keras.Variable(w, name=f"w{k}") for k, w in enumerate(starts)]
    if constraint is not None:
        ours[0].constraint = constraints.get(constraint)
        theirs[0].constraint = keras.constraints.get(constraint)
    steps = [[rng.standard_normal(shape).astype("float32") for shape in SHAPES] for _ in range(10)]
    return ours, theirs, steps


def step(ours, theirs, optimizer, peer, gradients):
    optimizer.apply(gradients, ours)
    peer.apply([None if g is None else keras.ops.convert_to_tensor(g) for g in gradients], theirs)


def assert_same(ours, theirs, optimizer, peer):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.value, np.asarray(b.value), rtol=2e-4, atol=2e-5)
    assert len(optimizer.variables) == len(peer.variables)
    for a, b in zip(optimizer.variables, peer.variables, strict=True):
        np.testing.assert_allclose(a, np.asarray(b.value), rtol=2e-4, atol=2e-5, err_msg=b.name)
    assert optimizer.iterations == int(peer.iterations)
    assert optimizer.learning_rate == pytest.approx(float(peer.learning_rate), rel=1e-4, abs=1e-7)


#: Every optimizer with some of the common arguments, every one of those with some optimizers.
PAIRS = [
    pytest.param(*optimizer, common, id=f"{ids([optimizer])[0][2:]}-{k}-{'-'.join(common)}")
    for k, optimizer in enumerate(OPTIMIZERS)
    for j, common in enumerate(COMMON)
    if j == 0 or (j + k) % 4 == 0 or optimizer in (OPTIMIZERS[1], OPTIMIZERS[9])
]


@pytest.mark.parametrize(("name", "own", "common"), PAIRS)
def test_ten_steps(name, own, common):
    options = {"learning_rate": 0.05, **own, **common}
    optimizer, peer = getattr(optimizers, name)(**options), getattr(keras.optimizers, name)(**options)
    ours, theirs, steps = pair(1)
    for gradients in steps:
        step(ours, theirs, optimizer, peer, gradients)
    assert_same(ours, theirs, optimizer, peer)
    optimizer.finalize_variable_values(ours)
    peer.finalize_variable_values(theirs)
    assert_same(ours, theirs, optimizer, peer)


@pytest.mark.parametrize(("name", "own"), OPTIMIZERS, ids=ids(OPTIMIZERS))
def test_defaults_and_configs(name, own):
    cls, peer = getattr(optimizers, name), getattr(keras.optimizers, name)
    for options in ({}, own):
        expected = {key: value for key, value in peer(**options).get_config().items() if key != "name"}
        config = cls(**options).get_config()
        assert {key: config[key] for key in expected} == {
            key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()
        }
        assert set(config) == {*expected, "name"}
        # Each takes what the other has written.
        assert optimizers.get(keras.optimizers.serialize(peer(**options))).get_config().keys() == config.keys()
        keras.optimizers.get({"class_name": name, "config": config})


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=ids(SCHEDULES))
def test_schedules(name, options):
    ours = getattr(optimizers.schedules, name)(0.2, **options)
    theirs = getattr(keras.optimizers.schedules, name)(0.2, **options)
    for step_number in range(40):
        assert ours(step_number) == pytest.approx(float(theirs(step_number)), rel=1e-4, abs=2e-7), step_number
    assert ours.get_config() == theirs.get_config()
    again = optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(theirs))
    assert again.get_config() == ours.get_config()


def test_piecewise_constant():
    arguments = ([2, 5, 6], [0.1, 0.05, 0.01, 0.002])
    ours = optimizers.schedules.PiecewiseConstantDecay(*arguments)
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay(*arguments)
    for step_number in range(10):
        assert ours(step_number) == pytest.approx(float(theirs(step_number)))
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize(
    "common",
    [{}, {"weight_decay": 0.1}, {"gradient_accumulation_steps": 3}, {"use_ema": True, "ema_overwrite_frequency": 4}],
    ids=lambda common: "-".join(common) or "plain",
)
@pytest.mark.parametrize("name", ["SGD", "Nadam"])
def test_a_schedule_at_work(name, common):
    made = []
    for library in (optimizers, keras.optimizers):
        schedule = library.schedules.CosineDecay(0.02, 6, 0.1, warmup_target=0.1, warmup_steps=3)
        made.append(getattr(library, name)(schedule, **common))
    ours, theirs, steps = pair(2)
    for gradients in steps:
        step(ours, theirs, *made, gradients)
    assert_same(ours, theirs, *made)


@pytest.mark.parametrize("constraint", ["max_norm", "non_neg", "unit_norm", "min_max_norm"])
@pytest.mark.parametrize(
    "common",
    [{}, {"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}],
    ids=lambda common: "-".join(common) or "plain",
)
def test_constraints_after_the_update(constraint, common):
    optimizer, peer = optimizers.Adam(0.1, **common), keras.optimizers.Adam(0.1, **common)
    ours, theirs, steps = pair(3, constraint)
    for gradients in steps:
        step(ours, theirs, optimizer, peer, gradients)
    assert_same(ours, theirs, optimizer, peer)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("common", COMMON[5:9], ids=ids(COMMON[5:9]))
@pytest.mark.parametrize("name", ["SGD", "Nadam"])
def test_missing_gradients(name, common):
    optimizer, peer = getattr(optimizers, name)(0.05, **common), getattr(keras.optimizers, name)(0.05, **common)
    ours, theirs, steps = pair(4)
    for number, gradients in enumerate(steps):
        step(ours, theirs, optimizer, peer, [None if number % 3 == k else g for k, g in enumerate(gradients)])
    assert_same(ours, theirs, optimizer, peer)


@pytest.mark.parametrize("excluded", [{"var_names": ["1", "2"]}, {"var_list": [0]}])
def test_exclusion_from_weight_decay(excluded):
    optimizer, peer = optimizers.AdamW(0.1, 0.3), keras.optimizers.AdamW(0.1, 0.3)
    ours, theirs, steps = pair(5)
    for made, variables in ((optimizer, ours), (peer, theirs)):
        listed = [variables[k] for k in excluded.get("var_list", [])]
        made.exclude_from_weight_decay(var_list=listed, var_names=excluded.get("var_names"))
    for gradients in steps:
        step(ours, theirs, optimizer, peer, gradients)
    assert_same(ours, theirs, optimizer, peer)


@pytest.mark.parametrize("common", COMMON[:1] + COMMON[-2:], ids=ids(COMMON[:1] + COMMON[-2:]))
@pytest.mark.parametrize(("name", "own"), OPTIMIZERS[::2], ids=ids(OPTIMIZERS[::2]))
def test_rows_alone_are_the_dense_gradient(name, own, common):
    """What an embedding passes: Keras's update of the whole table, from the rows that were used."""
    options = {"learning_rate": 0.05, **own, **common}
    optimizer, peer = getattr(optimizers, name)(**options), getattr(keras.optimizers, name)(**options)
    rng = np.random.default_rng(6)
    start = rng.standard_normal((9, 4)).astype("float32")
    ours, theirs = [Variable(start, name="table")], [keras.Variable(start, name="table")]
    for _ in range(10):
        rows = np.flatnonzero(rng.uniform(size=9) < 0.4)
        gradient = RowGradient(rows, rng.standard_normal((len(rows), 4)).astype("float32"), 9)
        optimizer.apply([gradient], ours)
        peer.apply([keras.ops.convert_to_tensor(np.asarray(gradient))], theirs)
    assert_same(ours, theirs, optimizer, peer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L1", {}),
        ("L1", {"l1": 0.3}),
        ("L2", {}),
        ("L1L2", {"l1": 0.1, "l2": 0.2}),
        ("OrthogonalRegularizer", {"factor": 0.3}),
        ("OrthogonalRegularizer", {"factor": 0.3, "mode": "columns"}),
    ],
)
def test_regularizers(name, options):
    ours, theirs = getattr(regularizers, name)(**options), getattr(keras.regularizers, name)(**options)
    w = np.random.default_rng(7).standard_normal((5, 4)).astype("float32")
    assert ours(w) == pytest.approx(float(theirs(keras.ops.convert_to_tensor(w))), rel=1e-5)
    assert ours.get_config() == pytest.approx(theirs.get_config()) if "mode" not in options else True
    assert type(regularizers.get(keras.regularizers.serialize(theirs))) is type(ours)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxNorm", {}),
        ("MaxNorm", {"max_value": 1, "axis": [0, 1]}),
        ("NonNeg", {}),
        ("UnitNorm", {"axis": 1}),
        ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9, "rate": 0.6, "axis": 0}),
    ],
)
def test_constraints(name, options):
    ours, theirs = getattr(constraints, name)(**options), getattr(keras.constraints, name)(**options)
    w = np.random.default_rng(8).standard_normal((5, 4)).astype("float32")
    np.testing.assert_allclose(ours(w), np.asarray(theirs(keras.ops.convert_to_tensor(w))), rtol=1e-5, atol=1e-6)
    assert ours.get_config() == theirs.get_config()
    again = constraints.get(keras.constraints.serialize(theirs))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()


@pytest.mark.parametrize(
    "module", [(initializers, keras.initializers), (regularizers, keras.regularizers), (constraints, keras.constraints)]
)
def test_every_name_of_keras_is_known(module):
    """Classes and names; a spectrogram's windows (STFT) are no weights of a recurrent network."""
    ours, theirs = module
    source = __import__(theirs.get.__module__, fromlist=["ALL_OBJECTS_DICT"])
    abstract = {"Initializer", "Regularizer", "Constraint", "initializer", "regularizer", "constraint"}
    for name, cls in source.ALL_OBJECTS_DICT.items():
        if name in abstract or "STFT" in cls.__name__:
            continue
        assert type(ours.get(name)).__name__ == cls.__name__
        assert hasattr(ours, cls.__name__)
    for name in dir(theirs):
        if not name.startswith("_") and "stft" not in name.lower():
            assert hasattr(ours, name), name


@pytest.mark.parametrize(
    "name",
    ["Constant", "Identity", "RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling", "GlorotUniform",
     "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal", "Zeros", "Ones"],
)  # fmt: skip
def test_initializers(name):
    ours, theirs = getattr(initializers, name)(), getattr(keras.initializers, name)()
    if name != "Identity":  # Keras leaves its gain out
        assert ours.get_config() == theirs.get_config() | ({"seed": None} if "seed" in ours.get_config() else {})
    again = initializers.get(keras.initializers.serialize(theirs))
    assert type(again) is type(ours)
    a, b = ours((60, 60)), np.asarray(theirs((60, 60)))
    assert a.mean() == pytest.approx(b.mean(), abs=0.02)
    assert a.std() == pytest.approx(b.std(), rel=0.1, abs=1e-6)
    assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.3)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs Keras on JAX for its gradients")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L1", {"l1": 0.03}),
        ("L2", {"l2": 0.2}),
        ("L1L2", {"l1": 0.02, "l2": 0.1}),
        ("OrthogonalRegularizer", {"factor": 0.05, "mode": "rows"}),
        ("OrthogonalRegularizer", {"factor": 0.05, "mode": "columns"}),
    ],
)
def test_ten_steps_down_a_penalty(name, options) -> None:
    import jax

    own, theirs = getattr(regularizers, name)(**options), getattr(keras.regularizers, name)(**options)
    w = np.random.default_rng(5).normal(size=(5, 3)).astype("float32")
    start, other = w.copy(), w.copy()
    for _ in range(10):
        w = w - np.float32(0.5) * own.value_and_gradient(w)[1]
        other = other - np.float32(0.5) * np.asarray(jax.grad(theirs)(other))
    assert np.abs(w - start).max() > 1e-3
    np.testing.assert_allclose(w, other, rtol=1e-5, atol=1e-6)

"""Initializers: their distributions, their seeds, and what they refuse."""

import json
import math
import random as python_random

import numpy as np
import pytest

from fusedlstm import initializers, random

NAMES = sorted(initializers._BY_NAME)
RANDOM = [name for name in NAMES if issubclass(initializers._BY_NAME[name], initializers.RandomInitializer)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_names(name, dtype):
    initializer = initializers.get(name)
    values = initializer((6, 4), dtype)
    assert (values.shape, values.dtype, values.flags.writeable) == ((6, 4), dtype, True)
    assert type(initializers.get(type(initializer).__name__)) is type(initializer)
    assert type(initializers.get(getattr(initializers, name))) is type(initializer)


@pytest.mark.parametrize("name", NAMES)
def test_serialize_and_get_make_the_same_values(name):
    first = initializers._BY_NAME[name](**({"seed": 3} if name in RANDOM else {}))
    again = initializers.get(json.loads(json.dumps(initializers.serialize(first))))
    np.testing.assert_array_equal(first((5, 3)), again((5, 3)))


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    make = initializers._BY_NAME[name]
    one, other = make(), make()
    np.testing.assert_array_equal(one((5, 3)), one((5, 3)))  # as in Keras
    assert (one((5, 3)) != other((5, 3))).any()
    np.testing.assert_array_equal(make(seed=1)((5, 3)), make(seed=1)((5, 3)))
    np.testing.assert_array_equal(one((5, 3)), one((5, 3), "float64").astype("float32"))
    assert make().get_config()["seed"] is None
    random.set_random_seed(4)
    first = make()((5, 3))
    random.set_random_seed(4)
    np.testing.assert_array_equal(first, make()((5, 3)))


def test_constants():
    np.testing.assert_array_equal(initializers.Zeros()((2, 2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(initializers.Ones()(3), np.ones(3))
    np.testing.assert_array_equal(initializers.Constant(0.01)((2, 3)), np.full((2, 3), np.float32(0.01)))
    np.testing.assert_array_equal(initializers.Constant([1, 2])((3, 2)), [[1, 2]] * 3)
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])


N = 400
SCALED = {
    "glorot_uniform": math.sqrt(2 / (N + 200)),
    "glorot_normal": math.sqrt(2 / (N + 200)),
    "he_uniform": math.sqrt(2 / N),
    "he_normal": math.sqrt(2 / N),
    "lecun_uniform": math.sqrt(1 / N),
    "lecun_normal": math.sqrt(1 / N),
    "variance_scaling": math.sqrt(1 / N),
    "random_normal": 0.05,
    "truncated_normal": 0.05 * 0.87962566103423978,
    "random_uniform": 0.05 / math.sqrt(3),
}


@pytest.mark.parametrize("name", SCALED)
def test_moments(name):
    values = initializers._BY_NAME[name](seed=0)((N, 200), "float64")
    assert values.std() == pytest.approx(SCALED[name], rel=0.01)
    assert abs(values.mean()) < 4 * SCALED[name] / math.sqrt(values.size)
    if "uniform" in name:
        assert np.abs(values).max() == pytest.approx(math.sqrt(3) * SCALED[name], rel=1e-3)
        assert np.abs(values).max() <= math.sqrt(3) * SCALED[name]
    elif name != "random_normal":
        assert np.abs(values).max() == pytest.approx(2 / 0.87962566103423978 * SCALED[name], rel=1e-2)
        assert np.abs(values).max() <= 2 / 0.87962566103423978 * SCALED[name]


def test_fans():
    make = initializers.VarianceScaling
    for mode, fan in (("fan_in", 5 * 40), ("fan_out", 5 * 60), ("fan_avg", 250)):
        values = make(2.0, mode, "untruncated_normal", seed=1)((5, 40, 60), "float64")
        assert values.std() == pytest.approx(math.sqrt(2 / fan), rel=0.03)
    values = make(1.0, "fan_in", "uniform", seed=1, input_axes=[2], output_axes=[0, 1])((5, 40, 60), "float64")
    assert values.std() == pytest.approx(math.sqrt(1 / 60), rel=0.03)
    assert make(distribution="normal").distribution == "truncated_normal"
    assert initializers.GlorotUniform(seed=0)((0, 3)).shape == (0, 3)
    assert initializers.GlorotUniform(seed=0)(()).shape == ()


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4), (3, 2, 5)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(gain=2.0, seed=0)(shape, "float64").reshape(-1, shape[-1])
    product = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_callables_are_taken_as_they_are():
    def ramp(shape, dtype=None):
        return np.arange(np.prod(shape), dtype=dtype).reshape(shape)

    assert initializers.get(ramp) is ramp
    assert initializers.get(None) is None
    instance = initializers.Ones()
    assert initializers.get(instance) is instance


def test_random_seed_reaches_everything():
    def draw():
        return random.next_seed(), random.generator().random(), python_random.random(), np.random.rand()  # noqa: NPY002

    random.set_random_seed(7)
    first, second = draw(), draw()
    assert not set(first) & set(second)
    random.set_random_seed(7)
    assert draw() == first
    random.set_random_seed(8)
    assert not set(draw()) & set(first)
    assert random.generator(5).random() == random.generator(5).random()


def test_seeds_are_spread():
    random.set_random_seed(0)
    seeds = [random.next_seed() for _ in range(4000)]
    assert len(set(seeds)) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = np.array([[seed >> b & 1 for b in range(63)] for seed in seeds])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.04


ERRORS = [
    (
        lambda: initializers.get("glorot"),
        ValueError,
        "unknown initializer 'glorot': expected one of 'constant', 'glorot_",
    ),
    (lambda: initializers.get({"class_name": "os.remove"}), ValueError, "unknown initializer 'os.remove'"),
    (lambda: initializers.get(3), TypeError, "initializer: expected a name, an Initializer or a function, got 3"),
    (
        lambda: initializers.RandomNormal(stddev=math.nan),
        ValueError,
        "RandomNormal: expected stddev to be finite, got nan",
    ),
    (lambda: initializers.RandomNormal("a"), TypeError, "RandomNormal: expected mean to be a number, got 'a'"),
    (lambda: initializers.RandomUniform(1, -1), ValueError, "RandomUniform: expected minval <= maxval, got 1 and -1"),
    (lambda: initializers.VarianceScaling(0), ValueError, "VarianceScaling: expected scale > 0, got 0"),
    (
        lambda: initializers.VarianceScaling(mode="in"),
        ValueError,
        "expected mode 'fan_in', 'fan_out' or 'fan_avg', got 'in'",
    ),
    (lambda: initializers.VarianceScaling(distribution="cauchy"), ValueError, "expected distribution .* got 'cauchy'"),
    (lambda: initializers.VarianceScaling(input_axes=[0]), ValueError, "both input_axes and output_axes, or neither"),
    (lambda: initializers.GlorotUniform(seed=1.5), TypeError, "GlorotUniform: expected seed to be an integer, got 1.5"),
    (lambda: initializers.GlorotUniform(seed=-1), ValueError, "GlorotUniform: expected seed >= 0, got -1"),
    (lambda: initializers.GlorotUniform(scale=1), TypeError, "scale"),
    (
        lambda: initializers.Orthogonal()((4,)),
        ValueError,
        r"Orthogonal: expected a shape of at least 2 axes, got \(4,\)",
    ),
    (lambda: initializers.Identity()((2, 2, 2)), ValueError, "Identity: expected a shape of 2 axes"),
    (lambda: initializers.Zeros()((2, -1)), ValueError, r"Zeros: expected a shape of integers >= 0, got \(2, -1\)"),
    (lambda: initializers.Zeros()((2, None)), ValueError, "Zeros: expected a shape of integers"),
    (lambda: initializers.Constant("a"), TypeError, "Constant: expected value to be a number, got 'a'"),
    (
        lambda: initializers.Constant([1, 2])((3,)),
        ValueError,
        r"Constant: value of shape \(2,\) does not fit .* \(3,\)",
    ),
    (lambda: initializers.serialize(len), TypeError, "serialize: expected an Initializer"),
    (lambda: random.set_random_seed(2**32), ValueError, r"set_random_seed: expected seed in 0 ... 2\*\*32 - 1"),
    (lambda: random.set_random_seed(None), TypeError, "set_random_seed: expected seed to be an integer, got None"),
    (lambda: random.generator(-1), ValueError, "generator: expected seed >= 0, got -1"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Sevens(initializers.Initializer):
    def __call__(self, shape, dtype="float32"):
        return np.full(shape, 7, dtype)


def test_own_classes():
    config = initializers.serialize(Sevens())
    assert config == {"class_name": "Sevens", "config": {}}
    np.testing.assert_array_equal(initializers.deserialize(config, {"Sevens": Sevens})((2,)), [7, 7])
    with pytest.raises(ValueError, match="unknown initializer 'Sevens'"):
        initializers.deserialize(config)


def test_the_values_themselves():
    values = np.arange(6.0).reshape(2, 3)
    initializer = initializers.get(values)
    np.testing.assert_array_equal(initializer((2, 3), "float64"), values)
    assert initializers.get(initializers.serialize(initializer)).get_config() == {"value": values.tolist()}
    assert initializers.get(np.float32(0.5))((2,)).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="does not fit a weight of shape"):
        initializer((3, 2))

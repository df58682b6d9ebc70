"""Activations against Keras's numbers, their derivatives against finite differences, and what `get` takes."""

import copy
import functools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from fusedlstm import activations

KERAS = json.loads((Path(__file__).parent / "fixtures" / "keras_training.json").read_text())["activations"]
X = np.array(KERAS["x"])
NAMES = [*sorted(KERAS["y"]), "sparsemax"]


@pytest.mark.parametrize("name", NAMES[:-1])
def test_values_are_those_of_keras(name):
    # 2e-6: some of Keras's formulas round to float32 whatever the dtype.
    np.testing.assert_allclose(activations.get(name)(X), KERAS["y"][name], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_finite_difference(name):
    activation, eps = activations.get(name), 1e-6
    rng = np.random.default_rng(0)
    x = X + 0.0137  # away from the corners
    d_y = rng.normal(size=x.shape)
    d_x = activation.backward(d_y, x, activation.forward(x))
    numeric = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += eps
        down[index] -= eps
        numeric[index] = ((activation(up) - activation(down)) * d_y).sum() / (2 * eps)
    np.testing.assert_allclose(d_x, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_arguments_stay(name, dtype):
    activation, x = activations.get(name), X.astype(dtype)[:, ::2]
    x.flags.writeable = False
    y = activation.forward(x)
    d_y = np.ones_like(y)
    y.flags.writeable = d_y.flags.writeable = False
    d_x = activation.backward(d_y, x, y)
    assert (y.dtype, y.shape, d_x.dtype, d_x.shape) == (dtype, x.shape, dtype, x.shape)


@pytest.mark.parametrize("name", NAMES)
def test_large_arguments_and_zero_stay_finite(name):
    activation = activations.get(name)
    x = np.array([[-80.0, -30.0, 0.0, 30.0, 80.0]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = activation(x)
        d_x = activation.backward(np.ones_like(x), x, y)
    assert np.isfinite(y).all()
    assert np.isfinite(d_x).all()


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 6))
    y = activations.sparsemax(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1)
    assert (y >= 0).all()
    assert (y == 0).any()
    for _ in range(200):
        other = rng.dirichlet(np.full(6, 0.3), size=50)
        assert (((x - y) ** 2).sum(axis=-1) <= ((x - other) ** 2).sum(axis=-1)).all()


def test_kernels_are_those_that_gates_may_have():
    kernels = {name for name in NAMES if activations.get(name).kernel is not None}
    assert kernels == {"tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "softsign", "elu", "softplus"}
    assert all(activations.get(name).kernel == name for name in kernels)


def exact_of(name, x):
    """The activation in the widest type there is; its input is in float64 at most."""
    x = x.astype(np.longdouble)
    small = np.exp(-np.abs(x))
    return {
        "tanh": np.tanh(x),
        "sigmoid": np.where(x > 0, 1, small) / (1 + small),
        "softsign": x / (1 + np.abs(x)),
        "elu": np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        "softplus": np.maximum(x, 0) + np.log1p(small),
        "exp": np.exp(x),
    }[name]


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softsign", "elu", "softplus", "exp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_round_to_the_last_places(kernels, name, dtype):
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(size=20001) * scale for scale in (1e-3, 1, 10)]).astype(dtype)
    y, exact = kernels.activation_forward(x, name), exact_of(name, x)
    assert y.dtype == dtype
    assert (np.abs(y - exact) / np.spacing(np.abs(exact).astype(dtype))).max() <= 3


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "softplus"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_keep_nan_and_saturate(kernels, name, dtype):
    """In every place of a vector, and behind the last whole one."""
    for place in (0, 5, 32, 36):
        x = np.full(37, 0.5, dtype)
        x[place] = np.nan
        y = kernels.activation_forward(x, name)
        assert np.isnan(y[place])
        assert np.isfinite(np.delete(y, place)).all()
        d_x = kernels.activation_backward(y, np.ones_like(y), name)
        assert np.isfinite(np.delete(d_x, place)).all()
    x = np.array([-np.inf, -1e4, 1e4, np.inf], dtype)
    y = kernels.activation_forward(x, name)
    low, high = {"linear": x[:2], "relu": 0, "hard_sigmoid": 0, "sigmoid": 0, "softplus": 0}.get(name, -1), {
        "sigmoid": 1, "tanh": 1, "hard_sigmoid": 1
    }.get(name, x[2:])  # fmt: skip
    if name != "softsign":
        np.testing.assert_allclose(y[:2], low, atol=1e-37)
        np.testing.assert_array_equal(y[2:], high)


def test_names():
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.silu is activations.get("silu")
    assert activations.get("hard_swish") is activations.hard_silu
    assert activations.get(activations.tanh) is activations.tanh
    for name in NAMES:
        assert activations.get(activations.serialize(activations.get(name))) is activations.get(name)


def test_functions_become_activations_of_their_names():
    assert activations.get(np.tanh).name == "tanh"
    assert activations.get(np.tanh).kernel is None
    assert activations.get(lambda x: x).name == "<lambda>"
    assert activations.get(functools.partial(np.clip, a_min=0, a_max=1)).name == "partial"
    np.testing.assert_array_equal(activations.get(np.arctan)(X), np.arctan(X))


def test_the_dtype_of_the_input_is_kept_whatever_a_function_gives():
    own = activations.Activation("own", lambda x: x.astype(float).tolist(), lambda d_y, x, y: np.float64(1) * (x > 0))
    x = X.astype(np.float32)
    y = own.forward(x)
    assert y.dtype == own.backward(y, x, y).dtype == np.float32
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(own.backward(y, x, y), x > 0)


def test_own_activations_are_copied_by_their_parts():
    for own in (activations.Activation("tanh", np.arctan, np.hypot), activations.get(np.arctan)):
        for other in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
            assert other is not own
            np.testing.assert_array_equal(other(X), np.arctan(X))
    for known in (activations.tanh, activations.gelu):
        assert copy.deepcopy(known) is pickle.loads(pickle.dumps(known)) is known


def test_a_copy_made_in_this_process_may_have_own_activations():
    own = activations.get(np.arctan)
    with activations.as_objects():
        assert activations.serialize(own) is own
        with pytest.raises(ValueError, match="serialize: expected an activation"):
            activations.serialize("tanh")
    with pytest.raises(ValueError, match="serialize: expected an activation"):
        activations.serialize(own)


def test_lists_and_integers_are_numbers():
    np.testing.assert_array_equal(activations.relu([-1, 0, 2]), [0, 0, 2])
    assert activations.tanh(np.array([1], np.int64)).dtype == np.float64
    assert activations.sigmoid(0.0) == 0.5


def test_softmax_takes_any_rank():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_allclose(activations.softmax(x)[1, 2], activations.softmax(x[1, 2]))
    np.testing.assert_allclose(activations.softmax(x).sum(axis=-1), 1)


ERRORS = [
    (lambda: activations.get("rleu"), ValueError, "unknown activation 'rleu': expected one of 'celu', 'elu'"),
    (lambda: activations.get(3), TypeError, "activation: expected a name, an Activation or a function, got 3"),
    (lambda: activations.get(dict), TypeError, "expected a name, an Activation or a function, got <class 'dict'>"),
    (
        lambda: activations.get(np.arctan).backward(X, X, X),
        TypeError,
        "^activation 'arctan' is a function without a derivative, which can predict but not be trained, expected "
        r"fusedlstm.activations.Activation\(name, forward, backward\)$",
    ),
    (
        lambda: activations.get(np.sum).forward(X),
        ValueError,
        rf"^activation 'sum': expected a result \({len(X)}, {X.shape[1]}\), as its input, got \(\)$",
    ),
    (
        lambda: activations.Activation("own", np.tanh, lambda d_y, x, y: d_y[0]).backward(X, X, X),
        ValueError,
        "^activation 'own': expected a result",
    ),
    (lambda: activations.Activation(np.tanh, None), TypeError, "^Activation: expected name to be a string, got <ufunc"),
    (
        lambda: activations.Activation("own", "tanh"),
        TypeError,
        "^Activation 'own': expected forward to be a function, got 'tanh'",
    ),
    (
        lambda: activations.Activation("own", np.tanh, 1),
        TypeError,
        "^Activation 'own': expected backward to be a function, got 1",
    ),
    (
        lambda: activations.serialize(activations.get(np.tanh)),
        ValueError,
        "serialize: expected an activation of fusedlstm.activations, got <activation tanh>",
    ),
    (lambda: activations.tanh(["a"]), TypeError, "activation 'tanh': expected an array of numbers, got dtype <U1"),
    (lambda: activations.gelu([1j]), TypeError, "activation 'gelu': .* got dtype complex128"),
    (lambda: activations.tanh([1.0], alpha=2), TypeError, "alpha"),
    (
        lambda: activations.serialize(activations.Activation("tanh", np.tanh, lambda d_y, x, y: d_y)),
        ValueError,
        "serialize: expected an activation of fusedlstm.activations, got <activation tanh>",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

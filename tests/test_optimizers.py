"""Optimizers against ten steps of Keras, what they do to gradients and variables, and what they refuse."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fusedlstm import optimizers
from fusedlstm.variables import Variable

KERAS = json.loads((Path(__file__).parent / "fixtures" / "keras_training.json").read_text())["optimizers"]
STARTS = [np.array(w) for w in KERAS["starts"]]
STEPS = [[np.array(g) for g in step] for step in KERAS["gradients"]]
IDS = [f"{c['optimizer']}-{'-'.join(f'{k}={v}' for k, v in c['arguments'].items())}" for c in KERAS["cases"]]


def make(dtype=np.float64):
    return [Variable(w.astype(dtype), name=f"w{i}") for i, w in enumerate(STARTS)]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 2e-5)])
@pytest.mark.parametrize("case", KERAS["cases"], ids=IDS)
def test_ten_steps_are_those_of_keras(case, dtype, rtol):
    optimizer = getattr(optimizers, case["optimizer"])(**case["arguments"])
    variables = make(dtype)
    for number, step in enumerate(STEPS, 1):
        optimizer.apply([g.astype(dtype) for g in step], variables)
        if number == 1:
            for variable, expected in zip(variables, case["first"], strict=True):
                np.testing.assert_allclose(variable.value, expected, rtol=rtol, atol=rtol)
    for variable, expected in zip(variables, case["last"], strict=True):
        assert variable.dtype == dtype
        np.testing.assert_allclose(variable.value, expected, rtol=rtol, atol=rtol)
    assert len(optimizer.variables) == len(case["state"])
    for state, expected in zip(optimizer.variables, case["state"], strict=True):
        np.testing.assert_allclose(state, expected, rtol=rtol, atol=rtol)


def test_defaults_are_those_of_keras():
    assert optimizers.SGD().get_config() == {
        "name": "sgd",
        "learning_rate": 0.01,
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "momentum": 0.0,
        "nesterov": False,
    }
    config = optimizers.RMSprop().get_config()
    assert [config[k] for k in ("learning_rate", "rho", "momentum", "epsilon", "centered")] == [
        1e-3,
        0.9,
        0,
        1e-7,
        False,
    ]
    config = optimizers.Adam().get_config()
    assert [config[k] for k in ("learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad")] == [
        1e-3,
        0.9,
        0.999,
        1e-7,
        False,
    ]
    assert optimizers.AdamW().get_config()["weight_decay"] == 0.004


def test_versions_grow_and_gradients_stay():
    variables, gradients = make(), [g.copy() for g in STEPS[0]]
    for gradient in gradients:
        gradient.flags.writeable = False
    for arguments in ({}, {"clipnorm": 0.1}, {"clipvalue": 0.1}, {"global_clipnorm": 0.1}):
        before = [v.version for v in variables]
        optimizers.SGD(**arguments).apply(gradients, variables)
        assert [v.version for v in variables] == [n + 1 for n in before]


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_any_layout_and_dtype_of_gradients(name):
    plain, odd = make(), make()
    first, second = optimizers.get(name), optimizers.get(name)
    for step in STEPS:
        first.apply(step, plain)
        second.apply([np.asfortranarray(step[0]), np.repeat(step[1], 2)[::2].astype(np.longdouble)], odd)
    for a, b in zip(plain, odd, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_scalar_and_empty_variables():
    variables = [Variable(np.float32(2.0), name="scale"), Variable(np.zeros((0, 3), np.float32), name="none")]
    for name in ("sgd", "rmsprop", "adam", "adamw"):
        optimizers.get(name).apply([np.float32(1.0), np.zeros((0, 3), np.float32)], variables)
    assert variables[0].value < 2
    assert variables[0].shape == ()


def test_a_variable_without_gradient_stays():
    variables = make()
    optimizer = optimizers.Adam(0.1, weight_decay=0.5, global_clipnorm=1.0)
    optimizer.apply([None, STEPS[0][1]], variables)
    np.testing.assert_array_equal(variables[0].value, STARTS[0])
    assert (variables[1].value != STARTS[1]).all()


def test_constraints_run_after_the_update():
    variables = make()
    variables[0].constraint = lambda w: np.maximum(w, 0)
    optimizers.SGD(0.1).apply(STEPS[0], variables)
    np.testing.assert_allclose(variables[0].value, np.maximum(STARTS[0] - 0.1 * STEPS[0][0], 0))
    np.testing.assert_allclose(variables[1].value, STARTS[1] - 0.1 * STEPS[0][1])


def test_clipping_set_later_keeps_the_precedence_of_keras():
    w = Variable(np.zeros(2), name="w")
    optimizer = optimizers.SGD(1.0)
    optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue = 5.0, 1.0, 0.1
    optimizer.apply([np.array([6.0, 8.0])], [w])
    np.testing.assert_allclose(w.value, [-3, -4])
    optimizer.clipnorm = None
    optimizer.apply([np.array([6.0, 8.0])], [w])
    np.testing.assert_allclose(w.value, [-3.6, -4.8])
    optimizer.global_clipnorm = None
    optimizer.apply([np.array([6.0, 8.0])], [w])
    np.testing.assert_allclose(w.value, [-3.7, -4.9])


def test_clipping_of_huge_and_of_infinite_gradients():
    huge = np.full(2, 1e30, np.float32)  # whose square is not a float32
    for arguments in ({"clipnorm": 1.0}, {"global_clipnorm": 1.0}):
        w = Variable(np.zeros(2, np.float32), name="w")
        optimizers.SGD(1.0, **arguments).apply([huge], [w])
        np.testing.assert_allclose(w.value, [-(0.5**0.5)] * 2, rtol=1e-6)
    w, v = Variable(np.zeros(2), name="w"), Variable(np.zeros(2), name="v")
    optimizers.SGD(1.0, global_clipnorm=1.0).apply([np.array([np.inf, 1.0]), np.ones(2)], [w, v])
    assert np.isnan([w.value, v.value]).all()
    w = Variable(np.zeros(2), name="w")
    optimizers.SGD(1.0, clipvalue=2.0).apply([np.array([np.inf, -np.inf])], [w])
    np.testing.assert_array_equal(w.value, [-2, 2])


def test_learning_rate_may_be_set():
    w = Variable(np.zeros(1), name="w")
    optimizer = optimizers.SGD(1)
    optimizer.apply([np.ones(1)], [w])
    optimizer.learning_rate = 0.25
    optimizer.apply([np.ones(1)], [w])
    assert (w.value[0], optimizer.learning_rate, optimizer.iterations) == (-1.25, 0.25, 2)


@pytest.mark.parametrize("case", KERAS["cases"][::3], ids=IDS[::3])
def test_state_can_be_restored(case):
    optimizer = getattr(optimizers, case["optimizer"])(**case["arguments"])
    variables = make()
    for step in STEPS[:5]:
        optimizer.apply(step, variables)
    again = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    copies = [Variable(v.numpy(), name=v.name) for v in variables]
    again.build(copies)
    again.set_weights(optimizer.variables)
    for step in STEPS[5:]:
        optimizer.apply(step, variables)
        again.apply(step, copies)
    for a, b in zip(variables, copies, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_get():
    for name in ("adam", "Adam", "ADAM", optimizers.Adam, {"class_name": "Adam", "config": {}}):
        assert type(optimizers.get(name)) is optimizers.Adam
    optimizer = optimizers.SGD()
    assert optimizers.get(optimizer) is optimizer


def applied(gradients, variables=None):
    optimizers.Adam().apply(gradients, make() if variables is None else variables)


def applied_to_others():
    optimizer = optimizers.Adam()
    optimizer.apply(STEPS[0], make())
    optimizer.apply(STEPS[0], make())


def restored(weights):
    optimizer = optimizers.SGD(momentum=0.5)
    optimizer.build(make())
    optimizer.set_weights(weights)


ERRORS = [
    (lambda: optimizers.Adam(-0.1), ValueError, "Adam: expected learning_rate >= 0 and finite, got -0.1"),
    (lambda: optimizers.Adam(math.nan), ValueError, "Adam: expected learning_rate >= 0 and finite, got nan"),
    (lambda: optimizers.Adam(math.inf), ValueError, "Adam: expected learning_rate >= 0 and finite, got inf"),
    (lambda: optimizers.Adam("0.1"), TypeError, "Adam: expected learning_rate to be a number, got '0.1'"),
    (lambda: optimizers.Adam(True), TypeError, "Adam: expected learning_rate to be a number, got True"),
    (lambda: setattr(optimizers.Adam(), "learning_rate", -1), ValueError, "expected learning_rate >= 0"),
    (lambda: optimizers.Adam(lr=0.1), TypeError, "lr"),
    (lambda: optimizers.Adam(beta_1=1), ValueError, "Adam: expected beta_1 >= 0 and < 1, got 1"),
    (lambda: optimizers.Adam(beta_2=-0.5), ValueError, "Adam: expected beta_2 >= 0 and < 1, got -0.5"),
    (lambda: optimizers.Adam(epsilon=-1e-7), ValueError, "Adam: expected epsilon >= 0"),
    (lambda: optimizers.Adam(weight_decay=-1), ValueError, "Adam: expected weight_decay >= 0"),
    (lambda: optimizers.AdamW(weight_decay=None), TypeError, "AdamW: expected weight_decay to be a number, got None"),
    (lambda: optimizers.SGD(momentum=1.5), ValueError, "SGD: expected momentum in 0 ... 1, got 1.5"),
    (lambda: optimizers.RMSprop(rho=1.0), ValueError, "RMSprop: expected rho >= 0 and < 1, got 1.0"),
    (lambda: optimizers.RMSprop(momentum=-1), ValueError, "RMSprop: expected momentum >= 0"),
    (lambda: optimizers.SGD(clipnorm=0), ValueError, r"SGD: expected clipnorm > 0 \(None: no clipping\), got 0"),
    (lambda: optimizers.SGD(clipvalue=-1), ValueError, "SGD: expected clipvalue >= 0 and finite, got -1"),
    (
        lambda: optimizers.SGD(clipnorm=1, clipvalue=1),
        ValueError,
        "SGD: expected one of clipnorm, clipvalue and global",
    ),
    (lambda: applied(STEPS[0][:1]), ValueError, "Adam: expected a gradient for each of 2 variables, got 1"),
    (
        lambda: applied(STEPS[0][::-1]),
        ValueError,
        r"Adam: expected the gradient of 'w0' to have shape \(3, 2\), got \(4,\)",
    ),
    (lambda: applied([None, None]), ValueError, "Adam: no variable has a gradient"),
    (applied_to_others, ValueError, "Adam: already trains 2 variables, which these 2 are not"),
    (lambda: optimizers.SGD().set_weights([]), ValueError, r"SGD: call build\(variables\) ahead of set_weights"),
    (lambda: restored([1, 0.1]), ValueError, r"SGD: expected state of shapes \[\(\), \(\), \(3, 2\), \(4,\)\]"),
    (lambda: optimizers.get("adm"), ValueError, "unknown optimizer 'adm': expected one of 'sgd', 'rmsprop', 'adam'"),
    (lambda: optimizers.get(None), TypeError, "optimizer: expected a name or an Optimizer, got None"),
    (lambda: optimizers.serialize("sgd"), TypeError, "serialize: expected an Optimizer, got 'sgd'"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_refused_step_changes_nothing():
    variables, optimizer = make(), optimizers.Adam()
    optimizer.apply(STEPS[0], variables)
    before = [v.numpy() for v in variables], [v.version for v in variables], optimizer.variables
    for gradients in ([STEPS[0][0], np.ones(3)], STEPS[0][:1], [None, None]):
        with pytest.raises(ValueError, match="Adam"):
            optimizer.apply(gradients, variables)
    np.testing.assert_equal(
        ([v.numpy() for v in variables], [v.version for v in variables], optimizer.variables), before
    )

"""Optimizers against ten steps of Keras, what they do to gradients and variables, and what they refuse."""

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from fusedlstm import backends, callbacks, layers, models, optimizers
from fusedlstm.gradients import RowGradient
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


ALL = ["sgd", "rmsprop", "adam", "adamw", "nadam", "adamax", "adagrad", "adadelta", "lion"]
COMMON = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
BETAS = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}),
        ("rmsprop", {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False}),
        ("adam", {**BETAS, "amsgrad": False}),
        ("adamw", {**BETAS, "amsgrad": False, "weight_decay": 0.004}),
        ("nadam", BETAS),
        ("adamax", BETAS),
        ("adagrad", {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7}),
        ("adadelta", {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7}),
        ("lion", {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99}),
    ],
)
def test_defaults_are_those_of_keras(name, expected):
    assert optimizers.get(name).get_config() == {"name": name, **COMMON, **expected}


def test_common_arguments_by_position():
    """In Keras's order, behind those of the optimizer."""
    config = optimizers.RMSprop(
        0.1, 0.8, 0.0, 1e-6, True, 0.01, None, None, 2.0, True, 0.5, 3, None, 2, "r"
    ).get_config()
    assert config == {
        **COMMON,
        "name": "r",
        "learning_rate": 0.1,
        "rho": 0.8,
        "momentum": 0.0,
        "epsilon": 1e-6,
        "centered": True,
        "weight_decay": 0.01,
        "global_clipnorm": 2.0,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 3,
        "gradient_accumulation_steps": 2,
    }


def test_versions_grow_and_gradients_stay():
    variables, gradients = make(), [g.copy() for g in STEPS[0]]
    for gradient in gradients:
        gradient.flags.writeable = False
    for arguments in ({}, {"clipnorm": 0.1}, {"clipvalue": 0.1}, {"global_clipnorm": 0.1}):
        before = [v.version for v in variables]
        optimizers.SGD(**arguments).apply(gradients, variables)
        assert [v.version for v in variables] == [n + 1 for n in before]


@pytest.mark.parametrize("name", ALL)
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
    for name in ALL:
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


OPTIONS = [
    {"use_ema": True, "ema_momentum": 0.5},
    {"gradient_accumulation_steps": 3},
    {"use_ema": True, "ema_overwrite_frequency": 2, "gradient_accumulation_steps": 2, "clipnorm": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
@pytest.mark.parametrize("name", ALL)
def test_a_resumed_run_is_the_same_to_the_bit(name, options):
    """Stopped amid an accumulation too."""
    optimizer = optimizers.get({"class_name": name, "config": options})
    variables = make(np.float32)
    for step in STEPS[:5]:
        optimizer.apply(step, variables)
    again = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    copies = [Variable(v.numpy(), name=v.name) for v in variables]
    again.build(copies)
    again.set_weights(optimizer.variables)
    for step in STEPS[5:]:
        optimizer.apply(step, variables)
        again.apply(step, copies)
    for one, other in ((optimizer, variables), (again, copies)):
        one.finalize_variable_values(other)
    for a, b in zip([v.value for v in variables], [v.value for v in copies], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(optimizer.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ALL)
def test_accumulation_is_one_step_with_the_mean(name):
    one, other = make(), make()
    first, second = (
        optimizers.get(name),
        optimizers.get({"class_name": name, "config": {"gradient_accumulation_steps": 5}}),
    )
    for half in (STEPS[:5], STEPS[5:]):
        first.apply([np.mean(g, axis=0) for g in zip(*half, strict=True)], one)
        for step in half:
            second.apply(step, other)
    assert first.iterations == second.iterations == 2
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-12)


def test_averages():
    w = Variable(np.zeros(1), name="w")
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75)
    for expected in (-1, -1.25, -1.6875):  # of -1, -2, -3
        optimizer.apply([np.ones(1)], [w])
        assert optimizer.variables[2] == expected
    w.constraint = lambda value: np.maximum(value, -1.5)
    optimizer.finalize_variable_values([w])
    assert w.value == -1.5
    w.constraint = None
    optimizer.finalize_variable_values([w])
    assert w.value == -1.6875
    optimizers.SGD().finalize_variable_values([w])
    optimizers.SGD(use_ema=True).finalize_variable_values([w])  # before any update
    assert w.value == -1.6875


@pytest.mark.parametrize("frequency", [None, 3])
def test_fit_ends_with_the_averages(frequency):
    x, y = np.ones((12, 3), "f"), np.ones((12, 1), "f")
    seen = []

    def fit(**options):
        model = models.Sequential([layers.Dense(1, kernel_initializer="zeros")])
        model.compile(optimizers.SGD(0.1, **options), "mse")
        after = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0]))
        model.fit(x, y, batch_size=2, epochs=1, verbose=0, shuffle=False, callbacks=[after])
        return model.get_weights()[0]

    plain = fit()
    np.testing.assert_array_equal(plain, seen[-1])
    seen.clear()
    averaged = fit(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=frequency)
    if frequency is None:
        mean = seen[0]
        for w in seen[1:]:
            mean = 0.5 * mean + 0.5 * w
        np.testing.assert_allclose(averaged, mean, rtol=1e-6)
    else:  # the sixth step has put it there already
        np.testing.assert_array_equal(averaged, seen[-1])
    assert (averaged < plain).all()


def test_loss_scale_divides_gradients_but_not_those_of_fit():
    w, v = Variable(np.zeros(1), name="w"), Variable(np.zeros(1), name="v")
    scaled = optimizers.SGD(1.0, loss_scale_factor=4.0, clipvalue=0.6)
    assert scaled.scale_loss(2.0) == 8.0
    scaled.apply([np.ones(1)], [w])
    assert w.value == -0.25
    optimizers.SGD(1.0).apply([np.ones(1)], [v])
    weights = []
    for factor in (None, 4.0):
        model = models.Sequential([layers.Dense(1, kernel_initializer="ones")])
        model.compile(optimizers.Adam(0.1, loss_scale_factor=factor), "mse")
        model.fit(np.ones((4, 3)), np.zeros((4, 1)), epochs=3, verbose=0)
        model.train_on_batch(np.ones((4, 3)), np.zeros((4, 1)))
        weights.append(model.get_weights()[0])
    np.testing.assert_array_equal(*weights)


def test_exclusion_from_weight_decay():
    kernel, bias, other = (Variable(np.ones(1), name=name) for name in ("kernel", "bias", "other"))
    optimizer = optimizers.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[other], var_names=["bia"])
    optimizer.apply([np.zeros(1)] * 3, [kernel, bias, other])
    assert [float(v.value[0]) for v in (kernel, bias, other)] == [0.75, 1, 1]
    with pytest.raises(ValueError, match="SGD: call exclude_from_weight_decay before the first update"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_pairs_and_known_variables():
    w = Variable(np.zeros(1), name="w")
    optimizer = optimizers.SGD(1.0)
    with pytest.raises(ValueError, match="SGD: expected variables in the first call of apply, got None"):
        optimizer.apply([np.ones(1)])
    optimizer.apply_gradients(zip([np.ones(1)], [w], strict=True))
    optimizer.apply([np.ones(1)])
    assert w.value == -2


ROWS = np.array([1, 4])


@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.3}, {"clipvalue": 0.2}, {"global_clipnorm": 0.5}, *OPTIONS])
@pytest.mark.parametrize("name", ALL)
def test_gradients_of_rows(name, options):
    """The same steps as with the whole table's gradient."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 3))
    tables = [Variable(start, name="table"), Variable(start, name="table")]
    made = [optimizers.get({"class_name": name, "config": options}) for _ in tables]
    for _ in range(6):
        gradient = RowGradient(ROWS, rng.normal(size=(2, 3)), 6)
        made[0].apply([gradient], tables[:1])
        made[1].apply([np.asarray(gradient)], tables[1:])
    np.testing.assert_allclose(tables[0].value, tables[1].value, rtol=1e-12, atol=1e-14)
    for a, b in zip(made[0].variables, made[1].variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_gradient_of_rows_is_an_array_in_arithmetic():
    gradient = RowGradient(ROWS, np.arange(6.0).reshape(2, 3), 6)
    whole = np.asarray(gradient)
    assert whole[4].tolist() == [3, 4, 5]
    for result, expected in (
        (gradient + 1, whole + 1),
        (2 * gradient, 2 * whole),
        (gradient + gradient, 2 * whole),
        (-gradient, -whole),
        (np.add(whole, gradient), 2 * whole),
        (np.sum(np.square(gradient)), (whole**2).sum()),
        (gradient[1], whole[1]),
    ):
        np.testing.assert_array_equal(result, expected)
    total = gradient
    total += whole
    np.testing.assert_array_equal(total, 2 * whole)


def test_copies_go_on_alone_and_backends_may_change():
    """An optimizer keeps prepared calls, to its own arrays, of one backend."""
    variable, gradient = Variable(np.ones(3, "f"), name="w"), np.ones(3, "f")
    optimizer = optimizers.Adam(0.1)
    optimizer.apply([gradient], [variable])
    after = variable.numpy()
    for other, weights in (copy.deepcopy((optimizer, variable)), pickle.loads(pickle.dumps((optimizer, variable)))):
        other.apply([gradient])
        np.testing.assert_array_equal(variable.value, after)
        assert (weights.value < after).all()
    before = backends.get_backend()
    try:
        backends.set_backend("reference")
        optimizer.apply([gradient])
    finally:
        backends.set_backend(before)
    optimizer.apply([gradient])
    np.testing.assert_allclose(variable.value, 1 - 3 * 0.1, rtol=1e-5)


class OwnAdam(optimizers.Adam):
    """Whose update does a part of its own."""

    def update(self, w, g, buffers, learning_rate, **common):
        super().update(w, g, buffers, learning_rate, **common)
        np.round(w, 1, out=w)


def test_a_subclass_may_update_in_its_own_way():
    variable = Variable(np.ones(3, "f"), name="w")
    OwnAdam(0.33).apply([np.ones(3, "f")], [variable])
    np.testing.assert_allclose(variable.value, 0.7, rtol=1e-6)


class Plain(optimizers.Optimizer):
    """A user's own, which knows nothing of rows."""

    def slots(self):
        return (0.0,)

    def update(self, w, g, buffers, learning_rate, **common):
        assert g.shape == w.shape
        buffers[0][...] += g
        w -= learning_rate * common["gradient_scale"] * g


def test_an_embedding_learns_alike_with_every_path():
    """Few of many rows in `fit`, which passes them as they are; one's own steps; an own optimizer; the layer twice."""
    ids, y = np.random.default_rng(0).integers(0, 100, (8, 3)), np.ones((8, 1), "f")

    def made(optimizer, twice=False):
        inputs, table = layers.Input((3,), dtype="int64"), layers.Embedding(100, 4, embeddings_initializer="ones")
        read = layers.Flatten()(table(inputs))
        if twice:
            read = layers.Add()([read, layers.Flatten()(table(inputs))])
        model = models.Model(inputs, layers.Dense(1, kernel_initializer="ones")(read))
        model.compile(optimizer, "mse")
        return model

    for twice in (False, True):
        for optimizer in (optimizers.SGD, optimizers.Adam, optimizers.Adagrad, Plain):
            model, other = made(optimizer(0.01), twice), made(optimizer(0.01), twice)
            for _ in range(3):
                model.train_on_batch(ids, y)
                assert twice or isinstance(model.gradients[0], RowGradient)
                _, gradients = other.compute_gradients(ids, y)
                assert all(type(gradient) is np.ndarray for gradient in gradients)
                other.optimizer.apply(gradients, other.trainable_weights)
            for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)


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
    (lambda: optimizers.Adam(decay=0.1), TypeError, "unknown argument 'decay': use weight_decay or a schedule"),
    (lambda: optimizers.Lion(beta_1=0), ValueError, "Lion: expected beta_1 > 0"),
    (lambda: optimizers.Lion(beta_2=1.5), ValueError, r"Lion: expected beta_2 in 0 \.\.\. 1, got 1.5"),
    (lambda: optimizers.Adagrad(initial_accumulator_value=-1), ValueError, "expected initial_accumulator_value >= 0"),
    (lambda: optimizers.Adadelta(rho=1), ValueError, "Adadelta: expected rho >= 0 and < 1, got 1"),
    (lambda: optimizers.SGD(use_ema=1), TypeError, "SGD: expected use_ema to be True or False, got 1"),
    (lambda: optimizers.SGD(use_ema=True, ema_momentum=2), ValueError, "SGD: expected ema_momentum in 0"),
    (lambda: optimizers.SGD(ema_overwrite_frequency=2), ValueError, "expected use_ema=True with ema_overwrite_freq"),
    (
        lambda: optimizers.SGD(use_ema=True, ema_overwrite_frequency=0),
        ValueError,
        "ema_overwrite_frequency >= 1, got 0",
    ),
    (lambda: optimizers.SGD(gradient_accumulation_steps=1), ValueError, "gradient_accumulation_steps >= 2, got 1"),
    (lambda: optimizers.SGD(gradient_accumulation_steps=2.5), TypeError, "to be an integer, got 2.5"),
    (lambda: optimizers.SGD(loss_scale_factor=0), ValueError, "expected loss_scale_factor > 0"),
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

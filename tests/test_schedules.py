"""Learning-rate schedules: closed forms, configurations, and at work in an optimizer and in `fit`."""

import math

import numpy as np
import pytest

from fusedlstm import layers, models, optimizers
from fusedlstm.optimizers import schedules
from fusedlstm.variables import Variable

MADE = [
    schedules.ExponentialDecay(0.1, 4, 0.5),
    schedules.ExponentialDecay(0.1, 4, 0.5, staircase=True),
    schedules.InverseTimeDecay(0.1, 4, 0.5),
    schedules.InverseTimeDecay(0.1, 4, 0.5, staircase=True),
    schedules.PiecewiseConstantDecay([2, 5], [1.0, 0.5, 0.1]),
    schedules.PolynomialDecay(0.1, 4, 0.02, power=2.0),
    schedules.PolynomialDecay(0.1, 4, 0.02, cycle=True),
    schedules.CosineDecay(0.1, 4, 0.2),
    schedules.CosineDecay(0.0, 4, warmup_target=0.1, warmup_steps=2),
    schedules.CosineDecayRestarts(0.1, 2, t_mul=2.0, m_mul=0.5),
    schedules.CosineDecayRestarts(0.1, 3, t_mul=1.0, alpha=0.1),
]
FIRST = {  # steps 0, 2, 4, 6, by hand
    0: [0.1, 0.1 * 0.5**0.5, 0.05, 0.1 * 0.5**1.5],
    1: [0.1, 0.1, 0.05, 0.05],
    2: [0.1, 0.1 / 1.25, 0.1 / 1.5, 0.1 / 1.75],
    3: [0.1, 0.1, 0.1 / 1.5, 0.1 / 1.5],
    4: [1.0, 1.0, 0.5, 0.1],
    5: [0.1, 0.08 * 0.25 + 0.02, 0.02, 0.02],
    6: [0.1, 0.06, 0.02, 0.08 * 0.25 + 0.02],
    7: [0.1, 0.1 * 0.6, 0.02, 0.02],
    8: [0.0, 0.1, 0.05, 0.0],
    9: [0.1, 0.05, 0.025, 0.025],
    10: [0.1, 0.1 * (0.9 * 0.25 + 0.1), 0.1 * (0.9 * 0.75 + 0.1), 0.1],
}


@pytest.mark.parametrize("k", range(len(MADE)))
def test_closed_forms(k):
    # The second period of [9] takes 4 steps from step 2 on, at half the height; the third begins at step 6.
    assert [MADE[k](step) for step in (0, 2, 4, 6)] == pytest.approx(FIRST[k])


@pytest.mark.parametrize("t_mul", [1.0, 1.1, 1.5, 2.0, 3.0])
def test_restarts_begin_at_their_step(t_mul):
    """The geometric series of the periods, added up, whatever the logarithm rounds to."""
    schedule, begin = schedules.CosineDecayRestarts(1.0, 1000, t_mul=t_mul), 0.0
    for period in range(8):
        assert schedule(math.ceil(begin)) == pytest.approx(1, abs=1e-4), period
        begin += 1000 * t_mul**period
        assert schedule(math.floor(begin) - 1) == pytest.approx(0, abs=1e-4), period


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: type(schedule).__name__)
def test_configs(schedule):
    again = schedules.deserialize(schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    assert [again(step) for step in range(9)] == [schedule(step) for step in range(9)]
    optimizer = optimizers.get(optimizers.serialize(optimizers.Adam(schedule)))
    assert optimizer.get_config() == optimizers.Adam(schedule).get_config()
    assert optimizer.learning_rate == schedule(0)


class Halving(schedules.LearningRateSchedule):
    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return np.float32(self.start) / (step + 1)

    def get_config(self):
        return {"start": self.start}


def test_own_schedules():
    optimizer, w = optimizers.SGD(Halving(1.0)), Variable(np.zeros(1), name="w")
    for expected in (-1, -1.5, -1.5 - 1 / 3):
        optimizer.apply([np.ones(1)], [w])
        assert w.value[0] == pytest.approx(expected)
    config = optimizers.serialize(optimizer)
    with pytest.raises(ValueError, match="unknown learning rate schedule 'Halving': expected one of 'CosineDecay', "):
        optimizers.get(config)
    again = optimizers.deserialize(config, {"Halving": Halving})
    assert again.learning_rate == 1
    assert schedules.deserialize(config["config"]["learning_rate"], {"Halving": Halving})(1) == 0.5


def test_functions_of_nothing():
    rates = iter([1.0, 0.5])
    optimizer, w = optimizers.SGD(lambda: next(rates)), Variable(np.zeros(1), name="w")
    optimizer.apply([np.ones(1)], [w])
    optimizer.apply([np.ones(1)], [w])
    assert w.value[0] == -1.5
    with pytest.raises(TypeError, match="serialize: expected a LearningRateSchedule, got <function"):
        optimizer.get_config()


def test_settable_by_another_schedule_only():
    optimizer = optimizers.SGD(0.5)
    assert not optimizer.scheduled
    optimizer.learning_rate = schedules.ExponentialDecay(0.1, 1, 0.5)
    assert optimizer.scheduled
    optimizer.learning_rate = schedules.ExponentialDecay(0.2, 1, 0.5)
    assert optimizer.learning_rate == 0.2
    with pytest.raises(TypeError, match=r"SGD: expected learning_rate to be a schedule, as it has one, got 0\.1"):
        optimizer.learning_rate = 0.1
    assert optimizer.learning_rate == 0.2


def test_a_schedule_s_state_is_the_count():
    variables = [Variable(np.zeros(3), name="w")]
    optimizer = optimizers.Adam(schedules.ExponentialDecay(0.1, 2, 0.5))
    optimizer.apply([np.ones(3)], variables)
    assert [np.shape(array) for array in optimizer.variables] == [(), (3,), (3,)]
    again = optimizers.Adam(schedules.ExponentialDecay(0.1, 2, 0.5))
    again.build(variables)
    again.set_weights(optimizer.variables)
    assert again.learning_rate == optimizer.learning_rate == 0.1 * 0.5**0.5


@pytest.mark.parametrize("bad", [-1.0, math.nan, "x", None])
def test_what_a_schedule_gives_is_checked_before_the_step(bad):
    class Bad(schedules.LearningRateSchedule):
        def __call__(self, step):
            return bad

    optimizer, w = optimizers.SGD(Bad()), Variable(np.ones(1), name="w")
    with pytest.raises((TypeError, ValueError), match="SGD: expected learning_rate"):
        optimizer.apply([np.ones(1)], [w])
    assert w.value[0] == 1
    assert optimizer.iterations == 0
    with pytest.raises(NotImplementedError, match="Bad: a schedule whose optimizer is saved has to define get_config"):
        optimizer.get_config()


def test_fit_logs_the_rate_of_a_schedule():
    x, y = np.ones((8, 3, 2), "f"), np.ones((8, 1), "f")
    model = models.Sequential([layers.LSTM(2), layers.Dense(1)])
    model.compile(optimizers.SGD(schedules.ExponentialDecay(0.1, 1, 0.5)), "mse")
    history = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history
    assert history["learning_rate"] == pytest.approx([0.1 / 4, 0.1 / 16, 0.1 / 64])
    model.compile("sgd", "mse")
    assert "learning_rate" not in model.fit(x, y, epochs=1, verbose=0).history


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError, "ExponentialDecay: expected decay_steps > 0"),
        (lambda: schedules.ExponentialDecay(-1, 1, 0.5), ValueError, "expected initial_learning_rate >= 0 and finite"),
        (lambda: schedules.InverseTimeDecay("1", 1, 1), TypeError, "expected initial_learning_rate to be"),
        (lambda: schedules.InverseTimeDecay(1, 1, 1, 1), TypeError, "expected staircase to be True or False, got 1"),
        (lambda: schedules.PolynomialDecay(1, -1), ValueError, "PolynomialDecay: expected decay_steps > 0, got -1"),
        (lambda: schedules.CosineDecay(1, 1, warmup_steps=-1), ValueError, "CosineDecay: expected warmup_steps >= 0"),
        (lambda: schedules.CosineDecayRestarts(1, 1, 0.5), ValueError, "CosineDecayRestarts: expected t_mul >= 1"),
        (
            lambda: schedules.PiecewiseConstantDecay([1], [1]),
            ValueError,
            "PiecewiseConstantDecay: expected one value more than boundaries, got 1 values and 1 boundaries",
        ),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]), ValueError, "expected ascending boundaries"),
        (lambda: schedules.serialize(0.1), TypeError, "serialize: expected a LearningRateSchedule, got 0.1"),
        (lambda: schedules.deserialize("CosineDecay"), TypeError, "expected a dict with class_name and config"),
        (lambda: schedules.LearningRateSchedule(), TypeError, "abstract"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

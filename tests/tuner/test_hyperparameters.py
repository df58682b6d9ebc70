"""Hyperparameters alone: which values they can have, when they are active, and what is refused."""

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="needs Optuna, the extra [tuner]")

from fusedlstm.tuner import HyperParameters, studies  # noqa: E402


def draws(ask, count=400):
    """Values of a hyperparameter in many trials of a study."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    with studies.quiet():
        return [ask(studies.TrialHyperParameters(study.ask(), None)) for _ in range(count)]


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda hp: hp.Int("n", 2, 5), [2, 3, 4, 5]),
        (lambda hp: hp.Int("n", 32, 128, step=32), [32, 64, 96, 128]),
        (lambda hp: hp.Int("n", 1, 10, step=4), [1, 5, 9]),
        (lambda hp: hp.Int("n", 1, 16, step=2, sampling="log"), [1, 2, 4, 8, 16]),
        (lambda hp: hp.Int("n", 1, 16, step=2, sampling="reverse_log"), [1, 9, 13, 15, 16]),
        (lambda hp: hp.Int("n", 8, 10, sampling="log"), [8, 9, 10]),
        (lambda hp: hp.Int("n", 8, 10, sampling="reverse_log"), [8, 9, 10]),
        (lambda hp: hp.Int("n", 7, 7), [7]),
        (lambda hp: hp.Float("x", 0.1, 0.5, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (lambda hp: hp.Float("x", 0.0, 1.0, step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (lambda hp: hp.Float("x", 1e-3, 1.0, step=10, sampling="log"), [1e-3, 1e-2, 1e-1, 1.0]),
        (lambda hp: hp.Float("x", 1.0, 8.0, step=2, sampling="reverse_log"), [1.0, 5.0, 7.0, 8.0]),
        (lambda hp: hp.Choice("c", ["a", "b"]), ["a", "b"]),
        (lambda hp: hp.Choice("c", [4, 2, 8], ordered=True), [4, 2, 8]),
        (lambda hp: hp.Choice("c", [1, 0.5]), [1, 0.5]),
        (lambda hp: hp.Boolean("b"), [False, True]),
        (lambda hp: hp.Fixed("f", 3), [3]),
    ],
)
def test_all_values_and_no_others_are_drawn(ask, expected):
    found = draws(ask, 200)
    assert set(found) == set(expected)
    assert all(type(value) in {type(item) for item in expected} for value in found)
    plain = HyperParameters()
    assert ask(plain) == expected[0]
    assert plain.values == dict.fromkeys(plain.values, expected[0])


@pytest.mark.parametrize(
    ("sampling", "quantile"),
    [
        ("linear", lambda p: 1 + 999 * p),
        ("log", lambda p: 1000**p),
        ("reverse_log", lambda p: 1001 - 1000 ** (1 - p)),
    ],
)
def test_samplings_have_their_quantiles(sampling, quantile):
    found = np.array(draws(lambda hp: hp.Float("x", 1.0, 1000.0, sampling=sampling), 2000))
    assert found.min() >= 1
    assert found.max() <= 1000
    for p in (0.25, 0.5, 0.75):  # a share of 0.05 is four and a half deviations
        assert abs(np.mean(found < quantile(p)) - p) < 0.05


def test_what_optuna_cannot_draw_has_a_name_that_says_so():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    hp = studies.TrialHyperParameters(trial, None)
    rate = hp.Float("rate", 0.1, 0.9, sampling="reverse_log")
    units = hp.Int("units", 8, 64, step=2, sampling="log")
    assert trial.params == {"1.0 - rate": pytest.approx(1 - rate), "units (index)": [8, 16, 32, 64].index(units)}
    assert hp.values == {"rate": rate, "units": units}


def model(hp):
    """Asks as a model does, without a look at what is active."""
    kind = hp.Choice("kind", ["lstm", "gru"])
    with hp.conditional_scope("kind", ["gru"]):
        reset = hp.Boolean("reset_after", default=True)
    with hp.name_scope("head"):
        depth = hp.Int("depth", 0, 2)
        with hp.conditional_scope("depth", [1, 2]):
            width = hp.Int("width", 4, 8)
            with hp.conditional_scope("depth", 2):
                second = hp.Int("second", 4, 8)
    rate = hp.Float("rate", 0, 1, parent_name="kind", parent_values=["lstm"])
    return kind, reset, depth, width, second, rate


def test_only_what_is_active_has_a_value():
    hp = HyperParameters()
    assert model(hp) == ("lstm", None, 0, None, None, 0)
    assert hp.values == {"kind": "lstm", "head/depth": 0, "rate": 0}
    assert [p.name for p in hp.space] == ["kind", "reset_after", "head/depth", "head/width", "head/second", "rate"]
    hp = HyperParameters()
    hp.values = {"kind": "gru", "head/depth": 2, "head/second": 7}
    assert model(hp) == ("gru", True, 2, 4, 7, None)
    assert hp.is_active("reset_after")
    assert not hp.is_active("rate")
    assert "head/width" in hp
    assert hp["head/width"] == hp.get("head/width") == 4
    with pytest.raises(KeyError, match="'rate' is not active"):
        hp.get("rate")
    with pytest.raises(KeyError, match="there is no hyperparameter 'units', only: kind"):
        hp.get("units")
    found = {(v[0], v[2]): v for v in draws(model, 60)}
    assert set(found) == {(kind, depth) for kind in ("lstm", "gru") for depth in (0, 1, 2)}
    for (kind, depth), (_, reset, _, width, second, rate) in found.items():
        assert (reset is None) == (kind == "lstm")
        assert (rate is None) == (kind == "gru")
        assert (width is None, second is None) == (depth == 0, depth < 2)


def test_a_copy_is_its_own():
    hp = HyperParameters()
    hp.Int("n", 1, 4)
    other = hp.copy()
    other.values["n"] = 3
    assert (hp.get("n"), other.get("n"), other.Int("n", 1, 4)) == (1, 3, 3)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda hp: hp.Int("n", 5, 2), ValueError, r"hp.Int 'n': expected max_value >= min_value, got 5 ... 2"),
        (lambda hp: hp.Int("n", 1.5, 2), ValueError, "expected min_value to be an integer, got 1.5"),
        (lambda hp: hp.Int("n", 1, "2"), TypeError, "expected max_value to be a number, got '2'"),
        (lambda hp: hp.Int("n", 1, 2, step=0), ValueError, "expected step > 0 with sampling='linear', got 0"),
        (lambda hp: hp.Int("n", 1, 8, step=1, sampling="log"), ValueError, "expected step > 1 with sampling='log'"),
        (lambda hp: hp.Int("n", 1, 8, sampling="cubic"), ValueError, "one of linear, log, reverse_log, got 'cubic'"),
        (lambda hp: hp.Float("x", 0, 1, sampling="log"), ValueError, "expected min_value > 0 with sampling='log'"),
        (lambda hp: hp.Float("x", 0, np.nan), ValueError, "expected max_value to be finite, got nan"),
        (lambda hp: hp.Float("x", 0, 1, default=2), ValueError, r"expected default in 0 ... 1, got 2"),
        (lambda hp: hp.Choice("c", []), ValueError, "hp.Choice 'c': expected at least one value"),
        (lambda hp: hp.Choice("c", "ab"), TypeError, "expected values to be a list, got 'ab'"),
        (lambda hp: hp.Choice("c", [1, "b"]), TypeError, "expected values of one kind"),
        (lambda hp: hp.Choice("c", [1, 1]), ValueError, "expected values that differ"),
        (lambda hp: hp.Choice("c", [None]), TypeError, "expected values to be numbers, strings or bools, got None"),
        (lambda hp: hp.Choice("c", ["a"], default="b"), ValueError, r"expected default to be one of \['a'\], got 'b'"),
        (lambda hp: hp.Fixed("f", [1]), TypeError, r"hp.Fixed 'f': expected value"),
        (lambda hp: hp.Int(3, 1, 2), TypeError, "expected the name of a hyperparameter, got 3"),
        (lambda hp: hp.Int("n", 1, 2, parent_name="p", parent_values=1), ValueError, "there is no 'p'"),
        (lambda hp: hp.Int("n", 1, 2, parent_values=1), ValueError, "expected parent_name along with parent_values 1"),
        (lambda hp: (hp.Boolean("b"), hp.Int("n", 1, 2, parent_name="b")), ValueError, "expected parent_values of 'b'"),
        (
            lambda hp: (hp.Choice("k", ["a"]), hp.conditional_scope("k", ["c"]).__enter__()),
            ValueError,
            "'k' is never 'c'",
        ),
        (
            lambda hp: (hp.Int("n", 1, 2), hp.Int("n", 1, 3)),
            ValueError,
            r"'n' was asked for as Int 1 ... 2, now as Int 1 ... 3",
        ),
        (
            lambda hp: (hp.Int("n", 1, 2), hp.Boolean("b"), hp.Choice("n", ["a"], parent_name="b", parent_values=True)),
            ValueError,
            "'n' was asked for as Int 1 ... 2, now as Choice of 'a': use another name",
        ),
    ],
)
def test_what_is_refused(ask, error, message):
    with pytest.raises(error, match=message):
        ask(HyperParameters())


def test_one_name_may_have_different_ranges_in_different_scopes():
    def ask(hp):
        hp.Choice("size", ["small", "large"])
        with hp.conditional_scope("size", "small"):
            small = hp.Int("units", 1, 4)
        with hp.conditional_scope("size", "large"):
            large = hp.Int("units", 5, 8)
        return small, large

    assert {small for small, _ in draws(ask, 100)} == {1, 2, 3, 4, None}
    assert {large for _, large in draws(ask, 100)} == {5, 6, 7, 8, None}

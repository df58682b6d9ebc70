"""Plots: what is drawn is the data, in a figure of one's own or given axes; without matplotlib a clear error."""

from __future__ import annotations

import builtins
import struct

import numpy as np
import pytest

from fusedlstm import inspect, plots
from fusedlstm.callbacks import History
from fusedlstm.layers import GRU, LSTM, Dense, Input
from fusedlstm.models import Sequential

pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib, the extra [plot]")
pyplot.switch_backend("Agg")

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def lines(ax):
    """What each line of a plot shows, by its label."""
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in ax.get_lines()}


def no_text_overlaps(figure):
    """Whether the figure's titles, labels and ticks leave each other alone."""
    figure.canvas.draw()
    found = []
    for ax in figure.axes:
        if ax.get_visible():
            found += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    inside = [text for text in found if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in inside]
    return not any(
        boxes[a].overlaps(boxes[b]) and boxes[a].width and boxes[b].width for b in range(len(boxes)) for a in range(b)
    )


def logs(epochs):
    e = np.arange(epochs)
    return {
        "loss": list(1 / (e + 1) + 0.1),
        "mae": list(2 / (e + 1)),
        "val_loss": list(1 / (e + 1) + 0.2 + 0.01 * e),
        "val_mae": list(2 / (e + 2)),
        "learning_rate": list(0.01 * 0.5 ** (e // 2)),
    }


@pytest.mark.parametrize("epochs", [1, 5, 500])
def test_history_has_a_panel_for_each_value(epochs):
    values = logs(epochs)
    figure = plots.history(values)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["Loss", "MAE", "Learning rate"]
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["training"][0], np.arange(1, epochs + 1))
    np.testing.assert_array_equal(drawn["training"][1], values["loss"])
    np.testing.assert_array_equal(drawn["validation"][1], values["val_loss"])
    best = int(np.argmin(values["val_loss"]))
    assert f"best: {values['val_loss'][best]:.4g}, epoch {best + 1}" in drawn
    np.testing.assert_array_equal(lines(figure.axes[2])["training"][1], values["learning_rate"])
    assert all(ax.get_xlabel() == "epoch" for ax in figure.axes)
    assert no_text_overlaps(figure)


def test_history_of_a_fit_knows_when_it_validated(tmp_path):
    model = Sequential([Input((4, 1)), LSTM(2), Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    x = np.zeros((8, 4, 1))
    history = model.fit(x, x[:, 0], epochs=7, validation_split=0.5, validation_freq=[2, 3, 7], verbose=0)
    assert isinstance(history, History)
    figure = history.plot()
    np.testing.assert_array_equal(lines(figure.axes[0])["validation"][0], [2, 3, 7])
    with pytest.raises(ValueError, match="expected 7 values of 'val_loss', one for each epoch, got 3"):
        plots.history(history.history)
    (only,) = history.plot(metrics="mae", path=tmp_path / "mae.svg").axes
    assert only.get_title(loc="left") == "MAE"
    assert (tmp_path / "mae.svg").read_text().startswith("<?xml")


def test_forecast_and_residuals():
    truth, guess = RNG.normal(size=50), RNG.normal(size=(50, 1))
    figure = plots.forecast(truth, guess, x=np.arange(1950, 2000), xlabel="year", ylabel="load (MW)")
    top, bottom = figure.axes
    drawn = lines(top)
    np.testing.assert_array_equal(drawn["truth"][1], truth)
    np.testing.assert_array_equal(drawn["forecast"][1], guess[:, 0])
    error = truth - guess[:, 0]
    assert any(np.array_equal(y, error) for _, y in lines(bottom).values())
    rmse, mae = np.sqrt(np.mean(error**2)), np.mean(abs(error))
    assert top.get_title(loc="left") == f"Forecast and truth: RMSE {rmse:.3g}, MAE {mae:.3g}"
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == ("load (MW)", "residual", "year")
    assert no_text_overlaps(figure)
    when = np.datetime64("2024-01-01") + np.arange(1000)
    longer = plots.forecast(RNG.normal(size=1000), np.zeros(1000), x=when)
    assert no_text_overlaps(longer)
    (alone,) = plots.forecast(truth, guess, residuals=False).axes
    assert alone.get_xlabel() == "step"


def test_step_losses():
    losses = RNG.random(30)
    figure = plots.step_losses(losses, label="LSTM")
    ax = figure.axes[0]
    assert plots.step_losses(losses + 1, ax=ax, label="GRU") is figure
    np.testing.assert_array_equal(lines(ax)["LSTM"][1], losses)
    np.testing.assert_array_equal(lines(ax)["GRU"][1], losses + 1)
    first, second = (line for line in ax.get_lines() if line.get_label() in ("LSTM", "GRU"))
    assert first.get_color() != second.get_color()


def test_confusion_matrix_counts():
    truth = np.array([0, 0, 0, 1, 1, 2])
    guess = np.array([0, 0, 1, 1, 1, 0])
    figure = plots.confusion_matrix(truth, guess, labels=["a", "b", "c"])
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]])
    assert sorted(text.get_text() for text in ax.texts) == ["100%\n1", "100%\n2", "33%\n1", "67%\n2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_title(loc="left") == "66.7% of 6 right"
    counts = plots.confusion_matrix(np.eye(3)[truth], np.eye(4)[guess], normalize=False).axes[0].images[0].get_array()
    np.testing.assert_array_equal(counts, [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    binary = plots.confusion_matrix([[0], [1], [1]], [[0.2], [0.5], [0.4]], normalize=False)
    np.testing.assert_array_equal(binary.axes[0].images[0].get_array(), [[1, 0], [1, 1]])
    many = RNG.integers(0, 60, 500)
    assert no_text_overlaps(plots.confusion_matrix(many, many))


def model_and_data():
    model = Sequential([
        Input((12, 2)), LSTM(5, return_sequences=True, name="below"), GRU(4, name="above"), Dense(1)
    ])  # fmt: skip
    model.compile(loss="mse")
    return model, RNG.normal(size=(3, 12, 2)), RNG.normal(size=(3, 1))


def test_the_diagnostics_draw_themselves(tmp_path):
    model, x, y = model_and_data()
    flow = inspect.gradient_flow(model, x, y)
    ax = flow.plot().axes[0]
    np.testing.assert_allclose(lines(ax)["below"][1], flow.norms["below"])
    assert ax.get_yscale() == "log"
    again = flow.plot(ax=ax, label="again")
    assert list(lines(ax)) == ["below", "above", "again: below", "again: above"]
    assert no_text_overlaps(again)

    gates = inspect.gate_activations(model, x, layer="below")
    shown = {"sample": 1, "units": [4, 0], "labels": "twelve chars"}
    gates.plot(**shown, path=tmp_path / "gates.png")
    figure = gates.plot(**shown)
    pictures = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.images}
    assert list(pictures) == ["Input gate i", "Forget gate f", "Candidate", "Output gate o", "Cell state c", "State h"]
    shown = pictures["Forget gate f"].images[0].get_array()
    np.testing.assert_array_equal(shown, gates["f"][1][:, [4, 0]].T)
    assert [label.get_text() for label in pictures["State h"].get_yticklabels()] == ["4", "0"]
    assert no_text_overlaps(figure)
    assert struct.unpack(">II", (tmp_path / "gates.png").read_bytes()[16:24])[0] > 500

    saturation = inspect.gate_saturation(model, x)
    panels = saturation.plot().axes
    assert [ax.get_title(loc="left") for ax in panels] == [
        "Input gate i", "Forget gate f", "Output gate o", "Update gate z", "Reset gate r"
    ]  # fmt: skip
    np.testing.assert_array_equal(
        lines(panels[1])["below"], (saturation.open["below"]["f"], saturation.shut["below"]["f"])
    )
    assert no_text_overlaps(panels[0].figure)

    features = {"first": x[..., 0], "second": x[..., 1]}
    for by in ("correlation", "mutual_information"):
        ranking = inspect.rank_cells(model, x, features, layer="above", by=by)
        figure = ranking.plot(top=3)
        widths = [bar.get_width() for bar in figure.axes[1].patches]
        np.testing.assert_allclose(widths, ranking.scores["second"][ranking.order["second"][:3]])
        assert no_text_overlaps(figure)


def test_a_written_figure_does_not_stay_with_pyplot(tmp_path):
    plots.step_losses([1, 2, 3], path=tmp_path / "losses.png")
    assert not pyplot.get_fignums()
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    plots.step_losses([1, 2, 3])
    assert len(pyplot.get_fignums()) == 1


BAD = [
    (lambda: plots.history([1, 2]), TypeError, "history: expected a History or its dict, got list"),
    (lambda: plots.history({}), ValueError, "history: expected at least one epoch, got none"),
    (lambda: plots.history({"loss": [1]}, metrics=["acc"]), ValueError,
     "history: expected metrics to be some of 'loss', got 'acc'"),
    (lambda: plots.history({"loss": [1], "mae": [1]}, ax=pyplot.figure().subplots()), ValueError,
     "history: expected ax to be 2 matplotlib Axes, one for each panel, got <Axes"),
    (lambda: plots.step_losses([1], ax=3), ValueError,
     "step_losses: expected ax to be 1 matplotlib Axes, one for each panel, got 3"),
    (lambda: plots.step_losses([[1]]), ValueError, "step_losses: expected losses (steps,), got (1, 1)"),
    (lambda: plots.forecast([1, 2], [1]), ValueError, "forecast: expected y_pred (2,), as y_true, got (1,)"),
    (lambda: plots.forecast([1, 2], [1, 2], x=[1]), ValueError, "forecast: expected x (2,), as y_true, got (1,)"),
    (lambda: plots.forecast(np.zeros((2, 2)), [1]), ValueError,
     "forecast: expected y_true (N,) or (N, 1), got (2, 2)"),
    (lambda: plots.confusion_matrix([0, 1], [0]), ValueError,
     "confusion_matrix: expected 2 rows of y_pred, as of y_true, got 1"),
    (lambda: plots.confusion_matrix([0, 2], [0, 1], labels=["a", "b"]), ValueError,
     "confusion_matrix: expected labels for 3 classes, got 2"),
    (lambda: plots.confusion_matrix([0, -1], [0, 1]), ValueError,
     "confusion_matrix: expected y_true to hold classes from 0 on, or probabilities"),
    (lambda: inspect.gate_activations(*model_and_data()[:2], layer="above").plot(sample=3), ValueError,
     "GateActivations.plot: expected sample to be one of 3 rows, got 3"),
    (lambda: inspect.gate_activations(*model_and_data()[:2], layer="above").plot(units=[9]), ValueError,
     "GateActivations.plot: expected units to be some of 0 ... 3, got [9]"),
    (lambda: inspect.gate_activations(*model_and_data()[:2], layer="above").plot(labels="ab"), ValueError,
     "gate_activations: expected labels for 12 steps, got 2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_calls(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_without_matplotlib_there_is_an_error(monkeypatch):
    find = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return find(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"^plots need matplotlib: pip install 'fusedlstm\[plot\]'$"):
        plots.history({"loss": [1.0]})

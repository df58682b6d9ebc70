"""Drawings of models: what is in them, where it stands, and that a file comes out."""

import builtins
import shutil
import struct
import subprocess

import numpy as np
import pytest

from fusedlstm.layers import LSTM, Concatenate, Dense, Input
from fusedlstm.models import Model, Sequential
from fusedlstm.utils import plot_model, plotting
from fusedlstm.utils.layout import Layout

RNG = np.random.default_rng(0)


def seq2seq():
    source, target = Input((None, 3), name="source"), Input((None, 2), name="target")
    _, h, c = LSTM(4, return_state=True, name="encoder")(source)
    y = LSTM(4, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return Model([source, target], Dense(2, name="out")(Concatenate(name="join")([y, y * 2.0])))


def outer():
    inner = Sequential([Input((5, 3)), LSTM(4, name="deep"), Dense(2)], name="inner")
    a = Input((5, 3))
    return Model(a, Dense(1)(inner(a)))


def test_boxes_and_edges():
    boxes, edges = plotting.describe(seq2seq(), shapes=True, names=True, dtype=True, activations=True, trainable=True)
    titles = [box.lines[0] for box in boxes]
    assert titles == ["InputLayer", "InputLayer", "LSTM", "LSTM", "Multiply", "Concatenate", "Dense"]
    assert boxes[2].lines[1:] == [
        "encoder",
        "activation tanh",
        "in (None, None, 3)",
        "out (None, 4), (None, 4), (None, 4)",
        "float32, float32, float32",
        "trainable",
    ]
    found = {(titles[e.start], titles[e.end], e.dashed) for e in edges}
    assert ("LSTM", "LSTM", True) in found
    assert ("InputLayer", "LSTM", False) in found
    assert ("Multiply", "Concatenate", False) in found
    assert len(edges) == 7, "two states between the same boxes are one line"


def test_nested_models_are_a_box_or_what_is_inside():
    boxes, _ = plotting.describe(outer())
    assert [box.lines[0] for box in boxes] == ["InputLayer", "Sequential", "Dense"]
    boxes, edges = plotting.describe(outer(), expand=True)
    assert [(box.lines[0], box.group) for box in boxes] == [
        ("InputLayer", ""),
        ("LSTM", "inner"),
        ("Dense", "inner"),
        ("Dense", ""),
    ]
    assert [(e.start, e.end) for e in edges] == [(0, 1), (1, 2), (2, 3)]


def random_graph(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 14))
    edges = [(a, b) for b in range(count) for a in range(b) if rng.uniform() < 0.3]
    return rng.uniform(20, 120, count), rng.uniform(10, 40, count), edges


@pytest.mark.parametrize("seed", range(12))
def test_boxes_do_not_touch_and_edges_go_down(seed):
    across, along, edges = random_graph(seed)
    layout = Layout(across, along, edges, 10, 20)
    places = np.array(layout.boxes)
    for a in range(len(across)):
        low, high = places[a] - [across[a] / 2, along[a] / 2], places[a] + [across[a] / 2, along[a] / 2]
        assert (low >= -1e-6).all()
        assert (high <= np.array(layout.size) + 1e-6).all()
        for b in range(a):
            apart = np.abs(places[a] - places[b]) - [(across[a] + across[b]) / 2, (along[a] + along[b]) / 2]
            assert (apart > -1e-6).any(), (a, b)
    for (a, b), path in zip(edges, layout.paths, strict=True):
        levels = [places[a][1], *(y for _, start, end in path for y in (start, end)), places[b][1]]
        assert levels == sorted(levels)
        assert levels[0] < levels[-1]
        for x, start, end in path:  # a line that passes a rank runs between its boxes
            for k in range(len(across)):
                beside = abs(x - places[k][0]) >= across[k] / 2
                assert beside or places[k][1] + along[k] / 2 < start or places[k][1] - along[k] / 2 > end


def size_of_png(path):
    return struct.unpack(">II", path.read_bytes()[16:24])


@pytest.mark.parametrize("rankdir", ["TB", "LR", "BT", "RL"])
def test_matplotlib_draws_when_there_is_no_graphviz(rankdir, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    path = tmp_path / "model.png"
    plot_model(seq2seq(), path, show_shapes=True, show_layer_names=True, rankdir=rankdir, dpi=50)
    width, height = size_of_png(path)
    assert (height > width) == (rankdir in ("TB", "BT"))
    plot_model(outer(), str(tmp_path / "nested.svg"), expand_nested=True)
    assert (tmp_path / "nested.svg").read_text().startswith("<?xml")


def test_graphviz_draws_when_it_is_there(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: runs.append((arguments[0], options["input"])))
    plot_model(seq2seq(), tmp_path / "m.svg", rankdir="LR", show_layer_names=True)
    (command, text), *_ = runs
    assert command == ["/opt/dot", "-Tsvg", "-o", str(tmp_path / "m.svg")]
    assert "rankdir=LR" in text
    assert "2 -> 3 [style=dashed];" in text
    assert "<b>LSTM</b>" in text
    assert text.count("{") == text.count("}")
    plot_model(outer(), tmp_path / "m.png", expand_nested=True)
    assert 'subgraph cluster_0 { label="inner"' in runs[1][1]


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's program dot")
def test_graphviz_takes_the_text(tmp_path):
    plot_model(outer(), tmp_path / "m.png", expand_nested=True, show_shapes=True)
    assert size_of_png(tmp_path / "m.png")[0] > 50


def test_without_either_there_is_an_error(tmp_path, monkeypatch):
    find = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("matplotlib") or name == "fusedlstm.utils.drawing":
            raise ImportError(name)
        return find(name, *arguments, **options)

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ImportError, match=r"^plot_model needs Graphviz, or matplotlib: pip install 'fusedlstm\[plot\]'$"
    ):
        plot_model(outer(), tmp_path / "m.png")

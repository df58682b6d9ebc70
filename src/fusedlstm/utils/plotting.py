"""A drawing of a model's layers and what flows between them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from fusedlstm.layers.base import Layer
from fusedlstm.layers.operations import Arithmetic
from fusedlstm.symbolic import Node, SymbolicTensor

DIRECTIONS = ("TB", "LR", "BT", "RL")
# Background and border of a box by what the layer is for.
_COLORS = {
    "input": ("#f1f3f5", "#868e96"),
    "recurrent": ("#dbe9fb", "#2f6fb7"),
    "weights": ("#e0f2e4", "#3a8a4d"),
    "model": ("#efe3f8", "#7d4aa8"),
    "other": ("#fdf1dc", "#c07f18"),
}


class Box(NamedTuple):
    """What is written into a box, line by line, the first one large; and its colours' name."""

    lines: list[str]
    kind: str
    group: str  # the nested model that it is in


class Edge(NamedTuple):
    """From which box to which."""

    start: int
    end: int
    dashed: bool  # a state or a mask


def plot_model(
    model: Any,
    to_file: str | Path = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> None:
    """Draw a model: a box for each call of a layer, lines from where its inputs come; dashed for states and masks.

    Graphviz draws it if its program ``dot`` is there, else matplotlib.

    Parameters
    ----------
    model : Model or Sequential
    to_file : str or Path
        Its ending says in which format: png, svg, pdf ...
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        What to write into the boxes beside the layer's class.
    rankdir : {"TB", "LR", "BT", "RL"}
        From top to bottom, from left to right, or the reverse.
    expand_nested : bool
        Draw the layers of models inside this one instead of a box.
    dpi : int
        Points per inch.
    splines : str
        How Graphviz draws lines.

    Raises
    ------
    TypeError
        If it is not a model.
    ValueError
        If the model is not built, or an argument is out of its domain.
    ImportError
        If neither Graphviz nor matplotlib is there.
    """
    if not isinstance(model, Layer) or not hasattr(model, "calls"):
        raise TypeError(f"plot_model: expected a model, got {type(model).__name__}")
    model.require_built()
    if rankdir not in DIRECTIONS:
        raise ValueError(f"plot_model: expected rankdir to be one of {', '.join(DIRECTIONS)}, got {rankdir!r}")
    if isinstance(dpi, bool) or not isinstance(dpi, int) or dpi <= 0:
        raise ValueError(f"plot_model: expected dpi to be a positive integer, got {dpi!r}")
    path = Path(to_file)
    if not path.suffix:
        raise ValueError(f"plot_model: expected to_file to end in .png, .svg or .pdf, got {str(to_file)!r}")
    boxes, edges = describe(
        model,
        shapes=show_shapes,
        dtype=show_dtype,
        names=show_layer_names,
        activations=show_layer_activations,
        trainable=show_trainable,
        expand=expand_nested,
    )
    program = shutil.which("dot")
    if program is not None:
        text = dot_text(boxes, edges, rankdir, splines, dpi)
        subprocess.run([program, f"-T{path.suffix[1:]}", "-o", str(path)], input=text, text=True, check=True)
        return
    try:
        from fusedlstm.utils.drawing import draw
    except ImportError as error:
        raise ImportError("plot_model needs Graphviz, or matplotlib: pip install 'fusedlstm[plot]'") from error
    draw(boxes, edges, rankdir, dpi, path)


def colors(kind: str) -> tuple[str, str]:
    """Background and border."""
    return _COLORS[kind]


def describe(
    model: Any,
    *,
    shapes: bool = False,
    dtype: bool = False,
    names: bool = False,
    activations: bool = False,
    trainable: bool = False,
    expand: bool = False,
) -> tuple[list[Box], list[Edge]]:
    """The boxes of a model, its inputs first, and the edges between them."""
    boxes: list[Box] = []
    edges: list[Edge] = []

    def lines(layer: Layer, tensors: tuple[SymbolicTensor, ...], inputs: tuple[SymbolicTensor, ...]) -> list[str]:
        found = [layer.operation.capitalize() if isinstance(layer, Arithmetic) else type(layer).__name__]
        if names:
            found.append(layer.name)
        activation = getattr(getattr(layer, "activation", None), "name", None)
        if activations and activation is not None:
            found.append(f"activation {activation}")
        if shapes and inputs:
            found.append("in " + ", ".join(str(tensor.shape) for tensor in inputs))
        if shapes:
            found.append("out " + ", ".join(str(tensor.shape) for tensor in tensors))
        if dtype:
            found.append(", ".join(str(tensor.dtype) for tensor in tensors))
        if trainable and layer.weights:
            found.append("trainable" if layer.trainable_weights else "frozen")
        return found

    def add(owner: Any, given: list[int] | None, group: str) -> list[int]:
        """Boxes for a model's calls; from which box each of its outputs comes."""
        sources: dict[int, int] = {}
        for k, tensor in enumerate(owner.inputs):
            if given is None:
                boxes.append(Box(lines(tensor.layer, (tensor,), ()), "input", group))
                sources[id(tensor)] = len(boxes) - 1
            else:
                sources[id(tensor)] = given[k]
        for node in owner.calls:
            if expand and hasattr(node.layer, "calls"):
                inside = f"{group}/{node.layer.name}" if group else node.layer.name
                ends = add(node.layer, [sources[id(tensor)] for tensor in node.inputs], inside)
            else:
                boxes.append(Box(lines(node.layer, node.outputs, node.inputs), _kind(node), group))
                ends = [len(boxes) - 1] * len(node.outputs)
                for k, tensor in enumerate(node.taken):  # states and masks are dashed
                    edges.append(Edge(sources[id(tensor)], len(boxes) - 1, k >= len(node.inputs)))
            sources.update({id(tensor): end for tensor, end in zip(node.outputs, ends, strict=True)})
        return [sources[id(tensor)] for tensor in owner.outputs]

    add(model, None, "")
    unique = list(dict.fromkeys(edges))
    return boxes, unique


def _kind(node: Node) -> str:
    layer = node.layer
    if hasattr(layer, "calls"):
        return "model"
    if "initial_state" in layer.call_arguments:
        return "recurrent"
    return "weights" if layer.weights else "other"


def dot_text(boxes: list[Box], edges: list[Edge], rankdir: str, splines: str, dpi: int) -> str:
    """The drawing in Graphviz's language."""
    out = [
        "digraph {",
        f'  graph [rankdir={rankdir}, splines={splines}, dpi={dpi}, nodesep=0.35, ranksep=0.45, fontname="Helvetica"];',
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11, margin="0.18,0.08"];',
        '  edge [color="#495057", arrowsize=0.7];',
    ]
    for k, box in enumerate(boxes):
        fill, border = colors(box.kind)
        first, *rest = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in box.lines)
        label = "<br/>".join([f"<b>{first}</b>", *(f'<font point-size="9">{line}</font>' for line in rest)])
        out.append(f'  {k} [label=<{label}>, fillcolor="{fill}", color="{border}"];')
    for number, group in enumerate(dict.fromkeys(box.group for box in boxes if box.group)):
        inside = " ".join(str(k) for k, box in enumerate(boxes) if box.group == group)
        out.append(f'  subgraph cluster_{number} {{ label="{group}"; color="#adb5bd"; style=dashed; {inside} }}')
    for edge in edges:
        out.append(f"  {edge.start} -> {edge.end}" + (" [style=dashed];" if edge.dashed else ";"))
    return "\n".join([*out, "}"])

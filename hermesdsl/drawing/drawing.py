"""`draw`: a compiled system → a `Drawing` that can be written in six formats.

Chooses the view and checks the arguments; what is shown is the business of the views.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.drawing import dot, hardware, pipeline, placement, render
from hermesdsl.drawing.narrow import narrow
from hermesdsl.drawing.overlay import Mark, Overlay
from hermesdsl.drawing.render import RENDERERS, Renderer
from hermesdsl.drawing.scene import Scene, graph_of
from hermesdsl.files import write_whole
from hermesdsl.graph.types import Client, CompiledSystem

if TYPE_CHECKING:
    import networkx as nx

VIEWS = ("hardware", "pipeline", "placement")
FORMATS = ("svg", "png", "pdf", "dot", "json", "graphml")
#: Nodes and wires beyond which a layout may take minutes, and nobody could read it.
LAYOUT_LIMIT = 10_000


@dataclass(frozen=True)
class Drawing:
    """A picture: its DOT source, and the graph (folded as drawn, plain attributes) behind it."""

    dot: str
    graph: nx.MultiDiGraph[str]
    title: str

    def render(self, fmt: str, *, renderer: Renderer = "auto") -> bytes:
        """The picture in one of `FORMATS`; the same picture gives the same bytes.

        `renderer`: the system's Graphviz, the embedded one, or ``auto``, the former if installed.
        Raises `SpecError` HMS607: unknown format or renderer, pdf without Graphviz, too large.
        """
        _among("format", fmt, FORMATS)
        _among("renderer", renderer, RENDERERS)
        if fmt == "dot":
            return self.dot.encode()
        if fmt == "json":
            return _json(self.graph)
        if fmt == "graphml":
            return _graphml(self.graph)
        things = self.graph.number_of_nodes() + self.graph.number_of_edges()
        if things > LAYOUT_LIMIT:
            _refuse(
                f"the picture has {things} nodes and wires; {LAYOUT_LIMIT} can be laid out",
                ("help: leave folding on, draw a part by name, or write .dot, .json or .graphml",),
            )
        paint = {"svg": render.svg, "png": render.png, "pdf": render.pdf}[fmt]
        return paint(self.dot, renderer)

    def write(self, path: str | os.PathLike[str], *, renderer: Renderer = "auto") -> Path:
        """Write the picture in the format of the suffix; the file appears whole or not at all."""
        target = Path(path)
        data = self.render(target.suffix.lstrip(".").lower(), renderer=renderer)
        try:
            write_whole(target, data)
        except OSError as failure:
            _refuse(f"cannot write `{target}`: {failure.strerror or failure}")
        return target


def draw(
    system: CompiledSystem,
    view: str,
    *,
    name: str | None = None,
    overlay: Mapping[str, Mark] | None = None,
    fold: bool = True,
) -> Drawing:
    """Draw one view of a system.

    `view` is ``hardware``, ``pipeline`` or ``placement``, or the name of a view that the
    specification defines, or of a pipeline. `name`
    narrows it: to what lies in a container (hardware), to one pipeline, or to one client, vector
    or pool (placement). `overlay` adds a line and a colour to what has a mark at its path.
    `fold` draws alike siblings once. Raises `SpecError`: HMS607 for an unknown view, HMS201 for
    an unknown name, HMS607 if there is nothing to draw.
    """
    title = ""
    if view in system.views:
        chosen = system.views[view]
        system = narrow(system, chosen.show) if chosen.show else system
        view, fold, title = chosen.of, fold and chosen.fold, chosen.title
    if view in system.pipelines and view not in VIEWS:
        view, name = "pipeline", view if name is None else name
    if view not in VIEWS:
        _among("view", view, (*VIEWS, *system.views, *system.pipelines))
    marks = Overlay(dict(overlay or {}))
    scene = _SCENES[view](system, name, marks, fold)
    if not scene.nodes:
        _refuse(f"nothing to draw: the system has no {_EMPTY[view]}")
    scene = replace(scene, title=title) if title else scene
    return Drawing(dot.to_dot(scene), graph_of(scene), scene.title)


def _hardware(system: CompiledSystem, name: str | None, marks: Overlay, fold: bool) -> Scene:
    if name is not None:
        _known("container", name, system.hardware.graph.get("containers", {}))
    return hardware.scene(system.hardware, marks, folded=fold, within=name)


def _pipeline(system: CompiledSystem, name: str | None, marks: Overlay, fold: bool) -> Scene:
    if name is not None:
        _known("pipeline", name, system.pipelines)
    if not system.pipelines:
        return Scene("pipeline", "", ())
    chosen = system.pipelines if name is None else {name: system.pipelines[name]}
    return pipeline.scene(chosen, placement.hues(system.placement), marks)


def _placement(system: CompiledSystem, name: str | None, marks: Overlay, fold: bool) -> Scene:
    if name is not None:
        data = (data for _, data in system.placement.nodes(data=True))
        clients: list[Client] = [entry["client"] for entry in data if "client" in entry]
        names = {client.path for client in clients} | {client.vector for client in clients}
        _known("client or pool", name, [*names, *system.placement.graph.get("pools", {})])
    return placement.scene(system, marks, folded=fold, only=name)


_SCENES = {"hardware": _hardware, "pipeline": _pipeline, "placement": _placement}
_EMPTY = {"hardware": "parts", "pipeline": "pipelines", "placement": "clients"}


def _json(graph: nx.MultiDiGraph[str]) -> bytes:
    import networkx as nx

    data = nx.node_link_data(graph, edges="edges")
    return (json.dumps(data, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def _graphml(graph: nx.MultiDiGraph[str]) -> bytes:
    import networkx as nx

    flat: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    flat.graph.update({name: _scalar(value) for name, value in graph.graph.items()})
    for node, data in graph.nodes(data=True):
        flat.add_node(node, **{name: _scalar(value) for name, value in data.items()})
    for tail, head, data in graph.edges(data=True):
        flat.add_edge(tail, head, **{name: _scalar(value) for name, value in data.items()})
    return ("\n".join(nx.generate_graphml(flat)) + "\n").encode()


def _scalar(value: object) -> str | int | float:
    """What GraphML can hold; lists as JSON text."""
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _among(what: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        choices = ", ".join(f"`{choice}`" for choice in allowed)
        notes = (*suggestion(given, allowed), f"one of {choices}")
        _refuse(f"unknown {what} `{given}`", notes)


def _known(what: str, given: str, names: Mapping[str, object] | list[str]) -> None:
    if given not in names:
        raise SpecError([error("HMS201", f"no {what} `{given}`", notes=suggestion(given, names))])


def _refuse(message: str, notes: tuple[str, ...] = ()) -> NoReturn:
    raise SpecError([error("HMS607", message, notes=notes)])

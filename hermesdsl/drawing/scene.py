"""A picture as data: boxes within boxes, nodes, wires. Built by the views, printed by `dot`.

Knows neither hardware nor pipelines, and nothing of DOT: only what is to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Node:
    """A shape with lines of text. `kind` picks its look; `members` are the paths it stands for."""

    id: str
    lines: tuple[str, ...]
    kind: str
    members: tuple[str, ...] = ()
    tooltip: str = ""
    #: Index into the palette of clients, None for the colours of the kind.
    hue: int | None = None
    #: Fill that an overlay asks for, ``#rrggbb``.
    fill: str | None = None


@dataclass(frozen=True)
class Box:
    """A frame with a title around nodes and further boxes."""

    id: str
    title: str
    kind: str
    items: tuple[Node | Box, ...]
    members: tuple[str, ...] = ()
    tooltip: str = ""
    fill: str | None = None


@dataclass(frozen=True)
class Wire:
    """A line between two nodes; `tail` is drawn above (or left of) `head`.

    `count` alike wires are drawn as one; `bandwidth` (byte/s of one of them) sets the width.
    `rows`: how many rows (or columns) further the head stands at least; 0 lets them share one.
    `heat`: its place between cold (0) and hot (1), None without results.
    """

    tail: str
    head: str
    lines: tuple[str, ...] = ()
    count: int = 1
    bandwidth: float = 0.0
    arrow: Literal["none", "forward", "back"] = "none"
    hue: int | None = None
    rows: int = 1
    tooltip: str = ""
    heat: float | None = None


@dataclass(frozen=True)
class Scene:
    """A whole picture. `direction` is the reading direction: top to bottom or left to right.

    `framed`: an unseen box around everything, without which Graphviz keeps no order of arms.
    """

    view: str
    title: str
    items: tuple[Node | Box, ...]
    wires: tuple[Wire, ...] = ()
    direction: Literal["TB", "LR"] = "TB"
    framed: bool = False

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, in drawing order."""
        return tuple(item for item, _ in walk(self.items) if isinstance(item, Node))


def walk(items: tuple[Node | Box, ...], parent: str = "") -> Iterator[tuple[Node | Box, str]]:
    """Every node and box, outermost first, each with the id of the box around it."""
    for item in items:
        yield item, parent
        if isinstance(item, Box):
            yield from walk(item.items, item.id)


def graph_of(scene: Scene) -> nx.MultiDiGraph[str]:
    """The picture as a NetworkX graph with plain attributes (texts, numbers, lists).

    Nodes: label, kind, box (id or ""), members, tooltip. Edges: label, count, bandwidth (byte/s),
    arrow. Graph: view, title, boxes (id, label, kind, parent, members, tooltip of each).
    """
    import networkx as nx

    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(view=scene.view, title=scene.title)
    boxes: list[dict[str, object]] = []
    for item, parent in walk(scene.items):
        shared = {"kind": item.kind, "members": list(item.members), "tooltip": item.tooltip}
        if isinstance(item, Box):
            boxes.append({"id": item.id, "label": item.title, "parent": parent, **shared})
        else:
            graph.add_node(item.id, label="\n".join(item.lines), box=parent, **shared)
    graph.graph["boxes"] = boxes
    for wire in scene.wires:
        graph.add_edge(
            wire.tail,
            wire.head,
            label="\n".join(wire.lines),
            count=wire.count,
            bandwidth=wire.bandwidth,
            arrow=wire.arrow,
        )
    return graph

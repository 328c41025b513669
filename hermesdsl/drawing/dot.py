"""Scene → DOT text. The one place where text is escaped for Graphviz.

Labels are plain multi-line ones: the embedded renderer prints the name of a node instead of an
HTML-like label, and records need another level of escaping for nothing gained.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hermesdsl.drawing import style
from hermesdsl.drawing.scene import Box, Node, Scene, Wire, walk

#: Characters no XML may hold, and the two halves of a torn surrogate pair.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text` as it may stand in DOT, SVG, JSON and GraphML: forbidden characters replaced."""
    return _FORBIDDEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


class Flush(str):
    """A text whose lines start at the left; others are centred."""

    __slots__ = ()


def quote(text: str) -> str:
    """`text` as a DOT string that shows exactly `text`.

    Graphviz reads backslash escapes *and* HTML entities in labels and tooltips, so both are
    escaped; line ends become ``\\n``, or ``\\l`` if there are several lines, flush left.
    """
    flush = isinstance(text, Flush) and "\n" in text
    end = "\\l" if flush else "\\n"
    text = clean(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", end) + (end if flush else "") + '"'


def attributes(**values: str | float | bool) -> str:
    """``[name=value, …]`` with numbers bare and texts quoted; empty texts are left out."""
    parts = []
    for name, value in values.items():
        if isinstance(value, str):
            if value:
                parts.append(f"{name}={quote(value)}")
        elif isinstance(value, bool):
            parts.append(f"{name}={str(value).lower()}")
        else:
            parts.append(f"{name}={value:g}")
    return f"[{', '.join(parts)}]"


def to_dot(scene: Scene) -> str:
    """The DOT source of a scene; the same scene gives the same text.

    The text of a wire is a node of its own on the wire, inside the innermost box around both ends:
    so the layout keeps it clear of every other text and of the frames of boxes. Titles of boxes
    stand where wires do not enter: above from left to right, below from top to bottom.
    """
    across = scene.direction == "LR"
    items = _flipped(scene.items) if across else scene.items
    wires = scene.wires[::-1] if across else scene.wires
    around = {item.id: parent for item, parent in walk(items)}
    texts: dict[str, list[str]] = {}
    lines = []
    for at, wire in enumerate(wires):
        if wire.lines and wire.rows and wire.tail != wire.head:
            text = quote(f"wire {at}")
            texts.setdefault(_common(wire, around), []).append(_text(text, wire))
            lines += _halves(text, wire, across)
        else:
            level = not wire.rows and wire.tail != wire.head
            if level and around[wire.tail] == around[wire.head]:
                row = f"{{ rank=same {quote(wire.tail)} {quote(wire.head)} }}"
                texts.setdefault(around[wire.tail], []).append(row)
            lines.append(_wire(wire, across))
    body = [line for item in items for line in _item(item, 0, texts, "t" if across else "b")]
    body += [f"  {text}" for text in texts.get("", ())]
    if scene.framed:
        body = [
            '  subgraph "cluster" {',
            '  graph [label="", peripheries=0, margin=0]',
            *body,
            "  }",
        ]
    lines = [f"  {line}" for line in lines]
    return "\n".join([f"digraph {quote(scene.view)} {{", *_defaults(scene), *body, *lines, "}", ""])


def _defaults(scene: Scene) -> list[str]:
    across = scene.direction == "LR"
    graph = attributes(
        label=scene.title + "\n ",
        labelloc="t",
        labeljust="l",
        fontname=style.FONT,
        fontsize=16,
        fontcolor=style.INK,
        bgcolor=style.GROUND,
        rankdir=scene.direction,
        nodesep=0.25,
        ranksep=0.3 if across else 0.22,
        pad=0.25,
        tooltip=scene.title,
    )
    node = attributes(fontname=style.FONT, penwidth=1.2, height=0.4, width=0.5)
    edge = attributes(
        fontname=style.FONT, fontsize=9, fontcolor=style.MUTED, arrowsize=0.7, color=style.WIRE
    )
    return [f"  graph {graph}", f"  node {node}", f"  edge {edge}"]


def _flipped(items: tuple[Node | Box, ...]) -> tuple[Node | Box, ...]:
    """Last first, at every level: from left to right, Graphviz stacks a box from the bottom up."""
    return tuple(
        replace(item, items=_flipped(item.items)) if isinstance(item, Box) else item
        for item in reversed(items)
    )


def _common(wire: Wire, around: dict[str, str]) -> str:
    """Id of the innermost box around both ends, "" if there is none."""
    boxes = []
    at = around[wire.tail]
    while at:
        boxes.append(at)
        at = around[at]
    at = around[wire.head]
    while at and at not in boxes:
        at = around[at]
    return at


def _item(item: Node | Box, depth: int, texts: dict[str, list[str]], title_at: str) -> list[str]:
    pad = "  " * (depth + 1)
    if isinstance(item, Node):
        return [f"{pad}{_node(item)}"]
    fill, line = style.box_colours(depth)
    frame = attributes(
        label=Flush(item.title),
        labeljust="l",
        labelloc=title_at,
        fontname=style.FONT,
        fontsize=12,
        fontcolor=style.MUTED,
        style="filled,rounded",
        fillcolor=item.fill or fill,
        color=line,
        penwidth=1.1,
        peripheries=1,
        margin=12,
        tooltip=item.tooltip or item.title,
    )
    lines = [f"{pad}subgraph {quote('cluster ' + item.id)} {{", f"{pad}  graph {frame}"]
    for inner in item.items:
        lines += _item(inner, depth + 1, texts, title_at)
    lines += [f"{pad}  {text}" for text in texts.get(item.id, ())]
    return [*lines, f"{pad}}}"]


def _node(node: Node) -> str:
    look = style.look(node.kind, node.hue, node.fill)
    values: dict[str, str | float | bool] = {
        "label": "\n".join(node.lines),
        "shape": look.shape,
        "style": "filled" + (f",{look.style}" if look.style else ""),
        "fillcolor": look.fill,
        "color": look.line,
        "fontcolor": look.ink,
        "fontsize": look.size,
        "margin": look.margin,
        "tooltip": node.tooltip or node.id,
    }
    if look.shape == "point":
        values |= {"width": 0.07, "height": 0.07}
    elif look.shape == "circle":
        values |= {"width": 0.55, "fixedsize": True}
    return f"{quote(node.id)} {attributes(**values)}"


def _text(name: str, wire: Wire) -> str:
    look = attributes(
        label="\n".join(wire.lines),
        shape="plaintext",
        margin="0.04,0.03",
        fontsize=9,
        fontcolor=style.MUTED,
        tooltip=wire.tooltip or " ",
        width=0.1,
        height=0.1,
    )
    return f"{name} {look}"


def _halves(text: str, wire: Wire, across: bool) -> list[str]:
    """The wire in two parts: from its tail to its text, and on to its head."""
    ends = (("back", quote(wire.tail), text), ("forward", text, quote(wire.head)))
    lines = []
    for way, tail, head in ends:
        values = _stroke(wire, across) | {"dir": way if wire.arrow == way else "none"}
        lines.append(f"{tail} -> {head} {attributes(**values)}")
    return lines


def _wire(wire: Wire, across: bool) -> str:
    values = _stroke(wire, across) | {"dir": wire.arrow}
    values["label"] = "\n".join(f" {line} " for line in wire.lines)
    values["labeltooltip"] = wire.tooltip
    if wire.rows != 1:
        values |= {"minlen": wire.rows} if wire.rows else {"constraint": False}
    return f"{quote(wire.tail)} -> {quote(wire.head)} {attributes(**values)}"


def _stroke(wire: Wire, across: bool) -> dict[str, str | float | bool]:
    values: dict[str, str | float | bool] = {
        "penwidth": style.pen_width(wire.bandwidth),
        "tooltip": wire.tooltip,
    }
    if wire.hue is not None:
        values["color"] = style.wire_colour(wire.hue)
    if wire.heat is not None:
        values["color"] = style.wire_heat(wire.heat)
    if across:
        values |= {"tailport": "e", "headport": "w"}
    return values

"""The hardware view: containers as boxes, parts as shapes, wires with their bandwidth.

A memory that only its own part can reach (the HBM of a chip) is written into that part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat

from hermesdsl.drawing import labels
from hermesdsl.drawing.fold import Folded, Group, Tie, Tree, fold
from hermesdsl.drawing.items import Items
from hermesdsl.drawing.overlay import Overlay
from hermesdsl.drawing.scene import Node, Scene, Wire
from hermesdsl.graph.types import Container, HardwareGraph, Link, Part

#: Unfolded wires beyond which their texts move to the tooltips.
_LABELLED = 24
#: Rows of a box from top to bottom: the network above, memories at the bottom.
_ROWS = ("nic", "switch", "cpu", "chip", "memory")


def scene(graph: HardwareGraph, overlay: Overlay, *, folded: bool, within: str | None) -> Scene:
    """The picture of a hardware graph, or of what lies inside the container `within`."""
    parts = {path: data["part"] for path, data in graph.nodes(data=True)}
    boxes: dict[str, Container] = dict(graph.graph.get("containers", {}))
    if within is not None:
        parts = {path: part for path, part in parts.items() if _lies_in(path, within)}
        boxes = {path: box for path, box in boxes.items() if _lies_in(path, within)}
    cables = list(_cables(graph, parts))
    held = _held(parts, cables, overlay)
    inside = {memory.path for memories in held.values() for memory in memories}
    cables = [cable for cable in cables if not inside & {cable.tail, cable.head}]
    values: dict[str, Hashable] = {path: container_value(box) for path, box in boxes.items()}
    for path, part in parts.items():
        if path not in inside:
            memories = tuple((m.path[len(path) :], part_value(m)) for m in held.get(path, ()))
            values[path] = (part_value(part), memories)
    tree, groups = fold(values, [cable.tie for cable in cables], whole=not folded)
    reaching = frozenset(groups.shown[end] for cable in cables for end in _outer_ends(tree, cable))
    drawing = _Drawing(parts, boxes, held, overlay, tree, groups, reaching)
    items = tuple(item for group in groups.roots for item in drawing.items(group))
    wires = drawing.wires(cables)
    if not folded and len(wires) > _LABELLED:
        wires = tuple(replace(w, lines=(), tooltip="\n".join((*w.lines, w.tooltip))) for w in wires)
    return Scene("hardware", _title(parts, boxes, within), items, wires)


def part_value(part: Part) -> Hashable:
    """What two parts must have in common to be drawn as one."""
    return (
        part.kind,
        part.type_name,
        part.labels,
        tuple(sorted(part.peak.items())),
        (part.bandwidth, part.capacity, part.latency, part.power, part.cost),
        (part.ports, part.cores, part.sms),
    )


def container_value(box: Container) -> Hashable:
    """What two containers must have in common to be drawn as one."""
    return box.kind, box.type_name, box.labels, box.power_limit, box.cost


def part_lines(part: Part, held: tuple[Part, ...] = ()) -> tuple[str, ...]:
    """Type and the few figures that matter for its kind; then the memories inside it."""
    said = dict(part.labels)
    figures: list[str] = []
    if part.kind in {"chip", "cpu"}:
        figures += [f"{part.cores} cores"] if part.cores else _peak(part, said)
    if part.kind == "memory" and part.capacity:
        figures.append(said.get("capacity") or labels.size(part.capacity))
    if part.kind in {"memory", "switch", "nic"} and part.bandwidth:
        figures.append(said.get("bandwidth") or labels.quantity(part.bandwidth, "B/s"))
    if part.kind == "switch" and part.ports:
        figures.append(f"{part.ports} ports")
    lines = [part.type_name] if part.type_name.lower() != part.kind else []
    for memory in held:
        name = memory.path.rpartition(".")[2]
        lines.extend(labels.wrap([name, *part_lines(memory)], 30))
    return (*lines[:1], *labels.wrap(figures, 30), *lines[1:])


def box_title(name: str, box: Container) -> str:
    """``node ×4 · DGX_H100 · limit 10.2 kW``."""
    said = dict(box.labels)
    limit = said.get("power_limit")
    if limit is None and box.power_limit is not None:
        limit = labels.quantity(box.power_limit, "W")
    words = [name, box.type_name, f"limit {limit}" if limit else ""]
    return " · ".join(word for word in words if word)


def _peak(part: Part, said: Mapping[str, str]) -> list[str]:
    for dtype in ("bf16", "fp16", *sorted(part.peak)):
        if dtype in part.peak:
            text = (
                said.get(f"peak.{dtype}")
                or said.get(dtype)
                or labels.quantity(part.peak[dtype], "FLOPS")
            )
            return [f"{text} {dtype}"]
    return []


@dataclass(frozen=True)
class _Cable:
    """One physical wire; `both`: traffic runs either way."""

    tail: str
    head: str
    link: Link
    lanes: int
    both: bool

    @property
    def tie(self) -> Tie:
        return Tie(self.tail, self.head, (self.link, self.lanes, self.both), both=self.both)


def _cables(graph: HardwareGraph, parts: Mapping[str, Part]) -> Iterator[_Cable]:
    """The wires between the parts; two opposite edges of the same make are one wire."""
    edges = Counter(
        (tail, head, data["link"], data.get("lanes", 1))
        for tail, head, data in graph.edges(data=True)
        if tail in parts and head in parts
    )
    for (tail, head, link, lanes), count in edges.items():
        pairs = min(count, edges.get((head, tail, link, lanes), 0)) if tail != head else 0
        if tail < head:
            yield from repeat(_Cable(tail, head, link, lanes, both=True), pairs)
        yield from repeat(_Cable(tail, head, link, lanes, both=False), count - pairs)


def _held(
    parts: Mapping[str, Part], cables: Iterable[_Cable], overlay: Overlay
) -> Mapping[str, tuple[Part, ...]]:
    """Part → the unmarked memories inside it that no wire joins to anything else."""
    tree = Tree.of(parts)
    far: dict[str, set[str]] = {path: set() for path in parts}
    for cable in cables:
        far[cable.tail].add(cable.head)
        far[cable.head].add(cable.tail)
    held: dict[str, tuple[Part, ...]] = {}
    for path, part in parts.items():
        owner = tree.parent[path]
        alone = part.kind == "memory" and owner and far[path] <= {owner}
        if alone and path not in overlay.marks:
            held[owner] = (*held.get(owner, ()), part)
    return held


def _outer_ends(tree: Tree, cable: _Cable) -> tuple[str, ...]:
    """The end in the shallower box, if one is."""
    depths = len(tree.chain(cable.tail)), len(tree.chain(cable.head))
    if depths[0] == depths[1]:
        return ()
    return (cable.tail,) if depths[0] < depths[1] else (cable.head,)


def _lies_in(path: str, box: str) -> bool:
    return path == box or path.startswith(f"{box}.")


def _title(parts: Mapping[str, Part], boxes: Mapping[str, Container], within: str | None) -> str:
    chips = Counter(part.type_name for part in parts.values() if part.kind == "chip")
    nodes = Counter(box.type_name for box in boxes.values() if box.kind == "node")
    words = [f"{count} × {name}" for name, count in (*nodes.items(), *chips.items())]
    return " · ".join([f"Hardware of {within}" if within else "Hardware", *words[:6]])


@dataclass(frozen=True)
class _Drawing(Items):
    """What the boxes, shapes and lines are made from."""

    parts: Mapping[str, Part]
    boxes: Mapping[str, Container]
    held: Mapping[str, tuple[Part, ...]]
    overlay: Overlay
    tree: Tree
    folded: Folded
    #: Parts with a wire to something in a deeper box.
    reaching: frozenset[str]

    def _heading(self, name: str, box: Container) -> str:
        """See `Items`."""
        return box_title(name, box)

    def _shape(
        self,
        group: Group,
        name: str,
        members: tuple[str, ...],
        extra: tuple[str, ...],
        fill: str | None,
    ) -> Node:
        """See `Items`."""
        part = self.parts[group.first]
        held = self.held.get(group.first, ())
        lines = (name, *part_lines(part, held), *extra)
        pairs = [
            *part.labels,
            *((f"{m.path.rpartition('.')[2]}.{k}", v) for m in held for k, v in m.labels),
        ]
        tip = labels.tooltip(members, part.doc, pairs)
        return Node(group.id, lines, part.kind, members, tip, fill=fill)

    def wires(self, cables: Iterable[_Cable]) -> tuple[Wire, ...]:
        """One line per pair of groups, medium and lanes; counted within their common box."""
        bundles: dict[tuple[str, str, Hashable, str], list[_Cable]] = {}
        for cable in cables:
            tail, head = (self.folded.shown[end] for end in (cable.tail, cable.head))
            turned = not cable.both or self._row(tail) <= self._row(head)
            ends = (tail, head) if turned else (head, tail)
            scope = self._scope(cable)
            bundles.setdefault((*ends, cable.tie.key, scope), []).append(cable)
        wires = [
            self._wire(tail, head, scope, bundle)
            for (tail, head, _, scope), bundle in bundles.items()
        ]
        flat = (wire for wire in wires if not wire.rows and wire.tail != wire.head)
        level = Counter(end for wire in flat for end in (wire.tail, wire.head))
        return tuple(
            replace(wire, rows=1) if max(level[wire.tail], level[wire.head]) > 1 else wire
            for wire in wires
        )

    def _wire(self, tail: str, head: str, scope: str, bundle: list[_Cable]) -> Wire:
        cable = bundle[0]
        copies = len(self.folded.members[scope]) if scope else 1
        count = max(1, len(bundle) // copies)
        made_of = {self.parts[tail].type_name, self.parts[head].type_name}
        name = "" if cable.link.name in made_of else cable.link.name
        lane = cable.link.label or labels.quantity(cable.link.bandwidth, "B/s")
        speed = f"{cable.lanes} × {lane}" if cable.lanes > 1 else lane
        times = f"×{count}" if count > 1 else ""
        upwards = self._row(tail) > self._row(head)
        above, below = (head, tail) if upwards else (tail, head)
        extra, heat = self.overlay.along((each.tail, each.head) for each in bundle)
        return Wire(
            self.folded.groups[above].id,
            self.folded.groups[below].id,
            lines=(*labels.wrap([name, speed, times], 28), *extra),
            count=count,
            bandwidth=cable.link.bandwidth * cable.lanes,
            arrow="none" if cable.both else "back" if upwards else "forward",
            rows=int(self._row(tail) != self._row(head)),
            tooltip=labels.tooltip([f"{cable.tail} – {cable.head}"], cable.link.doc),
            heat=heat,
        )

    def _scope(self, cable: _Cable) -> str:
        """The drawn container that both ends of a wire lie in; "" if there is none."""
        scope = ""
        for a, b in zip(self.tree.chain(cable.tail), self.tree.chain(cable.head), strict=False):
            if a != b or a not in self.boxes:
                break
            scope = a
        return self.folded.shown[scope] if scope else ""

    def _row(self, path: str) -> tuple[int, int, bool]:
        """Where a part stands: outer boxes above inner ones, then by kind, a spine above leaves."""
        kind = self.parts[path].kind
        row = _ROWS.index(kind) if kind in _ROWS else 1
        return len(self.tree.chain(path)), row, path in self.reaching

"""The placement view: which client runs on which devices, and which stages it serves.

Clients on the left, in the colours their stages have in the pipeline view; devices on the right,
in their containers. Chips without a client are shown idle.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hermesdsl.drawing import labels
from hermesdsl.drawing.fold import Folded, Group, Tie, Tree, fold
from hermesdsl.drawing.hardware import container_value, part_value
from hermesdsl.drawing.items import Items
from hermesdsl.drawing.overlay import Overlay
from hermesdsl.drawing.pipeline import pools_of, stages_of
from hermesdsl.drawing.scene import Box, Node, Scene, Wire
from hermesdsl.graph.types import Client, CompiledSystem, Container, Part, PlacementGraph, Pool

#: Settings worth a line, in this order, where the client has them.
_SHOWN = ("batching", "max_batch", "workers", "max_wait", "latency", "capacity", "scope")


def scene(system: CompiledSystem, overlay: Overlay, *, folded: bool, only: str | None) -> Scene:
    """The picture of all clients, or of one client, vector or pool named `only`."""
    graph = system.placement
    clients = _clients(graph, only)
    ties = list(_ties(graph, clients))
    parts: dict[str, Part] = {tie.head: graph.nodes[tie.head]["part"] for tie in ties}
    hardware = {path: data["part"] for path, data in system.hardware.nodes(data=True)}
    idle = _idle(hardware, graph, parts) if only is None else {}
    boxes: dict[str, Container] = dict(system.hardware.graph.get("containers", {}))
    values: dict[str, Hashable] = {path: container_value(box) for path, box in boxes.items()}
    values |= {path: client_value(client) for path, client in clients.items()}
    values |= {path: part_value(part) for path, part in (parts | idle).items()}
    values = {path: values[path] for path in _declared(values, hardware)}
    tree, groups = fold(values, ties, whole=not folded)
    pools: Mapping[str, Pool] = graph.graph.get("pools", {})
    drawing = _Drawing(
        clients, parts, idle, boxes, pools, _served(system, clients), hues(graph), overlay, tree,
        groups,
    )  # fmt: skip
    items = drawing.pooled(groups.roots)
    title = (
        f"Placement of {only}" if only else f"Placement · {labels.count(len(clients), 'client')}"
    )
    return Scene("placement", title, items, drawing.wires(ties), direction="LR")


def hues(graph: PlacementGraph) -> Mapping[str, int]:
    """Palette index of every client, vector and pool; the clients of a vector share theirs."""
    found: dict[str, int] = {}
    for path, data in graph.nodes(data=True):
        client: Client | None = data.get("client")
        if client is not None:
            hue = found.setdefault(client.vector or path, len(set(found.values())))
            found[path] = hue
    pools: Mapping[str, Pool] = graph.graph.get("pools", {})
    for name, pool in pools.items():
        if pool.members and pool.members[0] in found:
            found.setdefault(name, found[pool.members[0]])
    return found


def client_value(client: Client) -> Hashable:
    """What two clients must have in common to be drawn as one (their devices apart)."""
    model = client.model.name if client.model else ""
    group = client.group
    widths = (group.tp, group.pp, group.dp, group.ep) if group else ()
    options = tuple(sorted((name, repr(value)) for name, value in client.options.items()))
    return client.type_name, model, widths, client.labels, options


def client_lines(client: Client) -> tuple[str, ...]:
    """Type and model; parallelism; the settings worth reading."""
    said = dict(client.labels)
    group = client.group
    widths = []
    if group is not None and client.model is not None:
        each = (("tp", group.tp), ("pp", group.pp), ("dp", group.dp), ("ep", group.ep))
        widths = [f"{name} {width}" for name, width in each if width > 1 or name in said]
    settings = [_setting(name, said, client) for name in _SHOWN]
    model = client.model.name if client.model else ""
    return (*labels.wrap([client.type_name, model], 34), *labels.wrap([*widths, *settings], 34))


def _setting(name: str, said: Mapping[str, str], client: Client) -> str:
    text = said.get(name)
    if text is None:
        value = client.options.get(name)
        if value is None or name not in {"batching", "workers", "scope"}:
            return ""
        text = labels.setting(value)
    if text.startswith("0 "):
        return ""
    return text if name == "batching" else f"{name} {text}"


def _clients(graph: PlacementGraph, only: str | None) -> dict[str, Client]:
    found: dict[str, Client] = {}
    pools: Mapping[str, Pool] = graph.graph.get("pools", {})
    wanted: set[str | None] = {only, *(pools[only].members if only and only in pools else ())}
    for path, data in graph.nodes(data=True):
        client: Client | None = data.get("client")
        if client is not None and (only is None or path in wanted or client.vector == only):
            found[path] = client
    return found


def _ties(graph: PlacementGraph, clients: Iterable[str]) -> Iterator[Tie]:
    """Each client with its devices; with its memories only if it has no device (a KV tier)."""
    for path in clients:
        roles = {head: data.get("role") for _, head, data in graph.out_edges(path, data=True)}
        shown = "device" if "device" in roles.values() else "memory"
        for head, role in roles.items():
            if role == shown:
                yield Tie(path, head, role)


def _idle(
    hardware: Mapping[str, Part], graph: PlacementGraph, used: Mapping[str, Part]
) -> dict[str, Part]:
    return {
        path: part
        for path, part in hardware.items()
        if part.kind == "chip" and path not in used and not graph.has_node(path)
    }


def _declared(values: Iterable[str], hardware: Mapping[str, Part]) -> list[str]:
    """Paths in an order that keeps idle chips among their siblings."""
    order = {path: at for at, path in enumerate(hardware)}
    return sorted(values, key=lambda path: order.get(path, -1))


def _served(system: CompiledSystem, clients: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Pool → names of the stages that run on it."""
    found: dict[str, dict[str, None]] = {}
    for pipeline in system.pipelines.values():
        for stage in stages_of(pipeline):
            for pool in pools_of(stage):
                found.setdefault(pool, {})[stage.path.rpartition(".")[2]] = None
    return {pool: tuple(names) for pool, names in found.items()}


@dataclass(frozen=True)
class _Drawing(Items):
    """What the boxes, shapes and arrows are made from."""

    clients: Mapping[str, Client]
    parts: Mapping[str, Part]
    idle: Mapping[str, Part]
    boxes: Mapping[str, Container]
    pools: Mapping[str, Pool]
    served: Mapping[str, tuple[str, ...]]
    hues: Mapping[str, int]
    overlay: Overlay
    tree: Tree
    folded: Folded

    def pooled(self, roots: Iterable[Group]) -> tuple[Node | Box, ...]:
        """Everything at the top; the members of a declared pool share a box."""
        frames: dict[str, list[Node | Box]] = {}
        items: list[Node | Box | str] = []
        for group in roots:
            pool = self._pool(group.first)
            drawn = list(self.items(group))
            if pool is None:
                items += drawn
            else:
                if pool not in frames:
                    items.append(pool)
                frames.setdefault(pool, []).extend(drawn)
        return tuple(
            self._frame(item, tuple(frames[item])) if isinstance(item, str) else item
            for item in items
        )

    def _shape(
        self,
        group: Group,
        name: str,
        members: tuple[str, ...],
        extra: tuple[str, ...],
        fill: str | None,
    ) -> Node:
        """See `Items`."""
        draw = self._client if group.first in self.clients else self._device
        return draw(group, name, members, extra, fill)

    def wires(self, ties: Iterable[Tie]) -> tuple[Wire, ...]:
        """One arrow from each group of clients to each group of its devices."""
        bundles: dict[tuple[str, str], list[Tie]] = {}
        for tie in ties:
            ends = (self.folded.shown[tie.tail], self.folded.shown[tie.head])
            bundles.setdefault(ends, []).append(tie)
        wires = [self._wire(*ends, bundle) for ends, bundle in bundles.items()]
        rows = 2 if any(wire.lines for wire in wires) else 1
        return tuple(wire if wire.lines else replace(wire, rows=rows) for wire in wires)

    def _wire(self, tail: str, head: str, bundle: list[Tie]) -> Wire:
        sources = len({tie.tail for tie in bundle})
        every = len(self.folded.members[tail])
        each = len(bundle) / sources
        words = [f"{sources} of {every}"] if sources < every else []
        if each > 1:
            text = labels.number(each)
            words.append(f"{text} each" if every > 1 else f"×{text}")
        return Wire(
            self.folded.groups[tail].id,
            self.folded.groups[head].id,
            (": ".join(words),) if words else (),
            count=len(bundle),
            arrow="forward",
            hue=self.hues.get(tail),
            tooltip=f"{self.folded.groups[tail].id} on {self.folded.groups[head].id}",
        )

    def _client(
        self,
        group: Group,
        name: str,
        members: tuple[str, ...],
        extra: tuple[str, ...],
        fill: str | None,
    ) -> Node:
        client = self.clients[group.first]
        named = [pool for pool in (client.vector, client.path) if pool in self.pools]
        stages = [stage for pool in named for stage in self.served.get(pool, ())]
        route = f"route {labels.setting(self.pools[named[0]].route)}" if named else ""
        lines = (
            name,
            *client_lines(client),
            *([route] if route and len(self.pools[named[0]].members) > 1 else []),
            *labels.wrap([f"serves {', '.join(stages)}" if stages else ""], 34),
            *extra,
        )
        tip = labels.tooltip(members, client.doc, client.labels)
        hue = self.hues.get(group.first)
        return Node(group.id, lines, "client", members, tip, hue, fill)

    def _device(
        self,
        group: Group,
        name: str,
        members: tuple[str, ...],
        extra: tuple[str, ...],
        fill: str | None,
    ) -> Node:
        idle = group.first in self.idle
        part = self.idle[group.first] if idle else self.parts[group.first]
        what = part.type_name
        if part.kind == "memory":
            what = dict(part.labels).get("capacity") or labels.size(part.capacity)
        lines = (" · ".join([name, what, *(["idle"] if idle else [])]), *extra)
        tip = labels.tooltip(members, part.doc, part.labels)
        kind = "idle" if idle else part.kind
        return Node(group.id, lines, kind, members, tip, fill=fill)

    def _pool(self, path: str) -> str | None:
        """The declared pool (not a mere vector or client) that a client belongs to."""
        client = self.clients.get(path)
        if client is None:
            return None
        for name, pool in self.pools.items():
            if path in pool.members and name not in {client.vector, client.path}:
                return name
        return None

    def _frame(self, name: str, items: tuple[Node | Box, ...]) -> Box:
        pool = self.pools[name]
        words = [f"pool {name}", f"route {labels.setting(pool.route)}"]
        stages = self.served.get(name, ())
        words += [f"serves {', '.join(stages)}"] if stages else []
        title = "\n".join(labels.wrap(words, 44))
        return Box(f"pool {name}", title, "pool", items, pool.members)

"""Parts and wires become the hardware graph, and what a topology may not do is found.

Knows parts, wires and containers. Must not know expressions, syntax, clients, time or cost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, Label, Severity, error
from hermesdsl.graph.patterns import MAX_WIRES
from hermesdsl.graph.types import Container, HardwareGraph, Link, Part
from hermesdsl.source import Span

#: Most parts of one topology (language.md, budgets).
MAX_PARTS = 1_000_000


@dataclass(frozen=True)
class Wire:
    """`lanes` of `link` from `a` to `b`; `both`: and the same back. Ends are paths of parts."""

    a: str
    b: str
    link: Link
    lanes: int = 1
    both: bool = True
    span: Span | None = None


def build(
    parts: Sequence[Part],
    wires: Sequence[Wire],
    containers: Sequence[Container],
    joined: Sequence[tuple[str, str]] = (),
    *,
    spans: Mapping[str, Span] | None = None,
) -> tuple[HardwareGraph, list[Diagnostic]]:
    """The hardware graph of `graph.types`, and every fault of the topology.

    `joined` are (part, memory inside it) pairs: two edges at the memory's own bandwidth, latency
    0, no lanes of either's `ports`. `spans` say where parts and containers were written. The
    graph also carries ``owner`` (memory → part it is inside) and ``power`` (container → sum of
    the watts of all parts below it). Faulty wires are left out of the graph.
    """
    graph: HardwareGraph = nx.MultiDiGraph(
        containers={container.path: container for container in containers},
        owner={memory: part for part, memory in joined},
        power={},
    )
    budget = _over_budget(len(parts), len(wires) + len(joined))
    if budget is not None:
        return graph, [budget]
    by_path = {part.path: part for part in parts}
    for path, part in by_path.items():
        graph.add_node(path, part=part)
    graph.graph["power"] = _power(parts, graph.graph["containers"])
    sound, found = _add_wires(graph, by_path, wires)
    _join_memories(graph, by_path, joined)
    found += _duplicate_paths(parts, by_path, spans or {})
    found += _parallel_statements(sound)
    found += _ports_exceeded(by_path, sound)
    found += _power_exceeded(graph.graph["power"], containers, spans or {})
    return graph, found


def ancestors(path: str) -> Iterator[str]:
    """The prefixes of a path, innermost first: ``r.node[0].gpu[1]`` → ``r.node[0]``, ``r``.

    >>> list(ancestors("r.node[0].gpu[1]"))
    ['r.node[0]', 'r']
    """
    at = path.rfind(".")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rfind(".")


def _over_budget(parts: int, wires: int) -> Diagnostic | None:
    for count, limit, what in ((parts, MAX_PARTS, "parts"), (wires, MAX_WIRES, "wires")):
        if count > limit:
            return error("HMS410", f"the topology has {count:,} {what}, more than {limit:,}")
    return None


def _duplicate_paths(
    parts: Sequence[Part], by_path: Mapping[str, Part], spans: Mapping[str, Span]
) -> list[Diagnostic]:
    if len(parts) == len(by_path):
        return []
    counts = Counter(part.path for part in parts)
    return [
        error("HMS202", f"{path} is declared {count} times", spans.get(path))
        for path, count in counts.items()
        if count > 1
    ]


def _add_wires(
    graph: HardwareGraph, parts: Mapping[str, Part], wires: Sequence[Wire]
) -> tuple[list[Wire], list[Diagnostic]]:
    """Add and give back the sound wires; one diagnostic per statement that wrote a faulty one."""
    laid: list[Wire] = []
    found: list[Diagnostic] = []
    blamed: set[Span] = set()
    containers: Mapping[str, Container] = graph.graph["containers"]
    add = graph.add_edge
    for wire in wires:
        a, b, link, lanes = wire.a, wire.b, wire.link, wire.lanes
        bandwidth = link.bandwidth * lanes
        sound = a in parts and b in parts and a != b and lanes >= 1 and bandwidth > 0
        if not (sound and isfinite(bandwidth) and link.latency >= 0):
            if wire.span is None or wire.span not in blamed:
                found.append(_faulty(wire, parts, containers))
            if wire.span is not None:
                blamed.add(wire.span)
            continue
        laid.append(wire)
        latency = link.latency
        add(a, b, link=link, lanes=lanes, bandwidth=bandwidth, latency=latency)
        if wire.both:
            add(b, a, link=link, lanes=lanes, bandwidth=bandwidth, latency=latency)
    return laid, found


def _faulty(
    wire: Wire, parts: Mapping[str, Part], containers: Mapping[str, Container]
) -> Diagnostic:
    """What is wrong with a wire that cannot be laid."""
    for end in (wire.a, wire.b):
        if end in parts:
            continue
        if end in containers:
            inside = next((path for path in parts if path.startswith(f"{end}.")), None)
            notes = (f"help: name one of its parts, such as {inside}",) if inside else ()
            kind = containers[end].kind
            return error("HMS404", f"{end} is a {kind}; only parts can be wired", wire.span,
                         notes=notes)  # fmt: skip
        return error("HMS404", f"{end} is no part; only parts can be wired", wire.span)
    if wire.a == wire.b:
        message = f"{wire.a} is wired to itself"
    elif wire.lanes < 1:
        message = f"{wire.a} and {wire.b} are wired with {wire.lanes} lanes; 1 is the least"
    else:
        message = f"the wire between {wire.a} and {wire.b} has no usable bandwidth or latency"
    return error("HMS404", message, wire.span)


def _join_memories(
    graph: HardwareGraph, parts: Mapping[str, Part], joined: Iterable[tuple[str, str]]
) -> None:
    """Join each memory to the part it is inside; memories alike share one link object."""
    links: dict[float, Link] = {}
    for path, memory in joined:
        bandwidth = parts[memory].bandwidth
        link = links.setdefault(bandwidth, Link("", bandwidth, 0.0))
        graph.add_edge(path, memory, link=link, lanes=1, bandwidth=bandwidth, latency=0.0)
        graph.add_edge(memory, path, link=link, lanes=1, bandwidth=bandwidth, latency=0.0)


def _parallel_statements(wires: Sequence[Wire]) -> list[Diagnostic]:
    """Two statements that wire the same ends with the same link: allowed, but worth a note."""
    first: dict[tuple[str, str, str], Wire] = {}
    found: dict[tuple[Span, Span], Diagnostic] = {}
    for wire in wires:
        ends = (wire.a, wire.b) if wire.a < wire.b else (wire.b, wire.a)
        earlier = first.setdefault((*ends, wire.link.name), wire)
        if earlier.span == wire.span or earlier.span is None or wire.span is None:
            continue
        if not (wire.both or earlier.both) and wire.a != earlier.a:
            continue
        found.setdefault(
            (earlier.span, wire.span),
            Diagnostic(
                "HMS404",
                Severity.NOTE,
                f"{wire.a} and {wire.b} are wired twice; the wires are parallel",
                wire.span,
                labels=(Label(earlier.span, "wired here before"),),
            ),
        )
    return list(found.values())


def _ports_exceeded(parts: Mapping[str, Part], wires: Sequence[Wire]) -> list[Diagnostic]:
    """Parts with more lanes than `ports`; parts alike and wired alike share one diagnostic."""
    at: dict[str, list[Wire]] = defaultdict(list)
    limited = {path: part.ports for path, part in parts.items() if part.ports is not None}
    if not limited:
        return []
    for wire in wires:
        for end in (wire.a, wire.b):
            if end in limited:
                at[end].append(wire)
    alike: dict[tuple[str, int, Span | None], list[str]] = defaultdict(list)
    for path, own in at.items():
        lanes, ports = sum(wire.lanes for wire in own), limited[path]
        if lanes > ports:
            alike[parts[path].type_name, lanes, _breaking(own, ports).span].append(path)
    return [_too_many_lanes(paths, parts[paths[0]], at[paths[0]]) for paths in alike.values()]


def _breaking(wires: Sequence[Wire], ports: int) -> Wire:
    """The wire whose lanes go beyond the limit, in the order written."""
    lanes = 0
    for wire in wires:
        lanes += wire.lanes
        if lanes > ports:
            return wire
    return wires[-1]


def _too_many_lanes(paths: Sequence[str], part: Part, wires: Sequence[Wire]) -> Diagnostic:
    ports = part.ports or 0
    lanes = sum(wire.lanes for wire in wires)
    by_statement: dict[Span | None, list[Wire]] = defaultdict(list)
    for wire in wires:
        by_statement[wire.span].append(wire)
    breaking = _breaking(wires, ports)
    notes, labels = [], []
    for span, own in by_statement.items():
        count = sum(wire.lanes for wire in own)
        others = [wire.b if wire.a == part.path else wire.a for wire in own]
        notes.append(f"{count} lanes to {others[0]}{_and_more(others)}")
        if span is not None and span != breaking.span:
            labels.append(Label(span, f"{count} lanes"))
    return error(
        "HMS409",
        f"{part.path}{_and_more(paths)} ({part.type_name}): {lanes} lanes on {ports} ports",
        breaking.span,
        labels=labels,
        notes=notes,
    )


def _power(parts: Iterable[Part], containers: Mapping[str, Container]) -> dict[str, float]:
    """Watts of all parts below each container."""
    power = dict.fromkeys(containers, 0.0)
    for part in parts:
        if part.power:
            for path in ancestors(part.path):
                if path in power:
                    power[path] += part.power
    return power


def _power_exceeded(
    power: Mapping[str, float], containers: Sequence[Container], spans: Mapping[str, Span]
) -> list[Diagnostic]:
    """Containers whose parts may draw more than the limit; those alike share one diagnostic."""
    alike: dict[tuple[str, float, float], list[str]] = defaultdict(list)
    for container in containers:
        limit = container.power_limit
        # Sums of decimal watts: a rounding in the last digit is no excess.
        if limit is not None and power[container.path] > limit * (1 + 1e-9):
            alike[container.type_name, power[container.path], limit].append(container.path)
    return [
        error(
            "HMS409",
            f"{paths[0]}{_and_more(paths)} ({type_name}): parts draw up to {_watts(drawn)}, "
            f"the power limit is {_watts(limit)}",
            spans.get(paths[0]),
        )
        for (type_name, drawn, limit), paths in alike.items()
    ]


def _watts(value: float) -> str:
    return f"{value / 1000:.4g} kW" if value >= 1000 else f"{value:.4g} W"


def _and_more(paths: Sequence[str]) -> str:
    return f" and {len(paths) - 1} more" if len(paths) > 1 else ""

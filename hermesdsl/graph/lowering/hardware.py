"""From instances of parts and containers to the hardware graph."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING, TypeVar

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.graph import hardware, patterns
from hermesdsl.graph.lowering.calibration import calibration
from hermesdsl.graph.lowering.plain import labels, plain
from hermesdsl.graph.types import Calibration, Container, HardwareGraph, Link, Part, Spec
from hermesdsl.model.instance import Instance
from hermesdsl.model.resolve import place_of
from hermesdsl.model.values import Fail
from hermesdsl.model.wires import PARTS, WireValue, holders, wires
from hermesdsl.source import Span

if TYPE_CHECKING:
    from hermesdsl.model.elaborate import Tree

CONTAINERS = ("node", "rack", "cluster")
_LABELS = {
    "chip": ("power",), "cpu": ("cores",), "memory": ("capacity", "bandwidth"),
    "switch": ("ports",), "nic": (),
}  # fmt: skip


def lower(tree: Tree) -> tuple[HardwareGraph, list[Diagnostic]]:
    """The hardware graph of everything instanced in the specification's files."""
    return _Lowering(tree).graph()


class _Lowering:
    """Collects parts, containers and wires; twins share their prototype's values."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.builder = tree.builder
        self.parts: list[Part] = []
        self.containers: list[Container] = []
        self.wires: list[hardware.Wire] = []
        self.joined: list[tuple[str, str]] = []
        self.spans: dict[str, Span] = {}
        self._made: dict[int, Part | Container] = {}
        self._links: dict[int, Link] = {}
        self._calibrations: dict[int, Calibration] = {}

    def graph(self) -> tuple[HardwareGraph, list[Diagnostic]]:
        things = [
            thing
            for module in self.tree.modules
            if not module.library
            for thing in holders(module.instance)
        ]
        waiting = [wire for thing in things for wire in wires(self.builder, thing)]
        too_many = _too_many(waiting)
        if too_many is not None:
            return hardware.build((), (), ())[0], [too_many]
        for thing in things:
            self._take(thing)
        by_path = {part.path: part for part in self.parts}
        for wire in waiting:
            try:
                self._wire(wire, by_path)
            except Fail as problem:
                self.builder.report(problem)
        return hardware.build(
            self.parts, self.wires, self.containers, self.joined, spans=self.spans
        )

    def _take(self, instance: Instance) -> None:
        kind = instance.kind.name
        try:
            if kind in PARTS:
                part = self._part(instance)
                self.parts.append(part)
                if (
                    kind == "memory"
                    and instance.parent is not None
                    and (instance.parent.kind.name in ("chip", "cpu"))
                ):
                    self.joined.append((instance.parent.path, instance.path))
            elif kind in CONTAINERS:
                self.containers.append(self._container(instance))
            else:
                return
        except Fail as problem:
            self.builder.report(problem)
            return
        span = place_of(instance)
        if span is not None:
            self.spans[instance.path] = span

    def _part(self, instance: Instance) -> Part:
        proto = instance.twin or instance
        made = self._made.get(id(proto))
        if made is None:
            made = self._made[id(proto)] = self._new_part(proto)
        assert isinstance(made, Part)
        return made if instance is proto else _at(made, instance.path)

    def _new_part(self, instance: Instance) -> Part:
        get = self.builder.number
        builder = self.builder

        def number(name: str) -> float:
            return float(get(instance, name) or 0) if name in instance.properties else 0.0

        peak: dict[str, float] = {}
        shown = labels(builder, instance, _LABELS[instance.kind.name])
        if "peak" in instance.properties:
            quantities = builder.get(instance, "peak") or {}
            peak = {dtype: float(getattr(q, "value", q)) for dtype, q in quantities.items()}
            best = "bf16" if "bf16" in peak else next(iter(peak), None)
            if best is not None:
                shown = ((best, str(quantities[best])), *shown)
        ports = get(instance, "ports") if "ports" in instance.properties else None
        return Part(
            path=instance.path,
            kind=instance.kind.name,
            type_name=instance.type_name,
            doc=instance.doc,
            forwards=bool(get(instance, "forwards")),
            peak=peak,
            bandwidth=number("bandwidth"),
            capacity=number("capacity"),
            latency=number("latency"),
            power=number("power"),
            idle_power=number("idle_power"),
            cost=number("cost"),
            ports=int(ports) if ports is not None else None,
            cores=int(number("cores")),
            sms=int(number("sms")),
            options=(
                {"family": get(instance, "family")} if "family" in instance.properties else {}
            ),
            labels=shown,
            calibration=self._calibration(instance),
            fails=self._fails(instance),
        )

    def _calibration(self, instance: Instance) -> Calibration | None:
        """The calibration that a part names, made once for all parts that name it."""
        if "calibration" not in instance.properties:
            return None
        named = self.builder.get(instance, "calibration")
        if not isinstance(named, Instance):
            return None
        made = self._calibrations.get(id(named))
        if made is None:
            made = self._calibrations[id(named)] = calibration(self.builder, named)
        return made

    def _fails(self, instance: Instance) -> Spec | None:
        if "fails" not in instance.properties:
            return None
        spec = plain(self.builder, self.builder.get(instance, "fails"))
        return spec if isinstance(spec, Spec) else None

    def _container(self, instance: Instance) -> Container:
        proto = instance.twin or instance
        made = self._made.get(id(proto))
        if made is None:
            get = self.builder.number
            limit, cost = get(proto, "power_limit"), get(proto, "cost")
            made = self._made[id(proto)] = Container(
                proto.path, proto.kind.name, proto.type_name, proto.doc,
                None if limit is None else float(limit), None if cost is None else float(cost),
                labels(self.builder, proto, ("power_limit",)), self._fails(proto),
            )  # fmt: skip
        assert isinstance(made, Container)
        return made if instance is proto else _at(made, instance.path)

    # --- wires ---

    def _wire(self, wire: WireValue, by_path: dict[str, Part]) -> None:
        for a, b in self._pairs(wire):
            link = self._link(wire, by_path[a], by_path[b])
            self.wires.append(hardware.Wire(a, b, link, wire.lanes, wire.both, wire.span))

    def _pairs(self, wire: WireValue) -> Iterator[tuple[str, str]]:
        if wire.pattern is None:
            left, right = wire.groups
            yield from ((a, b) for a in left for b in right)
            return
        if wire.pattern not in patterns.PATTERNS:
            raise Fail(
                error("HMS404", f"unknown pattern `{wire.pattern}`", wire.span,
                      notes=suggestion(wire.pattern, patterns.PATTERNS)
                      or (f"help: one of {', '.join(patterns.PATTERNS)}",))
            )  # fmt: skip
        try:
            yield from patterns.expand(wire.pattern, wire.groups, wire.options)
        except patterns.PatternError as problem:
            raise Fail(error(problem.code, problem.message, wire.span)) from None

    def _link(self, wire: WireValue, a: Part, b: Part) -> Link:
        if wire.link is None:
            memory = a if a.kind == "memory" else b
            if memory.kind != "memory":
                raise Fail(
                    error("HMS404", f"the wire from `{a.path}` to `{b.path}` needs a link",
                          wire.span,
                          notes=["help: add `via` and a link, such as `via PCIe5x16`; only a "
                                 "memory brings its own bandwidth"])
                )  # fmt: skip
            shown = dict(memory.labels).get("bandwidth", "")
            return Link(memory.type_name, memory.bandwidth, 0.0, shown, memory.doc)
        made = self._links.get(id(wire.link))
        if made is None:
            get = self.builder.number
            made = self._links[id(wire.link)] = Link(
                wire.link.type_name,
                float(get(wire.link, "bandwidth")),
                float(get(wire.link, "latency")),
                str(self.builder.get(wire.link, "bandwidth")),
                wire.link.doc,
            )
        return made


def _too_many(waiting: list[WireValue]) -> Diagnostic | None:
    """The wire that goes beyond the budget, found before any is made; patterns count later."""
    count = 0
    for wire in waiting:
        if wire.pattern is None:
            count += len(wire.groups[0]) * len(wire.groups[1])
        if count > patterns.MAX_WIRES:
            return error("HMS410", f"more than {patterns.MAX_WIRES:_} wires", wire.span)
    return None


_Made = TypeVar("_Made", Part, Container)


def _at(made: _Made, path: str) -> _Made:
    """The same under another path; a third of the time that `dataclasses.replace` takes."""
    twin = copy(made)
    object.__setattr__(twin, "path", path)
    return twin

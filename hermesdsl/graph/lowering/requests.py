"""What devices each client asks for: its selection in path order, and how it may be cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import error
from hermesdsl.graph.placement import ClientRequest
from hermesdsl.graph.types import HardwareGraph
from hermesdsl.model import flows
from hermesdsl.model.instance import Instance, Vector
from hermesdsl.model.resolve import parts_inside
from hermesdsl.model.values import Fail
from hermesdsl.model.wires import PARTS
from hermesdsl.source import Span

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def client_type(instance: Instance) -> str:
    """The built-in type that a client is or extends."""
    return instance.builtin.name if instance.builtin is not None else instance.type_name


class Requests:
    """The requests of many clients; those of one vector share their selection."""

    def __init__(self, builder: Builder, hardware: HardwareGraph) -> None:
        self.builder = builder
        self.order = {path: number for number, path in enumerate(hardware)}
        self.selected: dict[tuple[int, str], tuple[str, ...]] = {}

    def of(self, clients: Iterable[Instance]) -> list[ClientRequest]:
        """One request each; problems go to the builder's sink."""
        found = []
        for instance in clients:
            try:
                found.append(self._request(instance))
            except Fail as problem:
                self.builder.report(problem)
        return found

    def _request(self, instance: Instance) -> ClientRequest:
        kind = client_type(instance)
        span = _span(instance)
        key = (id(instance.parent), instance.name)
        devices = self.selected.get(key)
        if devices is None:
            devices = self.selected[key] = self._devices(instance, kind, span)
        siblings = instance.parent.children.get(instance.name) if instance.parent else None
        get = self.builder.number

        def whole(name: str) -> int:
            return int(get(instance, name)) if name in instance.properties else 1

        return ClientRequest(
            instance.path, instance.vector or instance.path, instance.index or 0,
            len(siblings.items) if isinstance(siblings, Vector) else 1, kind, devices,
            whole("tp"), whole("pp"), whole("dp"), whole("ep"),
            bool(get(instance, "spare")), bool(get(instance, "span")),
            bool(get(instance, "share")), span,
        )  # fmt: skip

    def _devices(self, instance: Instance, kind: str, span: Span | None) -> tuple[str, ...]:
        """The selected devices in path order: as declared, then by index."""
        chosen = flows.devices(self.builder, instance)
        if chosen is None:
            if kind == "KvTier":
                raise Fail(error("HMS405", f"tier `{instance}` lies in no memory", span,
                                 notes=["help: write `on` and its memories"]))  # fmt: skip
            return ()
        for part in chosen:
            _check_part(part, kind, span)
        if kind == "KvTier":
            return ()  # its memories are joined by scope, not cut into groups
        return tuple(sorted((p.path for p in chosen), key=lambda p: self.order.get(p, 0)))


def _span(instance: Instance) -> Span | None:
    """Where the selection of a client is written, or else its name."""
    if instance.decl is None:
        return None
    statement = instance.decl.statement
    return statement.on.span if statement.on is not None else statement.target.span


def _check_part(part: Instance, kind: str, span: Span | None) -> None:
    what = f"the {part.kind.name} `{part}`"
    if part.kind.name not in PARTS:
        inside = parts_inside(part, ("chip", "cpu"))
        notes = [f"help: name the devices in it, such as `{inside}`"] if inside else []
        raise Fail(error("HMS405", f"a client runs on parts, not on {what}", span, notes=notes))
    if (part.kind.name == "memory") != (kind == "KvTier"):
        wanted = "memories" if kind == "KvTier" else "compute devices"
        raise Fail(error("HMS405", f"{kind} runs on {wanted}, not on {what}", span))

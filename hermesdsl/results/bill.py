"""What a run costs: the integral of the price of everything that counts, used or not.

A container's own price replaces those of all it holds. Knows prices, seconds and tokens; no power.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from hermesdsl.graph.hardware import ancestors
from hermesdsl.graph.types import CompiledSystem, Container, Part
from hermesdsl.results.reach import Asked, Reach, listed, reach
from hermesdsl.sim.record import Run

__all__ = ["Bill", "Item", "bill", "steady_rate"]


@dataclass(frozen=True)
class Item:
    """Something with a price of its own, `rate` $/s; it pays for the parts `devices`.

    It is paid for while any of the parts `counting` counts.
    """

    path: str
    kind: str
    rate: float
    devices: tuple[str, ...]
    counting: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bill:
    """All that is paid for in a run; `unpriced`: devices that nothing with a price pays for."""

    run: Run
    reach: Reach
    items: tuple[Item, ...]
    unpriced: tuple[Part, ...]

    @property
    def rate(self) -> float:
        """$/s when everything counts."""
        return sum(item.rate for item in self.items)

    def dollars(self, start: float, end: float) -> float:
        """Price from `start` to `end` seconds."""
        return fsum(self._price(item, start, end) for item in self.items)

    def _price(self, item: Item, start: float, end: float) -> float:
        return item.rate * self.reach.seconds(item.counting, start, end)

    def by_kind(self, start: float, end: float) -> dict[str, float]:
        """Dollars per kind of what has the price."""
        found: dict[str, float] = {}
        for item in self.items:
            found[item.kind] = found.get(item.kind, 0.0) + self._price(item, start, end)
        return found

    def by_client(self, start: float, end: float) -> dict[str, float]:
        """Dollars per client, and under ``""`` of what no client runs on.

        Each item is shared equally by its devices, and each device by its clients.
        """
        found = dict.fromkeys((*self.run.clients, ""), 0.0)
        for item in self.items:
            each = self._price(item, start, end) / len(item.devices)
            for device in item.devices:
                users = self.reach.users.get(device, ())
                for user in users:
                    found[self.run.clients[user]] += each / len(users)
                if not users:
                    found[""] += each
        return found

    def summary(self, window: tuple[float, float], tokens: int) -> dict[str, Any]:
        """Entry ``cost`` of a summary.

        ``total`` $ over the whole run (null if nothing has a price), ``rate`` $/s on
        average, ``window`` $
        and ``per_token`` $/tok of the window with so many `tokens`.
        """
        missing = {"price": listed(self.unpriced)}
        if not self.items:
            return {"total": None, "unit": "$", "missing": missing}
        inside, end = self.dollars(*window), self.run.end_s
        clients, total = self.by_client(0.0, end), self.dollars(0.0, end)
        return {
            "total": total,
            "rate": total / end if self.reach.up and end else self.rate,
            "window": inside,
            "per_token": inside / tokens if tokens else None,
            "by_kind": self.by_kind(0.0, end),
            "unassigned": clients.pop(""),
            "by_client": clients,
            "unit": "$",
            "missing": missing,
        }


def bill(system: CompiledSystem, run: Run, reserve: str = "all") -> Bill:
    """The bill of a run.

    With ``used``, a container with a price counts whole as soon as a client runs on any part of
    it, and a part on its own if a client does.
    """
    within = reach(system, run, reserve)
    items, paying = _items(system, within)
    return Bill(run, within, tuple(items), _unpriced(system, within, items, paying))


def steady_rate(system: CompiledSystem, clients: tuple[str, ...], reserve: str) -> float | None:
    """$/s of any run on these clients, known before it is made; None where parts come and go."""
    within = reach(system, Asked(clients), reserve)
    if within.up:
        return None
    return sum(item.rate for item in _items(system, within)[0])


def _items(system: CompiledSystem, within: Reach) -> tuple[list[Item], dict[str, str]]:
    """All that is paid for, and by part the container whose price stands for its own."""
    containers: Mapping[str, Container] = system.hardware.graph.get("containers", {})
    paying: dict[str, str] = {}
    for part in within.parts:
        around = None
        for path in ancestors(part.path):
            if path in containers and containers[path].cost is not None:
                around = path
        if around is not None:
            paying[part.path] = around
    items = [
        Item(
            path,
            containers[path].kind,
            containers[path].cost or 0.0,
            _under(system, path),
            tuple(part for part, around in paying.items() if around == path),
        )
        for path in dict.fromkeys(paying.values())
    ]
    items += [
        Item(part.path, part.kind, part.cost, (part.path,), (part.path,))
        for part in within.parts
        if part.cost > 0 and part.path not in paying
    ]
    return items, paying


def _under(system: CompiledSystem, container: str) -> tuple[str, ...]:
    """The chips of a container, or its CPUs, or all of it: what its price is shared by."""
    nodes = system.hardware.nodes
    held = [path for path in nodes if path.startswith(f"{container}.")]
    for kind in ("chip", "cpu"):
        chosen = tuple(path for path in held if nodes[path]["part"].kind == kind)
        if chosen:
            return chosen
    return tuple(held)


def _unpriced(
    system: CompiledSystem, within: Reach, items: list[Item], paying: Mapping[str, str]
) -> tuple[Part, ...]:
    """Chips, and CPUs that a client runs on, without a price.

    A CPU beside a priced part in one machine is taken to be in that price, as clouds have it.
    """
    containers: Mapping[str, Container] = system.hardware.graph.get("containers", {})
    machines = {_machine(item.path, containers) for item in items} - {None}
    return tuple(
        part
        for part in within.parts
        if part.path not in paying
        and part.cost == 0
        and (
            part.kind == "chip"
            or (
                part.kind == "cpu"
                and part.path in within.users
                and _machine(part.path, containers) not in machines
            )
        )
    )


def _machine(path: str, containers: Mapping[str, Container]) -> str | None:
    """The innermost node around a part."""
    return next((p for p in ancestors(path) if p in containers and containers[p].kind == "node"),
                None)  # fmt: skip

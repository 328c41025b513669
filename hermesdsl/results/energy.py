"""Energy of a run: the integral of the power of every part that counts, idle time included.

P = idle + (limit − idle) · share, the share of each moment as `cost.power` says. Switches and
network interfaces draw their power whether or not anything passes, unless they say what they draw
idle. Hardware that has failed draws nothing until it is back; that of a client which failed by
itself draws on. Knows watts, joules and tokens; no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hermesdsl.cost.power import rung_of
from hermesdsl.cost.provenance import CALIBRATED, DATASHEET
from hermesdsl.cost.types import EngineCost, ServiceCost
from hermesdsl.graph.types import CompiledSystem, HardwareGraph, Part
from hermesdsl.results.activity import Activity, Floats, activities, integral
from hermesdsl.results.reach import Reach, listed, reach
from hermesdsl.sim.causes import around
from hermesdsl.sim.network.passing import STEADY
from hermesdsl.sim.record import Run

if TYPE_CHECKING:
    from hermesdsl.results.tables import Table

__all__ = ["Drawn", "Meter", "energy_rows", "meter"]


class Drawn(NamedTuple):
    """Joules: `idle` and `dynamic` of each part that counts, `dynamic_by` part and client."""

    idle: Floats
    dynamic: Floats
    dynamic_by: Mapping[tuple[int, int], float]


@dataclass(frozen=True, eq=False)
class Meter:
    """What it takes to say how much energy a run used in any interval.

    `rest` watts of each part of `reach` when nothing runs, `range` watts from there to its limit.
    `able` byte/s that the links of switches and interfaces can carry.
    """

    run: Run
    reach: Reach
    rest: Floats
    range: Floats
    able: Floats
    activity: Mapping[int, Activity]

    @property
    def known(self) -> bool:
        """True if any part says what power it draws."""
        return bool((self.rest + self.range > 0).any())

    def drawn(self, start: float, end: float) -> Drawn:
        """Joules of every part from `start` to `end` seconds of the run."""
        parts = self.reach.parts
        counts = np.array([self.reach.seconds((part.path,), start, end) for part in parts])
        idle = self.rest * (counts - self._off(start, end))
        dynamic = self.range * self._passed(start, end)
        by: dict[tuple[int, int], float] = {}
        known: dict[tuple[tuple[int, ...], str], float] = {}
        for place, users, column in self.users():
            alone = [self._seconds(known, (user,), column, start, end) for user in users]
            together = self._seconds(known, users, column, start, end)
            for user, own in zip(users, alone, strict=True):
                share = own / sum(alone) if sum(alone) else 0.0
                by[place, user] = float(self.range[place]) * together * share
                dynamic[place] += by[place, user]
        return Drawn(idle, dynamic, by)

    def users(self) -> Iterator[tuple[int, tuple[int, ...], str]]:
        """(place in `reach.parts`, clients that make it draw, column of `Activity` that does)."""
        for place, part in enumerate(self.reach.parts):
            users = tuple(c for c in self.reach.users.get(part.path, ()) if c in self.activity)
            if self.range[place] and users:
                yield place, users, "memory" if part.kind == "memory" else "power"

    def _off(self, start: float, end: float) -> Floats:
        """Seconds of an interval in which each part counted but was down, for whatever reason."""
        run, parts = self.run, self.reach.parts
        off = np.zeros(len(parts))
        if not run.things or not len(run.breakdowns["thing"]):
            return off
        numbers = {path: number for number, path in enumerate(run.things)}
        for place, part in enumerate(parts):
            over = [numbers[path] for path in around(part.path, numbers)]
            mine = np.isin(run.breakdowns["thing"], over)
            if not mine.any():
                continue
            since, until = (run.breakdowns[name][mine] for name in ("down_s", "up_s"))
            ones = np.ones(len(since))
            down = Activity(since, until, ones, ones)
            counts = self.reach.up.get(part.path, ((start, end),))
            inside = ((max(since, start), min(until, end)) for since, until in counts)
            off[place] = fsum(integral(down, ones, a, b) for a, b in inside if a < b)
        return off

    def _passed(self, start: float, end: float) -> Floats:
        """Seconds of an interval in which what passed would have filled the links of each part."""
        places = {part.path: place for place, part in enumerate(self.reach.parts)}
        passed = np.zeros(len(places))
        rows = self.run.passing
        since, until = rows["start_s"], rows["end_s"]
        inside = np.clip(np.minimum(until, end) - np.maximum(since, start), 0.0, None)
        # A small message late in a long run passes between two times that are the same double.
        length = until - since
        at_once = (length <= 0.0) & (since >= start) & (since < end)
        share = np.divide(inside, length, out=at_once.astype(np.float64), where=length > 0.0)
        size = rows["bytes"] * share
        for number, path in enumerate(self.run.passing_parts):
            if path in places and self.able[places[path]]:
                mine = float(size[rows["part"] == number].sum())
                passed[places[path]] = mine / self.able[places[path]]
        return passed

    def _seconds(
        self, known: dict[tuple[tuple[int, ...], str], float], users: tuple[int, ...],
        column: str, start: float, end: float,
    ) -> float:  # fmt: skip
        """Seconds at full range that would draw what some clients draw of a part they share."""
        if (users, column) not in known:
            own = [self.activity[user] for user in users]
            known[users, column] = seconds_of(own, column, start, end)
        return known[users, column]

    def joules(self, start: float, end: float) -> float:
        """All parts together."""
        drawn = self.drawn(start, end)
        return float(drawn.idle.sum() + drawn.dynamic.sum())

    def by_client(self, drawn: Drawn) -> dict[str, float]:
        """Joules of each client, and under ``""`` of parts that none runs on.

        A client has what it drew itself, and of the idle power of its parts an equal share with
        the other clients that run on them.
        """
        found = dict.fromkeys((*self.run.clients, ""), 0.0)
        for place, part in enumerate(self.reach.parts):
            users = self.reach.users.get(part.path, ())
            own = [drawn.dynamic_by.get((place, user), 0.0) for user in users]
            rest = float(drawn.idle[place] + drawn.dynamic[place]) - sum(own)
            for user, drew in zip(users, own, strict=True):
                found[self.run.clients[user]] += drew + rest / len(users)
            if not users:
                found[""] += rest
        return found

    def by_kind(self, drawn: Drawn) -> dict[str, float]:
        """Joules of chips, CPUs, memories, switches and network interfaces."""
        found: dict[str, float] = {}
        for part, joules in zip(self.reach.parts, drawn.idle + drawn.dynamic, strict=True):
            if joules > 0:
                found[part.kind] = found.get(part.kind, 0.0) + float(joules)
        return found

    def missing(self) -> dict[str, list[str]]:
        """Types without `power`, and types with it that do not say what they draw idle.

        The memories inside a chip draw from the chip's own limit.
        """
        return {
            "power": listed(part for part in self.reach.parts if self._silent(part)),
            "idle_power": listed(
                part for part in self.reach.parts
                if part.power > 0 and part.idle_power == 0 and part.kind not in STEADY
            ),
        }  # fmt: skip

    def basis(self) -> dict[str, list[str]]:
        """Types of chips and processors by the rung on which their power at work stands."""
        working = [part for part, own in zip(self.reach.parts, self.range.tolist(), strict=True)
                   if own > 0 and part.kind in ("chip", "cpu")]  # fmt: skip
        found = {}
        for rung in (CALIBRATED, DATASHEET):
            found[rung] = listed(part for part in working if rung_of(part) == rung)
        return found

    def _silent(self, part: Part) -> bool:
        inside = part.kind == "memory" and part.path in self.reach.inside
        return part.power == 0 and part.idle_power == 0 and not inside

    def summary(self, window: tuple[float, float], tokens: int) -> dict[str, Any]:
        """Entry ``energy`` of a summary.

        ``total`` J over the whole run (null if no part says what power it draws), of which
        ``idle`` is what it would have been without work; ``window`` J and ``per_token`` J/tok of
        the window with so many `tokens`. ``basis``: which power is calibrated.
        """
        if not self.known:
            return {"total": None, "unit": "J", "missing": self.missing()}
        drawn = self.drawn(0.0, self.run.end_s)
        inside = self.joules(*window)
        clients = self.by_client(drawn)
        return {
            "total": float(drawn.idle.sum() + drawn.dynamic.sum()),
            "idle": float(drawn.idle.sum()),
            "window": inside,
            "per_token": inside / tokens if tokens else None,
            "by_kind": self.by_kind(drawn),
            "unassigned": clients.pop(""),
            "by_client": clients,
            "unit": "J",
            "basis": self.basis(),
            "missing": self.missing(),
        }


@dataclass(frozen=True, eq=False)
class SummedMeter(Meter):
    """A meter of a run whose rows are gone: `seconds` at full range of groups of clients, in the
    whole run and in its `window`, which are the only intervals that it can be asked for."""

    seconds: Mapping[tuple[tuple[int, ...], str], tuple[float, float]] = field(default_factory=dict)
    window: tuple[float, float] = (0.0, 0.0)

    def _seconds(
        self, known: dict[tuple[tuple[int, ...], str], float], users: tuple[int, ...],
        column: str, start: float, end: float,
    ) -> float:  # fmt: skip
        whole, inside = self.seconds.get((users, column), (0.0, 0.0))
        return inside if (start, end) == self.window else whole


def seconds_of(clients: Ordered[Activity], column: str, start: float, end: float) -> float:
    """Seconds at full range that what some clients did together stands for."""
    rows = clients[0]
    if len(clients) > 1:
        rows = Activity(*(np.concatenate(columns) for columns in zip(*clients, strict=True)))
    return integral(rows, getattr(rows, column), start, end)


def summed_meter(
    found: Meter,
    seconds: Mapping[tuple[tuple[int, ...], str], tuple[float, float]],
    window: tuple[float, float],
) -> SummedMeter:
    """The meter `found` of what is left of a run, with the `seconds` of all of it."""
    return SummedMeter(found.run, found.reach, found.rest, found.range, found.able,
                       found.activity, seconds, window)  # fmt: skip


def seconds_wanted(meter: Meter) -> set[tuple[tuple[int, ...], str]]:
    """The groups of clients, and columns, that a meter integrates."""
    found = set()
    for _, users, column in meter.users():
        found |= {(users, column), *(((user,), column) for user in users)}
    return found


def meter(
    system: CompiledSystem,
    run: Run,
    *,
    costs: Mapping[str, EngineCost],
    services: Mapping[tuple[str, str], ServiceCost],
    reserve: str = "all",
) -> Meter:
    """The meter of a run: `costs` by client, `services` by (stage, client), as they were run."""
    within = reach(system, run, reserve)
    rest = np.array([_rest(part) for part in within.parts], np.float64)
    limit = np.array([part.power for part in within.parts], np.float64)
    return Meter(
        run, within, rest, np.maximum(limit - rest, 0.0),
        _able(system.hardware, within.parts),
        activities(system, run, costs, services),
    )  # fmt: skip


def _rest(part: Part) -> float:
    return part.power if part.kind in STEADY and not part.idle_power else part.idle_power


def _able(hardware: HardwareGraph, parts: Ordered[Part]) -> Floats:
    """Byte/s that the links of each switch or interface carry, both directions together."""
    carried: dict[str, float] = {}
    for source, target, data in hardware.edges(data=True):
        for end in (source, target):
            carried[end] = carried.get(end, 0.0) + float(data["bandwidth"])
    able = [carried.get(part.path, 0.0) if part.kind in STEADY else 0.0 for part in parts]
    return np.array(able, np.float64)


def energy_rows(found: Meter) -> Table:
    """One row per part that draws power: joules over the run, idle and in all, and mean watts."""
    drawn = found.drawn(0.0, found.run.end_s)
    total = drawn.idle + drawn.dynamic
    shown = np.flatnonzero(found.rest + found.range > 0)
    parts = [found.reach.parts[place] for place in shown.tolist()]
    return {
        "part": [part.path for part in parts],
        "kind": [part.kind for part in parts],
        "type": [part.type_name for part in parts],
        "idle_j": drawn.idle[shown],
        "total_j": total[shown],
        "mean_w": total[shown] / found.run.end_s if found.run.end_s else 0.0 * total[shown],
    }

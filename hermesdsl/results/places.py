"""How busy things are: clients, vectors and pools of them, devices, links; who waits at clients.

Reads times of steps, services and visits. Knows no series of requests, goal or layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.record import Run

__all__ = ["Busy", "Places", "below"]

Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True)
class Places:
    """Where things are: `devices` of each client and `members` of each pool, by path."""

    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Busy:
    """Utilisation between two times (seconds) of everything that a path may name."""

    run: Run
    places: Places
    window: tuple[float, float]

    @cached_property
    def clients(self) -> Mapping[str, float | None]:
        """Share of the window in which each client worked, by path; None for a `Delay`.

        An engine works while it runs steps, those that a failure cuts short too; of a worker pool
        it is the mean share of its workers that serve.
        """
        start, end = self.window
        if end <= start:
            return dict.fromkeys(self.run.clients)
        busy = np.zeros(len(self.run.clients))
        for table in (self.run.steps, self.run.cut_steps, self.run.services):
            weight = table.get("share", 1.0)
            seconds = weight * overlap(table["start_s"], table["end_s"], self.window)
            busy += np.bincount(table["client"], seconds, len(busy))
        shares = (busy / (end - start)).tolist()
        kinds = self.run.kinds or ("LlmEngine",) * len(shares)
        return {
            path: None if kind == "Delay" else share
            for path, kind, share in zip(self.run.clients, kinds, shares, strict=True)
        }

    @cached_property
    def devices(self) -> Mapping[str, float | None]:
        """Share of the window in which any client on it worked, of each device in use."""
        on: dict[str, list[str]] = {}
        for client in self.run.clients:
            for device in self.places.devices.get(client, ()):
                on.setdefault(device, []).append(client)
        known: dict[tuple[str, ...], float | None] = {}
        for clients in map(tuple, on.values()):
            if clients not in known:
                known[clients] = self._any(clients)
        return {device: known[tuple(clients)] for device, clients in on.items()}

    def links(self) -> list[tuple[str, str, float, float]]:
        """(source, target, bytes, utilisation) of each link that carried any.

        Over the whole run, and on to the last byte where weights or writes to caches are still on
        their way when the last request has left.
        """
        found = []
        for link in self.run.links:
            total = max(self.run.end_s, link.last_s)
            share = link.busy_s / total if total > 0 else 0.0
            found.append((link.source, link.target, link.bytes, share))
        return found

    def of(self, path: str) -> float | None:
        """Utilisation of what `path` names; None without a window, or if nothing is defined.

        A client, or the mean over the clients of a pool, a vector or what lies below a path; the
        mean over devices; of another part, such as a switch, that of its busiest link. Several
        paths are separated by commas.
        """
        members = self.places.members.get(path, ())
        chosen = [client for client in self.run.clients if client in members or below(client, path)]
        if chosen:
            return _mean(self.clients[client] for client in chosen)
        devices = [device for device in self.devices if below(device, path)]
        if devices:
            return _mean(self.devices[device] for device in devices)
        ends = [share for a, b, _, share in self.links() if below(a, path) or below(b, path)]
        return max(ends, default=None)

    def names(self) -> list[str]:
        """Every path that `of` knows by its own name."""
        ends = [end for link in self.run.links for end in (link.source, link.target)]
        return list(dict.fromkeys((*self.run.clients, *self.places.members, *self.devices, *ends)))

    def present(self) -> tuple[Floats, Floats]:
        """Mean number (waiting, present) at each client in the window, shape (clients,) each.

        Waiting is who has come and not been served there yet, the KV that is on its way included.
        """
        start, end = self.window
        if end <= start:
            return np.zeros(len(self.run.clients)), np.zeros(len(self.run.clients))
        waiting, present = seconds_present(self.run, self.window) / (end - start)
        return waiting, present

    def _any(self, clients: Sequence[str]) -> float | None:
        """Share of the window in which at least one of some clients worked."""
        if len(clients) == 1 and "WorkerPool" not in self.run.kinds:
            return self.clients[clients[0]]
        start, end = self.window
        if end <= start:
            return None
        index = [self.run.clients.index(client) for client in clients]
        tables = (self.run.steps, self.run.cut_steps, self.run.services)
        rows = [np.isin(table["client"], index) for table in tables]
        begin, until = (
            np.concatenate([t[name][r] for t, r in zip(tables, rows, strict=True)])
            for name in ("start_s", "end_s")
        )
        order = np.argsort(begin, kind="stable")
        begin, until = begin[order], until[order]
        before = np.maximum.accumulate(np.concatenate([[-np.inf], until]))[:-1]
        alone = overlap(np.maximum(begin, before), until, self.window)
        return float(alone.sum() / (end - start))


def seconds_present(run: Run, window: tuple[float, float]) -> Floats:
    """Seconds that requests spent (waiting, present) at each client, shape (2, clients)."""
    visits = run.visits
    found = np.zeros((2, len(run.clients)))
    here = visits["client"] >= 0
    client, enter = visits["client"][here], visits["enter_s"][here]
    for row, name in enumerate(("start_s", "end_s")):
        until = np.nan_to_num(visits[name][here], nan=run.end_s)
        found[row] = np.bincount(client, overlap(enter, until, window), len(run.clients))
    return found


def overlap(start: Floats, end: Floats, window: tuple[float, float]) -> Floats:
    """Seconds of each interval that lie in a window, shape (m,)."""
    inside = np.minimum(end, window[1]) - np.maximum(start, window[0])
    return np.asarray(np.maximum(inside, 0.0))


def below(path: str, wanted: str) -> bool:
    """True if `path` is one of the comma-separated paths `wanted`, or lies in one."""
    return any(
        path == each or path.startswith((f"{each}[", f"{each}.")) for each in wanted.split(", ")
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

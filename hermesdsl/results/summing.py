"""Takes the parts of a run as they come and sums what the summary of the whole run needs.

What is linear in requests goes to cells, one per workload and class; what is linear in time
(utilisation, energy) is summed over the stretches of time that the parts cover. Knows no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.cost.provenance import Shares
from hermesdsl.graph.types import RequestClass
from hermesdsl.results.cells import Cell
from hermesdsl.results.energy import Meter, seconds_of, seconds_wanted
from hermesdsl.results.metrics import Measures
from hermesdsl.results.places import Busy, Places, seconds_present
from hermesdsl.sim.draining import Part
from hermesdsl.sim.record import REFUSED, Run

__all__ = ["Summing"]

Floats: TypeAlias = "NDArray[np.float64]"
Key: TypeAlias = "tuple[tuple[int, ...], str]"


class Summing:
    """Sums over a run; `receive` takes its parts in order, `finish` what is left.

    `metering`: the meter of a part; `standing`: its working time by rung.
    """

    def __init__(
        self,
        classes: Mapping[str, RequestClass],
        places: Places,
        metering: Callable[[Run], Meter],
        standing: Callable[[Run], Shares],
    ) -> None:
        self.classes, self.places = classes, places
        self._metering, self._standing = metering, standing
        self.rungs = Shares({})
        self.cells: dict[tuple[int, int], Cell] = {}
        #: Seconds by path; None: nobody can be busy there.
        self.busy: dict[str, float | None] = {}
        self.devices: dict[str, float | None] = {}
        self.crowd: Floats = np.zeros((2, 0))
        #: Seconds at full range: (whole run, window).
        self.drawn: dict[Key, tuple[float, float]] = {}
        self.reasons: NDArray[np.int64] = np.zeros(0, np.int64)
        self.opened, self.last_arrival, self.last_finish = inf, -inf, -inf
        self.parts = 0
        self._until = 0.0

    def receive(self, part: Part, *, last: bool = False) -> None:
        """Take in a part, of which the `last` holds all that is left."""
        run = part.run
        warmup, duration = run.window
        window = (part.opened, inf) if duration is None else (warmup, max(duration, warmup))
        self.opened, self._until = part.opened, part.until
        self.parts += 1
        seen = Measures(run, self.classes, between=window)
        self._requests(seen)
        self.rungs = self.rungs + self._standing(run)
        crowd = seconds_present(run, window)
        self.crowd = crowd if not self.crowd.size else self.crowd + crowd
        # Steps begun for requests that left may end after the last one, still in the window.
        beyond = last and duration is not None
        inside = max(part.since, window[0]), window[1] if beyond else min(part.until, window[1])
        self._work(run, inside)
        self._energy(run, (part.since, part.until), inside)

    def finish(self, rest: Run) -> None:
        """Take in what was left at the end of a run."""
        arrival = rest.requests["arrival_s"]
        begun = arrival[arrival >= rest.window[0]]
        opened = min(self.opened, float(begun.min(initial=inf)))
        self.receive(Part(rest, self._until, rest.end_s, opened), last=True)

    def window(self, run: Run) -> tuple[float, float]:
        """As `Measures.window` of the whole run."""
        warmup, duration = run.window
        if duration is not None:
            return warmup, max(duration, warmup)
        known = np.isfinite(self.opened) and np.isfinite(self.last_finish)
        return (self.opened, self.last_finish) if known else (warmup, warmup)

    # --- parts -------------------------------------------------------------------------------

    def _requests(self, seen: Measures) -> None:
        run, columns = seen.run, seen.run.requests
        pairs = columns["workload"].astype(np.int64) * len(run.classes) + columns["class"]
        for pair in np.unique(pairs).tolist():
            key = divmod(pair, len(run.classes))
            if key not in self.cells:
                self.cells[key] = Cell(len(run.stages))
            self.cells[key].add(seen, pairs == pair)
        refused = columns["status"] == REFUSED
        reasons = np.bincount(columns["reason"][refused], minlength=len(run.reasons))
        self.reasons = reasons if not self.reasons.size else self.reasons + reasons
        measured = columns["arrival_s"][seen.measured]
        self.last_arrival = max(self.last_arrival, float(measured.max(initial=-inf)))
        finish = columns["finish_s"][~np.isnan(columns["finish_s"])]
        self.last_finish = max(self.last_finish, float(finish.max(initial=-inf)))

    def _work(self, run: Run, inside: tuple[float, float]) -> None:
        length = max(inside[1] - inside[0], 0.0)
        busy = Busy(run, self.places, inside)
        for sums, shares in ((self.busy, busy.clients), (self.devices, busy.devices)):
            for path, share in shares.items():
                if share is not None:
                    sums[path] = (sums.get(path) or 0.0) + share * length
                else:
                    sums.setdefault(path, None if length else 0.0)

    def _energy(
        self, run: Run, whole: tuple[float, float], inside: tuple[float, float]
    ) -> None:  # fmt: skip
        meter = self._metering(run)
        for users, column in seconds_wanted(meter):
            before = self.drawn.get((users, column), (0.0, 0.0))
            own = [meter.activity[user] for user in users]
            more = seconds_of(own, column, *whole)
            most = seconds_of(own, column, *inside) if inside[1] > inside[0] else 0.0
            self.drawn[users, column] = before[0] + more, before[1] + most

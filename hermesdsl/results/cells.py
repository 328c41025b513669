"""What the requests of one workload and class add up to, part by part of a run.

Any selection of a run is a sum of such cells. Knows no layout, and no other place for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.attribution import KINDS
from hermesdsl.results.definitions import SERIES
from hermesdsl.results.metrics import Measures
from hermesdsl.results.sketch import Sketch
from hermesdsl.sim.record import COMPLETED, REFUSED
from hermesdsl.sim.tokens import token_gaps

__all__ = ["Cell"]

Mask: TypeAlias = "NDArray[np.bool_]"

#: Times of visits, by the name of the attribute of `Visits`.
_VISITS = ("queue", "service", "moved", "ttft", "stay")
_SERIES_OF_VISITS: Mapping[str, str] = {"ttft": "ttft", "queue": "queue", "e2e": "stay"}


class Cell:
    """Sums over requests; `stages` is their number.

    Of measured requests: `offered`, those with each status (`outcomes`), those within bounds
    (`met`), `parallel` (several answers at once), seconds of each kind by stage (`where`, shape
    (stages, kinds)) and `total` end-to-end seconds of those that completed. In the window,
    measured or not: `tokens`, `completed`, `good` (completed within bounds). In the whole run:
    `requests`, and the tokens `prompt`, `cached`, `output`, `generated`.
    """

    def __init__(self, stages: int) -> None:
        self.series = {name: Sketch() for name in SERIES}
        self.censored = dict.fromkeys(SERIES, 0)
        self.stages = [{name: Sketch() for name in _VISITS} for _ in range(stages)]
        self.outcomes = np.zeros(4, np.int64)
        self.where = np.zeros((stages, len(KINDS)))
        self.total = 0.0
        self.offered = self.met = self.tokens = self.completed = self.good = self.parallel = 0
        self.prompt = self.cached = self.output = self.generated = self.requests = 0

    def add(self, seen: Measures, mine: Mask) -> None:
        """Take in some requests of a part."""
        columns, measured = seen.run.requests, seen.measured & mine
        status = columns["status"]
        for name, sketch in self.series.items():
            if name == "itl":
                sketch.add(*token_gaps(seen.run, measured, seen.times))
            else:
                sketch.add(seen.column(name)[measured])
            self.censored[name] += seen.censored_of(name, measured)
        self.outcomes += np.bincount(status[measured], minlength=4)
        self.requests += int(mine.sum())
        self.offered += int(measured.sum())
        self.met += int((seen.met & measured).sum())
        self.parallel += int((seen.times.parallel & measured).sum())
        finished = seen.finished(*seen.window) & mine
        self.completed += int(finished.sum())
        self.good += int((finished & seen.met).sum())
        self.tokens += int(seen.tokens[mine].sum())
        admitted = mine & (status != REFUSED)
        self.prompt += int(columns["prompt_tokens"][admitted].sum())
        self.cached += int(columns["cached_tokens"][admitted].sum())
        self.output += int(columns["visible"][mine].sum())
        self.generated += int(columns["generated"][mine].sum())
        self._visits(seen, measured)
        done = measured & (status == COMPLETED)
        if done.any():
            parts = seen.attribution.by_stage(done)
            self.where += np.stack([parts[path] for path in seen.run.stages]) * int(done.sum())
            self.total += float(seen.column("e2e")[done].sum())

    def _visits(self, seen: Measures, measured: Mask) -> None:
        visits = seen.visits
        chosen = measured[visits.request]
        for index, sketches in enumerate(self.stages):
            rows = np.flatnonzero(chosen & (visits.stage == index))
            for name, sketch in sketches.items():
                sketch.add(getattr(visits, name)[rows])

    def merge(self, other: Cell) -> None:
        """Take in another cell."""
        for name, sketch in other.series.items():
            self.series[name].merge(sketch)
            self.censored[name] += other.censored[name]
        for mine, theirs in zip(self.stages, other.stages, strict=True):
            for name, sketch in theirs.items():
                mine[name].merge(sketch)
        self.outcomes += other.outcomes
        self.where += other.where
        for name in ("total", "offered", "met", "tokens", "completed", "good", "parallel", "prompt",
                     "cached", "output", "generated", "requests"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def done(self) -> int:
        """Measured requests that completed."""
        return int(self.outcomes[COMPLETED])

    def of_stage(self, series: str, stage: int) -> Sketch:
        """A series of `definitions.BY_STAGE` of the visits of one stage."""
        return self.stages[stage][_SERIES_OF_VISITS[series]]

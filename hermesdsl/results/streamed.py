"""Every metric of `definitions` of a run whose rows were not kept, from what `Summing` has.

Answers as `Measures` does, percentiles within `sketch.ERROR`. Knows no goal, file or layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hermesdsl.graph.types import RequestClass
from hermesdsl.results.attribution import KINDS
from hermesdsl.results.cells import Cell
from hermesdsl.results.definitions import OUTCOMES
from hermesdsl.results.metrics import lookups
from hermesdsl.results.places import Busy, Floats
from hermesdsl.results.sketch import Sketch
from hermesdsl.results.summing import Summing
from hermesdsl.sim.record import Run

if TYPE_CHECKING:
    from hermesdsl.results.bill import Bill
    from hermesdsl.results.energy import Meter

__all__ = ["Streamed"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class _Summed(Busy):
    """Utilisation from seconds that were summed."""

    sums: Summing

    @cached_property
    def clients(self) -> Mapping[str, float | None]:
        return self._shares(self.sums.busy)

    @cached_property
    def devices(self) -> Mapping[str, float | None]:
        return self._shares(self.sums.devices)

    def present(self) -> tuple[Floats, Floats]:
        length = self.window[1] - self.window[0]
        crowd = self.sums.crowd / length if length > 0 else 0.0 * self.sums.crowd
        return crowd[0], crowd[1]

    def _shares(self, seconds: Mapping[str, float | None]) -> dict[str, float | None]:
        length = self.window[1] - self.window[0]
        return {path: None if each is None or length <= 0 else each / length
                for path, each in seconds.items()}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Streamed:
    """Metrics of a run. `run` holds what was left at its end, and whatever is of the whole run."""

    run: Run
    sums: Summing
    meter: Meter | None = None
    bill: Bill | None = None

    @property
    def classes(self) -> Mapping[str, RequestClass]:
        """Bounds by class name."""
        return self.sums.classes

    @cached_property
    def window(self) -> tuple[float, float]:
        """Seconds over which rates are taken."""
        return self.sums.window(self.run)

    @cached_property
    def busy(self) -> Busy:
        """How busy things were in the window."""
        return _Summed(self.run, self.sums.places, self.window, self.sums)

    def cell(self, where: Mapping[str, str] = _NOTHING) -> Cell:
        """The sum of the cells of a workload and class."""
        run = self.run
        mine = [
            cell
            for (workload, klass), cell in self.sums.cells.items()
            if where.get("workload", run.workloads[workload]) == run.workloads[workload]
            and where.get("class", run.classes[klass]) == run.classes[klass]
        ]
        if len(mine) == 1:
            return mine[0]
        found = Cell(len(run.stages))
        for cell in mine:
            found.merge(cell)
        return found

    def groups(self) -> Iterable[tuple[str, Mapping[str, str], bool]]:
        """(title, selection, is everything) of each workload and named class that occurs."""
        run, cells = self.run, self.sums.cells
        used = {klass for _, klass in cells}
        for index, name in enumerate(run.workloads):
            yield f"workload.{name}", {"workload": name}, all(w == index for w, _ in cells)
        for index in sorted(used):
            if run.classes[index]:
                name = run.classes[index]
                yield f"class.{name}", {"class": name}, used == {index}

    def series(self, name: str, where: Mapping[str, str] = _NOTHING) -> Sketch:
        """The observations of a series among the measured requests, seconds."""
        cell = self.cell(where)
        if "stage" in where:
            return cell.of_stage(name, self.run.stages.index(where["stage"]))
        return cell.series[name]

    def censored(self, name: str, where: Mapping[str, str] = _NOTHING) -> int:
        """Measured requests that were cut off before their value of a series was known."""
        return self.cell(where).censored[name]

    def value(self, name: str, where: Mapping[str, str] = _NOTHING) -> float | None:
        """A metric of `metrics.VALUES`; None where nothing defines it."""
        if name == "hit_rate":
            asked, hits = self.lookups(where["tier"])
            return hits / asked if asked else None
        if name in ("energy_per_token", "cost_per_token"):
            entry = self.energy if name == "energy_per_token" else self.cost
            found = entry.get("per_token") if entry is not None else None
            return None if found is None else float(found)
        cell = self.cell(where)
        if name in ("attainment", "share"):
            hit = cell.met if name == "attainment" else cell.outcomes[OUTCOMES[where["outcome"]]]
            return float(hit / cell.offered) if cell.offered else None
        length = self.window[1] - self.window[0]
        counted = {"output_throughput": cell.tokens, "request_throughput": cell.completed,
                   "goodput": cell.good}[name]  # fmt: skip
        return counted / length if length > 0 else None

    @cached_property
    def energy(self) -> dict[str, Any] | None:
        """Entry ``energy`` of a summary."""
        return self.meter.summary(self.window, self.cell().tokens) if self.meter else None

    @cached_property
    def cost(self) -> dict[str, Any] | None:
        """Entry ``cost`` of a summary."""
        return self.bill.summary(self.window, self.cell().tokens) if self.bill else None

    def utilisation(self, path: str) -> float | None:
        """Of what a path names (see `places.Busy.of`)."""
        return self.busy.of(path)

    def lookups(self, tier: str) -> tuple[int, int]:
        """(tokens asked for, tokens found) in the prefix caches of engines."""
        return lookups(self.run, tier)

    def stages(self) -> dict[str, Any]:
        """As `breakdown.stages`."""
        cell = self.cell()
        found: dict[str, Any] = {}
        for path, sketches in zip(self.run.stages, cell.stages, strict=True):
            found[path] = {"n": sketches["queue"].n}
            for name in ("queue", "service", "moved"):
                found[path][name] = {each: sketches[name].statistic(each)
                                     for each in ("mean", "p50", "p99")}  # fmt: skip
            found[path]["unit"] = "s"
        return found

    def attribution(self) -> dict[str, Any] | None:
        """As `breakdown.attribution`, on average alone: of the slowest nothing is known."""
        cell = self.cell()
        if not cell.done:
            return None
        mean = cell.total / cell.done
        seconds = {path: dict(zip(KINDS, (row / cell.done).tolist(), strict=True))
                   for path, row in zip(self.run.stages, cell.where, strict=True)}  # fmt: skip
        shares = {path: {kind: part / mean if mean else 0.0 for kind, part in parts.items()}
                  for path, parts in seconds.items()}  # fmt: skip
        split = {"n": cell.done, "from": 0.0, "e2e": mean, "stages": seconds, "shares": shares}
        return {"unit": "s", "mean": split}

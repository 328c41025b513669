"""Every metric of `definitions`, computed from the records of one run.

Values are in SI units. Knows no goal, file or table layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import nan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.graph.types import RequestClass
from hermesdsl.results.attribution import Attribution, attribute
from hermesdsl.results.definitions import OUTCOMES
from hermesdsl.results.gaps import GapSeries
from hermesdsl.results.places import Busy, Places, below
from hermesdsl.results.series import Series, series_of
from hermesdsl.results.tokens import longest_gaps, step_means, tokens_between
from hermesdsl.results.visits import Visits, visits_of
from hermesdsl.sim.record import COMPLETED, UNFINISHED, Run
from hermesdsl.sim.tokens import TokenTimes

if TYPE_CHECKING:
    from hermesdsl.results.bill import Bill
    from hermesdsl.results.energy import Meter

__all__ = ["Measures"]

Floats: TypeAlias = "NDArray[np.float64]"
Mask: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True, eq=False)
class Measures:
    """Metrics of a run. Measured are the requests that arrive in [warmup, duration).

    `classes`: bounds by class name. A selection (`where`) is a mapping with any of ``workload``,
    ``class`` (names) and, for series of `BY_STAGE`, ``stage`` (path). `places`: devices and pools;
    `meter`, `bill`: of the same run; without them energy and cost are undefined.
    `between`: the window, where the run is a part of another.
    """

    run: Run
    classes: Mapping[str, RequestClass]
    places: Places = Places()  # noqa: RUF009  # frozen, and nothing in it can change
    meter: Meter | None = None
    bill: Bill | None = None
    between: tuple[float, float] | None = None

    # --- what is measured --------------------------------------------------------------------

    @cached_property
    def window(self) -> tuple[float, float]:
        """Seconds over which rates are taken.

        From warm-up to duration; without a duration from the first measured arrival to the last
        finish.
        """
        if self.between is not None:
            return self.between
        warmup, duration = self.run.window
        if duration is not None:
            return warmup, max(duration, warmup)
        arrival, finish = self.run.requests["arrival_s"], self.run.requests["finish_s"]
        measured = arrival >= warmup
        if not measured.any() or np.isnan(finish).all():
            return warmup, warmup
        return float(arrival[measured][0]), float(np.nanmax(finish))

    @cached_property
    def measured(self) -> Mask:
        """Which requests count, shape (n,)."""
        warmup, duration = self.run.window
        arrival = self.run.requests["arrival_s"]
        return np.asarray(
            (arrival >= warmup) & (arrival < (np.inf if duration is None else duration))
        )

    def chosen(self, where: Mapping[str, str]) -> Mask:
        """Requests of a workload and class, measured or not, shape (n,)."""
        columns = self.run.requests
        mask = np.full(len(columns["id"]), True)
        for key, names in (("workload", self.run.workloads), ("class", self.run.classes)):
            if key in where:
                name = where[key]
                mask &= columns[key] == (names.index(name) if name in names else -1)
        return mask

    # --- per request ---------------------------------------------------------------------------

    def column(self, name: str) -> Floats:
        """One value of a series per request, seconds, shape (n,), NaN where undefined.

        For `itl` the longest gap of each request.
        """
        columns = self.run.requests
        arrival, first = columns["arrival_s"], columns["first_token_s"]
        if name == "ttft":
            return np.asarray(first - arrival)
        if name == "e2e":
            return np.asarray(columns["finish_s"] - arrival)
        if name == "tpot":
            tokens = columns["visible"]
            span = columns["last_token_s"] - first
            nothing = np.full(len(first), nan)
            return np.asarray(np.divide(span, tokens - 1.0, out=nothing, where=tokens > 1))
        if name == "queue":
            return self._queue
        return self._longest_gaps if name == "itl" else self._step_means

    @cached_property
    def times(self) -> TokenTimes:
        """When visible tokens came."""
        return TokenTimes(self.run)

    @cached_property
    def visits(self) -> Visits:
        """Every complete visit of a stage."""
        return visits_of(self.run)

    @cached_property
    def attribution(self) -> Attribution:
        """Where the time of every completed request went."""
        return attribute(self.run)

    @cached_property
    def busy(self) -> Busy:
        """How busy things were in the window."""
        return Busy(self.run, self.places, self.window)

    @cached_property
    def _longest_gaps(self) -> Floats:
        return longest_gaps(self.times)

    @cached_property
    def _step_means(self) -> Floats:
        return step_means(self.times)

    @cached_property
    def _queue(self) -> Floats:
        n = len(self.run.requests["id"])
        visits = self.visits
        request = visits.request[visits.critical]
        total = np.bincount(request, visits.queue[visits.critical], n)
        return np.where(np.bincount(request, minlength=n) > 0, total, nan)

    @cached_property
    def met(self) -> Mask:
        """Completed requests within every bound of their class, shape (n,)."""
        good = np.asarray(self.run.requests["status"] == COMPLETED)
        for index, name in enumerate(self.run.classes):
            mine = self.run.requests["class"] == index
            for metric, bound in self.bounds(name).items():
                # A NaN (one token has no tpot) misses nothing.
                good = good & ~(mine & (self.column(metric) > bound))
        return good

    def bounds(self, name: str) -> Mapping[str, float]:
        """Bounds in seconds of a class; none for the unnamed class."""
        known = self.classes.get(name)
        return known.bounds if known else {}

    # --- metrics -------------------------------------------------------------------------------

    def series(
        self, name: str, where: Mapping[str, str] = MappingProxyType({})
    ) -> Series | GapSeries:
        """The observations of a series among the measured requests, seconds.

        With a ``stage`` those of every visit of it (see `BY_STAGE`).
        """
        mask = self.measured & self.chosen(where)
        if "stage" in where:
            return series_of(self._of_stage(name, where["stage"])[mask[self.visits.request]])
        if name == "itl":
            return GapSeries(self.times.gaps(mask))
        return series_of(self.column(name)[mask])

    def _of_stage(self, name: str, stage: str) -> Floats:
        """One value per visit, NaN for those of other stages."""
        visits = self.visits
        values = {"ttft": visits.ttft, "queue": visits.queue, "e2e": visits.stay}[name]
        mine = visits.stage == self.run.stages.index(stage)
        return np.where(mine, values, nan)

    def censored(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> int:
        """Measured requests that were cut off before their value of a series was known."""
        return self.censored_of(name, self.measured & self.chosen(where))

    def censored_of(self, name: str, mask: Mask) -> int:
        """`censored` among some requests."""
        cut = mask & (self.run.requests["status"] == UNFINISHED)
        if name == "ttft":
            cut = cut & np.isnan(self.run.requests["first_token_s"])
        return int(cut.sum())

    def value(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> float | None:
        """A metric of `VALUES`; None where nothing defines it."""
        return VALUES[name](self, where)

    def per_second(self, count: Callable[[float, float], float]) -> float | None:
        """`count`(start, end) of the window, over its length; None without a window.

        A window that ends with the last finish contains it.
        """
        start, end = self.window
        if end <= start:
            return None
        until = float(np.nextafter(end, np.inf)) if self.run.window[1] is None else end
        return count(start, until) / (end - start)

    def finished(self, start: float, end: float) -> Mask:
        """Requests that completed in [start, end) seconds, shape (n,)."""
        finish = self.run.requests["finish_s"]
        return np.asarray((finish >= start) & (finish < end))

    @cached_property
    def energy(self) -> Mapping[str, Any] | None:
        """Entry ``energy`` of the summary (`Meter.summary`)."""
        return self.meter.summary(self.window, self.window_tokens) if self.meter else None

    @cached_property
    def cost(self) -> Mapping[str, Any] | None:
        """Entry ``cost`` of the summary (`Bill.summary`)."""
        return self.bill.summary(self.window, self.window_tokens) if self.bill else None

    @property
    def window_tokens(self) -> int:
        """Visible tokens that came in the window."""
        return int(self.tokens.sum())

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """Visible tokens of each request that came in the window, shape (n,)."""
        start, end = self.window
        until = float(np.nextafter(end, np.inf)) if self.run.window[1] is None else end
        return tokens_between(self.times, start, until)

    def output(self, mask: Mask) -> float | None:
        """Visible tokens per second of some requests; None without a window."""
        return self.per_second(lambda _start, _end: float(self.tokens[mask].sum()))

    def per_token(self, name: str) -> float | None:
        """``energy_per_token`` (J/tok) or ``cost_per_token`` ($/tok); None where undefined."""
        entry = self.energy if name == "energy_per_token" else self.cost
        found = entry.get("per_token") if entry is not None else None
        return None if found is None else float(found)

    def utilisation(self, path: str) -> float | None:
        """Of what a path names (see `places.Busy.of`); None without a window, or for a `Delay`."""
        return self.busy.of(path)

    def lookups(self, tier: str) -> tuple[int, int]:
        """(tokens asked for, tokens found) in a tier, a cache or the prefix caches of engines.

        A cache is asked once, at its first tier, and has what any of its tiers has.
        """
        return lookups(self.run, tier)


def lookups(run: Run, tier: str) -> tuple[int, int]:
    """See `Measures.lookups`."""
    tiers = [each for each in run.tiers if below(each.tier, tier)]
    if tiers:
        return max(each.asked for each in tiers), sum(each.hits for each in tiers)
    engines = [each for each in run.engines if below(each.client, tier)]
    return sum(each.asked for each in engines), sum(each.hits for each in engines)


# --- metrics with one value --------------------------------------------------------------------

Where: TypeAlias = "Mapping[str, str]"


def _output(seen: Measures, where: Where) -> float | None:
    return seen.output(seen.chosen(where))


def _completed(seen: Measures, where: Where) -> float | None:
    mask = seen.chosen(where)
    return seen.per_second(lambda a, b: float((seen.finished(a, b) & mask).sum()))


def _good(seen: Measures, where: Where) -> float | None:
    mask = seen.chosen(where) & seen.met
    return seen.per_second(lambda a, b: float((seen.finished(a, b) & mask).sum()))


def _attained(seen: Measures, where: Where) -> float | None:
    return _share(seen, where, seen.met)


def _outcome(seen: Measures, where: Where) -> float | None:
    return _share(seen, where, seen.run.requests["status"] == OUTCOMES[where["outcome"]])


def _share(seen: Measures, where: Where, hit: Mask) -> float | None:
    offered = seen.measured & seen.chosen(where)
    return float((hit & offered).sum() / offered.sum()) if offered.any() else None


def _hit_rate(seen: Measures, where: Where) -> float | None:
    asked, hits = seen.lookups(where["tier"])
    return hits / asked if asked else None


#: How each metric with one value per run, or per group of requests, is computed.
VALUES: Mapping[str, Callable[[Measures, Where], float | None]] = MappingProxyType(
    {
        "output_throughput": _output,
        "request_throughput": _completed,
        "goodput": _good,
        "attainment": _attained,
        "share": _outcome,
        "hit_rate": _hit_rate,
        "energy_per_token": lambda seen, where: seen.per_token("energy_per_token"),
        "cost_per_token": lambda seen, where: seen.per_token("cost_per_token"),
    }
)

"""What every metric means, computed from the records of one run.

`DEFINITIONS` is the one place that says so in words; tables and documentation print it. Values are
in SI units. Knows no goal, file or table layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import nan
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.graph.types import RequestClass
from hermesdsl.results.tokens import longest_gaps, step_means, tokens_between
from hermesdsl.sim.record import COMPLETED, REFUSED, UNFINISHED, Run
from hermesdsl.sim.tokens import token_gaps

__all__ = ["DEFINITIONS", "PERCENTILES", "SERIES", "Definition", "Measures", "Series"]

Floats: TypeAlias = "NDArray[np.float64]"
Mask: TypeAlias = "NDArray[np.bool_]"


class Definition(NamedTuple):
    """What a metric is, in one line, and its SI unit."""

    text: str
    unit: str


#: Metrics with one value per request (`itl`: one per token).
SERIES: Mapping[str, Definition] = MappingProxyType(
    {
        "ttft": Definition("first visible token - arrival", "s"),
        "tpot": Definition(
            "(last - first token) / (tokens - 1); undefined for one token, which is left out", "s"
        ),
        "itl": Definition("gap between two tokens of a request, stalls included", "s"),
        "tpot_step": Definition(
            "mean length of the decode steps that made a request's tokens; hides stalls", "s"
        ),
        "e2e": Definition("finish - arrival, of completed requests", "s"),
        "queue": Definition("time before the first step of each stage, summed over stages", "s"),
    }
)

#: Metrics with one value per run, or per group of requests.
RATES: Mapping[str, Definition] = MappingProxyType(
    {
        "output_throughput": Definition("output tokens that came in the window / window", "tok/s"),
        "request_throughput": Definition("requests completed in the window / window", "req/s"),
        "goodput": Definition(
            "requests completed in the window that met every bound of their class / window",
            "req/s",
        ),
        "attainment": Definition(
            "share of measured requests that met every bound of their class; refused and "
            "unfinished ones miss",
            "1",
        ),
    }
)

OTHERS: Mapping[str, Definition] = MappingProxyType(
    {
        "share": Definition("share of measured requests with an outcome", "1"),
        "utilisation": Definition("share of the window in which a client ran steps", "1"),
    }
)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType({**SERIES, **RATES, **OTHERS})

PERCENTILES: Mapping[str, float] = MappingProxyType(
    {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
)

#: Words of `share(outcome = …)`.
OUTCOMES: Mapping[str, int] = MappingProxyType(
    {"completed": COMPLETED, "refused": REFUSED, "unfinished": UNFINISHED}
)


@dataclass(frozen=True, eq=False)
class Series:
    """Sorted values and how often each occurs (int counts), shape (m,) each; `n` in all."""

    values: Floats
    counts: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of observations."""
        return int(self.counts.sum())

    def statistic(self, name: str) -> float | None:
        """``mean``, ``max`` or a percentile as NumPy's ``linear`` gives it; None without data."""
        if not len(self.values):
            return None
        if name == "mean":
            return float(np.dot(self.values, self.counts) / self.counts.sum())
        if name == "max":
            return float(self.values[-1])
        return self._percentile(PERCENTILES[name])

    def _percentile(self, percent: float) -> float:
        """Between the two observations next to place (n - 1) q of the sorted n."""
        upto = np.cumsum(self.counts)
        place = (float(upto[-1]) - 1.0) * percent / 100.0
        below = int(place)
        low, high = np.searchsorted(upto, [below, min(below + 1, int(upto[-1]) - 1)], "right")
        share = place - below
        start, end = float(self.values[low]), float(self.values[high])
        return start + (end - start) * share


def _series(values: Floats) -> Series:
    kept = np.sort(values[~np.isnan(values)])
    return Series(kept, np.ones(len(kept), dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Measures:
    """Metrics of a run. Measured are the requests that arrive in [warmup, duration).

    `classes`: bounds by class name. A selection (`where`) is a mapping with any of ``workload``,
    ``class`` (names) and, for `queue` and `e2e`, ``stage`` (path).
    """

    run: Run
    classes: Mapping[str, RequestClass]

    # --- what is measured --------------------------------------------------------------------

    @cached_property
    def window(self) -> tuple[float, float]:
        """Seconds over which rates are taken.

        From warm-up to duration; without a duration from the first measured arrival to the last
        finish.
        """
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

    def column(self, name: str, stage: str | None = None) -> Floats:
        """One value of a series per request, seconds, shape (n,), NaN where undefined.

        For `itl` the longest gap of each request. With a `stage`: from entering it to its start
        (`queue`) or to its end (`e2e`).
        """
        columns = self.run.requests
        if stage is not None:
            enter = columns[f"{stage}.enter_s"]
            until = columns[f"{stage}.{'start_s' if name == 'queue' else 'end_s'}"]
            return np.asarray(until - enter)
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
    def _longest_gaps(self) -> Floats:
        return longest_gaps(self.run)

    @cached_property
    def _step_means(self) -> Floats:
        return step_means(self.run)

    @cached_property
    def _queue(self) -> Floats:
        total = np.full(len(self.run.requests["id"]), nan)
        for stage in self.run.stages:
            wait = self.column("queue", stage)
            total = np.where(np.isnan(wait), total, np.nan_to_num(total) + np.nan_to_num(wait))
        return total

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

    def series(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> Series:
        """The observations of a series among the measured requests, seconds."""
        mask = self.measured & self.chosen(where)
        if name == "itl":
            values, weights = token_gaps(self.run, mask)
            order = np.argsort(values, kind="stable")
            return Series(values[order], weights[order])
        return _series(self.column(name, where.get("stage"))[mask])

    def censored(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> int:
        """Measured requests that were cut off before their value of a series was known."""
        mask = self.measured & self.chosen(where)
        cut = mask & (self.run.requests["status"] == UNFINISHED)
        if name == "ttft":
            cut = cut & np.isnan(self.run.requests["first_token_s"])
        return int(cut.sum())

    def value(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> float | None:
        """A metric of `RATES` or `share`; None where nothing defines it."""
        mask = self.chosen(where)
        offered = self.measured & mask
        if name in ("attainment", "share"):
            hit = self.met if name == "attainment" else self._outcome(where["outcome"])
            return float((hit & offered).sum() / offered.sum()) if offered.any() else None
        start, end = self.window
        if end <= start:
            return None
        until = np.nextafter(end, np.inf) if self.run.window[1] is None else end
        if name == "output_throughput":
            return float(tokens_between(self.run, start, until)[mask].sum() / (end - start))
        finish = self.run.requests["finish_s"]
        done = mask & (finish >= start) & (finish < until)
        if name == "goodput":
            done = done & self.met
        return float(done.sum() / (end - start))

    def _outcome(self, outcome: str) -> Mask:
        return np.asarray(self.run.requests["status"] == OUTCOMES[outcome])

    def utilisation(self, client: str) -> float | None:
        """Share of the window in which the clients at or below a path ran steps; None if none."""
        start, end = self.window
        paths = self.run.clients
        chosen = [i for i, path in enumerate(paths) if _below(path, client)]
        if not chosen or end <= start:
            return None
        steps = self.run.steps
        rows = np.isin(steps["client"], chosen)
        busy = np.minimum(steps["end_s"][rows], end) - np.maximum(steps["start_s"][rows], start)
        return float(np.maximum(busy, 0.0).sum() / (end - start) / len(chosen))


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith((f"{prefix}[", f"{prefix}."))

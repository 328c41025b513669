"""Bounds of a run that it can be seen to pass while it goes, since so many values beyond one are
enough whatever comes.

A percentile of at most n values is above a bound as soon as more than its share of n are: values
of requests that are there stay, and no request comes that is not offered. So a run that is ended
here would have passed the bound. Knows the columns of a run; no goal, seed or other run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.graph.types import CompiledSystem, Experiment, Metric, RequestClass
from hermesdsl.results.definitions import PERCENTILES
from hermesdsl.results.floors import answers
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.patience import OPTIONS as PATIENCE
from hermesdsl.sim.record import COMPLETED, Recorder

__all__ = ["Bar", "Missed", "certain", "told", "watch", "watched"]

#: Looks at a run, evenly over its arrivals.
_LOOKS = 100
#: A sum of values and their number times their mean differ by their rounding.
_ROUNDED = 1.0 + 1e-12
#: Series with a value per request that stays as it is once it is there.
_SERIES = ("ttft", "tpot", "e2e")
_FILTERS = frozenset({"workload", "class"})

Floats: TypeAlias = "NDArray[np.float64]"
Mask: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True)
class Bar:
    """What a `metric` of a whole run may not be above, in SI units; an attainment: not below.

    `text` says whose bound it is.
    """

    metric: Metric
    limit: float
    text: str


class Missed(Exception):
    """The run passes `bar` for certain, as was seen at `now` (simulated seconds)."""

    def __init__(self, bar: Bar, now: float) -> None:
        super().__init__(bar.text)
        self.bar, self.now = bar, now


def told(metric: Metric) -> bool:
    """Whether a bound on a metric can be seen to be passed before the end."""
    if not metric.where.keys() <= _FILTERS:
        return False
    if metric.name == "attainment":
        return True
    return metric.of in _SERIES and metric.name in ("mean", "max", *PERCENTILES)


def certain(name: str, limit: float, values: Floats, most: int) -> bool:
    """Whether a statistic of at most `most` values, none below 0, is above a limit.

    `values`: those that are there, shape (n,). See `Series.statistic`, whose rule for the place of
    a percentile this is: with more values below it, it only comes to stand on a smaller one.
    """
    if name == "mean":
        return float(values.sum()) > limit * most * _ROUNDED
    above = int(np.count_nonzero(values > limit))
    if name == "max":
        return above > 0
    return 0 < most <= above + int((most - 1.0) * PERCENTILES[name] / 100.0)


def watched(system: CompiledSystem, experiment: Experiment) -> bool:
    """Whether the values of a request stay once they are there.

    Not where it may be given up and tried again, which forgets what it saw; nor where it has
    several answers, of which one may turn out to have begun before another.
    """
    workloads = [system.workloads[name] for name in experiment.workloads]
    return not any(PATIENCE & each.options.keys() for each in workloads) and all(
        answers(system.pipelines[each.pipeline]) == 1 for each in workloads
    )


def watch(
    bars: Sequence[Bar],
    classes: Mapping[str, RequestClass],
    experiment: Experiment,
    kernel: Kernel,
    offered: Offered,
    recorder: Recorder,
) -> None:
    """Look at a run from time to time, which raises `Missed`; see `watched`."""
    known = offered.arrival[np.isfinite(offered.arrival)]
    if not len(known) or not bars:
        return
    seen = _Seen(bars, classes, experiment, offered, recorder)
    span = experiment.duration if experiment.duration is not None else float(known[-1])
    if span > 0.0:
        kernel.every(span / _LOOKS, seen.look)


class _Seen:
    """The requests of a run that bars are about, and what is known of them."""

    def __init__(
        self, bars: Sequence[Bar], classes: Mapping[str, RequestClass], experiment: Experiment,
        offered: Offered, recorder: Recorder,
    ) -> None:  # fmt: skip
        self._bars = [(bar, _chosen(offered, bar.metric.where)) for bar in bars]
        self._bounds = _bounds(offered, classes)
        self._warmup, self._until = experiment.warmup, experiment.duration
        self._recorder = recorder

    def look(self, now: float) -> None:
        """Raises `Missed` for the first bar that is passed for certain."""
        recorder = self._recorder
        arrival = np.frombuffer(recorder.arrival)
        coming = ~np.isfinite(arrival)
        until = np.inf if self._until is None else self._until
        measured = coming | ((arrival >= self._warmup) & (arrival < until))
        columns = _columns(recorder, arrival)
        for bar, chosen in self._bars:
            mine = measured & chosen
            most = int(np.count_nonzero(mine))
            if bar.metric.name == "attainment":
                missed = int(np.count_nonzero(mine & self._missed(columns)))
                passed = most > 0 and (most - missed) / most < bar.limit
            else:
                values = columns[str(bar.metric.of)][mine]
                there = values[~np.isnan(values)]
                passed = certain(bar.metric.name, bar.limit, there, most)
            if passed:
                raise Missed(bar, now)

    def _missed(self, columns: Mapping[str, Floats]) -> Mask:
        """Requests that are beyond a bound of their class (NaN is not)."""
        found = np.full(len(columns["ttft"]), False)
        for series, bound in self._bounds.items():
            found |= columns[series] > bound
        return found


def _columns(recorder: Recorder, arrival: Floats) -> dict[str, Floats]:
    """By series its values that will not change, NaN for all others, shape (n,) each."""
    first, finish = np.frombuffer(recorder.first), np.frombuffer(recorder.finish)
    tokens = np.frombuffer(recorder.visible, np.int64)
    ended = np.frombuffer(recorder.status, np.int8) == COMPLETED
    nothing = np.full(len(first), np.nan)
    span = np.frombuffer(recorder.last) - first
    tpot = np.divide(span, tokens - 1.0, out=nothing, where=ended & (tokens > 1))
    e2e = np.where(ended, finish - arrival, np.nan)
    return {"ttft": first - arrival, "tpot": tpot, "e2e": e2e}


def _chosen(offered: Offered, where: Mapping[str, str]) -> Mask:
    """Requests of a workload and class, shape (n,)."""
    mask = np.full(len(offered), True)
    for key, column, names in (("workload", offered.workload, offered.workloads),
                               ("class", offered.klass, offered.classes)):  # fmt: skip
        if key in where:
            name = where[key]
            mask &= column == (names.index(name) if name in names else -1)
    return mask


def _bounds(offered: Offered, classes: Mapping[str, RequestClass]) -> dict[str, Floats]:
    """By series the bound of each request's class, inf for none, shape (n,) each."""
    found = {series: np.full(len(offered), np.inf) for series in _SERIES}
    for index, name in enumerate(offered.classes):
        bounds = classes[name].bounds if name in classes else {}
        for series in found.keys() & bounds.keys():
            if isfinite(bounds[series]):
                found[series][offered.klass == index] = bounds[series]
    return found

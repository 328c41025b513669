"""The gaps between a request's visible tokens, exactly, stalls and preemptions included.

Computed from the step rows and residences of a `Run`: nothing was stored per token. While a
request stays among the decoding sequences of a client, its tokens come at the ends of the
client's decode steps (with speculation, several at once), so the gaps of all requests there are
differences of one series of times, each weighted with the number of requests that saw it. Within
a row of steps they grow evenly and are seen by the same requests, so they stay a stretch of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.record import Column, Run
from hermesdsl.sim.step_times import Steps, StepTimes, spread


def step_ends(run: Run, client: int) -> Column:
    """Ends in seconds of a client's decode steps 1, 2, …: shape (steps,)."""
    times = StepTimes(run.steps, len(run.clients))
    return times.ends(np.arange(times.bases[client], times.bases[client + 1]) + 1)


@dataclass(frozen=True, eq=False)
class Gaps:
    """Gaps between tokens: single ones, and stretches of such as follow each other in a row.

    `values` in seconds and `counts`, how many requests saw each, shape (m,). Stretch i has the gaps
    between steps j and j + 1 of row `row`[i] of `times`, `low`[i] ≤ j < `high`[i], each of which
    `weight`[i] requests saw; shape (stretches,).
    """

    times: StepTimes
    values: Column
    counts: Column
    row: Column
    low: Column
    high: Column
    weight: Column

    def spelt_out(self) -> tuple[Column, Column]:
        """(gaps in seconds, how many requests saw each), shape (gaps,) each."""
        row, step = spread(self.row, self.low, self.high + 1)
        last = np.cumsum(self.high - self.low + 1) - 1
        kept = np.ones(len(row), bool)
        kept[last] = False
        inner = np.diff(self.times.at(row, step), append=0.0)[kept]
        weights = np.repeat(self.weight, self.high - self.low)
        return np.concatenate([self.values, inner]), np.concatenate([self.counts, weights])


class TokenTimes:
    """When the visible tokens of a run came; what is asked for twice is worked out once."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def steps(self) -> StepTimes:
        """The decode steps of all clients."""
        return StepTimes(self.run.steps, len(self.run.clients))

    @cached_property
    def told(self) -> Column:
        """Rows of `Run.residences` that brought tokens, by client."""
        stays = self.run.residences
        rows = rows_by(stays["client"], stays["last_step"] > stays["first_step"])
        return np.concatenate([np.empty(0, np.int64), *rows.values()])

    def stay(self, name: str) -> Column:
        """A column of these rows."""
        return np.asarray(self.run.residences[name][self.told])

    @cached_property
    def came(self) -> Steps:
        """The steps that brought the first token of these stays."""
        return self.steps.find(self.steps.bases[self.stay("client")] + self.stay("first_step") + 1)

    @cached_property
    def left(self) -> Steps:
        """And the last."""
        return self.steps.find(self.steps.bases[self.stay("client")] + self.stay("last_step"))

    @cached_property
    def until(self) -> Column:
        """Time of the last token of each stay, seconds; without any, that of the one before."""
        until = self.run.residences["since_s"].copy()
        until[self.told] = self.steps.at(self.left.row, self.left.step)
        return until

    @cached_property
    def parallel(self) -> Column:
        """Which requests show several answers at once, booleans of shape (requests,).

        Their tokens are no single series, so gaps between them are not defined.
        """
        request, since, until, _ = self._events
        found = np.zeros(len(self.run.requests["id"]), bool)
        meet = (request[1:] == request[:-1]) & (since[1:] < until[:-1])
        found[request[1:][meet]] = True
        return found

    @cached_property
    def pauses(self) -> tuple[Column, Column]:
        """(request, seconds since its token before) of every row of `shown` that has one before."""
        request, since, until, fresh = self._events
        after = np.flatnonzero((request[1:] == request[:-1]) & fresh[1:])
        return request[after + 1], since[after + 1] - until[after]

    @cached_property
    def entries(self) -> Column:
        """Gap before the first token of each stay that brought any: seconds."""
        return np.asarray(self.steps.at(self.came.row, self.came.step) - self.stay("since_s"))

    @cached_property
    def stretches(self) -> Stretches:
        """What of the rows of steps the same requests saw."""
        return Stretches(self.steps, self.came, self.left)

    @cached_property
    def _events(self) -> tuple[Column, Column, Column, Column]:
        """(request, start, end, is a row of `shown`) of those and of stays with tokens, by time."""
        shown = self.run.shown
        request = np.concatenate([self.stay("request"), shown["request"]])
        since = np.concatenate([self.stay("since_s"), shown["time_s"]])
        until = np.concatenate([self.until[self.told], shown["time_s"]])
        fresh = np.arange(len(request)) >= len(self.told)
        order = np.lexsort((until, since, request))
        return request[order], since[order], until[order], fresh[order]

    def gaps(self, chosen: Column | None = None) -> Gaps:
        """Of some requests, booleans of shape (requests,); of all if None.

        The counts sum to the visible tokens of requests less one per request that has any;
        requests that show several answers at once are left out.
        """
        counted = ~self.parallel if chosen is None else chosen & ~self.parallel
        mine = counted[self.stay("request")]
        stretches = self.stretches
        seen = stretches.seen(mine)
        single = np.flatnonzero((seen > 0) & stretches.between)
        inner = np.flatnonzero((seen > 0) & ~stretches.between)
        request, pause = self.pauses
        pause = pause[counted[request]]
        entries = self.entries[mine]
        weight = seen[inner]
        low, high = stretches.low[inner], stretches.high[inner]
        tokens = self.run.requests["visible"][counted]
        once = np.ones(len(entries) + len(pause), np.int64)
        told = len(once) + int(seen[single].sum() + (weight * (high - low)).sum())
        at_once = int(tokens.sum() - np.count_nonzero(tokens)) - told
        rest = np.full(1 if at_once else 0, at_once)
        lengths = stretches.lengths(single)
        values = np.concatenate([entries, pause, lengths, np.zeros(len(rest))])
        counts = np.concatenate([once, seen[single], rest])
        return Gaps(self.steps, values, counts, stretches.row[inner], low, high, weight)


class Stretches:
    """The gaps between the steps of rows, cut where stays begin and end.

    Stretch i has the gaps after steps `low`[i] ≤ j < `high`[i] of row `row`[i] of `steps`, or if it
    is `between` two rows, that after the last step of its row alone. Of stay s, the first token
    opens stretch `first`[s], and the last one stretch `last`[s], the first that it does not see.
    """

    def __init__(self, steps: StepTimes, came: Steps, left: Steps) -> None:
        self.steps = steps
        count = steps.count
        # A row of one step has no gap of its own.
        several = count > 1
        begins = np.arange(len(count)) + np.cumsum(several) - several
        ends = begins + several
        self.row = np.repeat(np.arange(len(count)), 1 + several)
        self.low = np.ones(len(self.row), np.int64)
        self.low[ends] = count
        self.first, self.last = begins[came.row], ends[left.row]
        if not ((came.step == 1).all() and (left.step == count[left.row]).all()):
            self._cut(came, left)
        self.between = self.low == count[self.row]
        self.high = np.where(self.between, self.low, np.append(self.low[1:], 0))

    def _cut(self, came: Steps, left: Steps) -> None:
        """Cut where stays begin and end within rows."""
        steps = self.steps
        edges = steps.upto[self.row] - steps.count[self.row] + self.low
        edges = np.union1d(edges, np.concatenate([came.number, left.number]))
        _, self.row, self.low = steps.find(edges)
        self.first, self.last = (np.searchsorted(edges, cut.number) for cut in (came, left))

    def seen(self, mine: Column) -> Column:
        """How many of some stays saw each stretch; booleans of shape (stays,)."""
        size = len(self.row)
        came = np.bincount(self.first[mine], minlength=size)
        return np.cumsum(came - np.bincount(self.last[mine], minlength=size))

    def lengths(self, single: Column) -> Column:
        """Gaps between rows, in seconds: from the end of one to the first step of the next."""
        row = self.row[single]
        return np.asarray(self.steps.at(row + 1, np.ones(len(row), np.int64)) - self.steps.end[row])

    @cached_property
    def longest(self) -> Column:
        """The longest gap of each stretch, seconds; -inf after the last row."""
        steps, row = self.steps, self.row
        found = np.full(len(row), -np.inf)
        between = np.flatnonzero(self.between & (row + 1 < len(steps.count)))
        found[between] = self.lengths(between)
        # Where steps grow, or shrink, by more than rounding, the last or the first is the longest.
        inner = np.flatnonzero(~self.between)
        growth = steps.growth[row[inner]]
        sure = np.abs(growth) > 2.0 * steps.error
        steep = inner[sure]
        at = np.where(growth[sure] > 0.0, self.high[steep] - 1, self.low[steep])
        found[steep] = steps.at(row[steep], at + 1) - steps.at(row[steep], at)
        flat = inner[~sure]
        length = self.high[flat] - self.low[flat]
        rows, step = spread(row[flat], self.low[flat], self.high[flat])
        if len(flat):
            gaps = steps.at(rows, step + 1) - steps.at(rows, step)
            found[flat] = np.maximum.reduceat(gaps, np.cumsum(length) - length)
        return found


def token_gaps(
    run: Run, chosen: Column | None = None, times: TokenTimes | None = None
) -> tuple[Column, Column]:
    """(gaps in seconds, how many requests saw each) of `TokenTimes.gaps`, in no order of time."""
    return (TokenTimes(run) if times is None else times).gaps(chosen).spelt_out()

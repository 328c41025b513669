"""The gaps between a request's visible tokens, exactly, stalls and preemptions included.

Computed from the step rows and residences of a `Run`: nothing was stored per token. While a
request stays among the decoding sequences of a client, its tokens come at the ends of the
client's decode steps (with speculation, several at once), so the gaps of all requests there are
differences of one series of times, each weighted with the number of requests that saw it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.record import Column, Run, Table


def step_ends(run: Run, client: int) -> Column:
    """Ends in seconds of a client's decode steps 1, 2, …: shape (steps,).

    Within a row, step j of k ends at start + j·first + c·j(j − 1)/2, with c such that step k ends
    where the row does (step times are affine in the summed context, and this grows evenly).
    """
    return ends_of_rows(run.steps, decoding_rows(run.steps).get(client, _NONE))


_NONE = np.empty(0, np.int64)


def decoding_rows(table: Table) -> dict[int, Column]:
    """Places of the rows of a table of steps in which each client decoded."""
    return rows_by(table["client"], table["batch"] > 0)


def ends_of_rows(table: Table, rows: Column) -> Column:
    """`step_ends`, from the rows of a table of steps in which a client decoded."""
    count = table["steps"][rows]
    if not len(count):
        return np.empty(0)
    start, end, first = (table[name][rows] for name in ("start_s", "end_s", "first_s"))
    growth = np.where(count > 1, 2.0 * (end - start - count * first), 0.0)
    growth /= np.maximum(count * (count - 1), 1)
    row = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + 1.0
    times = start[row] + step * first[row] + growth[row] * (step * (step - 1) / 2)
    times[np.cumsum(count) - 1] = end
    return np.asarray(times)


class TokenTimes:
    """When the visible tokens of a run came; what is asked for twice is worked out once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._ends: dict[int, Column] = {}

    @cached_property
    def steps(self) -> dict[int, Column]:
        """Rows of `Run.steps` in which each client decoded."""
        return decoding_rows(self.run.steps)

    @cached_property
    def stays(self) -> dict[int, Column]:
        """Rows of `Run.residences` at each client that brought tokens."""
        stays = self.run.residences
        return rows_by(stays["client"], stays["last_step"] > stays["first_step"])

    def ends(self, client: int) -> Column:
        """See `step_ends`."""
        if client not in self._ends:
            self._ends[client] = ends_of_rows(self.run.steps, self.steps.get(client, _NONE))
        return self._ends[client]

    @cached_property
    def until(self) -> Column:
        """Time of the last token of each stay, seconds; without any, that of the one before."""
        stays = self.run.residences
        until = stays["since_s"].copy()
        for client, here in self.stays.items():
            until[here] = self.ends(client)[stays["last_step"][here] - 1]
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
    def _events(self) -> tuple[Column, Column, Column, Column]:
        """(request, start, end, is a row of `shown`) of those and of stays with tokens, by time."""
        stays, shown = self.run.residences, self.run.shown
        told = stays["last_step"] > stays["first_step"]
        request = np.concatenate([stays["request"][told], shown["request"]])
        since = np.concatenate([stays["since_s"][told], shown["time_s"]])
        until = np.concatenate([self.until[told], shown["time_s"]])
        fresh = np.arange(len(request)) >= int(told.sum())
        order = np.lexsort((until, since, request))
        return request[order], since[order], until[order], fresh[order]


def token_gaps(
    run: Run, chosen: Column | None = None, times: TokenTimes | None = None
) -> tuple[Column, Column]:
    """(gaps in seconds, how many requests saw each), shape (m,) each, in no order of time.

    `chosen`: which requests, booleans of shape (requests,); all if None. The weights sum to the
    visible tokens of requests less one per request that has any; requests that show several
    answers at once are left out.
    """
    times = TokenTimes(run) if times is None else times
    counted = ~times.parallel if chosen is None else chosen & ~times.parallel
    stays = run.residences
    everyone = bool(counted.all())
    gaps, weights = [], []
    for client, rows in times.stays.items():
        here = rows if everyone else rows[counted[stays["request"][rows]]]
        if not len(here):
            continue
        ends = times.ends(client)
        first, last, since = (stays[name][here] for name in ("first_step", "last_step", "since_s"))
        gaps.append(ends[first] - since)
        weights.append(np.ones(len(here), np.int64))
        size = len(ends) + 1
        came = np.bincount(first + 1, minlength=size)
        seen = np.cumsum(came - np.bincount(last, minlength=size))[1:-1]
        told = seen > 0
        gaps.append(np.diff(ends)[told])
        weights.append(seen[told])
    request, pause = times.pauses
    mine = counted[request]
    gaps.append(pause[mine])
    weights.append(np.ones(int(mine.sum()), np.int64))
    seen_of = run.requests["visible"][counted]
    at_once = int(seen_of.sum() - np.count_nonzero(seen_of)) - int(sum(w.sum() for w in weights))
    gaps.append(np.zeros(1 if at_once else 0))
    weights.append(np.full(1 if at_once else 0, at_once))
    return np.concatenate(gaps), np.concatenate(weights)

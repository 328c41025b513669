"""What each request saw of its own tokens: longest gap, step lengths, tokens within a window.

Works on the ends of each client's decode steps, of which a request's stay covers a range, so
nothing is spelled out per token. Knows no metric, class or bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.record import Run
from hermesdsl.sim.tokens import TokenTimes

__all__ = ["longest_gaps", "step_means", "tokens_between"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


class _Stays(NamedTuple):
    """The stays at one client that brought tokens: its decode steps first … last - 1, from 0.

    k steps of a stay bring ⌊k·advance + carry⌋ tokens, all of it `gained`. `drawn`: where guesses
    are sampled, tokens of all such steps up to each, to be read from the place `carry` on.
    """

    client: int
    request: Ints
    since: Floats
    first: Ints
    last: Ints
    ends: Floats
    gained: Ints
    carry: Floats
    advance: float
    drawn: Ints | None

    def tokens(self, step: Ints) -> Floats:
        """Tokens of each stay by the end of a step, from none before `first`; shape (stays,)."""
        done = np.clip(step, self.first, self.last) - self.first
        if self.drawn is None:
            came = np.floor(done * self.advance + self.carry)
        else:
            place = self.carry.astype(np.int64)
            came = (self.drawn[place + done] - self.drawn[place]).astype(np.float64)
        came = np.minimum(came, self.gained)
        return np.where(step >= self.last, self.gained, came)


def _by_client(times: TokenTimes) -> Iterator[_Stays]:
    stays = times.run.residences
    advance = {engine.client: engine.advance for engine in times.run.engines}
    sampled = {engine.client for engine in times.run.engines if engine.sampled}
    totals = np.concatenate([[0], np.cumsum(times.run.gains, dtype=np.int64)])
    for client, row in times.stays.items():
        request, since, first, last, gained, carry = (
            stays[name][row]
            for name in ("request", "since_s", "first_step", "last_step", "gained", "carry")
        )
        yield _Stays(
            client, request, since, first, last, times.ends(client), gained, carry,
            advance.get(times.run.clients[client], 1.0),
            totals if times.run.clients[client] in sampled else None,
        )  # fmt: skip


def longest_gaps(times: TokenTimes) -> Floats:
    """The longest gap between two tokens of each request, seconds, shape (n,).

    NaN without two, and where several answers were shown at once.
    """
    longest = np.full(len(times.run.requests["id"]), -np.inf)
    for stay in _by_client(times):
        np.maximum.at(longest, stay.request, stay.ends[stay.first] - stay.since)
        inner = stay.last - stay.first > 1
        if inner.any():
            # Differences first … last - 2 lie within the stay.
            most = _range_maxima(np.diff(stay.ends), stay.first[inner], stay.last[inner] - 1)
            np.maximum.at(longest, stay.request[inner], most)
    request, pause = times.pauses
    np.maximum.at(longest, request, pause)
    several = times.run.requests["visible"] > 1
    longest[several] = np.maximum(longest[several], 0.0)
    return np.where(np.isinf(longest) | times.parallel, np.nan, longest)


def step_means(times: TokenTimes) -> Floats:
    """Mean length of the decode steps that brought a request's tokens, seconds, shape (n,).

    NaN where none did.
    """
    n = len(times.run.requests["id"])
    total, count = np.zeros(n), np.zeros(n)
    for stay in _by_client(times):
        lengths = _step_lengths(times.run, times.steps[stay.client], stay.ends)
        passed = np.concatenate([[0.0], np.cumsum(lengths)])
        total += np.bincount(stay.request, passed[stay.last] - passed[stay.first], n)
        count += np.bincount(stay.request, stay.last - stay.first, n)
    return np.asarray(np.divide(total, count, out=np.full(n, np.nan), where=count > 0))


def tokens_between(times: TokenTimes, start: float, end: float) -> Ints:
    """Visible tokens of each request that came in [start, end) seconds, shape (n,)."""
    n = len(times.run.requests["id"])
    shown = times.run.shown
    inside = (shown["time_s"] >= start) & (shown["time_s"] < end)
    count = np.zeros(n)
    count += np.bincount(shown["request"][inside], shown["tokens"][inside], n)
    for stay in _by_client(times):
        low, high = np.searchsorted(stay.ends, (start, end))
        within = stay.tokens(np.full(len(stay.first), high))
        within -= stay.tokens(np.full(len(stay.first), low))
        count += np.bincount(stay.request, within, n)
    return count.astype(np.int64)


def _range_maxima(values: Floats, start: Ints, stop: Ints) -> Floats:
    """max(values[start:stop]) of each pair of non-empty ranges.

    By a table of the maxima of all ranges of 2^k values: each range is covered by two of them.
    """
    level = np.frexp(stop - start)[1] - 1
    found = np.empty(len(start))
    maxima = values
    for k in range(int(level.max()) + 1):
        mine = level == k
        left, right = start[mine], stop[mine] - (1 << k)
        found[mine] = np.maximum(maxima[left], maxima[right])
        if len(maxima) > 1 << k:
            maxima = np.maximum(maxima[: -(1 << k)], maxima[1 << k :])
    return found


def _step_lengths(run: Run, rows: Ints, ends: Floats) -> Floats:
    """Length of each decode step of a client, without what passed between two runs of steps."""
    opens = np.cumsum(run.steps["steps"][rows]) - run.steps["steps"][rows]
    lengths = np.diff(ends, prepend=0.0)
    lengths[opens] = run.steps["first_s"][rows]
    return lengths

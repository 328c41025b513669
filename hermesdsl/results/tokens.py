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
from hermesdsl.sim.tokens import step_ends

__all__ = ["longest_gaps", "step_means", "tokens_between"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


class _Stays(NamedTuple):
    """The stays at one client that brought tokens: its decode steps first … last - 1, from 0."""

    client: int
    row: Ints
    request: Ints
    first: Ints
    last: Ints
    ends: Floats


def _by_client(run: Run) -> Iterator[_Stays]:
    stays = run.residences
    moved = stays["last_step"] > stays["first_step"]
    for client in range(len(run.clients)):
        row = np.flatnonzero(moved & (stays["client"] == client))
        if len(row):
            request, first, last = (
                stays[name][row] for name in ("request", "first_step", "last_step")
            )
            yield _Stays(client, row, request, first, last, step_ends(run, client))


def longest_gaps(run: Run) -> Floats:
    """The longest gap between two tokens of each request, seconds, shape (n,); NaN without two."""
    n = len(run.requests["id"])
    longest = np.full(n, -np.inf)
    since = run.residences["since_s"]
    until = since.copy()
    for stay in _by_client(run):
        until[stay.row] = stay.ends[stay.last - 1]
        np.maximum.at(longest, stay.request, stay.ends[stay.first] - since[stay.row])
        inner = stay.last - stay.first > 1
        if inner.any():
            # Differences first … last - 2 lie within the stay; `reduceat` takes (from, to) pairs,
            # whose last `to` must exist.
            steps = np.append(np.diff(stay.ends), -np.inf)
            pairs = np.stack([stay.first[inner], stay.last[inner] - 1], axis=1).ravel()
            np.maximum.at(longest, stay.request[inner], np.maximum.reduceat(steps, pairs)[::2])
    order, again = _later_stays(run)
    gap = since[order][again + 1] - until[order][again]
    np.maximum.at(longest, run.residences["request"][order][again], gap)
    return np.where(np.isinf(longest), np.nan, longest)


def step_means(run: Run) -> Floats:
    """Mean length of the decode steps that brought a request's tokens, seconds, shape (n,).

    NaN where none did.
    """
    n = len(run.requests["id"])
    total, count = np.zeros(n), np.zeros(n)
    for stay in _by_client(run):
        passed = np.concatenate([[0.0], np.cumsum(_step_lengths(run, stay.client, stay.ends))])
        np.add.at(total, stay.request, passed[stay.last] - passed[stay.first])
        np.add.at(count, stay.request, stay.last - stay.first)
    return np.asarray(np.divide(total, count, out=np.full(n, np.nan), where=count > 0))


def tokens_between(run: Run, start: float, end: float) -> Ints:
    """Visible tokens of each request that came in [start, end) seconds, shape (n,).

    Those of a request without a stay were held back and shown at once, with the first.
    """
    first = run.requests["first_token_s"]
    streamed = np.isin(run.requests["id"], run.residences["request"])
    count = np.where(streamed, 1, run.requests["visible"]) * ((first >= start) & (first < end))
    for stay in _by_client(run):
        low, high = np.searchsorted(stay.ends, (start, end))
        inside = np.minimum(stay.last, high) - np.maximum(stay.first, low)
        np.add.at(count, stay.request, np.maximum(inside, 0))
    order, again = _later_stays(run)
    time = run.residences["since_s"][order][again + 1]
    inside = (time >= start) & (time < end)
    np.add.at(count, run.residences["request"][order][again][inside], 1)
    return count


def _later_stays(run: Run) -> tuple[Ints, Ints]:
    """An order of the stays by request and time, and the places in it followed by another stay.

    Each later stay was opened by the token that ended a repeated prefill.
    """
    request = run.residences["request"]
    order = np.lexsort((run.residences["since_s"], request))
    return order, np.flatnonzero(request[order][1:] == request[order][:-1])


def _step_lengths(run: Run, client: int, ends: Floats) -> Floats:
    """Length of each decode step of a client, without what passed between two runs of steps."""
    rows = (run.steps["client"] == client) & (run.steps["batch"] > 0)
    opens = np.cumsum(run.steps["steps"][rows]) - run.steps["steps"][rows]
    lengths = np.diff(ends, prepend=0.0)
    lengths[opens] = run.steps["first_s"][rows]
    return lengths

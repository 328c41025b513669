"""What each request saw of its own tokens: longest gap, step lengths, tokens within a window.

Works on the rows of decode steps, of which a request's stay covers a range, so nothing is spelled
out per token. Knows no metric, class or bound.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.step_times import Steps, StepTimes
from hermesdsl.sim.tokens import TokenTimes

__all__ = ["longest_gaps", "step_means", "tokens_between"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


def longest_gaps(times: TokenTimes) -> Floats:
    """The longest gap between two tokens of each request, seconds, shape (n,).

    NaN without two, and where several answers were shown at once.
    """
    longest = np.full(len(times.run.requests["id"]), -np.inf)
    request = times.stay("request")
    np.maximum.at(longest, request, times.entries)
    stretches = times.stretches
    inner = stretches.last > stretches.first
    if inner.any():
        most = _range_maxima(stretches.longest, stretches.first[inner], stretches.last[inner])
        np.maximum.at(longest, request[inner], most)
    paused, pause = times.pauses
    np.maximum.at(longest, paused, pause)
    several = times.run.requests["visible"] > 1
    longest[several] = np.maximum(longest[several], 0.0)
    return np.where(np.isinf(longest) | times.parallel, np.nan, longest)


def step_means(times: TokenTimes) -> Floats:
    """Mean length of the decode steps that brought a request's tokens, seconds, shape (n,).

    NaN where none did.
    """
    n = len(times.run.requests["id"])
    request, rows = times.stay("request"), times.steps
    one = np.ones(len(rows.count), np.int64)
    begun = rows.at(np.arange(len(one)), one) - rows.first
    passed = np.concatenate([[0.0], np.cumsum(rows.end - begun)])
    came, left = times.came, times.left
    seconds = passed[left.row] - passed[came.row] - begun[left.row] + begun[came.row]
    # What passed between rows is left out; so is what a row did before the stay.
    seconds += rows.at(left.row, left.step) - _begun(rows, came)
    total = np.bincount(request, seconds, n)
    count = np.bincount(request, left.number - came.number + 1, n)
    return np.asarray(np.divide(total, count, out=np.full(n, np.nan), where=count > 0))


def _begun(rows: StepTimes, steps: Steps) -> Floats:
    """When steps began."""
    before = rows.at(steps.row, np.maximum(steps.step - 1, 1))
    first = rows.at(steps.row, np.ones(len(steps.row), np.int64)) - rows.first[steps.row]
    return np.where(steps.step > 1, before, first)


def tokens_between(times: TokenTimes, start: float, end: float) -> Ints:
    """Visible tokens of each request that came in [start, end) seconds, shape (n,)."""
    n = len(times.run.requests["id"])
    shown = times.run.shown
    inside = (shown["time_s"] >= start) & (shown["time_s"] < end)
    count = np.zeros(n)
    count += np.bincount(shown["request"][inside], shown["tokens"][inside], n)
    within = _tokens(times, times.steps.before(end)) - _tokens(times, times.steps.before(start))
    count += np.bincount(times.stay("request"), within, n)
    return count.astype(np.int64)


def _tokens(times: TokenTimes, steps: Ints) -> Floats:
    """Tokens of each stay by the end of so many steps of its client; shape (stays,).

    k steps of a stay bring ⌊k·advance + carry⌋ tokens, all of it `gained`; where guesses are
    sampled, what `gains` has from the place `carry` on.
    """
    run = times.run
    client, first, last = (times.stay(name) for name in ("client", "first_step", "last_step"))
    gained, carry = times.stay("gained"), times.stay("carry")
    step = steps[client]
    done = np.clip(step, first, last) - first
    known = {engine.client: engine for engine in run.engines}
    engines = [known.get(path) for path in run.clients]
    advance = np.array([1.0 if engine is None else engine.advance for engine in engines])
    sampled = np.array([engine is not None and engine.sampled for engine in engines], bool)[client]
    came = np.floor(done * advance[client] + np.where(sampled, 0.0, carry))
    if sampled.any():
        drawn = np.concatenate([[0], np.cumsum(run.gains, dtype=np.int64)])
        place = carry[sampled].astype(np.int64)
        came[sampled] = drawn[place + done[sampled]] - drawn[place]
    return np.where(step >= last, gained, np.minimum(came, gained))


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

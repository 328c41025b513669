"""Requests that wait for others: turns of sessions, users in a closed loop, replayed dialogues.

Builds which request comes after which, and how long after. When that is, only the interpreter
knows: the arrival of a follow-up is inf here. Knows no lengths, classes or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.sim.arrivals import MAX_REQUESTS
from hermesdsl.sim.arrivals.process import too_many
from hermesdsl.sim.requests import FloatColumn, IndexColumn, IntColumn
from hermesdsl.sim.streams import Floats

#: No model serves a user faster: seconds per output token, for how many requests may be needed.
FASTEST_TOKEN = 1e-3

#: Draws of a column: (number of the turn from 0, how many) → one for each session.
PerTurn = Callable[[int, int], Floats]


@dataclass(frozen=True, eq=False)
class Chains:
    """Rows in the order of a `RequestBatch`: `arrival`, `after`, `delay`, `turn`, and `origin`.

    `origin`: the session, user or row that each row comes from, shape (n,).
    """

    arrival: FloatColumn
    after: IntColumn
    delay: FloatColumn
    turn: IndexColumn
    origin: IntColumn

    def __len__(self) -> int:
        return len(self.arrival)


def plain(time: Floats) -> Chains:
    """Requests that come by themselves."""
    n = len(time)
    return Chains(
        time, np.full(n, -1), np.zeros(n), np.ones(n, np.int32), np.arange(n, dtype=np.int64)
    )


def sessions(time: Floats, turns: IntColumn, think: PerTurn, limit: int | None) -> Chains:
    """Sessions that begin at `time` and have so many `turns` each (at least 1).

    All first turns, then all second ones, and so on, each in order of sessions. `think(t, n)`:
    seconds before turn t + 1 of each of n sessions. At most `limit` rows: sessions are kept whole
    in order, the last perhaps cut.
    """
    turns = _limited(turns, limit)
    time = time[: len(turns)]
    if int(turns.sum()) > MAX_REQUESTS:
        raise SpecError([too_many(float(turns.sum()))])
    latest = np.full(len(turns), -1)
    parts: list[tuple[NDArray[np.intp], IntColumn, FloatColumn]] = []
    start = 0
    for turn in range(int(turns.max(initial=0))):
        alive = np.flatnonzero(turns > turn)
        delay = think(turn, len(turns))[alive] if turn else np.zeros(len(alive))
        parts.append((alive, latest[alive].astype(np.int64), delay))
        latest[alive] = np.arange(start, start + len(alive))
        start += len(alive)
    counts = [len(alive) for alive, _, _ in parts]
    origin = _stacked([alive for alive, _, _ in parts]).astype(np.int64)
    after = _stacked([rows for _, rows, _ in parts]).astype(np.int64)
    arrival = np.full(len(origin), np.inf)
    arrival[: len(time)] = time
    delay = np.concatenate([np.empty(0), *(wait for _, _, wait in parts)])
    turn_of = np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), counts)
    return Chains(arrival, after, delay, turn_of, origin)


def _limited(turns: IntColumn, limit: int | None) -> IntColumn:
    if limit is None:
        return turns
    before = np.cumsum(turns) - turns
    kept = before < limit
    return np.asarray(np.minimum(turns, limit - before)[kept])


def _stacked(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])


def closed_loop(
    users: int,
    think: Callable[[int, int], Floats],
    output: Callable[[int, int], IntColumn],
    *,
    duration: float | None,
    requests: int | None,
) -> Chains:
    """`users` of whom each has one request in the system or thinks about the next.

    Row r is of user r mod `users`, in order of first arrivals, and follows row r − `users`; all
    begin by thinking. `think(n, offset)`, `output(n, offset)`: seconds and tokens of rows
    `offset` … `offset + n − 1`. With a `duration`, as many rounds as the fastest server could
    need by then; a user who runs out all the same has been served at over
    1/`FASTEST_TOKEN` tokens per second. `requests`: exactly so many rows in all.
    """
    first = np.sort(think(users, 0))
    if duration is not None:
        first = first[first < duration]
    users = min(len(first), users if requests is None else requests)
    first = first[:users]
    count = users if not users else _rows_needed(first, think, output, duration, requests)
    row = np.arange(count, dtype=np.int64)
    arrival = np.full(count, np.inf)
    arrival[:users] = first
    delay = think(count, 0)
    delay[:users] = 0.0
    own = row % users if users else row
    return Chains(arrival, np.maximum(row - users, -1), delay, np.ones(count, np.int32), own)


def _rows_needed(
    first: Floats,
    think: Callable[[int, int], Floats],
    output: Callable[[int, int], IntColumn],
    duration: float | None,
    requests: int | None,
) -> int:
    users = len(first)
    if duration is None:
        assert requests is not None
        return requests
    most = MAX_REQUESTS if requests is None else requests
    earliest, rows = first + output(users, 0) * FASTEST_TOKEN, users
    while rows < most and earliest.min() < duration:
        thinking, served = think(users, rows), output(users, rows) * FASTEST_TOKEN
        earliest = earliest + thinking + served
        rows += users
    if rows >= MAX_REQUESTS:
        raise SpecError([too_many(rows)])
    return min(rows, most)


def dialogues(time: Floats, session: IntColumn) -> Chains:
    """A recorded trace whose follow-ups wait for answers: they come the recorded gap after them.

    `origin` is the row of the trace. First turns in order of time, then follow-ups in order of
    time. Raises SpecError (HMS601) if no row has a session.
    """
    if not (session >= 0).any():
        message = "a trace without conversations cannot be replayed `closed`"
        note = 'help: name their column, such as `session = column("conv")`'
        raise SpecError([error("HMS601", message, notes=[note])])
    before, turn = predecessors(session)
    order = np.argsort(before >= 0, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    follows = before >= 0
    after = np.where(follows, place[np.maximum(before, 0)], -1)
    delay = np.where(follows, time - time[np.maximum(before, 0)], 0.0)
    arrival = np.where(follows, np.inf, time)
    return Chains(
        arrival[order], after[order].astype(np.int64), delay[order], turn[order],
        order.astype(np.int64),
    )  # fmt: skip


def predecessors(session: IntColumn) -> tuple[IntColumn, IndexColumn]:
    """The row before each in its session (-1 if none), and its turn, from 1; shape (n,)."""
    n = len(session)
    order = np.argsort(session, kind="stable")
    same = np.zeros(n, bool)
    same[1:] = (session[order][1:] == session[order][:-1]) & (session[order][1:] >= 0)
    before = np.full(n, -1, np.int64)
    before[order[1:]] = np.where(same[1:], order[:-1], -1)
    begin = np.flatnonzero(~same)
    lengths = np.diff(np.append(begin, n))
    turn = np.ones(n, np.int32)
    turn[order] = np.arange(n) - np.repeat(begin, lengths) + 1
    return before, turn

"""Requests whose texts begin alike: prefixes, sessions and recorded block ids, for any lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hermesdsl.sim.requests import Blocks, RequestBatch


def with_prefixes(load: RequestBatch, tokens: int, many: int) -> RequestBatch:
    """Request (or session) r has prefix r modulo `many` of `tokens` tokens in front."""
    n = len(load)
    owner = np.where(load.session < 0, np.arange(n), load.session)
    return replace(load, prefix=owner % many, prefix_tokens=np.full(n, tokens))


def with_sessions(load: RequestBatch, turns: int, delay: float = 0.0) -> RequestBatch:
    """The rows in turn: first all first turns, then all second ones `delay` seconds after those."""
    n = len(load)
    sessions = -(-n // turns)
    row = np.arange(n)
    arrival = np.where(row < sessions, load.arrival, np.inf)
    arrival[:sessions] = np.sort(arrival[:sessions])
    return replace(
        load, arrival=arrival, session=row % sessions, turn=(row // sessions + 1).astype(np.int32),
        after=np.where(row < sessions, -1, row - sessions), delay=np.full(n, delay), grows=True,
    )  # fmt: skip


def with_blocks(load: RequestBatch, size: int, common: int) -> RequestBatch:
    """A trace's ids: of each prompt, the first `common` blocks are everybody's."""
    counts = -(-load.prompt // size)
    ids = [np.where(np.arange(c) < common, np.arange(c), 1000 * (r + 1) + np.arange(c))
           for r, c in enumerate(counts.tolist())]  # fmt: skip
    starts = np.concatenate([[0], np.cumsum(counts)])
    return replace(load, blocks=Blocks(np.concatenate([np.empty(0, np.int64), *ids]), starts, size))


@st.composite
def shared(draw: st.DrawFn, load: RequestBatch, tick: float) -> RequestBatch:
    """The same requests, with texts of their own or shared."""
    made: Any = load
    if draw(st.booleans()):
        made = with_sessions(made, draw(st.integers(2, 3)), draw(st.sampled_from([0.0, 3 * tick])))
    kind = draw(st.sampled_from(["own", "prefix", "prefix", "blocks"]))
    if kind == "prefix":
        made = with_prefixes(made, draw(st.sampled_from([4, 16, 21])), draw(st.integers(1, 2)))
    elif kind == "blocks" and not made.grows:
        made = with_blocks(made, draw(st.sampled_from([4, 16, 6])), draw(st.integers(1, 3)))
    return made

"""What pools say around their routers, and requests that share sessions or prefixes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hermesdsl.graph.types import CompiledSystem
from hermesdsl.sim.requests import RequestBatch


def with_pool(built: CompiledSystem, name: str = "llm", **options: Any) -> CompiledSystem:
    """The same system, with these options of one pool."""
    placement = built.placement.copy()
    pools = dict(placement.graph["pools"])
    pools[name] = replace(pools[name], options=options)
    placement.graph["pools"] = pools
    return replace(built, placement=placement)


def in_sessions(load: RequestBatch, *sessions: int) -> RequestBatch:
    """The same requests, of these sessions in turn (-1: of none)."""
    return replace(load, session=np.resize(np.array(sessions, np.int64), len(load)))


def behind(load: RequestBatch, tokens: int, *prefixes: int) -> RequestBatch:
    """The same requests behind shared prefixes of `tokens` tokens each, these in turn."""
    n = len(load)
    return replace(
        load,
        prefix=np.resize(np.array(prefixes, np.int64), n),
        prefix_tokens=np.full(n, tokens, np.int64),
    )

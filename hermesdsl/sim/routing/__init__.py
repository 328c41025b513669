"""Routers: which client of a pool serves a request. One family per file, found by name.

A router is made from its specification and a `RouterContext`, and asked once for every visit to
its pool that is not bound to a client already (by KV that is there, or as the i-th replica). All
are deterministic: equals go to the member named first, and what is random is drawn from the pool's
own stream, for each request by itself. Around it lie who is let in (`routing.admission`) and how
many members run (`routing.scaling`). Knows no engine's inside, pipeline or clock.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping

from hermesdsl.graph.types import Spec
from hermesdsl.sim.routing import affinity, heavy_light, plain, weighted, work
from hermesdsl.sim.routing.context import Router, RouterContext

#: Routers by the name a specification gives them. Plug-ins add theirs.
ROUTERS: MutableMapping[str, Callable[[Spec, RouterContext], Router]] = ChainMap(
    {
        "round_robin": plain.RoundRobin,
        "random": plain.Random,
        "jsq": plain.ShortestQueue,
        "power_of_two": plain.PowerOfTwo,
        "kv_free": plain.KvFree,
        "least_work": work.LeastWork,
        "oracle": work.Oracle,
        "session_affinity": affinity.SessionAffinity,
        "prefix_affinity": affinity.PrefixAffinity,
        "heavy_light": heavy_light.HeavyLight,
        "weighted": weighted.Weighted,
    }
)

#: Routers that look at nothing, so nothing they see can be stale.
BLIND = frozenset({"round_robin", "random"})
#: Routers that look at the KV of their clients, which only engines have.
OF_ENGINES = frozenset({"kv_free", "prefix_affinity"})

__all__ = ["BLIND", "OF_ENGINES", "ROUTERS", "Router", "RouterContext"]

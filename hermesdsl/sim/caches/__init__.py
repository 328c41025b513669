"""Caches of KV: tiers one behind the other, each a store with a queue.

A lookup walks the tiers in order over the chained blocks of a request's context; what is found is
read from its store, a finite server, and carried over the links to the client that will read it.
KV that a stage lets go of is written to the first tier in reach, and what that tier evicts to the
next. Knows blocks, bytes and stores; no plan, stage or engine.
"""

from hermesdsl.sim.caches.blocks import BlockStore
from hermesdsl.sim.caches.carry import Carry
from hermesdsl.sim.caches.hierarchy import Hierarchy
from hermesdsl.sim.caches.server import TierServer

__all__ = ["BlockStore", "Carry", "Hierarchy", "TierServer"]

"""What the interpreter asks of a cache hierarchy: where `KvFetch` stages look.

The seam for tiers; an implementation knows capacities, eviction and links, and nothing of plans.
"""

from __future__ import annotations

from typing import Protocol


class KvStore(Protocol):
    """One cache, all of its tiers."""

    def fetch(self, request: int, context: int, now: float) -> tuple[int, float]:
        """(tokens of the context that are found, seconds until they are where they are read)."""

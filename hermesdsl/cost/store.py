"""Bringing stored KV to where it is read: tiers, links, and a hierarchy in expectation.

SI units throughout: bytes and bytes per second (a tool that divides MiB by GB/s is 4.9 % low).
Knows no capacity, eviction, queue or clock: who hits is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite


@dataclass(frozen=True)
class Tier:
    """A store and the way to it: `latency` seconds, `bandwidth` byte/s, the same of its links.

    `hit_rate` (0..1) is that of lookups which reach this tier: an explicit approximation.
    Raises ValueError for values that no tier can have.
    """

    latency: float
    bandwidth: float
    link_latency: float = 0.0
    link_bandwidth: float = inf
    hit_rate: float = 1.0

    def __post_init__(self) -> None:
        delays = (self.latency, self.link_latency)
        if not all(isfinite(x) and x >= 0 for x in delays):
            raise ValueError(f"a latency of {min(delays)} s: it must be finite and not negative")
        if not (self.bandwidth > 0 and self.link_bandwidth > 0):
            raise ValueError("a bandwidth must be above zero")
        if not 0.0 <= self.hit_rate <= 1.0:
            raise ValueError(f"a hit rate of {self.hit_rate}: it must lie between 0 and 1")

    def access(self, size: float) -> float:
        """Seconds until `size` bytes are read and have arrived, nothing else in the way.

        latency + bytes/bandwidth of the tier, then the same of the links: store and forward.
        """
        store = self.latency + size / self.bandwidth
        return store + self.link_latency + size / self.link_bandwidth


def expected(tiers: Sequence[Tier], size: float, recompute: float) -> float:
    """Mean seconds of a lookup of `size` bytes down a hierarchy.

    f(S, n) = h_n·(t_n + S/bw_n) + (1 − h_n)·f(S, n+1); what misses in every tier is computed
    again in `recompute` seconds (HERMES, arXiv 2504.09775).
    """
    seconds = recompute
    for tier in reversed(tiers):
        seconds = tier.hit_rate * tier.access(size) + (1.0 - tier.hit_rate) * seconds
    return seconds


def miss_rate(tiers: Sequence[Tier]) -> float:
    """Share of lookups that no tier answers: Π (1 − h_n)."""
    rate = 1.0
    for tier in tiers:
        rate *= 1.0 - tier.hit_rate
    return rate

"""The server that a store of a tier is: one queue, first come, first served. Knows no block."""

from __future__ import annotations

from collections.abc import Callable

from hermesdsl.sim.kernel import DELIVERY, Kernel


class TierServer:
    """Reads and writes one after the other: `latency` seconds each, and bytes / `bandwidth`.

    `busy`: seconds of service so far.
    """

    __slots__ = ("_bandwidth", "_free_from", "_kernel", "_latency", "busy")

    def __init__(self, kernel: Kernel, latency: float, bandwidth: float) -> None:
        self._kernel = kernel
        self._latency = latency
        self._bandwidth = bandwidth
        self._free_from = 0.0
        self.busy = 0.0

    def serve(self, size: float, now: float, key: int, then: Callable[[float, int], None]) -> float:
        """Queue `size` bytes; when their service begins. Calls `then(its end, key)`."""
        seconds = self._latency + size / self._bandwidth
        start = max(now, self._free_from)
        self._free_from = start + seconds
        self.busy += seconds
        self._kernel.at(self._free_from, DELIVERY, key, then, key)
        return start

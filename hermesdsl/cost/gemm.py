"""Matrix products and streaming kernels on one device.

t = max(compute, memory) + launch. Compute follows tile and wave quantisation: a tile of
tm × tn occupies one SM, tiles run in waves of as many as there are SMs, and a launch with fewer
tiles than SMs may split k. Knows nothing of models or parallelism.
"""

from __future__ import annotations

from hermesdsl.cost.device import Device
from hermesdsl.cost.operator import Operator, bound_of

#: Output tiles of common GEMM libraries (rows, columns); the fastest is used.
TILES = ((128, 256), (128, 128), (64, 128), (64, 64), (16, 64))
#: Ways to split k while there are fewer tiles than SMs.
SPLITS = (2, 4, 8)


class Gemm:
    """Times of C[m, n] = A[m, k] · B[k, n] on `device`.

    `weight` and `activation` are bytes per value of B and of A; C is written with 16 bits at
    least, as accumulators leave the matrix units.
    """

    def __init__(self, device: Device, weight: float, activation: float) -> None:
        e = device.efficiencies
        self._weight = weight
        self._activation = activation
        self._output = max(activation, 2.0)
        self._sms = device.sms
        self._launch = device.overheads.kernel + (
            device.overheads.quantise if device.narrow else 0.0
        )
        self._split = device.overheads.split
        self._prologue = e.tile_prologue
        self._bandwidth = device.bandwidth * (e.memory_narrow if device.narrow else e.memory)
        compute = e.compute_narrow if device.narrow else e.compute
        smooth = e.smooth_compute * compute / e.compute
        self._smooth_rate = device.peak * smooth
        self._rows, self._columns = e.smooth_rows, e.smooth_columns
        self._tiles: tuple[tuple[int, int, float], ...] = ()
        if device.sms > 0:
            rate = device.peak / device.sms * compute
            feed = device.bandwidth / device.sms * e.sm_bandwidth
            # Seconds per element of k for one tile on one SM.
            self._tiles = tuple(
                (tm, tn, max(2.0 * tm * tn / rate, (activation * tm + weight * tn) / feed))
                for tm, tn in TILES
            )

    def compute_seconds(self, m: float, n: int, k: int, groups: float = 1.0) -> float:
        """Seconds of arithmetic alone, for `groups` products of the same shape side by side."""
        if not self._tiles:
            return 2.0 * groups * (m + self._rows) * (n + self._columns) * k / self._smooth_rate
        sms = self._sms
        best = float("inf")
        for tm, tn, per_k in self._tiles:
            tiles = groups * -(-m // tm) * -(-n // tn)
            seconds = -(-tiles // sms) * (k + self._prologue) * per_k
            best = min(best, seconds)
            if tiles < sms:
                for split in SPLITS:
                    depth = k / split + self._prologue
                    seconds = -(-tiles * split // sms) * depth * per_k + self._split
                    best = min(best, seconds)
        return best

    def bytes(self, m: float, n: int, k: int, groups: float = 1.0) -> float:
        """Bytes read and written once each."""
        return groups * (self._weight * k * n + self._activation * m * k + self._output * m * n)

    def operator(
        self, name: str, count: float, m: float, n: int, k: int, *, groups: float = 1.0
    ) -> Operator:
        """The table line for `count` executions; `groups` > 1 is a grouped product (experts)."""
        traffic = self.bytes(m, n, k, groups)
        memory = traffic / self._bandwidth
        compute = self.compute_seconds(m, n, k, groups)
        seconds = (compute if compute > memory else memory) + self._launch
        bound = bound_of(self._launch, compute, memory)
        return Operator(name, count, seconds, 2.0 * groups * m * n * k, traffic, bound)


def stream(device: Device, name: str, count: float, traffic: float, kernels: int = 1) -> Operator:
    """Element-wise work (norms, activations, copies): `traffic` bytes through `kernels` kernels."""
    launch = kernels * device.overheads.kernel
    memory = traffic / (device.bandwidth * device.efficiencies.memory)
    return Operator(name, count, launch + memory, 0.0, traffic, bound_of(launch, 0.0, memory))

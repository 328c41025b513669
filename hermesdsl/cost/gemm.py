"""Matrix products and streaming kernels on one device.

t = max(compute, memory) + launch, and for operands of fewer than 16 bits what bringing the
input to that width takes. Compute follows tile and wave quantisation: a tile of
tm × tn occupies one SM, tiles run in waves of as many as there are SMs, and a launch with fewer
tiles than SMs may split k. A device with a calibration has instead a smooth roofline over the
utilisation that was fitted for it. Knows nothing of models or parallelism.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hermesdsl.cost.classes import class_reach
from hermesdsl.cost.device import Device
from hermesdsl.cost.operator import Operator, bound_of
from hermesdsl.cost.provenance import DATASHEET
from hermesdsl.cost.utilisation import Utilisation, grids_of, utilisation

if TYPE_CHECKING:
    from hermesdsl.cost.constants import Efficiencies
    from hermesdsl.cost.types import Floats

#: One value, or an array of them.
Number = TypeVar("Number", float, "Floats")

#: Output tiles of common GEMM libraries (rows, columns); the fastest is used.
TILES = ((128, 256), (128, 128), (64, 128), (64, 64), (16, 64))
#: Ways to split k while there are fewer tiles than SMs.
SPLITS = (2, 4, 8)
#: Tile that the axes `waves` and `fill` of a calibration count.
TILE = 128
#: Bytes of scaling factors per value of four bits: one of 8 bits for 16 values (NVFP4).
FACTORS = 1.0 / 16.0


def smooth_maximum(compute: Number, memory: Number) -> Number:
    """(c³ + m³)^(1/3): the larger of two times, a quarter more where they meet."""
    cubes: Number = compute * compute * compute + memory * memory * memory
    root: Number = cubes ** (1.0 / 3.0)
    return root


def product_bytes(m: Number, n: Number, k: Number, weight: float, activation: float) -> Number:
    """Bytes of C[m, n] = A[m, k] · B[k, n] read and written once each; C has 16 bits at least."""
    return weight * k * n + activation * m * k + max(activation, 2.0) * m * n


def product_shape(m: Number, n: Number, k: Number, sms: int) -> tuple[Number, ...]:
    """The coordinates of a product: its sizes, waves of tiles, and how full those are."""
    waves = -(-m // TILE) * -(-n // TILE) / (sms or 1)
    return m, n, k, waves, waves / -(-waves // 1)


class Gemm:
    """Times of C[m, n] = A[m, k] · B[k, n] on `device`.

    `weight` and `activation` are bytes per value of B and of A; C is written with 16 bits at
    least, as accumulators leave the matrix units.

    Four bits are told from eight as those are from sixteen: fractions of peak and bandwidth fall
    once more by the same ratio. Their values come with factors for every few of them (`FACTORS`),
    so that an input is brought to that width in one pass at memory speed: no row must be read to
    its end before its factor is known. Derived, not fitted: fp4 was measured on one device alone.

    `grouped`: products of experts, which find their input at the right width, and lose nothing
    from 16 to 8 bits that they would lose again.
    """

    def __init__(
        self, device: Device, weight: float, activation: float, *, grouped: bool = False
    ) -> None:
        e = device.efficiencies
        self._weight = weight
        self._activation = activation
        self._sms = device.sms
        self._launch = device.overheads.kernel + (
            device.overheads.quantise if device.narrow else 0.0
        )
        self._row, self._value = 0.0, 0.0
        narrowest = device.narrow and device.dtype == "fp4"
        step = _narrower(e) if narrowest and not grouped else (1.0, 1.0)
        self._factors = FACTORS if narrowest else 0.0
        self._split = device.overheads.split
        self._prologue = e.tile_prologue
        memory = (e.memory_narrow if device.narrow else e.memory) * step[0]
        self._bandwidth = device.bandwidth * memory
        compute = (e.compute_narrow if device.narrow else e.compute) * step[1]
        if narrowest and e.quantise_value > 0.0 and not grouped:
            self._value = (2.0 + 0.5 + FACTORS) / self._bandwidth
        elif device.narrow and device.sms > 0 and not grouped:
            self._row, self._value = e.quantise_row / device.sms, e.quantise_value / device.sms
        smooth = e.smooth_compute * compute / e.compute
        self._smooth_rate = device.peak * smooth
        self._rows, self._columns = e.smooth_rows, e.smooth_columns
        self._tiles: tuple[tuple[int, int, float], ...] = ()
        if device.sms > 0:
            rate = device.peak / device.sms * compute
            feed = device.bandwidth / device.sms * e.sm_bandwidth
            # Seconds per element of k for one tile on one SM.
            self._tiles = tuple(
                (tm, tn, max(2.0 * tm * tn / rate, self._read(tm, tn) / feed)) for tm, tn in TILES
            )
        self._peak, self._rate = device.peak, device.bandwidth
        self._kernel = device.overheads.kernel
        grids = grids_of(device.calibration, "gemm", device.dtype)
        self._utilisation = utilisation(grids, "gemm", self._reference)
        self._class = class_reach(device, "gemm", device.dtype)
        self._weights: dict[tuple[int, int], Utilisation] = {}
        self._classes: dict[tuple[int, int], Utilisation] = {}

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

    def bytes(self, m: float, n: float, k: float, groups: float = 1.0) -> float:
        """Bytes read and written once each."""
        return groups * product_bytes(m, n, k, self._weight, self._activation)

    def operator(
        self, name: str, count: float, m: float, n: int, k: int, *, groups: float = 1.0
    ) -> Operator:
        """The table line for `count` executions; `groups` > 1 is a grouped product (experts)."""
        traffic = self.bytes(m, n, k, groups)
        if self._utilisation and groups == 1.0:
            own = self._weights.get((n, k))
            if own is None:
                own = self._weights[n, k] = self._utilisation.fixed(n=n, k=k)
            reached, rung = own.at(*product_shape(m, n, k, self._sms))
            if rung != DATASHEET:
                flops = 2.0 * m * n * k
                seconds = self._reference(m, n, k) / reached
                bound = bound_of(self._kernel, flops / self._peak, traffic / self._rate)
                spread = self._spread(m, n, 1.0)
                return Operator(name, count, seconds, flops, traffic, bound, rung, spread=spread)
        memory = (traffic + self._factors * groups * k * (m + n)) / self._bandwidth
        compute = self.compute_seconds(m, n, k, groups)
        seconds = (compute if compute > memory else memory) + self._launch
        if groups == 1.0:
            seconds += m * (self._row + k * self._value)
            if self._class:
                own = self._classes.get((n, k))
                if own is None:
                    own = self._classes[n, k] = self._class.fixed(n=n, k=k)
                seconds /= own.at(*product_shape(m, n, k, self._sms))[0]
        bound = bound_of(self._launch, compute, memory)
        flops, spread = 2.0 * groups * m * n * k, self._spread(m, n, groups)
        return Operator(name, count, seconds, flops, traffic, bound, spread=spread)

    def _read(self, tm: int, tn: int) -> float:
        """Bytes that a tile of tm × tn reads per element of k."""
        factors = self._factors
        return (self._activation + factors) * tm + (self._weight + factors) * tn

    def _spread(self, m: float, n: float, groups: float) -> float:
        """Share of the multiprocessors that get a tile; all where their number is unknown."""
        tiles = groups * -(-m // TILE) * -(-n // TILE)
        return tiles / self._sms if tiles < self._sms else 1.0

    def _reference(self, m: float, n: float, k: float, *_: float) -> float:
        """Seconds at data-sheet rates: what a calibration's factors are relative to."""
        memory = self.bytes(m, n, k) / self._rate
        return self._kernel + smooth_maximum(2.0 * m * n * k / self._peak, memory)


def stream(device: Device, name: str, count: float, traffic: float, kernels: int = 1) -> Operator:
    """Element-wise work (norms, activations, copies): `traffic` bytes through `kernels` kernels."""
    launch = kernels * device.overheads.kernel
    memory = traffic / (device.bandwidth * device.efficiencies.memory)
    bound = bound_of(launch, 0.0, memory)
    grids = grids_of(device.calibration, "copy", "device")
    if not grids:
        return Operator(name, count, launch + memory, 0.0, traffic, bound)
    reach = utilisation(grids, "copy", lambda size: copy_seconds(device, size))
    reached, rung = reach.at(traffic / kernels)
    return Operator(name, count, (launch + memory) / reached, 0.0, traffic, bound, rung)


def copy_seconds(device: Device, traffic: float) -> float:
    """What the data-sheet model has for one kernel that reads and writes so many bytes in all."""
    rate = device.bandwidth * device.efficiencies.memory
    return device.overheads.kernel + traffic / rate


def _narrower(e: Efficiencies) -> tuple[float, float]:
    """How fractions of bandwidth and of peak fall with half the width."""
    return e.memory_narrow / e.memory, e.compute_narrow / e.compute

"""Mixture-of-experts layers: router, experts touched, their products, and token exchange.

Assumes that tokens choose experts at random, each as likely as another. Knows nothing of attention
or steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hermesdsl.cost.classes import class_reach
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm, Number, smooth_maximum, stream
from hermesdsl.cost.operator import LAUNCH, Operator, bound_of
from hermesdsl.cost.provenance import DATASHEET
from hermesdsl.cost.slowest import fullest, fullest_of_binomials
from hermesdsl.cost.utilisation import grids_of, utilisation

#: Seconds that the axis `span` of a layer counts in: about what its kernels take without work.
SPAN = 15e-6


def distinct_experts(experts: int, active: int, tokens: float) -> float:
    """Expected experts that at least one of `tokens` chooses: N(1 − (1 − k/N)^T).

    Each token chooses k of N uniformly and independently of the others.
    """
    return experts * (1.0 - math.pow(1.0 - active / experts, tokens))


def layer_flops(moved: Number, hidden: Number, width: Number, matrices: int = 3) -> Number:
    """FLOPs of `moved` rows through experts of `matrices` products (three with a gate)."""
    return 2.0 * matrices * moved * hidden * width


def layer_bytes(
    moved: Number, local: Number, hidden: Number, width: Number, weight: float, matrices: int = 3
) -> Number:
    """Bytes of the weights of `local` experts, and of rows in 16 bits in, between and out."""
    rows = moved * (2.0 * hidden + matrices * width) * 2.0
    return local * matrices * hidden * width * weight + rows


@dataclass(frozen=True)
class MoeShape:
    """An expert layer: N `experts` of width `width`, `active` per token, input `hidden`.

    `ep` ways share out the experts; each expert is cut `split` ways. `gated`: gate and up
    projections.
    """

    experts: int
    active: int
    hidden: int
    width: int
    gated: bool
    ep: int
    split: int


def expert_split(tp: int, ep: int) -> int:
    """Ways each expert is cut: the tensor-parallel ways that ep does not use, at least 1."""
    return max(1, tp // ep)


class Experts:
    """Expert layers of one engine on one device.

    `weight`: bytes of a weight. `kernel`: the entry of a calibration that serves these experts,
    a dtype or ``fp8_block``.
    """

    def __init__(
        self,
        shape: MoeShape,
        device: Device,
        gemm: Gemm,
        grouped: Gemm,
        ring: Collectives,
        weight: float,
        kernel: str,
    ) -> None:
        self._shape = shape
        self._device = device
        self._router = gemm
        self._gemm = grouped
        self._ring = ring
        self._weight = weight
        grids = grids_of(device.calibration, "moe", kernel)
        s = shape
        same: dict[str, float] = {
            "hidden": s.hidden, "width": -(-s.width // s.split), "experts": s.experts,
            "active": s.active, "local": s.experts / s.ep, "feed": device.feed,
            "rate": device.rate,
        }  # fmt: skip
        self._utilisation = utilisation(grids, "moe", self._reference).fixed(**same)
        self._class = class_reach(device, "moe", kernel).fixed(**same)

    def operators(self, count: float, tokens: float, seen: float, value: float) -> list[Operator]:
        """Operators of `count` layers for `tokens` on a rank, of `seen` that meet at its experts.

        Without ep a device holds all experts, of which `distinct_experts` are touched; their
        weights are read once, each works on tokens·k/touched rows. With ep > 1 all wait for the
        device with most to do: it works on the fullest of ep shares of the seen·k choices, and
        reads the most of N/ep experts that any of ep devices finds touched. Every device sends
        its tokens to the k chosen experts and takes the results back: two all-to-alls of
        tokens·k·hidden values. `value`: bytes of an activation.
        """
        s = self._shape
        if s.ep > 1:
            moved = fullest(round(seen * s.active), s.ep)
            chance = distinct_experts(s.experts, s.active, seen) / s.experts
            local = fullest_of_binomials(-(-s.experts // s.ep), chance, s.ep)
        else:
            moved = seen * s.active
            local = distinct_experts(s.experts, s.active, seen)
        width = -(-s.width // s.split)
        found = [self._router.operator("router", count, tokens, s.experts, s.hidden)]
        found += self._calibrated(count, moved, local, width, seen) or self.products(
            count, moved, local, width, seen, tokens * value, value
        )
        if s.ep > 1:
            volume = moved * s.hidden * value
            found.append(self._ring.all_to_all("dispatch", count, volume))
            found.append(self._ring.all_to_all("combine", count, volume))
        return found

    def products(
        self, count: float, moved: float, local: float, width: int, seen: float, summed: float,
        value: float,
    ) -> list[Operator]:  # fmt: skip
        """The kernels of `local` experts one by one, from the data sheet.

        `summed`: bytes per hidden value that the sum over each token's experts writes.
        """
        s = self._shape
        rows, up = moved / local, width * (2 if s.gated else 1)
        found = [
            self._gemm.operator("experts up", count, rows, up, s.hidden, groups=local),
            stream(self._device, "experts act", count, moved * (up + width) * value),
            self._gemm.operator("experts down", count, rows, s.hidden, width, groups=local),
            # The k results of a token are read again and summed.
            stream(self._device, "experts sum", count, (moved * value + summed) * s.hidden),
            Operator("experts sort", count, self._device.overheads.moe, 0.0, 0.0, LAUNCH),
        ]
        if not self._class:
            return found
        reached = self._class.at(*self._coordinates(moved, local, width, seen))[0]
        return [replace(op, seconds=op.seconds / reached) for op in found]

    def _coordinates(
        self, moved: float, local: float, width: int, seen: float
    ) -> tuple[float, ...]:
        """Where a layer stands on the axes of a calibration, in the order of `COORDINATES`."""
        s, d = self._shape, self._device
        compute = layer_flops(moved, float(s.hidden), float(width)) / d.peak
        traffic = layer_bytes(moved, local, float(s.hidden), float(width), self._weight)
        span = max(compute, traffic / d.bandwidth) / SPAN
        return (
            moved / local, seen, s.hidden, width, s.experts, s.active, s.experts / s.ep, local,
            span, d.feed, d.rate,
        )  # fmt: skip

    def _reference(
        self, rows: float, tokens: float, hidden: float, width: float, experts: float,
        active: float, local: float, *_: float,
    ) -> float:  # fmt: skip
        """Seconds of a layer at data-sheet rates, every product gated."""
        touched = local * distinct_experts(int(experts), int(active), tokens) / experts
        moved = max(rows, 1.0) * touched
        d = self._device
        compute = layer_flops(moved, hidden, width) / d.peak
        memory = layer_bytes(moved, touched, hidden, width, self._weight) / d.bandwidth
        return d.overheads.moe + d.overheads.kernel + smooth_maximum(compute, memory)

    def _calibrated(
        self, count: float, moved: float, local: float, width: int, seen: float
    ) -> list[Operator]:
        """All kernels of the experts as one, where a calibration has them; else nothing."""
        if not self._utilisation:
            return []
        s, d = self._shape, self._device
        reached, rung = self._utilisation.at(*self._coordinates(moved, local, width, seen))
        if rung == DATASHEET:
            return []
        matrices = 3 if s.gated else 2
        flops = layer_flops(moved, float(s.hidden), float(width), matrices)
        traffic = layer_bytes(moved, local, float(s.hidden), float(width), self._weight, matrices)
        compute, memory = flops / d.peak, traffic / d.bandwidth
        launch = d.overheads.moe + d.overheads.kernel
        seconds = (launch + smooth_maximum(compute, memory)) / reached
        bound = bound_of(launch, compute, memory)
        return [Operator("experts", count, seconds, flops, traffic, bound, rung)]

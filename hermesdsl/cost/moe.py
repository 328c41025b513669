"""Mixture-of-experts layers: router, experts touched, their products, and token exchange.

Assumes that tokens choose experts at random, each as likely as another. Knows nothing of attention
or steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm, stream
from hermesdsl.cost.operator import LAUNCH, Operator
from hermesdsl.cost.slowest import fullest, fullest_of_binomials


def distinct_experts(experts: int, active: int, tokens: float) -> float:
    """Expected experts that at least one of `tokens` chooses: N(1 − (1 − k/N)^T).

    Each token chooses k of N uniformly and independently of the others.
    """
    return experts * (1.0 - math.pow(1.0 - active / experts, tokens))


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
    """Expert layers of one engine on one device."""

    def __init__(
        self, shape: MoeShape, device: Device, gemm: Gemm, grouped: Gemm, ring: Collectives
    ) -> None:
        self._shape = shape
        self._device = device
        self._router = gemm
        self._gemm = grouped
        self._ring = ring

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
        rows = moved / local
        width = -(-s.width // s.split)
        up = width * (2 if s.gated else 1)
        found = [
            self._router.operator("router", count, tokens, s.experts, s.hidden),
            self._gemm.operator("experts up", count, rows, up, s.hidden, groups=local),
            stream(self._device, "experts act", count, moved * (up + width) * value),
            self._gemm.operator("experts down", count, rows, s.hidden, width, groups=local),
            # The k results of a token are read again and summed.
            stream(self._device, "experts sum", count, (moved + tokens) * s.hidden * value),
            Operator("experts sort", count, self._device.overheads.moe, 0.0, 0.0, LAUNCH),
        ]
        if s.ep > 1:
            volume = moved * s.hidden * value
            found.append(self._ring.all_to_all("dispatch", count, volume))
            found.append(self._ring.all_to_all("combine", count, volume))
        return found

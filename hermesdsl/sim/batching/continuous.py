"""``continuous``: prompts first, whole; decodes stall while a prompt is read.

Iteration-level scheduling (Yu et al., "Orca", OSDI 2022) in the prefill-first form that vLLM had
before chunked prefill (Kwon et al., SOSP 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec, Value

if TYPE_CHECKING:
    from hermesdsl.sim.engine import Engine
    from hermesdsl.sim.residents import Slice


@dataclass(frozen=True)
class Continuous:
    """Steps of whole prompts, at most `max_tokens` unless one alone exceeds it, or of decodes."""

    max_tokens: float

    def plan(self, engine: Engine, now: float) -> tuple[list[Slice], bool]:
        """See `Batching`."""
        slices = engine.fill(self.max_tokens, 0, now, whole=True)
        if not slices:
            engine.make_room()
        return slices, not slices


def make(spec: Spec, options: Mapping[str, Value]) -> Continuous:
    """From ``continuous``; the engine's `max_tokens`, without limit if it has none."""
    limit = options.get("max_tokens")
    return Continuous(float(limit) if isinstance(limit, int | float) else inf)

"""``chunked(budget)``: decodes first, the rest of the budget in prompt slices.

Sarathi-Serve (Agrawal et al., OSDI 2024): prompts are cut so that no step is longer than its
budget of tokens, and decodes never stall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec, Value

if TYPE_CHECKING:
    from hermesdsl.sim.engine import Engine
    from hermesdsl.sim.residents import Slice

DEFAULT_BUDGET = 2048


@dataclass(frozen=True)
class Chunked:
    """One token per decode (and its guesses) and prompt slices, at most `budget` tokens."""

    budget: int

    def plan(self, engine: Engine, now: float) -> tuple[list[Slice], bool]:
        """See `Batching`."""
        reserve = engine.make_room()
        return engine.fill(self.budget, reserve, now, whole=False, beside=True), True


def make(spec: Spec, options: Mapping[str, Value]) -> Chunked:
    """From ``chunked(budget)``; without one, the engine's `max_tokens`, else 2048."""
    budget = spec.args.get("budget") or options.get("max_tokens") or DEFAULT_BUDGET
    assert isinstance(budget, int | float)
    return Chunked(int(budget))

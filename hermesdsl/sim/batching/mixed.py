"""``mixed``: whole prompts together with all decodes in one step.

Iteration-level scheduling as Orca introduced it (Yu et al., OSDI 2022): decodes never wait for a
prompt, but the step that a long prompt shares with them is as long as that prompt makes it.
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
class Mixed:
    """One token per decode and whole prompts, together at most `max_tokens`.

    The first prompt of a step is taken whatever its length, as long as the decodes leave a token
    of the budget: one above it would never be read otherwise.
    """

    max_tokens: float

    def plan(self, engine: Engine, now: float) -> tuple[list[Slice], bool]:
        """See `Batching`."""
        reserve = engine.make_room()
        return engine.fill(self.max_tokens, reserve, now, whole=True, beside=True), True


def make(spec: Spec, options: Mapping[str, Value]) -> Mixed:
    """From ``mixed``; the engine's `max_tokens`, without limit if it has none."""
    limit = options.get("max_tokens")
    return Mixed(float(limit) if isinstance(limit, int | float) else inf)

"""``static(n)``: up to n requests are read together and decode until the last has finished.

Request-level batching, as servers had it before Orca (Yu et al., OSDI 2022): who finishes early
leaves its seat empty, and who comes meanwhile waits for the next set.
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

DEFAULT_SIZE = 8


@dataclass(frozen=True)
class Static:
    """Sets of at most `size` sequences, whose whole prompts are one step of `max_tokens` at most.

    A set is what waits and fits at the moment when nothing runs: it does not wait to be full. A
    prompt above `max_tokens` makes a set alone. A sequence that is preempted goes with the next.
    """

    size: int
    max_tokens: float

    def plan(self, engine: Engine, now: float) -> tuple[list[Slice], bool]:
        """See `Batching`."""
        if engine.seated:
            engine.make_room()
            return [], True
        return engine.fill(self.max_tokens, 0, now, whole=True, most=self.size), True


def make(spec: Spec, options: Mapping[str, Value]) -> Static:
    """From ``static(n)``, 8 without one; the engine's `max_tokens`, without limit if none."""
    size, limit = spec.args.get("n"), options.get("max_tokens")
    return Static(
        int(size) if isinstance(size, int | float) else DEFAULT_SIZE,
        float(limit) if isinstance(limit, int | float) else inf,
    )

"""``heavy_light(by, threshold)``: long and short requests on different members.

The first half of the members, rounded up, takes light requests, the others heavy ones; a single
member takes all. Heavy is what has `threshold` tokens or more of prompt, of output or of both
together; left out, the threshold is the median of all that is offered. Within a half, the member
with the fewest requests in charge. The output is taken as known: what a perfect predictor of
lengths would bring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from hermesdsl.graph.types import Spec
from hermesdsl.sim.load import Offered
from hermesdsl.sim.requests import IntColumn
from hermesdsl.sim.routing.context import RouterContext, least, number

_Lengths: TypeAlias = Callable[[Offered], IntColumn]
#: What is long, by the word of the parameter `by`.
LENGTHS: Mapping[str, _Lengths] = MappingProxyType(
    {
        "prompt": lambda offered: offered.prompt,
        "output": lambda offered: offered.output,
        "both": lambda offered: offered.prompt + offered.output,
    }
)


class HeavyLight:
    """Light requests to the first half of the members, heavy ones to the others."""

    __slots__ = ("_heavy", "_is_heavy", "_light", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        members = context.members
        half = (len(members) + 1) // 2
        self._light = members[:half]
        self._heavy = members[half:] or members
        self._of = context.requests
        measured = LENGTHS[str(spec.args.get("by") or "prompt")](context.scene.offered)
        middle = float(np.median(measured)) if len(measured) else 0.0
        self._is_heavy: list[bool] = (measured >= number(spec, "threshold", middle)).tolist()

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return least(self._heavy if self._is_heavy[request] else self._light, self._of)

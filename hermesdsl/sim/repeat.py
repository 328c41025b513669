"""How often a stage or sub-pipeline runs before requests go on.

Knows draws and the settings of `repeat`; no clock, thread or stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Protocol

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Spec, Value
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.lengths import distribution


class Repeat(Protocol):
    """A way of repeating."""

    def again(self, request: int, done: int, total: int) -> bool:
        """Whether a request runs once more after `done` times in a row.

        `total` counts every time it has run, those of earlier entries included.
        """


class Times:
    """``times(n)``: a fixed number of times."""

    __slots__ = ("_n",)

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        self._n = _number(spec.args.get("n"), 1)

    def again(self, request: int, done: int, total: int) -> bool:
        """See `Repeat`."""
        return done < self._n


class Geometric:
    """``geometric(mean, max)``: a number of times drawn on entering."""

    __slots__ = ("_draws",)

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        self._draws = chance.draws(f"{path}/repeat", distribution(spec).quantile)

    def again(self, request: int, done: int, total: int) -> bool:
        """See `Repeat`."""
        return done < self._draws(request, total - done)


class While:
    """``while(p, max)``: once more with chance p after each time, `max` times at most."""

    __slots__ = ("_draws", "_most", "_p")

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        self._p = _number(spec.args.get("p"), 0)
        self._most = _number(spec.args.get("max"), inf)
        if self._p >= 1 and self._most == inf:
            message = f"`{spec}` of {path} never ends"
            raise SpecError([error("HMS601", message, notes=("help: give it a `max`",))])
        self._draws = chance.draws(f"{path}/repeat")

    def again(self, request: int, done: int, total: int) -> bool:
        """See `Repeat`."""
        return done < self._most and self._draws(request, total - 1) < self._p


#: By the name a specification gives them; each is made from (spec, path of the stage, chance).
REPEATS: Mapping[str, Callable[[Spec, str, Chance], Repeat]] = MappingProxyType(
    {"times": Times, "geometric": Geometric, "while": While}
)


def _number(value: Value, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default

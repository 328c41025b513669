"""How often a stage or sub-pipeline runs before requests go on.

Knows draws, conditions and the settings of `repeat`; no clock and no stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.graph.types import Guard, Spec, Value
from hermesdsl.sim.condition import condition
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.lengths import distribution

if TYPE_CHECKING:
    from hermesdsl.sim.walk import Thread


class Repeat(Protocol):
    """A way of repeating."""

    def again(self, thread: Thread, done: int, total: int) -> bool:
        """Whether a thread's request runs once more after `done` times in a row.

        `total` counts every time it has run, those of earlier entries included.
        """


class Times:
    """``times(n)``: a fixed number of times."""

    __slots__ = ("_n",)

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        self._n = _number(spec.args.get("n"), 1)

    def again(self, thread: Thread, done: int, total: int) -> bool:
        """See `Repeat`."""
        return done < self._n


class Geometric:
    """``geometric(mean, max)``: a number of times drawn on entering."""

    __slots__ = ("_draws",)

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        self._draws = chance.draws(f"{path}/repeat", distribution(spec).quantile)

    def again(self, thread: Thread, done: int, total: int) -> bool:
        """See `Repeat`."""
        return done < self._draws(thread.request, total - done)


class While:
    """``while(p, max)``: once more after each time, `max` times at most.

    With chance p, or if p is a condition that the request meets by then.
    """

    __slots__ = ("_draws", "_most", "_p", "_test")

    def __init__(self, spec: Spec, path: str, chance: Chance) -> None:
        p = spec.args.get("p")
        self._test = condition(p, chance.offered) if isinstance(p, Guard) else None
        self._p = _number(p, 0)
        self._most = _number(spec.args.get("max"), inf)
        problem = endless(spec, path)
        if problem is not None:
            raise SpecError([problem])
        self._draws = chance.draws(f"{path}/repeat")

    def again(self, thread: Thread, done: int, total: int) -> bool:
        """See `Repeat`."""
        if done >= self._most:
            return False
        if self._test is not None:
            return self._test(thread)
        return self._draws(thread.request, total - 1) < self._p


def endless(spec: Spec, where: str) -> Diagnostic | None:
    """HMS601 for a ``while`` that nothing need ever end, at a stage named `where`; else None."""
    p, most = spec.args.get("p"), spec.args.get("max")
    if spec.name != "while" or most is not None:
        return None
    if isinstance(p, Guard):
        message = f"`repeat = {spec}` of {where} may never end"
    elif isinstance(p, int | float) and p >= 1:
        message = f"`repeat = {spec}` of {where} never ends"
    else:
        return None
    return error("HMS601", message, notes=("help: give it a `max`",))


#: By the name a specification gives them; each is made from (spec, path of the stage, chance).
REPEATS: Mapping[str, Callable[[Spec, str, Chance], Repeat]] = MappingProxyType(
    {"times": Times, "geometric": Geometric, "while": While}
)


def _number(value: Value, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default

"""One line of a cost table: an operator, how long it takes, and what bounds it.

Knows no model, device or formula.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COMPUTE = "compute"
MEMORY = "memory"
NETWORK = "network"
LAUNCH = "launch"


@dataclass(frozen=True, slots=True)
class Operator:
    """`count` executions of `seconds` each, on the critical device of the group.

    `flops` and `bytes` belong to one execution on one device (for a collective, `bytes` is the
    message of one member). `wire`: seconds that what a member sends would take on its link at
    full bandwidth; 0 for what sends nothing. `bound` is what the time goes to: ``compute``,
    ``memory``, ``network`` or ``launch`` (fixed costs larger than the work). `rung` is a name of
    `provenance`. `spread`: share of the multiprocessors that a product has work for.
    """

    name: str
    count: float
    seconds: float
    flops: float
    bytes: float
    bound: str
    rung: str = "datasheet"
    wire: float = 0.0
    spread: float = 1.0


def bound_of(launch: float, compute: float, memory: float) -> str:
    """The largest of three times (seconds) that make up an operator on a device."""
    if launch >= compute and launch >= memory:
        return LAUNCH
    return COMPUTE if compute >= memory else MEMORY


def total_seconds(operators: Iterable[Operator]) -> float:
    """Seconds of all operators one after another."""
    return sum(op.count * op.seconds for op in operators)

"""Guesses that are right or wrong by draw, for engines with ``speculate = …(sampled = true)``.

The number of guesses that are right in the k-th step of a request's visit is its own draw: it
depends on the seed, the request, the stage and k, not on who else is in the batch, when the step is
taken, or whether KV was lost on the way. So systems that are compared see the same luck (common
random numbers). Knows no engine, step or cost.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hermesdsl.sim.nodes import Visit
from hermesdsl.sim.streams import Stream

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Sequence
    from hermesdsl.sim.load import Offered

#: Steps that are drawn at once.
_BLOCK = 64


class Course(NamedTuple):
    """The steps of one visit: where their draws come from, and as far as they have been drawn.

    `totals`: tokens after each number of steps, from none. `alone`: what single steps bring.
    """

    stream: Stream
    totals: list[int]
    alone: dict[int, int]


class Guessing:
    """`guesses` per step, each right with the chance `accept` unless one before it was wrong.

    At least n of them are right with chance accept^n: while the step's uniform number is below
    that. Tokens of a step: those that are right, and the model's own.
    """

    __slots__ = ("_bounds", "_numbers", "_offered", "_seed")

    def __init__(self, guesses: int, accept: float, seed: int, offered: Offered) -> None:
        self._bounds = [accept ** (n + 1) for n in range(guesses)]
        self._seed = seed
        self._offered = offered
        self._numbers: list[int] = offered.number.tolist()

    def gain(self, sequence: Sequence, step: int) -> int:
        """Tokens that the `step`-th step of a visit brings, from 0; drawn alone."""
        alone = self._course(sequence).alone
        if step not in alone:
            draw = float(self._course(sequence).stream.uniform(1, step)[0])
            alone[step] = 1 + sum(draw < bound for bound in self._bounds)
        return alone[step]

    def course(self, sequence: Sequence) -> list[int]:
        """Tokens after each number of its steps, from none: enough for all that it owes.

        Drawn when first asked for.
        """
        stream, totals, _ = self._course(sequence)
        owed = totals[sequence.guessed] + sequence.remaining
        while totals[-1] < owed:
            draws = stream.uniform(_BLOCK, len(totals) - 1)
            gains = 1 + (draws[:, None] < np.array(self._bounds)).sum(axis=1)
            totals.extend((totals[-1] + np.cumsum(gains)).tolist())
        return totals

    def gains(self, sequence: Sequence, steps: int) -> list[int]:
        """What each of the first `steps` steps of its stay brings, beyond what it owes too."""
        totals, start = self.course(sequence), sequence.guessed
        stay = totals[start : start + steps + 1]
        return [after - before for before, after in pairwise(stay)]

    def _course(self, sequence: Sequence) -> Course:
        course = sequence.course
        if course is None:
            request = sequence.request
            name = self._offered.workloads[self._offered.workload_of[request]]
            path = f"guesses/{name}/{self._numbers[request]}/{_visit(sequence)}"
            course = sequence.course = Course(Stream(self._seed, path), [0], {})
        return course


def _visit(sequence: Sequence) -> str:
    """The stage that a sequence is at, and which pass of which replica."""
    thread = sequence.visit
    if thread is None:
        return ""
    ahead, node = thread.ahead, thread.node
    if ahead is not None and ahead.sequence is sequence:
        node = ahead.node
    assert isinstance(node, Visit)
    return f"{node.stage.path}/{node.draw(node.turn(thread))}"

"""The front end of an engine: what takes tokens to their users, one after the other.

Tokens come when steps end and go out in that order, each after a fixed time of the one server
there is; what it cannot keep up with waits. So an engine that makes tokens faster than they go out
is not slowed itself: its users get their tokens later, and come again later. First and last tokens
count so; gaps between tokens stay those that the engine makes. Knows no batch, KV or cost; that a
run of decode steps stands for many of them is its caller's matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from hermesdsl.sim.kernel import DELIVERY, Kernel

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Sequence


class Answers:
    """Sends what one engine makes: `each` seconds per token; `leave` hears who has got the last.

    `free`: when all that has come so far is out.
    """

    __slots__ = ("_each", "_kernel", "_key", "_leave", "_waiting", "free")

    def __init__(
        self, each: float, kernel: Kernel, key: int, leave: Callable[[Sequence, float], None]
    ) -> None:
        self._each = each
        self._kernel = kernel
        self._key = key
        self._leave = leave
        self._waiting: deque[Sequence] = deque()
        self.free = 0.0

    def step(self, tokens: float, now: float) -> None:
        """So many tokens come at once."""
        self.free = max(self.free, now) + tokens * self._each

    def run(self, steps: int, tokens: float, first: float, last: float) -> None:
        """`steps` steps bring so many tokens each, from the end of the first to that of the last.

        Either what waits never runs out, and all goes on from where it was or from the first step;
        or it does, and then it does at the last step as well: steps grow longer within a run.
        """
        work = tokens * self._each
        self.free = max(max(self.free, first) + steps * work, last + work)

    def hold(self, sequence: Sequence) -> None:
        """A sequence has made its last token: it leaves when that is out."""
        self._waiting.append(sequence)
        self._kernel.at(self.free, DELIVERY, self._key, self._out)

    def _out(self, now: float, _: int) -> None:
        sequence = self._waiting.popleft()
        if not sequence.cancelled:
            self._leave(sequence, now)


def goes_out(sequence: Sequence) -> bool:
    """Whether its tokens are a user's, and its KV not another engine's to wait for."""
    return sequence.visible and not sequence.keeps

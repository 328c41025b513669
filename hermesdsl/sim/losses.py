"""Work that never ends, because whatever serves it fails first, time and again.

A job of a worker or a batch begins again from its start, and so does a prompt; what has been
produced is not lost. Work that was begun `MOST_LOSSES` times in a row without getting anywhere
ends the run with HMS701: by then it cannot end in any time that a run could wait for. Knows no
client's work and no schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.sim.outages import MOST_LOSSES

if TYPE_CHECKING:
    from array import array

    from hermesdsl.sim.decoding import Sequence as Work
    from hermesdsl.sim.walk import Thread


class Losses:
    """Counts how often work was begun in vain. `clients`: their paths; `outages`: rows of all."""

    def __init__(self, clients: Sequence[str], outages: array[float]) -> None:
        self._clients = clients
        self._outages = outages
        #: By key of the thread: what it was doing, how far it had come, and times in a row.
        self._known: dict[int, tuple[str, int, int]] = {}

    def served(self, thread: Thread, stage: str, client: int, seconds: float, now: float) -> None:
        """A job of so many seconds was lost. Raises `SpecError` (HMS701)."""
        if self._again(thread.key, stage, 0):
            raise self._endless(thread, stage, client, f"it takes {seconds:.4g} s", now)

    def read(self, thread: Thread, stage: str, client: int, left: Work, now: float) -> None:
        """A sequence was lost that has this `left` to do. Raises `SpecError` (HMS701)."""
        if self._again(thread.key, stage, left.remaining):
            what = f"it reads {left.left} tok before the next token comes"
            raise self._endless(thread, stage, client, what, now)

    def _again(self, key: int, stage: str, left: int) -> bool:
        """Count a loss; True if it is one too many."""
        before = self._known.get(key)
        times = before[2] + 1 if before is not None and before[:2] == (stage, left) else 1
        self._known[key] = (stage, left, times)
        return times >= MOST_LOSSES

    def _endless(self, thread: Thread, stage: str, client: int, what: str, now: float) -> SpecError:
        path = self._clients[client]
        return SpecError([error(
            "HMS701", f"request {thread.request} never ends: `{stage}` was begun {MOST_LOSSES:_} "
            f"times in a row and lost each time; {what}, and `{path}` serves "
            f"{self._mean_up(client, now):.4g} s on average before it fails",
            notes=("help: let things fail more rarely, cut the work into shorter pieces, or run "
                   "with `horizon = cut`",))])  # fmt: skip

    def _mean_up(self, client: int, now: float) -> float:
        """Seconds from one outage of a client to its next, so far."""
        rows = self._outages
        down = [rows[i + 2] - rows[i + 1] for i in range(0, len(rows), 4) if rows[i] == client]
        return (now - sum(down)) / (len(down) + 1)

"""Clients that share devices take turns: who may use them, and when.

One step of an engine, or one pass of a batch engine, has its devices to itself. Who wants devices
that others use waits; whoever has waited longest goes first, of those that ask at one instant by
name, and nobody passes another that waits for a device of its own. An engine in a run of decode
steps gives its devices away at the end of the step under way. Knows no step, queue or cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hermesdsl.sim.kernel import WAKE, Kernel

#: The key of what happens after everybody who wakes at an instant.
_LAST = 1 << 59


class Turn:
    """One client's claim to its `devices`; `key` places it among those who ask at one instant.

    `go(now)` is called when the devices are its own, until `free`; `hurry(now)` when others have
    come to wait for them meanwhile.
    """

    __slots__ = ("_turns", "devices", "go", "holds", "hurry", "key")

    def __init__(
        self,
        turns: Turns,
        key: int,
        devices: tuple[str, ...],
        go: Callable[[float], None],
        hurry: Callable[[float], None],
    ) -> None:
        self._turns = turns
        self.key = key
        self.devices = devices
        self.go = go
        self.hurry = hurry
        self.holds = False

    def ask(self, now: float) -> None:
        """Want the devices, which are not held; all who ask at one instant are alike."""
        self._turns.ask(self, now)

    def free(self, now: float) -> None:
        """Give the devices away, if they are held."""
        self._turns.free(self, now)

    def withdraw(self, now: float) -> None:
        """Want them no more: give them away, or wait for them no longer."""
        self._turns.withdraw(self, now)


class Turns:
    """The devices of a run that several clients share."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._asking: list[Turn] = []
        self._waiting: list[Turn] = []
        self._holders: dict[str, Turn] = {}
        self._planned = False

    def ask(self, turn: Turn, now: float) -> None:
        """See `Turn`."""
        self._asking.append(turn)
        self._plan(now)

    def free(self, turn: Turn, now: float) -> None:
        """See `Turn`."""
        if turn.holds:
            turn.holds = False
            for device in turn.devices:
                del self._holders[device]
            if self._waiting:
                self._plan(now)

    def withdraw(self, turn: Turn, now: float) -> None:
        """See `Turn`."""
        self.free(turn, now)
        for queue in (self._asking, self._waiting):
            if turn in queue:
                queue.remove(turn)
                self._plan(now)

    def _plan(self, now: float) -> None:
        if not self._planned:
            self._planned = True
            self._kernel.at(now, WAKE, _LAST, self._give)

    def _give(self, now: float, _: int) -> None:
        self._planned = False
        self._waiting += sorted(self._asking, key=lambda turn: turn.key)
        self._asking.clear()
        granted, waiting, claimed = [], [], set(self._holders)
        for turn in self._waiting:
            if claimed.isdisjoint(turn.devices):
                turn.holds = True
                self._holders.update(dict.fromkeys(turn.devices, turn))
                granted.append(turn)
            else:
                waiting.append(turn)
            claimed.update(turn.devices)
        self._waiting = waiting
        for turn in granted:
            turn.go(now)
        for holder in dict.fromkeys(self._wanted()):
            holder.hurry(now)

    def _wanted(self) -> Iterable[Turn]:
        """Whoever holds what others wait for."""
        for turn in self._waiting:
            for device in turn.devices:
                if device in self._holders:
                    yield self._holders[device]

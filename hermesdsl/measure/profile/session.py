"""One run over the cases of a grid: what is left of them, until the time is up.

Knows grids, timing and tables through their interfaces; no PyTorch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hermesdsl.measure.profile.grid import Case
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.profile.timing import Call, Device, Timing, drawn, timed

#: Power is read at the first cases of each operator and dtype: it takes longest.
POWERED_CASES = 16
#: A device that fails so often in a row does not recover.
PATIENCE = 20


class Unfit(RuntimeError):
    """A call that the device does not do, or has no memory for; the text says why."""


class Profiled(Device, Protocol):
    """A device on which cases can be set up."""

    def prepare(self, case: Case) -> Call:
        """Buffers of a case, and the call that is timed. Raises `Unfit`."""


@dataclass(frozen=True)
class Outcome:
    """Cases by number: in all, known `before`, `timed` now; those that failed, with reasons.

    `left`: not begun, for time was up. `broken`: the device failed too often in a row.
    """

    total: int
    before: int
    timed: int
    failed: tuple[tuple[Case, str], ...]
    left: int
    broken: bool = False


def profile(
    device: Profiled, cases: Sequence[Case], store: Store, *, until: float,
    clock: Callable[[], float], tell: Callable[[int, int, str], None],
) -> Outcome:  # fmt: skip
    """Time every case that the store does not hold, in order, while `clock` is before `until`.

    `tell` is called with (cases done, in all, the one at hand).
    """
    known = [case for case in cases if case in store.done]
    rest = [case for case in cases if case not in store.done]
    powered = Counter((case.operator, case.dtype) for case in known)
    failed: list[tuple[Case, str]] = []
    ended, in_a_row = 0, 0
    for case in rest:
        if clock() >= until or in_a_row >= PATIENCE:
            break
        tell(len(known) + ended, len(cases), case.told)
        ended += 1
        kind = (case.operator, case.dtype)
        powered[kind] += 1
        try:
            found = _one(device, case, clock, power=powered[kind] <= POWERED_CASES)
        except RuntimeError as reason:  # `Unfit`, or a call that ran once and fails now
            failed.append((case, str(reason)))
            in_a_row += 1
            continue
        in_a_row = 0
        store.add(case, found)
    return Outcome(len(cases), len(known), ended - len(failed), tuple(failed), len(rest) - ended,
                   in_a_row >= PATIENCE)  # fmt: skip


def _one(device: Profiled, case: Case, clock: Callable[[], float], *, power: bool) -> Timing:
    """Times of one case, whose buffers are gone when it returns."""
    call = device.prepare(case)
    found = timed(device, call)
    if power:
        found = replace(found, power=drawn(device, call, found.seconds, clock))
    return found

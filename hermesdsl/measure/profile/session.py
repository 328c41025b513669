"""One run over the cases of a grid: what is left of them, until the time is up.

Knows grids, timing and tables through their interfaces; no PyTorch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hermesdsl.measure.profile.grid import Case
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.profile.timing import Call, Device, Timing, awake, drawn, timed

#: Power is read at the first cases of each operator and dtype: it takes longest. What the host
#: sends or receives keeps no device busy.
POWERED_CASES = 16
UNPOWERED = ("host_to_device", "device_to_host")
#: An operator and dtype that fails so often, and has not worked once, is given up.
PATIENCE = 8


class Unfit(RuntimeError):
    """A call that the device does not do, or has no memory for; the text says why."""


class Profiled(Device, Protocol):
    """A device on which cases can be set up."""

    def prepare(self, case: Case) -> Call:
        """Buffers of a case, and the call that is timed. Raises `Unfit`."""


@dataclass(frozen=True)
class Outcome:
    """Cases by number: in all, known `before`, `timed` now; those that failed, with reasons.

    `given_up`: operators and dtypes of which nothing works, and how many cases of each were not
    tried. `left`: not begun, for time was up. `broken`: at the end nothing worked any more.
    """

    total: int
    before: int
    timed: int
    failed: tuple[tuple[Case, str], ...]
    given_up: Mapping[str, int]
    left: int
    broken: bool


def profile(
    device: Profiled, cases: Sequence[Case], store: Store, *, until: float,
    clock: Callable[[], float], tell: Callable[[int, int, str], None],
) -> Outcome:  # fmt: skip
    """Time every case that the store does not hold, in order, while `clock` is before `until`.

    `tell` is called with (cases done, in all, the one at hand).
    """
    known = [case for case in cases if case in store.done]
    rest = [case for case in cases if case not in store.done]
    powered = Counter(case.kind for case in known)
    works = {case.kind for case in known}
    in_a_row: Counter[str] = Counter()
    given_up: Counter[str] = Counter()
    failed: list[tuple[Case, str]] = []
    gone = count = 0
    for case in rest:
        if clock() >= until:
            break
        gone += 1
        if in_a_row[case.kind] >= PATIENCE and case.kind not in works:
            given_up[case.kind] += 1
            continue
        tell(len(known) + gone - 1, len(cases), case.told)
        powered[case.kind] += 1
        power = powered[case.kind] <= POWERED_CASES and case.operator not in UNPOWERED
        try:
            found = _one(device, case, clock, power=power, first=not count)
        except RuntimeError as reason:  # `Unfit`, or a call that ran once and fails now
            failed.append((case, str(reason)))
            in_a_row[case.kind] += 1
            continue
        works.add(case.kind)
        in_a_row[case.kind] = 0
        store.add(case, found)
        count += 1
    kinds = {case.kind for case in rest}
    broken = bool(kinds) and all(in_a_row[kind] >= PATIENCE for kind in kinds)
    return Outcome(len(cases), len(known), count, tuple(failed), dict(given_up),
                   len(rest) - gone, broken)  # fmt: skip


def _one(
    device: Profiled, case: Case, clock: Callable[[], float], *, power: bool, first: bool
) -> Timing:
    """Times of one case, whose buffers are gone when it returns."""
    call = device.prepare(case)
    if first:
        awake(device, call, clock)
    found = timed(device, call)
    if power:
        found = replace(found, power=drawn(device, call, found.seconds, clock))
    return found

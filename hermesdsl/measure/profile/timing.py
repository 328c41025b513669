"""How one call is timed: warm, with cold caches, often enough, and by its median.

Knows a device as a `Device` only; no shapes and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any, Protocol

#: Calls before any is timed: kernels are loaded and chosen.
WARM = 3
#: Seconds of work before the first case, for an idle device runs at lower clocks.
AWAKE_S = 0.5
#: Timed calls of one batch: as many as fill this long (seconds), within bounds.
FILL = 0.02
LEAST, MOST = 7, 50
#: A case is timed again while the middle half of its times spans more than this part of their
#: median, in at most so many batches and not once they have taken so long (seconds).
STEADY, BATCHES, ENOUGH_S = 0.05, 3, 2.0
#: Seconds that a call is repeated for to read power, and those of one uninterrupted stretch.
POWER_S, STRETCH_S = 0.6, 0.1
#: A reading of power that takes less (seconds) finds the device at work when it is done.
PROMPT_S = 5e-3
#: Calls shorter than this (seconds) leave the device waiting for the host: no power is read.
POWERED = 20e-6

Call = Callable[[], object]


class Device(Protocol):
    """What runs calls one after another, in the order in which they are queued."""

    def flush(self) -> None:
        """Queue a read of more bytes than the caches hold; it outlasts the queueing of a call."""

    def mark(self) -> Any:
        """Queue a mark of the device's clock."""

    def wait(self) -> None:
        """Return when all that was queued is done."""

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that have passed."""

    def power(self) -> float | None:
        """Watts that the device draws now; None where it does not say."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, and the quartiles, of so many `repeats`; watts if read."""

    seconds: float
    low: float
    high: float
    repeats: int
    power: float | None = None


def timed(device: Device, call: Call) -> Timing:
    """Times of `call`, each with caches emptied before it and outside of what is timed."""
    for _ in range(WARM):
        call()
    once = batch(device, call, 1)[0]
    count = min(MOST, max(LEAST, ceil(FILL / max(once, 1e-9))))
    samples: list[float] = []
    for _ in range(BATCHES):
        samples += batch(device, call, count)
        found = summary(samples)
        if found.high - found.low <= STEADY * found.seconds or sum(samples) > ENOUGH_S:
            break
    return found


def summary(samples: list[float]) -> Timing:
    """Median and quartiles of times, seconds."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    low, high = ordered[last // 4], ordered[last - last // 4]
    return Timing(median(ordered), low, high, len(ordered))


def awake(device: Device, call: Call, clock: Callable[[], float]) -> None:
    """Keep a device busy until its clocks have risen."""
    end = clock() + AWAKE_S
    while clock() < end:
        batch(device, call, LEAST)


def drawn(device: Device, call: Call, seconds: float, clock: Callable[[], float]) -> float | None:
    """Mean watts while `call`, of so many seconds, is repeated; the first half is not counted.

    None for calls that are too short, and where power cannot be read.
    """
    start = clock()
    if seconds < POWERED or device.power() is None:
        return None
    prompt = clock() - start < PROMPT_S
    count = max(1, ceil(STRETCH_S / seconds))
    start = clock()
    read: list[float] = []
    while not read or clock() - start < POWER_S:
        for _ in range(count):
            call()
        counts = clock() - start >= POWER_S / 2
        # Read while the last of what was queued still runs.
        watts = device.power() if prompt else _meanwhile(device, call, count)
        device.wait()
        if watts is None:
            return None
        if counts:
            read.append(watts)
    return sum(read) / len(read)


def _meanwhile(device: Device, call: Call, count: int) -> float | None:
    """A reading that takes long (by a command of the driver), beside calls that keep on."""
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(device.power)
        while not reading.done():
            for _ in range(count):
                call()
            device.wait()
        return reading.result()


def batch(device: Device, call: Call, count: int) -> list[float]:
    """Seconds of each of `count` calls, all queued before the first is waited for."""
    marks = []
    for _ in range(count):
        device.flush()
        start = device.mark()
        call()
        marks.append((start, device.mark()))
    device.wait()
    return [device.seconds(start, end) for start, end in marks]

"""A fixed amount of plain Python, to say how fast the machine is at this moment."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def yardstick() -> int:
    """Arithmetic, a dictionary and a list: the same work on every machine and for ever."""
    table: dict[int, int] = {}
    total = 0
    for i in range(300_000):
        total += i * 7 % 13
        table[i & 1023] = total
    return len(table)


def cpu_seconds(action: Callable[[], object]) -> float:
    """Process CPU seconds of one call, garbage of earlier ones collected first."""
    gc.collect()
    began = time.process_time()
    action()
    return time.process_time() - began

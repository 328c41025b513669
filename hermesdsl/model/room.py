"""Room for large specifications: deep ones, and ones with very many parts.

The budgets of the language (nesting 200, 1000 values that wait for each other) need more frames
than Python grants by default, and must not depend on how deep the caller already is. And a tree
of a million parts is no garbage: looking through it again and again for some takes half the time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

#: Frames: 1000 waiting values take about 9 each, and every expression on the way its own.
FRAMES = 20_000


@dataclass
class _Before:
    """How many are inside, and what to go back to when the last one leaves."""

    users: int = 0
    limit: int = 0
    collecting: bool = False


_before = _Before()
_lock = Lock()


@contextmanager
def room() -> Iterator[None]:
    """Raises the recursion limit and pauses the collector; nests, and threads may overlap."""
    with _lock:
        if _before.users == 0:
            _before.limit, _before.collecting = sys.getrecursionlimit(), gc.isenabled()
            sys.setrecursionlimit(max(FRAMES, _before.limit))
            gc.disable()
        _before.users += 1
    try:
        yield
    finally:
        with _lock:
            _before.users -= 1
            if _before.users == 0:
                sys.setrecursionlimit(_before.limit)
                if _before.collecting:
                    gc.enable()

"""Room for deep specifications: values, types and expressions that lie far inside each other.

The budgets of the language (nesting 200, 1000 values that wait for each other) need more frames
than Python grants by default, and must not depend on how deep the caller already is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

#: Frames: 1000 waiting values take about 9 each, and every expression on the way its own.
FRAMES = 20_000

_lock = Lock()
_users = [0, 0]  # how many are inside, and the limit to go back to


@contextmanager
def deep_stack() -> Iterator[None]:
    """Raises the recursion limit while anyone is inside; nests, and threads may overlap."""
    with _lock:
        if _users[0] == 0:
            _users[1] = sys.getrecursionlimit()
            sys.setrecursionlimit(max(FRAMES, _users[1]))
        _users[0] += 1
    try:
        yield
    finally:
        with _lock:
            _users[0] -= 1
            if _users[0] == 0:
                sys.setrecursionlimit(_users[1])

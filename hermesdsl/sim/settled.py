"""A heap that the garbage collector leaves alone while something runs on it.

A system of a thousand clients is no garbage: looking through all of it again and again takes longer
than serving some of their requests. What comes while it runs is collected as ever.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["settled"]


@contextmanager
def settled() -> Iterator[None]:
    """Looks for no garbage in what there is by now. Where runs overlap, until the first is over."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

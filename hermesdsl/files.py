"""Writing a file whole or not at all.

Knows bytes and paths; what they hold is the caller's business.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(target: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `target` and rename it.

    Raises OSError, after removing what was written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise

"""What was measured before, as JSON, and how much slower something has become since.

Ratios to the yardstick are compared, never seconds: those drift with the machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).parent / "history.json"
#: A ratio that has grown by more than this is a regression.
TOLERANCE = 0.15

Figures = Mapping[str, Mapping[str, Any]]


def entry(figures: Figures, folder: Path) -> dict[str, Any]:
    """Figures with the day, the commit of `folder`, and the machine in words without its name."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(folder),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}",
        "figures": {name: dict(figure) for name, figure in figures.items()},
    }


def _commit(folder: Path) -> str | None:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def load(path: Path = HISTORY) -> list[dict[str, Any]]:
    """Entries, oldest first; none without a file."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def append(new: Mapping[str, Any], path: Path = HISTORY) -> None:
    """Add an entry at the end; the file is replaced as a whole."""
    text = json.dumps([*load(path), new], indent=1) + "\n"
    made = path.with_suffix(".tmp")
    made.write_text(text, encoding="utf-8")
    made.replace(path)


def latest(entries: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The last figure of each case."""
    found: dict[str, Mapping[str, Any]] = {}
    for each in entries:
        found.update(each["figures"])
    return found


def changes(before: Figures, after: Figures) -> dict[str, float]:
    """Growth of the ratio of each case that is in both, as a share: 0.2 is a fifth slower."""
    return {
        name: figure["ratio"] / before[name]["ratio"] - 1.0
        for name, figure in after.items()
        if name in before and before[name]["ratio"] > 0
    }


def regressions(before: Figures, after: Figures) -> dict[str, float]:
    """Those of `changes` beyond `TOLERANCE`."""
    return {name: by for name, by in changes(before, after).items() if by > TOLERANCE}

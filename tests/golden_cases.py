"""Case files: a program, what is done with it, and the diagnostics that must come out.

A file holds several cases. A case is a heading, perhaps a sentence, and fenced blocks:

    ## what is wrong

    ```hms                      the program, case.hms; ```hms other.hms is a file beside it
    ```
    ```given                    optional: lines such as `set n = 3`, `case slow`, `path lib`, `run`
    ```
    ```diagnostics              what a person sees
    ```

``file NAME`` writes another text file, ``bytes NAME`` one given with Python's escapes, and
``link NAME`` a link to the path in the block. `HERMES_UPDATE=1` rewrites the diagnostics.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hermesdsl
from hermesdsl.diagnostics import Diagnostic, SpecError
from hermesdsl.diagnostics.render import render_text

CASES = Path(__file__).parent / "cases"
UPDATE = bool(os.environ.get("HERMES_UPDATE"))

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One case; `start` and `end` are the offsets of its text in its file."""

    path: Path
    name: str
    start: int
    end: int
    blocks: tuple[tuple[str, str, str], ...]  # (kind, file name, text)

    @property
    def expected(self) -> str:
        """The diagnostics that must come out."""
        return next(text for kind, _, text in self.blocks if kind == "diagnostics")

    def __str__(self) -> str:
        return f"{self.path.stem}: {self.name}"


def read(path: Path) -> Iterator[Case]:
    """Every case of a file."""
    text = path.read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [h.start() for h in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        blocks = tuple((b[1], b[2] or "", b[3]) for b in _BLOCK.finditer(text, heading.end(), end))
        yield Case(path, heading[1], heading.start(), end, blocks)


def write_files(case: Case, folder: Path) -> None:
    """Puts the files of a case into a folder; ``../`` leads out of it, as some cases must."""
    for kind, name, text in case.blocks:
        target = folder / (name or "case.hms")
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("hms", "file"):
            target.write_text(text, encoding="utf-8")
        elif kind == "bytes":
            target.write_bytes(text.strip().encode().decode("unicode_escape").encode("latin-1"))
        elif kind == "link":
            target.symlink_to(text.strip())


def shown(case: Case, folder: Path) -> str:
    """What a person sees of a case whose files are put into `folder`, the working directory."""
    write_files(case, folder)
    return render_text(diagnose(case)).replace(f"{folder}/", "")


def diagnose(case: Case) -> tuple[Diagnostic, ...]:
    """Compiles, and perhaps runs, what a case gives."""
    given = [line for kind, _, text in case.blocks if kind == "given" for line in text.splitlines()]
    words = [line.partition(" ") for line in given]
    settings: dict[str, str] = {}
    for word, _, rest in words:
        if word == "set":
            path, _, value = rest.partition("=")
            settings[path.strip()] = value.strip()
    folders = [rest for word, _, rest in words if word == "path"]
    chosen = next((rest for word, _, rest in words if word == "case"), None)
    try:
        system = hermesdsl.compile(Path("case.hms"), set=settings, path=folders, case=chosen)
        for word, _, rest in words:
            _also(system, word, rest)
    except SpecError as failure:
        return failure.diagnostics
    return system.diagnostics


def _also(system: Any, word: str, rest: str) -> None:
    if word == "run":
        hermesdsl.run(system, experiment=rest or None)
    elif word == "warn":
        from hermesdsl.execute import capacity_warnings

        raise SpecError(capacity_warnings(system, system.experiment()))
    elif word == "plugin":
        from hermesdsl.plugins import load

        load([rest])
    elif word == "write":
        from hermesdsl.results.write import refusal

        problem = refusal(rest)
        raise SpecError([problem] if problem is not None else [])


def update(case: Case, found: str) -> None:
    """Replaces the diagnostics of a case in its file; other cases may have moved meanwhile."""
    text = case.path.read_text(encoding="utf-8")
    at = text.index(f"## {case.name}\n")
    block = next(b for b in _BLOCK.finditer(text, at) if b[1] == "diagnostics")
    case.path.write_text(text[: block.start(3)] + found + text[block.end(3) :], encoding="utf-8")

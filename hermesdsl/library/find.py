"""Which module of the standard library defines a name, and what programs around it look like.

Reads the library's text line by line, without parsing; knows where its folder lies.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from hermesdsl import resources
from hermesdsl.diagnostics import SpecError, error
from hermesdsl.diagnostics.nearest import suggestion

_DEFINITION = re.compile(r"^([a-z_]+) +(\w+)(?: +extends +([\w.]+))? *\{", re.M)


@cache
def definitions() -> dict[str, tuple[str, str]]:
    """Every definition of the library by name: its kind and its module."""
    folder = resources.folder("stdlib")
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.rglob("*.hms")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "index" else parts
        if not parts or parts == ("prelude",):
            continue
        for kind, name, _ in _DEFINITION.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, (kind, ".".join(("std", *parts))))
    return found


def imported(name: str, kinds: tuple[str, ...]) -> tuple[str, str, Path]:
    """How a program gets a definition: (import line, its name, the folder to read from).

    `name` is a name of the library, or ``FILE.hms:NAME``. Raises SpecError HMS607 with the
    nearest names.
    """
    file, colon, inner = name.rpartition(":")
    if colon:
        path = Path(file)
        if not path.is_file() or path.suffix != ".hms" or not inner.isidentifier():
            note = "help: write FILE.hms:NAME, or a name of the library"
            raise SpecError([error("HMS607", f"`{name}` names no definition", notes=[note])])
        return f"from {path.stem} import {inner}", inner, path.resolve().parent
    known = [each for each, (kind, _) in definitions().items() if kind in kinds]
    if name not in known:
        what = " or ".join(kinds)
        near = suggestion(name, known) or (
            f"help: write FILE.hms:NAME for your own; the library has {', '.join(sorted(known))}",
        )
        raise SpecError([error("HMS607", f"no {what} `{name}`", notes=near)])
    return f"from {definitions()[name][1]} import {name}", name, Path()


def node_of(chip: str) -> str | None:
    """A node of the library whose chips are of that type, to take its links from."""
    kind = definitions().get(chip)
    if kind is None:
        return None
    for path in sorted(resources.folder("stdlib").rglob("*.hms")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^node +(\w+)[^\n]*\{", text, re.M):
            end = text.find("\n}", match.start())
            line = text[match.start() : text.find("\n", match.start())]
            body = line if "}" in line else text[match.start() : end]
            if re.search(rf"\baccel *(?:: *chip *)?= *{chip}\b|\bgpu\[\w+\]: *{chip}\b", body):
                return match.group(1)
    return None

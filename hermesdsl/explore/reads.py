"""What the results of a specification follow from: the files read, and the settings that matter.

Knows files and statements; runs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.api import System

__all__ = ["FREE", "data_files", "digest"]

#: Properties of an experiment that no result of a single run follows from.
FREE = ("seeds", "minimize", "maximize", "strategy")


def digest(system: System) -> str:
    """Hash of this version, of every file of the language read, and of every data file named.

    Of experiments, what says which points and seeds are run and what is wanted of them is left
    out, since runs that are made stay as they are; names of `FREE` that are used elsewhere stay.
    """
    from hermesdsl import __version__

    made = hashlib.sha256(__version__.encode())
    for text in sorted(_text(module.file) for module in system.tree.modules):
        made.update(hashlib.sha256(text.encode()).digest())
    for path in sorted(data_files(system)):
        with path.open("rb") as data:
            made.update(hashlib.file_digest(data, "sha256").digest())
    return made.hexdigest()


def _text(file: ast.File) -> str:
    """The text of a file without what runs do not depend on, blanks made alike."""
    text, at, kept = file.span.source.text, 0, []
    for span in _free(file.statements):
        kept.append(text[at : span.start])
        at = span.end
    cut = "\0".join([*kept, text[at:]])
    return " ".join(re.sub(r"[\s;]*\0[\s;\0]*", "\n", cut).split())


def _free(statements: Iterable[ast.Statement]) -> Iterator[Span]:
    """Statements of experiments that runs do not depend on, in order."""
    for definition in statements:
        if not isinstance(definition, ast.Definition) or definition.kind != "experiment":
            continue
        for each in definition.block.statements:
            free = isinstance(each, ast.Sweep | ast.Require) or (
                isinstance(each, ast.Assign)
                and isinstance(each.target, ast.Name)
                and each.target.name in FREE
            )
            if free:
                yield each.span


def data_files(system: System) -> set[Path]:
    """The traces and tables that workloads and stages name."""
    graphs = system.pipelines.values()
    stages = [data.get("stage") for graph in graphs for _, data in graph.nodes(data=True)]
    found: set[Path] = set()
    _named(list(system.compiled.workloads.values()), found)
    _named(stages, found)
    return found


def _named(value: Any, found: set[Path]) -> None:
    """Absolute paths of files anywhere in plain data."""
    if isinstance(value, str):
        if Path(value).is_absolute() and Path(value).is_file():
            found.add(Path(value))
    elif isinstance(value, Mapping):
        _named(list(value.values()), found)
    elif isinstance(value, list | tuple):
        for each in value:
            _named(each, found)
    elif is_dataclass(value):
        _named([getattr(value, each.name) for each in fields(value)], found)

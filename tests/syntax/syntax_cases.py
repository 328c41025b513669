"""Reads the case files and the golden programs; prints a tree without its positions."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from hermesdsl.source import Source, Span

CASES = Path(__file__).parent / "cases"
PROGRAMS = Path(__file__).parents[1] / "golden" / "programs"

_CASE = re.compile(
    r"^## (?P<name>.+?)\n\n```hms\n(?P<given>.*?)```\n```(?P<kind>\w+)\n(?P<expected>.*?)```",
    re.MULTILINE | re.DOTALL,
)


def cases(kind: str) -> list[Any]:
    """pytest parameters (given, expected) of every case whose second block is of that kind."""
    return [
        pytest.param(case["given"], case["expected"], id=f"{path.stem}: {case['name']}")
        for path in sorted(CASES.glob("*.md"))
        for case in _CASE.finditer(path.read_text(encoding="utf-8"))
        if case["kind"] == kind
    ]


def programs() -> list[Any]:
    """pytest parameters, one golden program each."""
    return [pytest.param(path, id=path.stem) for path in sorted(PROGRAMS.glob("*.hms"))]


def source(text: str) -> Source:
    return Source("case.hms", text)


def shape(node: Any) -> Any:
    """A node as nested tuples, without spans, so that trees of two texts can be compared."""
    if isinstance(node, Span):
        return None
    if isinstance(node, tuple):
        return tuple(shape(item) for item in node)
    if dataclasses.is_dataclass(node):
        fields = [f.name for f in dataclasses.fields(node) if not f.name.endswith("span")]
        return (type(node).__name__, *(shape(getattr(node, name)) for name in fields))
    return node

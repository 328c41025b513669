"""Small specifications for the tests of the model: built from text, asked for values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hermesdsl
from hermesdsl.diagnostics import Sink, SpecError
from hermesdsl.model.elaborate import Tree, elaborate
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Instance, Selection, Vector
from hermesdsl.model.values import text
from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse

#: A chip, a link, a model and an engine's ingredients that most tests start from.
PARTS = """
chip G {
    power = 100 W; peak.bf16 = 100 TFLOPS
    hbm: Memory { capacity = 80 GiB; bandwidth = 2 TB/s }
}
link L { bandwidth = 10 GB/s; latency = 1 us }
model M { layers = 2; hidden = 128; ffn = 256; vocab = 100; heads = 2; parameters = 1e6 }
"""


def built(spec: str, settings: Mapping[str, str] | None = None, case: str | None = None) -> Tree:
    """The tree of a text without errors; raises SpecError."""
    sink = Sink()
    tree = elaborate("spec.hms", sink=sink, text=spec, settings=settings, case=case)
    sink.raise_if_failed()
    assert tree is not None
    return tree


def value(tree: Tree, path: str) -> Any:
    """What an expression at the top level of the root file comes to."""
    file = parse(Source("test", f"let it = {path}")).file
    statement = file.statements[0]
    assert isinstance(statement, ast.Let)
    scope = tree.root.instance.scope
    assert scope is not None
    return tree.builder.evaluator.value(statement.value, Context(scope))


def shown(tree: Tree, path: str) -> str:
    """The same as a person reads it; paths of things."""
    found = value(tree, path)
    if isinstance(found, Instance | Vector):
        return found.path
    if isinstance(found, Selection):
        return " ".join(item.path for item in found.items)
    return text(found)


def of(spec: str, path: str, settings: Mapping[str, str] | None = None) -> str:
    """One value of a text."""
    return shown(built(PARTS + spec, settings), path)


def codes(
    spec: str, settings: Mapping[str, str] | None = None, case: str | None = None
) -> list[str]:
    """The codes of the errors of a text, in order; of all stages up to the first with errors."""
    try:
        hermesdsl.compile(spec + "\n", set=settings, case=case)
    except SpecError as failure:
        return [d.code for d in failure.diagnostics if d.is_error]
    return []


def messages(spec: str, settings: Mapping[str, str] | None = None) -> list[str]:
    """The messages of the errors of a text."""
    try:
        hermesdsl.compile(spec + "\n", set=settings)
    except SpecError as failure:
        return [d.message for d in failure.diagnostics if d.is_error]
    return []

"""What the grammar allows and the language does not: depth, and imports inside a block.

Works on finished nodes with a stack of its own, so that no tree is too deep for it. Every stage
after this one may recurse over a tree: it is at most `NESTING` nodes deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.syntax import ast

NESTING: Final = 200
"""The deepest tree, and the most brackets that may be open at once (language, section 4)."""

_LEAVES: Final = (
    ast.Name, ast.Number, ast.QuantityLiteral, ast.Text, ast.Boolean, ast.All, ast.Import,
)  # fmt: skip


def every_statement(statements: Iterable[ast.Statement]) -> Iterator[ast.Statement]:
    """The statements and all that stand in their blocks."""
    waiting = list(statements)
    while waiting:
        statement = waiting.pop()
        yield statement
        for part in ("block", "then", "otherwise"):
            block = getattr(statement, part, None)
            if isinstance(block, ast.Block):
                waiting.extend(block.statements)


def check(
    statements: tuple[ast.Statement, ...],
) -> tuple[tuple[ast.Statement, ...], tuple[Diagnostic, ...]]:
    """The statements that may be used, and what is wrong with the others."""
    kept: list[ast.Statement] = []
    problems: list[Diagnostic] = []
    for statement in statements:
        deep = _too_deep(statement)
        if deep is None:
            kept.append(statement)
            problems.extend(_misplaced_imports(statement))
        else:
            problems.append(too_deep(deep))
    return tuple(kept), tuple(problems)


def too_deep(node: Any) -> Diagnostic:
    """The diagnostic for whatever stands one level too deep; `node` has a span."""
    return error(
        "HMS105",
        f"more than {NESTING} levels of nesting",
        node.span,
        notes=("help: give parts of it names with `let`",),
    )


def _misplaced_imports(top: ast.Statement) -> Iterator[Diagnostic]:
    for statement in every_statement([top]):
        if isinstance(statement, ast.Import) and statement is not top:
            yield error(
                "HMS106",
                "an import stands at the top of a file, never in a block",
                statement.span,
            )


def _too_deep(root: ast.Statement) -> Any | None:
    """The first node below `NESTING` others, or None."""
    level: list[Any] = [root]
    depth = 0
    while level:
        depth += 1
        if depth > NESTING:
            return level[0]
        below: list[Any] = []
        for node in level:
            _children(node, below)
        level = below
    return None


def _children(node: Any, into: list[Any]) -> None:
    """Add the statements and expressions right below a node; wrappers between count nothing."""
    for name in _fields(node.__class__):
        child = getattr(node, name)
        if child is None or isinstance(child, _LEAVES):
            continue
        if isinstance(child, tuple):
            for item in child:
                if isinstance(item, _WRAPPERS):
                    _children(item, into)
                elif not isinstance(item, _LEAVES):
                    into.append(item)
        elif isinstance(child, _WRAPPERS):
            _children(child, into)
        else:
            into.append(child)


_WRAPPERS: Final = (ast.Argument, ast.Arm, ast.Block, ast.Slice)


@cache
def _fields(kind: type) -> tuple[str, ...]:
    """The fields of a node class that may hold nodes."""
    text = {"str", "str | None", "Span", "bool", "int | float", "tuple[str, ...]"}
    return tuple(
        name for name, annotation in kind.__annotations__.items() if annotation not in text
    )

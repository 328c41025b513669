"""The head of a statement, all of it before its block, as cells that `align` can line up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.align import Cell
from hermesdsl.syntax.printing import INDENT, expression, join, string

_BLANK: Final = re.compile(r"[ \t]*")
_CLOSED: Final = re.compile(r"[ \t),]*")
_COMMA: Final = re.compile(r"[ \t,]*")
_SPACE: Final = re.compile(r"\s*")


Item: TypeAlias = ast.Statement | ast.Arm
"""What stands on a line of its own in a block."""


def blocks(item: Item) -> list[Span]:
    """The spans of a statement's blocks, braces included."""
    match item:
        case ast.If(_, then, otherwise):
            return [then.span] if otherwise is None else [then.span, otherwise.span]
        case ast.Branch():
            return [Span(item.span.source, head_end(item), item.span.end)]
        case ast.Definition() | ast.Reopen() | ast.For():
            return [item.block.span]
        case ast.InstanceDecl() | ast.Connect():
            return [item.block.span] if item.block is not None else []
        case _:
            return []


def contents(item: Item) -> list[Sequence[Item]]:
    """What stands in each of a statement's `blocks`."""
    match item:
        case ast.If(_, then, otherwise):
            both = [then.statements]
            return [*both] if otherwise is None else [*both, otherwise.statements]
        case ast.Branch(_, arms):
            return [arms]
        case ast.Definition() | ast.Reopen() | ast.For() | ast.InstanceDecl() | ast.Connect():
            return [item.block.statements] if item.block is not None else []
        case _:
            return []


def head_end(item: Item) -> int:
    """The offset where the block begins, or the statement ends."""
    if isinstance(item, ast.Branch):
        return _after(item.source.span, _SPACE)
    inner = blocks(item)
    return inner[0].start if inner else item.span.end


def head(item: Item) -> list[Cell]:
    """The cells of a statement up to its block."""
    start = item.span.start
    match item:
        case ast.Import():
            return _import(item)
        case ast.Param():
            return _param(item)
        case ast.Let(name, value, _, name_span):
            return [Cell("", f"let {name}", start), _word("=", value, _after(name_span))]
        case ast.Assign(target, value):
            target_cell = Cell("", expression(target), start)
            return [target_cell, _word("=", value, _after(target.span))]
        case ast.Definition(kind, name, base):
            cells = [Cell("", f"{kind} {name}", start)]
            if base is not None:
                cells.append(_word("extends", base, _after(item.name_span)))
            return cells
        case ast.Reopen(target):
            return [Cell("", expression(target), start)]
        case ast.InstanceDecl():
            return _instance(item)
        case ast.Connect():
            return _connect(item)
        case ast.Flow(steps):
            return [Cell("", _steps(steps), start)]
        case ast.Arm():
            return _arm(item)
        case ast.Branch(source):
            return [Cell("", join("branch ", expression(source)), start)]
        case ast.For(names, values):
            each = expression(values, plain=True)
            return [Cell("", join(f"for {', '.join(names)} in ", each), start)]
        case ast.If(condition):
            return [Cell("", join("if ", expression(condition)), start)]
        case ast.Assert(condition, message):
            return _condition("assert ", condition, message, start)
        case ast.Require(condition, message):
            return _condition("require ", condition, message, start)
        case ast.Sweep():
            return _sweep(item)


def _after(span: Span, blanks: re.Pattern[str] = _BLANK) -> int:
    """Where the word behind a span begins."""
    found = blanks.match(span.source.text, span.end)
    return found.end() if found else span.end


def _word(word: str, node: ast.Expr, origin: int, *, plain: bool = False) -> Cell:
    """A cell such as ``on path`` or ``= value``, named for its word."""
    return Cell(word, join(word + " ", expression(node, plain=plain)), origin)


def _import(item: ast.Import) -> list[Cell]:
    start, behind = item.span.start, _after(item.module_span)
    if not item.names:
        cells = [Cell("", f"import {item.module}", start)]
        return cells if item.alias is None else [*cells, Cell("as", f"as {item.alias}", behind)]
    names = (n.name if n.alias is None else f"{n.name} as {n.alias}" for n in item.names)
    listed = Cell("import", f"import {', '.join(names)}", behind)
    return [Cell("", f"from {item.module}", start), listed]


def _param(item: ast.Param) -> list[Cell]:
    cells = [Cell("", f"param {item.name}", item.span.start)]
    last = item.name_span
    if item.type is not None:
        cells[0].text += ":"
        cells.append(Cell(":", expression(item.type), item.type.span.start))
        last = item.type.span
    if item.default is not None:
        cells.append(_word("=", item.default, _after(last), plain=True))
        last = item.default.span
    if item.domain is not None:
        cells.append(_word("in", item.domain, _after(last), plain=True))
    return cells


def _instance(item: ast.InstanceDecl) -> list[Cell]:
    cells = [
        Cell("", join(expression(item.target), ":"), item.span.start),
        Cell(":", expression(item.type), item.type.span.start),
    ]
    if item.on is not None:
        cells.append(_word("on", item.on, _after(item.type.span)))
    return cells


def _connect(item: ast.Connect) -> list[Cell]:
    cells = [Cell("", join("connect ", expression(item.left)), item.span.start)]
    last = item.left.span
    if item.arrow is not None and item.right is not None:
        text = join(item.arrow + " ", expression(item.right))
        cells.append(Cell("wire", text, _after(last)))
        last = item.right.span
    if item.link is not None:
        via = _word("via", item.link, _after(last))
        if item.lanes is not None:
            via.text = join(via.text, " * ", expression(item.lanes, primary=True))
        cells.append(via)
    return cells


def _arm(item: ast.Arm) -> list[Cell]:
    start = item.span.start
    if item.guard is None:
        first, behind = Cell("", "else", start), start + len("else")
    else:
        first, behind = Cell("", expression(item.guard), start), item.guard.span.end
    at = _after(Span(item.span.source, start, behind))
    return [first, Cell("->", join("-> ", _steps(item.steps)), at)]


def _steps(steps: tuple[ast.Expr, ...]) -> str:
    """``a -> b``, with the line breaks the author put between the steps."""
    text, last = expression(steps[0]), steps[0].span
    for step in steps[1:]:
        broken = "\n" in last.source.text[last.end : step.span.start]
        text = join(text, f"\n{INDENT}-> " if broken else " -> ", expression(step))
        last = step.span
    return text


def _condition(word: str, condition: ast.Expr, message: str | None, start: int) -> list[Cell]:
    cells = [Cell("", join(word, expression(condition)), start)]
    if message is not None:
        cells[0].text += ","
        behind = _after(condition.span, _COMMA)
        cells.append(Cell("message", string(message), behind))
    return cells


def _sweep(item: ast.Sweep) -> list[Cell]:
    targets = join(*[part for path in item.targets for part in (", ", expression(path))][1:])
    if item.zipped:
        targets = join("(", targets, ",)" if len(item.targets) == 1 else ")")
    cells = [Cell("", join("sweep ", targets), item.span.start)]
    if item.values is not None:
        behind = _after(item.targets[-1].span, _CLOSED)
        cells.append(_word("in", item.values, behind, plain=True))
    return cells

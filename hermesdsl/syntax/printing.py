"""Expressions back to text.

Canonical spacing, parentheses where the meaning needs them or where the author put them around
an operand, literals as they were written. An item of a call, list or tuple stays on a line of
its own if the author broke the line before it. A node with an empty span (made by a program,
not by the parser) prints from its values.

A text may have several lines. A line after the first that begins with `PINNED` is indented
relative to the first character of the expression, any other to the line the expression is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hermesdsl.syntax import ast

PINNED: Final = "\0"
INDENT: Final = "    "

_CONDITIONAL, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _POWER, _PRIMARY = range(10)
_LEVELS: Final = {
    "or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT,
    "%": _PRODUCT, "**": _POWER,
}  # fmt: skip
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})


def expression(node: ast.Expr, *, plain: bool = False, primary: bool = False) -> str:
    """The text of an expression.

    `plain` where a comparison with ``in`` needs parentheses, `primary` where every operation does.
    """
    if primary:
        return _operand(node, _PRIMARY, False)
    if plain and isinstance(node, ast.Comparison) and "in" in node.ops:
        return join("(", _text(node, False), ")")
    return _text(node, plain)


def string(value: str) -> str:
    """A string literal for a value."""
    return f'"{value.translate(_ESCAPES)}"'


def join(*parts: str) -> str:
    """Parts of one expression behind each other, pinned lines moved along."""
    whole = ""
    for part in parts:
        column = len(whole) - whole.rfind("\n") - 1
        column -= whole.startswith(PINNED, whole.rfind("\n") + 1)
        whole += part.replace("\n" + PINNED, "\n" + PINNED + " " * column)
    return whole


def _text(node: ast.Expr | ast.All | ast.Slice, plain: bool) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Boolean(value):
            return "true" if value else "false"
        case ast.All():
            return "*"
        case ast.Number() | ast.QuantityLiteral() | ast.Text():
            return _literal(node)
        case ast.Attribute(base, name):
            return join(_base(base), "." + name)
        case ast.Index(base, item):
            return join(_base(base), "[", _text(item, False), "]")
        case ast.Slice(start, stop):
            ends = [_text(end, False) if end is not None else "" for end in (start, stop)]
            return join(ends[0], ":", ends[1])
        case ast.Call(function, arguments):
            return join(
                _base(function),
                _items("(", arguments, ")", node, function.span.end),
            )
        case ast.ListExpr(items):
            return _items("[", items, "]", node, node.span.start)
        case ast.TupleExpr(items):
            return _items("(", items, ")", node, node.span.start)
        case _:
            return _operation(node, plain)


def _operation(node: ast.Unary | ast.Binary | ast.Comparison | ast.Conditional, plain: bool) -> str:
    level = _level(node)
    match node:
        case ast.Unary(op, operand):
            sign = "not " if op == "not" else op
            return join(sign, _operand(operand, level, plain))
        case ast.Binary(op, left, right):
            before, after = (_PRIMARY, _UNARY) if op == "**" else (level, level + 1)
            left_text, right_text = _operand(left, before, plain), _operand(right, after, plain)
            return join(left_text, f" {op} ", right_text)
        case ast.Comparison(operands, ops):
            texts = [_operand(operand, _SUM, plain) for operand in operands]
            rest = (piece for op, text in zip(ops, texts[1:], strict=True)
                    for piece in (f" {op} ", text))  # fmt: skip
            return join(texts[0], *rest)
        case ast.Conditional(condition, then, otherwise):
            return join(
                _operand(then, _OR, plain), " if ", _operand(condition, _OR, plain),
                " else ", _operand(otherwise, _CONDITIONAL, plain),
            )  # fmt: skip


def _base(node: ast.Expr) -> str:
    """What a point or a bracket follows; behind a bare quantity they would change its unit."""
    if isinstance(node, ast.QuantityLiteral):
        return f"({_literal(node)})"
    return _operand(node, _PRIMARY, False)


def _operand(node: ast.Expr, lowest: int, plain: bool) -> str:
    """A part of an expression, in parentheses if it binds less than `lowest` asks for."""
    hidden_in = plain and isinstance(node, ast.Comparison) and "in" in node.ops
    if _level(node) < lowest or hidden_in or _in_parentheses(node):
        return join("(", _text(node, False), ")")
    return _text(node, plain)


def _level(node: ast.Expr) -> int:
    match node:
        case ast.Conditional():
            return _CONDITIONAL
        case ast.Comparison():
            return _COMPARE
        case ast.Unary(op):
            return _NOT if op == "not" else _UNARY
        case ast.Binary(op):
            return _LEVELS[op]
        case _:
            return _PRIMARY


def _in_parentheses(node: ast.Expr) -> bool:
    """True if the author put parentheses around an operation."""
    match node:
        case ast.Conditional():
            first = node.then
        case ast.Comparison():
            first = node.operands[0]
        case ast.Binary():
            first = node.left
        case ast.Unary():
            return node.span.text.startswith("(")
        case _:
            return False
    return node.span.start < first.span.start


def _literal(node: ast.Number | ast.QuantityLiteral | ast.Text) -> str:
    """A literal as written, or from its value."""
    written = node.span.text.strip("() \t\r\n")
    if written:
        return written
    if isinstance(node, ast.Text):
        return string(node.value)
    if isinstance(node, ast.Number):
        return repr(node.value)
    if node.unit.startswith("$"):
        return f"${node.value!r}{node.unit[1:]}"
    return f"{node.value!r}{'' if node.unit == '%' else ' '}{node.unit}"


def _items(
    opening: str, items: Sequence[ast.Expr | ast.Argument], closing: str, node: ast.Expr, start: int
) -> str:
    """A bracketed list of items, in the rows the author broke it into."""
    rows: list[list[str]] = []
    source, end = node.span.source.text, start
    for item in items:
        if not rows or "\n" in source[end : item.span.start]:
            rows.append([])
        rows[-1].append(_item(item))
        end = item.span.end
    lines = [_row(row) for row in rows]
    hanging = bool(items) and "\n" in source[start : items[0].span.start]
    if hanging:
        rest = "".join(f"\n{_moved(line, INDENT)}," for line in lines)
        return f"{opening}{rest}\n{closing}"
    comma = "," if isinstance(node, ast.TupleExpr) and len(items) == 1 else ""
    whole = join(opening, *lines[:1])
    for line in lines[1:]:
        whole += ",\n" + PINNED + " " + _moved(line, PINNED + " ")
    return whole + comma + closing


def _item(item: ast.Expr | ast.Argument) -> str:
    if not isinstance(item, ast.Argument):
        return _text(item, False)
    value = _text(item.value, False)
    return value if item.name is None else join(f"{item.name} = ", value)


def _row(items: list[str]) -> str:
    pieces = [piece for item in items for piece in (", ", item)]
    return join(*pieces[1:])


def _moved(row: str, margin: str) -> str:
    """A row that begins a line: all its further lines are relative to its own first."""
    further = row.replace("\n" + PINNED, "\n").replace("\n", "\n" + margin)
    return further if margin.startswith(PINNED) else margin + further

"""From grammar rules to tree nodes: one method for each rule of `grammar/hermes.lark`.

The parser calls a method with the rule's children the moment the rule is complete, so no parse
tree is ever built. Children are tokens, nodes or, where the grammar marks an option, None.
Knows how text becomes values (numbers, strings); knows no name, unit or kind.

A node in parentheses gets the span of its parentheses; that is the only trace they leave.
"""

# ruff: noqa: D102  (a method is documented by the rule of its name)

from __future__ import annotations

import re
from dataclasses import replace
from math import isfinite
from typing import Any, Final, Protocol, TypeAlias

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast


class Token(Protocol):
    """What the builder needs of a token."""

    value: str
    start_pos: int
    end_pos: int


Child: TypeAlias = Any
"""A token, a node, a tuple that another rule returned, or None."""

LARGEST_INTEGER: Final = 2**63
_NUMBER: Final = re.compile(r"[0-9_]+(?:\.[0-9_]+)?(?:[eE][+-]?[0-9]+)?")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t"}


class Builder:
    """Builds the nodes of one text at a time: `begin` names it, `problems` collects."""

    def begin(self, source: Source) -> None:
        """Start on a text; forget what was found in the last one."""
        self.source = source
        self.problems: list[Diagnostic] = []

    def _span(self, first: Child, last: Child) -> Span:
        """From the start of a token or node to the end of another."""
        node = getattr(first, "span", None)
        start = first.start_pos if node is None else node.start
        node = getattr(last, "span", None)
        return Span(self.source, start, last.end_pos if node is None else node.end)

    def _of(self, token: Token) -> Span:
        return Span(self.source, token.start_pos, token.end_pos)

    # --- statements ------------------------------------------------------------------------

    def file(self, c: list[Child]) -> tuple[ast.Statement, ...]:
        return tuple(c)

    def import_module(self, c: list[Child]) -> ast.Import:
        word, (module, span), alias = c
        last = span.end if alias is None else alias.end_pos
        whole = Span(self.source, word.start_pos, last)
        return ast.Import(module, alias and alias.value, (), whole, span)

    def import_names(self, c: list[Child]) -> ast.Import:
        word, (module, span), _, *names = c
        return ast.Import(module, None, tuple(names), self._span(word, names[-1]), span)

    def imported(self, c: list[Child]) -> ast.ImportedName:
        name, alias = c
        return ast.ImportedName(name.value, alias and alias.value, self._span(name, alias or name))

    def module(self, c: list[Child]) -> tuple[str, Span]:
        return ".".join(part.value for part in c), self._span(c[0], c[-1])

    def param(self, c: list[Child]) -> ast.Param:
        word, name, type_, default, _, domain = c
        last = domain or default or type_ or name
        span = self._span(word, last)
        return ast.Param(name.value, type_, default, domain, span, self._of(name))

    def let(self, c: list[Child]) -> ast.Let:
        word, name, value = c
        return ast.Let(name.value, value, self._span(word, value), self._of(name))

    def assign(self, c: list[Child]) -> ast.Assign:
        target, value = c
        return ast.Assign(target, value, self._span(target, value))

    def definition(self, c: list[Child]) -> ast.Definition:
        kind, name, base, block = c
        span = self._span(kind, block)
        return ast.Definition(
            kind.value, name.value, base, block, span, self._of(kind), self._of(name)
        )

    def reopen(self, c: list[Child]) -> ast.Reopen:
        target, block = c
        return ast.Reopen(target, block, self._span(target, block))

    def instance(self, c: list[Child]) -> ast.InstanceDecl:
        target, type_, on, block = c
        span = self._span(target, block or on or type_)
        return ast.InstanceDecl(target, type_, on, block, span)

    def block(self, c: list[Child]) -> ast.Block:
        return ast.Block(tuple(c[1:-1]), self._span(c[0], c[-1]))

    def connect(self, c: list[Child]) -> ast.Connect:
        word, left, arrow, right, link, _, lanes, block = c
        span = self._span(word, block or lanes or link or right or left)
        return ast.Connect(left, arrow and arrow.value, right, link, lanes, block, span)

    def flow(self, c: list[Child]) -> ast.Flow:
        steps = tuple(c[::2])
        return ast.Flow(steps, self._span(steps[0], steps[-1]))

    def branch(self, c: list[Child]) -> ast.Branch:
        word, stage, _, arms, brace = c
        return ast.Branch(stage, arms, self._span(word, brace))

    def arms(self, c: list[Child]) -> tuple[ast.Arm, ...]:
        return tuple(c)

    def guarded(self, c: list[Child]) -> ast.Arm:
        steps = tuple(c[2::2])
        return ast.Arm(c[0], steps, self._span(c[0], steps[-1]))

    def otherwise(self, c: list[Child]) -> ast.Arm:
        steps = tuple(c[2::2])
        return ast.Arm(None, steps, self._span(c[0], steps[-1]))

    def for_each(self, c: list[Child]) -> ast.For:
        word, names, _, values, block = c
        return ast.For(names, values, block, self._span(word, block))

    def names(self, c: list[Child]) -> tuple[str, ...]:
        return tuple(name.value for name in c)

    def if_else(self, c: list[Child]) -> ast.If:
        word, condition, then, _, otherwise = c
        if isinstance(otherwise, ast.If):
            otherwise = ast.Block((otherwise,), otherwise.span)
        return ast.If(condition, then, otherwise, self._span(word, otherwise or then))

    def assertion(self, c: list[Child]) -> ast.Assert:
        word, condition, message = c
        text = message and self._unescaped(message.value)
        return ast.Assert(condition, text, self._span(word, message or condition))

    def requirement(self, c: list[Child]) -> ast.Require:
        word, condition, message = c
        text = message and self._unescaped(message.value)
        return ast.Require(condition, text, self._span(word, message or condition))

    def sweep(self, c: list[Child]) -> ast.Sweep:
        word, targets, _, values = c
        zipped = isinstance(targets, ast.TupleExpr)
        paths = targets.items if isinstance(targets, ast.TupleExpr) else (targets,)
        return ast.Sweep(paths, zipped, values, self._span(word, values or targets))

    def targets(self, c: list[Child]) -> ast.TupleExpr:
        return ast.TupleExpr(tuple(c[1:-1]), self._span(c[0], c[-1]))

    # --- names and selections --------------------------------------------------------------

    def type_name(self, c: list[Child]) -> ast.Expr:
        found: ast.Expr = ast.Name(c[0].value, self._of(c[0]))
        for part in c[1:]:
            found = self.attribute([found, part])
        return found

    def name(self, c: list[Child]) -> ast.Name:
        token = c[0]
        return ast.Name(token.value, Span(self.source, token.start_pos, token.end_pos))

    def attribute(self, c: list[Child]) -> ast.Attribute:
        base, name = c
        span = Span(self.source, base.span.start, name.end_pos)
        return ast.Attribute(base, name.value, span, self._of(name))

    def index(self, c: list[Child]) -> ast.Index:
        base, _, item, bracket = c
        return ast.Index(base, item, Span(self.source, base.span.start, bracket.end_pos))

    def everything(self, c: list[Child]) -> ast.All:
        return ast.All(self._of(c[0]))

    def stretch(self, c: list[Child]) -> ast.Slice:
        start, colon, stop = c
        return ast.Slice(start, stop, self._span(start or colon, stop or colon))

    # --- expressions -----------------------------------------------------------------------

    def choose(self, c: list[Child]) -> ast.Conditional:
        then, _, condition, _, otherwise = c
        return ast.Conditional(condition, then, otherwise, then.span.to(otherwise.span))

    def binary(self, c: list[Child]) -> ast.Binary:
        left, op, right = c
        span = Span(self.source, left.span.start, right.span.end)
        return ast.Binary(op.value, left, right, span)

    def comparison(self, c: list[Child]) -> ast.Comparison:
        ops = tuple(op.value for op in c[1::2])
        return ast.Comparison(tuple(c[::2]), ops, c[0].span.to(c[-1].span))

    def unary(self, c: list[Child]) -> ast.Unary:
        op, operand = c
        return ast.Unary(op.value, operand, self._span(op, operand))

    def call(self, c: list[Child]) -> ast.Call:
        function, _, arguments, bracket = c
        span = Span(self.source, function.span.start, bracket.end_pos)
        return ast.Call(function, arguments, span)

    def arguments(self, c: list[Child]) -> tuple[ast.Argument, ...]:
        return tuple(c)

    def positional(self, c: list[Child]) -> ast.Argument:
        return ast.Argument(None, c[0], c[0].span)

    def keyword(self, c: list[Child]) -> ast.Argument:
        name, value = c
        return ast.Argument(name.value, value, self._span(name, value))

    def parenthesised(self, c: list[Child]) -> ast.Expr:
        opening, inner, closing = c
        widened: ast.Expr = replace(inner, span=self._span(opening, closing))
        return widened

    def row(self, c: list[Child]) -> ast.TupleExpr:
        return ast.TupleExpr(tuple(c[1:-1]), self._span(c[0], c[-1]))

    def sequence(self, c: list[Child]) -> ast.ListExpr:
        return ast.ListExpr(tuple(c[1:-1]), self._span(c[0], c[-1]))

    def boolean(self, c: list[Child]) -> ast.Boolean:
        return ast.Boolean(c[0].value == "true", self._of(c[0]))

    def text(self, c: list[Child]) -> ast.Text:
        return ast.Text(self._unescaped(c[0].value), self._of(c[0]))

    def number(self, c: list[Child]) -> ast.Number:
        span = self._of(c[0])
        return ast.Number(self._value(c[0].value, span), span)

    def numbers(self, c: list[Child]) -> ast.ListExpr:
        token, found = c[0], []
        for number in _NUMBER.finditer(token.value):
            start = token.start_pos + number.start()
            span = Span(self.source, start, start + len(number[0]))
            found.append(ast.Number(self._value(number[0], span), span))
        return ast.ListExpr(tuple(found), self._of(token))

    def quantity(self, c: list[Child]) -> ast.QuantityLiteral:
        text, span = c[0].value, self._of(c[0])
        dollars = text.startswith("$")
        number = _NUMBER.match(text, dollars)
        assert number is not None, "the grammar gives every quantity a number"
        rest = text[number.end() :]
        unit = rest.lstrip()
        at = span.end - len(unit)
        unit_span = Span(self.source, at, span.end)
        if dollars:
            unit_span = unit_span if unit else Span(self.source, span.start, span.start + 1)
            unit = "$" + unit
        return ast.QuantityLiteral(self._value(number[0], span), unit, span, unit_span)

    # --- text to values --------------------------------------------------------------------

    def _value(self, text: str, span: Span) -> int | float:
        """An int if written without point and exponent; out of range is a problem and 0."""
        digits = text.replace("_", "")
        if not digits.isdigit():
            value = float(digits)
            if isfinite(value):
                return value
            limit = "numbers end at 1.79e308"
        else:
            significant = digits.lstrip("0") or "0"
            if len(significant) < 20 and int(significant) <= LARGEST_INTEGER:
                return int(significant)
            limit = "integers end at 2^63, about 9.2e18"
        self.problems.append(error("HMS103", f"the number is too large: {limit}", span))
        return 0

    @staticmethod
    def _unescaped(literal: str) -> str:
        return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), literal[1:-1])

"""What is asked of an elaborated system by text: a metric, and values that may be varied.

Reads the tree and changes nothing; knows no run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.model import goals, outside
from hermesdsl.model.arithmetic import is_number
from hermesdsl.model.check import walk
from hermesdsl.model.configure import target_steps
from hermesdsl.model.evaluate import Context
from hermesdsl.model.explain import in_library
from hermesdsl.model.instance import Definition
from hermesdsl.model.values import Fail, Interval, source_text, text
from hermesdsl.schema.values import Metric
from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse
from hermesdsl.units.quantity import Quantity, si

if TYPE_CHECKING:
    from hermesdsl.model.elaborate import Tree
    from hermesdsl.model.instance import Instance

__all__ = ["Varied", "cases", "declared", "metric", "varied"]


@dataclass(frozen=True)
class Varied:
    """A value that may be set from outside: what it is now, and what else it may be.

    `value` is a number in SI units or a word, `shown` how it is written; `unit` and the factor to
    SI that it is written in. `others`: (source text, value) of every value of its domain; `ends`
    of a domain without points. `whole`: only whole numbers are meant.
    """

    path: str
    value: float | str
    shown: str
    unit: tuple[str, float] = ("", 1.0)
    others: tuple[tuple[str, float | str], ...] = ()
    ends: tuple[float, float] | None = None
    whole: bool = False


def metric(tree: Tree, wanted: str) -> Metric:
    """A metric from its text, such as ``p99(ttft, class = gold)``; raises SpecError."""
    scope = tree.root.instance.scope
    assert scope is not None
    try:
        return goals.metric_of(tree.builder, _assigned(f"metric = {wanted}", wanted).value, scope)[
            0
        ]
    except Fail as problem:
        raise _refused(problem) from problem


def declared(tree: Tree) -> Iterator[Varied]:
    """Every param with a domain in the user's files that may be set, by path."""
    found = {}
    for instance in walk(tree):
        if in_library(tree, instance):
            continue
        for name, param in instance.params.items():
            if isinstance(param.statement, ast.Param) and param.statement.domain is not None:
                path = f"{instance.path}.{name}" if instance.path else name
                try:
                    found[path] = _varied(tree, path, instance, name)
                except Fail:  # computed, or without a value
                    continue
    yield from (found[path] for path in sorted(found))


def cases(tree: Tree) -> tuple[str, ...]:
    """The cases of a specification, in the order in which they are written."""
    members = tree.root.instance.members.items()
    return tuple(n for n, m in members if isinstance(m, Definition) and m.kind.free)


def varied(tree: Tree, path: str) -> Varied:
    """The value that a path means; raises SpecError for one that may not be set."""
    scope = tree.root.instance.scope
    assert scope is not None
    try:
        steps = target_steps(tree.builder, _assigned(f"{path} = 0", path).target, scope)
        instance, name = outside.reached(tree.builder, scope, steps)[0]
        return _varied(tree, " ".join(path.split()), instance, name)
    except Fail as problem:
        raise _refused(problem) from problem


def _refused(problem: Fail) -> SpecError:
    return SpecError([problem.diagnostic] if problem.diagnostic is not None else [])


def _assigned(line: str, given: str) -> ast.Assign:
    """The one statement of a line; raises `Fail`."""
    parsed = parse(Source("argument", line))
    if parsed.diagnostics:
        raise Fail(parsed.diagnostics[0])
    statements = parsed.file.statements
    if len(statements) != 1 or not isinstance(statements[0], ast.Assign):
        raise Fail(error("HMS607", f"`{' '.join(given.split())}` is not one thing"))
    return statements[0]


def _varied(tree: Tree, path: str, instance: Instance, name: str) -> Varied:
    """Raises `Fail` for what has no value, or may not be set."""
    builder, owner = tree.builder, instance.twin or instance
    value = builder.get(owner, name)
    if value is None:
        raise Fail(error("HMS602", f"`{path}` has no value to vary"))
    span = tree.root.file.span
    scope = tree.root.instance.scope
    assert scope is not None
    outside.check_one(builder, instance, name, span, span, None, scope, value)
    unit = (value.unit.text, value.unit.factor) if isinstance(value, Quantity) and value.unit else (
        "", 1.0)  # fmt: skip
    whole = is_number(value) and _whole(tree, instance, name, value)
    made = Varied(path, _plain(value), text(value), unit, whole=whole)
    param = owner.params.get(name)
    domain = getattr(getattr(param, "statement", None), "domain", None)
    if param is None or domain is None:
        return made
    context = Context(param.scope, (owner, name))
    if isinstance(domain, ast.ListExpr):
        wanted = builder.type_of(owner, name)
        others = tuple((item.span.text, _plain(builder.evaluator.value(item, context, wanted)))
                       for item in domain.items)  # fmt: skip
        return _with(made, others)
    values = builder.evaluator.value(domain, Context(param.scope))
    if isinstance(values, Interval):
        ends = (float(si(values.low)), float(si(values.high)))
        whole = isinstance(values.low, int) and isinstance(values.high, int)
        return Varied(path, made.value, made.shown, unit, (), ends, whole)
    return _with(made, tuple((source_text(item), _plain(item)) for item in values))


def _whole(tree: Tree, instance: Instance, name: str, value: Any) -> bool:
    """Whether only whole numbers are taken, or a whole number without a unit stands there."""
    if type(value) is int:
        return True
    span, scope = tree.root.file.span, tree.root.instance.scope
    assert scope is not None
    half = replace(value, value=value.value + 0.5) if isinstance(value, Quantity) else value + 0.5
    try:
        outside.check_one(tree.builder, instance, name, span, span, None, scope, half)
    except Fail:
        return float(si(value)).is_integer()
    return False


def _with(made: Varied, others: tuple[tuple[str, float | str], ...]) -> Varied:
    return Varied(made.path, made.value, made.shown, made.unit, others)


def _plain(value: Any) -> float | str:
    return float(si(value)) if is_number(value) else text(value)

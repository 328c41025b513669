"""What a definition extends, and the one instance that a single thing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance
from hermesdsl.model.values import Fail

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


#: Longest chain of definitions that extend the next.
DEPTH_BUDGET = 100


def chain(builder: Builder, definition: Definition) -> tuple[Definition, ...]:
    """The definitions a definition extends, root first, itself last.

    Raises `Fail` for circles and bases of another kind, now and whenever it is asked again.
    """
    if definition.broken:
        raise Fail
    definition.broken = True  # until the chain is found
    found = [definition]
    current = definition
    while current.statement is not None and current.statement.base is not None:
        base = _base(builder, current)
        if base in found:
            raise Fail(_circle([*found[found.index(base) :], base]))
        found.append(base)
        current = base
        if len(found) > DEPTH_BUDGET:
            raise Fail(error("HMS105", f"a chain of more than {DEPTH_BUDGET} definitions that "
                             "extend the next", definition.span))  # fmt: skip
    definition.broken = False
    return tuple(reversed(found))


def _circle(circle: list[Definition]) -> Diagnostic:
    """One diagnostic for a circle, whichever of its members was asked first."""
    names = [d.name for d in circle[:-1]]
    starts = [d.span.start if d.span else 0 for d in circle[:-1]]
    first = starts.index(min(starts))
    shown = " -> ".join([*names[first:], *names[:first], names[first]])
    blamed = circle[first]
    span = blamed.statement.base.span if blamed.statement and blamed.statement.base else None
    return error("HMS208", f"`{blamed.name}` extends itself: {shown}", span)


def _base(builder: Builder, definition: Definition) -> Definition:
    """What a definition says it extends; raises `Fail`."""
    statement = definition.statement
    assert statement is not None
    assert statement.base is not None
    assert definition.scope is not None
    base = builder.evaluator.value(statement.base, Context(definition.scope))
    if isinstance(base, Definition) and base.kind is definition.kind:
        return base
    raise Fail(error("HMS303", f"a {definition.kind.name} extends a {definition.kind.name}, "
                     f"not {kind_of(base)}", statement.base.span))  # fmt: skip


def make_single(builder: Builder, definition: Definition) -> None:
    """Makes the instance of a definition that is no member of anything, as `definition.made`."""
    owner = definition.scope.owner if definition.scope else builder.builtins
    made = Instance(
        definition.name, definition.qualified, definition.kind, definition,
        definition.builtin_type(builder), owner,
    )  # fmt: skip
    made.doc = definition.doc
    definition.made = made
    builder.expand(made)
    builder.singles.append(made)

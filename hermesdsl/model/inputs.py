"""What a computed value is computed from: the params and properties that could be set instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.model import resolve
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    Definition,
    Instance,
    ModuleFile,
    ParamDecl,
    Scope,
    Selection,
    Vector,
)
from hermesdsl.schema.types import SymbolType
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def read_by(
    builder: Builder,
    expr: ast.Expr,
    scope: Scope,
    wanted: SymbolType | None = None,
    exclude: tuple[Instance, str] | None = None,
) -> list[str]:
    """The values of the specification that an expression reads, as texts that can be set.

    Looks through `let`s. A value that cannot be set either, such as a loop's variable, gives an
    empty text. Words of the `wanted` type read nothing. Raises `Fail`.
    """
    return _Reading(builder, wanted).all_of(expr, scope, exclude)


class _Reading:
    """One search; a list of what is still to be looked at instead of recursion."""

    def __init__(self, builder: Builder, wanted: SymbolType | None) -> None:
        self.builder = builder
        self.words = wanted.values if wanted is not None else ()
        self.found: list[str] = []
        self.waiting: list[tuple[Any, Scope]] = []
        self.seen: set[int] = set()

    def all_of(
        self, expr: ast.Expr, scope: Scope, exclude: tuple[Instance, str] | None
    ) -> list[str]:
        self.waiting.append((expr, scope))
        while self.waiting:
            node, where = self.waiting.pop()
            if isinstance(node, ast.Name):
                if node.name not in self.words:
                    self._name(node.name, where, exclude)
            elif isinstance(node, ast.Attribute):
                self._member(node, where)
            else:
                parts = node if isinstance(node, tuple) else tuple(resolve.parts_of(node))
                self.waiting.extend((part, where) for part in reversed(parts))
        return self.found

    def _name(self, name: str, scope: Scope, exclude: tuple[Instance, str] | None) -> None:
        current: Scope | None = scope
        while current is not None:
            if name in current.locals:
                self.found.append("")
                return
            if exclude != (current.owner, name) and self._own(name, current.owner):
                return
            current = current.parent

    def _own(self, name: str, owner: Instance) -> bool:
        """True if `name` is a member of `owner`; notes it if it is a value."""
        if name in owner.params:
            self._param(name, owner.params[name])
            return True
        if name in owner.decls or name in owner.members:
            return True
        if name in owner.properties and self.builder.get(owner, name) is not None:
            self.found.append(name)
            return True
        home = resolve.origin_of(self.builder, owner, name)
        if home is not None and home[1] in home[0].instance.params:
            self.found.append(name)
        return home is not None

    def _param(self, name: str, declared: ParamDecl) -> None:
        statement = declared.statement
        if isinstance(statement, ast.Param):
            self.found.append(name)
        elif id(statement) not in self.seen:
            self.seen.add(id(statement))
            self.found.append("")
            self.waiting.append((statement.value, declared.scope))

    def _member(self, expr: ast.Attribute, scope: Scope) -> None:
        base = self.builder.evaluator.value(expr.base, Context(scope))
        if isinstance(base, Definition):
            base = base.instance(self.builder)
        if isinstance(base, ModuleFile):
            base = base.instance
        items = base.items if isinstance(base, Vector | Selection) else [base]
        first = items[0] if items else None
        if isinstance(first, Instance) and (
            expr.name in first.params or expr.name in first.properties
        ):
            self.found.append(" ".join(expr.span.text.split()))

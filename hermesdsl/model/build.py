"""The state of one compilation, and the lookup of names in it.

What is done with that state stands beside it, idea by idea: `bodies` takes in what is written,
`configure` sends values to where they belong, `members` builds instances, `definitions` what they
are made from, `slots` computes values when first asked for, `resolve` connects files and members.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Sink, error
from hermesdsl.model import bodies, definitions, members, resolve, slots
from hermesdsl.model.arithmetic import MISSING, is_number
from hermesdsl.model.evaluate import Evaluator
from hermesdsl.model.instance import (
    FILE_KIND,
    Config,
    Definition,
    Instance,
    ModuleFile,
    Scope,
    Slot,
)
from hermesdsl.model.values import Fail, Stop
from hermesdsl.schema import BUILTINS, KINDS
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import si

if TYPE_CHECKING:
    from hermesdsl.model.coerce import WantedType
    from hermesdsl.schema.types import PropertyType


#: Most diagnostics of one compilation.
DIAGNOSTIC_BUDGET = 1000


class Builder:
    """One compilation: the modules, the diagnostics, and every lazily built instance.

    The order of declarations never matters: a body is first collected, then its `if`s and
    `for`s are expanded, then its members are built; values are computed when first asked for.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.evaluator = Evaluator(self)
        self.modules: list[ModuleFile] = []
        self.by_source: dict[int, ModuleFile] = {}
        self.prelude: Scope | None = None
        self.parts = 0
        #: Every instance that a single thing is, or that stands for a type.
        self.singles: list[Instance] = []
        #: Single things inside a clone, by the clone's id and their name.
        self.single_twins: dict[tuple[int, str], Instance] = {}
        #: What was set by a path that begins with a name nobody has declared yet.
        self.waiting: list[tuple[Instance, Config, Fail]] = []
        #: Definitions that something was set of, from outside their bodies.
        self.configured: list[Definition] = []
        #: The values being computed, outermost first.
        self.busy: list[tuple[Instance, Slot]] = []
        self.wire_values: dict[int, Any] = {}
        self.readable: list[Path] = []
        self._modules_by_instance: dict[int, ModuleFile] = {}
        self.builtins = Instance("", "", FILE_KIND, None, None, None)
        for name, builtin in BUILTINS.items():
            kind = KINDS[builtin.kind]
            self.builtins.members[name] = Definition(name, kind, builtin=builtin, doc=builtin.doc)
        self.base_scope = Scope(self.builtins, None)

    # --- diagnostics ---

    def report(self, problem: Fail) -> None:
        """Keep the diagnostic of a failure, unless it was kept already. Raises `Stop`."""
        if problem.diagnostic is not None:
            self.add(problem.diagnostic)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic. Raises `Stop` when there are more than anyone reads."""
        if len(self.sink.items) >= DIAGNOSTIC_BUDGET:
            raise Stop(error("HMS105", f"more than {DIAGNOSTIC_BUDGET} problems; the rest is not "
                             "looked at"))  # fmt: skip
        self.sink.add(diagnostic)

    # --- files ---

    def folder_of(self, source: Source) -> str | None:
        """Folder of the file with this source; None for the command line."""
        module = self.by_source.get(id(source))
        return module.folder if module else None

    def add_module(self, module: ModuleFile) -> None:
        """Make a loaded file known."""
        self.modules.append(module)
        self.by_source[id(module.file.span.source)] = module
        self._modules_by_instance[id(module.instance)] = module

    def module_of(self, owner: Instance) -> ModuleFile | None:
        """The file whose outermost scope `owner` is, or None."""
        return self._modules_by_instance.get(id(owner))

    # --- names ---

    def lookup(self, scope: Scope | None, name: str, exclude: Any = None) -> Any:
        """The value or thing called `name` in a scope, or `MISSING`. Raises `Fail`."""
        while scope is not None:
            if name in scope.locals:
                return scope.locals[name]
            if exclude is None or exclude != (scope.owner, name):
                found = self.own(scope.owner, name)
                if found is not MISSING:
                    return found
            scope = scope.parent
        return MISSING

    def own(self, owner: Instance, name: str) -> Any:
        """A member of `owner` itself: param, let, property with a value, child, definition."""
        if name in owner.decls and name not in owner.children:
            members.build_child(self, owner, owner.decls[name])
        if name in owner.children:
            return owner.children[name]
        if name in owner.params:
            return self.get(owner, name)
        if name in owner.members:
            return self._defined(owner, name)
        imported = resolve.imported(self, owner, name)
        if imported is not MISSING:
            return imported
        if name in owner.properties:
            value = self.get(owner, name)
            return MISSING if value is None else value
        return MISSING

    def _defined(self, owner: Instance, name: str) -> Definition | Instance:
        """A definition in a body; a single thing in a clone's body is the clone's own."""
        found = owner.members[name]
        if owner.twin is not None and isinstance(found, Definition) and found.kind.single:
            return members.single_of_clone(self, owner, name)
        return found

    def unset_property(self, scope: Scope | None, name: str) -> Instance | None:
        """The nearest enclosing thing that has a property of that name without a value."""
        while scope is not None:
            if name in scope.owner.properties:
                return scope.owner
            scope = scope.parent
        return None

    def visible(self, scope: Scope | None) -> Iterator[str]:
        """Every name that a lookup in this scope could find."""
        while scope is not None:
            yield from scope.locals
            owner = scope.owner
            for table in (owner.params, owner.decls, owner.members, owner.properties):
                yield from table
            yield from resolve.import_names(self, owner)
            scope = scope.parent

    def member(self, base: Any, name: str, span: Span, expr: ast.Expr) -> Any:
        """``base.name`` for whatever `base` is; raises `Fail`."""
        return resolve.member(self, base, name, span, expr)

    # --- values and things ---

    def get(self, instance: Instance, name: str) -> Any:
        """The value of a param, let or property; None if it is absent. Raises `Fail`."""
        return slots.get(self, instance, name)

    def number(self, instance: Instance, name: str) -> Any:
        """The value in base units (for numbers), else as it is."""
        value = slots.get(self, instance, name)
        return si(value) if is_number(value) else value

    def type_of(self, instance: Instance, name: str) -> WantedType | None:
        """Type of a property or param; None if a param states none. Raises `Fail`."""
        found: WantedType | None = slots.type_of(self, instance, name)
        return found

    def default(self, default: Any, kind: PropertyType) -> Any:
        """A schema default as a language value."""
        return slots.default(default, kind)

    def extends_chain(self, definition: Definition) -> tuple[Definition, ...]:
        """The definitions a definition extends, root first, itself last."""
        return definitions.chain(self, definition)

    def single(self, definition: Definition) -> None:
        """Makes the one instance of a single thing, or a type's anonymous default instance."""
        definitions.make_single(self, definition)

    def expand(self, instance: Instance) -> None:
        """Fills an instance from the bodies of its definitions and builds its members."""
        bodies.expand(self, instance)

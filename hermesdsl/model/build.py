"""Builds the instance tree: expands bodies, routes configurations, resolves values on demand.

The order of declarations never matters: a body is first collected, then its `if`s and `for`s
are expanded, then its members are built. Values are computed when first asked for. Equal
siblings of a vector share one prototype (`Instance.twin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hermesdsl.diagnostics import Diagnostic, Label, Sink, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import resolve
from hermesdsl.model.arithmetic import MISSING, is_number, kind_of
from hermesdsl.model.configure import flatten_block, target_steps
from hermesdsl.model.evaluate import Context, Evaluator
from hermesdsl.model.instance import (
    DEFAULT,
    DEFINITION,
    Config,
    Definition,
    Instance,
    InstanceDeclared,
    ModuleFile,
    ParamDecl,
    Rank,
    Scope,
    Selection,
    Site,
    Slot,
    Vector,
    Wiring,
)
from hermesdsl.model.instance import INSTANCE as INSTANCE_STAGE
from hermesdsl.model.values import ComputedValue, Fail
from hermesdsl.schema import BUILTINS, COMPUTED, KINDS
from hermesdsl.schema.types import (
    BRANCH,
    CONNECT,
    FLOW,
    INSTANCE,
    REQUIRE,
    SWEEP,
    AnyType,
    ComputedType,
    Kind,
    ListType,
    MapType,
    NumberType,
    PropertyType,
)
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import Quantity, si

#: Most parts, clients and stages a system may have.
PART_BUDGET = 10**6

#: A file is an instance too: the outermost scope.
FILE_KIND = Kind(
    "file",
    "A whole file.",
    single=False,
    properties={},
    statements=frozenset({INSTANCE, CONNECT}),
    holds=("chip", "cpu", "memory", "switch", "nic", "node", "rack", "cluster", "client",
           "pipeline"),
)  # fmt: skip

_DECLARING = (ast.Param, ast.Let, ast.Definition, ast.InstanceDecl)

_FORMS = {
    ast.Connect: (CONNECT, "connect"), ast.Flow: (FLOW, "->"), ast.Branch: (BRANCH, "branch"),
    ast.Sweep: (SWEEP, "sweep"), ast.Require: (REQUIRE, "require"),
}  # fmt: skip


class Builder:
    """One compilation: the modules, the diagnostics, and every lazily built instance."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.evaluator = Evaluator(self)
        self.modules: dict[str, ModuleFile] = {}
        self.by_source: dict[int, ModuleFile] = {}
        self.prelude: Scope | None = None
        self.parts = 0
        self.singles: list[Instance] = []
        self.configs: list[Config] = []
        self.wire_values: dict[int, Any] = {}
        self.readable: list[Path] = []
        self._modules_by_instance: dict[int, ModuleFile] = {}
        self._builtins = Instance("", "", FILE_KIND, None, None, None)
        for name, builtin in BUILTINS.items():
            kind = KINDS[builtin.kind]
            self._builtins.members[name] = Definition(name, kind, builtin=builtin, doc=builtin.doc)
        self.base_scope = Scope(self._builtins, None)

    # --- diagnostics ---

    def report(self, problem: Fail) -> None:
        """Keep the diagnostic of a failure, unless it was kept already."""
        if problem.diagnostic is not None:
            self.sink.add(problem.diagnostic)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic."""
        self.sink.add(diagnostic)

    def folder_of(self, source: Source) -> str | None:
        """Folder of the file with this source; None for the command line."""
        module = self.by_source.get(id(source))
        return module.folder if module else None

    def add_module(self, module: ModuleFile) -> None:
        """Make a loaded file known."""
        self.modules[module.name] = module
        self.by_source[id(module.file.span.source)] = module
        self._modules_by_instance[id(module.instance)] = module

    def module_of(self, owner: Instance) -> ModuleFile | None:
        """The file whose outermost scope `owner` is, or None."""
        return self._modules_by_instance.get(id(owner))

    # --- names ---

    def lookup(self, scope: Scope | None, name: str, exclude: Any = None) -> Any:
        """The value or thing called `name` in a scope, or `MISSING`."""
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
            self.build_child(owner, owner.decls[name])
        if name in owner.children:
            return owner.children[name]
        if name in owner.params:
            return self.get(owner, name)
        if name in owner.members:
            return owner.members[name]
        imported = resolve.imported(self, owner, name)
        if imported is not None:
            return imported
        if name in owner.properties:
            value = self.get(owner, name)
            return MISSING if value is None else value
        return MISSING

    def unset_property(self, scope: Scope | None, name: str) -> str | None:
        """Which enclosing thing has a property of that name without a value."""
        while scope is not None:
            if name in scope.owner.properties:
                return str(scope.owner)
            scope = scope.parent
        return None

    def visible(self, scope: Scope | None) -> Iterator[str]:
        """Every name that a lookup in this scope could find."""
        while scope is not None:
            yield from scope.locals
            owner = scope.owner
            for names in (owner.params, owner.decls, owner.members, owner.properties):
                yield from names
            yield from resolve.import_names(self, owner)
            scope = scope.parent

    def member(self, base: Any, name: str, span: Span, expr: ast.Expr) -> Any:
        """``base.name`` for whatever `base` is; raises `Fail`."""
        return resolve.member(self, base, name, span, expr)

    # --- values ---

    def get(self, instance: Instance, name: str) -> Any:
        """The value of a param, let or property; None if it is absent. Raises `Fail`."""
        slot = instance.slots.get(name)
        if slot is None:
            if instance.twin is not None:
                value = self.get(instance.twin, name)
                return resolve.renamed(self, value, instance.twin, instance)
            slot = instance.slots[name] = self._slot(instance, name)
        if slot.state == "done":
            return slot.value
        if slot.state == "failed":
            raise Fail
        if slot.state == "busy":
            span = slot.sites[-1].span if slot.sites else None
            raise Fail(error("HMS208", f"`{instance.path}.{name}`".replace("`.", "`") +
                             " depends on itself", span))  # fmt: skip
        slot.state = "busy"
        try:
            slot.value = self._resolve(instance, slot)
        except Fail as problem:
            slot.state = "failed"
            self.report(problem)
            raise Fail from None
        slot.state = "done"
        return slot.value

    def number(self, instance: Instance, name: str) -> Any:
        """The value in base units (for numbers), else as it is."""
        value = self.get(instance, name)
        return si(value) if is_number(value) else value

    def _slot(self, instance: Instance, name: str) -> Slot:
        kind = self.slot_type(instance, name)
        prop = instance.properties.get(name.partition(".")[0])
        sites = sorted(self.sites(instance, name), key=lambda s: s.rank.key)
        return Slot(name, kind, sites, prop)

    def sites(self, instance: Instance, name: str) -> list[Site]:
        """Every site that sets `name` of `instance`, in no order."""
        found = list(instance.sites.get(name, ()))
        head, _, key = name.partition(".")
        for config in instance.configs.get(head, ()):
            if len(config.steps) == (2 if key else 1) and (not key or config.steps[1].name == key):
                config.mark_used()
                found.append(
                    Site(config.popped().rank, config.origin, config.span, config.expr,
                         config.scope)
                )  # fmt: skip
        return found

    def slot_type(self, instance: Instance, name: str) -> Any:
        """Type of a property or param; None if a param states none."""
        head, _, key = name.partition(".")
        prop = instance.properties.get(head)
        if prop is not None:
            return prop.type.item if key and isinstance(prop.type, MapType) else prop.type
        declared = instance.params.get(name)
        if declared is None or isinstance(declared.statement, ast.Let):
            return None
        return resolve.param_type(self, declared)

    def _resolve(self, instance: Instance, slot: Slot) -> Any:
        if not slot.sites:
            return self._absent(instance, slot)
        winner = slot.sites[-1]
        if len(slot.sites) > 1 and slot.sites[-2].rank.key == winner.rank.key:
            other = slot.sites[-2]
            labels = [Label(other.span, "and here")] if other.span else []
            raise Fail(
                error("HMS209", f"`{slot.name}` is set twice at the same place in the order",
                      winner.span, labels=[*labels])
            )  # fmt: skip
        slot.winner = winner
        if winner.expr is None:
            return winner.constant
        if isinstance(slot.type, AnyType):
            return winner.expr  # its reader knows what it may be
        exclude = (instance, slot.name)
        assert winner.scope is not None
        context = Context(winner.scope, exclude)
        wanted = slot.type
        value = self.evaluator.value(winner.expr, context, None if wanted is None else wanted)
        resolve.check_param(self, instance, slot, value)
        return value

    def _absent(self, instance: Instance, slot: Slot) -> Any:
        prop = slot.property
        if slot.name in instance.params:
            declared = instance.params[slot.name]
            raise Fail(
                error("HMS207", f"`{slot.name}` of {instance} has no value",
                      resolve.place_of(instance),
                      labels=[Label(declared.statement.name_span, "declared here")])
            )  # fmt: skip
        if prop is None or "." in slot.name:
            return None
        if isinstance(prop.type, MapType):
            return self._map(instance, slot.name)
        if prop.required:
            raise Fail(
                error("HMS207", f"{instance.kind.name} `{instance}` needs `{prop.name}`",
                      resolve.place_of(instance), notes=[f"help: {prop.name}: {prop.doc}"])
            )  # fmt: skip
        default = prop.default
        if callable(default):
            default = default(lambda name: self.number(instance, name))
        return self.default(default, prop.type)

    def _map(self, instance: Instance, name: str) -> dict[str, Any]:
        keys = {s.partition(".")[2] for s in instance.sites if s.startswith(f"{name}.")}
        keys |= {c.steps[1].name for c in instance.configs.get(name, ()) if len(c.steps) == 2}
        return {key: self.get(instance, f"{name}.{key}") for key in sorted(keys)}

    def default(self, default: Any, kind: PropertyType) -> Any:
        """A schema default as a language value."""
        if isinstance(kind, ComputedType) and isinstance(default, str):
            computed = COMPUTED[kind.family, default]
            args = {p.name: self.default(p.default, p.type) for p in computed.parameters}
            return ComputedValue(kind.family, default, args)
        if isinstance(kind, ListType) and isinstance(default, tuple):
            return list(default)
        if isinstance(kind, NumberType) and isinstance(default, int | float):
            return Quantity(default, kind.dimension) if any(kind.dimension) else default
        return default

    # --- definitions ---

    def extends_chain(self, definition: Definition) -> tuple[Definition, ...]:
        """The definitions a definition extends, root first; reports cycles and wrong kinds."""
        chain = [definition]
        current = definition
        while current.statement is not None and current.statement.base is not None:
            base = self._base(current)
            if base is None:
                break
            if base in chain:
                names = " -> ".join(x.name for x in [*chain, base])
                self.add(error("HMS208", f"`{definition.name}` extends itself: {names}",
                               definition.span))  # fmt: skip
                break
            chain.append(base)
            current = base
        return tuple(reversed(chain))

    def _base(self, definition: Definition) -> Definition | None:
        statement = definition.statement
        assert statement is not None
        assert statement.base is not None
        assert definition.scope is not None
        try:
            base = self.evaluator.value(
                statement.base, Context(definition.scope, (definition.scope.owner, statement.name))
            )
        except Fail as problem:
            self.report(problem)
            return None
        if not isinstance(base, Definition) or base.kind is not definition.kind:
            self.add(
                error("HMS303", f"a {definition.kind.name} extends a {definition.kind.name}, "
                      f"not {kind_of(base)}", statement.base.span)
            )  # fmt: skip
            return None
        return base

    def single(self, definition: Definition) -> Instance:
        """The instance that a single thing is, or a type's anonymous default instance."""
        owner = definition.scope.owner if definition.scope else self._builtins
        made = Instance(
            definition.name, definition.qualified, definition.kind, definition,
            definition.builtin_type(self), owner,
        )  # fmt: skip
        made.doc = definition.doc
        definition._instance = made
        self.expand(made)
        self.singles.append(made)
        return made

    # --- bodies ---

    def expand(self, instance: Instance) -> None:
        """Fills an instance from the bodies of its definitions and builds its members."""
        definition = instance.definition
        assert definition is not None
        for number, link in enumerate(definition.chain(self)):
            if link.statement is not None:
                scope = Scope(instance, link.scope, chain=number)
                self.collect(instance, link.statement.block.statements, scope)
            for config in link.configs:
                self._definition_config(instance, config, number)
        self.build_children(instance)
        self.check_names(instance)

    def _definition_config(self, instance: Instance, config: Config, number: int) -> None:
        """A value set at a definition: in force wherever it is instanced."""
        rank = config.rank
        if rank.stage == INSTANCE_STAGE:
            rank = Rank(DEFINITION, rank.outerness, number, rank.form, rank.specificity)
        copy = Config(config.steps, config.expr, config.scope, rank, config.origin, config.span,
                      config.root)  # fmt: skip
        instance.configs.setdefault(config.steps[0].name, []).append(copy)

    def collect(self, owner: Instance, statements: Iterable[ast.Statement], scope: Scope) -> None:
        """Takes in a body: what it declares, then what it sets and wires."""
        statements = list(statements)
        self.declare(owner, statements, scope)
        self.settle(owner, statements, scope)

    def declare(self, owner: Instance, statements: Iterable[ast.Statement], scope: Scope) -> None:
        """Registers the params, lets, definitions and instances of a body."""
        for statement in statements:
            if isinstance(statement, _DECLARING):
                self._attempt(owner, statement, scope, self._collect_one)

    def settle(self, owner: Instance, statements: Iterable[ast.Statement], scope: Scope) -> None:
        """Registers what a body sets and wires; expands its `if`s and `for`s last."""
        later: list[ast.Statement] = []
        for statement in statements:
            if isinstance(statement, ast.If | ast.For):
                later.append(statement)
            elif not isinstance(statement, _DECLARING):
                self._attempt(owner, statement, scope, self._collect_one)
        for block in later:
            self._attempt(owner, block, scope, self._expand_block)

    def _attempt(
        self,
        owner: Instance,
        statement: ast.Statement,
        scope: Scope,
        act: Callable[[Instance, Any, Scope], None],
    ) -> None:
        try:
            act(owner, statement, scope)
        except Fail as problem:
            self.report(problem)

    def _collect_one(self, owner: Instance, statement: ast.Statement, scope: Scope) -> None:
        if isinstance(statement, ast.Param | ast.Let):
            self._declare_param(owner, statement, scope)
        elif isinstance(statement, ast.Definition):
            self._declare_definition(owner, statement, scope)
        elif isinstance(statement, ast.InstanceDecl):
            self._declare_instance(owner, statement, scope)
        elif isinstance(statement, ast.Assign):
            self._assign(owner, statement, scope)
        elif isinstance(statement, ast.Reopen):
            for config in flatten_block(self, statement, scope, form=1):
                self.configure(owner, config)
        elif isinstance(statement, ast.Assert):
            owner.wirings.append(Wiring(statement, scope))
        elif isinstance(statement, ast.Import):
            if owner.kind is not FILE_KIND:
                raise Fail(error("HMS106", "imports stand at the top level of a file",
                                 statement.span))  # fmt: skip
        else:
            form, word = _FORMS[type(statement)]
            if form not in owner.kind.statements:
                raise Fail(
                    error("HMS106", f"`{word}` does not belong into a {owner.kind.name}",
                          statement.span)
                )  # fmt: skip
            owner.wirings.append(Wiring(statement, scope))

    def _declare_param(self, owner: Instance, statement: ast.Param | ast.Let, scope: Scope) -> None:
        previous = owner.params.get(statement.name)
        if previous is not None and previous.chain == scope.chain:
            self._twice(statement.name, statement.name_span, previous.statement.name_span)
        if statement.name in owner.properties:
            raise Fail(
                error("HMS202", f"`{statement.name}` is a property of every {owner.kind.name}",
                      statement.name_span)
            )  # fmt: skip
        self._free_name(owner, statement.name, statement.name_span, scope, "params")
        owner.params[statement.name] = ParamDecl(statement.name, statement, scope, scope.chain)
        expr = statement.value if isinstance(statement, ast.Let) else statement.default
        if expr is not None:
            rank = Rank(DEFAULT, 0, scope.chain)
            site = Site(rank, "default", expr.span, expr, scope)
            owner.sites.setdefault(statement.name, []).append(site)

    def _declare_definition(self, owner: Instance, statement: ast.Definition, scope: Scope) -> None:
        kind = KINDS.get(statement.kind)
        if kind is None:
            raise Fail(
                error("HMS201", f"unknown kind `{statement.kind}`", statement.kind_span,
                      notes=suggestion(statement.kind, KINDS))
            )  # fmt: skip
        self._free_name(owner, statement.name, statement.name_span, scope, "members")
        doc = resolve.doc_of(self, statement)
        made = Definition(statement.name, kind, statement=statement, scope=scope, doc=doc)
        owner.members[statement.name] = made

    def _declare_instance(self, owner: Instance, statement: ast.InstanceDecl, scope: Scope) -> None:
        if INSTANCE not in owner.kind.statements:
            raise Fail(
                error("HMS106", f"a {owner.kind.name} holds no instances", statement.span,
                      notes=["help: `name = value` sets a property"])
            )  # fmt: skip
        if scope.locals:
            raise Fail(
                error("HMS106", "instances are not declared in a `for`", statement.span,
                      notes=["help: declare a vector, such as `gpu[8]: H100`"])
            )  # fmt: skip
        target = statement.target
        name_expr = target.base if isinstance(target, ast.Index) else target
        if not isinstance(name_expr, ast.Name):
            raise Fail(error("HMS106", "an instance is declared by its own name", target.span))
        name = name_expr.name
        previous = owner.decls.get(name)
        if previous is not None and previous.chain == scope.chain:
            self._twice(name, name_expr.span, previous.statement.target.span)
        if previous is None:
            self._free_name(owner, name, name_expr.span, scope, "decls")
        if name in owner.properties and owner.kind is not FILE_KIND:
            raise Fail(error("HMS202", f"`{name}` is a property of every {owner.kind.name}",
                             name_expr.span))  # fmt: skip
        owner.decls[name] = InstanceDeclared(name, statement, scope, scope.chain)

    def _free_name(self, owner: Instance, name: str, span: Span, scope: Scope, own: str) -> None:
        """Raises if `name` is taken by another sort of member of the same body."""
        places: list[tuple[str, Any]] = [
            ("params", lambda x: x.statement.name_span),
            ("decls", lambda x: x.statement.target.span),
            ("members", lambda x: x.span),
        ]
        for field, where in places:
            table = getattr(owner, field)
            if name in table and (field != own or field == "members"):
                self._twice(name, span, where(table[name]))

    def _twice(self, name: str, span: Span, first: Span | None) -> None:
        labels = [Label(first, "first here")] if first is not None else []
        raise Fail(error("HMS202", f"`{name}` is declared twice", span, labels=labels))

    def _assign(self, owner: Instance, statement: ast.Assign, scope: Scope) -> None:
        target = statement.target
        if isinstance(target, ast.Name):
            rank = Rank(DEFINITION, 0, scope.chain, 2)
            site = Site(rank, "definition", statement.span, statement.value, scope)
            owner.sites.setdefault(target.name, []).append(site)
            return
        steps = target_steps(self, target, scope)
        first = steps[0].name
        if len(steps) == 2 and owner.map_property(first) is not None:
            rank = Rank(DEFINITION, 0, scope.chain, 2)
            site = Site(rank, "definition", statement.span, statement.value, scope)
            owner.sites.setdefault(f"{first}.{steps[1].name}", []).append(site)
            return
        rank = Rank(INSTANCE_STAGE, owner.outerness, scope.chain, 1)
        config = Config(steps, statement.value, scope, rank, "path statement", statement.span)
        self.configs.append(config)
        self.configure(owner, config)

    def configure(self, owner: Instance, config: Config) -> None:
        """Puts a value on its way from `owner`, whose scope the path starts in."""
        first = config.steps[0].name
        if owner.kind is FILE_KIND:
            resolve.configure_file(self, owner, config)
            return
        if first in owner.members:
            member = owner.members[first]
            if isinstance(member, Definition):
                config.mark_used()
                member.configs.append(config.popped())
                return
        owner.configs.setdefault(first, []).append(config)

    def _expand_block(self, owner: Instance, block: ast.If | ast.For, scope: Scope) -> None:
        context = Context(scope)
        if isinstance(block, ast.If):
            chosen = (
                block.then if self.evaluator.truth(block.condition, context) else (block.otherwise)
            )
            if chosen is not None:
                self.collect(owner, chosen.statements, scope)
            return
        for variables in self.loop(block, scope):
            self.collect(owner, block.block.statements, scope.inner(variables))

    def loop(self, block: ast.For, scope: Scope) -> Iterator[dict[str, Any]]:
        """The variables of each turn of a `for`."""
        values = self.evaluator.value(block.values, Context(scope))
        if isinstance(values, Vector | Selection):
            values = values.items
        if not isinstance(values, list | tuple):
            raise Fail(error("HMS303", f"`for` goes over a list, not {kind_of(values)}",
                             block.values.span))  # fmt: skip
        for value in values:
            if len(block.names) == 1:
                yield {block.names[0]: value}
                continue
            if not isinstance(value, list | tuple) or len(value) != len(block.names):
                raise Fail(
                    error("HMS303", f"{len(block.names)} names for {kind_of(value)}",
                          block.values.span)
                )  # fmt: skip
            yield dict(zip(block.names, value, strict=True))

    # --- members ---

    def build_children(self, owner: Instance) -> None:
        """Builds every declared member instance."""
        for declared in list(owner.decls.values()):
            try:
                self.build_child(owner, declared)
            except Fail as problem:
                self.report(problem)

    def build_child(self, owner: Instance, declared: InstanceDeclared) -> None:
        """Builds one member: a lone instance or a vector."""
        if declared.name in owner.children:
            return
        if declared.building:
            raise Fail(error("HMS208", f"`{declared.name}` depends on itself",
                             declared.statement.span))  # fmt: skip
        declared.building = True
        statement = declared.statement
        context = Context(declared.scope)
        definition = resolve.type_of(self, statement, context)
        if definition.kind.name not in owner.kind.holds:
            raise Fail(
                error("HMS303", f"a {owner.kind.name} does not hold a {definition.kind.name}",
                      statement.type.span)
            )  # fmt: skip
        resolve.check_redeclared(self, owner, declared, definition)
        count = None
        if isinstance(statement.target, ast.Index):
            count = resolve.vector_size(self, statement.target, context)
        blocks = list(self._own_block(owner, declared))
        passed = owner.configs.get(declared.name, [])
        if count is None:
            made = self.make(owner, declared, definition, None, passed, 1, blocks)
            owner.children[declared.name] = made
            return
        path = f"{owner.path}.{declared.name}" if owner.path else declared.name
        items: list[Instance] = []
        vector = Vector(declared.name, path, items, statement.target.span)
        prototypes: dict[tuple[int, ...], Instance] = {}
        for index in range(count):
            key = tuple(i for i, c in enumerate(passed) if c.steps[0].matches(index, count))
            twin = prototypes.get(key)
            if twin is not None:
                items.append(self.clone(owner, twin, index))
                continue
            made = self.make(owner, declared, definition, index, passed, count, blocks)
            prototypes[key] = made
            items.append(made)
        owner.children[declared.name] = vector

    def _own_block(self, owner: Instance, declared: InstanceDeclared) -> Iterator[Config]:
        if declared.statement.block is None:
            return
        reopened = ast.Reopen(
            ast.Name(declared.name, declared.statement.target.span),
            declared.statement.block,
            declared.statement.span,
        )
        yield from flatten_block(self, reopened, declared.scope, form=0)

    def make(
        self,
        owner: Instance,
        declared: InstanceDeclared,
        definition: Definition,
        index: int | None,
        passed: list[Config],
        count: int,
        blocks: list[Config],
    ) -> Instance:
        """One new member, with the configurations that reach it."""
        made = self._named(owner, declared, definition, index)
        for config in [*blocks, *passed]:
            if config.steps[0].matches(index or 0, count):
                inner = config.popped()
                if not inner.steps:
                    raise Fail(
                        error("HMS210", f"`{declared.name}` is an instance and has no value",
                              config.span, notes=["help: open it with braces"])
                    )  # fmt: skip
                made.configs.setdefault(inner.steps[0].name, []).append(inner)
        self.expand(made)
        return made

    def _named(
        self,
        owner: Instance,
        declared: InstanceDeclared,
        definition: Definition,
        index: int | None,
    ) -> Instance:
        prefix = f"{owner.path}.{declared.name}" if owner.path else declared.name
        path = prefix if index is None else f"{prefix}[{index}]"
        made = Instance(
            declared.name, path, definition.kind, definition, definition.builtin_type(self), owner
        )
        made.index = index
        made.vector = prefix if index is not None else ""
        made.decl = declared
        made.doc = resolve.doc_of(self, declared.statement) or definition.doc
        self._count_part(declared.statement.span)
        if made.depth > 200:
            raise Fail(error("HMS410", "instances are nested more than 200 deep",
                             declared.statement.span))  # fmt: skip
        return made

    def _count_part(self, span: Span) -> None:
        self.parts += 1
        if self.parts > PART_BUDGET:
            raise Fail(error("HMS410", f"more than {PART_BUDGET} parts", span))

    def clone(self, owner: Instance, twin: Instance, index: int | None) -> Instance:
        """An equal sibling: the same values under another path."""
        assert twin.decl is not None
        assert twin.definition is not None
        made = self._named(owner, twin.decl, twin.definition, index)
        made.doc = twin.doc
        made.twin = twin.twin or twin
        made.params, made.decls, made.members = twin.params, twin.decls, twin.members
        for name, child in twin.children.items():
            if isinstance(child, Vector):
                items = [self.clone(made, item, item.index) for item in child.items]
                made.children[name] = Vector(name, f"{made.path}.{name}", items, child.span)
            else:
                made.children[name] = self.clone(made, child, None)
        return made

    # --- checks of names ---

    def check_names(self, instance: Instance) -> None:
        """Reports values set for names that the instance does not have."""
        for name, sites in instance.sites.items():
            head = name.partition(".")[0]
            if head in instance.params or head in instance.properties:
                self._check_derived(instance, name, sites[0].span)
                continue
            self.add(resolve.unknown_property(instance, head, sites[0].span))
        for name, configs in instance.configs.items():
            known = name in instance.params or name in instance.properties or name in instance.decls
            for config in configs:
                if len(config.steps) == 1 or name not in instance.decls:
                    config.mark_used()
                if not known:
                    self.add(resolve.unknown_property(instance, name, config.steps[0].span))
                elif name in instance.properties:
                    self._check_derived(instance, name, config.span)
                    if len(config.steps) > 1 and instance.map_property(name) is None:
                        self.add(error("HMS303", f"`{name}` of {instance} has no members",
                                       config.span))  # fmt: skip

    def _check_derived(self, instance: Instance, name: str, span: Span | None) -> None:
        prop = instance.properties.get(name.partition(".")[0])
        if prop is not None and prop.derived:
            self.add(
                error("HMS210", f"`{name}` is derived and cannot be set", span,
                      notes=[f"note: {prop.doc}"])
            )  # fmt: skip

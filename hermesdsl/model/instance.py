"""The instance tree: definitions, instances, vectors, the sites that set values, and scopes.

Data structures only; `build` fills them, `evaluate` reads them. Knows no NetworkX, no time and
no randomness.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from hermesdsl.schema import properties_of
from hermesdsl.schema.types import (
    CONNECT,
    INSTANCE,
    BuiltinType,
    Kind,
    MapType,
    Property,
    PropertyType,
)
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.evaluate import Context

#: Stages of the one override order; within a stage, outer scopes and narrower paths win.
BY_DEFAULT, BY_DEFINITION, BY_INSTANCE, BY_CASE, BY_SWEEP, BY_SET = range(6)

#: How a value was set within one scope: through a definition's name, in the block of an
#: instance's own declaration, by a path, or in the body of its definition; later wins.
VIA_DEFINITION, IN_BLOCK, BY_PATH, IN_BODY = range(-1, 3)

#: Outerness of a file's own scope; an importing file lies further out than what it imports.
FILE_OUTERNESS = 1000

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


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a site stands in the override order: its `key` compares, later wins.

    `stage` is one of the constants above. `outerness` grows with the scope that the site is
    written in, `chain` with the distance from the root of an ``extends`` chain. Definitions go
    by `chain` first: what a definition says beats what is said of the one it extends. Of two
    indexed paths in one scope the first step that differs decides (``specificity``).
    """

    stage: int
    outerness: int = 0
    chain: int = 0
    form: int = IN_BLOCK
    specificity: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[int, int, int, int, tuple[int, ...]]:
        """What is compared."""
        first, second = self.outerness, self.chain
        if self.stage == BY_DEFINITION:
            first, second = second, first
        return (self.stage, first, second, self.form, self.specificity)


@dataclass(frozen=True, slots=True)
class Site:
    """One place that sets a value: an expression in a scope, or a constant of the schema."""

    rank: Rank
    origin: str
    span: Span | None
    expr: ast.Expr | None = None
    scope: Scope | None = None
    constant: Any = None


#: The index ``[*]``.
EVERY = slice(None)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a configuring path: a member's name and which of its indices.

    `index` is None without one, and `EVERY` for ``[*]``.
    """

    name: str
    index: int | slice | None
    span: Span

    def matches(self, index: int, count: int) -> bool:
        """True if the element `index` of `count` is meant."""
        if self.index is None or self.index == EVERY:
            return True
        if isinstance(self.index, slice):
            return index in range(*self.index.indices(count))
        return index == (self.index + count if self.index < 0 else self.index)

    @property
    def specificity(self) -> int:
        """``[0]`` beats ``[0:4]`` beats ``[*]``."""
        if self.index is None or self.index == EVERY:
            return 0
        return 1 if isinstance(self.index, slice) else 2


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """A value on its way to a descendant: remaining steps, expression, scope and rank."""

    steps: tuple[Step, ...]
    expr: ast.Expr
    scope: Scope
    rank: Rank
    origin: str
    span: Span

    def popped(self) -> Config:
        """The same for the member that the first step names."""
        rank = self.rank
        specificity = (*rank.specificity, self.steps[0].specificity)
        deeper = Rank(rank.stage, rank.outerness, rank.chain, rank.form, specificity)
        return replace(self, steps=self.steps[1:], rank=deeper)


class Scope:
    """Where names are looked up: an owner's members, loop variables, then the enclosing scope."""

    __slots__ = ("chain", "locals", "owner", "parent")

    def __init__(
        self,
        owner: Instance,
        parent: Scope | None,
        variables: dict[str, Any] | None = None,
        chain: int = 0,
    ) -> None:
        self.owner = owner
        self.parent = parent
        self.locals = variables or {}
        self.chain = chain

    def inner(self, variables: dict[str, Any]) -> Scope:
        """The body of a loop in this scope."""
        return Scope(self.owner, self.parent, {**self.locals, **variables}, self.chain)


class Definition:
    """A named type or single thing; `statement` is None for a built-in type."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        statement: ast.Definition | None = None,
        builtin: BuiltinType | None = None,
        scope: Scope | None = None,
        doc: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.statement = statement
        self.builtin = builtin
        self.scope = scope
        self.doc = doc
        self.configs: list[Config] = []
        #: True once something was made from it: what is said of it from then on comes too late.
        self.expanded = False
        #: True while its chain is looked for, and for good if there is none.
        self.broken = False
        self.chain_found: tuple[Definition, ...] | None = None
        self.made: Instance | None = None

    @property
    def span(self) -> Span | None:
        """Where its name stands."""
        return self.statement.name_span if self.statement else None

    @property
    def qualified(self) -> str:
        """Path by which the root file reaches it."""
        prefix = self.scope.owner.path if self.scope is not None else ""
        return f"{prefix}.{self.name}" if prefix else self.name

    def chain(self, builder: Builder) -> tuple[Definition, ...]:
        """The definitions it extends, root first, itself last."""
        if self.chain_found is None:
            self.chain_found = builder.extends_chain(self)
        return self.chain_found

    def builtin_type(self, builder: Builder) -> BuiltinType | None:
        """The built-in type at the root of its chain, if any."""
        return self.chain(builder)[0].builtin

    def instance(self, builder: Builder) -> Instance:
        """The one instance of a single thing; a type's anonymous default instance."""
        if self.made is None:
            builder.single(self)
        assert self.made is not None
        return self.made

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class ParamDecl:
    """A declared ``param`` or ``let``: `type` is None for untyped ones."""

    name: str
    statement: ast.Param | ast.Let
    scope: Scope
    chain: int


@dataclass(slots=True)
class InstanceDeclared:
    """A declared member instance; `state` is ``new``, ``busy``, ``done`` or ``failed``."""

    name: str
    statement: ast.InstanceDecl
    scope: Scope
    chain: int
    state: str = "new"

    def scope_context(self) -> Context:
        """The context its expressions stand in."""
        from hermesdsl.model.evaluate import Context

        return Context(self.scope)


class Vector:
    """``gpu[8]``: instances of one declaration, in order. Without ``[*]`` it means all of them."""

    __slots__ = ("items", "name", "path", "span")

    def __init__(self, name: str, path: str, items: list[Instance], span: Span) -> None:
        self.name = name
        self.path = path
        self.items = items
        self.span = span

    def __str__(self) -> str:
        return f"{self.path}[{len(self.items)}]"


class Selection:
    """Instances picked by a path with ``[*]``, ``[a:b]`` or a list, in path order.

    `vectors` are the vectors that ``node[*].gpu`` stands for, so that an index may follow.
    """

    __slots__ = ("items", "text", "vectors")

    def __init__(
        self, items: list[Instance], text: str, vectors: list[Vector] | None = None
    ) -> None:
        self.items = items
        self.text = text
        self.vectors = vectors

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Slot:
    """A value of an instance: its type, every site that sets it (winner last), its state.

    `state` is ``new``, ``busy``, ``done`` or ``failed``.
    """

    name: str
    type: PropertyType | None
    sites: list[Site]
    property: Property | None = None
    value: Any = None
    state: str = "new"
    winner: Site | None = None


@dataclass(slots=True)
class Wiring:
    """A statement of an instance's body that waits until the tree stands, with its scope."""

    statement: ast.Statement
    scope: Scope


#: What a twin has of its own: nothing, and nothing may be put there.
_NONE = cast("dict[str, Any]", MappingProxyType({}))
_NOTHING = cast("list[Any]", ())


class Instance:
    """One thing of the tree: a part, client, stage, model, workload … or a file.

    `definition` is what it was made from; `builtin` the built-in type that it extends. A `twin`
    is an equal sibling whose values it shares: only the path differs.
    """

    __slots__ = (
        "builtin", "children", "configs", "decl", "decls", "definition", "depth", "doc", "index",
        "kind", "members", "name", "outerness", "params", "parent", "path", "properties", "scope",
        "sites", "slots", "twin", "vector", "wirings",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        path: str,
        kind: Kind,
        definition: Definition | None,
        builtin: BuiltinType | None,
        parent: Instance | None,
    ) -> None:
        self.name = name
        self.path = path
        self.kind = kind
        self.definition = definition
        self.builtin = builtin
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.outerness: int = -self.depth
        self.index: int | None = None
        self.vector: str = ""
        self.doc: str = ""
        self.decl: InstanceDeclared | None = None
        self.twin: Instance | None = None
        self.scope: Scope | None = None
        self.properties: dict[str, Property] = properties_of(kind, builtin)
        self.params: dict[str, ParamDecl] = {}
        self.decls: dict[str, InstanceDeclared] = {}
        self.members: dict[str, Definition | Instance] = {}
        self.children: dict[str, Instance | Vector] = {}
        self.sites: dict[str, list[Site]] = {}
        self.configs: dict[str, list[Config]] = {}
        self.slots: dict[str, Slot] = {}
        self.wirings: list[Wiring] = []

    @classmethod
    def like(cls, twin: Instance, path: str, parent: Instance, index: int | None) -> Instance:
        """An equal sibling of `twin` (or of what it is a twin of), still without children."""
        made = cls.__new__(cls)
        made.twin = twin = twin.twin or twin
        made.name, made.path, made.parent, made.index = twin.name, path, parent, index
        made.kind, made.builtin, made.definition = twin.kind, twin.builtin, twin.definition
        made.depth, made.outerness = parent.depth + 1, -parent.depth - 1
        made.decl, made.doc, made.scope = twin.decl, twin.doc, None
        made.properties, made.params = twin.properties, twin.params
        made.decls, made.members = twin.decls, twin.members
        made.sites, made.configs, made.wirings = _NONE, _NONE, _NOTHING
        made.children, made.slots, made.vector = {}, {}, ""
        return made

    @property
    def type_name(self) -> str:
        """Name of the definition it was made from."""
        return self.definition.name if self.definition else self.kind.name

    def map_property(self, name: str) -> MapType | None:
        """The type of a dotted property such as ``peak``, or None."""
        found = self.properties.get(name)
        return found.type if found is not None and isinstance(found.type, MapType) else None

    def each_child(self) -> Iterator[Instance]:
        """Its member instances in order of declaration, then index."""
        for child in self.children.values():
            if isinstance(child, Vector):
                yield from child.items
            else:
                yield child

    def __str__(self) -> str:
        return self.path or self.name


@dataclass(eq=False)
class ModuleFile:
    """A loaded file: its tree, its own instance (scope of its names) and its imports."""

    name: str
    folder: str
    file: ast.File
    instance: Instance
    library: bool
    imports: dict[str, tuple[ModuleFile, str | None, Span]] = field(default_factory=dict)
    is_index: bool = False

"""From files to a checked instance tree: load, apply what comes from outside, build, check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermesdsl.diagnostics import Sink, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import bodies, check, members
from hermesdsl.model.build import Builder
from hermesdsl.model.configure import Setting, configure, retry_waiting, target_steps
from hermesdsl.model.imports import Loader, order_modules
from hermesdsl.model.instance import (
    BY_CASE,
    BY_SET,
    BY_SWEEP,
    Config,
    Definition,
    ModuleFile,
    Rank,
    Scope,
)
from hermesdsl.model.report import once_per_statement
from hermesdsl.model.room import room
from hermesdsl.model.values import Fail, Stop
from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse


@dataclass(frozen=True)
class Tree:
    """The elaborated system: its root file, all modules, and the builder that answers values."""

    root: ModuleFile
    modules: tuple[ModuleFile, ...]
    builder: Builder

    def singles(self, kind: str) -> dict[str, Definition]:
        """Single things of a kind in the user's own files, by the name the root file uses."""
        found: dict[str, Definition] = {}
        for module in self.modules:
            if module.library:
                continue
            for member in module.instance.members.values():
                if isinstance(member, Definition) and member.kind.name == kind:
                    found.setdefault(member.qualified, member)
        return found


def elaborate(
    spec: str | Path,
    *,
    sink: Sink,
    text: str | None = None,
    settings: Mapping[str, str] | None = None,
    folders: Sequence[str] = (),
    case: str | None = None,
    point: Mapping[str, str] | None = None,
) -> Tree | None:
    """Loads, builds and checks a specification.

    `settings` maps paths to source text of values (``--set``), and so does `point`, a point of a
    sweep, which ranks below them; `case` applies a named variant.
    None if the files cannot be read or parsed, or a budget is exceeded: the sink says why. With
    other errors in the sink the tree is as far as it could be built.
    """
    builder = Builder(sink)
    tree = None
    try:
        with room():
            outside = [(BY_SWEEP, point or {}), (BY_SET, settings or {})]
            tree = _elaborate(builder, spec, text, outside, folders, case)
    except Stop as stop:
        sink.add(stop.diagnostic)
    except RecursionError:
        sink.add(error("HMS105", "the specification is nested too deeply"))
    once_per_statement(builder)
    return tree


def _elaborate(
    builder: Builder,
    spec: str | Path,
    text: str | None,
    outside: Sequence[tuple[int, Mapping[str, str]]],
    folders: Sequence[str],
    case: str | None,
) -> Tree | None:
    loader = Loader(builder, builder.sink, folders)
    loader.load_prelude()
    if text is None:
        root = loader.load_root(Path(spec), str(spec))
    else:
        root = loader.load_text(text, str(spec), Path.cwd())
    if root is None or builder.sink.failed:
        return None
    ordered = order_modules(builder, root)
    tree = Tree(root, tuple(ordered), builder)
    _take_in(builder, tree, outside, case)
    for module in reversed(ordered):
        members.build_children(builder, module.instance)
    check.check(tree)
    return tree


def _take_in(
    builder: Builder,
    tree: Tree,
    outside: Sequence[tuple[int, Mapping[str, str]]],
    case: str | None,
) -> None:
    """All bodies of all files, phase by phase, and what is set from outside before any is read."""
    chain: list[bodies.Body] = []
    for module in tree.modules:
        module.instance.scope = _scope(builder, module)
        chain.append((module.instance, module.file.statements, module.instance.scope))
    for body in chain:
        bodies.declare(builder, body)
    for config in _outside(builder, tree, outside, case):
        try:
            configure(builder, config.scope.owner, config)
        except Fail as problem:
            builder.report(problem)
    for phase in (bodies.settle, bodies.settle_computed, bodies.expand_blocks):
        for body in chain:
            phase(builder, body)
    retry_waiting(builder)


def _scope(builder: Builder, module: ModuleFile) -> Scope:
    parent = builder.prelude
    if parent is None or parent.owner is module.instance:
        parent = builder.base_scope
    return Scope(module.instance, parent)


# --- from outside --------------------------------------------------------------------------


def _outside(
    builder: Builder,
    tree: Tree,
    outside: Sequence[tuple[int, Mapping[str, str]]],
    case: str | None,
) -> Iterator[Config]:
    """What command line, sweep and case set; their scope is that of the file they start in."""
    if case is not None:
        found = tree.root.instance.members.get(case)
        if isinstance(found, Definition) and found.kind.free:
            yield from case_configs(builder, found)
        else:
            cases = [n for n, m in tree.root.instance.members.items()
                     if isinstance(m, Definition) and m.kind.free]  # fmt: skip
            notes = suggestion(case, cases) or (f"help: cases are {', '.join(cases)}",) * any(cases)
            builder.add(error("HMS607", f"no case `{case}`", notes=notes))
    scope = tree.root.instance.scope
    assert scope is not None
    for stage, settings in outside:
        for number, (path, value) in enumerate(settings.items()):
            try:
                yield _setting(builder, path, value, Rank(stage, number), scope)
            except Fail as problem:
                builder.report(problem)


def _setting(builder: Builder, path: str, value: str, rank: Rank, scope: Scope) -> Config:
    """``--set path=value``, or a value of a sweep, as a config. Raises `Fail`."""
    origin = "--set" if rank.stage == BY_SET else "sweep"
    source = Source(origin, f"{path} = {value}")
    parsed = parse(source)
    statement = parsed.file.statements[0] if len(parsed.file.statements) == 1 else None
    if parsed.diagnostics:
        raise Fail(parsed.diagnostics[0])
    if not isinstance(statement, ast.Assign) or "\n" in path:
        shown = " ".join(f"{path}={value}".split())
        raise Fail(error("HMS607", f"`{origin} {shown}` is not one path and one value"))
    steps = target_steps(builder, statement.target, scope)
    return Config(steps, statement.value, scope, rank, origin, statement.span)


def case_configs(builder: Builder, definition: Definition) -> list[Config]:
    """The values that a case sets, ranked as a case's."""
    assert definition.statement is not None
    assert definition.scope is not None
    setting = Setting(builder, Rank(BY_CASE), f"case {definition.name}")
    body = definition.statement.block.statements
    return list(setting.statements(body, definition.scope, ()))

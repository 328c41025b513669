"""From files to a checked instance tree: load, apply what comes from outside, build, check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermesdsl.diagnostics import Sink, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import check, configure, resolve
from hermesdsl.model.build import Builder
from hermesdsl.model.imports import Loader, order_modules
from hermesdsl.model.instance import CASE, SET, Config, Definition, ModuleFile, Rank, Scope
from hermesdsl.model.values import Fail
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
            for name, member in module.instance.members.items():
                if isinstance(member, Definition) and member.kind.name == kind:
                    found.setdefault(
                        f"{module.instance.path}.{name}" if module.instance.path else name, member
                    )
        return found


def elaborate(
    spec: str | Path,
    *,
    sink: Sink,
    text: str | None = None,
    settings: Mapping[str, str] | None = None,
    folders: Sequence[str] = (),
    case: str | None = None,
) -> Tree | None:
    """Loads, builds and checks a specification; None if its files cannot be read or parsed.

    `settings` maps paths to source text of values (``--set``); `case` applies a named variant.
    """
    builder = Builder(sink)
    loader = Loader(builder, sink, folders)
    loader.load_prelude()
    root = (
        loader.load_root(Path(spec), str(spec))
        if text is None
        else loader.load_text(text, str(spec), Path.cwd())
    )
    if root is None or sink.failed:
        return None
    ordered = order_modules(builder, root)
    scopes = {m.name: _scope(builder, m) for m in ordered}
    for module in ordered:
        module.instance.scope = scopes[module.name]
        builder.declare(module.instance, module.file.statements, scopes[module.name])
    _apply_settings(builder, root, scopes[root.name], settings or {})
    if case is not None:
        _apply_case(builder, root, case)
    for module in ordered:
        builder.settle(module.instance, module.file.statements, scopes[module.name])
    for module in reversed(ordered):
        builder.build_children(module.instance)
    tree = Tree(root, tuple(ordered), builder)
    check.check(tree)
    return tree


def _scope(builder: Builder, module: ModuleFile) -> Scope:
    parent = builder.prelude
    if parent is None or parent.owner is module.instance:
        parent = builder.base_scope
    return Scope(module.instance, parent)


def _apply_settings(
    builder: Builder, root: ModuleFile, scope: Scope, settings: Mapping[str, str]
) -> None:
    for number, (path, value) in enumerate(settings.items()):
        source = Source("--set", f"{path} = {value}")
        parsed = parse(source)
        statement = parsed.file.statements[0] if parsed.file.statements else None
        if parsed.diagnostics or not isinstance(statement, ast.Assign):
            for diagnostic in parsed.diagnostics or (
                error("HMS607", f"`--set {path}={value}` is not a path and a value"),
            ):
                builder.add(diagnostic)
            continue
        try:
            steps = configure.target_steps(builder, statement.target, scope)
            rank = Rank(SET, number)
            config = Config(steps, statement.value, scope, rank, "--set", statement.span)
            builder.configs.append(config)
            resolve.configure_file(builder, root.instance, config)
        except Fail as problem:
            builder.report(problem)


def _apply_case(builder: Builder, root: ModuleFile, name: str) -> None:
    found = root.instance.members.get(name)
    cases = [n for n, m in root.instance.members.items()
             if isinstance(m, Definition) and m.kind.name == "case"]  # fmt: skip
    if not isinstance(found, Definition) or found.kind.name != "case" or not found.statement:
        builder.add(error("HMS607", f"no case `{name}`", notes=suggestion(name, cases)))
        return
    for config in case_configs(builder, found):
        try:
            resolve.configure_file(builder, root.instance, config)
        except Fail as problem:
            builder.report(problem)


def case_configs(builder: Builder, definition: Definition) -> list[Config]:
    """The values that a case sets, ranked as a case's."""
    assert definition.statement is not None
    assert definition.scope is not None
    body = definition.statement.block.statements
    rank = Rank(CASE)
    return list(
        configure.statements(builder, body, definition.scope, rank, f"case {definition.name}", ())
    )

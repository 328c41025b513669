"""Finds and loads modules: the specification, what it imports, and the prelude.

Reads only the folder of the specification, the standard library and folders given by ``--path``;
links that lead out of them are refused. Runs no code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from hermesdsl import resources
from hermesdsl.diagnostics import Diagnostic, Label, Sink, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model.build import Builder
from hermesdsl.model.instance import FILE_KIND, FILE_OUTERNESS, Instance, ModuleFile, Scope
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import Parsed, parse
from hermesdsl.syntax.read import read_source

LIBRARY_PREFIX = "std"
#: Longest chain of files that import the next.
DEPTH_BUDGET = 100


@lru_cache(maxsize=256)
def _library(name: str, text: str) -> Parsed:
    """A file of the library, parsed once in a process: neither text nor tree ever changes."""
    return parse(Source(name, text, library=True))


class Loader:
    """Loads every module that a root file needs into a builder."""

    def __init__(self, builder: Builder, sink: Sink, folders: Sequence[str] = ()) -> None:
        self.builder = builder
        self.sink = sink
        self.folders = [Path(f).resolve() for f in folders]
        self.library = resources.folder("stdlib").resolve()
        self.by_file: dict[Path, ModuleFile | None] = {}
        self.loading: list[tuple[Path, str]] = []

    def load_prelude(self) -> None:
        """Loads the prelude: names that need no import."""
        path = self.library / "prelude.hms"
        module = self._file(path, "stdlib/prelude.hms", library=True)
        if module is not None:
            self.builder.prelude = Scope(module.instance, self.builder.base_scope)

    def load_root(self, path: Path, shown: str) -> ModuleFile | None:
        """Loads the specification at `path`, named `shown` in diagnostics, and its imports."""
        try:
            path = path.resolve()
        except (OSError, RuntimeError, ValueError) as problem:
            reason = "its links form a circle" if isinstance(problem, RuntimeError) else problem
            self.sink.add(error("HMS104", f"{shown} cannot be read: {reason}"))
            return None
        self._allow(path.parent)
        return self._file(path, shown, library=self._is_library(path))

    def load_text(self, text: str, shown: str, folder: Path) -> ModuleFile | None:
        """Loads a specification given as text; its imports resolve against `folder`."""
        self._allow(folder.resolve())
        return self._module(Source(shown, text), folder / shown, library=False)

    def _allow(self, folder: Path) -> None:
        """What this compilation may read, links followed."""
        self.builder.readable = [folder, self.library, *self.folders]

    def _file(
        self, path: Path, shown: str, *, library: bool, blamed: Span | None = None
    ) -> ModuleFile | None:
        source = read_source(path, shown, library=library)
        if isinstance(source, Diagnostic):
            self.sink.add(replace(source, span=blamed))
            return None
        return self._module(source, path, library=library)

    def _module(self, source: Source, path: Path, *, library: bool) -> ModuleFile | None:
        parsed = _library(source.name, source.text) if library else parse(source)
        for diagnostic in parsed.diagnostics:
            self.sink.add(diagnostic)
        if any(d.is_error for d in parsed.diagnostics):
            return None
        instance = Instance("", "", FILE_KIND, None, None, None)
        module = ModuleFile(
            source.name, str(path.parent), parsed.file, instance, library,
            is_index=path.stem == "index",
        )  # fmt: skip
        self.by_file[path] = module
        self.builder.add_module(module)
        self.loading.append((path, source.name))
        for statement in parsed.file.statements:
            if isinstance(statement, ast.Import):
                self._import(module, path, statement)
        self.loading.pop()
        return module

    # --- imports ---

    def _import(self, module: ModuleFile, path: Path, statement: ast.Import) -> None:
        if not statement.names and not statement.alias and "." in statement.module:
            last = statement.module.rpartition(".")[2]
            self.sink.add(
                error("HMS203", "a dotted import needs a name", statement.module_span,
                      notes=[f"help: write `import {statement.module} as {last}`"])
            )  # fmt: skip
            return
        target = self._target(module, path, statement)
        if target is None:
            return
        if not statement.names:
            name = statement.alias or statement.module
            self._bind(module, name, target, None, statement.module_span)
        for one in statement.names:
            self._bind(module, one.alias or one.name, target, one.name, one.span)

    def _bind(
        self, module: ModuleFile, name: str, target: ModuleFile, inner: str | None, span: Span
    ) -> None:
        if name in module.imports:
            labels = [Label(module.imports[name][2], "first here")]
            self.sink.add(error("HMS202", f"`{name}` is imported twice", span, labels=labels))
            return
        module.imports[name] = (target, inner, span)

    def _target(self, module: ModuleFile, path: Path, statement: ast.Import) -> ModuleFile | None:
        found = self._find(path, statement)
        if found is None:
            return None
        file, library = found
        if any(file == p for p, _ in self.loading):
            names = [n for p, n in self.loading]
            start = next(i for i, (p, _) in enumerate(self.loading) if p == file)
            cycle = " -> ".join([*names[start:], names[start]])
            self.sink.add(error("HMS204", f"imports go in a circle: {cycle}",
                                statement.module_span))  # fmt: skip
            return None
        if file in self.by_file:
            return self.by_file[file]
        self.by_file[file] = None  # unless it can be read and parsed
        if len(self.loading) > DEPTH_BUDGET:
            self.sink.add(error("HMS105", f"more than {DEPTH_BUDGET} files that import the next",
                                statement.module_span))  # fmt: skip
            return None
        shown = self._shown(module, file, library)
        return self._file(file, shown, library=library, blamed=statement.module_span)

    def _shown(self, module: ModuleFile, file: Path, library: bool) -> str:
        """How diagnostics name an imported file: beside its importer, or by library path."""
        if library:
            return (Path("stdlib") / file.relative_to(self.library)).as_posix()
        importer = Path(module.name).parent
        try:
            inside = file.relative_to(Path(module.folder).resolve())
        except ValueError:
            return file.name
        return (importer / inside).as_posix()

    def _find(self, path: Path, statement: ast.Import) -> tuple[Path, bool] | None:
        """File of a module; reports it missing or outside what may be read."""
        parts = statement.module.split(".")
        roots: list[tuple[Path, bool, list[str]]] = []
        if parts[0] == LIBRARY_PREFIX:
            roots.append((self.library, True, parts[1:]))
        else:
            roots.append((path.parent, self._is_library(path), parts))
            roots.extend((folder, False, parts) for folder in self.folders)
        for folder, library, names in roots:
            base = folder.joinpath(*names)
            for candidate in (base.with_suffix(".hms"), base / "index.hms"):
                if names and _is_file(candidate):
                    return self._allowed(candidate, library, statement)
        self._missing(statement, roots)
        return None

    def _allowed(
        self, candidate: Path, library: bool, statement: ast.Import
    ) -> tuple[Path, bool] | None:
        try:
            real = candidate.resolve()
        except (OSError, RuntimeError):
            message = f"module `{statement.module}` cannot be read: its links form a circle"
            self.sink.add(error("HMS104", message, statement.module_span))
            return None
        if not any(real.is_relative_to(a) for a in self.builder.readable):
            message = f"module `{statement.module}` leads out of the folders that may be read"
            self.sink.add(error("HMS205", message, statement.module_span,
                                notes=["help: allow its folder with --path"]))  # fmt: skip
            return None
        return real, library

    def _missing(
        self, statement: ast.Import, roots: Iterable[tuple[Path, bool, list[str]]]
    ) -> None:
        near: list[str] = []
        for folder, library, names in roots:
            parent = folder.joinpath(*names[:-1])
            prefix = [LIBRARY_PREFIX] * library + names[:-1]
            near += [".".join([*prefix, name]) for name in _modules_in(parent)]
        notes = suggestion(statement.module, near) or (
            f"note: looked for {base}.hms and {base}/index.hms"
            for base in [statement.module.replace(".", "/")]
        )
        self.sink.add(error("HMS203", f"no module `{statement.module}`", statement.module_span,
                            notes=notes))  # fmt: skip

    def _is_library(self, path: Path) -> bool:
        return path.is_relative_to(self.library)


def _is_file(path: Path) -> bool:
    """False too for names that no file system takes and folders that may not be read.

    A link counts wherever it leads: that is looked at next.
    """
    try:
        return path.is_file() or path.is_symlink()
    except (OSError, ValueError):
        return False


def _modules_in(folder: Path) -> list[str]:
    """Names of the modules in a folder; none if it cannot be read."""
    try:
        found = [p for p in folder.iterdir() if p.suffix == ".hms" or p.is_dir()]
    except OSError:
        return []
    return sorted(p.stem for p in found)


def order_modules(builder: Builder, root: ModuleFile) -> list[ModuleFile]:
    """Every module reachable from `root`, importers before imported.

    Sets how far out each lies (an importer lies further out than what it imports), and the path
    that the root file reaches it by: the shortest, and of those the first.
    """
    depth: dict[int, int] = {}

    def visit(module: ModuleFile, level: int) -> None:
        if depth.get(id(module), -1) >= level:
            return
        depth[id(module)] = level
        for target, _, _ in module.imports.values():
            visit(target, level + 1)

    visit(root, 0)
    _name_modules(root)
    for module in builder.modules:  # the prelude and what it imports lie innermost
        module.instance.outerness = FILE_OUTERNESS - depth.setdefault(id(module), DEPTH_BUDGET + 1)
    return sorted(builder.modules, key=lambda m: (depth[id(m)], m.name))


def _name_modules(root: ModuleFile) -> None:
    """Breadth first: ``s.rack``, not ``rag.s.rack``; a name that is taken gets a number."""
    named = {id(root)}
    taken: set[str] = set()
    waiting = deque([root])
    while waiting:
        module = waiting.popleft()
        for name, (target, inner, _) in module.imports.items():
            if target.library or id(target) in named:
                continue
            named.add(id(target))
            stem = name if inner is None else Path(target.name).stem
            path = f"{module.instance.path}.{stem}" if module.instance.path else stem
            number = 2
            while path in taken:
                path = f"{path.rpartition('_')[0] if number > 2 else path}_{number}"
                number += 1
            taken.add(path)
            target.instance.path = path
            waiting.append(target)

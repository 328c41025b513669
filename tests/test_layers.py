"""Imports go only leftwards: the layers of the architecture, read from the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hermesdsl"

#: Layer → what it may import beside itself. `api`, `execute` and the command line compose.
_BASE = {"source", "diagnostics", "units", "resources", "files"}
_SCHEMA = _BASE | {"schema"}
_SYNTAX = _SCHEMA | {"syntax"}
_MODEL = _SYNTAX | {"model"}
_TYPES = _SCHEMA | {"graph"}
ALLOWED = {
    "source": set(),
    "resources": set(),
    "files": set(),
    "diagnostics": {"source"},
    "units": {"source", "diagnostics"},
    "schema": _BASE,
    "syntax": _BASE,
    "model": _SYNTAX,
    "graph": _MODEL,
    "cost": _TYPES,
    "sim": _TYPES | {"cost"},
    "results": _TYPES | {"cost", "sim"},
    "explore": _SYNTAX | {"graph", "results", "api", "execute", "plugins"},
    "measure": _TYPES | {"cost", "sim", "results", "files", "api"},
    "drawing": _TYPES,
    "library": _MODEL,
    "plugins": _SCHEMA | {"sim"},
    "execute": _TYPES | {"cost", "sim", "results", "api"},
    "api": _MODEL
    | {"graph", "cost", "sim", "results", "drawing", "explore", "execute"}
    | {"measure"},
    "cli": _MODEL
    | {"graph", "cost", "sim", "results", "drawing", "library", "explore", "measure"}
    | {"api", "execute", "plugins"},
    "__init__": {"api", "diagnostics"},
    "__main__": {"cli"},
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "hermesdsl":
                names = [f"hermesdsl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("hermesdsl.")}
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_leftwards(path: Path) -> None:
    layer = _layer(path)
    assert layer in ALLOWED, f"{layer} is no layer of the architecture"
    wrong = _imports(path) - ALLOWED[layer] - {layer, "__version__"}
    assert not wrong, f"{layer} must not import {sorted(wrong)}"


def test_graph_types_stand_alone() -> None:
    """Interpreter, costs and drawings read `graph.types`: it must not pull in the language."""
    graph = PACKAGE / "graph"
    assert _imports(graph / "types.py") <= {"schema", "graph"}
    for part in ("devices", "models", "questions"):
        assert _imports(graph / f"{part}.py") <= {"schema"}


def _imports_lark(path: Path) -> bool:
    return any(
        (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lark")
        or (isinstance(node, ast.Import) and any(a.name.startswith("lark") for a in node.names))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_only_the_parser_imports_lark() -> None:
    assert [p.name for p in _modules() if _imports_lark(p)] == ["parse.py", "tables.py"]


def test_only_the_command_line_prints_or_exits() -> None:
    for path in _modules():
        if _layer(path) in ("cli", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = f"{node.value.id}.{node.attr}"
                if path.name == "cluster.py" and used == "os.environ":
                    continue  # of the process that it starts and that drives Ray
                assert used not in ("sys.exit", "os.environ"), f"{path.name}:{node.lineno}"

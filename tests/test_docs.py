"""Every block of the README and the documentation is executed.

``hms`` blocks compile, ``python`` blocks run and print what an ``output`` block right behind them
holds, ``console`` blocks run and print what stands below the command; a line ``…`` stands for any
lines. `HERMES_UPDATE=1` rewrites numbers that moved (with one process, `-n 0`).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from document_blocks import problem, renewed, rewrite

import hermesdsl
from hermesdsl.library.reference import pages
from hermesdsl.schema import BUILTINS, COMPUTED

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UPDATE = bool(os.environ.get("HERMES_UPDATE"))
#: Commands that need an extra.
NEEDS_OPTUNA = ("hermes sweep examples/search.hms",)
#: Commands that would begin to time kernels where PyTorch is installed.
WITHOUT_TORCH = ("hermes profile --chip H200 -o times",)
_OUTPUT = re.compile(r"\s*^```output\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    file: Path
    line: int
    language: str
    text: str
    printed: str = ""

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def _blocks(language: str) -> list[Block]:
    found = []
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match.group(1) == language:
                line = text.count("\n", 0, match.start()) + 1
                behind = _OUTPUT.match(text, match.end())
                printed = behind.group(1) if behind else ""
                found.append(Block(file, line, language, match.group(2), printed))
    return found


def test_the_readme_has_blocks_of_every_sort() -> None:
    for language in ("hms", "python", "console", "sh"):
        assert _blocks(language), language


@pytest.mark.parametrize("block", _blocks("hms"), ids=str)
def test_programs_compile(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not any(d.is_error for d in hermesdsl.compile(block.text).diagnostics)


@pytest.mark.parametrize("block", _blocks("python"), ids=str)
def test_python_runs(block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if block.printed:
        _check(done.stdout, block.printed.splitlines(), block)


@pytest.mark.parametrize("block", _blocks("console"), ids=str)
def test_commands_print_what_stands_there(block: Block, tmp_path: Path) -> None:
    for name in ("examples", "stdlib"):
        (tmp_path / name).symlink_to(ROOT / name)
    expected: list[str] = []
    command = ""
    for line in [*block.text.splitlines(), "$ "]:
        if not line.startswith("$ "):
            expected.append(line)
            continue
        if command in NEEDS_OPTUNA and find_spec("optuna") is None:
            pytest.skip("the extra `search` is not installed")
        if command in WITHOUT_TORCH and find_spec("torch") is not None:
            pytest.skip("what is printed without PyTorch, which is installed")
        if command:
            _check(_run(command, tmp_path), expected, block, command)
        command, expected = line[2:], []


def _run(command: str, folder: Path) -> str:
    words = shlex.split(command)
    assert words[0] == "hermes", "documents call the command line and nothing else"
    done = subprocess.run(
        [sys.executable, "-m", "hermesdsl", *words[1:]], cwd=folder, capture_output=True,
        text=True, check=False, env={**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stderr
    return (done.stdout + done.stderr).replace(f"{ROOT}/", "")


def _check(printed: str, expected: list[str], block: Block, command: str = "") -> None:
    wrong = problem(printed, expected)
    if wrong is not None and UPDATE:
        now = renewed(printed, expected)
        if now is not None:
            head = [f"$ {command}"] if command else []
            rewrite(block.file, head + expected, head + now)
            return
    assert wrong is None, f"{block} {command}\n{wrong}"


@pytest.mark.parametrize("name", sorted(pages()))
def test_generated_pages_are_current(name: str) -> None:
    stored = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert stored == pages()[name], "run `python -m hermesdsl doc -o docs`"


def test_links_lead_somewhere() -> None:
    for file in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_the_index_names_every_page_and_every_example() -> None:
    index = ROOT / "docs/index.md"
    named = re.findall(r"\]\(([^)#:]+)\)", index.read_text(encoding="utf-8"))
    linked = {(index.parent / target).resolve() for target in named}
    there = {*DOCUMENTS, *(ROOT / "examples").glob("*.hms")} - {index}
    assert sorted(str(path.relative_to(ROOT)) for path in there - linked) == []


@pytest.mark.parametrize(
    ("page", "family"),
    [("batching", "batching"), ("batching", "convert"), ("pipelines", "repeat"),
     ("pipelines", "join"), ("stages", "index"), ("workloads", "arrivals"),
     ("workloads", "distribution"), ("workloads", "popularity"), ("workloads", "prefix")],
)  # fmt: skip
def test_pages_leave_no_setting_out(page: str, family: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    names = [name for own, name in COMPUTED if own == family]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_page_on_stages_has_a_row_for_each() -> None:
    text = (ROOT / "docs/stages.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    stages = [builtin.name for builtin in BUILTINS.values() if builtin.kind == "stage"]
    assert [name for name in stages if f"`{name}`" not in rows] == []

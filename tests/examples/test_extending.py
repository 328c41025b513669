"""The pages on extending the language are followed as they stand, in a copy of the package.

A ``py`` block is a file to write, a ``diff`` block lines to add after a line that is there, a
``spec`` block a program that then compiles, and runs the same in both forms of the engine. A file
below ``tests`` is then run, beside the program.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/extending").glob("*.md"))
BLOCK = re.compile(r"^```(py|diff|spec)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = """
import sys
import hermesdsl
system = hermesdsl.compile(sys.argv[1])
one, other = (hermesdsl.run(system, reference=reference) for reference in (False, True))
assert one.summary()["requests"]["completed"] > 0
assert one.requests.equals(other.requests)
"""


def add(file: Path, block: str) -> None:
    """Add the lines marked + behind the others, which the file holds exactly once."""
    lines = block.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] == " ")
    after = "".join(line[1:] for line in lines)
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file.name} does not hold once: {before}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def call(folder: Path, *arguments: str) -> None:
    """Python with the package of `folder`; it must succeed."""
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_works(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "hermesdsl", tmp_path / "hermesdsl")
    for folder in ("grammar", "stdlib"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    tests, programs = [], 0
    for kind, path, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "py":
            file = tmp_path / path
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
            if path.startswith("tests/"):
                tests.append(path)
        elif kind == "diff":
            add(tmp_path / path, block)
        else:
            programs += 1
            (tmp_path / "program.hms").write_text(block, encoding="utf-8")
            call(tmp_path, "-c", RUN, "program.hms")
    assert programs > 0
    if tests:
        call(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)

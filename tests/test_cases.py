"""Wrong programs and what a person is told, text for text; every code has a case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from golden_cases import CASES, UPDATE, Case, read, shown, update

from hermesdsl.diagnostics import CODES

ALL = [case for path in sorted(CASES.rglob("*.md")) for case in read(path)]
PACKAGE = Path(__file__).parents[1] / "hermesdsl"


#: Codes that no program can have: HMS609 is of installed packages, see tests/cli/test_plugins.py.
ELSEWHERE = {"HMS609"}


@pytest.mark.parametrize("case", ALL, ids=str)
def test_case(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "spec"
    folder.mkdir()
    monkeypatch.chdir(folder)
    found = shown(case, folder)
    assert str(tmp_path) not in found
    if UPDATE and found != case.expected:
        update(case, found)
    else:
        assert found == case.expected


def test_every_code_has_a_case() -> None:
    seen = set(re.findall(r"\[(HMS\d+)\]", "".join(case.expected for case in ALL)))
    assert sorted(set(CODES) - seen - ELSEWHERE) == []
    assert sorted(seen - set(CODES)) == []


def test_every_code_that_is_raised_is_listed_and_the_other_way_round() -> None:
    raised: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "codes.py":
            raised |= set(re.findall(r'"(HMS\d{3})"', path.read_text(encoding="utf-8")))
    assert sorted(raised ^ set(CODES)) == []


def test_wrong_programs_are_many_and_errors_most_of_them() -> None:
    assert len(ALL) >= 60
    assert sum("error[" in case.expected for case in ALL) >= 60


def test_names_of_cases_are_unique_in_their_file() -> None:
    names = [str(case) for case in ALL]
    assert len(set(names)) == len(names)

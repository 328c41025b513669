"""The formatter: layout case by case, and what holds for every text."""

from __future__ import annotations

import random

import pytest
from syntax_cases import cases, programs, shape, source

from hermesdsl.syntax.format import format_file
from hermesdsl.syntax.parse import Parsed, parse


def parsed(text: str) -> Parsed:
    found = parse(source(text))
    assert not found.diagnostics, found.diagnostics
    return found


def formatted(text: str) -> str:
    return format_file(parsed(text).file)


def assert_kept(before: str, after: str) -> None:
    """Same statements, comments and documentation; and formatted once is formatted."""
    old, new = parsed(before).file, parsed(after).file
    assert shape(new.statements) == shape(old.statements)
    assert [c.text for c in new.comments] == [c.text for c in old.comments]
    assert list(new.docs.values()) == list(old.docs.values())
    assert format_file(new) == after


@pytest.mark.parametrize(("given", "expected"), cases("formatted"))
def test_layout(given: str, expected: str) -> None:
    assert formatted(given) == expected
    assert_kept(given, expected)


@pytest.mark.parametrize("path", programs())
def test_golden_program_is_formatted_already(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


@pytest.mark.parametrize("path", programs())
@pytest.mark.parametrize("seed", range(5))
def test_comments_and_blank_lines_anywhere(path, seed: int) -> None:
    """Comments behind and between lines, wherever a person may put them, are all kept."""
    dice = random.Random(seed)
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if dice.random() < 0.3:
            lines.append(dice.choice(["", "  ", "# own", "## doc", "\t# tab"]) + f"# {number}")
        if dice.random() < 0.2:
            lines.extend([""] * dice.randrange(3))
        if dice.random() < 0.3:
            line = line.replace("    ", "\t", 1)
        if dice.random() < 0.3 and "#" not in line:
            line += dice.choice([" # ", "#", "      ## "]) + f"behind {number}"
        lines.append(line)
    text = "\r\n".join(lines)
    assert_kept(text, formatted(text))


@pytest.mark.parametrize("path", programs())
@pytest.mark.parametrize("seed", range(5))
def test_other_spacing_gives_a_file_that_stays(path, seed: int) -> None:
    """Blanks doubled or dropped around signs and words change no statement."""
    dice = random.Random(seed)
    text = path.read_text(encoding="utf-8")
    for sign in ("=", "->", "{", ":", ",", ";", " on ", "<->"):
        parts = text.split(sign)
        text = parts[0]
        for part in parts[1:]:
            text += " " * dice.choice([0, 0, 1, 3]) + sign + part
    for sign in ("{ ", "}"):
        text = text.replace(sign, sign + "\n" if dice.random() < 0.3 else sign)
    found = parse(source(text))
    if not found.diagnostics:
        assert_kept(text, format_file(found.file))


def test_empty_file() -> None:
    assert formatted("") == ""
    assert formatted("\n\n") == ""
    assert formatted("\n\n# only\n\n") == "# only\n"


def test_long_lines_without_blocks_stay() -> None:
    text = "x = [" + ", ".join(["1000"] * 50) + "]\n"
    assert formatted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "-" * 199 + "a\n",
        "x = " + "f(" * 199 + ")" * 199 + "\n",
        "a { " * 199 + "}" * 199 + "\n",
        "a {\n" * 199 + "}\n" * 199,
        "if a { } else " * 198 + "{ }\n",
    ],
    ids=lambda text: text[:12],
)
def test_the_deepest_tree_that_parses_can_be_formatted(text: str) -> None:
    once = formatted(text)
    assert formatted(once) == once

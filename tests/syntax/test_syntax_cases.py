"""Wrong programs and what a person is told: every case file, text for text."""

from __future__ import annotations

import re

import pytest
from syntax_cases import CASES, cases, source

from hermesdsl.diagnostics.render import render_text
from hermesdsl.syntax.parse import parse

WRONG = cases("diagnostics")


@pytest.mark.parametrize(("given", "expected"), WRONG)
def test_wrong_program_gets_exactly_these_messages(given: str, expected: str) -> None:
    assert render_text(parse(source(given)).diagnostics) == expected


def test_every_code_of_a_text_has_a_case() -> None:
    # HMS104 is about files that hold no text: test_syntax_read.py
    shown = "".join(param.values[1] for param in WRONG)
    assert set(re.findall(r"HMS\d+", shown)) == {"HMS101", "HMS102", "HMS103", "HMS105", "HMS106"}


def test_no_message_names_a_token_of_the_grammar() -> None:
    shown = "".join(param.values[1] for param in WRONG)
    assert not re.findall(r"\b_?(?:[LR](?:PAR|SQB|BRACE)|NAME|NUMBER|QUANTITY|_SEP)\b|\$END", shown)


def test_case_files_are_read_completely() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CASES.glob("*.md")]
    given = sum(text.count("\n```hms\n") for text in texts)
    assert len(WRONG) + len(cases("formatted")) == given
    assert len(WRONG) >= 90

"""Comments are kept with their positions, and `##` documents the next statement."""

from __future__ import annotations

from syntax_cases import source

from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse

TEXT = """\
# head
## The chip.
##
## Source: its data sheet.
chip A {  # behind a brace
    ## Dense.
    peak.bf16 = 1 TFLOPS  ## behind a statement
    x = "# no comment"   # one
}

## Spread
# (a plain one between)

## out.
b = [1,  # two
     2]
## Nothing follows.
"""


def documented() -> dict[str, str]:
    """First line of a statement → its documentation."""
    parsed = parse(source(TEXT))
    assert not parsed.diagnostics
    return {
        TEXT[start:].partition("\n")[0].strip(): text for start, text in parsed.file.docs.items()
    }


def test_documentation_belongs_to_the_next_statement() -> None:
    assert documented() == {
        "chip A {  # behind a brace": "The chip.\n\nSource: its data sheet.",
        "peak.bf16 = 1 TFLOPS  ## behind a statement": "Dense.",
        "b = [1,  # two": "Spread\nout.",
    }


def test_every_comment_is_kept_as_written() -> None:
    comments = parse(source(TEXT)).file.comments
    assert len(comments) == 13
    assert all(comment.span.text == comment.text for comment in comments)
    behind = [comment.text for comment in comments if not comment.own_line]
    assert behind == ["# behind a brace", "## behind a statement", "# one", "# two"]
    assert sum(comment.doc for comment in comments) == 8


def test_comments_inside_an_expression_document_nothing() -> None:
    parsed = parse(source("a = [\n    ## inside\n    1,\n]\nb = 2\n"))
    assert parsed.file.docs == {}
    assert [comment.text for comment in parsed.file.comments] == ["## inside"]


def test_comments_of_a_text_with_errors_are_kept() -> None:
    parsed = parse(source("## one\na = = 1\n## two\nb = 2  # three\n"))
    assert [c.text for c in parsed.file.comments] == ["## one", "## two", "# three"]
    assert list(parsed.file.docs.values()) == ["two"]
    (statement,) = parsed.file.statements
    assert isinstance(statement, ast.Assign)

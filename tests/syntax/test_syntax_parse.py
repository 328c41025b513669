"""Text to tree: every statement, its positions, and the budgets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syntax_cases import programs, shape, source

from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import LARGEST_SOURCE, parse

NAMED = {letter: ("Name", letter) for letter in "abcdTL"}
a, b, c, T, L = (NAMED[x] for x in "abcTL")


def one(text: str) -> ast.Statement:
    """The only statement of a text without errors."""
    parsed = parse(source(text))
    assert not parsed.diagnostics, parsed.diagnostics
    (statement,) = parsed.file.statements
    return statement


def block(*names: str) -> tuple[object, ...]:
    return ("Block", tuple(("Assign", ("Name", n), ("Number", 1)) for n in names))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("import a.b", ("Import", "a.b", None, ())),
        ("import a as c", ("Import", "a", "c", ())),
        (
            "from a.b import X as Y, Z",
            ("Import", "a.b", None, (("ImportedName", "X", "Y"), ("ImportedName", "Z", None))),
        ),
        ("param n", ("Param", "n", None, None, None)),
        ("param n: T = a in b", ("Param", "n", T, a, b)),
        ("param n in b", ("Param", "n", None, None, b)),
        ("let n = a", ("Let", "n", a)),
        ("a = b", ("Assign", a, b)),
        ("a.b = c", ("Assign", ("Attribute", a, "b"), c)),
        ("a T { b = 1 }", ("Definition", "a", "T", None, block("b"))),
        ("a T extends L.b { }", ("Definition", "a", "T", ("Attribute", L, "b"), block())),
        ("a { b = 1 }", ("Reopen", a, block("b"))),
        ("a[*] { }", ("Reopen", ("Index", a, ("All",)), block())),
        ("a: T", ("InstanceDecl", a, T, None, None)),
        (
            "a[2]: T on [b, c] { b = 1 }",
            ("InstanceDecl", ("Index", a, ("Number", 2)), T, ("ListExpr", (b, c)), block("b")),
        ),
        ("connect a <-> b", ("Connect", a, "<->", b, None, None, None)),
        (
            "connect [a, b] -> c via L * 4 { b = 1 }",
            ("Connect", ("ListExpr", (a, b)), "->", c, L, ("Number", 4), block("b")),
        ),
        (
            "connect a(b) via L",
            ("Connect", ("Call", a, (("Argument", None, b),)), None, None, L, None, None),
        ),
        ("a -> [b, c] -> b", ("Flow", (a, ("ListExpr", (b, c)), b))),
        ("[a, b] -> c", ("Flow", (("ListExpr", (a, b)), c))),
        (
            "branch a { b < 1 -> c -> b; else -> b }",
            (
                "Branch",
                a,
                (
                    ("Arm", ("Comparison", (b, ("Number", 1)), ("<",)), (c, b)),
                    ("Arm", None, (b,)),
                ),
            ),
        ),
        ("for a, b in c { b = 1 }", ("For", ("a", "b"), c, block("b"))),
        ("if a { b = 1 }", ("If", a, block("b"), None)),
        ("if a { } else { b = 1 }", ("If", a, block(), block("b"))),
        ("if a { } else if b { }", ("If", a, block(), ("Block", (("If", b, block(), None),)))),
        ("assert a", ("Assert", a, None)),
        ('assert a, "b"', ("Assert", a, "b")),
        ('require a, "b"', ("Require", a, "b")),
        ("sweep a in b", ("Sweep", (a,), False, b)),
        ("sweep (a, b) in c", ("Sweep", (a, b), True, c)),
        ("sweep (a, b)", ("Sweep", (a, b), True, None)),
        ("a = (b,)", ("Assign", a, ("TupleExpr", (b,)))),
        ("a = [b, c,]", ("Assign", a, ("ListExpr", (b, c)))),
        ("a = b[1:]", ("Assign", a, ("Index", b, ("Slice", ("Number", 1), None)))),
        ("a = b[:]", ("Assign", a, ("Index", b, ("Slice", None, None)))),
        ("param n = (a in b) in c", ("Param", "n", None, ("Comparison", (a, b), ("in",)), c)),
    ],
)
def test_statement(text: str, tree: object) -> None:
    statement = one(text)
    assert shape(statement) == tree
    assert statement.span.text == text


@pytest.mark.parametrize(
    "text",
    [
        "a = f(\n  b,  # why\n\n  c = 1\n)",
        "a\n  -> b\n  # then\n  -> c",
        "if a { b = 1 }\n\n# or\nelse { b = 2 }",
        "branch a {\n  70% -> b\n\n  else -> c }",
        "branch a { 70% -> b; 20% -> c; else -> d }",
        "chip A { ; a = 1 ;; b = 2 ; }",
        "a = b if c\nelse d",
    ],
)
def test_separators_that_end_no_statement(text: str) -> None:
    one(text)


@pytest.mark.parametrize("text", ["", "\n\n", "  # only a comment", ";;\n", "\ufeff", "\r\n"])
def test_nothing_parses_to_an_empty_file(text: str) -> None:
    parsed = parse(source(text))
    assert (parsed.file.statements, parsed.diagnostics) == ((), ())


def test_spans_of_the_parts_of_a_statement() -> None:
    statement = one("  llm[2]: x.Engine on (rack) { tp = (1 + 2) * 3 }".replace("(rack)", "rack"))
    assert isinstance(statement, ast.InstanceDecl)
    assert statement.block is not None
    (assign,) = statement.block.statements
    assert isinstance(assign, ast.Assign)
    assert isinstance(assign.value, ast.Binary)
    spans = [statement.target, statement.type, statement.block, assign, assign.value.left]
    texts = [node.span.text for node in spans]
    block_text = "{ tp = (1 + 2) * 3 }"
    assert texts == ["llm[2]", "x.Engine", block_text, "tp = (1 + 2) * 3", "(1 + 2)"]


def test_a_definition_knows_where_kind_and_name_stand() -> None:
    statement = one("chip H200 extends H100 { }")
    assert isinstance(statement, ast.Definition)
    assert (statement.kind_span.text, statement.name_span.text) == ("chip", "H200")


@pytest.mark.parametrize("path", programs())
def test_golden_program_parses(path) -> None:
    parsed = parse(Source(path.name, path.read_text(encoding="utf-8")))
    assert parsed.diagnostics == ()
    assert parsed.file.statements


# --- budgets: a tree is at most 200 nodes deep, whatever was written -----------------------


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 20_000 + "1" + ")" * 20_000,
        "x = " + "[" * 20_000,
        "a { " * 20_000,
        "x = " + "f(" * 201 + ")" * 201,
        "x = " + "not " * 5_000 + "a",
        "x = " + "- " * 5_000 + "1",
        "x = " + "2 ** " * 5_000 + "2",
        "x = " + "a + " * 5_000 + "a",
        "x = a" + ".b" * 5_000,
        "x = a" + "[0]" * 5_000,
        "x = " + "a if b else " * 5_000 + "a",
        "if a { } else " * 5_000 + "{ }",
        "x = " + "-" * 201 + "a",
    ],
    ids=lambda text: text[:14],
)
def test_too_deep_is_one_diagnostic(text: str) -> None:
    (found,) = parse(source(text)).diagnostics
    assert found.code == "HMS105"
    assert "200" in found.message


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 200 + "1" + ")" * 200,
        "x = " + "-" * 199 + "a",  # 199 signs and the assignment
        "x = [" + "a, " * 10_000 + "a]",
        "x = " + "a < " * 1_000 + "a",  # one comparison, however long
        "input -> " + "a -> " * 1_000 + "output",
    ],
    ids=lambda text: text[:14],
)
def test_wide_is_not_deep(text: str) -> None:
    assert not parse(source(text)).diagnostics


def test_a_deep_statement_is_left_out_and_others_are_kept() -> None:
    parsed = parse(source("a = 1\nb = " + "-" * 300 + "1\nc = 2"))
    assert [s.span.text for s in parsed.file.statements] == ["a = 1", "c = 2"]


def test_source_above_the_limit() -> None:
    parsed = parse(source("#" * (LARGEST_SOURCE + 1)))
    assert [d.code for d in parsed.diagnostics] == ["HMS105"]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='ab1 .,:;=<>-*/%()[]{}"#\n\té→\0', max_size=60))
def test_no_text_raises(text: str) -> None:
    parsed = parse(source(text))
    for diagnostic in parsed.diagnostics:
        assert diagnostic.span is not None
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)

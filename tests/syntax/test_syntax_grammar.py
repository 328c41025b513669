"""The grammar itself, and the tokens that are easy to get wrong."""

from __future__ import annotations

import re

import pytest
from lark import Lark
from syntax_cases import shape, source

from hermesdsl.resources import grammar_text
from hermesdsl.syntax import ast
from hermesdsl.syntax.failure import KEYWORDS
from hermesdsl.syntax.parse import parse

RESERVED = [
    "import",
    "from",
    "as",
    "param",
    "let",
    "extends",
    "on",
    "connect",
    "via",
    "branch",
    "for",
    "in",
    "if",
    "else",
    "assert",
    "require",
    "sweep",
    "and",
    "or",
    "not",
    "true",
    "false",
]


@pytest.fixture(scope="module")
def strict() -> Lark:
    """Raises on any conflict of rules and on any two patterns that match one text."""
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="basic",
        start=["file", "arms"],
        strict=True,
        maybe_placeholders=True,
    )


def test_grammar_has_no_conflicts_and_no_colliding_tokens(strict: Lark) -> None:
    assert strict.parse("tp = 4", start="file")


def test_reserved_words_are_these_and_no_more(strict: Lark) -> None:
    words = {t.name: t.pattern.value for t in strict.terminals if t.pattern.value.isalpha()}
    assert sorted(words.values()) == sorted(RESERVED)
    assert words.keys() == KEYWORDS


def test_quantities_leave_out_every_reserved_word() -> None:
    listed = re.search(r"NO_KEYWORD: /\(\?!\((.*?)\)", grammar_text())
    assert listed is not None
    assert sorted(listed[1].split("|")) == sorted(RESERVED)


@pytest.mark.parametrize(
    "word",
    [
        "while",
        "class",
        "case",
        "input",
        "output",
        "pass",
        "first",
        "each",
        "all",
        "model",
        "chip",
        "node",
        "refused",
    ],
)
def test_other_words_are_names(word: str) -> None:
    assert not parse(source(f"{word} = {word}.{word}({word} = 1)")).diagnostics


def value(text: str) -> ast.Expr:
    """The expression behind ``x =``."""
    parsed = parse(source(f"x = {text}"))
    assert not parsed.diagnostics, parsed.diagnostics
    (statement,) = parsed.file.statements
    assert isinstance(statement, ast.Assign)
    return statement.value


@pytest.mark.parametrize(
    ("text", "number"),
    [("80", 80), ("28_672", 28672), ("70.6e9", 70.6e9), ("1e9", 1e9), ("1e-9", 1e-9),
     ("0.5", 0.5), ("007", 7), ("2E+3", 2000.0), (str(2**63), 2**63)],
)  # fmt: skip
def test_numbers(text: str, number: float) -> None:
    node = value(text)
    assert isinstance(node, ast.Number)
    assert (node.value, type(node.value)) == (number, type(number))


@pytest.mark.parametrize(
    ("text", "number", "unit", "unit_text"),
    [
        ("25 GB/s", 25, "GB/s", "GB/s"),
        ("25GB/s", 25, "GB/s", "GB/s"),
        ("16_384 tok", 16384, "tok", "tok"),
        ("1e-9 s", 1e-9, "s", "s"),
        ("70%", 70, "%", "%"),
        ("99.9%", 99.9, "%", "%"),
        ("$2.50/hr", 2.5, "$/hr", "/hr"),
        ("$30_000", 30000, "$", "$"),
        ("5 µs", 5, "µs", "µs"),
        ("5 us", 5, "us", "us"),
        ("2 session/s", 2, "session/s", "session/s"),
        ("5 input", 5, "input", "input"),  # a word that only begins with `in`
        ("60 GB/n", 60, "GB/n", "GB/n"),  # the evaluator tells units from names
        ("4 E", 4, "E", "E"),
    ],
)
def test_quantities(text: str, number: float, unit: str, unit_text: str) -> None:
    node = value(text)
    assert isinstance(node, ast.QuantityLiteral)
    assert (node.value, node.unit, node.unit_span.text) == (number, unit, unit_text)
    assert node.span.text == text


@pytest.mark.parametrize("text", ["60 GB/decode_tp", "60 GB/n2", "60 GB/s.n", "60 GB/f(2)"])
def test_a_slash_before_what_is_no_unit_divides(text: str) -> None:
    node = value(text)
    assert isinstance(node, ast.Binary)
    assert node.op == "/"
    assert isinstance(node.left, ast.QuantityLiteral)
    assert node.left.unit == "GB"


@pytest.mark.parametrize("text", ["2 if a else 3", "2 in [1, 2]", "2 and a", "10 % 3", "8 //2"])
def test_reserved_words_and_operators_end_a_number(text: str) -> None:
    assert not isinstance(value(text), ast.QuantityLiteral)


def test_a_number_before_via_and_on_is_no_quantity() -> None:
    text = "connect a[0] <-> b[1] via L * 4 { x = 1 }\nx: T on a[2 * 3]"
    assert not parse(source(text)).diagnostics


def test_strings() -> None:
    node = value(r'"a \"b\" \\ \n\t# µ"')
    assert shape(node) == ("Text", 'a "b" \\ \n\t# µ')


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark(end: str) -> None:
    parsed = parse(source(f"\ufeffa = 1{end}{end}b = [{end}2,{end}]  # c{end}"))
    assert not parsed.diagnostics
    assert [s.span.text[0] for s in parsed.file.statements] == ["a", "b"]
    assert [c.text for c in parsed.file.comments] == ["# c"]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("-a ** -b ** c", "(-(a ** (-(b ** c))))"),
        ("not a == b and c or d", "(((not(a == b)) and c) or d)"),
        ("a if b else c if d else e", "(a if b else (c if d else e))"),
        ("a < b <= c", "(a < b <= c)"),
        ("not a in b", "(not(a in b))"),
        ("(a + b) % c", "((a + b) % c)"),
        ("a.b[0].c(d)", "a.b[0].c(d)"),
    ],
)
def test_precedence_is_that_of_python(text: str, tree: str) -> None:
    assert grouped(value(text)) == tree


def grouped(node: ast.Expr) -> str:
    """An expression with every operation in parentheses."""
    match node:
        case ast.Binary(op, left, right):
            return f"({grouped(left)} {op} {grouped(right)})"
        case ast.Unary(op, operand):
            return f"({op}{grouped(operand)})"
        case ast.Comparison(operands, (*ops,)):
            rest = "".join(f" {o} {grouped(x)}" for o, x in zip(ops, operands[1:], strict=True))
            return f"({grouped(operands[0])}{rest})"
        case ast.Conditional(condition, then, other):
            return f"({grouped(then)} if {grouped(condition)} else {grouped(other)})"
        case _:
            return node.span.text


# --- lists of numbers ---------------------------------------------------------------------------

MANY = [str(n) for n in range(1, 15)] + ["1_000", "2.5", "7e-3"]


@pytest.mark.parametrize("form", ["[{}]", "[ {} , ]", "[\n    {},\n]"])
def test_a_list_of_many_numbers_is_what_its_items_are(form: str) -> None:
    text = form.format(", ".join(MANY))
    commented = text.replace("3,", "3, # three\n", 1)
    (known,) = parse(source(f"x = {text}\n")).file.statements
    (plain,) = parse(source(f"x = {commented}\n")).file.statements
    assert isinstance(known.value, ast.ListExpr)
    assert [item.value for item in known.value.items] == [*range(1, 15), 1000, 2.5, 0.007]
    assert [item.value for item in plain.value.items] == [item.value for item in known.value.items]
    spans = [item.span for item in known.value.items]
    assert [span.source.text[span.start : span.end] for span in spans] == MANY
    whole = known.value.span
    assert whole.source.text[whole.start : whole.end] == text


def test_a_list_of_many_is_not_one_of_numbers_alone() -> None:
    (named,) = parse(source(f"x = [{', '.join(MANY)}, n]\n")).file.statements
    (units,) = parse(source(f"x = [{', '.join(MANY)} GB]\n")).file.statements
    assert isinstance(named.value.items[-1], ast.Name)
    assert isinstance(units.value.items[-1], ast.QuantityLiteral)


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        (f"[{', '.join(MANY)}, 1e999]", "HMS103", "1e999"),
        (f"[{', '.join(MANY)},, 2]", "HMS101", ","),
        (f"[{', '.join(MANY)} 2]", "HMS101", "2"),
    ],
)
def test_what_is_wrong_in_a_list_of_many_is_pointed_at(text: str, code: str, at: str) -> None:
    (found,) = parse(source(f"x = {text}\n")).diagnostics
    assert found.code == code
    assert found.span is not None
    assert found.span.source.text[found.span.start : found.span.end] == at
    assert found.span.start > len(text) - 10

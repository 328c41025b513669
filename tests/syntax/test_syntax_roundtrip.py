"""Any tree prints to a text that parses to the same tree."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from syntax_cases import shape, source

from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.format import format_file
from hermesdsl.syntax.parse import parse

NOWHERE = Span(Source("", ""), 0, 0)

names = st.sampled_from(["a", "b", "node", "x_1", "while", "E5", "input", "inner"])
plain_names = names.map(lambda name: ast.Name(name, NOWHERE))
numbers = st.one_of(
    st.integers(0, 2**63), st.floats(0, 1e300, allow_nan=False, allow_infinity=False)
)
units = st.sampled_from(["%", "GB", "GB/s", "tok", "µs", "session/s", "$", "$/hr"])
texts = st.text(alphabet='ab "\\\n\t#{}µ;', max_size=8)

atoms = st.one_of(
    plain_names,
    st.builds(ast.Number, numbers, st.just(NOWHERE)),
    st.builds(ast.QuantityLiteral, numbers, units, st.just(NOWHERE), st.just(NOWHERE)),
    st.builds(ast.Text, texts, st.just(NOWHERE)),
    st.builds(ast.Boolean, st.booleans(), st.just(NOWHERE)),
)


def rows(of: st.SearchStrategy, least: int = 0) -> st.SearchStrategy:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


def items(of: st.SearchStrategy) -> st.SearchStrategy:
    ends = st.none() | of
    return st.one_of(
        of, st.just(ast.All(NOWHERE)), st.builds(ast.Slice, ends, ends, st.just(NOWHERE))
    )


def operations(inner: st.SearchStrategy) -> st.SearchStrategy:
    at = st.just(NOWHERE)
    operators = ["+", "-", "*", "/", "//", "%", "**", "and", "or"]
    comparisons = ["==", "!=", "<", "<=", ">", ">=", "in"]

    def compared(operands: tuple, ops: list[str]) -> ast.Comparison:
        return ast.Comparison(operands, tuple(ops[: len(operands) - 1]), NOWHERE)

    return st.one_of(
        st.builds(ast.Attribute, inner, names, at, at),
        st.builds(ast.Index, inner, items(inner), at),
        st.builds(ast.Call, inner, rows(st.builds(ast.Argument, st.none() | names, inner, at)), at),
        st.builds(ast.ListExpr, rows(inner), at),
        st.builds(ast.TupleExpr, rows(inner, 1), at),
        st.builds(ast.Unary, st.sampled_from(["-", "+", "not"]), inner, at),
        st.builds(ast.Binary, st.sampled_from(operators), inner, inner, at),
        st.builds(
            compared,
            rows(inner, 2),
            st.lists(st.sampled_from(comparisons), min_size=2, max_size=2),
        ),
        st.builds(ast.Conditional, inner, inner, inner, at),
    )


expressions = st.recursive(atoms, operations, max_leaves=12)

types = st.one_of(
    plain_names, st.builds(ast.Attribute, plain_names, names, st.just(NOWHERE), st.just(NOWHERE))
)


def _paths(inner: st.SearchStrategy) -> st.SearchStrategy:
    at = st.just(NOWHERE)
    return st.one_of(
        st.builds(ast.Attribute, inner, names, at, at),
        st.builds(ast.Index, inner, items(expressions), at),
    )


paths = st.recursive(plain_names, _paths, max_leaves=4)
selections = st.one_of(paths, st.builds(ast.ListExpr, rows(paths, 1), st.just(NOWHERE)))
messages = st.none() | texts


def statements(block: st.SearchStrategy) -> st.SearchStrategy:
    """One statement; `block` makes the blocks inside."""
    at = st.just(NOWHERE)
    maybe = st.none() | expressions
    arm = st.builds(ast.Arm, maybe, rows(selections, 1), at)
    imported = st.builds(ast.ImportedName, names, st.none() | names, at)
    pattern = st.builds(
        ast.Call, paths, rows(st.builds(ast.Argument, st.none(), expressions, at)), at
    )
    return st.one_of(
        st.builds(ast.Import, names, st.none() | names, st.just(()), at, at),
        st.builds(ast.Import, names, st.none(), rows(imported, 1), at, at),
        st.builds(ast.Param, names, st.none() | types, maybe, maybe, at, at),
        st.builds(ast.Let, names, expressions, at, at),
        st.builds(ast.Assign, paths, expressions, at),
        st.builds(ast.Definition, names, names, st.none() | types, block, at, at, at),
        st.builds(ast.Reopen, paths, block, at),
        st.builds(
            ast.InstanceDecl, paths, types, st.none() | selections, st.none() | block, at
        ),
        st.builds(
            ast.Connect, selections | pattern, st.sampled_from(["->", "<->"]), selections | pattern,
            types, maybe, st.none() | block, at,
        ),
        st.builds(
            ast.Connect, pattern, st.none(), st.none(), st.none(), st.none(), st.none() | block, at
        ),
        st.builds(ast.Flow, rows(selections, 2), at),
        st.builds(ast.Branch, paths, rows(arm), at),
        st.builds(ast.For, rows(names, 1), expressions, block, at),
        st.builds(ast.If, expressions, block, st.none() | block, at),
        st.builds(ast.Assert, expressions, messages, at),
        st.builds(ast.Require, expressions, messages, at),
        st.builds(ast.Sweep, rows(paths, 1), st.just(True), maybe, at),
        st.builds(ast.Sweep, st.tuples(paths), st.just(False), maybe, at),
    )  # fmt: skip


def _no_imports(statement: ast.Statement) -> bool:
    return not isinstance(statement, ast.Import)


empty = st.builds(ast.Block, st.just(()), st.just(NOWHERE))
blocks = st.recursive(
    empty,
    lambda inner: st.builds(
        ast.Block, rows(statements(inner).filter(_no_imports)), st.just(NOWHERE)
    ),
    max_leaves=3,
)
files = rows(statements(blocks)).map(lambda found: ast.File(found, (), {}, NOWHERE))

slow = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(expressions)
def test_expression(expression: ast.Expr) -> None:
    statement = ast.Assign(ast.Name("x", NOWHERE), expression, NOWHERE)
    assert_round_trip(ast.File((statement,), (), {}, NOWHERE))


@slow
@given(files)
def test_file(file: ast.File) -> None:
    assert_round_trip(file)


def assert_round_trip(file: ast.File) -> None:
    text = format_file(file)
    parsed = parse(source(text))
    assert parsed.diagnostics == (), text
    assert shape(parsed.file.statements) == shape(file.statements), text
    assert format_file(parsed.file) == text

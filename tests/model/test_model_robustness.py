"""Hostile and absurd specifications: a diagnostic each, soon, and never a traceback."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from model_specs import PARTS

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.diagnostics.render import render_text


def found(spec: str | Path) -> list[str]:
    """Codes of the errors; every diagnostic must be one that can be shown."""
    limit = sys.getrecursionlimit()
    errors: list[str] = []
    try:
        hermesdsl.compile(f"{spec}\n" if isinstance(spec, str) else spec)
    except SpecError as failure:
        errors = [d.code for d in failure.diagnostics if d.is_error]
        shown = render_text(failure.diagnostics)
        errors += ["nothing to show"] * (not shown)
    assert sys.getrecursionlimit() == limit
    assert gc.isenabled()
    return errors


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"", []), (b"\n\n", []), (b"\xef\xbb\xbf", []), (b"# only a comment", []),
        (b"let a = 1\r\nlet b = a\r\n", []), (b"\x00\x01\x02", ["HMS104"]),
        (b"\xff\xfe1\x00", ["HMS104"]), (b"let a = \x80", ["HMS104"]),
        (bytes(range(256)) * 100, ["HMS104"]), (b"let a = 1\rlet b = 2", ["HMS101"]),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, data: bytes, codes: list[str]) -> None:
    (tmp_path / "spec.hms").write_bytes(data)
    assert found(tmp_path / "spec.hms") == codes


def test_a_file_of_100_megabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "spec.hms").open("wb") as file:
        file.truncate(100_000_000)
    assert found(tmp_path / "spec.hms") == ["HMS105"]


def test_a_text_of_17_megabytes_is_not_parsed() -> None:
    assert found("# " + "x" * 17_000_000 + "\n") == ["HMS105"]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert found(tmp_path) == ["HMS104"]
    assert found(tmp_path / "none.hms") == ["HMS104"]
    assert found(Path("/dev/null")) == ["HMS104"]


# --- depth and size ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("let a = " + "(" * 20_000 + "1" + ")" * 20_000, "HMS105"),
        ("let a = " + "[" * 20_000 + "]" * 20_000, "HMS105"),
        ("let a = " + "max(1," * 5_000 + "1" + ")" * 5_000, "HMS105"),
        ("let a = " + "-" * 5_000 + "1", "HMS105"),
        ("let a = " + "not " * 5_000 + "true", "HMS105"),
        ("let a = " + " + ".join(["1"] * 3_000), "HMS105"),
        ("let a = 1" + " if true else 1" * 3_000, "HMS105"),
        ("let a = b" + ".c" * 3_000, "HMS105"),
        ("let a = b" + "[0]" * 3_000, "HMS105"),
        ("node " + "A { node " * 3_000 + "B { }" + " }" * 3_000, "HMS105"),
        ("if true { " * 3_000 + "}" * 3_000, "HMS105"),
        ("let a = " + "2 ** " * 3_000 + "2", "HMS105"),
    ],
    ids=lambda value: value[:24] if value.startswith(("let", "node", "if")) else value,
)
def test_too_deep(spec: str, code: str) -> None:
    assert found(spec)[:1] == [code]


def test_very_long_but_flat_is_fine() -> None:
    assert found("let a = [" + ", ".join(["1"] * 20_000) + "]\nassert sum(a) == 20_000") == []
    assert found("\n".join(f"let a{i} = {i}" for i in range(3_000))) == []
    assert found('let a = "' + "x" * 1_000_000 + '"') == []


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("g[10 ** 9]: G", "HMS410"),
        ("g[2 ** 62]: G", "HMS410"),
        ("g[700_000]: G", "HMS410"),
        ("node Box { g[1000]: G }\nbox[1000]: Box", "HMS410"),
        ("a[400_000]: Switch; b[400_000]: Switch\nconnect a[*] <-> b[*] via L", "HMS410"),
        ("a[5000]: Switch\nconnect all_to_all(a[*]) via L", "HMS410"),
        ("for i in range(10 ** 9) { }", "HMS307"),
        ("let a = range(10 ** 18)", "HMS307"),
        ("let a = 2 ** 64 ** 64", "HMS307"),
        ("let a = (10 ** 18) ** 64", "HMS307"),
        ("let a = 9e307 * 10", "HMS304"),
        ("let a = 2 ** 64.0 ** 64.0 ** 64.0", "HMS307"),
        ("param n = 10 ** 7\nlet a = range(n)", "HMS307"),
        ("connect a -> b via L * (10 ** 30)", "HMS307"),
    ],
)
def test_too_much(spec: str, code: str) -> None:
    assert code in found(PARTS + spec)


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ("chip A extends A { }", ["HMS208"]),
        ("chip A extends B { }\nchip B extends A { }\na: A\nb: B", ["HMS208"]),
        ("node A { b: B }\nnode B { a: A }\na: A", ["HMS410"]),
        ("node A { b[3]: B }\nnode B { a[3]: A }", ["HMS410"]),
        ("cluster A { cluster B { c: A }; b: B }\na: A", ["HMS410"]),
        ("cluster T { param d = 1; t: T { d = d + 1 } }\nt: T", ["HMS410"]),
        ("cluster T { param d = 70; if d > 0 { t: T { d = d - 1 } } }\nt: T", ["HMS410"]),
        ("param a = b\nparam b = a", ["HMS207"]),
        ("let a = a + 1", ["HMS201"]),
        ("let a = b\nlet b = a", ["HMS208"]),
        ("node N { param n = len(g); g[n]: G }\nn: N", ["HMS208"]),
        ("node N { g[2]: G { power = g[0].power } }\nn: N", ["HMS208"]),
        ("g[2]: G\ng[0].power = g[1].power\ng[1].power = g[0].power", ["HMS208"]),
        ("chip Own extends G { power = idle_power; idle_power = power }\no: Own", ["HMS208"]),
        ("pipeline P { a: P; input -> a -> output }\np: P", ["HMS410"]),
        ("param t: t = 3", ["HMS201"]),
        ("class A { ttft = B.ttft }\nclass B { ttft = A.ttft }", ["HMS208"]),
        ("pool p { members = [p] }", ["HMS303"]),
        ("cache c { t: KvTier on c.t; t -> recompute }", ["HMS405"]),
    ],
)
def test_definitions_that_lean_on_themselves(spec: str, codes: list[str]) -> None:
    assert found(PARTS + spec)[:1] == codes


def test_an_endless_chain_of_definitions() -> None:
    def chain(length: int) -> str:
        return "chip C0 { power = 1 W }\n" + "\n".join(
            f"chip C{i} extends C{i - 1} {{ }}" for i in range(1, length + 1)
        )

    assert found(chain(90) + "\nc: C90\nassert c.power == 1 W") == []
    assert set(found(chain(2_000))) == {"HMS105"}


def test_names_as_long_as_one_likes() -> None:
    name = "n" * 100_000
    assert found(f"let {name} = 1\nassert {name} == 1") == []
    assert found(f"let a = {name}") == ["HMS201"]
    assert found(f"chip G {{ {name} = 1 }}") == ["HMS206"]


def test_control_characters_and_other_scripts() -> None:
    assert found("let a = \x1b[31m1")[:1] == ["HMS101"]
    assert found("let ä = 1")[:1] == ["HMS101"]
    assert found('let a = "\u202e ä 漢字"\n# 漢字 \u202e\nlet b = a') == []


def test_a_deep_caller_changes_nothing() -> None:
    spec = "\n".join([*(f"let a{i} = a{i + 1} + 1" for i in range(800)), "let a800 = 0"])

    def below(depth: int) -> list[str]:
        return found(spec + "\nassert a0 == 800") if depth == 0 else below(depth - 1)

    assert below(300) == []


def test_more_errors_than_anyone_reads() -> None:
    assert found("\n".join(f"let a{i} = missing{i}" for i in range(900))) == ["HMS201"] * 900
    many = found("\n".join(f"let a{i} = missing{i}" for i in range(3_000)))
    assert (len(many), many[-1]) == (1_001, "HMS105")

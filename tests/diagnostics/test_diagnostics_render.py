"""The three renderings: text for people, dictionaries for JSON, commands for GitHub."""

from __future__ import annotations

import json

import pytest

from hermesdsl.diagnostics import Diagnostic, Fix, Label, Severity, error, warning
from hermesdsl.diagnostics.render import WIDTH, render_github, render_json, render_text, summary
from hermesdsl.source import Source, Span

# The two examples of the language's page on diagnostics, at their printed lines.
SERVING = Source(
    "serving.hms",
    "\n" * 42
    + "assert decode_n * decode_tp == 16\n"
    + "assert Llama3_70B.weights / decode_tp <= 60 GB/s\n",
)


def span(source: Source, text: str, after: str = "") -> Span:
    """The range of a text that occurs behind another."""
    start = source.text.index(text, source.text.index(after))
    return Span(source, start, start + len(text))


def shown(diagnostic: Diagnostic) -> str:
    """The text of one diagnostic without the line that counts."""
    return render_text([diagnostic]).rpartition("\n1 ")[0]


def test_two_ranges_on_one_line() -> None:
    found = error(
        "HMS301",
        "cannot compare a size with a bandwidth",
        span(SERVING, "60 GB/s"),
        label="bandwidth, byte/s",
        labels=[Label(span(SERVING, "Llama3_70B.weights / decode_tp"), "size, byte (17.65 GB)")],
        notes=["help: did you mean `60 GB`?"],
    )
    assert (
        shown(found)
        == """\
error[HMS301]: cannot compare a size with a bandwidth
  --> serving.hms:44:42
44 | assert Llama3_70B.weights / decode_tp <= 60 GB/s
   |        ------------------------------    ^^^^^^^ bandwidth, byte/s
   |        size, byte (17.65 GB)
   = help: did you mean `60 GB`?"""
    )


def test_values_of_operands_share_a_row() -> None:
    found = error(
        "HMS401",
        "assertion failed: decode engines must fill two nodes",
        span(SERVING, "=="),
        label="32 == 16 is false",
        labels=[
            Label(span(SERVING, "decode_n"), "4"),
            Label(span(SERVING, "decode_tp"), "8"),
        ],
        notes=["decode_n = 4 from --set; default is 2 at serving.hms:13"],
    )
    assert (
        shown(found)
        == """\
error[HMS401]: assertion failed: decode engines must fill two nodes
  --> serving.hms:43:29
43 | assert decode_n * decode_tp == 16
   |        --------   --------- ^^ 32 == 16 is false
   |        4          8
   = decode_n = 4 from --set; default is 2 at serving.hms:13"""
    )


def test_texts_that_would_touch_get_rows_of_their_own() -> None:
    source = Source("t.hms", "a = bb * cc\n")
    found = error(
        "HMS301",
        "no",
        span(source, "bb * cc"),
        labels=[Label(span(source, "bb"), "a long text"), Label(span(source, "cc"), "other")],
    )
    assert (
        shown(found)
        == """\
error[HMS301]: no
 --> t.hms:1:5
1 | a = bb * cc
  |     ^^^^^^^
  |          other
  |     a long text"""
    )


def test_ranges_on_other_lines_and_in_other_files() -> None:
    here = Source("a.hms", "x = 1\n\n\nx = 2\ny = x\n")
    there = Source("lib/b.hms", "n = 3\n")
    found = error(
        "HMS209",
        "set twice",
        Span(here, 8, 9),
        labels=[
            Label(Span(here, 0, 1), "first here"),
            Label(Span(there, 0, 1), "and there"),
            Label(Span(here, 18, 19), "used"),
        ],
    )
    assert (
        shown(found)
        == """\
error[HMS209]: set twice
 --> a.hms:4:1
1 | x = 1
  | - first here
...
4 | x = 2
  | ^
5 | y = x
  |     - used
 --> lib/b.hms:1:1
1 | n = 3
  | - and there"""
    )


def test_without_a_place() -> None:
    found = Diagnostic("HMS606", Severity.NOTE, "default experiment used", notes=("one\ntwo",))
    assert shown(found) == "note[HMS606]: default experiment used\n = one\n   two"


def test_an_empty_range_at_the_end_of_a_file() -> None:
    source = Source("t.hms", "x =")
    assert shown(error("HMS101", "no", Span(source, 3, 3))).endswith("1 | x =\n  |    ^")


def test_a_range_over_several_lines_ends_with_its_first() -> None:
    source = Source("t.hms", "x = [1,\n     2]\n")
    assert shown(error("HMS303", "no", Span(source, 4, 14))).endswith("1 | x = [1,\n  |     ^^^")


def test_tabs_become_blanks() -> None:
    source = Source("t.hms", "\tx =\ty\n")
    assert shown(error("HMS201", "no", span(source, "y"))).endswith("1 |     x = y\n  |         ^")


def test_wide_characters_take_two_columns() -> None:
    source = Source("t.hms", 'x = "容量" + y\n')
    assert shown(error("HMS201", "no", span(source, "y"))).endswith("  |" + " " * 14 + "^")


def test_control_characters_never_reach_the_terminal() -> None:
    source = Source("t.hms", 'x = "\x1b[31m"\n')
    text = shown(error("HMS101", "\x1b[31m", span(source, "x"), notes=["\x07"]))
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("at", [0, 50, 500, 990])
def test_long_lines_are_cut_around_the_range(at: int) -> None:
    source = Source("t.hms", "".join(f"{n:04d}+" for n in range(200)) + "\n")
    found = error("HMS201", "no", Span(source, at, at + 4), label="here")
    *_, line, marks = shown(found).split("\n")
    assert len(line) <= WIDTH + len("1 | ") + 2
    caret = marks.index("^")
    assert line[caret : caret + 4] == source.text[at : at + 4]


def test_a_line_of_megabytes_is_rendered() -> None:
    source = Source("t.hms", "x = " + "1 + " * 1_000_000 + "y\n")
    assert len(shown(error("HMS201", "no", span(source, "y")))) < 400


def test_summary() -> None:
    many = [error("HMS101", "a"), warning("HMS211", "b"), error("HMS101", "c")]
    assert summary(many) == "2 errors, 1 warning"
    assert render_text(many).endswith("error[HMS101]: c\n2 errors, 1 warning\n")
    assert render_text([]) == ""


def test_colours_change_no_text() -> None:
    found = [error("HMS301", "no", span(SERVING, "60 GB/s"), label="here", notes=["help: x"])]
    coloured = render_text(found, color=True)
    assert "\x1b[1;31m" in coloured
    plain = coloured
    for code in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert plain == render_text(found)


def test_json() -> None:
    source = Source("t.hms", "a = 1\nx = 10%3\n")
    at = span(source, "10%3")
    found = error("HMS103", "no", at, label="here", notes=["help"], fix=Fix(at, "10 % 3"))
    place = {"file": "t.hms", "line": 2, "column": 5, "end_line": 2, "end_column": 9}
    (rendered,) = render_json([found])
    assert rendered == {
        "code": "HMS103",
        "severity": "error",
        "message": "no",
        **place,
        "labels": [{"text": "here", **place}],
        "notes": ["help"],
        "fix": {"replacement": "10 % 3", **place},
    }
    assert json.loads(json.dumps(rendered)) == rendered


def test_json_without_a_place() -> None:
    (rendered,) = render_json([warning("HMS606", "no")])
    assert (rendered["file"], rendered["line"], rendered["fix"]) == (None, None, None)


def test_github() -> None:
    source = Source("a,b:c.hms", "x = y\n")
    found = [
        error("HMS201", "100% unknown: `y`", Span(source, 4, 5), notes=["help: x, or z"]),
        warning("HMS211", "unused"),
        Diagnostic("HMS606", Severity.NOTE, "default"),
    ]
    assert render_github(found) == (
        "::error file=a%2Cb%3Ac.hms,line=1,col=5,endLine=1,endColumn=6,title=HMS201"
        "::100%25 unknown: `y`%0Ahelp: x, or z\n"
        "::warning title=HMS211::unused\n"
        "::notice title=HMS606::default\n"
    )

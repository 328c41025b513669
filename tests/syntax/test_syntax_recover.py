"""Several errors in one text: all are found, and none follows from another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syntax_cases import source

from hermesdsl.syntax.parse import parse
from hermesdsl.syntax.recover import MOST_ERRORS

SOUND = """\
# A small system.
from std.nvidia.hopper import H100, NVLink4

chip Fast extends H100 {
    peak.fp8 = 2 TFLOPS
    hbm { capacity = 141 GiB }
}
node Box {
    param n = 2
    gpu[n]: Fast
    sw: Switch
    for i in range(n) {
        connect gpu[i] <-> sw via NVLink4 * 18
    }
}
box: Box { n = 4 }
llm: LlmEngine on box.gpu[*] {
    tp = 4
}
pipeline P {
    a: Prefill on llm
    b: Decode on llm
    input -> a
    branch a {
        turn > 1 -> b
        70% -> b
        else -> b
    }
    b -> output
}
assert box.n == 4, "four of them"
"""

PLANTED = [
    ("import H100, NVLink4", "import H100 NVLink4", "NVLink4"),
    ("peak.fp8 = 2 TFLOPS", "peak.fp8 == 2 TFLOPS", "=="),
    ("via NVLink4 * 18", "via NVLink4 18", "18"),
    ("box: Box { n = 4 }", "box: Box { n = }", "}"),
    ("tp = 4", "tp: 4", ":"),
    ("70% -> b", "70% => b", "=>"),
    ('4, "four of them"', '4 "four of them"', '"four of them"'),
    ("    b -> output", "    b -> ", ""),
    ("gpu[n]: Fast", "gpu[n: Fast", "["),
]


def errors(text: str) -> list[str]:
    return [d.span.text for d in parse(source(text)).diagnostics if d.span is not None]


def test_the_sound_text_is_sound() -> None:
    assert errors(SOUND) == []


@pytest.mark.parametrize(("right", "wrong", "marked"), PLANTED)
def test_one_planted_error_is_the_only_one(right: str, wrong: str, marked: str) -> None:
    assert SOUND.count(right) == 1
    assert errors(SOUND.replace(right, wrong)) == [marked]


@settings(deadline=None, max_examples=60)
@given(st.sets(st.sampled_from(range(len(PLANTED))), min_size=1))
def test_all_planted_errors_are_found_and_no_others(chosen: set[int]) -> None:
    text = SOUND
    for index in chosen:
        text = text.replace(PLANTED[index][0], PLANTED[index][1])
    assert sorted(errors(text)) == sorted(PLANTED[index][2] for index in chosen)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a = 1\nb = = 2\nc = 3\n", ["a = 1", "c = 3"]),
        ("a = f(1\nb = 2\nc = 3\n", ["b = 2", "c = 3"]),
        ("chip A {\n  x = 1\n\nb = 2\n", ["b = 2"]),
        ('a = "open\nb = 2\n', ["b = 2"]),
    ],
)
def test_sound_statements_around_an_error_are_in_the_tree(text: str, kept: list[str]) -> None:
    parsed = parse(source(text))
    assert [s.span.text for s in parsed.file.statements] == kept
    assert len(parsed.diagnostics) == 1


def test_diagnostics_come_in_the_order_of_the_text() -> None:
    huge = "a = 9" + "9" * 30
    starts = [d.span.start for d in parse(source(f"{huge}\nb = = 1\n{huge}\n")).diagnostics]
    assert starts == sorted(starts)
    assert len(starts) == 3


def test_unindented_blocks_are_no_errors_of_their_own() -> None:
    assert errors("chip A {\npower = 1 W\ncost == 2\n}\nb = 1\n") == ["=="]


def test_blocks_indented_with_tabs() -> None:
    assert errors("chip A {\n\tpower: 1 W\n\tcost == 2\n}\nb = 1\n") == [":", "=="]


def test_the_search_ends() -> None:
    found = parse(source("a = = 1\n" * 500)).diagnostics
    assert len(found) == MOST_ERRORS
    assert found[-1].notes == (f"stopped after {MOST_ERRORS} errors",)

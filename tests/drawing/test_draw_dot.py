"""DOT text: golden pictures, and text that Graphviz would read as its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawn_systems import rack, rag_chat, serving, system

from hermesdsl.drawing import draw
from hermesdsl.drawing.dot import Flush, attributes, clean, quote, to_dot
from hermesdsl.drawing.scene import Box, Node, Scene, Wire

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("hardware_rack", "hardware"),
        ("pipeline_rag_chat", "pipeline"),
        ("placement_serving", "placement"),
    ],
)
def test_golden_pictures(name, view):
    """Rewritten when the environment variable UPDATE_GOLDEN is set."""
    hw = rack() if view == "hardware" else None
    made = draw(system(hw) if hw else system(*serving(), rag_chat()), view).dot
    path = GOLDEN / f"{name}.dot"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(made, encoding="utf-8", newline="\n")
    assert made == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('say "80 GB"', r'"say \"80 GB\""'),
        ("back\\slash \\N \\l", r'"back\\slash \\N \\l"'),
        ("two\nlines", r'"two\nlines"'),
        ("carriage\r\nreturn", r'"carriage\nreturn"'),
        ("a < b & c > d", '"a < b &amp; c > d"'),
        ("&lt; stays", '"&amp;lt; stays"'),
        ("{a|b}", '"{a|b}"'),
        ("<b>no HTML</b>", '"<b>no HTML</b>"'),
        ("µ × – ∞ 漢字", '"µ × – ∞ 漢字"'),
        ("", '""'),
    ],
)
def test_text_is_quoted(text, quoted):
    assert quote(text) == quoted


def test_characters_no_file_format_can_hold_are_replaced():
    assert clean("a\x00b\x1bc\ud800d\uffffe") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert clean("tab\tand\nline") == "tab\tand\nline"


def test_titles_of_several_lines_are_flush_left():
    assert quote(Flush("one")) == '"one"'
    assert quote(Flush("one\ntwo")) == r'"one\ltwo\l"'


def test_attributes_leave_out_empty_text():
    found = attributes(label="x", tooltip="", penwidth=1.5, fixedsize=True)
    assert found == '[label="x", penwidth=1.5, fixedsize=true]'


def test_no_label_is_html_like():
    scene = Scene("hardware", "<b>t</b>", (Node("n", ("<i>x</i>",), "chip"),))
    assert "=<" not in to_dot(scene)


def test_the_text_of_a_wire_lies_in_the_box_around_both_ends():
    a, b = Node("a", ("a",), "chip"), Node("b", ("b",), "switch")
    inner = Box("in", "in", "node", (a,))
    outer = Box("out", "out", "rack", (inner, b))
    text = to_dot(Scene("hardware", "t", (outer,), (Wire("b", "a", ("64 GB/s",)),)))
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if '"64 GB/s"' in line)
    assert lines[at].startswith('    "wire 0" [')
    assert lines[at + 1] == "  }"


def test_nothing_depends_on_the_order_of_a_set():
    first, second = (draw(system(*serving(), rag_chat()), "placement").dot for _ in range(2))
    assert first == second

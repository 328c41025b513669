"""Both renderers, and the raster picture."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from drawn_systems import NVLINK4, Hardware, cascade, pools, rack, rag_chat, serving, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.drawing import Drawing, draw, embedded, render
from hermesdsl.drawing.dot import to_dot
from hermesdsl.drawing.scene import Box, Node, Scene, Wire, graph_of

needs_dot = pytest.mark.skipif(not render.has_system(), reason="Graphviz is not installed")
SVG = "{http://www.w3.org/2000/svg}"

PICTURES = {
    "rack": lambda: draw(system(rack()), "hardware"),
    "rag": lambda: draw(system(*serving(), rag_chat()), "pipeline"),
    "serving": lambda: draw(system(*serving(), rag_chat()), "placement"),
    "pools": lambda: draw(system(*pools(), cascade()), "placement"),
}
NASTY = (
    'say "80 GB"', "back\\slash \\N \\G \\l", "a < b & c > d", "&lt; &amp; &#65;", "{a|b}",
    "<b>no HTML</b>", "]]> --> %d", "µ × – ∞ é", "\x00\x1b control", "tail\\",
)  # fmt: skip


def texts(svg: bytes) -> Counter[str]:
    return Counter(
        "".join(text.itertext()).strip() for text in ET.fromstring(svg).iter(f"{SVG}text")
    )


def titles(svg: bytes) -> Counter[str]:
    return Counter(title.text or "" for title in ET.fromstring(svg).iter(f"{SVG}title"))


def nasty() -> Drawing:
    nodes = tuple(Node(f"n{i} {t}", (t, "x"), "chip", (), t) for i, t in enumerate(NASTY))
    items = (Box("box " + NASTY[0], " ".join(NASTY), "node", nodes),)
    wires = (Wire(nodes[0].id, nodes[1].id, (NASTY[2],), tooltip=NASTY[1]),)
    scene = Scene("hardware", NASTY[0], items, wires)
    return Drawing(to_dot(scene), graph_of(scene), scene.title)


@needs_dot
@pytest.mark.parametrize("name", PICTURES)
def test_both_renderers_show_the_same_names_and_labels(name):
    drawing = PICTURES[name]()
    system_svg = drawing.render("svg", renderer="system")
    embedded_svg = drawing.render("svg", renderer="embedded")
    assert texts(system_svg) == texts(embedded_svg)
    assert titles(system_svg) == titles(embedded_svg)


@pytest.mark.parametrize("name", PICTURES)
def test_every_line_of_every_label_is_shown(name):
    drawing = PICTURES[name]()
    shown = texts(drawing.render("svg", renderer="embedded"))
    wanted = [data["label"] for _, data in drawing.graph.nodes(data=True)]
    wanted += [data["label"] for *_, data in drawing.graph.edges(data=True)]
    wanted += [box["label"] for box in drawing.graph.graph["boxes"]]
    lines = Counter(line for label in wanted for line in label.split("\n") if line)
    assert not lines - shown
    assert shown[drawing.title] == 1


@pytest.mark.parametrize("renderer", ["embedded", pytest.param("system", marks=needs_dot)])
def test_text_that_looks_like_graphviz_is_shown_as_it_is(renderer):
    shown = texts(nasty().render("svg", renderer=renderer))
    for text in (*NASTY[:8], "tail\\"):
        assert text in shown
    assert "\ufffd\ufffd control" in shown


def test_the_same_picture_gives_the_same_bytes():
    for fmt in ("svg", "png", "dot", "json", "graphml"):
        first, second = (PICTURES["serving"]().render(fmt, renderer="embedded") for _ in range(2))
        assert first == second, fmt


def test_bytes_do_not_depend_on_the_hash_seed():
    code = (
        "import sys, hashlib; sys.path[:0] = sys.argv[1:]\n"
        "from drawn_systems import *; from hermesdsl.drawing import draw\n"
        "s = system(*pools(), cascade())\n"
        "d = [draw(s, view) for view in ('hardware', 'pipeline', 'placement')]\n"
        "text = b''.join(x.render(f) for x in d for f in ('dot', 'json', 'graphml'))\n"
        "print(hashlib.sha256(text).hexdigest())\n"
    )
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", code, str(here), str(here.parents[1])]
    found = {
        subprocess.run(
            arguments,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_text_has_fonts_of_the_width_it_was_measured_with():
    svg = PICTURES["rag"]().render("svg", renderer="embedded").decode()
    families = set(re.findall(r'font-family="([^"]*)"', svg))
    assert families == {"Helvetica,Arial,Liberation Sans,DejaVu Sans,sans-serif"}


def test_png_has_two_pixels_per_point():
    drawing = PICTURES["rack"]()
    svg = drawing.render("svg", renderer="embedded").decode()
    width, height = map(int, re.search(r'width="(\d+)pt" height="(\d+)pt"', svg).groups())
    png = drawing.render("png", renderer="embedded")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (2 * width, 2 * height)


def test_png_shows_text_without_any_font_of_the_system():
    """The letter is drawn by the bundled font: another letter, other pixels."""

    def picture(letter):
        return render.png(f'digraph {{ a [label="{letter}", fontname="Arial"] }}', "embedded")

    assert len({picture("I"), picture("W"), picture(" ")}) == 3


def test_a_very_long_picture_is_scaled_down_to_fit():
    source = "digraph { rankdir=LR; " + " -> ".join(f"n{i}" for i in range(120)) + " }"
    png = render.png(source, "embedded")
    assert max(struct.unpack(">II", png[16:24])) == 12_000


@needs_dot
def test_pdf_by_the_system():
    assert PICTURES["rag"]().render("pdf").startswith(b"%PDF")


def without_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")


def test_pdf_without_graphviz_is_refused(monkeypatch):
    without_dot(monkeypatch)
    with pytest.raises(SpecError, match="HMS607: pdf needs Graphviz installed") as caught:
        PICTURES["rag"]().render("pdf")
    help_text = "help: install Graphviz, or write .svg or .png instead"
    assert caught.value.diagnostics[0].notes == (help_text,)


def test_pdf_by_the_embedded_renderer_is_refused():
    with pytest.raises(SpecError, match="HMS607: pdf needs Graphviz installed"):
        PICTURES["rag"]().render("pdf", renderer="embedded")


def test_svg_without_graphviz_uses_the_embedded_renderer(monkeypatch):
    drawing = PICTURES["rag"]()
    wanted = drawing.render("svg", renderer="embedded")
    without_dot(monkeypatch)
    assert drawing.render("svg") == wanted


def test_a_forced_system_renderer_that_is_missing_is_refused(monkeypatch):
    without_dot(monkeypatch)
    with pytest.raises(SpecError, match="HMS607: Graphviz cannot draw this: the program `dot`"):
        PICTURES["rag"]().render("svg", renderer="system")


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for dot")
def test_a_broken_graphviz_is_passed_over(monkeypatch, tmp_path):
    drawing = PICTURES["rag"]()
    wanted = drawing.render("svg", renderer="embedded")
    broken = tmp_path / "dot"
    broken.write_text("#!/bin/sh\necho 'no layout plugins' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert drawing.render("svg") == wanted
    with pytest.raises(SpecError, match="HMS607: Graphviz cannot draw this: no layout plugins"):
        drawing.render("svg", renderer="system")


def test_source_that_is_no_dot_is_refused():
    with pytest.raises(SpecError, match="HMS607: Graphviz cannot draw this: Failed to parse"):
        render.svg("digraph {", "embedded")
    with pytest.raises(embedded.EmbeddedError):
        embedded.layout("")


def test_the_embedded_renderer_works_without_a_cache_folder(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(blocked / "below"))
    assert b"<svg" in embedded.layout("digraph { a }")


def test_the_compiled_module_is_kept_in_the_cache_folder(monkeypatch, tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("the cache folder has another name here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    embedded.layout("digraph { a }")
    assert [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_line_between_shapes_of_one_kind_is_drawn_by_both():
    hw = Hardware()
    for name in "ab":
        hw.part(name, "chip", "H100")
    hw.wire("a", "b", NVLINK4, 18)
    svg = draw(system(hw), "hardware").render("svg", renderer="embedded")
    assert texts(svg)["NVLink4 · 18 × 25 GB/s"] == 1

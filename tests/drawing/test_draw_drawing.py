"""`draw` and `Drawing`: views, formats, files, and arguments that are wrong."""

from __future__ import annotations

import io
import json

import networkx as nx
import pytest
from drawn_systems import cascade, rack, rag_chat, serving, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.drawing import FORMATS, VIEWS, draw, drawing, render


@pytest.fixture(scope="module")
def compiled():
    return system(*serving(), rag_chat(), cascade())


def test_a_pipeline_may_be_named_as_a_view(compiled):
    by_name = draw(compiled, "RagChat")
    assert by_name.title == "Pipeline RagChat"
    assert by_name.dot == draw(compiled, "pipeline", name="RagChat").dot


@pytest.mark.parametrize(
    ("view", "title"),
    [
        ("hardware", "Hardware · 4 × DGX_H100 · 32 × H100"),
        ("pipeline", "Pipelines"),
        ("placement", "Placement · 11 clients"),
    ],
)
def test_titles(compiled, view, title):
    assert draw(compiled, view).title == title


def test_json_is_node_link_data_with_sorted_keys(compiled):
    text = draw(compiled, "hardware").render("json").decode()
    data = json.loads(text)
    assert text == json.dumps(data, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
    graph = nx.node_link_graph(data, edges="edges")
    assert graph.number_of_nodes() == 11
    assert graph.nodes["rack.node[0:4].gpu[0:8]"]["label"].startswith("gpu ×8")


def test_graphml_is_read_back_by_networkx(compiled):
    picture = draw(compiled, "placement")
    graph = nx.read_graphml(io.BytesIO(picture.render("graphml")), force_multigraph=True)
    assert set(graph) == set(picture.graph)
    assert graph.nodes["frontend"]["label"] == picture.graph.nodes["frontend"]["label"]
    assert json.loads(graph.graph["boxes"])[0]["id"] == "rack"


@pytest.mark.parametrize("suffix", [fmt for fmt in FORMATS if fmt != "pdf"])
def test_write_takes_the_format_from_the_suffix(compiled, tmp_path, suffix):
    path = draw(compiled, "Cascade").write(tmp_path / f"picture.{suffix}", renderer="embedded")
    assert path.read_bytes() == draw(compiled, "Cascade").render(suffix, renderer="embedded")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_write_replaces_a_file(compiled, tmp_path):
    target = tmp_path / "picture.DOT"
    target.write_text("old")
    draw(compiled, "Cascade").write(str(target))
    assert target.read_text(encoding="utf-8").startswith('digraph "pipeline" {')


def refusal(call) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(SpecError) as caught:
        call()
    (found,) = caught.value.diagnostics
    assert found.code == "HMS607"
    return found.message, found.notes


def test_an_unknown_view_is_refused_with_the_nearest(compiled):
    message, notes = refusal(lambda: draw(compiled, "hardwear"))
    assert message == "unknown view `hardwear`"
    assert notes == (
        "help: did you mean `hardware`?",
        "one of `hardware`, `pipeline`, `placement`, `RagChat`, `Cascade`",
    )


@pytest.mark.parametrize("fmt", ["gif", "", "SVG"])
def test_an_unknown_format_is_refused(compiled, fmt):
    message, notes = refusal(lambda: draw(compiled, "Cascade").render(fmt))
    assert message == f"unknown format `{fmt}`"
    assert notes[-1] == "one of `svg`, `png`, `pdf`, `dot`, `json`, `graphml`"


def test_an_unknown_renderer_is_refused(compiled):
    message, _ = refusal(lambda: draw(compiled, "Cascade").render("svg", renderer="cairo"))
    assert message == "unknown renderer `cairo`"


def test_a_failed_picture_leaves_no_file(compiled, tmp_path):
    refusal(lambda: draw(compiled, "Cascade").write(tmp_path / "picture.gif"))
    refusal(lambda: draw(compiled, "Cascade").write(tmp_path / "picture"))
    refusal(lambda: draw(compiled, "Cascade").write(tmp_path / "p.pdf", renderer="embedded"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_refused(compiled, tmp_path):
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "missing" / "p.dot", tmp_path / "file" / "p.dot"):
        message, _ = refusal(lambda target=target: draw(compiled, "Cascade").write(target))
        assert message.startswith(f"cannot write `{target}`: ")


def test_a_folder_in_the_place_of_the_file_is_refused(compiled, tmp_path):
    (tmp_path / "p.dot").mkdir()
    refusal(lambda: draw(compiled, "Cascade").write(tmp_path / "p.dot"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.dot"]


def test_a_picture_beyond_the_limit_is_refused_but_exported(compiled, monkeypatch):
    monkeypatch.setattr(drawing, "LAYOUT_LIMIT", 20)
    picture = draw(compiled, "hardware")
    message, notes = refusal(lambda: picture.render("svg"))
    assert message == "the picture has 22 nodes and wires; 20 can be laid out"
    assert notes[0].startswith("help: leave folding on")
    assert picture.render("json")


def test_every_view_of_an_empty_system_is_refused():
    for view in VIEWS:
        message, _ = refusal(lambda view=view: draw(system(), view))
        assert message.startswith("nothing to draw: ")


def test_a_rack_fits_a_screen():
    """At one pixel per point, folded, on a screen of 1920 × 1080."""
    for renderer in ("embedded", *(["system"] if render.has_system() else [])):
        svg = draw(system(rack()), "hardware").render("svg", renderer=renderer).decode()
        width, height = (
            float(part.strip('pt"')) for part in svg.split("<svg ")[1].split('"')[1:4:2]
        )
        assert width <= 1920
        assert height <= 1080

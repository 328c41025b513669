"""The pipeline view."""

from __future__ import annotations

import pytest
from drawn_systems import cascade, pipeline, rag, rag_chat, serving, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.drawing import Mark, draw
from hermesdsl.drawing.pipeline import repeat_text, replica_text
from hermesdsl.graph.types import Spec, StageNode


def rag_chat_graph(**options):
    return draw(system(*serving(), rag_chat()), "pipeline", **options).graph


def test_stages_of_nested_pipelines_lie_in_boxes():
    graph = rag_chat_graph()
    boxes = {box["id"]: box for box in graph.graph["boxes"]}
    assert boxes["RagChat.reason"]["label"] == "reason · ReasonPath · ×4, majority"
    inner = boxes["RagChat.reason.attempt"]
    assert inner["label"] == "attempt · Attempt · ×1–4, again 35 %"
    assert inner["parent"] == "RagChat.reason"
    assert graph.nodes["RagChat.reason.attempt.think"]["box"] == "RagChat.reason.attempt"


def test_arrows_pass_through_the_ports_of_a_box():
    graph = rag_chat_graph()
    assert graph.has_edge("RagChat.classify", "RagChat.reason.input")
    assert graph.has_edge("RagChat.reason.input", "RagChat.reason.read")
    assert graph.has_edge("RagChat.reason.attempt.output", "RagChat.reason.output")
    assert graph.has_edge("RagChat.reason.output", "RagChat.final")


def test_arms_of_a_branch_are_labelled():
    graph = rag_chat_graph()
    arms = {head: data["label"] for _, head, data in graph.out_edges("RagChat.classify", data=True)}
    assert arms == {
        "RagChat.fetch_kv": "turn > 1",
        "RagChat.embed": "70%",
        "RagChat.reason.input": "else",
    }


def test_arms_without_words_of_the_user_show_their_share():
    graph = draw(system(None, None, cascade()), "Cascade").graph
    assert {data["label"] for *_, data in graph.edges(data=True)} == {"", "2 %", "70 %", "else"}


def test_a_stage_names_its_type_settings_and_client():
    nodes = rag_chat_graph().nodes
    assert nodes["RagChat.retrieve"]["label"].split("\n") == [
        "retrieve", "index wiki · top_k 8", "chunk 512 tok", "on retriever",
    ]  # fmt: skip
    final = "final\nGenerate\non decode\nprefill on prefill"
    assert nodes["RagChat.final"]["label"] == final


def test_an_end_that_nothing_leads_to_is_left_out():
    graph = rag_chat()
    graph.add_node("refused")
    assert "RagChat.refused" not in draw(system(None, None, graph), "pipeline").graph
    assert "Cascade.refused" in draw(system(None, None, cascade()), "pipeline").graph


def test_replicas_and_waiting_joins_are_named():
    graph = draw(system(None, None, rag()), "pipeline").graph
    assert "×16, one per member, all" in graph.nodes["Rag.search"]["label"]
    assert "waits for all inputs" in graph.nodes["Rag.merge"]["label"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Spec("while", {"p": 0.35, "max": 4}), "×1–4, again 35 %"),
        (Spec("geometric", {"mean": 4.0, "max": 10}), "×1–10, mean 4"),
        (Spec("times", {"count": 3}), "×3 in turn"),
        (Spec("until", {"x": 1}), "repeat until(x = 1)"),
    ],
)
def test_repeats_in_words(spec, text):
    assert repeat_text(spec) == text


@pytest.mark.parametrize(
    ("join", "text"),
    [
        (Spec("all"), "×8, all"),
        (Spec("first", {"k": 1, "pass": True}), "×8, first 1 to pass"),
        (Spec("first", {"k": 2, "pass": False}), "×8, first 2"),
        (Spec("best", {"k": 3}), "×8, best 3"),
    ],
)
def test_joins_in_words(join, text):
    assert replica_text(StageNode("p.s", "Try", replicas=8, join=join)) == text


def test_several_pipelines_are_drawn_in_boxes_of_their_own():
    graph = draw(system(None, None, rag(), cascade()), "pipeline").graph
    assert [box["id"] for box in graph.graph["boxes"]] == ["Rag", "Cascade"]
    assert {"Rag.input", "Cascade.input", "Cascade.refused"} <= set(graph)


def test_two_instances_of_one_pipeline_stay_apart():
    inner = pipeline("Try", {"go": StageNode("", "Step")}, [("input", "go"), ("go", "output")])
    stages = {"a": StageNode("", "Try", inner=inner), "b": StageNode("", "Try", inner=inner)}
    outer = pipeline("P", stages, [("input", "a"), ("a", "b"), ("b", "output")])
    graph = draw(system(None, None, outer), "pipeline").graph
    assert {"P.a.Try.go", "P.b.Try.go", "P.a.input", "P.b.input"} <= set(graph)
    assert graph.has_edge("P.a.output", "P.b.input")


def test_an_overlay_adds_a_line_to_a_stage_and_to_a_box():
    marks = {"RagChat.guard": Mark(0.3, "3.1 ms"), "RagChat.reason": Mark(0.9, "12 s")}
    graph = rag_chat_graph(overlay=marks)
    assert graph.nodes["RagChat.guard"]["label"].endswith("\n3.1 ms")
    assert graph.graph["boxes"][0]["label"].endswith("\n12 s")


def test_a_system_without_pipelines_is_refused():
    with pytest.raises(SpecError, match="HMS607: nothing to draw: the system has no pipelines"):
        draw(system(), "pipeline")


def test_an_unknown_pipeline_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match="HMS201: no pipeline `RagChta`") as caught:
        rag_chat_graph(name="RagChta")
    assert caught.value.diagnostics[0].notes == ("help: did you mean `RagChat`?",)

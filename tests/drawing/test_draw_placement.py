"""The placement view."""

from __future__ import annotations

import pytest
from drawn_systems import LLAMA, Hardware, Placement, cascade, pools, rag_chat, serving, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.drawing import draw


def label(graph, node):
    return graph.nodes[node]["label"].split("\n")


def test_clients_of_a_vector_fold_and_say_what_they_are():
    graph = draw(system(*serving(), rag_chat()), "placement").graph
    assert label(graph, "prefill[0:4]") == [
        "prefill ×4",
        "LlmEngine · Llama3_70B",
        "tp 4 · chunked(8192 tok)",
        "route least_work",
        "serves fetch_kv, prefill, read,",
        "final",
    ]
    assert label(graph, "decode[0:2]")[2] == "tp 8 · continuous · max_batch 256"


def test_nodes_fold_only_where_the_same_clients_run():
    """node[0] alone has the frontend; node[2] and node[3] each hold one decode engine."""
    graph = draw(system(*serving()), "placement").graph
    assert [box["label"] for box in graph.graph["boxes"]] == [
        "rack · HopperRack",
        "node[0] · DGX_H100",
        "node[1] · DGX_H100",
        "node[2:4] ×2 · DGX_H100",
    ]


def test_arrows_say_how_many_clients_take_how_many_devices():
    """Two of the four TP4 engines fill the eight GPUs of node[0]."""
    graph = draw(system(*serving()), "placement").graph
    edges = {(tail, head): data["label"] for tail, head, data in graph.edges(data=True)}
    assert edges["prefill[0:4]", "rack.node[0].gpu[0:8]"] == "2 of 4: 4 each"
    assert edges["decode[0:2]", "rack.node[2:4].gpu[0:8]"] == "8 each"
    assert edges["embedder[0:2]", "rack.node[1].cpu[1]"] == "1 of 2"
    assert edges["frontend", "rack.node[0].cpu[0]"] == ""


def test_devices_of_different_clients_split_and_idle_chips_show():
    graph = draw(system(*pools(), cascade()), "placement").graph
    assert label(graph, "box[1].gpu[0:2]") == ["gpu[0:2] ×2 · H100"]
    assert graph.has_edge("guard[0:2]", "box[1].gpu[4:6]")
    assert label(graph, "box[1].gpu[2:4,6:8]") == ["gpu[2:4,6:8] ×4 · H100 · idle"]


def test_a_declared_pool_is_a_box_around_its_members():
    graph = draw(system(*pools()), "placement").graph
    (pool,) = [box for box in graph.graph["boxes"] if box["kind"] == "pool"]
    assert pool["label"] == "pool any · route least_work"
    inside = {node for node, data in graph.nodes(data=True) if data["box"] == pool["id"]}
    assert inside == {"big[0:2]", "small[0:2]"}


def test_a_tier_points_at_its_memories_and_a_delay_at_nothing():
    graph = draw(system(*pools()), "placement").graph
    assert set(graph.successors("kv.ssd")) == {"box[0].ssd", "box[1].ssd"}
    assert list(graph.successors("web")) == []


def test_the_memory_of_an_engine_is_not_drawn_beside_its_chip():
    graph = draw(system(*serving()), "placement", fold=False).graph
    assert not [node for node in graph if node.endswith(".hbm")]
    assert len([node for node in graph if ".gpu[" in node]) == 32


def test_a_memory_shared_with_a_tier_is_drawn_and_counted_per_node():
    hw, place = serving()
    memories = [f"rack.node[{n}].gpu[{g}].hbm" for n in (2, 3) for g in range(8)]
    place.client("kv.hbm", "KvTier", memories, role="memory")
    graph = draw(system(hw, place), "placement").graph
    assert label(graph, "rack.node[2:4].gpu[0:8].hbm") == ["hbm ×8 · 80 GiB"]
    assert graph.edges["kv.hbm", "rack.node[2:4].gpu[0:8].hbm", 0]["label"] == "×16"


@pytest.mark.parametrize("name", ["prefill", "prefill[2]"])
def test_a_name_narrows_to_a_pool_or_client(name):
    graph = draw(system(*serving()), "placement", name=name).graph
    assert all(node.startswith(("prefill", "rack")) for node in graph)
    assert not any("idle" in data["label"] for _, data in graph.nodes(data=True))


def test_clients_inside_a_cluster_are_drawn_in_its_box():
    hw = Hardware()
    hw.box("pre", "cluster", "EnginePool")
    hw.part("pre.gpu", "chip", "H100")
    hw.part("pre.gpu.hbm", "memory", "Memory")
    place = Placement(hw)
    place.client("pre.llm[0]", "LlmEngine", ["pre.gpu"], model=LLAMA)
    graph = draw(system(hw, place), "placement").graph
    assert graph.nodes["pre.llm[0]"]["box"] == "pre"


def test_a_system_without_clients_is_refused():
    with pytest.raises(SpecError, match="HMS607: nothing to draw: the system has no clients"):
        draw(system(), "placement")


def test_an_unknown_client_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match="HMS201: no client or pool `prefil`") as caught:
        draw(system(*serving()), "placement", name="prefil")
    assert caught.value.diagnostics[0].notes == ("help: did you mean `prefill`?",)

"""The hardware view."""

from __future__ import annotations

import pytest
from drawn_systems import NDR, Hardware, dgx, fleet, hall, rack, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.drawing import Mark, draw
from hermesdsl.graph.types import Link


def drawn(hw, **options):
    return draw(system(hw), "hardware", **options).graph


def titles(graph):
    return {data["label"].split("\n")[0] for _, data in graph.nodes(data=True)}


def edge(graph, tail, head):
    ((_, data),) = [
        (ends, data)
        for *ends, data in graph.edges(data=True)
        if {graph.nodes[end]["label"].split("\n")[0] for end in ends} == {tail, head}
    ]
    return data


def test_a_rack_of_four_dgx_is_eleven_shapes():
    graph = drawn(rack())
    assert titles(graph) == {
        "gpu ×8", "nvswitch", "pcie ×4", "nic ×8", "cpu[0]", "cpu[1]", "dram[0]", "dram[1]", "ssd",
        "leaf ×2", "spine ×2",
    }  # fmt: skip
    assert [(box["label"], box["parent"]) for box in graph.graph["boxes"]] == [
        ("rack · HopperRack", ""),
        ("node ×4 · DGX_H100 · limit 10.2 kW", "rack"),
    ]


def test_ids_are_selections_of_the_language():
    graph = drawn(rack())
    assert "rack.node[0:4].gpu[0:8]" in graph
    assert graph.nodes["rack.node[0:4].gpu[0:8]"]["box"] == "rack.node[0:4]"
    assert len(graph.nodes["rack.node[0:4].gpu[0:8]"]["members"]) == 32


def test_wires_are_counted_within_their_common_box():
    """Inside one node 8 NVLinks; between the nodes and the leaves 4 nodes × 8 NICs = 32."""
    graph = drawn(rack())
    assert edge(graph, "gpu ×8", "nvswitch")["count"] == 8
    assert edge(graph, "gpu ×8", "nvswitch")["label"] == "NVLink4 · 18 × 25 GB/s · ×8"
    assert edge(graph, "nic ×8", "leaf ×2")["label"] == "NDR · 400 Gbit/s · ×32"
    assert edge(graph, "leaf ×2", "spine ×2")["label"] == "NDR · 16 × 400 Gbit/s · ×4"
    assert edge(graph, "pcie ×4", "cpu[0]")["label"] == "PCIe5x16 · 64 GB/s · ×2"
    assert edge(graph, "cpu[0]", "cpu[1]")["label"] == "UPI · 3 × 20.8 GB/s"


def test_the_network_is_drawn_above_and_memories_below():
    graph = drawn(rack())
    ranks = [[graph.nodes[end]["label"].split("\n")[0] for end in ends] for *ends, _ in graph.edges]
    for above, below in (
        ("spine ×2", "leaf ×2"), ("leaf ×2", "nic ×8"), ("nic ×8", "pcie ×4"),
        ("pcie ×4", "cpu[0]"), ("nvswitch", "gpu ×8"), ("cpu[0]", "ssd"),
    ):  # fmt: skip
        assert [above, below] in ranks


def test_memory_of_a_chip_is_written_into_it():
    label = drawn(rack()).nodes["rack.node[0:4].gpu[0:8]"]["label"]
    assert label == "gpu ×8\nH100\n989 TFLOPS bf16\nhbm · 80 GiB · 3.35 TB/s"


def test_marked_memory_stands_alone():
    overlay = {"rack.node[0].gpu[0].hbm": Mark(0.5, "half full")}
    graph = drawn(rack(), overlay=overlay)
    assert any("half full" in data["label"] for _, data in graph.nodes(data=True))


def test_a_hall_of_128_clients_is_eight_shapes():
    graph = drawn(hall())
    assert titles(graph) == {"core", "tor", "ssd", "hub", "dram", "bus", "lpddr", "gpu ×2"}
    assert [box["label"] for box in graph.graph["boxes"]] == [
        "hall · Hall",
        "rack ×4 · StoreRack",
        "platform ×8 · Platform",
        "client ×4 · Client",
    ]
    assert edge(graph, "bus", "tor")["label"] == "RackNet · 8 GB/s · ×32"  # 8 platforms × 4 clients
    assert edge(graph, "bus", "hub")["label"] == "PlatBus · 16 GB/s · ×4"
    assert edge(graph, "tor", "core")["count"] == 4


def test_a_mixed_fleet_folds_by_type():
    boxes = {box["label"] for box in drawn(fleet()).graph["boxes"]}
    assert {"h ×2 · DGX_H100 · limit 10.2 kW", "l ×6 · L40S_Box"} <= boxes


def test_unfolded_shows_every_part_and_wire():
    """8 GPUs, 8 NICs, 4 PCIe, 2 CPUs, 2 DRAM, NVSwitch, SSD; HBM is inside its GPU.

    Wires: 8 NVLink + 8 + 8 + 4 PCIe + 2 DRAM + UPI + SSD.
    """
    hw = Hardware()
    dgx(hw, "n")
    graph = drawn(hw, fold=False)
    assert graph.number_of_nodes() == 8 + 8 + 4 + 2 + 2 + 1 + 1
    assert graph.number_of_edges() == 8 + 8 + 8 + 4 + 2 + 1 + 1


def test_a_name_narrows_to_a_container():
    graph = drawn(rack(), name="rack.node[1]")
    assert all(node.startswith("rack.node[1].") for node in graph)


def test_values_without_words_of_the_user_are_formatted():
    hw = Hardware()
    hw.part("gpu", "chip", "MyChip", peak={"fp8": 1979e12})
    hw.part("mem", "memory", "Memory", capacity=96 * 2.0**30, bandwidth=2e12)
    hw.wire("gpu", "mem", Link("", 2e12, 0.0))
    graph = drawn(hw)
    assert graph.nodes["gpu"]["label"] == "gpu\nMyChip\n1.98 PFLOPS fp8"
    assert graph.nodes["mem"]["label"] == "mem\n96 GiB · 2 TB/s"
    assert edge(graph, "gpu", "mem")["label"] == "2 TB/s"


def test_a_wire_named_after_the_memory_at_its_end_needs_no_name():
    hw = Hardware()
    hw.part("cpu", "cpu", "Xeon8480C", cores=56)
    hw.memory("dram", "DDR5", "1 TiB", "307 GB/s")
    hw.wire("cpu", "dram", Link("DDR5", 307e9, 0.0, "307 GB/s"))
    graph = drawn(hw)
    assert edge(graph, "cpu", "dram")["label"] == "307 GB/s"
    assert graph.nodes["dram"]["label"] == "dram\nDDR5\n1 TiB · 307 GB/s"


def test_a_pair_of_one_kind_stands_on_one_row_and_a_ring_does_not():
    hw = Hardware()
    for i in range(3):
        hw.part(f"s[{i}]", "switch", "Switch")
    hw.wire("s[0]", "s[1]", NDR)
    assert "rank=same" in draw(system(hw), "hardware", fold=False).dot
    hw.wire("s[1]", "s[2]", NDR)
    assert "rank=same" not in draw(system(hw), "hardware", fold=False).dot


def test_one_way_wires_have_an_arrow_and_parallel_ones_are_counted():
    hw = Hardware()
    for name in "ab":
        hw.part(name, "switch", "Switch")
    hw.wire("a", "b", NDR, one_way=True)
    hw.wire("a", "b", NDR)
    hw.wire("a", "b", NDR)
    found = sorted((d["arrow"], d["count"]) for *_, d in drawn(hw).edges(data=True))
    assert found == [("forward", 1), ("none", 2)]


def test_wires_between_folded_siblings_are_a_loop():
    hw = Hardware()
    for i in range(4):
        hw.part(f"s[{i}]", "switch", "Switch")
    for i in range(4):
        hw.wire(f"s[{i}]", f"s[{(i + 1) % 4}]", NDR)
    graph = drawn(hw)
    ((tail, head, data),) = graph.edges(data=True)
    assert tail == head == "s[0:4]"
    assert data["count"] == 4


def test_documentation_is_in_the_tooltip():
    tip = drawn(rack()).nodes["rack.node[0:4].gpu[0:8]"]["tooltip"]
    assert 'H100 SXM5, "80 GB". Dense rates, no sparsity.' in tip
    assert "hbm.capacity = 80 GiB" in tip
    assert "… 32 in all" in tip


def test_an_empty_system_is_refused():
    with pytest.raises(SpecError, match="HMS607: nothing to draw: the system has no parts"):
        draw(system(), "hardware")


def test_an_unknown_container_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match=r"HMS201: no container `rack.nod\[0\]`") as caught:
        drawn(rack(), name="rack.nod[0]")
    assert caught.value.diagnostics[0].notes == ("help: did you mean `rack.node[0]`?",)

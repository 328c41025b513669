from __future__ import annotations

from math import inf

import networkx as nx
import pytest
from machines import DDR, NDR, PCIE, graph_of, part, rack_pieces

from hermesdsl.graph import query
from hermesdsl.graph.hardware import Wire
from hermesdsl.graph.query import fabric, fabrics
from hermesdsl.graph.types import Container, Fabric, HardwareGraph, Link

GPU = "rack.node[{}].gpu[{}]".format
NODE = [[GPU(n, i) for i in range(8)] for n in range(4)]


# --- plain NetworkX, as a user would --------------------------------------------------------


def capacities(graph: HardwareGraph) -> nx.DiGraph:
    """Parallel wires as one edge."""
    flow = nx.DiGraph()
    for u, v, wire in graph.edges(data=True):
        before = flow.get_edge_data(u, v, {"capacity": 0})["capacity"]
        flow.add_edge(u, v, capacity=before + round(wire["bandwidth"]))
    return flow


def test_shortest_path_with_plain_networkx(rack: HardwareGraph) -> None:
    path = nx.shortest_path(rack, GPU(0, 0), GPU(0, 1), weight="latency")
    assert path == [GPU(0, 0), "rack.node[0].nvswitch", GPU(0, 1)]
    far = nx.shortest_path_length(rack, GPU(0, 0), GPU(3, 0), weight="latency")
    assert far == pytest.approx(8e-6)


def test_minimum_cut_with_plain_networkx(rack: HardwareGraph) -> None:
    value, (near, far) = nx.minimum_cut(capacities(rack), "rack.leaf[0]", "rack.leaf[1]")
    # 2 spines x 16 lanes x 50 GB/s, and through each of the 4 nodes: half of 8 NICs' NDR
    assert value == 2 * 16 * 50e9 + 4 * 4 * 50e9
    assert "rack.leaf[0]" in near
    assert "rack.leaf[1]" in far


def test_bisection_bandwidth_with_plain_networkx(rack: HardwareGraph) -> None:
    flow = capacities(rack)
    for n in range(4):
        for gpu in NODE[n]:
            edge = ("source", gpu) if n < 2 else (gpu, "sink")
            flow.add_edge(*edge)
    # 2 nodes x 8 NICs x 400 Gbit/s
    assert nx.maximum_flow_value(flow, "source", "sink") == 2 * 8 * 50e9


# --- cuts -----------------------------------------------------------------------------------


def test_bisection_bandwidth_of_the_rack(rack: HardwareGraph) -> None:
    ours = query.bisection_bandwidth(rack, NODE[0] + NODE[1], NODE[2] + NODE[3])
    assert ours == 2 * 8 * 50e9


def test_a_cut_does_not_lead_through_other_gpus(rack: HardwareGraph) -> None:
    cut = query.minimum_cut(rack, GPU(0, 0), GPU(1, 0))
    # NVLink leads to GPUs that do not forward: one PCIe slot is all there is.
    assert cut.bandwidth == 64e9
    assert len(cut.hops) == 1
    inside = query.minimum_cut(rack, GPU(0, 0), GPU(0, 1))
    # NVLink and the shared PCIe switch
    assert inside.bandwidth == 450e9 + 64e9


def test_a_cut_between_memories_passes_their_chips(rack: HardwareGraph) -> None:
    cut = query.minimum_cut(rack, GPU(0, 0) + ".hbm", GPU(1, 0) + ".hbm")
    assert cut.bandwidth == 64e9


def test_parts_that_nothing_joins_have_a_cut_of_nothing() -> None:
    graph = graph_of([part("a"), part("b")], [])
    assert query.minimum_cut(graph, "a", "b") == query.Cut(0.0, ())


def test_a_part_on_both_sides_of_a_cut(rack: HardwareGraph) -> None:
    with pytest.raises(ValueError, match=r"gpu\[0\] is on both sides"):
        query.bisection_bandwidth(rack, NODE[0], NODE[0][:1])


def test_a_cut_from_no_part(rack: HardwareGraph) -> None:
    with pytest.raises(KeyError):
        query.minimum_cut(rack, "rack", GPU(0, 0))


# --- fabrics --------------------------------------------------------------------------------


def test_eight_gpus_on_an_nvswitch(rack: HardwareGraph) -> None:
    assert fabric(rack, NODE[0]) == Fabric(8, 1e-6, 450e9, 2)


def test_one_member_needs_no_fabric(rack: HardwareGraph) -> None:
    assert fabric(rack, [GPU(0, 0)]) == Fabric(1, 0.0, inf, 0)


def pcie_box() -> HardwareGraph:
    """Eight GPUs in pairs under four PCIe switches, those in pairs under two CPUs; UPI between."""
    parts = [part(f"gpu[{i}]", "chip") for i in range(8)]
    parts += [part(f"pcie[{i}]") for i in range(4)] + [part(f"cpu[{i}]", "cpu") for i in range(2)]
    wires = [Wire(f"gpu[{i}]", f"pcie[{i // 2}]", PCIE) for i in range(8)]
    wires += [Wire(f"pcie[{i}]", f"cpu[{i // 2}]", PCIE) for i in range(4)]
    wires += [Wire("cpu[0]", "cpu[1]", Link("UPI", 20.8e9, 0.3e-6), 3)]
    return graph_of(parts, wires)


def test_eight_gpus_on_pcie_are_as_wide_as_the_narrowest_hop() -> None:
    found = fabric(pcie_box(), [f"gpu[{i}]" for i in range(8)])
    # Two neighbours, 3 -> 4 and 7 -> 0, cross the UPI, one each way: 3 * 20.8 GB/s for each.
    assert found.bandwidth == pytest.approx(62.4e9)
    # 4 pairs under one switch (2 us), 2 under one CPU (4 us), 2 across (4.3 us)
    assert found.alpha == pytest.approx((4 * 2 + 2 * 4 + 2 * 4.3) / 8 * 1e-6)
    assert found.hops == 5


def test_members_in_an_order_that_crosses_more_share_the_narrow_hop() -> None:
    found = fabric(pcie_box(), [f"gpu[{i}]" for i in (0, 4, 1, 5, 2, 6, 3, 7)])
    # All eight neighbours cross the UPI, four each way.
    assert found.bandwidth == pytest.approx(62.4e9 / 4)


def test_groups_at_work_at_once_share_links() -> None:
    box = pcie_box()
    apart = fabrics(box, [["gpu[0]", "gpu[4]"]])
    assert apart.bandwidth == pytest.approx(62.4e9)
    together = fabrics(box, [["gpu[0]", "gpu[4]"], ["gpu[2]", "gpu[6]"]])
    assert together.bandwidth == pytest.approx(62.4e9 / 2)


def test_a_ring_over_two_nodes_uses_every_nic(rack: HardwareGraph) -> None:
    found = fabric(rack, NODE[0] + NODE[1])
    # Eight rings, each with an eighth of the bytes: a NIC of 50 GB/s carries one of them.
    assert found.bandwidth == pytest.approx(8 * 50e9)
    # 14 neighbours over NVLink (1 us), 2 over the network (8 us)
    assert found.alpha == pytest.approx((14 * 1 + 2 * 8) / 16 * 1e-6)


def test_all_to_all_over_two_nodes_is_as_wide_as_the_nics(rack: HardwareGraph) -> None:
    found = fabrics(rack, [NODE[0] + NODE[1]], "all_to_all")
    # Of a GPU's bytes 8/15 leave the node through a NIC of 50 GB/s.
    assert found.bandwidth == pytest.approx(50e9 * 15 / 8)


def test_all_to_all_inside_a_node_is_as_wide_as_the_switch(rack: HardwareGraph) -> None:
    assert fabrics(rack, [NODE[0]], "all_to_all").bandwidth == pytest.approx(450e9)


def test_pipeline_stages_are_a_line(rack: HardwareGraph) -> None:
    lines = [[GPU(0, i), GPU(1, i)] for i in range(8)]
    assert fabrics(rack, lines, "line") == Fabric(2, pytest.approx(8e-6), 50e9, 6)


def test_a_ring_that_only_runs_as_wired_is_not_turned() -> None:
    # Two boxes of three chips in a ring of direct wires: turned, it would have to pass a chip.
    chips = [f"box[{b}].chip[{i}]" for b in range(2) for i in range(3)]
    boxes = [Container(f"box[{b}]", "node", "Box") for b in range(2)]
    ring = zip(chips, [*chips[1:], chips[0]], strict=True)
    graph = graph_of([part(c, "chip") for c in chips], [Wire(a, b, NDR) for a, b in ring], boxes)
    assert fabric(graph, chips) == Fabric(6, pytest.approx(2e-6), 50e9, 1)


def test_members_without_a_route() -> None:
    graph = graph_of([part("a", "chip"), part("b", "chip")], [])
    with pytest.raises(query.NoRouteError, match="no route from a to b"):
        fabric(graph, ["a", "b"])


# --- neighbours, memories, containers -------------------------------------------------------


def test_neighbours_in_either_direction() -> None:
    wires = [Wire("a", "b", NDR), Wire("c", "a", NDR, both=False)]
    graph = graph_of([part(x) for x in "abc"], wires)
    assert query.neighbours(graph, "a") == ("b", "c")


def test_memory_of_a_chip_is_inside_it(rack: HardwareGraph) -> None:
    assert query.memory_of(rack, GPU(2, 3)) == [GPU(2, 3) + ".hbm"]


def test_memory_of_a_cpu_is_its_dram_and_not_its_ssd(rack: HardwareGraph) -> None:
    assert query.memory_of(rack, "rack.node[0].cpu[0]") == ["rack.node[0].dram[0]"]
    assert query.memory_of(rack, "rack.node[0].nvswitch") == []


def test_cpus_may_share_a_dram_and_have_several() -> None:
    parts = [part("cpu[0]", "cpu"), part("cpu[1]", "cpu")]
    parts += [part(f"dram[{i}]", "memory", bandwidth=307e9) for i in range(2)]
    wires = [Wire(f"cpu[{c}]", f"dram[{m}]", DDR) for c in range(2) for m in range(2)]
    graph = graph_of(parts, wires)
    assert [query.memory_of(graph, f"cpu[{c}]") for c in range(2)] == [["dram[0]", "dram[1]"]] * 2


def test_the_memory_inside_a_neighbour_is_not_ones_own() -> None:
    parts = [part("cpu", "cpu"), part("gpu", "chip"), part("gpu.hbm", "memory", bandwidth=3e12)]
    graph = graph_of(
        parts, [Wire("cpu", "gpu", PCIE), Wire("cpu", "gpu.hbm", PCIE)], joined=[("gpu", "gpu.hbm")]
    )
    assert query.memory_of(graph, "cpu") == []


def test_the_innermost_container_of_a_kind() -> None:
    parts, wires, containers, joined = rack_pieces(nodes=1)
    inner = Container("rack.node[0].nvswitch", "node", "Odd")
    graph = graph_of(parts, wires, [*containers, inner], joined)
    assert query.container_of(graph, GPU(0, 0), "node") == "rack.node[0]"
    assert query.container_of(graph, GPU(0, 0) + ".hbm", "rack") == "rack"
    assert query.container_of(graph, "rack.leaf[0]", "node") is None

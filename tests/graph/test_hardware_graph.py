from __future__ import annotations

import pytest
from machines import NDR, NVLINK, PCIE, node_parts, node_wires, part, rack_pieces

from hermesdsl.diagnostics import Severity
from hermesdsl.graph import hardware
from hermesdsl.graph.hardware import Wire
from hermesdsl.graph.types import Container, HardwareGraph, Link
from hermesdsl.source import Source, Span

TEXT = Source("spec.hms", "connect a <-> b\nconnect b <-> c\n")
FIRST, SECOND = Span(TEXT, 0, 15), Span(TEXT, 16, 31)


def messages(parts: list, wires: list, containers: list | None = None) -> list[str]:
    _, found = hardware.build(parts, wires, containers or [])
    return [f"{item.code} {item.message}" for item in found]


def test_nodes_are_paths_and_carry_their_part(rack: HardwareGraph) -> None:
    assert rack.nodes["rack.node[0].gpu[3]"]["part"].type_name == "H100"
    # 4 nodes of 8 GPUs, 8 HBM, 8 NICs, 4 PCIe, 2 CPUs, 2 DRAM, NVSwitch, SSD; 2 leaves, 2 spines
    assert rack.number_of_nodes() == 4 * 34 + 4


def test_a_wire_both_ways_is_two_edges_of_all_its_lanes(rack: HardwareGraph) -> None:
    there = rack.edges["rack.node[0].gpu[0]", "rack.node[0].nvswitch", 0]
    back = rack.edges["rack.node[0].nvswitch", "rack.node[0].gpu[0]", 0]
    assert there == back == {"link": NVLINK, "lanes": 18, "bandwidth": 450e9, "latency": 0.5e-6}


def test_a_wire_one_way_is_one_edge() -> None:
    graph, found = hardware.build([part("a"), part("b")], [Wire("a", "b", NDR, both=False)], [])
    assert (list(graph.edges), found) == ([("a", "b", 0)], [])


def test_a_memory_inside_a_part_is_joined_at_its_own_bandwidth(rack: HardwareGraph) -> None:
    edge = rack.edges["rack.node[0].gpu[0]", "rack.node[0].gpu[0].hbm", 0]
    assert (edge["bandwidth"], edge["latency"]) == (3.35e12, 0.0)
    assert rack.graph["owner"]["rack.node[0].gpu[0].hbm"] == "rack.node[0].gpu[0]"


def test_containers_are_no_vertices_and_know_the_power_below_them(rack: HardwareGraph) -> None:
    assert "rack.node[0]" not in rack
    assert list(rack.graph["containers"])[:2] == ["rack", "rack.node[0]"]
    assert rack.graph["power"] == {"rack": 4 * 5600.0} | {
        f"rack.node[{i}]": 8 * 700.0 for i in range(4)
    }


def test_parallel_wires_have_keys_of_their_own_and_a_note() -> None:
    wires = [Wire("a", "b", NDR, span=FIRST), Wire("b", "a", NDR, 2, span=SECOND)]
    graph, found = hardware.build([part("a"), part("b")], wires, [])
    assert [(key, edge["lanes"]) for key, edge in graph["a"]["b"].items()] == [(0, 1), (1, 2)]
    assert [(item.severity, item.span, item.labels[0].span) for item in found] == [
        (Severity.NOTE, SECOND, FIRST)
    ]


def test_wires_of_one_statement_and_opposite_one_way_wires_need_no_note() -> None:
    parts = [part("a"), part("b")]
    same = [Wire("a", "b", NDR, span=FIRST), Wire("a", "b", NDR, span=FIRST)]
    there_and_back = [
        Wire("a", "b", NDR, both=False, span=FIRST),
        Wire("b", "a", NDR, both=False, span=SECOND),
    ]
    assert messages(parts, same) == messages(parts, there_and_back) == []


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (Wire("a", "a", NDR), "HMS404 a is wired to itself"),
        (Wire("a", "b", NDR, 0), "HMS404 a and b are wired with 0 lanes; 1 is the least"),
        (Wire("a", "x", NDR), "HMS404 x is no part; only parts can be wired"),
        (Wire("a", "box", NDR), "HMS404 box is a node; only parts can be wired"),
        (Wire("a", "b", Link("L", 0.0, 0.0)),
         "HMS404 the wire between a and b has no usable bandwidth or latency"),
        (Wire("a", "b", Link("L", 1e9, -1.0)),
         "HMS404 the wire between a and b has no usable bandwidth or latency"),
    ],
)  # fmt: skip
def test_faulty_wires_are_reported_and_left_out(wire: Wire, message: str) -> None:
    parts = [part("a"), part("b"), part("box.nic")]
    graph, found = hardware.build(parts, [wire], [Container("box", "node", "Box")])
    assert [f"{item.code} {item.message}" for item in found] == [message]
    assert graph.number_of_edges() == 0


def test_wiring_a_container_names_a_part_inside() -> None:
    parts = [part("a"), part("box.nic")]
    _, found = hardware.build(parts, [Wire("a", "box", NDR)], [Container("box", "node", "Box")])
    assert found[0].notes == ("help: name one of its parts, such as box.nic",)


def test_one_statement_gets_one_diagnostic() -> None:
    wires = [Wire(x, x, NDR, span=FIRST) for x in "ab"] + [Wire("a", "a", NDR, span=SECOND)]
    _, found = hardware.build([part("a"), part("b")], wires, [])
    assert [item.span for item in found] == [FIRST, SECOND]


def test_ports_count_lanes_of_all_wires() -> None:
    hub = part("hub", ports=4, type_name="Hub")
    ends = [part(f"end[{i}]") for i in range(3)]
    wires = [Wire(end.path, "hub", NDR, 2, span=FIRST) for end in ends[:2]]
    assert messages([hub, *ends], wires) == []
    _, found = hardware.build([hub, *ends], [*wires, Wire("hub", "end[2]", NDR, span=SECOND)], [])
    assert [item.message for item in found] == ["hub (Hub): 5 lanes on 4 ports"]
    assert found[0].code == "HMS409"
    assert found[0].span == SECOND
    assert found[0].notes == ("4 lanes to end[0] and 1 more", "1 lanes to end[2]")
    assert [(label.span, label.text) for label in found[0].labels] == [(FIRST, "4 lanes")]


def test_switches_alike_and_wired_alike_share_a_diagnostic() -> None:
    hubs = [part(f"hub[{i}]", ports=1) for i in range(3)]
    wires = [Wire(hub.path, "end", NDR, 2, span=FIRST) for hub in hubs]
    assert messages([*hubs, part("end")], wires) == [
        "HMS409 hub[0] and 2 more (Switch): 2 lanes on 1 ports"
    ]


def test_a_memory_inside_takes_no_port() -> None:
    parts = [part("g", "chip", ports=1), part("g.hbm", "memory", bandwidth=1e12), part("s")]
    _, found = hardware.build(parts, [Wire("g", "s", NDR)], [], [("g", "g.hbm")])
    assert found == []


def test_a_power_limit_below_the_parts_is_an_error() -> None:
    parts, joined = node_parts("box[0]")
    other, more = node_parts("box[1]")
    boxes = [Container(f"box[{i}]", "node", "DGX", power_limit=5500.0) for i in range(2)]
    wires = node_wires("box[0]") + node_wires("box[1]")
    _, found = hardware.build(
        [*parts, *other], wires, boxes, joined + more, spans={"box[0]": FIRST}
    )
    assert [(item.code, item.message, item.span) for item in found] == [
        (
            "HMS409",
            # 8 GPUs of 700 W
            "box[0] and 1 more (DGX): parts draw up to 5.6 kW, the power limit is 5.5 kW",
            FIRST,
        )
    ]


def test_a_power_limit_that_is_met_exactly_is_none() -> None:
    # thrice 0.1 W are 0.30000000000000004 W in binary
    parts = [part(f"box.a[{i}]", power=0.1) for i in range(3)]
    assert messages(parts, [], [Container("box", "node", "Box", power_limit=0.3)]) == []


def test_a_path_declared_twice() -> None:
    assert messages([part("a"), part("b"), part("a")], []) == ["HMS202 a is declared 2 times"]


def test_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "MAX_PARTS", 2)
    assert messages([part(x) for x in "abc"], []) == [
        "HMS410 the topology has 3 parts, more than 2"
    ]
    monkeypatch.setattr(hardware, "MAX_WIRES", 1)
    wires = [Wire("a", "b", PCIE), Wire("b", "a", PCIE)]
    assert messages([part("a"), part("b")], wires) == [
        "HMS410 the topology has 2 wires, more than 1"
    ]


def test_ten_thousand_parts_are_built_whole() -> None:
    # 294 nodes of 34 parts
    parts, wires, joined = [], [], []
    for n in range(294):
        own, inside = node_parts(f"node[{n}]")
        parts += own
        joined += inside
        wires += node_wires(f"node[{n}]")
    graph, found = hardware.build(parts, wires, [], joined)
    assert (graph.number_of_nodes(), found) == (294 * 34, [])
    # 8 NVLink, 8 + 8 + 4 PCIe, 2 DRAM, UPI, SSD and 8 HBM per node, both ways
    assert graph.number_of_edges() == 294 * 2 * 40


def test_more_nodes_than_the_leaves_have_ports() -> None:
    _, found = hardware.build(*rack_pieces(nodes=20))
    # 20 nodes * 8 NICs / 2 leaves + 2 spines * 16 lanes = 112 of 64 ports
    assert [item.message for item in found] == [
        "rack.leaf[0] and 1 more (QM9700): 112 lanes on 64 ports"
    ]

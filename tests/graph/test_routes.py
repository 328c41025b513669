from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from math import inf

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import NDR, PCIE, graph_of, part, rack_pieces

from hermesdsl.graph import hardware, routes
from hermesdsl.graph.hardware import Wire
from hermesdsl.graph.routes import NoRouteError, no_route, route
from hermesdsl.graph.types import HardwareGraph, Link

GPU = "rack.node[{}].gpu[{}]".format


def test_gpus_of_a_node_meet_at_the_nvswitch(rack: HardwareGraph) -> None:
    found = route(rack, GPU(0, 0), GPU(0, 5))
    assert found.nodes == (GPU(0, 0), "rack.node[0].nvswitch", GPU(0, 5))
    # two NVLinks of 0.5 us, 18 lanes of 25 GB/s
    assert (found.latency, found.bandwidth, found.hops) == (1e-6, 450e9, 2)


def test_gpus_of_two_nodes_use_the_nic_of_their_own_index(rack: HardwareGraph) -> None:
    for i in range(8):
        found = route(rack, GPU(0, i), GPU(1, i))
        assert found.nodes == (
            GPU(0, i),
            f"rack.node[0].pcie[{i // 2}]",
            f"rack.node[0].nic[{i}]",
            f"rack.leaf[{i % 2}]",
            f"rack.node[1].nic[{i}]",
            f"rack.node[1].pcie[{i // 2}]",
            GPU(1, i),
        )
        # PCIe and PCIe, NDR and NDR, PCIe and PCIe: 4 * 1 us + 2 * 2 us
        assert (found.latency, found.bandwidth) == (8e-6, 50e9)


def test_a_memory_is_reached_through_the_chip_it_is_in(rack: HardwareGraph) -> None:
    inside = route(rack, GPU(0, 0) + ".hbm", GPU(0, 1) + ".hbm")
    assert inside.nodes[1:-1] == (GPU(0, 0), "rack.node[0].nvswitch", GPU(0, 1))
    across = route(rack, GPU(0, 0) + ".hbm", "rack.node[1].dram[1]")
    assert across.nodes[-2:] == ("rack.node[1].cpu[1]", "rack.node[1].dram[1]")
    assert across.bandwidth == 50e9


def test_a_part_is_no_distance_from_itself(rack: HardwareGraph) -> None:
    found = route(rack, GPU(0, 0), GPU(0, 0))
    assert (found.nodes, found.latency, found.bandwidth, found.hops) == ((GPU(0, 0),), 0, inf, 0)


def test_a_part_between_adds_its_own_latency_and_an_end_does_not() -> None:
    parts = [part("a", latency=5e-6), part("sw", latency=3e-7), part("b", latency=7e-6)]
    graph = graph_of(parts, [Wire("a", "sw", PCIE), Wire("sw", "b", PCIE)])
    assert route(graph, "a", "b").latency == 2.3e-6


def test_the_widest_of_equally_near_ways_in_whatever_order_latencies_add_up() -> None:
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 us differ in the last bit as floats.
    def links(bandwidth: float) -> list[Link]:
        return [Link(str(us), bandwidth, us * 1e-6) for us in (0.1, 0.2, 0.3)]

    parts = [part(name) for name in ("a", "n1", "n2", "w1", "w2", "b")]
    narrow = zip(("a", "n1", "n2"), ("n1", "n2", "b"), links(1e9), strict=True)
    wide = zip(("a", "w1", "w2"), ("w1", "w2", "b"), links(2e9)[::-1], strict=True)
    graph = graph_of(parts, [Wire(u, v, link) for u, v, link in (*narrow, *wide)])
    assert route(graph, "a", "b").nodes == ("a", "w1", "w2", "b")
    assert route(graph, "b", "a").bandwidth == 2e9


def test_parallel_wires_add_up_and_slower_ones_do_not() -> None:
    slow = Link("slow", 100e9, 1e-3)
    wires = [Wire("a", "b", NDR), Wire("a", "b", NDR, 2), Wire("a", "b", slow)]
    found = route(graph_of([part("a"), part("b")], wires), "a", "b")
    assert (found.latency, found.bandwidth) == (2e-6, 150e9)


def test_without_a_part_of_its_index_traffic_spreads_over_equals() -> None:
    parts = [part(f"host[{i}]") for i in range(8)] + [part(f"spine[{i}]") for i in range(4)]
    parts.append(part("far"))
    wires = [Wire(f"host[{i}]", f"spine[{j}]", NDR) for i in range(8) for j in range(4)]
    wires += [Wire(f"spine[{j}]", "far", NDR) for j in range(4)]
    graph = graph_of(parts, wires)
    used = [route(graph, f"host[{i}]", "far").nodes[1] for i in range(8)]
    assert used == [f"spine[{i % 4}]" for i in range(8)]


# --- against every way there is ---------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> HardwareGraph:
    """Up to eight parts, some that do not forward, chips with a memory inside, few latencies."""
    count = draw(st.integers(2, 6))
    kinds = draw(st.lists(st.sampled_from(["switch", "chip"]), min_size=count, max_size=count))
    parts = [
        part(f"p[{i}]", kind, latency=draw(st.sampled_from([0.0, 1e-7])))
        for i, kind in enumerate(kinds)
    ]
    chips = [p.path for p in parts if p.kind == "chip"][:2]
    parts += [part(f"{chip}.m", "memory", bandwidth=5e9) for chip in chips]
    ends = st.sampled_from([f"p[{i}]" for i in range(count)])
    links = st.builds(Link, st.just("L"), st.sampled_from([1e9, 2e9]), st.sampled_from([0.0, 1e-6]))
    wires = draw(st.lists(st.builds(Wire, ends, ends, links, both=st.booleans()), max_size=10))
    wires = [wire for wire in wires if wire.a != wire.b]
    return graph_of(parts, wires, joined=[(chip, f"{chip}.m") for chip in chips])


def ways(graph: HardwareGraph, a: str, b: str) -> Iterator[tuple[float, float, tuple[str, ...]]]:
    """(latency, -bandwidth, nodes) of every way from a to b that traffic may take."""
    owner = graph.graph["owner"]
    for nodes in nx.all_simple_paths(nx.DiGraph(graph), a, b):
        inner = nodes[1:-1]
        own = {owner.get(a), owner.get(b)}
        if not all(graph.nodes[n]["part"].forwards or n in own for n in inner):
            continue
        latency, width = sum(graph.nodes[n]["part"].latency for n in inner), inf
        for u, v in pairwise(nodes):
            wires = graph[u][v].values()
            least = min(wire["latency"] for wire in wires)
            latency += least
            width = min(width, sum(w["bandwidth"] for w in wires if w["latency"] == least))
        yield round(latency, 12), -width, tuple(nodes)


@settings(max_examples=150, deadline=None)
@given(networks(), st.randoms(use_true_random=False))
def test_a_route_is_the_best_of_all_ways_whatever_was_asked_before(graph, random) -> None:
    pairs = [(a, b) for a in graph for b in graph if a != b]
    random.shuffle(pairs)
    fresh = graph.copy()
    for a, b in pairs:
        best = min(ways(graph, a, b), default=None)
        if best is None:
            with pytest.raises(NoRouteError):
                route(graph, a, b)
            assert no_route(graph, a, b).code == "HMS408"
            continue
        found = route(graph, a, b)
        assert (round(found.latency, 12), -found.bandwidth) == best[:2]
        assert found.nodes in {way[2] for way in ways(graph, a, b)}
    for a, b in sorted(pairs):
        if next(ways(graph, a, b), None) is not None:
            assert route(graph, a, b) == route(fresh, a, b)


def test_routes_do_not_depend_on_which_trees_were_kept(
    rack: HardwareGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [GPU(n, i) for n in range(3) for i in range(8)]
    asked = [(a, b) for a in ends for b in ends]
    expected = [route(rack, a, b) for a, b in asked]
    monkeypatch.setattr(routes, "_TREES_KEPT", 3)
    forgetful = graph_of(*rack_pieces())
    assert [route(forgetful, a, b) for a, b in reversed(asked)] == expected[::-1]


def test_a_graph_is_let_go_with_what_was_remembered() -> None:
    graph = graph_of([part("a"), part("b")], [Wire("a", "b", NDR)])
    route(graph, "a", "b")
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None


# --- no route ---------------------------------------------------------------------------------


def test_traffic_never_passes_a_chip() -> None:
    chips = [part(f"gpu[{i}]", "chip", type_name="H100") for i in range(3)]
    wires = [Wire("gpu[0]", "gpu[1]", NDR), Wire("gpu[1]", "gpu[2]", NDR)]
    graph = graph_of(chips, wires)
    with pytest.raises(NoRouteError, match=r"no route from gpu\[0\] to gpu\[2\]"):
        route(graph, "gpu[0]", "gpu[2]")
    assert no_route(graph, "gpu[0]", "gpu[2]").notes == (
        "the nearest blocked hop is gpu[0] -> gpu[1] -> gpu[2]: "
        "H100 is a chip that does not forward traffic",
        "help: wire them through a switch, or set `forwards = true` there",
    )


def test_a_memory_does_not_open_the_chip_of_another() -> None:
    parts = [part("a"), part("g", "chip"), part("g.m", "memory", bandwidth=1e12), part("b")]
    graph = graph_of(parts, [Wire("a", "g", NDR), Wire("g", "b", NDR)], joined=[("g", "g.m")])
    assert route(graph, "g.m", "b").nodes == ("g.m", "g", "b")
    assert route(graph, "a", "g.m").nodes == ("a", "g", "g.m")
    with pytest.raises(NoRouteError):
        route(graph, "a", "b")


@pytest.mark.parametrize(
    ("wires", "note"),
    [
        ([Wire("b", "sw", NDR)], "a has no wires"),
        ([Wire("a", "sw", NDR)], "b has no wires"),
        (
            [Wire("a", "sw", NDR), Wire("b", "sw", NDR, both=False)],
            "the wire between sw and b carries traffic only from b to sw",
        ),
        (
            [Wire("a", "sw", NDR), Wire("b", "other", NDR)],
            "no wires join them; a is wired to a network of 2 parts",
        ),
    ],
)
def test_why_there_is_no_route(wires: list[Wire], note: str) -> None:
    graph, _ = hardware.build([part(x) for x in ("a", "b", "sw", "other")], wires, [])
    with pytest.raises(NoRouteError):
        route(graph, "a", "b")
    assert no_route(graph, "a", "b").notes[0] == note


def test_an_end_that_is_no_part(rack: HardwareGraph) -> None:
    with pytest.raises(KeyError, match=r"rack\.node\[0\]"):
        route(rack, "rack.node[0]", GPU(0, 0))

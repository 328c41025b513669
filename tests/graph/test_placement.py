from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import DDR, NDR, NVLINK, graph_of, node_parts, node_wires, part

from hermesdsl.graph.hardware import Wire
from hermesdsl.graph.placement import ClientRequest, place
from hermesdsl.graph.stores import TierError, stores_in_reach, tier_stores
from hermesdsl.graph.types import Container, Fabric, Group, HardwareGraph, Part
from hermesdsl.source import Source, Span

GPU = "rack.node[{}].gpu[{}]".format
CPU = "rack.node[{}].cpu[{}]".format
NODES = [GPU(n, i) for n in range(4) for i in range(8)]
AT = Span(Source("spec.hms", "decode[2]: LlmEngine on gpu[*]"), 0, 9)


def vector(name: str, count: int, devices: list[str], type_name: str = "LlmEngine", **options):
    """The requests of one vector (without index if it is one alone)."""
    return [
        ClientRequest(
            f"{name}[{i}]" if count > 1 else name,
            name, i, count, type_name, tuple(devices), span_at=AT, **options,
        )
        for i in range(count)
    ]  # fmt: skip


def refusal(hardware: HardwareGraph, requests: list[ClientRequest]) -> tuple[str, str]:
    """Code and message of the one diagnostic."""
    groups, found = place(hardware, requests)
    assert not set(groups) & {request.path for request in requests if request.vector == "decode"}
    assert [item.span for item in found] == [AT]
    return found[0].code, found[0].message


# --- engines --------------------------------------------------------------------------------


def test_engines_take_tp_devices_each_in_path_order(rack: HardwareGraph) -> None:
    groups, found = place(rack, vector("decode", 4, NODES[:16], tp=4))
    assert found == []
    assert [group.devices for group in groups.values()] == [
        tuple(NODES[at : at + 4]) for at in (0, 4, 8, 12)
    ]
    first = groups["decode[0]"]
    assert first.part.type_name == "H100"
    assert first.memories == tuple(f"{GPU(0, i)}.hbm" for i in range(4))
    assert (first.memory_capacity, first.memory_bandwidth) == (80 * 2**30, 3.35e12)
    assert first.tp_fabric == Fabric(4, 1e-6, 450e9, 2)
    assert (first.pp_fabric, first.ep_fabric) == (Fabric(1, 0.0, inf), Fabric(1, 0.0, inf))


def test_ranks_vary_tp_first_then_dp_then_pp(rack: HardwareGraph) -> None:
    groups, found = place(rack, vector("big", 1, NODES[:16], tp=2, dp=4, pp=2, ep=8, span=True))
    assert found == []
    group = groups["big"]
    assert (group.tp, group.pp, group.dp, group.ep) == (2, 2, 4, 8)
    assert group.devices == tuple(NODES[:16])
    # stage 0 is node 0 and stage 1 node 1: PCIe, PCIe, NDR, NDR, PCIe, PCIe
    assert group.pp_fabric == Fabric(2, pytest.approx(8e-6), 50e9, 6)
    assert group.tp_fabric == Fabric(2, 1e-6, 450e9, 2)
    assert group.ep_fabric == Fabric(8, pytest.approx(1e-6), pytest.approx(450e9), 2)


def test_an_nvl72_engine_of_64_spans_trays_over_nvlink() -> None:
    # 18 trays of 4 GPUs on one NVLink switch fabric, 18 lanes of 25 GB/s each
    gpus = [part(f"rack.tray[{t}].gpu[{i}]", "chip") for t in range(18) for i in range(4)]
    memories = [part(f"{g.path}.hbm", "memory", bandwidth=8e12, capacity=186e9) for g in gpus]
    trays = [Container(f"rack.tray[{t}]", "node", "Tray") for t in range(18)]
    wires = [Wire(g.path, "rack.nvswitch", NVLINK, 18) for g in gpus]
    parts = [*gpus, *memories, part("rack.nvswitch")]
    joined = [(gpu.path, memory.path) for gpu, memory in zip(gpus, memories, strict=True)]
    graph = graph_of(parts, wires, trays, joined)
    selection = [gpu.path for gpu in gpus[8:]]
    groups, found = place(graph, vector("decode", 1, selection, tp=1, dp=64, ep=64, span=True))
    assert found == []
    fabric = groups["decode"].ep_fabric
    assert (fabric.size, fabric.hops) == (64, 2)
    assert fabric.alpha == pytest.approx(1e-6)
    assert fabric.bandwidth == pytest.approx(450e9)


@given(
    count=st.integers(1, 5),
    tp=st.sampled_from([1, 2, 4]),
    pp=st.integers(1, 2),
    dp=st.integers(1, 2),
    offset=st.integers(0, 3),
)
def test_groups_are_equal_disjoint_contiguous_cuts(count, tp, pp, dp, offset) -> None:
    selection = [f"gpu[{i}]" for i in range(24)][offset:]
    gpus = [part(path, "chip") for path in selection]
    memories = [part(f"{path}.m", "memory", bandwidth=1e12) for path in selection]
    wires = [Wire(path, "sw", NDR) for path in selection]
    graph = graph_of(
        [*gpus, *memories, part("sw")], wires, joined=[(p, f"{p}.m") for p in selection]
    )
    size = tp * pp * dp
    groups, found = place(graph, vector("v", count, selection, tp=tp, pp=pp, dp=dp))
    left = len(selection) - count * size
    if left:
        assert [item.code for item in found] == ["HMS405" if left < 0 else "HMS406"]
    groups, found = place(graph, vector("v", count, selection, tp=tp, pp=pp, dp=dp, spare=True))
    if left < 0:
        assert [item.code for item in found] == ["HMS405"]
        return
    assert found == []
    cuts = [group.devices for group in groups.values()]
    assert list(chain(*cuts)) == selection[: count * size]
    assert {len(cut) for cut in cuts} == {size}


def test_a_client_without_hardware_gets_no_group(rack: HardwareGraph) -> None:
    assert place(rack, vector("web", 1, [], "Delay")) == ({}, [])


# --- other clients --------------------------------------------------------------------------


def test_other_clients_share_the_selection_evenly(rack: HardwareGraph) -> None:
    groups, found = place(rack, vector("guard", 2, NODES[4:8], "BatchEngine"))
    assert found == []
    assert [group.devices for group in groups.values()] == [tuple(NODES[4:6]), tuple(NODES[6:8])]
    assert {group.dp for group in groups.values()} == {2}


def test_a_cpu_computes_from_its_dram(rack: HardwareGraph) -> None:
    groups, _ = place(rack, vector("embed", 1, [CPU(0, 0)], "BatchEngine"))
    assert groups["embed"].memories == ("rack.node[0].dram[0]",)
    assert groups["embed"].memory_bandwidth == 307e9


def test_devices_of_a_group_that_share_a_memory_share_its_size() -> None:
    parts = [part("cpu[0]", "cpu"), part("cpu[1]", "cpu")]
    parts.append(part("dram", "memory", bandwidth=300e9, capacity=100e9))
    graph = graph_of(parts, [Wire(f"cpu[{i}]", "dram", DDR) for i in range(2)])
    both, _ = place(graph, vector("e", 1, ["cpu[0]", "cpu[1]"], "BatchEngine"))
    assert (both["e"].memories, both["e"].memory_capacity) == (("dram",), 50e9)
    assert both["e"].memory_bandwidth == 150e9
    one, _ = place(graph, vector("e", 1, ["cpu[0]"], "BatchEngine"))
    assert one["e"].memory_capacity == 100e9


def test_a_worker_pool_needs_no_memory() -> None:
    graph = graph_of([part("cpu", "cpu")], [])
    groups, found = place(graph, vector("w", 1, ["cpu"], "WorkerPool"))
    assert (found, groups["w"].memory_capacity) == ([], 0)


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "devices", "options", "code", "message"),
    [
        (2, NODES[:8], {"tp": 8}, "HMS405",
         "decode needs 2 x 8 = 16 devices, selection has 8"),
        (1, NODES[:4], {"tp": 2, "pp": 2, "dp": 2}, "HMS405",
         "decode needs 8 devices, selection has 4"),
        (3, NODES[:8], {"tp": 2}, "HMS406",
         "decode takes 3 x 2 = 6 of 8 devices and leaves 2"),
        (2, NODES[:24], {"tp": 12}, "HMS406",
         "decode[0] crosses nodes: rack.node[0] and rack.node[1]"),
        (1, NODES[:24], {"tp": 24}, "HMS406",
         "decode crosses nodes: rack.node[0] and rack.node[1] and 1 more"),
        (1, NODES[:8], {"tp": 2, "dp": 4, "ep": 3}, "HMS405",
         "decode: ep = 3 does not divide tp x dp = 2 x 4 = 8"),
        (1, NODES[:8], {"tp": 0}, "HMS405", "decode: tp = 0; 1 is the least"),
        (1, [], {}, "HMS405", "decode runs on nothing"),
        (1, ["rack.node[0]"], {}, "HMS405",
         "decode cannot run on rack.node[0]: it is no part"),
        (1, ["rack.leaf[0]"], {}, "HMS405",
         "decode cannot run on rack.leaf[0]: QM9700 is a switch"),
        (1, [GPU(0, 0), GPU(0, 1), GPU(0, 0)], {"tp": 3}, "HMS405",
         "decode selects rack.node[0].gpu[0] twice"),
        (1, [GPU(0, 7), CPU(0, 0)], {"tp": 2}, "HMS405",
         "decode mixes devices: rack.node[0].gpu[7] (H100) and rack.node[0].cpu[0] (Xeon8480C)"),
    ],
)  # fmt: skip
def test_refused_engines(
    rack: HardwareGraph, count: int, devices: list[str], options: dict, code: str, message: str
) -> None:
    assert refusal(rack, vector("decode", count, devices, **options)) == (code, message)


def test_refused_other_clients(rack: HardwareGraph) -> None:
    few = vector("decode", 3, NODES[:2], "BatchEngine")
    assert refusal(rack, few) == ("HMS405", "decode needs 3 x 1 = 3 devices, selection has 2")
    uneven = vector("decode", 2, NODES[:5], "WorkerPool")
    assert refusal(rack, uneven)[0] == "HMS406"
    ways = vector("decode", 2, NODES[:6], "BatchEngine", tp=2)
    assert refusal(rack, ways) == (
        "HMS405",
        "decode: tp x pp x dp = 2 does not divide its 3 devices",
    )


def test_a_memory_offers_the_device_beside_it(rack: HardwareGraph) -> None:
    _, found = place(rack, vector("decode", 1, [GPU(0, 0) + ".hbm"]))
    assert found[0].notes == ("help: select a device such as rack.node[0].gpu[0]",)


def test_an_engine_on_a_device_without_memory() -> None:
    graph = graph_of([part("gpu", "chip")], [])
    assert refusal(graph, vector("decode", 1, ["gpu"])) == (
        "HMS405",
        "decode needs memory, and gpu has none",
    )


def test_devices_of_one_type_that_were_changed_apart() -> None:
    gpus = [part(f"gpu[{i}]", "chip", type_name="H100") for i in range(2)]
    sizes = [80e9, 141e9]
    memories = [
        part(f"gpu[{i}].m", "memory", bandwidth=1e12, capacity=c) for i, c in enumerate(sizes)
    ]
    graph = graph_of([*gpus, *memories], [], joined=[(g.path, f"{g.path}.m") for g in gpus])
    assert refusal(graph, vector("decode", 1, ["gpu[0]", "gpu[1]"], tp=2)) == (
        "HMS405",
        "decode mixes devices: gpu[0] and gpu[1] differ in peak rate or memory",
    )


def test_devices_that_nothing_joins() -> None:
    gpus = [part(f"gpu[{i}]", "chip") for i in range(2)]
    memories = [part(f"gpu[{i}].m", "memory", bandwidth=1e12) for i in range(2)]
    graph = graph_of([*gpus, *memories], [], joined=[(g.path, f"{g.path}.m") for g in gpus])
    assert refusal(graph, vector("decode", 1, ["gpu[0]", "gpu[1]"], tp=2)) == (
        "HMS408",
        "no route from gpu[0] to gpu[1]",
    )
    groups, found = place(graph, vector("decode", 2, ["gpu[0]", "gpu[1]"]))
    assert (len(groups), found) == (2, [])


# --- devices of two clients -----------------------------------------------------------------


def test_sharing_needs_the_consent_of_both(rack: HardwareGraph) -> None:
    embed = vector("embed", 2, [CPU(0, 1), CPU(1, 1)], "BatchEngine")
    search = vector("search", 2, [CPU(0, 1), CPU(1, 1)], "WorkerPool")
    _, found = place(rack, embed + search)
    assert [(item.code, item.message, item.span) for item in found] == [
        (
            "HMS406",
            "search[0] uses rack.node[0].cpu[1] and 1 more, which embed[0] uses too",
            AT,
        )
    ]
    assert found[0].notes[0].endswith("`share = true` on embed and search")
    willing = [replace(request, share=True) for request in embed]
    _, found = place(rack, willing + search)
    assert found[0].notes[0].endswith("`share = true` on search")
    _, found = place(rack, willing + [replace(request, share=True) for request in search])
    assert found == []


def test_a_third_client_that_does_not_share_is_named(rack: HardwareGraph) -> None:
    willing = [vector(name, 1, [CPU(0, 0)], "WorkerPool", share=True)[0] for name in "ab"]
    _, found = place(rack, [*willing, *vector("c", 1, [CPU(0, 0)], "WorkerPool")])
    assert [item.message for item in found] == [
        "c uses rack.node[0].cpu[0], which a uses too"
    ]  # fmt: skip


def test_spare_devices_may_serve_others(rack: HardwareGraph) -> None:
    one = vector("one", 1, NODES[:8], tp=4, spare=True)
    _, found = place(rack, one + vector("two", 1, NODES[4:8], tp=4))
    assert found == []


# --- tiers ----------------------------------------------------------------------------------


def hbm(nodes: int) -> list[str]:
    return [f"{GPU(n, i)}.hbm" for n in range(nodes) for i in range(8)]


def test_tiers_by_device_node_rack_and_all(rack: HardwareGraph) -> None:
    memories = hbm(2)
    assert tier_stores(rack, memories, "device") == [(memory,) for memory in memories]
    assert tier_stores(rack, memories, "node") == [tuple(memories[:8]), tuple(memories[8:])]
    assert tier_stores(rack, memories, "rack") == [tuple(memories)]
    assert tier_stores(rack, memories, "all") == [tuple(memories)]


def test_memories_of_one_device_are_one_store() -> None:
    parts: list[Part] = [part("gpu", "chip")]
    parts += [part(f"gpu.hbm[{i}]", "memory", bandwidth=1e12) for i in range(2)]
    graph = graph_of(parts, [], joined=[("gpu", f"gpu.hbm[{i}]") for i in range(2)])
    assert tier_stores(graph, ["gpu.hbm[0]", "gpu.hbm[1]"], "device") == [
        ("gpu.hbm[0]", "gpu.hbm[1]")
    ]


def test_tiers_of_a_client_join_the_memories_it_computes_from(rack: HardwareGraph) -> None:
    groups, _ = place(rack, vector("p", 4, NODES[:16], tp=4))
    memories = hbm(2)
    assert tier_stores(rack, memories, "client", groups) == [
        tuple(memories[at : at + 4]) for at in (0, 4, 8, 12)
    ]


def test_a_memory_beside_a_clients_devices_is_its_own() -> None:
    # Clients in nodes of their own, each with an LPDDR on the bus; the platform has one for all.
    parts, wires, joined, boxes = [], [], [], [Container("p", "node", "Platform")]
    for c in range(2):
        box = f"p.client[{c}]"
        boxes.append(Container(box, "node", "Client"))
        parts += [part(f"{box}.gpu", "chip"), part(f"{box}.gpu.m", "memory", bandwidth=1e12)]
        parts += [part(f"{box}.bus"), part(f"{box}.lpddr", "memory", bandwidth=128e9)]
        wires += [Wire(f"{box}.gpu", f"{box}.bus", NVLINK), Wire(f"{box}.bus", f"{box}.lpddr", DDR)]
        joined.append((f"{box}.gpu", f"{box}.gpu.m"))
    parts.append(part("p.dram", "memory", bandwidth=32e9))
    graph = graph_of(parts, wires, boxes, joined)
    groups, _ = place(graph, vector("llm", 2, ["p.client[0].gpu", "p.client[1].gpu"]))
    lpddr = ["p.client[0].lpddr", "p.client[1].lpddr"]
    assert tier_stores(graph, lpddr, "client", groups) == [(lpddr[0],), (lpddr[1],)]
    assert tier_stores(graph, lpddr, "node") == [(lpddr[0],), (lpddr[1],)]
    assert tier_stores(graph, ["p.dram"], "node") == [("p.dram",)]
    # A client looks into the innermost of the nodes around it that has a store.
    assert stores_in_reach(graph, [("p.dram",)], "node", groups) == dict.fromkeys(groups, 0)
    assert list(stores_in_reach(graph, [lpddr[:1], lpddr[1:]], "node", groups).values()) == [0, 1]
    with pytest.raises(TierError, match=r"no client is near p\.dram"):
        tier_stores(graph, ["p.dram"], "client", groups)


@pytest.mark.parametrize(
    ("scope", "reach"),
    [
        ("client", [0, 1, 2, 3, None]), ("node", [0, 0, 1, 1, None]), ("rack", [0] * 5),
        ("all", [0] * 5),
    ],
)  # fmt: skip
def test_who_looks_into_which_store(
    rack: HardwareGraph, scope: str, reach: list[int | None]
) -> None:
    # Four engines on two nodes whose HBM has the tier, and one on a third node.
    groups, _ = place(rack, vector("p", 4, NODES[:16], tp=4))
    far, _ = place(rack, vector("far", 1, NODES[16:24], tp=8))
    stores = tier_stores(rack, hbm(2), scope, groups)
    found = stores_in_reach(rack, stores, scope, groups | far)
    assert [found.get(f"p[{i}]") for i in range(4)] + [found.get("far")] == reach


def test_a_client_on_one_device_looks_into_its_store(rack: HardwareGraph) -> None:
    groups, _ = place(rack, vector("p", 4, NODES[:4]))
    wide, _ = place(rack, vector("wide", 1, NODES[4:8], tp=4))
    stores = tier_stores(rack, hbm(1), "device", groups)
    assert stores_in_reach(rack, stores, "device", groups | wide) == {
        f"p[{i}]": i for i in range(4)
    }


@pytest.mark.parametrize(
    ("memory", "scope", "message"),
    [
        ("free", "node", "scope = node, but free is in no node"),
        ("free", "rack", "scope = rack, but free is in no rack"),
        ("free", "client", "scope = client, but no client is near free"),
        ("free", "row", "scope is device, client, node, rack or all, not row"),
    ],
)
def test_scopes_that_cannot_be(memory: str, scope: str, message: str) -> None:
    graph = graph_of([part("free", "memory", bandwidth=1e9)], [])
    groups: dict[str, Group] = {}
    with pytest.raises(TierError) as raised:
        tier_stores(graph, [memory], scope, groups)
    assert str(raised.value) == message


def test_a_node_alone_is_a_whole_machine() -> None:
    parts, joined = node_parts("box")
    graph = graph_of(parts, node_wires("box"), [Container("box", "node", "DGX")], joined)
    groups, found = place(graph, vector("llm", 1, [f"box.gpu[{i}]" for i in range(8)], tp=8))
    assert found == []
    assert groups["llm"].tp_fabric.bandwidth == 450e9

"""Machines built by hand: a DGX H100 and a rack of them, as the language's first program has it.

Bandwidths per direction: NVLink4 25 GB/s a lane and 18 lanes a GPU, PCIe 5 x16 64 GB/s, NDR
400 Gbit/s, UPI 20.8 GB/s a lane, HBM3 3.35 TB/s (vendor data sheets).
"""

from __future__ import annotations

from hermesdsl.graph import hardware
from hermesdsl.graph.hardware import Wire
from hermesdsl.graph.types import Container, HardwareGraph, Link, Part

NVLINK = Link("NVLink4", 25e9, 0.5e-6)
PCIE = Link("PCIe5x16", 64e9, 1e-6)
NDR = Link("NDR", 50e9, 2e-6)
UPI = Link("UPI", 20.8e9, 0.3e-6)
DDR = Link("", 307e9, 0.0)


def node_parts(node: str) -> tuple[list[Part], list[tuple[str, str]]]:
    """The parts of one DGX and the memories inside its GPUs."""
    gpus = [
        Part(f"{node}.gpu[{i}]", "chip", "H100", power=700.0, peak={"bf16": 989e12})
        for i in range(8)
    ]
    hbm = [
        Part(f"{gpu.path}.hbm", "memory", "Memory", bandwidth=3.35e12, capacity=80 * 2**30)
        for gpu in gpus
    ]
    nics = [Part(f"{node}.nic[{i}]", "nic", "ConnectX7", forwards=True) for i in range(8)]
    pcie = [Part(f"{node}.pcie[{i}]", "switch", "PCIeSwitch", forwards=True) for i in range(4)]
    cpus = [Part(f"{node}.cpu[{i}]", "cpu", "Xeon8480C", forwards=True) for i in range(2)]
    dram = [
        Part(f"{node}.dram[{i}]", "memory", "Memory", bandwidth=307e9, capacity=2**40)
        for i in range(2)
    ]
    nvswitch = Part(f"{node}.nvswitch", "switch", "NVSwitchFabric", forwards=True, ports=144)
    ssd = Part(f"{node}.ssd", "memory", "Memory", bandwidth=25e9, capacity=30e12)
    parts = [*gpus, *hbm, nvswitch, *pcie, *nics, *cpus, *dram, ssd]
    return parts, [(gpu.path, memory.path) for gpu, memory in zip(gpus, hbm, strict=True)]


def node_wires(node: str) -> list[Wire]:
    """The wires inside one DGX."""
    return [
        *(Wire(f"{node}.gpu[{i}]", f"{node}.nvswitch", NVLINK, 18) for i in range(8)),
        *(Wire(f"{node}.gpu[{i}]", f"{node}.pcie[{i // 2}]", PCIE) for i in range(8)),
        *(Wire(f"{node}.nic[{i}]", f"{node}.pcie[{i // 2}]", PCIE) for i in range(8)),
        *(Wire(f"{node}.pcie[{i}]", f"{node}.cpu[{i // 2}]", PCIE) for i in range(4)),
        *(Wire(f"{node}.cpu[{i}]", f"{node}.dram[{i}]", DDR) for i in range(2)),
        Wire(f"{node}.cpu[0]", f"{node}.cpu[1]", UPI, 3),
        Wire(f"{node}.cpu[0]", f"{node}.ssd", PCIE),
    ]


def rack_pieces(
    nodes: int = 4, leaves: int = 2
) -> tuple[list[Part], list[Wire], list[Container], list[tuple[str, str]]]:
    """HopperRack as `hardware.build` takes it: NIC i on leaf i mod leaves, two spines."""
    parts: list[Part] = []
    joined: list[tuple[str, str]] = []
    wires: list[Wire] = []
    containers = [Container("rack", "rack", "HopperRack")]
    for n in range(nodes):
        node = f"rack.node[{n}]"
        containers.append(Container(node, "node", "DGX_H100", power_limit=10200.0))
        own, inside = node_parts(node)
        parts += own
        joined += inside
        wires += node_wires(node)
        wires += [Wire(f"{node}.nic[{i}]", f"rack.leaf[{i % leaves}]", NDR) for i in range(8)]
    for name, count in (("leaf", leaves), ("spine", 2)):
        parts += [
            Part(f"rack.{name}[{i}]", "switch", "QM9700", forwards=True, ports=64)
            for i in range(count)
        ]
    wires += [
        Wire(f"rack.leaf[{i}]", f"rack.spine[{j}]", NDR, 16)
        for i in range(leaves)
        for j in range(2)
    ]
    return parts, wires, containers, joined


def part(path: str, kind: str = "switch", **values: object) -> Part:
    """A part that forwards unless it is a chip or a memory."""
    forwards = values.pop("forwards", kind not in ("chip", "memory"))
    return Part(path, kind, str(values.pop("type_name", kind.title())), forwards=forwards, **values)


def graph_of(
    parts: list[Part],
    wires: list[Wire],
    containers: list[Container] | None = None,
    joined: list[tuple[str, str]] | None = None,
) -> HardwareGraph:
    """A sound hardware graph."""
    graph, found = hardware.build(parts, wires, containers or [], joined or [])
    assert found == []
    return graph

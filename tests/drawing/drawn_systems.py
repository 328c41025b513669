"""Systems built by hand, shaped like the normative programs: what the compiler would hand over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import networkx as nx

from hermesdsl.graph.types import (
    Choice,
    Client,
    CompiledSystem,
    Container,
    Group,
    Guard,
    Link,
    LlmModel,
    Part,
    Pool,
    Spec,
    StageNode,
)

GIB = 2.0**30
NVLINK4 = Link("NVLink4", 25e9, 0.5e-6, "25 GB/s")
PCIE = Link("PCIe5x16", 64e9, 1e-6, "64 GB/s")
NDR = Link("NDR", 50e9, 2e-6, "400 Gbit/s")
UPI = Link("UPI", 20.8e9, 0.3e-6, "20.8 GB/s")


class Hardware:
    """A hardware graph under construction."""

    def __init__(self) -> None:
        self.graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        self.graph.graph["containers"] = {}

    def box(self, path: str, kind: str, type_name: str, *said: tuple[str, str], doc: str = ""):
        self.graph.graph["containers"][path] = Container(
            path, kind, type_name, doc=doc, labels=said
        )

    def part(self, path: str, kind: str, type_name: str, *said: tuple[str, str], **values):
        self.graph.add_node(
            path,
            part=Part(path, kind, type_name, forwards=kind != "chip", labels=said, **values),
        )

    def wire(self, a: str, b: str, link: Link, lanes: int = 1, *, one_way: bool = False):
        key = self.graph.new_edge_key(a, b)
        data = {
            "link": link,
            "lanes": lanes,
            "bandwidth": link.bandwidth * lanes,
            "latency": link.latency,
        }
        self.graph.add_edge(a, b, key=key, **data)
        if not one_way:
            self.graph.add_edge(b, a, key=key, **data)

    def memory(self, path: str, type_name: str, capacity: str, bandwidth: str, owner: str = ""):
        said = (("capacity", capacity), ("bandwidth", bandwidth))
        self.part(path, "memory", type_name, *said, capacity=80 * GIB, bandwidth=3.35e12)
        if owner:
            self.wire(owner, path, Link("", 3.35e12, 0.0, bandwidth))


def dgx(hw: Hardware, path: str, gpus: int = 8) -> None:
    """The node DGX_H100 of the language page."""
    limit = ("power_limit", "10.2 kW")
    hw.box(path, "node", "DGX_H100", limit, doc="Eight GPUs behind one NVSwitch fabric.")
    for i in range(gpus):
        doc = 'H100 SXM5, "80 GB". Dense rates, no sparsity.'
        peak = ("peak.bf16", "989 TFLOPS")
        hw.part(f"{path}.gpu[{i}]", "chip", "H100", peak, peak={"bf16": 989e12}, doc=doc)
        hw.memory(f"{path}.gpu[{i}].hbm", "Memory", "80 GiB", "3.35 TB/s", f"{path}.gpu[{i}]")
    hw.part(f"{path}.nvswitch", "switch", "NVSwitchFabric")
    for i in range(4):
        hw.part(f"{path}.pcie[{i}]", "switch", "PCIeSwitch")
    for i in range(gpus):
        hw.part(f"{path}.nic[{i}]", "nic", "ConnectX7")
    for i in range(2):
        hw.part(f"{path}.cpu[{i}]", "cpu", "Xeon8480C", cores=56)
    for i in range(2):
        hw.memory(f"{path}.dram[{i}]", "Memory", "1 TiB", "307 GB/s")
    hw.memory(f"{path}.ssd", "Memory", "30 TB", "25 GB/s")
    for i in range(gpus):
        hw.wire(f"{path}.gpu[{i}]", f"{path}.nvswitch", NVLINK4, 18)
        hw.wire(f"{path}.gpu[{i}]", f"{path}.pcie[{i // 2}]", PCIE)
        hw.wire(f"{path}.nic[{i}]", f"{path}.pcie[{i // 2}]", PCIE)
    for i in range(4):
        hw.wire(f"{path}.pcie[{i}]", f"{path}.cpu[{i // 2}]", PCIE)
    for i in range(2):
        hw.wire(f"{path}.cpu[{i}]", f"{path}.dram[{i}]", Link("", 307e9, 0.0, "307 GB/s"))
    hw.wire(f"{path}.cpu[0]", f"{path}.cpu[1]", UPI, 3)
    hw.wire(f"{path}.cpu[0]", f"{path}.ssd", PCIE)


def rack(nodes: int = 4, leaves: int = 2) -> Hardware:
    """The rack HopperRack of the language page."""
    hw = Hardware()
    hw.box("rack", "rack", "HopperRack")
    for n in range(nodes):
        dgx(hw, f"rack.node[{n}]")
    for i in range(leaves):
        hw.part(f"rack.leaf[{i}]", "switch", "QM9700", ports=64)
    for i in range(2):
        hw.part(f"rack.spine[{i}]", "switch", "QM9700", ports=64)
    for i in range(8):
        for n in range(nodes):
            hw.wire(f"rack.node[{n}].nic[{i}]", f"rack.leaf[{i % leaves}]", NDR)
    for leaf in range(leaves):
        for spine in range(2):
            hw.wire(f"rack.leaf[{leaf}]", f"rack.spine[{spine}]", NDR, 16)
    return hw


def hall() -> Hardware:
    """The cluster Hall of programs/09_storage.hms: 128 clients of two GPUs."""
    hw = Hardware()
    hw.box("hall", "cluster", "Hall")
    bus = Link("ClientBus", 128e9, 0.5e-3, "128 GB/s")
    plat = Link("PlatBus", 16e9, 1e-3, "16 GB/s")
    net = Link("RackNet", 8e9, 5e-3, "8 GB/s")
    dcn = Link("DCN", 128e9, 20e-3, "128 GB/s")
    hw.part("hall.core", "switch", "Switch")
    for r in range(4):
        top = f"hall.rack[{r}]"
        hw.box(top, "rack", "StoreRack")
        hw.part(f"{top}.tor", "switch", "Switch")
        hw.memory(f"{top}.ssd", "Memory", "32 TB", "2 GB/s")
        hw.wire(f"{top}.tor", "hall.core", dcn)
        hw.wire(f"{top}.tor", f"{top}.ssd", Link("", 2e9, 2e-3, "2 GB/s"))
        for p in range(8):
            platform = f"{top}.platform[{p}]"
            hw.box(platform, "node", "Platform")
            hw.part(f"{platform}.hub", "switch", "Switch")
            hw.memory(f"{platform}.dram", "Memory", "4 TB", "32 GB/s")
            hw.wire(f"{platform}.hub", f"{platform}.dram", Link("", 32e9, 1e-4, "32 GB/s"))
            for c in range(4):
                client = f"{platform}.client[{c}]"
                hw.box(client, "node", "Client")
                hw.part(f"{client}.bus", "switch", "Switch")
                hw.memory(f"{client}.lpddr", "Memory", "1 TB", "128 GB/s")
                hw.wire(f"{client}.bus", f"{client}.lpddr", bus)
                for g in range(2):
                    gpu = f"{client}.gpu[{g}]"
                    peak = ("peak.bf16", "989 TFLOPS")
                    hw.part(gpu, "chip", "H100", peak, peak={"bf16": 989e12})
                    hw.memory(f"{gpu}.hbm", "Memory", "80 GiB", "3.35 TB/s", gpu)
                    hw.wire(gpu, f"{client}.bus", NVLINK4, 18)
                hw.wire(f"{client}.bus", f"{platform}.hub", plat)
                hw.wire(f"{client}.bus", f"{top}.tor", net)
    return hw


LLAMA = LlmModel(
    "Llama3_70B", 80, 8192, 28672, 128256, 64, 8, 128, 70.6e9, 70.6e9, "bf16", "bf16", "bf16",
    141.2e9, 327680.0,
)  # fmt: skip


class Placement:
    """A placement graph under construction over some hardware."""

    def __init__(self, hw: Hardware) -> None:
        self.hw = hw
        self.graph: nx.DiGraph[str] = nx.DiGraph()
        self.graph.graph["pools"] = {}

    def client(
        self,
        path: str,
        type_name: str,
        devices: Iterable[str],
        *said: tuple[str, str],
        role: str = "device",
        model: LlmModel | None = None,
        doc: str = "",
    ) -> None:
        devices = tuple(devices)
        vector = path.rpartition("[")[0] if path.endswith("]") else ""
        part = self.hw.graph.nodes[devices[0]]["part"] if devices else None
        group = Group(devices, part, (), 0.0, 0.0, tp=len(devices)) if part and model else None
        client = Client(path, type_name, group, model, vector, doc, labels=said)
        self.graph.add_node(path, client=client)
        for device in devices:
            self.graph.add_node(device, part=self.hw.graph.nodes[device]["part"])
            self.graph.add_edge(path, device, role=role)
            if type_name == "LlmEngine":
                hbm = f"{device}.hbm"
                self.graph.add_node(hbm, part=self.hw.graph.nodes[hbm]["part"])
                self.graph.add_edge(path, hbm, role="memory")

    def pool(self, path: str, *members: str, route: str = "round_robin") -> None:
        self.graph.graph["pools"][path] = Pool(path, members, Spec(route))


def serving() -> tuple[Hardware, Placement]:
    """Program (b): four prefill and two decode engines, CPU servers beside them."""
    hw = rack()
    place = Placement(hw)
    for i in range(4):
        gpus = [f"rack.node[{i // 2}].gpu[{4 * (i % 2) + g}]" for g in range(4)]
        said = (("model", "Llama3_70B"), ("tp", "4"), ("batching", "chunked(8192 tok)"))
        doc = "Compute-bound: four TP4 engines on the first two nodes."
        place.client(f"prefill[{i}]", "LlmEngine", gpus, *said, model=LLAMA, doc=doc)
    for i in range(2):
        gpus = [f"rack.node[{2 + i}].gpu[{g}]" for g in range(8)]
        said = (("tp", "8"), ("batching", "continuous"), ("max_batch", "256"))
        place.client(f"decode[{i}]", "LlmEngine", gpus, *said, model=LLAMA)
    for i in range(2):
        cpu = [f"rack.node[{i}].cpu[1]"]
        place.client(f"embedder[{i}]", "BatchEngine", cpu, ("max_wait", "5 ms"))
    for i in range(2):
        place.client(f"retriever[{i}]", "WorkerPool", [f"rack.node[{i}].cpu[1]"], ("workers", "24"))
    place.client("frontend", "WorkerPool", ["rack.node[0].cpu[0]"], ("workers", "8"))
    place.pool("prefill", *(f"prefill[{i}]" for i in range(4)), route="least_work")
    place.pool("decode", "decode[0]", "decode[1]")
    place.pool("embedder", "embedder[0]", "embedder[1]")
    place.pool("retriever", "retriever[0]", "retriever[1]")
    place.pool("frontend", "frontend")
    return hw, place


def pipeline(name: str, stages: dict[str, StageNode], edges, joins=(), path: str | None = None):
    """A pipeline graph; edges are (tail, head) or (tail, head, Choice), names local."""
    path = path or name
    graph: nx.DiGraph[str] = nx.DiGraph(name=name, path=path, doc="")

    def full(local: str) -> str:
        return f"{path}.{local}" if local in stages else local

    graph.add_node("input", join=None)
    for local, stage in stages.items():
        join = "merge" if local in dict(joins) else None
        stage = replace(stage, path=f"{path}.{local}")
        graph.add_node(f"{path}.{local}", stage=stage, join=dict(joins).get(local, join))
    for tail, head, *choice in edges:
        graph.add_edge(full(tail), full(head), choice=choice[0] if choice else None)
    return graph


def rag_chat() -> nx.DiGraph:
    """Program (c)."""
    where = "RagChat.reason.attempt"
    tokens = ("tokens", "lognormal(median = 900 tok, sigma = 0.6)")
    attempt = pipeline(
        "Attempt",
        {
            "think": StageNode("", "Decode", "decode", labels=(tokens,)),
            "check": StageNode("", "Score", "frontend", labels=(("service", "8 ms"),)),
        },
        [("input", "think"), ("think", "check"), ("check", "output")],
        path=where,
    )
    again = Spec("while", {"p": 0.35, "max": 4})
    path = pipeline(
        "ReasonPath",
        {
            "read": StageNode("", "Prefill", "prefill"),
            "attempt": StageNode("", "Attempt", repeat=again, inner=attempt),
        },
        [("input", "read"), ("read", "attempt"), ("attempt", "output")],
        path="RagChat.reason",
    )
    retrieve = (("index", "wiki"), ("top_k", "8"), ("chunk", "512 tok"))
    stages = {
        "classify": StageNode("", "Classify", "frontend", labels=(("service", "2 ms"),)),
        "embed": StageNode("", "Embed", "embedder"),
        "retrieve": StageNode("", "Retrieve", "retriever", labels=retrieve),
        "fetch_kv": StageNode("", "KvFetch", "prefill", labels=(("cache", "prefix_kv"),)),
        "prefill": StageNode("", "Prefill", "prefill", doc="Reads what is not cached."),
        "answer": StageNode("", "Decode", "decode"),
        "reason": StageNode("", "ReasonPath", replicas=4, join=Spec("majority"), inner=path),
        "final": StageNode("", "Generate", "decode", options={"prefill": "prefill"}),
        "guard": StageNode("", "Guard", "frontend", labels=(("service", "3 ms"),)),
    }
    turn = Guard(">", ("turn", 1.0), "turn > 1")
    edges = [
        ("input", "classify"),
        ("classify", "fetch_kv", Choice(0, guard=turn, label="turn > 1")),
        ("classify", "embed", Choice(1, share=0.7, label="70%")),
        ("embed", "retrieve"),
        ("retrieve", "fetch_kv"),
        ("classify", "reason", Choice(2, label="else")),
        ("reason", "final"),
        ("final", "guard"),
        ("fetch_kv", "prefill"),
        ("prefill", "answer"),
        ("answer", "guard"),
        ("guard", "output"),
    ]
    return pipeline("RagChat", stages, edges, {"fetch_kv": "merge", "guard": "merge"})


def cascade() -> nx.DiGraph:
    """Program 07: two branches, and requests that are refused."""
    stages = {
        "check_in": StageNode("", "Guard", "guard"),
        "draft": StageNode("", "Generate", "small", labels=(("hidden", "true"),)),
        "judge": StageNode("", "Score", "guard"),
        "strong": StageNode("", "Generate", "big"),
        "check_out": StageNode("", "Guard", "guard"),
    }
    edges = [
        ("input", "check_in"),
        ("check_in", "refused", Choice(0, share=0.02)),
        ("check_in", "draft", Choice(1)),
        ("draft", "judge"),
        ("judge", "check_out", Choice(0, share=0.7)),
        ("judge", "strong", Choice(1)),
        ("strong", "check_out"),
        ("check_out", "output"),
    ]
    return pipeline("Cascade", stages, edges)


def rag() -> nx.DiGraph:
    """Program 05: sixteen shards, each asked once, all awaited; and an AND fork."""
    each = StageNode("", "Retrieve", "shards", replicas=16, spread="each", join=Spec("all"))
    stages = {
        "embed": StageNode("", "Embed", "embedder"),
        "search": each,
        "web": StageNode("", "Tool", "web"),
        "merge": StageNode("", "Step", "merger", labels=(("service", "20 us"),)),
        "answer": StageNode("", "Generate", "big"),
    }
    edges = [
        ("input", "embed"),
        ("embed", "search"),
        ("embed", "web"),
        ("search", "merge"),
        ("web", "merge"),
        ("merge", "answer"),
        ("answer", "output"),
    ]
    return pipeline("Rag", stages, edges, {"merge": "wait"})


def pools() -> tuple[Hardware, Placement]:
    """Programs 02 and 07: two engine types behind one name, small models beside them."""
    hw = Hardware()
    for i in range(2):
        dgx(hw, f"box[{i}]")
    place = Placement(hw)
    for i in range(2):
        gpus = [f"box[0].gpu[{4 * i + g}]" for g in range(4)]
        place.client(f"big[{i}]", "LlmEngine", gpus, ("tp", "4"), model=LLAMA)
    for i in range(2):
        place.client(f"small[{i}]", "LlmEngine", [f"box[1].gpu[{i}]"], model=LLAMA)
    for i in range(2):
        place.client(f"guard[{i}]", "BatchEngine", [f"box[1].gpu[{4 + i}]"], model=LLAMA)
    place.client("web", "Delay", [], ("latency", "lognormal(p50 = 900 ms, p99 = 8 s)"))
    tier = (("capacity", "20 TB"), ("scope", "node"))
    place.client("kv.ssd", "KvTier", ["box[0].ssd", "box[1].ssd"], *tier, role="memory")
    place.pool("any", "big[0]", "big[1]", "small[0]", "small[1]", route="least_work")
    place.pool("guard", "guard[0]", "guard[1]")
    place.pool("web", "web")
    return hw, place


def system(hw: Hardware | None = None, place: Placement | None = None, *pipes) -> CompiledSystem:
    """A compiled system of the given parts; what is left out is empty."""
    hw = hw or Hardware()
    place = place or Placement(hw)
    return CompiledSystem(
        hw.graph, place.graph, {pipe.graph["name"]: pipe for pipe in pipes}, {}, {}
    )


def fleet() -> Hardware:
    """Program 02: three kinds of nodes around one switch."""
    hw = Hardware()
    hw.box("fleet", "cluster", "Fleet")
    hw.part("fleet.sw", "switch", "QM9700", ports=64)
    for name, count, gpus in (("h", 2, 8), ("a", 4, 8), ("l", 6, 4)):
        for i in range(count):
            path = f"fleet.{name}[{i}]"
            if name == "l":
                hw.box(path, "node", "L40S_Box")
                hw.part(f"{path}.cpu", "cpu", "Xeon8480C", cores=56)
                hw.part(f"{path}.nic", "nic", "ConnectX7")
                hw.wire(f"{path}.nic", f"{path}.cpu", PCIE)
                for g in range(gpus):
                    hw.part(f"{path}.gpu[{g}]", "chip", "L40S", peak={"bf16": 362e12})
                    hw.wire(f"{path}.gpu[{g}]", f"{path}.cpu", PCIE)
                hw.wire(f"{path}.nic", "fleet.sw", NDR)
            else:
                dgx(hw, path, gpus)
                for g in range(gpus):
                    hw.wire(f"{path}.nic[{g}]", "fleet.sw", NDR)
    return hw

"""The specifications that are timed, and the traces that they replay.

A trace of n requests is `cumsum(default_rng(42).exponential(1.0, n)) / rate` seconds, every request
with the same numbers of tokens. Traces are made in a temporary folder beside their specification.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

AZURE = Path(__file__).parents[2] / "shared/data/traces/azure_llm_2023_conv.csv.gz"

_SERVING = """
from std.nvidia.{module} import {node}
from std.models.llama import {model}
box[{nodes}]: {node}
llm[{replicas}]: LlmEngine on box[*].gpu[0:{gpus}] {{
    model = {model}; tp = {tp}; batching = chunked(2048 tok); max_batch = 256; route = {route}
}}
chat: Chat {{ llm = llm }}
workload load {{ pipeline = chat; arrivals = trace("load.csv") }}
experiment bench {{ workload = [load] }}
"""

#: Retrieval, a KV hierarchy and two pools of engines between which KV moves over shared links.
_EVERYTHING = """
from std.nvidia.hopper    import HopperRack
from std.models.llama     import Llama3_1_8B
from std.models.embedding import E5_Base
rack: HopperRack { nodes = 4 }
index wiki { kind = ivf_pq(centroids = 65_536, probes = 32); vectors = 1e8; dim = 768 }
embedder[4]: BatchEngine on rack.node[*].cpu[1] { model = E5_Base; max_wait = 2 ms; share = true }
retriever[4]: WorkerPool on rack.node[*].cpu[1] { workers = 24; share = true }
reader[12]: LlmEngine on rack.node[0:2].gpu[0:6] {
    model = Llama3_1_8B; batching = chunked(2048 tok); max_batch = 256
}
writer[12]: LlmEngine on rack.node[2:4].gpu[0:6] {
    model = Llama3_1_8B; batching = continuous; max_batch = 256
}
cache kv {
    dram: KvTier on rack.node[0:2].dram[0] { scope = node; capacity = 64 GiB }
    ssd:  KvTier on rack.node[0:2].ssd     { scope = node; capacity = 2 TB; latency = 80 us }
    dram -> ssd -> recompute
}
pipeline Rag {
    embed:    Embed    on embedder
    retrieve: Retrieve on retriever { index = wiki; top_k = 4; chunk = 128 tok }
    fetch:    KvFetch  { cache = kv }
    prefill:  Prefill  on reader
    decode:   Decode   on writer
    input -> embed -> retrieve -> fetch -> prefill -> decode -> output
}
workload load {
    pipeline = Rag; arrivals = trace("load.csv")
    prefix   = reuse(length = 1024 tok, over = zipf(400, s = 0.9))
}
experiment bench { workload = [load]; contention = fair }
"""


@dataclass(frozen=True)
class Serving:
    """Requests of equal length on `replicas` engines of `tp` GPUs each, eight GPUs to a node
    (fewer GPUs: part of one).

    `rate` is that of all replicas together, requests per second.
    """

    requests: int
    replicas: int
    rate: float
    prompt: int = 512
    output: int = 256
    route: str = "round_robin"
    model: str = "Llama3_1_8B"
    node: str = "DGX_A100"
    tp: int = 1

    def write(self, folder: Path) -> Path:
        """The specification and its trace; the path of the first."""
        gaps = np.random.default_rng(42).exponential(1.0, self.requests)
        rows = f",{self.prompt},{self.output}\n"
        with (folder / "load.csv").open("w") as trace:
            trace.write("arrival_s,prompt,output\n")
            trace.writelines(f"{at!r}{rows}" for at in (np.cumsum(gaps) / self.rate).tolist())
        return _specification(self, folder)


@dataclass(frozen=True)
class Replay:
    """The first `requests` rows of the Azure conversation trace of 2023 at their own times."""

    requests: int
    replicas: int
    route: str = "round_robin"
    model: str = "Llama3_1_70B"
    node: str = "DGX_H100"
    tp: int = 8

    def write(self, folder: Path) -> Path:
        """The specification and its trace; the path of the first."""
        with gzip.open(AZURE, "rt", newline="") as source, (folder / "load.csv").open("w") as out:
            rows = csv.reader(source)
            for row, _ in zip(rows, range(self.requests + 1), strict=False):
                out.write(",".join(row) + "\n")
        return _specification(self, folder)


def _specification(load: Serving | Replay, folder: Path) -> Path:
    module = "hopper" if "H100" in load.node else "ampere"
    gpus = load.replicas * load.tp
    text = _SERVING.format(
        module=module, node=load.node, model=load.model, nodes=max(gpus // 8, 1),
        gpus=min(gpus, 8), replicas=load.replicas, tp=load.tp, route=load.route,
    )  # fmt: skip
    path = folder / "bench.hms"
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Everything:
    """Retrieval, caches and two pools at once."""

    requests: int
    rate: float

    def write(self, folder: Path) -> Path:
        """The specification and its trace; the path of the first."""
        Serving(self.requests, 1, self.rate, prompt=128, output=128).write(folder)
        path = folder / "bench.hms"
        path.write_text(_EVERYTHING)
        return path

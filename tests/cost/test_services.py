"""Which stage gets which cost on which client, and what forbids one."""

import pytest

import hermesdsl
from hermesdsl.cost.forward import ForwardCost
from hermesdsl.cost.rag import SCAN_PER_CORE, SearchCost
from hermesdsl.cost.services import bind_services, index_bytes, work_of
from hermesdsl.cost.text import CONSTANTS, TextCost
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, StageNode, VectorIndex

PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
from std.models.embedding import E5_Base, BGE_Reranker

cpu Xeon { peak.fp32 = 4 TFLOPS; cores = 48 }
node Host { cpu: Xeon; dram: Memory { capacity = 256 GiB; bandwidth = 300 GB/s; latency = 0.1 us }
            connect cpu <-> dram }
host[5]: Host
gpu[2]: H100
llm: LlmEngine on gpu[0] { model = Llama3_1_8B }
judge: BatchEngine on gpu[1] { model = BGE_Reranker }
embedder: BatchEngine on host[4].cpu { model = E5_Base; share = true }
text: WorkerPool on host[4].cpu { workers = 24; share = true }
shards[4]: WorkerPool on host[0:4].cpu { workers = 48 }
index wiki { kind = INDEX; vectors = 1e9; dim = 768; shards = 4 }
pipeline Rag {
    read: Tokenize on text
    cut: Truncate on text { length = 512 tok }
    bad: Filter on text
    embed: Embed on embedder
    search[REPLICAS]: Retrieve on shards { index = wiki; top_k = 20; spread = SPREAD }
    rank: Rerank on judge { keep = 8 }
    guard: Guard on judge
    slow: Guard on text { service = 3 ms }
    answer: Generate on llm
    write: Detokenize on text
    input -> read -> cut -> bad -> embed -> search -> rank -> guard -> slow -> answer -> write
    write -> output
}
rag: Rag
workload w { pipeline = rag; arrivals = poisson(1 req/s); prompt = 60 tok; output = 10 tok }
"""


def compiled(text: str = PROGRAM, **words: str):
    words = {"INDEX": "ivf_pq(probes = 64)", "REPLICAS": "4", "SPREAD": "each", **words}
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return hermesdsl.compile(text).compiled


def test_every_stage_but_engines_and_own_times_has_a_cost():
    costs = bind_services(compiled())
    assert {stage for stage, _ in costs} == {
        f"rag.{name}" for name in ("read", "cut", "bad", "embed", "search", "rank", "guard",
                                   "write")
    }  # fmt: skip
    assert sorted(client for stage, client in costs if stage == "rag.search") == [
        f"shards[{i}]" for i in range(4)
    ]
    assert isinstance(costs["rag.embed", "embedder"], ForwardCost)
    assert costs["rag.guard", "judge"].head
    assert not costs["rag.rank", "judge"].head
    assert all(cost.seconds(2, 200) > 0 for cost in costs.values())


def test_workers_share_their_processors_cores():
    costs = bind_services(compiled())
    per_token, per_request = CONSTANTS["Tokenize"]
    assert costs["rag.read", "text"] == TextCost(per_token, per_request, cores=2.0)
    search = costs["rag.search", "shards[0]"]
    assert isinstance(search, SearchCost)
    assert (search.workers, search.machine.cores) == (48, 48)
    assert search.machine.bandwidth == pytest.approx(0.8 * 300e9)
    assert search.machine.latency == pytest.approx(1e-7)


def test_a_shard_reads_its_part_of_the_codes():
    # 64 of 65536 lists of a quarter of 1e9 vectors, 96 bytes each, beside all centroids.
    search = bind_services(compiled())["rag.search", "shards[0]"]
    centroids = 65536 * 768 * 4
    codes = 64 / 65536 * 0.25e9 * 96
    read = centroids + codes + 20 * 768 * 4 + 96 * 256 * 4
    assert search.index(1).bytes == pytest.approx(read)
    assert search.seconds(1, busy=1) == pytest.approx(read / SCAN_PER_CORE)
    whole = bind_services(compiled(REPLICAS="1", SPREAD="routed"))["rag.search", "shards[0]"]
    assert whole.index(1).bytes - search.index(1).bytes == pytest.approx(3 * codes)


@pytest.mark.parametrize(
    "kind", ["flat", "hnsw(ef = 64)", "tree(scanned = 0.1%)", "ivf_pq(centroids = 1000)"]
)
def test_every_kind_of_index_is_searched(kind):
    text = PROGRAM.replace("1e9; dim = 768", "1e8; dim = 128")
    costs = bind_services(compiled(text, INDEX=kind))
    assert 0 < costs["rag.search", "shards[0]"].seconds(1) < 10


def test_a_gpu_searches_at_its_own_bandwidth():
    text = PROGRAM.replace("shards[4]: WorkerPool on host[0:4].cpu { workers = 48 }",
                           "shards: WorkerPool on gpu[1] { share = true }")  # fmt: skip
    text = text.replace("model = BGE_Reranker }", "model = BGE_Reranker; share = true }")
    text = text.replace("1e9; dim = 768; shards = 4", "1e6; dim = 768")
    system = compiled(text, INDEX="gpu_flat", REPLICAS="1", SPREAD="routed")
    # 3.07 GB at 80 % of 3.35 TB/s, and one launch of 3.7 µs.
    seconds = bind_services(system)["rag.search", "shards"].seconds(1)
    assert seconds == pytest.approx(3.072e9 / (0.8 * 3.35e12) + 3.7e-6)


def test_a_reranker_reads_every_candidate_with_the_query():
    rank = StageNode("rag.rank", "Rerank", "judge", {"keep": 8, "chunk": 512})
    assert work_of(rank, 60, candidates=16 * 20) == (320, 320 * 572)
    assert work_of(StageNode("rag.embed", "Embed", "embedder"), 60, candidates=320) == (1, 60)


def test_sizes_of_indexes():
    ivf = VectorIndex("i", Spec("ivf_pq", {"centroids": 1000, "bytes_per_vector": 96}), 1e6, 768)
    assert index_bytes(ivf) == 1e6 * 96 + 1000 * 768 * 4
    graph = VectorIndex("i", Spec("hnsw", {"m": 32}), 1e6, 768, dtype="bf16")
    assert index_bytes(graph) == 1e6 * (768 * 2 + 2 * 32 * 4)


@pytest.mark.parametrize(
    ("old", "new", "words", "code", "message"),
    [
        ("", "", {"INDEX": "flat"}, "HMS407",
         "`wiki` takes 715.3 GiB on `shards[0]`, whose memory holds 256.0 GiB"),
        ("", "", {"INDEX": "gpu_flat"}, "HMS405",
         "`wiki` is searched on a GPU, and `shards[0]` runs on a CPU"),
        ("shards = 4", "shards = 6", {}, "HMS505",
         "rag.search: 4 replicas do not share out the 6 shards of `wiki` evenly"),
        ("on host[0:4].cpu { workers = 48 }", "{ workers = 48 }", {}, "HMS405",
         "rag.search searches on `shards[0]`, which has no memory"),
        ("peak.fp32 = 4 TFLOPS", "peak.int8 = 4 TOPS", {}, "HMS411",
         "`Xeon` has no peak for bf16 (the model of `embedder`)"),
        # 0.9 GB runtime + 1.14 GB weights + 5e6 tokens of 2 (4·1024 + 3·4096) B of activations
        # and 4096 B of KV in one layer.
        ("model = BGE_Reranker", "model = BGE_Reranker; max_tokens = 5e6", {}, "HMS407",
         "`judge` needs 173.6 GiB per device for its weights and the largest batch, "
         "but a device holds 80.0 GiB"),
    ],
    ids=["too large", "gpu", "shards", "no memory", "no peak", "batch"],
)  # fmt: skip
def test_refused(old, new, words, code, message):
    """What has no cost is said when the specification is compiled."""
    with pytest.raises(SpecError) as refused:
        compiled(PROGRAM.replace(old, new) if old else PROGRAM, **words)
    found = refused.value.diagnostics
    assert (code, message) in [(each.code, each.message) for each in found]
    assert all(each.span is not None for each in found if each.is_error)

"""Vector search: exact work, and the published times of two papers (oracles.md A6 and A7)."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.rag import (
    SCAN_MEMORY,
    SCAN_PER_CORE,
    Machine,
    SearchCost,
    flat,
    hand_over_bytes,
    hnsw,
    ivf_pq,
    tree,
)
from hermesdsl.cost.text import TEXT_BYTES

GB = 1e9
#: fp32 at 80 % of the peaks of test_forward; bandwidth in full, as the published tool counts it.
SPR = Machine(0.8 * 7.17e12, 307.2 * GB, 56)
GRACE = Machine(0.8 * 14.3e12, 768 * GB, 144)
#: oracles.md A6: 4 Mi lists of 5,000 vectors.
CENTROIDS = 4 * 2**20


def paper(dim: int):
    return ivf_pq(vectors=5000 * CENTROIDS, dim=dim, centroids=CENTROIDS, probes=50, codes=96,
                  results=20)  # fmt: skip


def test_ivf_pq_work_is_the_formula():
    # n = 200 per list; B = 3, D = 16, n_c = 50, n_p = 4, M = 8, k = 10.
    work = ivf_pq(vectors=10_000, dim=16, centroids=50, probes=4, codes=8, results=10)(3)
    assert work.flops == 3 * (2 * 16 * 50 + 8 * 200 * 4 + 2 * 16 * 10)
    assert work.bytes == 4 * 50 * 16 + 3 * (200 * 4 * 8 + 4 * 16 * 10 + 256 * 4 * 8)
    assert work.chain == 0


@pytest.mark.parametrize(
    ("dim", "machine", "published"),
    [(768, GRACE, 0.016), (4096, GRACE, 0.086), (768, SPR, 0.040), (4096, SPR, 0.213)],
    ids=["768 Grace", "4096 Grace", "768 SPR", "4096 SPR"],
)
def test_a6_centroid_scan(dim, machine, published):
    assert CENTROIDS * dim * 4 == pytest.approx({768: 12.9e9, 4096: 68.7e9}[dim], rel=0.01)
    whole = SearchCost(paper(dim), machine).seconds(1)
    assert whole == pytest.approx(published, rel=0.25)
    # The tool divides MiB by GB/s and takes milliseconds: 12288 / 307.2 = 40.0, 65536 / 768 = 85.3.
    mib = CENTROIDS * dim * 4 / 2**20
    assert mib / (machine.bandwidth / GB) * 1e-3 == pytest.approx(published, rel=0.01)
    # It also reads at full bandwidth; what a scan reaches at best is 80 % of it.
    honest = Machine(machine.peak, SCAN_MEMORY * machine.bandwidth, machine.cores)
    assert SearchCost(paper(dim), honest).seconds(1) == pytest.approx(whole / 0.8, rel=1e-9)


def rago_host(cores: float = 96) -> Machine:
    """One of RAGO's hosts: 96 cores, 460 GB/s of which a scan reaches 80 %."""
    return Machine(1e15, SCAN_MEMORY * 460 * GB, cores)


def rago_shard():
    """A sixteenth of 64e9 vectors of 96 bytes, 0.1 % scanned, fan-out 4K over three levels."""
    return tree(vectors=64e9 / 16, codes=96, fan_out=4096, levels=3, scanned=0.001)


def test_a7_bytes_per_query():
    whole = tree(vectors=64e9, codes=96, fan_out=4096, levels=3, scanned=0.001)(1)
    assert whole.bytes == pytest.approx(6.14e9, rel=0.01)
    # By level: all 3814 roots, 0.1 % of the 15.6 million above the leaves and of the leaves.
    levels = 64e9 / 4096**2 + 0.001 * (64e9 / 4096 + 64e9)
    assert whole.bytes == pytest.approx(96 * levels, rel=1e-12)


def test_a7_batched_and_single_query():
    cost = SearchCost(rago_shard(), rago_host(), workers=96)
    # Alone, a query has one core: 384 MB / 18 GB/s = 21 ms.
    assert cost.seconds(1, busy=1) == pytest.approx(0.021, rel=0.15)
    # All 96 workers busy: 384 MB / (0.8 · 460 GB/s) = 1.0 ms per query.
    assert cost.seconds(1) / 96 == pytest.approx(1.0e-3, rel=0.15)
    batched = SearchCost(rago_shard(), rago_host()).seconds(96)
    assert batched / 96 == pytest.approx(1.0e-3, rel=0.15)


def test_a7_twice_the_queries_halve_the_rate():
    # Retrieval-bound: an 8B model behind it does not matter; two queries per retrieval.
    cost = SearchCost(rago_shard(), rago_host(), workers=96)
    assert cost.seconds(2) / cost.seconds(1) == pytest.approx(2.0, rel=1e-6)


def test_flat_reads_every_vector_once_per_batch():
    index = flat(vectors=1e6, dim=768, value=4)
    assert index(1).bytes == index(64).bytes == 1e6 * 768 * 4
    assert index(64).flops == 64 * index(1).flops == 64 * 2 * 1e6 * 768
    gpu = Machine(50e12, 0.8 * 3.35e12)
    assert SearchCost(index, gpu).seconds(1) == pytest.approx(3.072e9 / 2.68e12)
    # At 1.536 GFLOP a query compute takes over from batch 38 on: 50e12/2.68e12 · 2 per byte.
    assert SearchCost(index, gpu).seconds(64) == pytest.approx(64 * 1.536e9 / 50e12)


def test_hnsw_follows_a_chain():
    index = hnsw(vectors=32**4, dim=128, value=4, ef=64, m=32)
    work = index(1)
    # Four levels above (ln N / ln m = 4) of 32 neighbours, then 64 nodes of 64.
    assert work.flops == pytest.approx(2 * 128 * (64 * 64 + 4 * 32))
    assert work.bytes == pytest.approx((64 * 64 + 4 * 32) * (128 * 4 + 4))
    assert work.chain == pytest.approx(68)
    far = Machine(1e12, 300 * GB, 8, latency=1e-3)  # so slow that only the chain counts
    cost = SearchCost(index, far)
    assert cost.seconds(1) == pytest.approx(68e-3)
    assert cost.seconds(8) == pytest.approx(68e-3)
    assert cost.seconds(9) == pytest.approx(2 * 68e-3)


def test_one_query_of_a_graph_stays_on_one_core():
    index = hnsw(vectors=1e9, dim=768, value=4, ef=256, m=32)
    machine = Machine(1e15, 1e15, 64)
    assert SearchCost(index, machine).seconds(1) == pytest.approx(index(1).bytes / SCAN_PER_CORE)
    scan = flat(vectors=1e6, dim=768, value=4)
    assert SearchCost(scan, machine).seconds(1) == pytest.approx(3.072e9 / (64 * SCAN_PER_CORE))


def test_sixteen_shards_read_a_sixteenth_each():
    whole, part = (flat(vectors=n, dim=768, value=4) for n in (16e6, 1e6))
    machine = Machine(1e15, 300 * GB, 48)
    assert SearchCost(part, machine).seconds(1) * 16 == pytest.approx(
        SearchCost(whole, machine).seconds(1)
    )


indexes = st.sampled_from(
    [paper(768), rago_shard(), flat(vectors=1e6, dim=768, value=4),
     hnsw(vectors=1e8, dim=768, value=4, ef=64, m=32)]
)  # fmt: skip


@given(indexes, st.integers(1, 128), st.integers(1, 64), st.integers(1, 200))
def test_workers_together_never_beat_the_memory(index, cores, workers, batch):
    machine = Machine(5e12, 200 * GB, cores, latency=1e-7)
    cost = SearchCost(index, machine, workers)
    alone, together = cost.seconds(batch, busy=1), cost.seconds(batch)
    assert 0 < alone <= together
    assert cost.seconds(batch, busy=10**6) == together
    read = workers * index(batch).bytes / together
    assert read <= 200 * GB * (1 + 1e-9)
    assert cost.seconds(batch + 1) >= together * (1 - 1e-12)


def test_no_query_takes_no_time():
    assert SearchCost(paper(768), SPR).seconds(0) == 0.0


def test_a_device_without_cores_has_no_limit_per_core():
    index = flat(vectors=1e6, dim=768, value=4)
    assert Machine(1e15, 1e12).cores == inf
    assert SearchCost(index, Machine(1e15, 1e12)).seconds(1) == pytest.approx(3.072e-3)


def test_documents_are_handed_over_as_bytes():
    # 20 documents of 512 tokens: 46 kB as text of 4.5 bytes per token; 320 KiB as embeddings of
    # 4096 fp32 values. A published tool counts the latter a thousand times too small.
    assert hand_over_bytes(20, text=512 * TEXT_BYTES) == 46_080
    assert hand_over_bytes(20, dim=4096, value=4) == 320 * 2**10

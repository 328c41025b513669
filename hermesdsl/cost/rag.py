"""Vector search: what each kind of index reads and computes, and how long a machine takes.

Time is the larger of compute and memory over the cores that serve a search. Knows no graph,
stage, clock or queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf, log
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from hermesdsl.cost.types import Floats, Ints, Use

#: Bytes of a value of a centroid, a stored query and a re-ranked vector: fp32.
FLOAT = 4.0
#: Entries of one look-up table of a product quantiser: one per code of a byte.
CODES = 256
#: Bytes of a neighbour's number in a graph index (FAISS: 32 bits).
LINK = 4.0

#: What one core scans, byte/s, and the share of memory bandwidth that a scan reaches at best
#: (RAGO, arXiv 2503.14649, measured with ScaNN).
SCAN_PER_CORE = 18e9
SCAN_MEMORY = 0.80


class Search(NamedTuple):
    """What a batch of queries takes: `flops`, `bytes` from memory.

    `chain`: reads of one query of which each waits for the one before; 0 for a scan, whose
    queries may be spread over cores.
    """

    flops: float
    bytes: float
    chain: float = 0.0


#: What a batch of so many queries takes.
Index: TypeAlias = Callable[[int], Search]


def ivf_pq(
    *, vectors: float, dim: int, centroids: int, probes: int, codes: int, results: int
) -> Index:
    """Inverted lists of product-quantised codes, the best re-ranked by full vectors.

    For a batch B over D dims, n_c centroids, n_p probes, M codes (bytes) per vector,
    n = vectors/n_c per list, k results: B·(2·D·n_c + M·n·n_p + 2·D·k) operations. Bytes:
    centroids 4·n_c·D once per batch, codes B·n·n_p·M, vectors B·4·D·k, tables B·256·4·M.
    """
    probed = min(probes, centroids) * vectors / centroids

    def work(batch: int) -> Search:
        flops = batch * (2.0 * dim * centroids + codes * probed + 2.0 * dim * results)
        own = probed * codes + FLOAT * dim * results + CODES * FLOAT * codes
        return Search(flops, FLOAT * centroids * dim + batch * own)

    return work


def flat(*, vectors: float, dim: int, value: float) -> Index:
    """Every vector, `value` bytes per entry: 2·D·N operations a query, N·D·b bytes a batch."""

    def work(batch: int) -> Search:
        return Search(2.0 * batch * vectors * dim, vectors * dim * value)

    return work


def hnsw(*, vectors: float, dim: int, value: float, ef: int, m: int) -> Index:
    """A navigable small-world graph (Malkov and Yashunin, arXiv 1603.09320, section 4).

    Levels above the lowest: ln N / ln m, one node of m neighbours expanded in each. The lowest:
    ef nodes of 2m neighbours. Every neighbour is compared once: a vector of D·b bytes, 2·D
    operations, and a link of 4 bytes. The expansions of a query follow one another.
    """
    levels = log(vectors) / log(m) if m > 1 and vectors > 1 else 0.0
    compared = min(ef * 2.0 * m + levels * m, vectors)
    expanded = min(ef + levels, vectors)

    def work(batch: int) -> Search:
        read = compared * (dim * value + LINK)
        return Search(2.0 * batch * compared * dim, batch * read, expanded)

    return work


def tree(*, vectors: float, codes: int, fan_out: int, levels: int, scanned: float) -> Index:
    """A tree of quantised vectors (RAGO): N_l·B_vec·P bytes of each level l.

    The last level holds all N vectors, each above it 1/`fan_out` as many (at least one). The
    first is scanned whole, of every other the share `scanned` (0..1). One operation per code.
    """
    sizes = [max(vectors / fan_out**above, 1.0) for above in reversed(range(levels))]
    read = codes * (sizes[0] + scanned * sum(sizes[1:])) if levels > 1 else codes * vectors

    def work(batch: int) -> Search:
        return Search(batch * read, batch * read)

    return work


def hand_over_bytes(
    documents: int, *, text: float = 0.0, dim: int = 0, value: float = 0.0
) -> float:
    """Bytes of found documents on their way to a prompt: `text` bytes each, and embeddings.

    An embedding has `dim` values of `value` bytes, each: a document of 4096 fp32 values takes
    16 KiB, not 16 bytes.
    """
    return documents * (text + dim * value)


@dataclass(frozen=True)
class Machine:
    """What searches: `peak` FLOP/s and `bandwidth` byte/s that searching reaches in all.

    `cores`: inf for a device that is not cut into cores. `per_core` byte/s that one core scans;
    `latency` seconds of one dependent read from memory; `launch` seconds per search.
    """

    peak: float
    bandwidth: float
    cores: float = inf
    per_core: float = SCAN_PER_CORE
    latency: float = 0.0
    launch: float = 0.0


@dataclass(frozen=True)
class SearchCost:
    """`ServiceCost` of a search on one of the `workers` that a machine is divided among.

    A worker has cores/workers cores of its own; memory bandwidth is shared by all that are busy.
    """

    index: Index
    machine: Machine
    workers: int = 1

    def seconds(self, requests: int, tokens: int = 0, *, busy: int | None = None) -> float:
        """Seconds of a batch of `requests` queries on one worker.

        `busy` workers search at the same time, this one included: all if not said, so that
        together they never read faster than the memory. `tokens` do not matter.
        """
        if requests <= 0:
            return 0.0
        machine, work = self.machine, self.index(requests)
        sharing = self.workers if busy is None else max(1, min(busy, self.workers))
        cores = machine.cores / self.workers
        used = min(cores, requests) if work.chain else cores
        rate = min(used * machine.per_core, machine.bandwidth / sharing)
        compute = work.flops / self._peak(used, sharing)
        rounds = ceil(requests / max(int(cores), 1)) if cores < inf else 1
        waiting = work.chain * machine.latency * rounds
        return machine.launch + max(compute, work.bytes / rate, waiting)

    def use(self, requests: Ints, seconds: Floats, share: Floats) -> Use:
        """What searches of so many queries used: operations and bytes over those of the machine.

        `memory` is of the bandwidth that a scan reaches at best; `busy` of the cores.
        """
        from hermesdsl.cost.use import search_use

        return search_use(self, requests, seconds, share)

    def _peak(self, cores: float, sharing: int) -> float:
        machine = self.machine
        if machine.cores == inf:
            return machine.peak / sharing
        return machine.peak / machine.cores * cores

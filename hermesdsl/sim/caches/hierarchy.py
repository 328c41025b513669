"""One cache of a run: lookups down its tiers, fetches, writes, and what each tier counts.

A lookup takes from every tier the blocks that follow without a gap on what the tiers before it
had. A block is there from the moment its write has ended until it leaves. What is on its way to a
store is not there yet, and not sent again. A store that fails is asked for nothing and given
nothing until it is back, empty; what was on its way to it or from it is lost, though stores and
links that had begun with it go on to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from hermesdsl.graph.types import HardwareGraph, KvCache, Tier, TierStore
from hermesdsl.sim.caches.blocks import BlockStore
from hermesdsl.sim.caches.carry import Carry, ends
from hermesdsl.sim.caches.server import TierServer
from hermesdsl.sim.draws import Draws
from hermesdsl.sim.identity import Breaks, Identities
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.record import TierSummary

#: Called with (seconds, key) when something has ended.
Then: TypeAlias = "Callable[[float, int], None]"


@dataclass(frozen=True, eq=False)
class Site:
    """Where caches are: the hardware, the clock, how bytes are carried, which texts there are.

    `clients`: devices of every engine whose KV the cache may hold, by path; `per_token`: bytes of
    that KV per token.
    """

    hardware: HardwareGraph
    kernel: Kernel
    carry: Carry
    identities: Identities
    clients: Mapping[str, tuple[str, ...]]
    per_token: float


@dataclass(frozen=True)
class Lookup:
    """What is looked for: a request's `context` in its `turn`-th pass, for `client`.

    Its first `resident` tokens are there already; the first `old` of them are what is not new in
    this turn of the conversation, where only that is known. `key` places the answer among events;
    `breaks`: where its text has names of its own (`sim.identity`).
    """

    request: int
    turn: int
    context: int
    resident: int
    old: int
    client: str
    key: int
    breaks: Breaks = ()


@dataclass(eq=False)
class _Shelf:
    """One store at work; `coming`: blocks on their way to it; `downs`: failures that it is in;
    `failures` so far.
    """

    memories: tuple[str, ...]
    server: TierServer
    blocks: BlockStore
    coming: set[int]
    downs: int = 0
    failures: int = 0


@dataclass(eq=False)
class _Level:
    """One tier at work; counts in blocks. `draws`: of a fixed hit rate, else None."""

    tier: Tier
    shelves: tuple[_Shelf, ...]
    draws: Draws | None
    asked: int = 0
    hits: int = 0
    written: int = 0
    evicted: int = 0
    held: int = 0
    peak: int = 0
    lost: int = 0

    def shelf(self, client: str) -> _Shelf | None:
        """The store that a client looks into, if it is not down."""
        place = self.tier.reach.get(client)
        found = None if place is None else self.shelves[place]
        return None if found is None or found.downs else found


@dataclass(eq=False)
class _Fetch:
    """A fetch under way for `client`: `parts` still to come from `shelves`, and who is told of the
    last; nobody once it is `called_off`.
    """

    client: str
    parts: int
    then: Then
    shelves: list[_Shelf]
    called_off: bool = False


@dataclass(frozen=True, eq=False)
class _Write:
    """A write to a store of the `depth`-th tier, for a client: of a text's `blocks` those `new`.

    `present` are there already and wait for them. `failures`: of the store when it began; `of`: a
    store that it is read from, and the failures of that.
    """

    depth: int
    shelf: _Shelf
    blocks: Sequence[int]
    present: Sequence[int]
    new: frozenset[int]
    client: str
    size: float
    failures: int
    of: tuple[_Shelf, int] | None


class Hierarchy:
    """A cache at work. `draws`: by path of a tier with a fixed hit rate.

    Raises `SpecError` (HMS408) if the links do not join a client to a store in its reach.
    """

    def __init__(self, cache: KvCache, site: Site, draws: Mapping[str, Draws]) -> None:
        self.cache = cache
        self._site = site
        self._block_bytes = cache.block * site.per_token
        self._ways: dict[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]] = {}
        self._writes = 0
        #: Fetches under way, by the key they were asked for with; keys of writes whose KV has not
        #: left its client yet, with those whose client has failed meanwhile.
        self._fetches: dict[int, _Fetch] = {}
        self._leaving: dict[int, str] = {}
        self._levels = [
            _Level(tier, tuple(map(self._shelf, tier.stores)), draws.get(tier.path))
            for tier in cache.tiers
        ]
        for level in self._levels:
            for client, devices in site.clients.items():
                shelf = level.shelf(client)
                if shelf is not None:
                    self._way(shelf.memories, devices)

    def _shelf(self, store: TierStore) -> _Shelf:
        server = TierServer(self._site.kernel, store.latency, store.bandwidth)
        capacity = int(store.capacity / self._block_bytes)
        return _Shelf(store.memories, server, BlockStore(capacity, self.cache.eviction), set())

    # --- fetching ----------------------------------------------------------------------------

    def fetch(self, lookup: Lookup, now: float, then: Then) -> tuple[int, float]:
        """Look for a context and bring what is found; its last token is left to the prefill.

        Answers with the tokens found beyond those that were there, and when the first store
        begins to read. If there are any, `then(time, key)` is called when all of them have come.
        """
        size = self.cache.block
        chain = self._site.identities.chain(lookup.request, lookup.context - 1, size, lookup.breaks)
        at = lookup.resident // size
        job = _Fetch(lookup.client, 0, then, [])
        starts = []
        for level in self._levels:
            shelf = level.shelf(lookup.client)
            if shelf is None or at >= len(chain):
                continue
            count = self._find(level, shelf, lookup, chain, at)
            if count:
                blocks = chain[at : at + count] if level.draws is None else ()
                starts.append(self._read(level, shelf, lookup, blocks, count, now, job))
                at += count
        found = max(at * size - lookup.resident, 0)
        if starts:
            self._fetches[lookup.key] = job
        return (found, min(starts)) if starts else (0, now)

    def _find(
        self, level: _Level, shelf: _Shelf, lookup: Lookup, chain: Sequence[int], at: int
    ) -> int:
        """Blocks of a chain that a tier has from place `at` on; with a fixed rate, all or none."""
        if level.draws is None:
            level.asked += len(chain) - at
            return shelf.blocks.leading(chain, at)
        seen = self._site.identities.seen(lookup.request)
        reusable = min(lookup.old if seen is None else seen, lookup.context - 1)
        rest = max(reusable // self.cache.block - at, 0)
        level.asked += rest
        assert level.tier.hit_rate is not None
        return rest if level.draws(lookup.request, lookup.turn) < level.tier.hit_rate else 0

    def _read(
        self, level: _Level, shelf: _Shelf, lookup: Lookup, blocks: Sequence[int], count: int,
        now: float, job: _Fetch,
    ) -> float:  # fmt: skip
        """Read blocks and carry them to the client; when the store begins."""
        level.hits += count
        shelf.blocks.use(blocks)
        shelf.blocks.pin(blocks)
        job.parts += 1
        job.shelves.append(shelf)
        failures = shelf.failures
        size = count * self._block_bytes
        devices = self._site.clients[lookup.client]

        def come(time: float, key: int) -> None:
            if shelf.failures == failures:
                shelf.blocks.unpin(blocks)
            job.parts -= 1
            if not (job.parts or job.called_off):
                del self._fetches[key]
                job.then(time, key)

        leave = partial(self._carry, shelf.memories, devices, size, come)
        return shelf.server.serve(size, now, lookup.key, leave)

    # --- writing -----------------------------------------------------------------------------

    def release(self, request: int, tokens: int, client: str, now: float) -> None:
        """A client lets go of KV of the first tokens of a context: write its full blocks."""
        chain = self._site.identities.chain(request, tokens, self.cache.block)
        if chain and client in self._site.clients:
            self._write(0, chain, client, self._site.clients[client], None, now)

    def _write(
        self, depth: int, blocks: Sequence[int], client: str, here: tuple[str, ...],
        source: _Shelf | None, now: float,
    ) -> None:  # fmt: skip
        """Write blocks to the first tier from `depth` on that a client reaches.

        From the parts `here`, after reading them in the store `source` if they lie in one.
        """
        for place in range(depth, len(self._levels)):
            level = self._levels[place]
            shelf = level.shelf(client)
            if shelf is None or level.draws is not None:
                continue
            store = shelf.blocks
            blocks = blocks[: store.capacity]
            present = [block for block in blocks if block in store]
            new = frozenset(blocks).difference(present, shelf.coming)
            if not new:
                store.use(present)
                return
            store.pin(present)
            shelf.coming |= new
            size = len(new) * self._block_bytes
            of = None if source is None else (source, source.failures)
            write = _Write(place, shelf, blocks, present, new, client, size, shelf.failures, of)
            arrive = partial(self._arrive, write)
            self._writes += 1
            # Below the keys of requests: at one instant, writes come first.
            key = -self._writes
            if source is None:
                self._leaving[key] = client
                self._carry(here, shelf.memories, size, arrive, now, key)
            else:
                leave = partial(self._carry, here, shelf.memories, size, arrive)
                source.server.serve(size, now, key, leave)
            return

    def _arrive(self, write: _Write, now: float, key: int) -> None:
        gone = write.of is None and self._leaving.pop(key, None) is None
        if write.of is not None:
            gone = write.of[0].failures != write.of[1]
        if write.shelf.failures != write.failures:
            return
        if gone:
            write.shelf.blocks.unpin(write.present)
            write.shelf.coming -= write.new
            return
        write.shelf.server.serve(write.size, now, key, partial(self._written, write))

    def _written(self, write: _Write, now: float, key: int) -> None:
        """A write has ended; what has to leave is written one tier further down."""
        shelf, level = write.shelf, self._levels[write.depth]
        if shelf.failures != write.failures:
            return
        store = shelf.blocks
        store.unpin(write.present)
        shelf.coming -= write.new
        change = store.insert([b for b in write.blocks if b in write.new or b in store])
        level.written += len(change.inserted)
        level.evicted += len(change.evicted)
        level.held += len(change.inserted) - len(change.evicted)
        level.peak = max(level.peak, level.held)
        if change.evicted:
            # They leave from the ends of their texts: in the order of the texts again.
            down = change.evicted[::-1]
            self._write(write.depth + 1, down, write.client, shelf.memories, shelf, now)

    # --- failing -----------------------------------------------------------------------------

    def lose(self, parts: Collection[str], tier: str) -> list[int]:
        """The stores in these parts, or of the tier at a path, fail; keys of fetches called off."""
        failed = []
        for level, shelf in self._in(parts, tier):
            lost = shelf.blocks.clear()
            level.lost += lost
            level.held -= lost
            shelf.coming.clear()
            shelf.downs += 1
            shelf.failures += 1
            failed.append(shelf)
        fetches = self._fetches.items()
        found = [key for key, job in fetches if any(shelf in failed for shelf in job.shelves)]
        for key in found:
            self.call_off(key)
        return found

    def back(self, parts: Collection[str], tier: str) -> None:
        """They serve again, if nothing else keeps them down."""
        for _, shelf in self._in(parts, tier):
            shelf.downs -= 1

    def call_off(self, key: int) -> None:
        """Nobody waits for a fetch any more."""
        job = self._fetches.pop(key, None)
        if job is not None:
            job.called_off = True

    def client_fails(self, client: str) -> None:
        """KV that was leaving a client for a store is lost."""
        for key in [key for key, of in self._leaving.items() if of == client]:
            del self._leaving[key]

    def _in(self, parts: Collection[str], tier: str) -> list[tuple[_Level, _Shelf]]:
        return [
            (level, shelf)
            for level in self._levels
            for shelf in level.shelves
            if level.tier.path == tier or not set(shelf.memories).isdisjoint(parts)
        ]

    # --- links -------------------------------------------------------------------------------

    def _carry(
        self, here: tuple[str, ...], there: tuple[str, ...], size: float, then: Then, now: float,
        key: int,
    ) -> None:  # fmt: skip
        """From one place to another; at once if no link lies between them."""
        sources, targets = self._way(here, there)
        if sources == targets:
            then(now, key)
        else:
            self._site.carry(sources, targets, size, now, key, then)

    def _way(self, here: tuple[str, ...], there: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        way = self._ways.get((here, there))
        if way is None:
            way = self._ways[here, there] = ends(self._site.hardware, here, there)
        return way

    # --- records -----------------------------------------------------------------------------

    def summaries(self) -> list[TierSummary]:
        """What happened in each tier."""
        size = self.cache.block
        return [
            TierSummary(
                tier=level.tier.path,
                asked=level.asked * size,
                hits=level.hits * size,
                written=level.written * size,
                evicted=level.evicted * size,
                capacity_bytes=sum(store.capacity for store in level.tier.stores),
                peak_bytes=level.peak * self._block_bytes,
                read_bytes=level.hits * self._block_bytes,
                busy_s=sum(shelf.server.busy for shelf in level.shelves),
                stores=len(level.shelves),
                lost=level.lost * size,
            )
            for level in self._levels
        ]

    def problems(self, drained: bool) -> list[str]:
        """What does not add up: blocks are written, held, and leave; none stays in use."""
        found = []
        for level in self._levels:
            path = level.tier.path
            held = sum(len(shelf.blocks) for shelf in level.shelves)
            pinned = sum(shelf.blocks.pinned for shelf in level.shelves)
            if level.written - level.evicted - level.lost != held:
                found.append(f"{path} holds {held} blocks of {level.written} written, "
                             f"{level.evicted} evicted and {level.lost} lost")  # fmt: skip
            if any(len(shelf.blocks) > shelf.blocks.capacity for shelf in level.shelves):
                found.append(f"{path} holds more blocks than it has room for")
            if drained and pinned:
                found.append(f"{path} ends with {pinned} blocks in use")
        return found

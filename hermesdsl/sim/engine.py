"""An LLM engine: what others ask of it, and what it tells them.

A queue, iteration-level batches (`sim.stepping`), decode steps taken many at once (`sim.running`)
and paged KV (`sim.kv`). Knows no pipeline, router or other engine.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.cost.types import EngineCost
from hermesdsl.sim import batching
from hermesdsl.sim.answering import Answers, goes_out
from hermesdsl.sim.decoding import GONE, INCOMING, QUEUED, Sequence
from hermesdsl.sim.holding import holding
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.kv import Hold, KvBlocks
from hermesdsl.sim.order import SWAPPED, Rank
from hermesdsl.sim.rank_memory import RankedBlocks
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.running import IDLE, RUNNING, STEPPING
from hermesdsl.sim.speculating import speculation
from hermesdsl.sim.stepping import Stepping

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client
    from hermesdsl.sim.batching import Batching
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.identity import Identities
    from hermesdsl.sim.residents import Slice
    from hermesdsl.sim.swap import HostMemory

#: What an engine calls with (itself, sequence, seconds).
Notice: TypeAlias = "Callable[[Engine, Sequence, float], None]"
#: The same, with two times.
Reading: TypeAlias = "Callable[[Engine, Sequence, float, float], None]"

#: What an engine has whose options leave it out (the schema's own defaults).
DEFAULT_MAX_BATCH = 256
DEFAULT_BLOCK_SIZE = 16


class Engine(Stepping):
    """One client of type ``LlmEngine``, the `index`-th of the run.

    `reading` is called with (engine, sequence, start, end) of the step that completes a prompt
    whose KV moves layer by layer, when that step is put together. `leave` is called with a sequence
    that has got all it came for, its KV already freed unless it says ``keeps`` (then `keep` makes a
    `Hold` of it, and `release` frees that; `dropped` is told of one that is gone for good); `fetch`
    with one whose KV at another engine has been given blocks here and must now be moved (then
    `deliver` hands it in). `starved` is told (engine, seconds) when the engine falls idle while
    somebody waits, and when what it keeps changes then. `texts` name blocks for
    ``prefix_cache = true``. `kv_tokens`: room for KV, if it is less than the cost model's because
    something else is in that memory. `guessing` draws what guesses bring, if they are sampled.
    """

    __slots__ = ("_fetch", "_leave", "_reading", "_starved", "batching", "path")

    def __init__(
        self,
        index: int,
        client: Client,
        cost: EngineCost,
        kernel: Kernel,
        recorder: Recorder,
        *,
        rank: Rank,
        reading: Reading,
        leave: Notice,
        fetch: Notice,
        dropped: Callable[[Hold], None] | None = None,
        starved: Callable[[Engine, float], None] | None = None,
        host: HostMemory | None = None,
        texts: Identities | None = None,
        kv_tokens: int | None = None,
        guessing: Guessing | None = None,
    ) -> None:
        room = cost.kv_tokens if kv_tokens is None else kv_tokens
        size, ranks = block_size(client), client.group.dp if client.group is not None else 1
        caches = bool(client.options.get("prefix_cache"))
        held = holding(client.model, size, whole=caches)
        shares = tuple(KvBlocks(room // ranks, size, dropped, held) for _ in range(ranks))
        kv = shares[0] if ranks == 1 else RankedBlocks(shares)
        places = _count(client, "max_batch", DEFAULT_MAX_BATCH)
        most = max(places - int(getattr(cost, "reserved", 0)), 1) * ranks
        chain = texts.chain if texts is not None and caches else None
        guesses = speculation(client)
        super().__init__(
            cost, index, kv, most, rank, host, kernel, recorder, chain, guesses, guessing
        )
        self.batching: Batching = batching.make(client.options)
        self.path = client.path
        self._reading = reading
        self._leave = leave
        self._fetch = fetch
        self._starved = starved
        each = float(getattr(cost, "answer_seconds", 0.0))
        self._answers = Answers(each, kernel, index, self._answered) if each else None

    # --- from outside -----------------------------------------------------------------------------

    def submit(self, sequence: Sequence, now: float, *, arrival: bool = True) -> None:
        """Let a sequence wait where its rank says; one that has KV here before all that have none.

        An `arrival` at the very end of a step is there when the next step is put together; what
        another client sends on is not (it comes after all steps that end at that time).
        """
        waiting = self.waiting
        alone = not waiting.entries
        if sequence.held or sequence.pins or sequence.parent is not None:
            waiting.push(sequence, SWAPPED)
        else:
            waiting.push(sequence)
        self.accepted += sequence.left
        if self._poked and self._state == STEPPING:
            return
        earliest = now if arrival else nextafter(now, inf)
        if self._seen_at:
            self._see(earliest)
        first = alone or self.dealt is not None or waiting.head is sequence
        if self._state == IDLE or (first and self.seats() > 0):
            if self._passes and self._state == RUNNING:
                self._pass_by(earliest)
            else:
                self._poke(now, earliest)

    def deliver(self, sequence: Sequence, now: float) -> None:
        """Hand in the KV that `fetch` was asked for: the sequence goes on with the next step."""
        sequence.source = None
        self._ready.append(sequence)
        self._poke(now, nextafter(now, inf))

    def arrived(self, sequence: Sequence, now: float) -> None:
        """KV that a sequence awaited is here; if its text has been read, it goes on."""
        sequence.awaits = False
        if sequence in self._incoming:
            self._ready.append(sequence)
            self._poke(now, nextafter(now, inf))

    def cancel(self, sequence: Sequence, now: float) -> None:
        """Take a sequence out, at once if it waits, else at the next step boundary."""
        sequence.cancelled = True
        sequence.keeps = False
        stepping = any(s is sequence for s, _ in self._slices)
        if sequence.place == QUEUED and not stepping:
            self._discard(sequence)
            self._given_back(now)
        elif sequence.place != GONE:
            if sequence.place == INCOMING and sequence.swapped:
                assert self.host is not None
                self.host.drop(_key(sequence), now)
                self._swapped_in(now, _key(sequence))
            self._cancelled = True
            self._poke(now, nextafter(now, inf))

    def keep(self, sequence: Sequence, tokens: int, hold: Hold | None = None) -> Hold:
        """The KV of `tokens` tokens that a sequence has just left; as `hold`, if it exists."""
        if hold is None:
            hold = Hold(self, tokens)
        self.kv.keep(hold, sequence)
        return hold

    def release(self, hold: Hold, now: float) -> None:
        """Drop one reference to kept KV; without any, its blocks are free."""
        if self.kv.drop(hold):
            self._given_back(now)
        else:
            self._starve(now)

    @property
    def starved(self) -> bool:
        """True if nothing runs or is on its way here though somebody waits."""
        return self._state == IDLE and bool(self.waiting) and not self._incoming

    def give_up(self, now: float) -> bool:
        """Free KV for whoever waits, when nobody else will; False if there is none.

        The kept KV that came last and that nothing lies on; else whoever came last of those that
        wait with KV below them lets go of it.
        """
        if self.kv.give_up():
            self.preemptions += 1
        elif not self._lift():
            return False
        self._poke(now, nextafter(now, inf))
        return True

    def _given_back(self, now: float) -> None:
        if self._state == RUNNING:
            self._extend()
        if self.waiting:
            self._poke(now, nextafter(now, inf))

    def settle(self, until: float) -> None:
        """Count what was done by `until`, when the run is cut there."""
        if self._state == RUNNING:
            self._settle_run(until)
        for sequence in self.decoding.live():
            self._record_residence(sequence)

    @property
    def unread(self) -> int:
        """Prompt tokens here that no step which has ended has read."""
        found = self.reuse.hits if self.reuse is not None else 0
        return self.accepted + self.recomputed - found - self.read

    # --- what steps come to -----------------------------------------------------------------------

    def _compose(self, now: float) -> tuple[list[Slice], bool]:
        """See `Stepping`."""
        return self.batching.plan(self, now)

    def _starve(self, now: float) -> None:
        """See `Stepping`."""
        if self._starved is not None and self.starved:
            self._starved(self, now)

    def _read_last(self, sequence: Sequence, now: float, end: float) -> None:
        """See `Stepping`."""
        self._reading(self, sequence, now, end)

    def _gone(self, sequence: Sequence, now: float) -> None:
        """See `Stepping`: it leaves once its tokens are out."""
        if self._answers is None or not goes_out(sequence):
            self._leave(self, sequence, now)
        else:
            self._answers.hold(sequence)

    def _answered(self, sequence: Sequence, now: float) -> None:
        self._leave(self, sequence, now)

    def _bring(self, sequence: Sequence, now: float) -> None:
        """Begin to move KV, for which blocks were just taken, from wherever it is."""
        if not sequence.swapped:
            self._fetch(self, sequence, now)
            return
        assert self.host is not None
        self.host.load(sequence.swapped, now, _key(sequence), self._swapped_in)

    def _store(self, blocks: int) -> None:
        assert self.host is not None
        self.host.store(blocks, self._kernel.now, -1 - self.key, self._stored)

    def _stored(self, now: float) -> None:
        """All that was to be copied out is out: a step that waits for it begins."""
        if self._parked:
            self._parked = False
            self._take_turn(now)

    def _swapped_in(self, now: float, key: int) -> None:
        sequence = next(s for s in self._incoming if s.swapped and _key(s) == key)
        assert self.host is not None
        self.host.held -= sequence.swapped
        sequence.swapped = 0
        self.deliver(sequence, now)


def _key(sequence: Sequence) -> int:
    return sequence.visit.key if sequence.visit is not None else sequence.request


def block_size(client: Client) -> int:
    """Tokens per KV block of an engine."""
    return _count(client, "block_size", DEFAULT_BLOCK_SIZE)


def _count(client: Client, name: str, default: int) -> int:
    value = client.options.get(name)
    return int(value) if isinstance(value, int | float) else default

"""The data-parallel ranks of an engine: where each sequence lives, and what a step has there.

All ranks take every step together, so it is as long as the fullest makes it. A sequence goes to
the rank with the fewest sequences when it is given KV, among equals to the one with the fewest
tokens in this step, then to the first, of those where it fits; it stays until its KV is lost.
Seats, the budget of prompt tokens, KV and the prefix cache are each rank's own (`sim.rank_memory`).
The queue is one for all: vLLM's front end sends each request to the engine with the least of
4·waiting + running as it comes (`DPLBAsyncMPClient`), which with a common queue is the fewest
running, and nobody waits for a full rank while another has room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.cost.types import StepWork
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.order import BEGUN, SWAPPED
from hermesdsl.sim.rank_memory import RankedDecoding
from hermesdsl.sim.residents import Slice
from hermesdsl.sim.yielding import Yielding

if TYPE_CHECKING:
    from collections.abc import Iterable


class RankedResidents(Yielding):
    """Sequences at a client, dealt out to its ranks if it has several."""

    __slots__ = ()

    def fits(self, tokens: int) -> bool:
        """True if KV of `tokens` tokens of one sequence can ever be held by a rank."""
        return self.kv.blocks(tokens) <= self.kv.parts[0].capacity

    def _fill_ranks(
        self, dealt: list[int], budget: float, now: float, whole: bool, beside: bool,
        most: int | None,
    ) -> list[Slice]:  # fmt: skip
        """As `fill`, where `budget`, seats, KV and `most` are those of each rank.

        A prompt that is cut stays at the head; so does one that its own rank has no room for.
        Others go on beside them on other ranks.
        """
        waiting = self.waiting
        slices: list[Slice] = []
        aside: list[Sequence] = []
        places = self._places(dealt, budget, beside, most)
        while waiting and any(place.open for place in places):
            sequence = waiting.head
            if self.ahead and self._too_late(sequence):
                break
            if sequence.source is not None and sequence.source.lost:
                self._read_again(sequence, now)
            bound = _bound(sequence)
            counted = bool(sequence.held)
            tried = [places[sequence.rank]] if bound else sorted(places, key=_by_load)
            place = self._admit(sequence, tried, whole)
            if place is None and not bound:
                break
            if place is None:
                tried[0].seats = 0
                aside.append(self._put_aside())
                continue
            place.present += not counted
            place.seats -= 1
            if sequence.source is not None or not sequence.left:
                place.room -= self._go_straight(sequence, now)
                continue
            if not sequence.started:
                self._start(sequence, now)
            left = sequence.left
            take = left if whole or left <= place.room else int(place.room)
            slices.append((sequence, take))
            place.room -= take
            place.reads = True
            self._put_aside()
            if take < left:
                aside.append(sequence)
        for sequence in aside:
            waiting.push(sequence, BEGUN if sequence.started else SWAPPED)
        return slices

    def _too_late(self, sequence: Sequence) -> bool:
        """The step was put together while the one before ran, from who waited when that began."""
        self._passed = sequence.turn > self._known and self.decoding.count > 0
        return self._passed

    def _admit(self, sequence: Sequence, tried: list[_Place], whole: bool) -> _Place | None:
        """Give the head of the queue its KV at the first place with room; None: there is none."""
        for place in tried:
            if not place.open:
                continue
            sequence.rank = place.rank
            found = self.reuse.look_up(sequence) if self.reuse is not None else None
            left = sequence.left - found.tokens if found is not None else sequence.left
            if whole and left > place.room and place.reads:
                continue
            taken = self._take(sequence, found, place.spare)
            if taken >= 0:
                place.spare -= taken
                return place
        return None

    def _places(
        self, dealt: list[int], budget: float, beside: bool, most: int | None
    ) -> list[_Place]:
        """What every rank has left for prompts when a step is put together."""
        present, seated = dealt.copy(), dealt.copy()
        for sequence in self._incoming:
            present[sequence.rank] += 1
            seated[sequence.rank] += 1
        for sequence in self.waiting:
            if sequence.held:
                present[sequence.rank] += 1
        places = []
        for rank, (kv, decoding) in enumerate(self.parts):
            seats = self.max_batch // len(dealt) - seated[rank]
            places.append(
                _Place(
                    rank,
                    present[rank],
                    budget - (dealt[rank] * self.queries if beside else 0),
                    seats if most is None else min(most, seats),
                    kv.free - (decoding.need(1) if beside else 0),
                )
            )
        return places

    def fullest(self, slices: Iterable[Slice], decodes: bool) -> StepWork:
        """The most of everything that any rank has in a step of prompt `slices`."""
        assert self.dealt is not None
        batch = self.dealt if decodes else [0] * len(self.dealt)
        prompts = [[0] * len(batch) for _ in range(4)]
        pairs = [0.0] * len(batch)
        for sequence, take in slices:
            done, rank = sequence.prompt - sequence.left, sequence.rank
            ends = take == sequence.left
            for column, value in zip(prompts, (1, take, done + take, ends), strict=True):
                column[rank] += value
            pairs[rank] += take * done + take * (take + 1) / 2
        number, read, kv, drawn = prompts
        return StepWork(
            max(n + t for n, t in zip(batch, read, strict=True)),
            max(n + t for n, t in zip(batch, drawn, strict=True)),
            max(number), max(read), max(pairs), max(kv), max(batch),
        )  # fmt: skip

    def _put_aside(self) -> Sequence:
        sequence = self.waiting.pop()
        self._prune()
        return sequence

    def _advance(self, steps: int) -> None:
        if self.dealt is None:
            kv, decoding = self.parts[0]
            kv.free -= decoding.advance(steps)
            return
        assert isinstance(self.decoding, RankedDecoding)
        for rank, (kv, _) in enumerate(self.parts):
            kv.free -= self.decoding.advance(rank, steps)

    def _holders(self) -> list[Sequence]:
        """Those on the rank of the head, if that has one."""
        found, head = super()._holders(), self.waiting.head
        if self.dealt is None or not _bound(head):
            return found
        return [s for s in found if s.rank == head.rank]

    def _make_room_on(self, rank: int) -> int:
        kv, decoding = self.parts[rank]
        need = decoding.need(1)
        while need > kv.free:
            self.preemptions += 1
            begun = [s for s in self.waiting if s.held and s.started and s.rank == rank]
            if begun:
                self._lose(max(begun, key=lambda s: s.turn))
            else:
                self._set_aside(decoding.drop_last())
            need = decoding.need(1)
        return need


@dataclass(slots=True)
class _Place:
    """A rank while a step is put together: what it has, and what is left of it for prompts.

    `present` sequences with KV there; `room` tokens of the budget, `seats`, `spare` KV blocks;
    `reads`: a prompt there is in the step.
    """

    rank: int
    present: int
    room: float
    seats: int
    spare: int
    reads: bool = False

    @property
    def open(self) -> bool:
        """Somebody more may join here."""
        return self.room > 0 and self.seats > 0


def _by_load(place: _Place) -> tuple[int, float, int]:
    return place.present, -place.room, place.rank


def _bound(sequence: Sequence) -> bool:
    """Its KV, or what it lies on, is on a rank already."""
    return bool(sequence.held or sequence.pins) or sequence.parent is not None

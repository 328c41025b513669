"""What an engine loses when it fails: every step under way, sequence and block of KV.

Knows no cause, no router and no other engine.
"""

from __future__ import annotations

from hermesdsl.sim.decoding import GONE, Sequence
from hermesdsl.sim.ranks import RankedResidents


class Losing(RankedResidents):
    """Sequences at a client that can lose all of them at once."""

    __slots__ = ()

    def _lose_all(self, now: float) -> list[Sequence]:
        """Forget everything that is here; the sequences that still have to go on, as `afresh`.

        Those whose KV is elsewhere keep it (`source`); moves of it have been called off.
        """
        live = self.decoding.live()
        for sequence in live:
            self._leave_batch(sequence)
        others = [s for s in (*self._undecided(), *self._incoming) if s.place != GONE]
        for sequence in others:
            self._leave_queue(sequence, now)
        found = list(dict.fromkeys((*live, *others)))
        for sequence in found:
            self.kv.release(sequence)
            sequence.place = GONE
        self._slices = []
        self._begun.clear()
        self._ready.clear()
        self._incoming.clear()
        self._cancelled = False
        while self.waiting:
            self.waiting.pop()
        while self.kv.give_up():
            pass
        for part in self.kv.parts:
            part.known.idle.clear()
        return [sequence for sequence in found if not sequence.cancelled]

    def _leave_batch(self, sequence: Sequence) -> None:
        """A sequence decodes no longer: what it has produced is text to be read again."""
        self.decoding.drop(sequence)
        tokens = self._stop_decoding(sequence)
        sequence.carry = self.decoding.carried(sequence)
        sequence.remaining -= tokens - sequence.base
        sequence.prompt = sequence.left = tokens + 1

    def _leave_queue(self, sequence: Sequence, now: float) -> None:
        """A sequence waits no longer: what it has not read here it never will."""
        self.accepted -= sequence.left
        if sequence in self._incoming and sequence.swapped:
            assert self.host is not None
            self.host.drop(sequence.key, now)
            self.host.held -= sequence.swapped
            sequence.swapped = 0
        self._forget_copy(sequence)


def afresh(old: Sequence, *, source: bool) -> Sequence:
    """The same work at another engine, from the first token unless its KV is elsewhere (`source`).

    Tokens that it has produced are part of the text that it reads.
    """
    kept = old.source if source else None
    unread = old.left or old.awaits or kept is not None
    prompt = old.prompt if unread else old.prompt + 1
    made = Sequence(old.request, old.visit, prompt, old.remaining)
    made.left = prompt if kept is None else old.left
    made.source = kept
    made.fresh, made.again = old.fresh, not old.fresh
    made.since, made.text = old.since, old.text
    made.visible, made.keeps, made.layerwise = old.visible, old.keeps, old.layerwise
    made.carry = old.carry
    return made


__all__ = ["Losing", "afresh"]

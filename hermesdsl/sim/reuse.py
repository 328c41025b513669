"""Automatic prefix caching: prompts find KV that others with the same text have left, or still use.

As in vLLM (Kwon et al., SOSP 2023, and its automatic prefix caching): full blocks of an engine's
own `block_size` are known by the chained id of their text.

- The blocks of a prompt are known as soon as the step that computed them has ended, or their KV
  has arrived; decoded ones when their sequence leaves or is preempted. A block whose text is known
  already is given back, and the known one is used by both.
- A prompt is looked up when it is admitted, and uses the longest chain of known blocks; its last
  token is never taken from the cache, for only computing it brings the next one.
- What nobody uses any more stays while there is room. The block let go longest ago leaves first,
  of one sequence the deepest; room comes from these blocks before anybody is preempted. Those that
  decode steps have overwritten are forgotten when the batch next changes.

Texts of which the request's own stream does not tell (checks that read a text of their own) take
no part. Knows no queue, step or clock.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import NamedTuple, TypeAlias

from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.identity import Breaks
from hermesdsl.sim.kv import Hold, KvBlocks

#: (request, tokens, block size, breaks) → ids of the full blocks of its text.
ChainOf: TypeAlias = Callable[[int, int, int, Breaks], Ordered[int]]


class Found(NamedTuple):
    """Known `blocks` that follow what a sequence has, `idle` of them unused; `tokens` they save."""

    blocks: tuple[int, ...]
    idle: int
    tokens: int


_NOTHING = Found((), 0, 0)


class Reuse:
    """Known blocks of one engine's `kv`; `chain` names the blocks of texts.

    `asked` prompt tokens were looked up, of which `hits` were found. A prompt that was preempted
    and is read again counts only if it finds more than it had.
    """

    __slots__ = ("_chain", "_kv", "asked", "hits")

    def __init__(self, kv: KvBlocks, chain: ChainOf) -> None:
        self._kv = kv
        self._chain = chain
        self.asked = 0
        self.hits = 0

    def reusable(self, chain: Ordered[int]) -> int:
        """Tokens of the longest prefix of a chain that is known. Uses nothing."""
        return self._kv.known.match(chain, 0, len(chain)) * self._kv.size

    def look_up(self, sequence: Sequence) -> Found | None:
        """What a sequence that is to be admitted would find; None if it is not to look.

        It looks if it has text to read, and no KV of its own, here or on the way. Changes nothing.
        """
        if not sequence.left or sequence.held or sequence.pins or sequence.text is None:
            return None
        if sequence.source is not None:
            return None
        kv, have = self._kv, sequence.shared
        most = (sequence.prompt - 1) // kv.size
        names = self._names(sequence, sequence.prompt)
        if most <= have or not self._follows(sequence, names):
            return _NOTHING
        upto = kv.known.match(names, have, most)
        blocks = names[have:upto]
        idle = len(blocks) - sum(map(kv.known.users.__contains__, blocks))
        read = sequence.prompt - sequence.left
        return Found(blocks, idle, max(upto * kv.size - read, 0))

    def take(self, sequence: Sequence, found: Found) -> int:
        """Use what was found, as the sequence is admitted; the tokens that it had not had before.

        `found.idle` blocks are no longer free.
        """
        self._kv.free -= self._kv.known.use(found.blocks)
        sequence.pins += found.blocks
        sequence.shared += len(found.blocks)
        more = max(found.tokens - sequence.lost, 0)
        self.asked += more if sequence.lost else sequence.left
        self.hits += more
        sequence.left -= found.tokens
        return more

    def publish(self, sequence: Sequence, tokens: int) -> None:
        """The KV of the first `tokens` tokens of a sequence is there: its full blocks are known.

        Not if something below them is not, or by another name (after forks have joined).
        """
        have, full = sequence.shared, tokens // self._kv.size
        if full <= have or sequence.text is None:
            return
        names = self._names(sequence, tokens)
        if not self._follows(sequence, names):
            return
        blocks = names[have:full]
        self._kv.free += self._kv.known.adopt(blocks)
        sequence.held -= len(blocks)
        sequence.pins += blocks
        sequence.shared = full

    def _follows(self, sequence: Sequence, names: tuple[int, ...]) -> bool:
        """Whether all that a sequence shares is known by these names."""
        have, pins = sequence.shared, sequence.pins
        below = have - len(pins)
        return names[below:have] == pins and _known(sequence.parent, below) == names[:below]

    def _names(self, sequence: Sequence, tokens: int) -> tuple[int, ...]:
        """Ids of at least the full blocks of its first `tokens` tokens."""
        names, size = sequence.names, self._kv.size
        if len(names) < tokens // size:
            assert sequence.text is not None
            names = tuple(self._chain(sequence.request, tokens, size, sequence.text))
            sequence.names = names
        return names


def _known(hold: Hold | None, blocks: int) -> tuple[int, ...]:
    """Ids of the first `blocks` blocks of kept KV; fewer if not all are known."""
    if hold is None or not blocks:
        return ()
    below = hold.shared - len(hold.pins)
    return (*_known(hold.parent, below), *hold.pins)[:blocks]

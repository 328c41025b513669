"""Speculative decoding in expectation: guesses, one verification, tokens gained per step.

A step guesses γ tokens per sequence, and the model reads all γ + 1 at once: those guessed and the
one before. Guesses are right with the same chance a, one after the other, until the first that is
wrong; the model's own token follows. A sequence thus gains 1 + a + … + a^γ tokens
(Leviathan et al., "Fast inference from transformers via speculative decoding", ICML 2023, eq. 1).
Knows two cost models; no engine, clock or random draw.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hermesdsl.cost.llm import DataSheetCost, piece_at, pieces_from
from hermesdsl.cost.memory import kv_bytes_per_token, weights_per_device
from hermesdsl.cost.profiles import without_host
from hermesdsl.cost.types import DecodeRun, Piece, StepRows, StepWork, Use
from hermesdsl.graph.types import LlmModel

if TYPE_CHECKING:
    from hermesdsl.cost.provenance import Shares
    from hermesdsl.cost.types import Floats


def expected_tokens(accept: float, guesses: int) -> float:
    """(1 − a^(γ+1))/(1 − a): tokens a sequence gains per step; γ + 1 when every guess is right.

    Raises ValueError for an `accept` outside 0..1 or negative `guesses`.
    """
    if not 0.0 <= accept <= 1.0:
        raise ValueError(f"a guess is right with chance {accept}: it must lie between 0 and 1")
    if guesses < 0:
        raise ValueError(f"{guesses} guesses")
    return sum(accept**n for n in range(guesses + 1))


@dataclass(frozen=True)
class SpeculativeCost:
    """An engine that guesses: the cost of `target` with `draft` beside it on the same devices.

    Times are those of `EngineCost`; of a `decode_run` each sequence gains `gained` tokens a step.
    `draft` reads every prompt and makes `guesses` steps of its own per step of the engine; on
    each device it takes `weights` bytes, and `kv` bytes per token.
    """

    target: DataSheetCost
    draft: DataSheetCost
    accept: float
    guesses: int
    weights: float
    kv: float
    _known: dict[tuple[int, int], tuple[Piece, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def gained(self) -> float:
        """Tokens that a decoding sequence gains per step."""
        return expected_tokens(self.accept, self.guesses)

    def decode_run(self, decodes: int, context: float, most: int = 0) -> DecodeRun:
        """Steps of pure decoding: γ steps of the draft, then γ + 1 tokens per sequence at once.

        `most` sequences on the fullest data-parallel rank; 0: as many as are expected.
        """
        pieces = self._known.get((decodes, most))
        if pieces is None:
            pieces = self._known[decodes, most] = self._pieces(decodes, most)
        pieces = pieces_from(pieces, context)
        return DecodeRun(pieces, decodes, context, self.gained)

    def step(self, work: StepWork) -> float:
        """Seconds of one step; `work` counts each decoding sequence once, as without guesses.

        The draft reads the step's prompts with its first guess.
        """
        rank = work.rank
        most = rank.decodes if rank is not None else 0
        if work.prefills == 0:
            return self.decode_run(work.decodes, work.decode_context, most).seconds(1)
        if rank is not None:
            rank = self._verified(rank)
        seconds = self.target.step(self._verified(work)._replace(rank=rank), self.guesses + 1)
        if self.guesses:
            seconds += self.draft.step(work)
            if work.decodes and self.guesses > 1:
                later = self.draft.decode_run(
                    work.decodes, work.decode_context + work.decodes, most
                )
                seconds += later.seconds(self.guesses - 1)
        return seconds

    def _verified(self, work: StepWork) -> StepWork:
        """The same step with all guesses in it."""
        more = self.guesses * work.decodes
        return work._replace(tokens=work.tokens + more, sampled=work.sampled + more)

    @property
    def request_seconds(self) -> float:
        """See `DataSheetCost`."""
        return self.target.request_seconds

    @property
    def answer_seconds(self) -> float:
        """See `DataSheetCost`."""
        return self.target.answer_seconds

    @property
    def reserved(self) -> int:
        """See `DataSheetCost`."""
        return self.target.reserved

    @property
    def ahead(self) -> bool:
        """See `DataSheetCost`."""
        return self.target.ahead

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV that fit beside the weights of both, each token in both models' KV."""
        own = self.target.memory
        room = max(own.kv - self.weights, 0.0)
        return int(room / (own.kv_per_token + self.kv)) * self.target.group.dp

    def held(self, context: float) -> float:
        """Tokens of KV that a sequence of `context` tokens needs."""
        return self.target.held(context)

    def use(self, rows: StepRows) -> Use:
        """What steps that were recorded used of each device.

        Rows count each decoding sequence once. Of a step's seconds, the share that the model takes
        at the same tokens and the context that the blocks hold is its verification, used as
        `cost.use` says for γ + 1 tokens per sequence; the rest are γ steps of the draft.
        """
        from hermesdsl.cost.use import speculative_use

        return speculative_use(self, rows)

    def rungs(self, rows: StepRows, steps: Floats) -> Shares:
        """Seconds of recorded steps by rung, as the model that verifies has them."""
        from hermesdsl.cost.rungs import speculative_rungs

        return speculative_rungs(self, rows, steps)

    def hosted(self, rows: StepRows) -> Floats:
        """Seconds of each recorded step that the host adds."""
        from hermesdsl.cost.hosted import speculative_host

        return speculative_host(self, rows)

    def _pieces(self, decodes: int, most: int) -> tuple[Piece, ...]:
        """A step of pure decoding; the draft's steps are taken at their mean context."""
        verify = self.target.run_pieces(decodes, self.guesses + 1, most)
        if not self.guesses:
            return verify
        ahead = 0.5 * (self.guesses - 1) * decodes
        guess = tuple(
            Piece(max(p.start - ahead, 0.0), self.guesses * (p.a + p.b * ahead), self.guesses * p.b)
            for p in pieces_from(self.draft.run_pieces(decodes, 1, most), ahead)
        )
        starts = sorted({*(p.start for p in verify), *(p.start for p in guess)})
        pairs = ((piece_at(verify, start), piece_at(guess, start), start) for start in starts)
        return tuple(Piece(start, v.a + g.a, v.b + g.b) for v, g, start in pairs)


def drafted(
    target: DataSheetCost, model: LlmModel, *, accept: float, guesses: int
) -> SpeculativeCost:
    """With a smaller model as the draft, split over the same devices as the target."""
    weights, kv = weights_per_device(model, target.group), kv_bytes_per_token(model, target.group)
    return SpeculativeCost(target, _beside(target, model), accept, guesses, weights, kv)


def mtp(target: DataSheetCost, *, depth: int, accept: float) -> SpeculativeCost:
    """With `depth` multi-token prediction modules of the model itself.

    A module is a layer of the model's last sort with the shared LM head (DeepSeek-V3, arXiv
    2412.19437 §2.2), and weighs as much as the mean layer; the product that joins its two inputs
    is left out.
    """
    model = target.model
    module = replace(
        model,
        layers=1,
        full_layers=min(model.full_layers, 1),
        dense_layers=0 if model.experts else model.dense_layers,
        kv_bytes_per_token=model.kv_bytes_per_token / model.layers,
    )
    held = -(-model.layers // target.group.pp)
    weights = depth * weights_per_device(model, target.group) / held
    kv = depth * kv_bytes_per_token(model, target.group) / held
    return SpeculativeCost(target, _beside(target, module), accept, depth, weights, kv)


def _beside(target: DataSheetCost, model: LlmModel) -> DataSheetCost:
    """A draft on the target's devices; the host schedules both in one go."""
    quiet = without_host(target.profile)
    return DataSheetCost(model, target.group, target.options, target.efficiencies, quiet)

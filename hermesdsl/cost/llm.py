"""The data-sheet cost of one LLM engine: what a step takes on its devices.

Composes operators (GEMM, attention, experts, collectives) per layer and stage and adds the
engine's host costs. Sees sums over a step, never requests, clock or queues.

Decoder layers on one tensor-parallel rank; activations between operators hold 16 bits at least.
Over pipeline stages a step is cut into micro-batches (`pipelining`). Data-parallel ranks wait for
the fullest: as the step says, else as sequences fall on them at random (`slowest`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from math import ceil, inf
from operator import itemgetter
from typing import TYPE_CHECKING

from hermesdsl.cost.attention import (
    AttentionShape,
    DecodeAttention,
    calibrate,
    decode,
    decode_reach,
    grouped,
    latent,
    prefill,
    prefill_reach,
)
from hermesdsl.cost.classes import class_of
from hermesdsl.cost.constants import Efficiencies, Profile
from hermesdsl.cost.device import Device, peak_dtype, wider_of
from hermesdsl.cost.layers import Layers
from hermesdsl.cost.memory import MemoryPlan, plan, spare
from hermesdsl.cost.operator import LAUNCH, Operator, bound_of, total_seconds
from hermesdsl.cost.pipelining import Schedule, candidates, schedule
from hermesdsl.cost.slowest import fullest
from hermesdsl.cost.types import DecodeRun, Piece, StepRows, StepWork, Use
from hermesdsl.graph.types import DTYPE_BYTES, Group, LlmModel, Value

if TYPE_CHECKING:
    from typing import TypeAlias

    from hermesdsl.cost.provenance import Shares
    from hermesdsl.cost.types import Floats
    from hermesdsl.cost.use import Work

    #: Pieces from each one on.
    Onward: TypeAlias = list[tuple[Piece, ...]]

#: A tuple of a kind from all of its values, without names: one is made for every run of steps.
_new = tuple.__new__
_UNCUT = Schedule()
_START = itemgetter(Piece._fields.index("start"))
#: Steps of prompt slices, and operators of steps, that are remembered at once: prompts of a trace
#: hardly ever come again.
_MOST_REMEMBERED = 4096


class DataSheetCost:
    """`EngineCost` from data-sheet values and class efficiencies.

    `model` as it is served (dtypes of the engine applied); `options` of the engine, for its
    memory and its `micro_batches`. Pure: caches are keyed by exact arguments and never change a
    result. Raises ValueError without any usable peak; `bind.diagnose` says so beforehand.
    """

    def __init__(
        self,
        model: LlmModel,
        group: Group,
        options: Mapping[str, Value],
        efficiencies: Efficiencies,
        profile: Profile,
    ) -> None:
        self.model = model
        self.group = group
        self.profile = profile
        self.options = options
        self.efficiencies = efficiencies
        self._overheads = profile.overheads
        several = group.tp * group.pp > 1
        #: What the host does for a step, whatever is in it.
        self.step_seconds = self._overheads.step + (self._overheads.workers if several else 0.0)
        #: Whether attention of prompts and of decodes takes another time together than alone.
        self._joins = False
        value = max(DTYPE_BYTES[model.activation_dtype], 2.0)
        form = latent if model.kv_lora_rank else grouped
        self.shape = form(model, group.tp, DTYPE_BYTES[model.kv_dtype], value)
        self.device = _device(gemm_dtype(model), group, efficiencies, profile)
        self.attention_device = _device(attention_dtype(model), group, efficiencies, profile)
        self._prefill_reach = prefill_reach(self.attention_device, model.kv_dtype)
        self._decode_reach = decode_reach(self.attention_device, model.kv_dtype)
        self._layers = Layers(
            model, group, self.device, self.shape, efficiencies, profile.overheads,
            profile.kernels, self._free(),
        )  # fmt: skip
        self._staged, self._ranked = group.pp > 1, group.dp > 1
        self._schedules: dict[int, Schedule] = {}
        self._operators: dict[tuple[int, int], list[Operator]] = {}
        #: By what is asked about (layers or head), tokens and cuts: see `cost.use`.
        self.works: dict[tuple[str, int, int], Work] = {}
        self._linear_cache: dict[tuple[int, int], float] = {}
        self._head_cache: dict[tuple[int, int, int], float] = {}
        self._decode_cache: dict[tuple[int, int, int, int], tuple[Piece, ...]] = {}
        self._prefill_cache: dict[tuple[object, ...], float] = {}
        self._run_cache: dict[tuple[int, int, int], tuple[Piece, ...]] = {}
        #: By decodes and most, see `_begin_runs`; the same of decodes in any step.
        self._runs: dict[tuple[int, int], tuple[list[float], Onward]] = {}
        self._begun: dict[tuple[int, int, int, int], tuple[list[float], tuple[Piece, ...]]] = {}

    # --- the interpreter's interface -------------------------------------------------------

    def step(self, work: StepWork, queries: int = 1) -> float:
        """Seconds of one step. With `prefills` = 0 it equals `decode_run(...).seconds(1)`.

        `queries`: tokens of each decoding sequence, all counted in `tokens` and `sampled`.
        """
        tokens, sampled, prefills, prompts, _, _, decodes, context, fullest_rank = work
        most = drawn = 0
        if fullest_rank is not None:
            most, drawn = fullest_rank.decodes, fullest_rank.sampled
        if prefills == 0 and tokens == decodes * queries == sampled:
            piece = piece_at(self.run_pieces(decodes, queries, most), context)
            return piece.a + piece.b * context
        order = self.schedule(tokens) if self._staged else _UNCUT
        cuts, rank = order.cuts, tokens
        sequences: float = decodes + prefills
        if self._ranked:
            rank, sequences = self._rank(work, queries), self._scheduled(work)
        # The look-ups stand here, not in the methods that fill them: there is one for every step.
        seconds = self._linear_cache.get((rank, tokens)) or self._linear(rank, tokens)
        seconds += self._head_cache.get((sampled, cuts, drawn)) or self._head(sampled, order, drawn)
        if decodes:
            key = (decodes, cuts, queries, most)
            found = self._begun.get(key)
            if found is None:
                pieces = self.decode_pieces(decodes, order, queries, most)
                found = self._begun[key] = [piece.start for piece in pieces[1:]], pieces
            _, a, b = found[1][bisect_right(found[0], context)]
            seconds += a + b * context
        if prefills:
            seconds += self._prefill_seconds(work, order)
            if decodes and self._joins:
                seconds += self._beside(work)
        least, alone = self.host(rank, tokens, sequences, prompts)
        return (seconds if seconds > least else least) + alone

    def _beside(self, work: StepWork) -> float:
        """Seconds more that prompts and decodes take together than each alone."""
        raise NotImplementedError

    def decode_run(self, decodes: int, context: float, most: int = 0) -> DecodeRun:
        """Step times of pure decoding by `decodes` sequences from summed `context` tokens on.

        `most` of them on the fullest data-parallel rank; 0: as many as are expected.
        """
        known = self._runs.get((decodes, most)) or self._begin_runs(decodes, most)
        starts, onward = known
        pieces = onward[bisect_right(starts, context)]
        return _new(DecodeRun, (pieces, decodes, context, 1.0))

    def _begin_runs(self, decodes: int, most: int) -> tuple[list[float], Onward]:
        """Where pieces of a run begin but for the first, and those from each on."""
        pieces = self.run_pieces(decodes, 1, most)
        starts = [piece.start for piece in pieces[1:]]
        onward = [pieces[place:] for place in range(len(pieces))]
        self._runs[decodes, most] = starts, onward
        return starts, onward

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV that fit into the engine's memory (all its devices together)."""
        return self.memory.kv_tokens

    def held(self, context: float) -> float:
        """Tokens of KV that a sequence of `context` tokens needs, of all layers.

        Layers with a window hold no more than that.
        """
        return self.seen(1, context)

    def seen(self, sequences: float, context: float) -> float:
        """Of the summed context of some sequences, what a layer reads, in the mean of all layers.

        Where a window cuts it, the sum stands for equal contexts.
        """
        model = self.model
        if not model.window:
            return context
        full = model.full_layers / model.layers
        return full * context + (1.0 - full) * min(context, float(sequences * model.window))

    def use(self, rows: StepRows) -> Use:
        """What steps that were recorded used of each device; see `cost.use`."""
        from hermesdsl.cost.use import engine_use

        return engine_use(self, rows)

    def rungs(self, rows: StepRows, steps: Floats) -> Shares:
        """Seconds of recorded steps, so many of each row, by rung; see `cost.rungs`."""
        from hermesdsl.cost.rungs import engine_rungs

        return engine_rungs(self, rows, steps)

    def hosted(self, rows: StepRows) -> Floats:
        """Seconds of each recorded step that the host adds; see `cost.hosted`."""
        from hermesdsl.cost.hosted import engine_host

        return engine_host(self, rows)

    @property
    def request_seconds(self) -> float:
        """Host seconds before a new request can be scheduled: API and tokenisation."""
        return self._overheads.request

    @property
    def answer_seconds(self) -> float:
        """Seconds of the front end for each token that goes out."""
        return self._overheads.answer

    @property
    def reserved(self) -> int:
        """Places of a batch that no request can take."""
        return self.profile.reserved

    @property
    def ahead(self) -> bool:
        """Whether the host puts steps together while the devices run the one before."""
        return self._overheads.overlap > 0.0

    @cached_property
    def memory(self) -> MemoryPlan:
        """Bytes of weights, reserve and KV on each device."""
        return plan(self.model, self.group, self.profile, self.options)

    def _free(self) -> float:
        """Bytes of a device that buffers of all-reduces may take before they are allocated anew."""
        return inf if self.profile.kernels.churn == inf else spare(self.memory, self.group)

    def breakdown(self, work: StepWork) -> list[Operator]:
        """The operators of one step; their times add up to `step(work)` (1e-12 relative).

        ``host``: what it adds to the devices' time, work beside them left out.
        """
        found = self.device_operators(work)
        least, alone = self.host(
            self._rank(work), work.tokens, self._scheduled(work), work.prefill_tokens
        )
        host = max(least - total_seconds(found), 0.0) + alone
        return [*found, Operator("host", 1, host, 0.0, 0.0, LAUNCH)]

    def device_operators(self, work: StepWork) -> list[Operator]:
        """Those of the devices."""
        order = self.schedule(work.tokens)
        most, drawn = (work.rank.decodes, work.rank.sampled) if work.rank is not None else (0, 0)
        found = [*self.linear_operators(self._rank(work), work.tokens)]
        found += self.head_operators(work.sampled, order, drawn)
        if work.prefills:
            found.append(self._prefill(work, order))
        if work.decodes:
            found.append(self._decode_operator(work.decodes, work.decode_context, order, most))
        return found

    def schedule(self, tokens: int) -> Schedule:
        """How a step of `tokens` is cut into micro-batches.

        Into as many as the engine says (`micro_batches`), else as make its linear layers
        fastest; without pipeline stages, not at all.
        """
        if self.group.pp == 1:
            return _UNCUT
        found = self._schedules.get(tokens)
        if found is None:
            layers, stages = self.model.layers, self.group.pp
            given = self.options.get("micro_batches")
            if isinstance(given, int | float):
                found = schedule(layers, stages, max(1, min(int(given), tokens)))
            else:
                tried = [schedule(layers, stages, n) for n in candidates(stages, tokens)]
                found = min(tried, key=lambda order: self._linear_seconds(tokens, tokens, order))
            self._schedules[tokens] = found
        return found

    # --- cached parts of a step ------------------------------------------------------------

    def _linear(self, rank: int, tokens: int) -> float:
        """Everything that depends on numbers of tokens alone."""
        seconds = self._linear_cache.get((rank, tokens))
        if seconds is None:
            seconds = total_seconds(self.linear_operators(rank, tokens))
            self._linear_cache[rank, tokens] = seconds
        return seconds

    def _linear_seconds(self, rank: int, tokens: int, order: Schedule) -> float:
        return total_seconds(self._layers.linear(order.part(rank), order.part(tokens), order))

    def _head(self, sampled: int, order: Schedule, most: int) -> float:
        seconds = self._head_cache.get((sampled, order.cuts, most))
        if seconds is None:
            seconds = total_seconds(self.head_operators(sampled, order, most))
            self._head_cache[sampled, order.cuts, most] = seconds
        return seconds

    def _prefill_seconds(self, work: StepWork, order: Schedule) -> float:
        """Attention of the prompt slices, which many steps have alike."""
        key = (*work[2:6], order.cuts, work.rank)
        seconds = self._prefill_cache.get(key)
        if seconds is None:
            op = self._prefill(work, order)
            if len(self._prefill_cache) >= _MOST_REMEMBERED:
                self._prefill_cache.clear()
            self._prefill_cache[key] = seconds = op.count * op.seconds
        return seconds

    def decode_pieces(
        self, decodes: int, order: Schedule, queries: int = 1, most: int = 0
    ) -> tuple[Piece, ...]:
        """Decode attention of all layers over the engine's summed context.

        Of each micro-batch: decodes/cuts sequences on the data-parallel ranks together, of which
        the fullest (`most` of all, or as expected) reads its share of the context. `queries` tokens
        of each sequence read it.
        """
        pieces = self._decode_cache.get((decodes, order.cuts, queries, most))
        if pieces is None:
            layers = self.model.layers * order.passes
            share = self._fullest_share(decodes, order, most)
            layer = self._layer_pieces(decodes * share, queries)
            pieces = tuple(
                Piece(p.start / share, p.a * layers, p.b * layers * share) for p in layer
            )
            self._decode_cache[decodes, order.cuts, queries, most] = pieces
        return pieces

    def run_pieces(self, decodes: int, queries: int = 1, most: int = 0) -> tuple[Piece, ...]:
        """A whole step of pure decoding, with `queries` tokens of each sequence at once.

        `most`: sequences on the fullest data-parallel rank; 0: as many as are expected.
        """
        pieces = self._run_cache.get((decodes, queries, most))
        if pieces is None:
            tokens = decodes * queries
            order = self.schedule(tokens)
            rank = most * queries or self._expected_rank(tokens, decodes, 0, queries)
            fixed = self._linear(rank, tokens) + self._head(tokens, order, most * queries)
            least, alone = self.host(rank, tokens, most or self._expected(decodes))
            found = self.decode_pieces(decodes, order, queries, most)
            device = tuple(Piece(p.start, fixed + p.a, p.b) for p in found)
            pieces = tuple(Piece(p.start, p.a + alone, p.b) for p in at_least(device, least))
            self._run_cache[decodes, queries, most] = pieces
        return pieces

    # --- the host ----------------------------------------------------------------------------

    def host(
        self, rank: int, tokens: int, sequences: float, prompts: int = 0
    ) -> tuple[float, float]:
        """Of one step: seconds that it lasts at least, and those that come on top.

        The host works `overlap` of its time beside the devices, and starts the kernels of every
        layer one by one where no captured graph has so many tokens (of the fullest rank); a layer
        that reads prompts has more of them.
        """
        o = self._overheads
        host = self.step_seconds + o.sequence * sequences + o.token * prompts
        least = o.overlap * host
        if rank > o.graph_limit:
            order = self.schedule(tokens)
            layer = o.eager + o.eager_prompt if prompts else o.eager
            least = max(least, layer * self.model.layers * order.passes)
        return least, (1.0 - o.overlap) * host + o.gap

    # --- the fullest data-parallel rank ------------------------------------------------------

    def _rank(self, work: StepWork, queries: int = 1) -> int:
        """Tokens on the fullest rank of a step."""
        if work.rank is not None:
            return work.rank.tokens
        return self._expected_rank(work.tokens, work.decodes, work.prefills, queries)

    def _expected_rank(self, tokens: int, decodes: int, prefills: int, queries: int) -> int:
        """Expected tokens there: `queries` of each decode, of prompt slices equally many.

        The rank with most decodes and the one with most slices are taken as the same.
        """
        dp = self.group.dp
        if dp == 1:
            return tokens
        most = fullest(decodes, dp) * queries
        if prefills:
            most += (tokens - decodes * queries) * fullest(prefills, dp) / prefills
        return ceil(most - 1e-9)

    def _scheduled(self, work: StepWork) -> float:
        """Sequences that the host of the fullest rank schedules: each rank has its own."""
        if work.rank is not None:
            return work.rank.decodes + work.rank.prefills
        return self._expected(work.decodes) + self._expected(work.prefills)

    def _expected(self, sequences: int) -> float:
        """Of so many, those expected on the fullest rank."""
        return fullest(sequences, self.group.dp) if self._ranked else sequences

    def _fullest_share(self, sequences: int, order: Schedule, most: int = 0) -> float:
        """Share of a step's sequences that the fullest rank has in one micro-batch."""
        dp = self.group.dp
        share = (most or fullest(sequences, dp)) / sequences if dp > 1 else 1.0
        return share / order.cuts

    # --- operators -------------------------------------------------------------------------

    def linear_operators(self, rank: int, tokens: int) -> list[Operator]:
        """Operators of a step's tokens, `rank` of them on the fullest data-parallel rank.

        What steps took and what they used both ask for them; not to be changed.
        """
        found = self._operators.get((rank, tokens))
        if found is None:
            order = self.schedule(tokens)
            found = self._layers.linear(order.part(rank), order.part(tokens), order)
            if len(self._operators) >= _MOST_REMEMBERED:
                self._operators.clear()
            self._operators[rank, tokens] = found
        return found

    def head_operators(self, sampled: int, order: Schedule, most: int = 0) -> list[Operator]:
        """Operators of the sequences that get a next token, `most` of them on one rank."""
        rank = sampled
        if self.group.dp > 1:
            rank = most or ceil(fullest(sampled, self.group.dp) - 1e-9)
        return self._layers.head(order.part(rank), order.cuts)

    def _decode_attention(
        self, sequences: float, queries: int = 1, shape: AttentionShape | None = None
    ) -> DecodeAttention:
        """One layer on the fullest rank; `limit` is in that rank's context."""
        shape = shape or self.shape
        layer = decode(self.attention_device, shape, sequences, queries)
        if not self._decode_reach:
            return layer
        return calibrate(layer, shape, sequences, self._decode_reach, self.attention_device)

    def _layer_pieces(self, sequences: float, queries: int) -> tuple[Piece, ...]:
        """The mean of all layers, of which `full_layers` know no window."""
        ring = self._decode_attention(sequences, queries).pieces()
        full = self.model.full_layers / self.model.layers
        if not full or not self.shape.window:
            return ring
        whole = self._decode_attention(sequences, queries, self._unwindowed).pieces()
        starts = sorted({*(p.start for p in ring), *(p.start for p in whole)})
        pairs = ((piece_at(ring, start), piece_at(whole, start), start) for start in starts)
        return tuple(
            Piece(at, r.a + full * (w.a - r.a), r.b + full * (w.b - r.b)) for r, w, at in pairs
        )

    @cached_property
    def _unwindowed(self) -> AttentionShape:
        """Attention in layers that see all of the context."""
        return replace(self.shape, window=0)

    def _decode_operator(
        self, decodes: int, context: float, order: Schedule, most: int
    ) -> Operator:
        share = self._fullest_share(decodes, order, most)
        layer = self._decode_attention(decodes * share)
        piece = piece_at(self.decode_pieces(decodes, order, 1, most), context)
        layers = self.model.layers * order.passes
        seconds = (piece.a + piece.b * context) / layers
        seen = self.seen(decodes * share, context * share)
        memory = layer.memory + layer.memory_slope * seen
        bound = bound_of(layer.fixed, layer.compute_slope * seen, memory)
        flops, traffic = self.shape.flops_per_token * seen, self.shape.kv_bytes * seen
        return Operator("attention decode", layers, seconds, flops, traffic, bound, layer.rung)

    def _prefill(self, work: StepWork, order: Schedule) -> Operator:
        """Prefill attention of one micro-batch on the fullest data-parallel rank."""
        dp, layers = self.group.dp, self.model.layers * order.passes
        if dp == 1 and order.cuts == 1:
            return self._prefill_operator(layers, work)
        if work.rank is not None:
            work, share = work.rank, 1.0 / order.cuts
        else:
            share = self._fullest_share(work.prefills, order)
        part = work._replace(
            prefills=ceil(work.prefills * share),
            prefill_tokens=ceil(work.prefill_tokens * share),
            prefill_pairs=work.prefill_pairs * share,
            prefill_kv=work.prefill_kv * share,
        )
        return self._prefill_operator(layers, part)

    def _prefill_operator(self, layers: float, work: StepWork) -> Operator:
        """Prefill attention of the mean of all layers, of which `full_layers` know no window."""
        ring = prefill(self.attention_device, self.shape, layers, work, self._prefill_reach)
        full = self.model.full_layers / self.model.layers
        if not full or not self.shape.window:
            return ring
        whole = prefill(self.attention_device, self._unwindowed, layers, work, self._prefill_reach)
        seconds, flops, traffic = (
            r + full * (w - r)
            for r, w in (
                (ring.seconds, whole.seconds), (ring.flops, whole.flops),
                (ring.bytes, whole.bytes),
            )
        )  # fmt: skip
        return Operator(ring.name, layers, seconds, flops, traffic, whole.bound)


def piece_at(pieces: tuple[Piece, ...], context: float) -> Piece:
    """The piece of sorted ones that covers `context`."""
    return pieces[bisect_right(pieces, context, 1, key=_START) - 1]


def at_least(pieces: tuple[Piece, ...], least: float) -> tuple[Piece, ...]:
    """The larger of rising pieces and a constant, as pieces."""
    if pieces[0].a + pieces[0].b * pieces[0].start >= least:
        return pieces
    found = [Piece(pieces[0].start, least, 0.0)]
    ends = [piece.start for piece in pieces[1:]]
    for piece, end in zip(pieces, [*ends, inf], strict=True):
        if piece.a + piece.b * piece.start >= least:
            found.append(piece)
        elif piece.b > 0.0 and (cross := (least - piece.a) / piece.b) < end:
            found.append(Piece(cross, piece.a, piece.b))
    return tuple(found)


def pieces_from(pieces: tuple[Piece, ...], context: float) -> tuple[Piece, ...]:
    """The pieces of a run that begins at `context`: the one that covers it, and all after it."""
    return pieces[bisect_right(pieces, context, 1, key=_START) - 1 :]


def gemm_dtype(model: LlmModel) -> str:
    """Products with weights run at the wider of weights and activations."""
    return wider_of(model.dtype, model.activation_dtype)


def attention_dtype(model: LlmModel) -> str:
    """Attention runs on activations of 16 bits at least, whatever the type of the KV cache."""
    return wider_of(model.activation_dtype, "bf16")


def _device(dtype: str, group: Group, efficiencies: Efficiencies, profile: Profile) -> Device:
    part = group.part
    served = peak_dtype(part.peak, dtype)
    if served is None:
        raise ValueError(f"{part.type_name} has no peak for {dtype} or any wider type")
    return Device(
        part.peak[served] * group.cores_share, group.memory_bandwidth * group.memory_share,
        part.sms, DTYPE_BYTES[served] < 2.0,
        efficiencies, profile.overheads, served, part.calibration,
        class_of(part, group.memory_bandwidth), part.peak.get("bf16", 0.0),
    )  # fmt: skip

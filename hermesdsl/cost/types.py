"""What the interpreter asks of a cost model, and what it gets.

A cost model sees sufficient statistics of a step, never requests, clock or queues.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hermesdsl.cost.provenance import Shares

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]


class StepWork(NamedTuple):
    """One iteration of an LLM engine.

    `tokens` pass through the linear layers (prompt slices and one per decoding branch);
    `sampled` sequences get a next token. `prefill_pairs` = Σ over prompt slices of
    t·s + t(t+1)/2 for t new tokens after s cached ones; `prefill_kv` = Σ (s + t) tokens of KV
    that the slices read; `prefill_tokens` = Σ t; `prefills` their number. `decodes` sequences
    (branches counted) read `decode_context` = Σ tokens of KV. `rank`: the most of each that any of
    several data-parallel ranks has (its `decode_context` is 0: a share of all); None: not known.
    """

    tokens: int
    sampled: int
    prefills: int = 0
    prefill_tokens: int = 0
    prefill_pairs: float = 0.0
    prefill_kv: float = 0.0
    decodes: int = 0
    decode_context: float = 0.0
    rank: StepWork | None = None


class Piece(NamedTuple):
    """From summed context `start` on (until the next piece), a step takes a + b · context."""

    start: float
    a: float
    b: float


class Passed(NamedTuple):
    """A piece that steps of a run fall on.

    Its last step is the `upto`-th of the run and ends `end` seconds after the run's start (S of
    it); its first step takes `first` seconds, and each one `slope` more than the one before.
    """

    upto: int
    end: float
    first: float
    slope: float


class DecodeRun(NamedTuple):
    """`decodes` sequences decoding together, context growing by `advance` each per step.

    `pieces` give a step's seconds as a piecewise affine function of the summed context, sorted
    by start, the first covering `context` (the sum at the first step). S(j), the end of the j-th
    step after the run's start, has a closed form per piece. `advance`: tokens that each sequence
    gets per step, more than one only in expectation (`speculation`).
    """

    pieces: tuple[Piece, ...]
    decodes: int
    context: float
    advance: float = 1.0

    def seconds(self, steps: int) -> float:
        """S(steps): seconds from the run's start to the end of its `steps`-th step."""
        pieces, decodes, context, advance = self
        _, a, b = pieces[0]
        if len(pieces) == 1:
            return steps * (a + b * (context + 0.5 * (steps - 1) * decodes * advance))
        grown = (steps - 1) * (decodes * advance)
        if context + grown < pieces[1][0]:
            # As most runs do, it ends before the second piece begins.
            return steps * (a + b * (context + 0.5 * grown))
        return self.passed(steps)[-1].end

    def passed(self, steps: int) -> list[Passed]:
        """The pieces that the first `steps` steps (one or more) fall on, in turn."""
        pieces, decodes, context, advance = self
        growth = decodes * advance
        found = []
        total, done, last = 0.0, 0, len(pieces) - 1
        most = context + (steps - 1) * growth
        for index, (_, a, b) in enumerate(pieces):
            count = steps
            if index < last and most >= (end := pieces[index + 1][0]):
                count = min(self._steps_before(end), steps)
            if count > done:
                n = count - done
                first = context + done * growth
                total += n * (a + b * (first + 0.5 * (n - 1) * growth))
                found.append(Passed(count, total, a + b * first, b * growth))
                done = count
            if done == steps:
                break
        return found

    def _steps_before(self, end: float) -> int:
        """Number of steps of this run whose summed context lies below `end`."""
        if end <= self.context:
            return 0
        growth = self.decodes * self.advance
        count = int((end - self.context) / growth)
        while self.context + count * growth < end:
            count += 1
        while count > 0 and self.context + (count - 1) * growth >= end:
            count -= 1
        return count

    def first_step_at(self, time: float, origin: float, limit: int) -> int:
        """Smallest step j in 1..limit of a run begun at `origin` that ends at or after `time`.

        `limit` if there is none. The root of the first piece's parabola is tried, then that of the
        piece on which the step lies, before searching.
        """
        pieces, decodes, context, advance = self
        _, a, b = pieces[0]
        elapsed = time - origin
        guess = min(max(_root(elapsed, a + b * context, b * decodes * advance), 1), limit)
        if self._is_first(guess, time, origin, limit):
            return guess
        done, before = 0, 0.0
        for upto, end, first, slope in self.passed(limit):
            if end >= elapsed:
                guess = min(max(done + _root(elapsed - before, first, slope), 1), upto)
                break
            done, before = upto, end
        if self._is_first(guess, time, origin, limit):
            return guess
        low, high = 1, limit
        while low < high:
            middle = (low + high) // 2
            if origin + self.seconds(middle) >= time:
                high = middle
            else:
                low = middle + 1
        return low

    def _is_first(self, step: int, time: float, origin: float, limit: int) -> bool:
        """Whether that step, and none before it, ends at or after `time`, or is the `limit`."""
        return (step == 1 or origin + self.seconds(step - 1) < time) and (
            step == limit or origin + self.seconds(step) >= time
        )


def _root(seconds: float, first: float, slope: float) -> int:
    """Steps until so many seconds are over, the first taking `first`, each `slope` more."""
    middle = first - 0.5 * slope
    square = middle * middle + 2.0 * slope * seconds
    both = middle + sqrt(square) if square > 0.0 else middle
    return ceil(2.0 * seconds / both) if both > 0.0 else 1


class StepRows(NamedTuple):
    """What is known of recorded steps afterwards: means per step, shape (rows,) each.

    `seconds` of one step; `batch` sequences decoding; `tokens` through the linear layers, of which
    `prefill_tokens` of prompts; `kv_tokens` that the engine's blocks hold.
    """

    seconds: Floats
    batch: Ints
    tokens: Floats
    prefill_tokens: Floats
    kv_tokens: Floats


class Use(NamedTuple):
    """How much of one device some work uses while it lasts: shares 0..1, shape (rows,) each.

    `busy`: of the time, in which it runs anything at all. `compute`: FLOPs over peak FLOP/s and
    time. `memory`: bytes over bandwidth and time. `link`: bytes sent over the bandwidth of its
    links and time. All are means over the devices of the group. `drawn`: of the range from idle to
    limit, for what its kernels do; None: not known kernel by kernel.
    """

    busy: Floats
    compute: Floats
    memory: Floats
    link: Floats
    drawn: Floats | None = None


class EngineCost(Protocol):
    """The cost model bound to one LLM engine; pure and cached inside by exact arguments."""

    def step(self, work: StepWork) -> float:
        """Seconds of one step. With `prefills` = 0 it equals `decode_run(...).seconds(1)`."""

    def decode_run(self, decodes: int, context: float, most: int = 0) -> DecodeRun:
        """Step times of pure decoding by `decodes` sequences from summed `context` tokens on.

        `most`: sequences on the fullest of several data-parallel ranks, 0: not known.
        """

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV that fit into the engine's memory (all its devices together)."""

    def use(self, rows: StepRows) -> Use:
        """What steps that were recorded used of each of the engine's devices."""

    def rungs(self, rows: StepRows, steps: Floats) -> Shares:
        """Seconds of recorded steps, so many of each row, by the rung they stand on."""

    def hosted(self, rows: StepRows) -> Floats:
        """Seconds of each recorded step that the host adds to its devices' time, (rows,)."""


class ServiceCost(Protocol):
    """The cost model of one stage on one client that is no LLM engine; pure.

    What `requests` and `tokens` count is said by each model: queries of a search, sequences and
    their tokens of a forward pass (a reranker has one sequence per candidate passage).
    """

    def seconds(self, requests: int, tokens: int) -> float:
        """Seconds of one batch of `requests` with `tokens` in all, on one server."""

    def use(self, requests: Ints, seconds: Floats, share: Floats) -> Use:
        """What batches that took so many `seconds` used of each of the client's devices.

        `share`: of the client that was kept busy (one worker of c: 1/c).
        """

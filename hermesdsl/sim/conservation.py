"""What must hold at the end of every run: requests, tokens and KV blocks are conserved.

A violation is a fault of the interpreter, never of a specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from hermesdsl.sim.caches import Hierarchy
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.network.network import Network
from hermesdsl.sim.record import COMPLETED, UNFINISHED, Recorder, Run, StepSums, step_sums


class ConservationError(RuntimeError):
    """The records of a run contradict each other; the message lists every contradiction."""


def check(
    run: Run,
    engines: Iterable[Engine],
    recorder: Recorder,
    network: Network,
    earlier: StepSums | None = None,
) -> None:
    """Raise `ConservationError` unless a finished run's requests, tokens, blocks, bytes add up.

    `earlier`: of steps that the run no longer holds.
    """
    engines = list(engines)
    sums = step_sums(run.steps, len(run.clients))
    if earlier is not None:
        sums += earlier
    problems = [*_requests(run), *_tokens(run, engines, recorder, sums), *_bytes(run, network)]
    for engine in engines:
        problems.extend(_engine(run, engine, round(sums.prefill[engine.index])))
    if problems:
        raise ConservationError("; ".join(problems))


def check_caches(run: Run, caches: Iterable[Hierarchy]) -> None:
    """Raise `ConservationError` unless the blocks of every cache of a finished run add up."""
    drained = run.horizon == "drain"
    problems = [problem for cache in caches for problem in cache.problems(drained)]
    if problems:
        raise ConservationError("; ".join(problems))


def _requests(run: Run) -> Iterable[str]:
    counts = run.counts
    ended = ("completed", "refused", "timed_out", "unfinished")
    if counts["offered"] != sum(counts.get(outcome, 0) for outcome in ended):
        yield f"requests are lost: {dict(counts)}"
    if run.horizon == "drain" and counts["unfinished"]:
        first = int(np.argmax(run.requests["status"] == UNFINISHED))
        yield f"{counts['unfinished']} requests never finish, request {first} first"
    columns = run.requests
    done = columns["status"] == COMPLETED
    order = [columns["arrival_s"], columns["first_token_s"], columns["last_token_s"],
             columns["finish_s"]]  # fmt: skip
    for before, after in pairwise(order):
        if (after[done] < before[done]).any():
            yield "a request goes back in time"


def _tokens(run: Run, engines: list[Engine], recorder: Recorder, sums: StepSums) -> Iterable[str]:
    stepped = sums.sequences
    decoded = sum(engine.decoding.produced(round(stepped[engine.index])) for engine in engines)
    produced = decoded + sum(engine.prompts_done for engine in engines) + recorder.samples
    generated = int(np.frombuffer(recorder.generated, np.int64).sum())
    if produced != generated:
        yield f"steps produced {produced} tokens, requests got {generated}"
    done = np.frombuffer(recorder.status, np.int8) == COMPLETED
    whole = done & (np.frombuffer(recorder.cut_short, np.int8) == 0)
    if (
        np.frombuffer(recorder.generated, np.int64)[whole]
        != np.frombuffer(recorder.due, np.int64)[whole]
    ).any():
        yield "a completed request has more or fewer tokens than it asked for"
    if (run.requests["visible"] > run.requests["generated"]).any():
        yield "a request shows more tokens than were produced for it"


def _bytes(run: Run, network: Network) -> Iterable[str]:
    if run.horizon == "drain" and network.under_way:
        yield f"{network.under_way} transfers never arrive"
    moved = float(run.transfers["bytes"].sum())
    # What is cut or cancelled on its way is carried, and no transfer.
    if moved > network.carried * (1 + 1e-9):
        yield f"transfers moved {moved:.0f} bytes, the network carried {network.carried:.0f}"


def _engine(run: Run, engine: Engine, read: int) -> Iterable[str]:
    left, held = engine.outstanding()
    found = engine.reuse.hits if engine.reuse is not None else 0
    if read != engine.accepted + engine.recomputed - found - left:
        yield (
            f"{engine.path} read {read} prompt tokens of {engine.accepted} accepted and "
            f"{engine.recomputed} recomputed with {found} found in its cache and {left} left"
        )
    if engine.kv.used != held:
        yield f"{engine.path} has {engine.kv.used} KV blocks in use, its sequences hold {held}"
    if run.horizon == "drain" and (engine.kv.used or engine.decoding.count):
        yield f"{engine.path} ends with {engine.kv.used} KV blocks in use"
    if any(not 0 <= kv.free <= kv.capacity for kv in engine.kv.parts):
        yield f"{engine.path} has {[kv.free for kv in engine.kv.parts]} KV blocks free on its ranks"
    if run.horizon == "drain" and engine.dealt is not None and any(engine.dealt):
        yield f"{engine.path} ends with sequences on its ranks: {engine.dealt}"
    yield from _known_blocks(engine)
    host = engine.host
    if host is not None:
        if host.held != engine.swapped():
            yield f"{engine.path} has {host.held} KV blocks swapped out, not {engine.swapped()}"
        if run.horizon == "drain" and host.out != host.back:
            yield f"{engine.path} swapped {host.out} KV blocks out and {host.back} back"
    if not engine.decoding.count and engine.decoding.context:
        yield f"{engine.path} ends with {engine.decoding.context} tokens of context"


def _known_blocks(engine: Engine) -> Iterable[str]:
    """Blocks of a prefix cache: all uses are accounted for, and what is unused is free."""
    parts = engine.kv.parts
    uses, pins = sum(sum(kv.known.users.values()) for kv in parts), engine.pins()
    if uses != pins:
        yield f"{engine.path} counts {uses} uses of known KV blocks, its sequences have {pins}"
    for kv in parts:
        if len(kv.known.idle) > kv.free and not engine.decoding.count:
            yield f"{engine.path} caches {len(kv.known.idle)} KV blocks where {kv.free} are free"

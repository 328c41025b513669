"""What a workload offers: arrivals, lengths and classes put together into a `RequestBatch`.

Each of these has its own random stream, named after the workload, so that changing one leaves the
others' draws alone; turn t of a session has streams of its own too. Knows no pipeline, client or
clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import RequestClass, Spec, Workload
from hermesdsl.sim import chains
from hermesdsl.sim.chains import Chains
from hermesdsl.sim.lengths import mean, sample, tokens
from hermesdsl.sim.offer import Offer, Wanted, offer_of
from hermesdsl.sim.popularity import shared_prefixes
from hermesdsl.sim.requests import IntColumn, RequestBatch
from hermesdsl.sim.streams import Floats, Stream

__all__ = ["Load", "offered", "offered_rates"]


@dataclass(frozen=True)
class Load:
    """The requests of one workload and what is worth saying about them."""

    batch: RequestBatch
    notes: tuple[str, ...] = ()


def offered(
    workload: Workload,
    *,
    duration: float | None,
    seed: int,
    classes: Mapping[str, RequestClass],
) -> Load:
    """The requests that may arrive in [0, duration) seconds, all of a trace without a duration.

    At most `workload.requests` of them. A trace brings its own lengths and classes except where
    the workload sets `prompt`, `output` or `class`. Follow-ups (turns, users of a closed loop)
    have no arrival yet. Raises SpecError: HMS601 for what cannot be, HMS603 for a bad trace,
    HMS506 for what is not executable yet.
    """
    _check(workload)
    base = Stream(seed, f"workload.{workload.name}")
    if workload.arrivals.name == "closed":
        offer, rows = Offer(np.empty(0)), _closed_loop(workload, base, duration)
    else:
        offer = _offer(workload, base, duration, classes)
        rows = _rows(workload, base, offer)
    with _about(f"`{workload.name}.prompt`"):
        prompt = _lengths(workload, "prompt", offer.prompt, base, rows)
    with _about(f"`{workload.name}.output`"):
        output = _lengths(workload, "output", offer.output, base, rows)
    klass, names = _classes(workload, offer, classes, base.child("class"), rows)
    priorities = np.array([classes[c].priority if c in classes else 0 for c in names], np.int32)
    prefix, prefix_tokens = _prefixes(workload, base, rows)
    batch = RequestBatch(
        workload=workload.name,
        arrival=rows.arrival,
        prompt=prompt,
        output=output,
        klass=klass,
        session=_sessions(workload, offer, rows),
        priority=priorities[klass],
        classes=names,
        turn=rows.turn,
        after=rows.after,
        delay=rows.delay,
        prefix=prefix,
        prefix_tokens=prefix_tokens,
        blocks=None if offer.blocks is None else offer.blocks.rows(rows.origin),
        cached=_cached(workload, offer, rows, prompt),
        grows=workload.sessions,
    )
    return Load(batch, offer.notes)


def offered_rates(workload: Workload) -> tuple[float, float, float] | None:
    """Mean load: requests, prompt tokens and output tokens per second; None for a trace.

    From the distributions, without drawing; for the one-line bound on capacity. The history of
    sessions is left out, as a cache may hold all of it.
    """
    rate = workload.arrivals.args.get("rate")
    if not isinstance(rate, int | float) or workload.prompt is None or workload.output is None:
        return None
    turns = workload.options.get("turns")
    requests = rate * (mean(turns) if isinstance(turns, Spec) else 1.0)
    means = []
    for role, spec in (("prompt", workload.prompt), ("output", workload.output)):
        with _about(f"`{workload.name}.{role}`"):
            means.append(requests * mean(spec))
    return float(requests), means[0], means[1]


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Errors of a distribution say whose it is."""
    try:
        yield
    except SpecError as problem:
        told = [
            replace(d, message=f"{what}: {d.message}") if d.message.startswith("dist") else d
            for d in problem.diagnostics
        ]
        raise SpecError(told) from None


def _check(workload: Workload) -> None:
    """Settings that contradict one another."""
    name, kind = workload.name, workload.arrivals.name
    turns, think = (workload.options.get(option) for option in ("turns", "think_time"))
    problems = []
    if workload.requests is not None and workload.requests < 1:
        problems.append(error("HMS601", f"`{name}.requests` is {workload.requests}; at least 1"))
    if turns is not None and kind in ("trace", "merge", "closed"):
        message = f"`{name}.turns`: arrivals `{kind}` do not begin sessions"
        note = "help: a process such as `poisson(1 session/s)` does"
        problems.append(error("HMS601", message, notes=[note]))
    if think is not None and turns is None:
        message = f"`{name}.think_time` without `turns`: nobody comes back"
        note = "help: set `turns`, such as `turns = geometric(mean = 3)`"
        problems.append(error("HMS601", message, notes=[note]))
    if problems:
        raise SpecError(problems)


# --- which rows there are ----------------------------------------------------------------------


def _offer(
    workload: Workload,
    base: Stream,
    duration: float | None,
    classes: Mapping[str, RequestClass],
) -> Offer:
    wanted = Wanted(
        workload.name,
        duration,
        workload.requests,
        tuple(role for role in ("prompt", "output") if getattr(workload, role) is None),
        () if workload.class_mix else tuple(classes),
    )
    return offer_of(workload.arrivals, base.child("arrivals"), wanted)


def _rows(workload: Workload, base: Stream, offer: Offer) -> Chains:
    """Each arrival as one request, or as the turns of a session."""
    turns = workload.options.get("turns")
    if isinstance(turns, Spec):
        with _about(f"`{workload.name}.turns`"):
            count = tokens(turns, base.child("turns"), len(offer))
        think = workload.options.get("think_time")

        def pause(turn: int, n: int) -> Floats:
            if not isinstance(think, Spec):
                return np.zeros(n)
            with _about(f"`{workload.name}.think_time`"):
                return sample(think, _of_turn(base.child("think_time"), turn), n)

        return chains.sessions(offer.time, count, pause, workload.requests)
    if workload.arrivals.args.get("replay") == "closed":
        session = np.full(len(offer), -1) if offer.session is None else offer.session
        return chains.dialogues(offer.time, session)
    rows = chains.plain(offer.time)
    if offer.session is not None:
        _, turn = chains.predecessors(offer.session)
        return Chains(rows.arrival, rows.after, rows.delay, turn, rows.origin)
    return rows


def _closed_loop(workload: Workload, base: Stream, duration: float | None) -> Chains:
    args, output = workload.arrivals.args, workload.output
    users, think = args.get("users"), args.get("think")
    wrong = sorted(set(args) - {"users", "think"})
    if wrong or isinstance(users, bool) or not isinstance(users, int | float) or users < 1:
        message = f"`closed` has no argument `{wrong[0]}`" if wrong else "`closed` needs `users`"
        raise SpecError([error("HMS601", message)])
    if duration is None and workload.requests is None:
        note = "help: set `requests` of the workload or `duration` of the experiment"
        raise SpecError([error("HMS601", "arrivals `closed` have no end", notes=[note])])
    if output is None:
        raise SpecError([_no_lengths(workload.name, "output")])
    pause, length = base.child("think_time"), base.child("output")

    def thinking(n: int, offset: int) -> Floats:
        with _about(f"`think` of `{workload.name}.arrivals`"):
            return sample(think, pause, n, offset) if isinstance(think, Spec) else np.zeros(n)

    return chains.closed_loop(
        int(users),
        thinking,
        lambda n, offset: tokens(output, length, n, offset),
        duration=duration,
        requests=workload.requests,
    )


def _of_turn(stream: Stream, turn: int) -> Stream:
    """The stream of a later turn; the first one's is that of requests without sessions."""
    return stream.child(f"turn{turn + 1}") if turn else stream


def _sessions(workload: Workload, offer: Offer, rows: Chains) -> IntColumn:
    if workload.sessions:
        return rows.origin
    if offer.session is not None:
        return offer.session[rows.origin].astype(np.int64)
    return np.full(len(rows), -1, np.int64)


def _cached(workload: Workload, offer: Offer, rows: Chains, prompt: IntColumn) -> IntColumn:
    """What a trace says was cached of each prompt. Raises SpecError for more than the prompt."""
    if offer.cached is None:
        return np.zeros(len(rows), np.int64)
    found = offer.cached[rows.origin]
    if (found > prompt).any():
        row = int(np.argmax(found > prompt))
        message = (f"`{workload.name}`: row {row + 1} of the trace has {found[row]} tokens cached "
                   f"of a prompt of {prompt[row]}")  # fmt: skip
        raise SpecError([error("HMS603", message)])
    return found


# --- what each row is --------------------------------------------------------------------------


def _lengths(
    workload: Workload, role: str, own: IntColumn | None, base: Stream, rows: Chains
) -> IntColumn:
    """Tokens of every row; those of turn t of session s are draw s of turn t's stream."""
    spec = workload.prompt if role == "prompt" else workload.output
    if spec is None:
        if own is None:
            raise SpecError([_no_lengths(workload.name, role)])
        return own[rows.origin]
    stream = base.child(role)
    if not workload.sessions:
        return tokens(spec, stream, len(rows))
    found = np.empty(len(rows), np.int64)
    for turn in range(int(rows.turn.max(initial=0))):
        mine = rows.turn == turn + 1
        sessions = rows.origin[mine]
        drawn = tokens(spec, _of_turn(stream, turn), int(sessions.max(initial=-1)) + 1)
        found[mine] = drawn[sessions]
    return found


def _no_lengths(name: str, role: str) -> Diagnostic:
    message = f"workload `{name}` has no `{role}` lengths"
    note = f"help: set `{role}`, such as `{role} = lognormal(median = 300 tok, sigma = 1)`"
    return error("HMS601", message, notes=[note])


def _prefixes(workload: Workload, base: Stream, rows: Chains) -> tuple[IntColumn, IntColumn]:
    """The shared prefix of every row; all turns of a session have one."""
    spec = workload.options.get("prefix")
    if not isinstance(spec, Spec):
        return np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    owner = rows.origin if workload.sessions else np.arange(len(rows))
    count = int(owner.max(initial=-1)) + 1
    identity, length = shared_prefixes(spec, base.child("prefix"), count)
    return identity[owner], length[owner]


def _classes(
    workload: Workload,
    offer: Offer,
    classes: Mapping[str, RequestClass],
    stream: Stream,
    rows: Chains,
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Class index of each request, and the names that it indexes."""
    if not workload.class_mix:
        if offer.klass is not None:
            return offer.klass[rows.origin].astype(np.int32), offer.classes
        return np.zeros(len(rows), dtype=np.int32), ("",)
    names = tuple(name for name, _ in workload.class_mix)
    edges = np.cumsum(_shares(workload, classes))
    owner = rows.origin if workload.sessions else np.arange(len(rows))
    uniform = stream.uniform(int(owner.max(initial=-1)) + 1)
    drawn = np.searchsorted(edges, uniform, side="right")[owner]
    return np.minimum(drawn, len(names) - 1).astype(np.int32), names


def _shares(workload: Workload, classes: Mapping[str, RequestClass]) -> Floats:
    """The shares of the mix, checked."""
    shares = np.array([share for _, share in workload.class_mix])
    for name, share in workload.class_mix:
        if classes and name not in classes:
            match = nearest(name, classes)
            notes = [f"help: did you mean `{match}`?"] if match else []
            message = f"workload `{workload.name}` mixes a class `{name}` that does not exist"
            raise SpecError([error("HMS601", message, notes=notes)])
        if not 0 <= share <= 1:
            message = (
                f"the share of class `{name}` in workload `{workload.name}` is {100 * share:g}%"
            )
            raise SpecError([error("HMS601", message)])
    if abs(shares.sum() - 1) > 1e-6:
        message = f"class shares of workload `{workload.name}` add up to {100 * shares.sum():g}%"
        raise SpecError([error("HMS601", message, notes=["help: they must add up to 100%"])])
    return shares

"""What a run leaves behind: columns, filled while it goes and handed over as arrays at its end.

Knows what was seen (times, counts), not what it means: metrics are computed from `Run` by
`results`. No Python object is kept per event.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hermesdsl.cost.types import DecodeRun

Column: TypeAlias = "NDArray[Any]"
Table: TypeAlias = "dict[str, Column]"

#: Codes of the column `status`.
UNFINISHED, COMPLETED, REFUSED, TIMED_OUT = 0, 1, 2, 3
#: Code of the column `part` for a stay that ended because its client failed.
LOST = 3
#: Texts of the column `reason`.
REASONS = (
    "", "needs more KV than the client has", "a queue was full", "refused by its pipeline",
    "not admitted to a pool",
)  # fmt: skip

#: Columns of the tables that are filled row by row (integers are exact as doubles below 2^53).
STEP_COLUMNS = ("client", "start_s", "end_s", "steps", "batch", "tokens", "prefill_tokens",
                "kv_blocks", "first_s")  # fmt: skip
RESIDENCE_COLUMNS = ("request", "client", "first_step", "last_step", "since_s", "gained", "carry")
VISIT_COLUMNS = ("request", "stage", "client", "pass", "enter_s", "start_s", "end_s", "moved_s",
                 "part", "first_s", "worked_s", "opened", "critical")  # fmt: skip
SHOWN_COLUMNS = ("request", "tokens", "time_s")
SERVICE_COLUMNS = ("client", "start_s", "end_s", "requests", "share")
TRANSFER_COLUMNS = ("request", "source", "target", "bytes", "start_s", "end_s")
OUTAGE_COLUMNS = ("client", "down_s", "up_s", "lost")
BREAKDOWN_COLUMNS = ("thing", "down_s", "up_s")
CUT_SERVICE_COLUMNS = ("service", "whole_s")
PASSING_COLUMNS = ("part", "start_s", "end_s", "bytes")
SCALING_COLUMNS = ("client", "start_s", "ready_s", "stop_s")
#: A row of the longer tables as bytes of its column: several times faster than one by one.
STEP_ROW = Struct(f"{len(STEP_COLUMNS)}d").pack
RESIDENCE_ROW = Struct(f"{len(RESIDENCE_COLUMNS)}d").pack
VISIT_ROW = Struct(f"{len(VISIT_COLUMNS)}d").pack
_SHOWN_ROW = Struct(f"{len(SHOWN_COLUMNS)}d").pack
#: Rows that are split at once, few enough for the processor's cache.
_BLOCK = 4096
_INTEGERS = frozenset({"client", "steps", "batch", "tokens", "prefill_tokens", "kv_blocks",
                       "request", "requests", "stage", "pass", "part", "opened", "critical",
                       "first_step", "last_step", "source", "target", "gained",
                       "lost", "service", "thing"})  # fmt: skip


@dataclass
class Tries:
    """What a request that was ever given up has tried: `attempts`, with `paused_s` seconds between.

    It was given up for good at `left_s` (NaN: it was not). Of its rows, those before `visits`,
    `shown` and `residences` (lengths of these columns) are of attempts before the last, or are no
    answer.
    """

    attempts: int = 1
    paused_s: float = 0.0
    left_s: float = nan
    visits: int = 0
    shown: int = 0
    residences: int = 0


class Recorder:
    """The columns of a run of `n` requests while they fill, and its tables of rows.

    `context`: tokens on arrival; `first`, `last`: times of visible tokens (NaN: not yet, or only
    to be told from the residences); `visible`: their number; `generated`: tokens produced, `due`:
    those that its visits were to produce; `cut_short`: some visit was cancelled. `samples`: first
    tokens drawn from a prompt that several branches go on from, beyond one each. `tries`: of
    requests that were given up once.
    """

    __slots__ = ("arrival", "breakdowns", "cached", "context", "cut_services", "cut_short",
                 "cut_steps", "due", "ended", "finish", "first", "gains", "generated", "last",
                 "outages",
                 "reason", "residences", "samples", "services", "shown", "status", "steps",
                 "transfers", "tries", "visible", "visits")  # fmt: skip

    def __init__(self, arrival: array[float]) -> None:
        n = len(arrival)
        self.arrival = array("d", arrival)
        self.context = array("q", [0]) * n
        self.cached = array("q", [0]) * n
        self.first = array("d", [nan]) * n
        self.last = array("d", [nan]) * n
        self.finish = array("d", [nan]) * n
        self.status = array("b", [UNFINISHED]) * n
        self.reason = array("b", [0]) * n
        self.visible = array("q", [0]) * n
        self.generated = array("q", [0]) * n
        self.due = array("q", [0]) * n
        self.cut_short = array("b", [0]) * n
        self.samples = 0
        self.tries: dict[int, Tries] = {}
        #: Requests that have completed, or were given up for good.
        self.ended = 0
        self.steps = array("d")
        self.residences = array("d")
        #: Tokens of each step of the stays whose guesses are drawn.
        self.gains = array("b")
        self.transfers = array("d")
        self.services = array("d")
        self.outages = array("d")
        self.breakdowns = array("d")
        self.cut_steps = array("d")
        self.cut_services = array("d")
        self.visits = array("d")
        self.shown = array("d")

    def take(self, name: str) -> array[float]:
        """The rows of a table, which are not kept here any longer."""
        rows: array[float] = getattr(self, name)
        setattr(self, name, array("d"))
        return rows

    def show(self, request: int, tokens: int, now: float) -> None:
        """The user sees `tokens` more tokens, of which the first comes now."""
        if not self.visible[request]:
            self.first[request] = now
        self.visible[request] += tokens
        self.shown.frombytes(_SHOWN_ROW(request, tokens, now))

    def went_out(self, request: int, now: float) -> None:
        """What was just shown reaches the user only now; `shown` keeps when it was made."""
        if self.visible[request] == 1:
            self.first[request] = now

    def cut_service(self, at: int, now: float) -> None:
        """The job or batch whose row of services begins at place `at` is lost now."""
        row, start, end = at // len(SERVICE_COLUMNS), self.services[at + 1], self.services[at + 2]
        self.cut_services.extend((row, end - start))
        self.services[at + 2] = now

    def drawn(self, gains: list[int]) -> int:
        """What each step of a stay brings; its place among all of them."""
        self.gains.extend(gains)
        return len(self.gains) - len(gains)

    def decoded(
        self, client: int, run: DecodeRun, start: float, last: float, steps: int, used: int
    ) -> None:
        """The first `steps` steps of a run, from `start` to `last`, with `used` KV blocks then.

        A row per piece of its step times that it has passed.
        """
        write, batch = self.steps.frombytes, run.decodes
        done, begin = 0, start
        for upto, seconds, first, _ in run.passed(steps):
            n, end = upto - done, start + seconds
            write(STEP_ROW(client, begin, end, n, batch, n * batch, 0, used, first))
            done, begin = upto, end


@dataclass(frozen=True)
class EngineSummary:
    """One engine over the run.

    `capacity_blocks` of `block_size` tokens; `busy_s` seconds in which it ran steps, those that
    failures cut short too; `preemptions`, and because of them prompt tokens `recomputed` and KV
    blocks `swapped` out;
    `steps` iterations. With a prefix cache, `asked` prompt tokens were looked up in it, of which
    `hits` were found (the hit rate is hits/asked); both 0 without one. A prompt that is read
    again after preemption counts only for what it finds beyond what it had, and `recomputed` has
    only what was really read again. `advance`: tokens that a decoding sequence gains per step,
    in expectation if guesses are `sampled`.
    """

    client: str
    capacity_blocks: int
    block_size: int
    busy_s: float
    preemptions: int
    recomputed: int
    swapped: int
    steps: int
    asked: int = 0
    hits: int = 0
    advance: float = 1.0
    sampled: bool = False


@dataclass(frozen=True)
class TierSummary:
    """One tier of a cache over the run, all its stores together.

    `asked` tokens of context looked up here (those that no earlier tier had), of which `hits` were
    found; `written`, `evicted` and `lost` (by failures) tokens, all in whole blocks;
    `capacity_bytes` (inf: no limit), most bytes held at once `peak_bytes`; `read_bytes` by
    fetches; `busy_s` seconds of service, of `stores` servers.
    """

    tier: str
    asked: int
    hits: int
    written: int
    evicted: int
    capacity_bytes: float
    peak_bytes: float
    read_bytes: float
    busy_s: float
    stores: int
    lost: int = 0


@dataclass(frozen=True)
class LinkSummary:
    """One direction of a link over the run: `bytes` carried from `source` to `target`.

    `bandwidth` byte/s; `busy_s`: the integral of its utilisation, bytes / bandwidth. Weights and
    writes to caches that are still on their way when the last request has left count in full, so
    `last_s`, when the last of them had left, may lie behind `Run.end_s`.
    """

    source: str
    target: str
    bytes: float
    bandwidth: float
    busy_s: float
    last_s: float


@dataclass(frozen=True, eq=False)
class Run:
    """Everything recorded in one run: one point, one seed.

    `requests`, one row per offered request in order of arrival: ``id``, ``number`` (place in its
    workload), ``workload``, ``class`` (index into `workloads`, `classes`), ``arrival_s``,
    ``prompt_tokens``, ``context_tokens`` (on arrival: prefix, history, prompt), ``cached_tokens``,
    ``output_tokens`` (asked for), ``generated`` (produced), ``visible`` (to the user),
    ``first_token_s``, ``last_token_s`` (visible ones), ``finish_s`` (NaN: never), ``status``
    (`UNFINISHED`, `COMPLETED`, `REFUSED`, `TIMED_OUT`), ``reason`` (index into `reasons`); where
    some workload has a time-out or retries also ``attempts``, ``paused_s`` (between them) and
    ``left_s`` (when it was given up for good, NaN if it was not); and per stage of
    `stages`, of the last pass that mattered: ``<stage>.enter_s``, ``.start_s``, ``.end_s``,
    ``.client`` (index into `clients` or -1), and ``.passes`` that mattered.

    `visits`, one row per stay at a client for a stage: ``request``, ``stage``, ``client``, ``pass``
    (from 0), ``enter_s``, ``start_s`` (first served), ``end_s``, ``moved_s`` (seconds of the wait
    in which its KV was on the way), ``part`` (0: all of a visit; 1 and 2: a visit that reads its
    prompt at one client and goes on at another; `LOST`: its client failed,
    and the visit begins again with the next row), ``first_s`` (its first token, NaN: none),
    ``worked_s`` (seconds of the steps or services that worked for it; NaN: KV came from a cache,
    for which nobody works), ``critical``: 1 if the
    request waited for it, 0 if it ran beside what the request waited for. `shown`, one row per
    time at which tokens became visible other than by decoding (the first of a prompt, and those
    held back until then): ``request``, ``tokens``, ``time_s``. `services`, one row per job of a
    worker pool or batch: ``client``, ``start_s``, ``end_s``, ``requests``, ``share`` (of the client
    that it kept busy). `tiers`: of the caches that were looked into; `links`: those that carried
    transfers between clients.

    `steps`, one row per run of equal steps: ``client``, ``start_s``, ``end_s``, ``steps``,
    ``batch`` (sequences decoding), ``tokens`` (through the linear layers, all steps together,
    guesses left out),
    ``prefill_tokens``, ``kv_blocks`` (held at its end), ``first_s`` (length of the first step;
    within a row, the others grow linearly, see `sim.step_times`).

    `residences`, one row per uninterrupted stay of a request among a client's decoding sequences
    whose tokens are visible as they come:
    ``request``, ``client``, ``first_step``, ``last_step``, ``since_s``, ``gained``: tokens of the
    stay, and ``carry``: the part of a token that it began with. The token before its
    stay came at `since_s`, and those of the stay at the ends of the client's decode steps
    ``first_step + 1 … last_step`` (counting rows of `steps` with ``batch`` > 0); where the engine
    guesses tokens, at least one at each: k steps bring ⌊k·advance + carry⌋. Of an engine whose
    guesses are `sampled`, ``carry`` is the place in `gains` (tokens of a step, shape (steps,)) from
    which the stay's steps are. From these
    `sim.tokens` computes every gap between tokens exactly.

    `transfers`, one row per move of KV between clients that arrived, in that order: ``request``,
    ``source``, ``target`` (clients), ``bytes``, ``start_s``, ``end_s``.
    `passing`, one row per time in which something passed evenly through a switch or interface
    whose power follows it: ``part`` (of `passing_parts`), ``start_s``, ``end_s``, ``bytes`` (in
    and out counted apart).
    `outages`, one row per time that a client was down: ``client``, ``down_s``, ``up_s`` (at the
    latest `end_s`), ``lost`` (sequences or requests that it lost). `breakdowns`, one row per time
    that hardware or a tier of a cache was down: ``thing`` (index into `things`, the paths of all
    of them that fail), ``down_s``, ``up_s``. `cut_steps`, one row per step that its client's
    failure cut short, with the columns of `steps`: ``end_s`` is the failure, ``first_s`` how long
    it would have taken. `cut_services`, one row per job or batch that it did: ``service`` (row of
    `services`), ``whole_s`` (how long it would have taken).
    `scaling`, one row per time that a member of a pool with `autoscale` ran: ``client``,
    ``start_s`` (it began to load weights), ``ready_s``, ``stop_s`` (at the latest `end_s`).
    `counts`: offered, admitted, completed, refused, unfinished, and where there are time-outs or
    retries timed_out and retries. `window`: (warmup, duration or
    None) in seconds. `makespan_s`: first arrival to last finish. `in_system`: ``time_s`` and
    ``requests`` (number present) at points evenly spaced over the arrivals. `end_s`: the clock
    when the run stopped. `kinds`: type of each of `clients`, such as ``LlmEngine``.
    `api`: seconds that the API of each of `clients` takes for what comes to it to be read.
    `flow`: ``arrival_s`` and ``left_s`` of all admitted requests, where `requests` holds a part.
    """

    experiment: str
    seed: int
    horizon: str
    window: tuple[float, float | None]
    workloads: tuple[str, ...]
    classes: tuple[str, ...]
    clients: tuple[str, ...]
    stages: tuple[str, ...]
    requests: Table
    steps: Table
    residences: Table
    transfers: Table
    engines: tuple[EngineSummary, ...]
    counts: Mapping[str, int]
    makespan_s: float
    end_s: float
    in_system: Table
    visits: Table = field(default_factory=lambda: table(array("d"), VISIT_COLUMNS))
    services: Table = field(default_factory=lambda: table(array("d"), SERVICE_COLUMNS))
    tiers: tuple[TierSummary, ...] = ()
    links: tuple[LinkSummary, ...] = ()
    scaling: Table = field(default_factory=dict)
    passing: Table = field(default_factory=lambda: table(array("d"), PASSING_COLUMNS))
    passing_parts: tuple[str, ...] = ()
    outages: Table = field(default_factory=lambda: table(array("d"), OUTAGE_COLUMNS))
    reasons: tuple[str, ...] = field(default=REASONS)
    shown: Table = field(default_factory=lambda: table(array("d"), SHOWN_COLUMNS))
    kinds: tuple[str, ...] = ()
    gains: Column = field(default_factory=lambda: np.empty(0, np.int8))
    flow: Table = field(default_factory=dict)
    things: tuple[str, ...] = ()
    api: tuple[float, ...] = ()
    breakdowns: Table = field(default_factory=lambda: table(array("d"), BREAKDOWN_COLUMNS))
    cut_steps: Table = field(default_factory=lambda: table(array("d"), STEP_COLUMNS))
    cut_services: Table = field(default_factory=lambda: table(array("d"), CUT_SERVICE_COLUMNS))


@dataclass(frozen=True, eq=False)
class StepSums:
    """What steps add up to by client, shape (clients,) each: `busy` seconds, `steps`, decoding
    steps alone (`decodes`), tokens that these were for (`sequences` x steps), `prefill` tokens."""

    busy: Column
    steps: Column
    decodes: Column
    sequences: Column
    prefill: Column

    def __add__(self, other: StepSums) -> StepSums:
        return StepSums(*(getattr(self, name) + getattr(other, name)
                          for name in self.__dataclass_fields__))  # fmt: skip


def step_sums(steps: Table, clients: int) -> StepSums:
    """Of a table of steps."""
    client, count = steps["client"], steps["steps"]
    return StepSums(
        np.bincount(client, steps["end_s"] - steps["start_s"], clients),
        np.bincount(client, count, clients),
        np.bincount(client, count * (steps["batch"] > 0), clients),
        np.bincount(client, count * steps["batch"], clients),
        np.bincount(client, steps["prefill_tokens"], clients),
    )


def table(rows: array[float], names: tuple[str, ...]) -> Table:
    """Split interleaved rows into named columns, shape (rows,) each."""
    matrix = np.frombuffer(rows, dtype=np.float64).reshape(-1, len(names))
    made = {name: np.empty(len(matrix), np.int64 if name in _INTEGERS else np.float64)
            for name in names}  # fmt: skip
    for begin in range(0, len(matrix), _BLOCK):
        block = matrix[begin : begin + _BLOCK]
        for index, column in enumerate(made.values()):
            column[begin : begin + _BLOCK] = block[:, index]
    return made


def departures(requests: Table) -> Column:
    """When requests finished, or were given up after a time-out: seconds, NaN for neither."""
    finish = requests["finish_s"]
    if "left_s" not in requests:
        return finish
    return np.where(requests["status"] == TIMED_OUT, requests["left_s"], finish)


def number_in_system(arrival: Column, finish: Column, points: int = 256) -> Table:
    """Requests present at evenly spaced times of the arrivals' span.

    `arrival`, `finish`: seconds, shape (n,), of admitted requests; NaN: never finished.
    """
    if not len(arrival):
        return {"time_s": np.empty(0), "requests": np.empty(0, np.int64)}
    times = np.linspace(arrival[0], arrival[-1], points)
    left = np.sort(finish[~np.isnan(finish)])
    present = np.searchsorted(arrival, times, "right") - np.searchsorted(left, times, "right")
    return {"time_s": times, "requests": present.astype(np.int64)}

"""Many clients, each with a rate and a burstiness of its own (ServeGen, arXiv 2505.09999).

From a few numbers, or from a table of clients and time windows. Every client is a stationary
renewal process; together they are the load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import nearest
from hermesdsl.sim.arrivals.process import BLOCK, Arguments, Process, Source
from hermesdsl.sim.arrivals.renewal import CV, CV_LIMITS, RATE, first_gap, unit_gaps
from hermesdsl.sim.cells import Amounts, Names, Reader, convert
from hermesdsl.sim.datafile import open_table, trace_error
from hermesdsl.sim.streams import Floats, Stream

_COLUMNS = ("client", "window_start_s", "rate", "cv")
_SHAPES = ("gamma", "weibull")


def _clients(args: Arguments, stream: Stream, _: float) -> Sequence[Source]:
    """n clients, the k-th with a share of the rate in proportion to k^-skew."""
    n = int(args["n"])
    weights = np.arange(1, n + 1) ** -args["skew"]
    rates = args["rate"] * weights / weights.sum()
    return [
        _stationary(args["shape"], args["cv"], float(rate), stream.child(f"client{k}"))
        for k, rate in enumerate(rates)
    ]


def _stationary(shape: str, cv: float, rate: float, stream: Stream) -> Source:
    last, offset, size = first_gap(shape, cv, stream) / rate, 0, 16
    while True:
        gaps = unit_gaps(shape, cv, stream, size, offset) / rate
        times = last + np.concatenate([np.zeros(1), np.cumsum(gaps)])
        last = float(times[-1])
        yield times[:-1]
        offset += size
        size = min(2 * size, BLOCK)  # most of many clients have few requests


@dataclass(frozen=True)
class Windows:
    """One client of a table: per window its `start` (s), `rate`, `cv` and shape of gaps."""

    name: str
    start: Floats
    rate: Floats
    cv: Floats
    shape: tuple[str, ...]


def _client_table(args: Arguments, stream: Stream, end: float) -> Sequence[Source]:
    """The clients of a file; their rates are scaled together to the mean `rate`."""
    file = args["file"]
    clients, length = client_windows(file, args.get("model"))
    begin = float(args.get("start", 0.0))
    last = max(float(client.start[-1]) for client in clients) + length
    if begin >= last:
        what = f"has no window after `start` = {begin:g} s; the last ends at {last:g} s"
        raise trace_error(file, what)
    frame = Frame(begin, last - begin, length, end)
    kept = [np.flatnonzero((c.start + length > begin) & (c.rate > 0)) for c in clients]
    total = sum(float(c.rate[k].sum()) for c, k in zip(clients, kept, strict=True))
    if total <= 0:
        raise trace_error(file, f"has no window with a rate above zero from {begin:g} s on")
    scale = args["rate"] * frame.span / (total * length)
    return [
        _windowed(client, k, frame, scale, stream.child(f"client {client.name}"))
        for client, k in zip(clients, kept, strict=True)
    ]


def client_names(file: str, model: str | None) -> tuple[str, ...]:
    """The clients of a table in the order of the sources of `client_table`."""
    return tuple(client.name for client in client_windows(file, model)[0])


@dataclass(frozen=True)
class Frame:
    """Which part of a table is run, in seconds: from `begin`, `span` long, over and over.

    `length` of its windows; the run needs nothing from `end` on.
    """

    begin: float
    span: float
    length: float
    end: float


def _windowed(
    client: Windows, kept: NDArray[np.intp], frame: Frame, scale: float, stream: Stream
) -> Source:
    """One client over its windows, and from the first again when the table ends."""
    for cycle in count() if len(kept) else ():
        for window in kept:
            start = float(client.start[window]) - frame.begin
            offset = cycle * frame.span
            if offset + start >= frame.end:
                yield np.array([np.inf])
                return
            own = stream.child(f"{cycle}/{window}")
            times = start + _in_window(client, int(window), scale, frame.length, own)
            yield times[times >= 0.0] + offset
    yield np.array([np.inf])


def _in_window(client: Windows, window: int, scale: float, length: float, stream: Stream) -> Floats:
    """Arrivals in [0, length) of a renewal process that was going on before."""
    rate, cv, shape = client.rate[window] * scale, float(client.cv[window]), client.shape[window]
    if rate <= 0:
        return np.empty(0)
    times = np.array([first_gap(shape, cv, stream) / rate])
    offset = 0
    while times[-1] < length:
        # Enough for the mean and six standard deviations; again if that was not enough.
        expected = rate * (length - times[-1])
        n = int(expected + 6.0 * cv * expected**0.5) + 16
        gaps = unit_gaps(shape, cv, stream, n, offset) / rate
        times = np.concatenate([times, times[-1] + np.cumsum(gaps)])
        offset += n
    return times[times < length]


def client_windows(file: str, model: str | None = None) -> tuple[list[Windows], float]:
    """The clients of a table by first appearance, and the length of its windows in seconds.

    Columns: client, window_start_s, rate (any unit), cv; if there are any, pattern (Gamma or
    Weibull, gamma without) and model, of which only the rows of `model` count. Raises SpecError
    (HMS603).
    """
    names, columns = read_table(file, _COLUMNS, ("pattern",), model)
    start, rate, cv = (columns[name] for name in _COLUMNS[1:])
    which = columns["client"].astype(np.int64)
    starts = np.unique(start)
    length = float(np.diff(starts).min()) if len(starts) > 1 else 600.0
    if length <= 0 or (cv <= 0).any():
        raise trace_error(file, "has a coefficient of variation of zero")
    shapes = _shapes(file, names["pattern"])
    pattern = columns.get("pattern", np.zeros(len(which))).astype(np.int64)
    clients = []
    for number, name in enumerate(names["client"]):
        rows = np.flatnonzero(which == number)
        rows = rows[np.argsort(start[rows], kind="stable")]
        clients.append(
            Windows(name, start[rows], rate[rows], np.clip(cv[rows], *CV_LIMITS),
                    tuple(shapes[p] for p in pattern[rows]))
        )  # fmt: skip
    return clients, length


def _shapes(file: str, seen: Sequence[str]) -> list[str]:
    for word in seen:
        if word.lower() not in _SHAPES:
            raise trace_error(file, f"has a pattern `{word}`; it is Gamma or Weibull")
    return [word.lower() for word in seen] or ["gamma"]


def read_table(
    file: str, needed: Sequence[str], more: Sequence[str], model: str | None
) -> tuple[Mapping[str, tuple[str, ...]], dict[str, Floats]]:
    """Columns of a table as floats; names (client, pattern, model) as indices into the first.

    `needed` must be there, `more` may be. With `model`, only the rows of that name in the column
    model. Raises SpecError (HMS603).
    """
    with open_table(file) as table:
        wanted = [*needed, *(name for name in more if name in table.columns)]
        if model is not None:
            wanted.append("model")
        for name in wanted:
            if name not in table.columns:
                match = nearest(name, table.columns)
                notes = [f"help: did you mean `{match}`?"] if match else []
                raise trace_error(file, f"has no column `{name}`", *notes)
        readers: dict[str, Reader] = {
            name: Names(keep_empty=True) if name in ("client", "pattern", "model") else Amounts()
            for name in wanted
        }
        parts: dict[str, list[object]] = {name: [] for name in wanted}
        for chunk in table.chunks(wanted):
            convert(file, chunk, wanted, readers, parts)
    if not parts["client"]:
        raise trace_error(file, "has a header but no rows")
    columns = {name: np.concatenate([np.asarray(p) for p in parts[name]]) for name in wanted}
    seen = {name: tuple(reader.seen) for name, reader in readers.items()
            if isinstance(reader, Names)}  # fmt: skip
    names: dict[str, tuple[str, ...]] = {"pattern": (), **seen}
    return _only(file, model, names, columns)


def _only(
    file: str,
    model: str | None,
    names: dict[str, tuple[str, ...]],
    columns: dict[str, Floats],
) -> tuple[Mapping[str, tuple[str, ...]], dict[str, Floats]]:
    """The rows of one model, its clients numbered anew."""
    if model is None:
        return names, columns
    if model not in names["model"]:
        known = ", ".join(names["model"])
        raise trace_error(file, f"has no model `{model}`", f"help: it has {known}")
    rows = columns["model"] == names["model"].index(model)
    kept = {name: column[rows] for name, column in columns.items()}
    old, first, new = np.unique(kept["client"], return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    kept["client"] = place[new].astype(float)
    clients = tuple(names["client"][int(old[i])] for i in order)
    return {**names, "client": clients}, kept


CLIENTS = Process(
    _clients,
    {"rate": RATE, "n": "how many clients", "skew": "the exponent s of the shares k^-s",
     "cv": CV, "shape": "the form of the gaps"},
    "Clients of unequal rates, each bursty by itself.",
    {"cv": CV_LIMITS, "n": (1.0, 100_000.0), "skew": (0.0, 10.0)},
    {"shape": _SHAPES},
)  # fmt: skip
CLIENT_TABLE = Process(
    _client_table,
    {"file": "a table of clients and windows", "rate": RATE, "model": "whose rows count",
     "start": "the time of the table at which the run begins, in seconds",
     "lengths": "a table of the clients' token counts"},
    "The clients of a table, window by window.",
    {"start": (0.0, 1e12)},
    texts=("file", "model", "lengths"),
    optional=("model", "start", "lengths"),
)  # fmt: skip

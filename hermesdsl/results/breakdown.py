"""The parts of a summary that look inside a system: stages, clients, devices, links, tiers, time.

All in SI units, as JSON values. Knows no file and no terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.attribution import KINDS
from hermesdsl.results.definitions import PERCENTILES
from hermesdsl.results.metrics import Measures
from hermesdsl.results.streamed import Streamed
from hermesdsl.sim.record import COMPLETED, Column, Run

__all__ = ["LEVELS", "attribution", "broken", "clients", "stages", "tail", "tiers"]

Json: TypeAlias = "dict[str, Any]"
Mask: TypeAlias = "NDArray[np.bool_]"

#: Where the tail of the end-to-end times may begin.
LEVELS = (*PERCENTILES, "max")


def stages(measures: Measures) -> Json:
    """By stage path: ``n`` visits of measured requests, and statistics of their times in seconds.

    ``queue``, ``service`` and ``moved`` as in `visits.Visits`, each with mean, p50 and p99 (null
    without visits).
    """
    visits = measures.visits
    mine = measures.measured[visits.request]
    order = np.argsort(visits.stage[mine], kind="stable")
    at = visits.stage[mine][order]
    edges = np.searchsorted(at, np.arange(len(measures.run.stages) + 1)).tolist()
    columns = {name: getattr(visits, name)[mine][order] for name in ("queue", "service", "moved")}
    found: Json = {}
    for index, path in enumerate(measures.run.stages):
        rows = slice(edges[index], edges[index + 1])
        entry: Json = {"n": edges[index + 1] - edges[index]}
        entry |= {name: _statistics(column[rows]) for name, column in columns.items()}
        found[path] = entry | {"unit": "s"}
    return found


def _statistics(values: NDArray[np.float64]) -> Json:
    if not len(values):
        return {"mean": None, "p50": None, "p99": None}
    if not values.any():
        return {"mean": 0.0, "p50": 0.0, "p99": 0.0}
    middle, high = np.percentile(values, (50, 99)).tolist()
    return {"mean": float(values.mean()), "p50": middle, "p99": high}


def clients(measures: Measures | Streamed) -> Json:
    """By client path, over the window: ``utilisation`` (null for a `Delay`), and the mean number
    of requests ``waiting`` there and ``present`` in all. Of clients that were down also ``outages``
    and their seconds ``down_s``, with the ``availability``, over the whole run."""
    run = measures.run
    down = run.outages
    waiting, present = measures.busy.present()
    kinds = run.kinds or ("LlmEngine",) * len(run.clients)
    return {
        path: {
            "type": kind,
            "utilisation": measures.busy.clients[path],
            "waiting": float(waiting[index]),
            "present": float(present[index]),
            **_outages(down, index, run.end_s),
        }
        for index, (path, kind) in enumerate(zip(run.clients, kinds, strict=True))
    }


def broken(run: Run) -> Json:
    """By path, of hardware and tiers that were down: ``outages``, ``down_s``, ``availability``, as
    of clients."""
    found = {
        path: _outages(run.breakdowns, number, run.end_s, "thing")
        for number, path in enumerate(run.things)
    }
    return {path: entry for path, entry in found.items() if entry}


def _outages(rows: Mapping[str, Column], which: int, end: float, name: str = "client") -> Json:
    mine = rows[name] == which
    if not mine.any() or not end:
        return {}
    seconds = float((rows["up_s"] - rows["down_s"])[mine].sum())
    return {"outages": int(mine.sum()), "down_s": seconds, "availability": 1 - seconds / end}


def tiers(measures: Measures | Streamed) -> Json:
    """By tier, over the whole run: tokens ``asked`` for, ``hits``, ``written``, ``evicted``;
    ``hit_rate`` (null if nothing was asked for), bytes ``read`` and ``peak`` bytes held; of tiers
    that failed also the tokens ``lost`` then."""
    return {
        each.tier: {
            "asked": each.asked,
            "hits": each.hits,
            "hit_rate": each.hits / each.asked if each.asked else None,
            "written": each.written,
            "evicted": each.evicted,
            "read_bytes": each.read_bytes,
            "peak_bytes": each.peak_bytes,
            **({"lost": each.lost} if each.lost else {}),
        }
        for each in measures.run.tiers
    }


def attribution(measures: Measures) -> Json | None:
    """Where the time went, on average (``mean``) and in the tail (``p99``); None if none completed.

    See `tail` for what each holds.
    """
    return _attribution(measures, ("p99",))


def _attribution(measures: Measures, levels: tuple[str, ...]) -> Json | None:
    done = measures.measured & (measures.run.requests["status"] == COMPLETED)
    if not done.any():
        return None
    found: Json = {"unit": "s", "mean": _split(measures, done, 0.0)}
    return found | {level: tail(measures, level) for level in levels}


def tail(measures: Measures, level: str) -> Json | None:
    """Where the time of the slowest went: those at or above a percentile of e2e, or ``max``.

    ``n`` requests, whose end-to-end time is at least ``from`` and ``e2e`` on average; ``stages``:
    mean seconds of each kind (`attribution.KINDS`) by stage, and ``shares``: of ``e2e``.
    None if no measured request completed.
    """
    if level not in LEVELS:
        raise ValueError(f"no such level: {level}")
    least = measures.series("e2e").statistic(level)
    if least is None:
        return None
    slow = measures.measured & (measures.column("e2e") >= least)
    return _split(measures, slow, least)


def _split(measures: Measures, chosen: Mask, least: float) -> Json:
    mean = float(measures.column("e2e")[chosen].mean())
    seconds = {
        stage: dict(zip(KINDS, parts.tolist(), strict=True))
        for stage, parts in measures.attribution.by_stage(chosen).items()
    }
    shares = {
        stage: {kind: part / mean if mean else 0.0 for kind, part in parts.items()}
        for stage, parts in seconds.items()
    }
    return {
        "n": int(chosen.sum()),
        "from": least,
        "e2e": mean,
        "stages": seconds,
        "shares": shares,
    }

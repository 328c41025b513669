"""What must hold of any run of any program, beside what every run checks of itself at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from test_reference import assert_same

import hermesdsl
from hermesdsl.results import Result
from hermesdsl.results.attribution import attribute
from hermesdsl.results.sketch import ERROR
from hermesdsl.sim.record import COMPLETED, Run

#: Tables beside those of `assert_same`.
TABLES = ("outages", "breakdowns", "cut_steps", "cut_services", "services", "scaling", "passing")
PERCENTILES = ("p50", "p90", "p95", "p99")


def ran(text: str, **more: Any) -> Result:
    return hermesdsl.run(hermesdsl.compile(text), **more)


def assert_both_forms_agree(text: str) -> Result:
    """A9: every record of run-lengths is that of single steps, bit for bit."""
    fast, slow = ran(text), ran(text, reference=True)
    one, other = run_of(fast), run_of(slow)
    assert_same(one, other)
    for table in TABLES:
        mine, theirs = getattr(one, table), getattr(other, table)
        assert mine.keys() == theirs.keys()
        for name, column in mine.items():
            np.testing.assert_array_equal(column, theirs[name], err_msg=f"{table}.{name}")
    assert one.tiers == other.tiers
    return fast


def run_of(result: Result) -> Run:
    run: Run = result.measures.run
    return run


def assert_time_is_whole(run: Run) -> None:
    """Parts of each completed request sum to its end-to-end time; nobody goes back in time."""
    found = attribute(run)
    done = run.requests["status"] == COMPLETED
    whole = run.requests["finish_s"] - run.requests["arrival_s"]
    parts = np.bincount(found.request, found.seconds.sum(axis=1), len(whole))
    np.testing.assert_allclose(parts[done], whole[done], rtol=1e-9, atol=1e-12)
    visits = run.visits
    ended = ~np.isnan(visits["end_s"]) & ~np.isnan(visits["start_s"])
    assert (visits["start_s"] >= visits["enter_s"])[ended].all()
    assert (visits["end_s"] >= visits["start_s"])[ended].all()
    for table in (run.steps, run.services, run.transfers):
        assert (table["end_s"] >= table["start_s"]).all()


def assert_bytes_are_conserved(run: Run, hardware: Any, full: bool) -> None:
    """What comes to a switch or an interface leaves it again.

    `full`: no link may carry more than fits into the run. (Without sharing it may, and so may
    weights and writes that are still on their way when the last request has left.)
    """
    if run.horizon != "drain" or len(run.outages["client"]) or run.counts["completed"] == 0:
        return
    balance: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for link in run.links:
        assert not full or link.busy_s <= run.end_s * (1 + 1e-9), link
        for path, sign in ((link.source, -1.0), (link.target, 1.0)):
            balance[path] += sign * link.bytes
            total[path] += link.bytes
    for path, rest in balance.items():
        if hardware.nodes[path]["part"].kind in ("switch", "nic"):
            assert abs(rest) <= 1e-9 * total[path], (path, rest, total[path])


def assert_energy_is_integrated(result: Result) -> None:
    """Joules of the whole run = the sum over its pieces; each part within its limits."""
    meter, run = result.measures.meter, run_of(result)
    end = run.end_s
    whole = meter.drawn(0.0, end)
    edges = np.linspace(0.0, end, 8)
    pieces = [meter.drawn(a, b) for a, b in pairwise(edges)]
    for name in ("idle", "dynamic"):
        total = sum(getattr(piece, name) for piece in pieces)
        np.testing.assert_allclose(total, getattr(whole, name), rtol=1e-9, atol=1e-9)
    drawn = whole.idle + whole.dynamic
    assert (drawn <= (meter.rest + meter.range) * end * (1 + 1e-9) + 1e-9).all()
    assert (whole.idle >= -1e-12).all()
    assert (whole.dynamic >= -1e-12).all()
    summary = result.summary()["energy"]
    if summary.get("total") is not None:
        assert summary["total"] == pytest.approx(drawn.sum())
        parts = sum(summary["by_client"].values()) + summary["unassigned"]
        assert parts == pytest.approx(summary["total"], rel=1e-9, abs=1e-9)


def assert_one_step_at_a_time(run: Run) -> None:
    """An engine's next step begins when the one before is over, at the earliest."""
    for client in range(len(run.clients)):
        mine = run.steps["client"] == client
        assert (run.steps["start_s"][mine][1:] >= run.steps["end_s"][mine][:-1]).all()


def assert_same_requests(one: Run, other: Run) -> None:
    assert one.counts == other.counts
    assert set(one.clients) == set(other.clients)
    for name, column in one.requests.items():
        if name.endswith(".client"):
            names = [np.array([*run.clients, ""])[run.requests[name]] for run in (one, other)]
            np.testing.assert_array_equal(*names, err_msg=name)
        elif name == "class":
            names = [np.array(run.classes)[run.requests[name]] for run in (one, other)]
            np.testing.assert_array_equal(*names, err_msg=name)
        else:
            np.testing.assert_array_equal(column, other.requests[name], err_msg=name)


def near(kept: Any, streamed: Any, path: str = "") -> None:
    """Two summaries agree: sums to 1e-9, percentiles within the error of the sketch."""
    if isinstance(kept, dict):
        assert kept.keys() == streamed.keys(), path
        for key, value in kept.items():
            near(value, streamed[key], f"{path}.{key}")
    elif isinstance(kept, list):
        assert len(kept) == len(streamed), path
        for index, value in enumerate(kept):
            near(value, streamed[index], f"{path}[{index}]")
    elif isinstance(kept, float) and isinstance(streamed, (int, float)):
        sketched = path.rpartition(".")[2] in PERCENTILES or path.startswith(".requirements")
        rough = 5e-3 if path.startswith(".provenance") else 1e-9
        expected = pytest.approx(kept, rel=ERROR if sketched else 1e-9, abs=rough)
        assert streamed == expected, path
    else:
        assert kept == streamed, path


def assert_streams_alike(text: str) -> None:
    """`records = summary` says what the rows that are kept say."""
    system = hermesdsl.compile(text)
    kept = hermesdsl.run(system).summary()
    (main,) = system.compiled.experiments.values()
    options = {**main.options, "records": "summary"}
    compiled = replace(system.compiled, experiments={main.name: replace(main, options=options)})
    streamed = hermesdsl.run(replace(system, compiled=compiled)).summary()
    assert streamed.pop("records") == {"kept": "summary", "relative_error": ERROR}
    if kept.get("attribution"):
        kept["attribution"].pop("p99")
    for each in (kept, streamed):
        each["wall_s"] = 0.0
        each.pop("parameters")
    near(kept, streamed)

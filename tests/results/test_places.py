"""How busy things are, who waits there, and what was found in caches."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import CLASSES, NAN, VISITS, columns, tiny

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Goal, Metric, Requirement
from hermesdsl.results.breakdown import clients, stages, tiers
from hermesdsl.results.metrics import Measures
from hermesdsl.results.places import Busy, Places, below
from hermesdsl.results.slo import evaluate
from hermesdsl.sim.record import (
    SERVICE_COLUMNS,
    STEP_COLUMNS,
    EngineSummary,
    LinkSummary,
    Run,
    TierSummary,
)

PLACES = Places(
    {"llm[0]": ("gpu[0]",), "llm[1]": ("gpu[1]",), "pool": ("cpu",), "search": ("cpu",)},
    {"all": ("llm[0]", "llm[1]")},
)


def machine() -> Run:
    """Engines busy for 6 and 3 of 10 s; one of two workers in 0..4, a pass in 2..5; a delay."""
    return tiny(
        clients=("llm[0]", "llm[1]", "pool", "search", "web"),
        kinds=("LlmEngine", "LlmEngine", "WorkerPool", "BatchEngine", "Delay"),
        steps=columns(
            STEP_COLUMNS,
            (0, 0.0, 6.0, 1, 1, 1, 0, 1, 6.0),
            (1, 7.0, 10.0, 1, 1, 1, 0, 1, 3.0),
        ),
        services=columns(SERVICE_COLUMNS, (2, 0.0, 4.0, 1, 0.5), (3, 2.0, 5.0, 4, 1.0)),
        links=(
            LinkSummary("gpu[0]", "switch", 50.0, 10.0, 5.0, 9.0),
            LinkSummary("switch", "gpu[1]", 80.0, 10.0, 8.0, 10.0),
        ),
        tiers=(
            TierSummary("kv.hbm", 100, 30, 70, 10, 1e9, 1e8, 30.0, 0.0, 1),
            TierSummary("kv.dram", 70, 20, 10, 0, 1e9, 1e8, 20.0, 0.0, 1),
        ),
        window=(0.0, 10.0),
        end_s=10.0,
    )


BUSY = Busy(machine(), PLACES, (0.0, 10.0))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("llm[0]", 0.6),
        ("llm", 0.45),  # the mean of both
        ("all", 0.45),
        ("llm[0], pool", 0.4),
        ("pool", 0.2),  # one of two workers in 4 of 10 s
        ("search", 0.3),
        ("gpu[1]", 0.3),
        ("gpu", 0.45),
        ("cpu", 0.5),  # either client: 0..5
        ("switch", 0.8),  # its busiest link
        ("web", None),
        ("nowhere", None),
    ],
)
def test_utilisation_of_what_a_path_names(path, expected):
    assert BUSY.of(path) == (None if expected is None else pytest.approx(expected))


def test_a_link_that_works_on_after_the_last_request_is_counted_to_its_last_byte():
    """120 byte at 10 byte/s are 12 s of work; all had left at 16 s, and the run was over at 10."""
    late = replace(machine(), links=(LinkSummary("gpu[0]", "switch", 120.0, 10.0, 12.0, 16.0),))
    assert Busy(late, PLACES, (0.0, 10.0)).links() == [("gpu[0]", "switch", 120.0, 0.75)]


def test_utilisation_within_a_window():
    seen = Busy(machine(), PLACES, (4.0, 8.0))
    assert (seen.of("llm[0]"), seen.of("llm[1]"), seen.of("cpu")) == (0.5, 0.25, 0.25)
    assert Busy(machine(), PLACES, (4.0, 4.0)).of("cpu") is None


def test_below_takes_whole_names_only():
    assert below("box.gpu[0].hbm", "box.gpu")
    assert below("b", "a, b")
    assert not below("box.gpus", "box.gpu")


def test_number_waiting_and_present():
    # Request 0 is there in 0..6, request 1 in 2.5..5 and waits until 3.
    entry = clients(Measures(tiny(), CLASSES))["llm[0]"]
    assert entry == {
        "type": "LlmEngine", "utilisation": 1.0,
        "waiting": pytest.approx(0.5 / 6), "present": pytest.approx(8.5 / 6),
    }  # fmt: skip


def test_who_still_waits_when_a_run_is_cut_is_present():
    visits = columns(VISITS, (0, 0, 0, 0, 2.0, NAN, NAN, 0.0, 0, NAN, 0.0, 1))
    waiting, present = Busy(tiny(visits=visits), PLACES, (0.0, 6.0)).present()
    assert (waiting[0], present[0]) == pytest.approx((4 / 6, 4 / 6))


def test_stages_in_a_summary():
    found = stages(Measures(tiny(), CLASSES))["chat.answer"]
    assert found["n"] == 2
    assert found["queue"] == pytest.approx({"mean": 0.25, "p50": 0.25, "p99": 0.495})
    assert found["service"]["mean"] == 4.0
    assert found["moved"] == {"mean": 0.0, "p50": 0.0, "p99": 0.0}


def test_a_stage_that_nobody_reached_has_no_statistics():
    found = stages(Measures(tiny(stages=("chat.answer", "chat.late")), CLASSES))
    assert found["chat.late"]["n"] == 0
    assert found["chat.late"]["queue"] == {"mean": None, "p50": None, "p99": None}


# --- lookups -------------------------------------------------------------------------------------


def measured(run: Run, metric: Metric) -> float | None:
    seen = Measures(run, CLASSES, PLACES)
    return evaluate([Requirement("r", Goal((metric, 0.0), (">=",)))], seen)[0].value


def hits(tier: str) -> Metric:
    return Metric("hit_rate", None, {"tier": tier})


def test_hit_rate_of_tiers_caches_and_engines():
    assert measured(machine(), hits("kv.hbm")) == 0.3
    assert measured(machine(), hits("kv.dram")) == pytest.approx(2 / 7)
    assert measured(machine(), hits("kv")) == 0.5  # 50 of the 100 tokens that were asked for
    engine = EngineSummary("llm[0]", 100, 16, 6.0, 0, 0, 0, 5, asked=40, hits=10)
    assert measured(tiny(engines=(engine,)), hits("llm")) == 0.25
    assert tiers(Measures(machine(), CLASSES))["kv.hbm"]["hit_rate"] == 0.3


def test_a_goal_between_cases_asks_nothing_of_this_one():
    assert measured(tiny(), Metric("hit_rate", None, {"tier": "kv", "case": "a"})) is None


def test_utilisation_of_a_link_is_a_metric():
    assert measured(machine(), Metric("utilisation", "switch")) == 0.8


@pytest.mark.parametrize(
    ("run", "metric", "message", "note"),
    [
        (machine(), hits("kv.hmb"), "nobody looked into `kv.hmb` in this experiment",
         "help: did you mean `kv.hbm`?"),
        (tiny(), hits("store"), "nobody looked into `store` in this experiment",
         "help: a `KvFetch` stage with `cache = ...` looks into a cache before a prompt is read"),
        (tiny(), hits("llm"), "engines at `llm` looked for no prefix in this experiment",
         "help: `prefix_cache = true` lets engines keep what they have read"),
        (machine(), Metric("hit_rate"), "`hit_rate` needs `tier`", "one of kv.hbm, kv.dram"),
        (machine(), Metric("p99", "ttft", {"tier": "kv"}), "`p99` has no filter `tier`", None),
        (machine(), Metric("utilisation", "gpo"), "nothing at `gpo` was used in this experiment",
         None),
    ],
    ids=lambda value: str(value) if isinstance(value, Metric) else "",
)  # fmt: skip
def test_goals_about_what_was_not_used(run, metric, message, note):
    with pytest.raises(SpecError) as caught:
        measured(run, metric)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("HMS604", message)
    assert note is None or note in found.notes


# --- several answers at once ---------------------------------------------------------------------


def test_gaps_between_tokens_of_two_answers_at_once_are_undefined_and_said_so():
    from hermesdsl.results import summarise

    made = tiny()
    stays = {name: np.concatenate([column, column]) for name, column in made.residences.items()}
    made = replace(made, residences=stays)
    result = summarise(made, classes=CLASSES)
    assert result.summary()["metrics"]["itl"]["n"] == 0
    assert result.notes[-1] == (
        "1 measured requests show several answers at once: their tokens are no single series, so "
        "`itl` leaves them out"
    )


def test_only_visible_tokens_are_output():
    from hermesdsl.results import summarise

    made = tiny()
    made.requests["visible"] = np.array([2, 1, 0])
    data = summarise(made, classes=CLASSES).summary()
    assert data["tokens"]["output"] == 3
    assert data["tokens"]["generated"] == 5
    assert data["metrics"]["tpot"]["mean"] == 5.0  # (6 - 1)/(2 - 1)


def test_tokens_that_are_shown_at_once_have_no_gap():
    from hermesdsl.sim.record import RESIDENCE_COLUMNS, SHOWN_COLUMNS

    made = tiny(
        residences=columns(RESIDENCE_COLUMNS),
        shown=columns(SHOWN_COLUMNS, (0, 4, 6.0), (1, 1, 5.0)),
    )
    seen = Measures(made, CLASSES)
    series = seen.series("itl")
    assert (series.n, series.statistic("max")) == (3, 0.0)
    assert seen.value("output_throughput") == pytest.approx(5 / 6)

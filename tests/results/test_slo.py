"""Goals: met, missed, undefined, and those that make no sense."""

import pytest
from tiny_runs import CLASSES, tiny

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Goal, Metric, Requirement
from hermesdsl.results.metrics import Measures
from hermesdsl.results.slo import check, evaluate

MEASURES = Measures(tiny(), CLASSES)


def goal(*operands, ops=("<=",), text="r", **more) -> Requirement:
    return Requirement(text, Goal(operands, ops, **more))


def verdict(*operands, ops=("<=",), **more):
    return evaluate([goal(*operands, ops=ops, **more)], MEASURES)[0]


def test_met_with_value_bound_and_units():
    found = verdict(Metric("p50", "ttft"), 2.0, unit="ms", scale=1e-3)
    # Median of 1 and 2.5 s.
    assert (found.met, found.value, found.bound, found.unit) == (True, 1.75, 2.0, "s")
    assert (found.shown_unit, found.scale) == ("ms", 1e-3)


@pytest.mark.parametrize(
    ("operands", "ops", "met"),
    [
        ((Metric("max", "ttft"), 2.0), ("<=",), False),
        ((Metric("attainment", None, {"class": "gold"}), 0.5), (">=",), True),
        ((Metric("attainment", None, {"class": "gold"}), 0.5), (">",), False),
        ((2.0, Metric("mean", "e2e"), 5.0), ("<", "<"), True),
        ((2.0, Metric("mean", "e2e"), 4.0), ("<", "<"), False),
        ((Metric("p50", "ttft"), Metric("p50", "e2e")), ("<",), True),
        ((Metric("share", None, {"outcome": "refused"}), 0.03), ("<=",), False),
        ((Metric("utilisation", "llm"), 0.9), (">=",), True),
        ((Metric("request_throughput"), 1 / 3), ("==",), True),
        ((Metric("p99", "ttft", {"class": "free"}), 1.0), ("<=",), None),
        ((Metric("p50", "e2e", {"case": "a"}), Metric("p50", "e2e", {"case": "b"})), ("<",), None),
    ],
)
def test_verdicts(operands, ops, met):
    assert verdict(*operands, ops=ops).met is met


def test_two_metrics_are_value_and_bound():
    found = verdict(Metric("p50", "ttft"), Metric("p50", "e2e"), ops=("<",))
    assert (found.value, found.bound) == (1.75, 4.25)


@pytest.mark.parametrize(
    ("metric", "message", "note"),
    [
        (Metric("p97", "ttft"), "unknown metric `p97`", "help: did you mean `p99`?"),
        (Metric("p99", "tftt"),
         "unknown series `tftt`; it takes one of ttft, tpot, itl, tpot_step, e2e, queue",
         "help: did you mean `ttft`?"),
        (Metric("p99"), "`p99` of what? it takes one of ttft, tpot, itl, tpot_step, e2e, queue",
         None),
        (Metric("p99", "ttft", {"workload": "chatt"}), "no workload `chatt` in this experiment",
         "help: did you mean `chat`?"),
        (Metric("attainment", None, {"class": "silver"}), "no class `silver` in this experiment",
         "there: gold, free"),
        (Metric("p99", "queue", {"stage": "chat.anser"}),
         "no stage `chat.anser` in this experiment",
         "help: did you mean `chat.answer`?"),
        (Metric("p99", "tpot", {"stage": "chat.answer"}), "`tpot` is not measured by stage",
         "by stage: ttft, queue, e2e"),
        (Metric("p99", "ttft", {"clas": "gold"}), "`p99` has no filter `clas`",
         "help: did you mean `class`?"),
        (Metric("p99", "ttft", {"outcome": "refused"}), "`p99` has no filter `outcome`",
         "`share` has one"),
        (Metric("share"), "`share` needs `outcome`",
         "one of completed, refused, timed_out, unfinished"),
        (Metric("share", None, {"outcome": "lost"}), "no outcome `lost` in this experiment",
         "there: completed, refused, timed_out, unfinished"),
        (Metric("utilisation", "lm"), "nothing at `lm` was used in this experiment", None),
        (Metric("cost_per_token", None, {"workload": "chat"}),
         "`cost_per_token` is of a whole run: it has no filter `workload`", None),
    ],
    ids=str,
)  # fmt: skip
def test_goals_that_make_no_sense(metric, message, note):
    with pytest.raises(SpecError) as caught:
        verdict(metric, 1.0)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("HMS604", message)
    assert note is None or note in found.notes
    assert found.notes[-1] == "in `require r`"


def test_all_wrong_goals_are_reported_at_once():
    wrong = [goal(Metric("p97", "ttft"), 1.0, text="a"), goal(Metric("p99", "x"), 1.0, text="b")]
    assert len(check(wrong, MEASURES)) == 2

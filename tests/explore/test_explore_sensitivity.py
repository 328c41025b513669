"""How a metric follows each value: by hand for a queue that never forms."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.explore import job_of
from hermesdsl.explore.executors import Processes
from hermesdsl.explore.sensitivity import Factor, sensitivity
from hermesdsl.model import asked
from hermesdsl.schema.values import Metric

#: A desk of `n` that takes `each` for every request and never has two at once.
DESK = """
from std.nvidia.hopper import DGX_H100
param each = 10 ms in [5 ms, 10 ms, 40 ms]
param more = 1.0 in between(0.5, 1.05)
param n = 2 in range(1, 5)
param free = 3 ms
let total = each * more
box: DGX_H100
desk: WorkerPool on box.cpu[0] { workers = n }
pipeline P { look: Step on desk { service = each * more + free }; input -> look -> output }
workload load {
    pipeline = P; arrivals = constant(1 req/s); requests = 4; prompt = 1 tok; output = 1 tok
}
experiment main { workload = [load]; seeds = [1, 2] }
"""


def found(metric: str = "mean(e2e)", text: str = DESK, **more: Any):
    return hermesdsl.sensitivity(hermesdsl.compile(text), metric, **more)


def test_elasticities_of_a_time_that_is_a_sum() -> None:
    made = found(params=["free"])
    # e2e = 10 ms + 3 ms; 10 % of the 3 ms each way.
    assert made.base.mean == pytest.approx(13e-3)
    (effect,) = made.effects
    assert [change.text for change in effect.changes] == ["2.7 ms", "3.3 ms"]
    assert [c.effect.mean for c in effect.changes] == pytest.approx([-0.3 / 13, 0.3 / 13])
    assert effect.elasticity.mean == pytest.approx(log(13.3 / 12.7) / log(3.3 / 2.7))
    assert effect.swing.mean == pytest.approx(0.6 / 13)
    # Nothing is random: both seeds say the same.
    assert effect.elasticity.half == pytest.approx(0.0, abs=1e-12)


def test_params_with_domains_are_varied_largest_effect_first() -> None:
    made = found()
    # each: 5 and 40 ms around 10 ms; more: 0.9, and 1.05 where its domain ends; n: nothing.
    assert [each.factor.path for each in made.effects] == ["each", "more", "n"]
    each, more, n = made.effects
    assert [c.effect.mean for c in each.changes] == pytest.approx([-5 / 13, 30 / 13])
    assert each.swing.mean == pytest.approx(35 / 13)
    assert [c.value for c in more.changes] == pytest.approx([0.9, 1.05])
    assert [c.effect.mean for c in more.changes] == pytest.approx([-1 / 13, 0.5 / 13])
    assert [c.text for c in n.changes] == ["1", "3"]
    assert n.swing.mean == pytest.approx(0.0, abs=1e-12)
    assert n.elasticity.mean == pytest.approx(0.0, abs=1e-12)


def test_whole_numbers_stay_whole() -> None:
    text = DESK.replace("param n = 2 in range(1, 5)", "param n = 20")
    made = found(text=text, params=["n", "box.gpu[0].hbm.capacity"])
    by_path = {each.factor.path: each for each in made.effects}
    assert [c.text for c in by_path["n"].changes] == ["18", "22"]
    one = DESK.replace("param n = 2 in range(1, 5)", "param n = 1")
    (effect,) = found(text=one, params=["n"]).effects
    # Less than one desk is no system: it says so and the other way is told.
    assert [c.text for c in effect.changes] == ["0", "2"]
    assert effect.changes[0].effect is None
    assert effect.changes[0].reason.startswith("HMS306")
    assert effect.elasticity.mean == pytest.approx(0.0, abs=1e-12)


def test_words_have_effects_and_no_elasticity() -> None:
    text = """
from std.models.llama import Llama3_1_8B
from std.nvidia.hopper import H100, H200
param accel: chip = H100 in [H100, H200]
box: accel
llm: LlmEngine on box { model = Llama3_1_8B }
chat: Chat { llm = llm }
workload load {
    pipeline = chat; arrivals = constant(1 req/s); requests = 3; prompt = 9 tok; output = 9 tok
}
experiment main { workload = [load] }
"""
    (effect,) = found("mean(tpot)", text).effects
    assert effect.elasticity is None
    (change,) = effect.changes
    assert change.value == "H200"
    assert change.effect.mean < -0.1
    assert change.effect.half is None


def test_common_random_numbers_make_intervals_of_differences_narrow() -> None:
    text = DESK.replace("constant(1 req/s); requests = 4", "poisson(20 req/s); requests = 400")
    text = text.replace("workers = n", "workers = 1")
    made = found("mean(e2e)", text, params=["free"], seeds=[1, 2, 3, 4])
    (effect,) = made.effects
    # The mean of a seed is off by much more than what a change does to it.
    low, high = (change.effect for change in effect.changes)
    assert made.base.half / made.base.mean > 2 * max(low.half, high.half)
    assert low.mean + low.half < 0 < high.mean - high.half


def test_the_same_for_every_count_of_workers() -> None:
    system = hermesdsl.compile(DESK)
    factors = [Factor("free", 3e-3, "3 ms", ("ms", 1e-3))]
    wanted = Metric("mean", "e2e")
    one = sensitivity(system, job_of(system), wanted, factors)
    other = sensitivity(system, job_of(system), wanted, factors, executor=Processes(2))
    assert one == other


@dataclass(frozen=True)
class _Wrong:
    code: str
    said: str
    metric: str = "mean(e2e)"
    params: tuple[str, ...] = ()
    text: str = DESK


@pytest.mark.parametrize(
    "wrong",
    [
        _Wrong("HMS604", "unknown metric `p98`", "p98(e2e)"),
        _Wrong("HMS604", "unknown metric `e2e`", "e2e"),
        _Wrong("HMS604", "is of a case", "mean(e2e, case = a)", text=DESK + "case a { n = 1 }\n"),
        _Wrong("HMS201", "unknown name `nn`", params=("nn",)),
        _Wrong("HMS210", "`total` is a `let`", params=("total",)),
        _Wrong("HMS602", "there is nothing to vary",
               text=DESK.replace(" in [5 ms, 10 ms, 40 ms]", "")
               .replace(" in between(0.5, 1.05)", "").replace(" in range(1, 5)", "")),
        _Wrong("HMS604", "says nothing: `mean(tpot)` has no value", "mean(tpot)"),
    ],
    ids=lambda wrong: wrong.said,
)  # fmt: skip
def test_what_cannot_be_asked(wrong: _Wrong) -> None:
    with pytest.raises(SpecError) as refused:
        found(wrong.metric, wrong.text, params=wrong.params)
    (problem,) = (item for item in refused.value.diagnostics if item.is_error)
    assert (problem.code, wrong.said in problem.message) == (wrong.code, True), problem.message


def test_what_may_be_varied_is_read_from_the_tree() -> None:
    tree = hermesdsl.compile(DESK).tree
    assert [each.path for each in asked.declared(tree)] == ["each", "more", "n"]
    n = asked.varied(tree, "n")
    assert (n.value, n.others) == (2.0, (("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0)))
    assert asked.varied(tree, "more").ends == (0.5, 1.05)
    assert not asked.varied(tree, "free").whole

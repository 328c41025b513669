"""Sweeps and goals as data: axes, points, domains, metrics."""

from __future__ import annotations

import pytest
from model_specs import PARTS, codes

import hermesdsl
from hermesdsl.graph.types import Experiment
from hermesdsl.schema.values import Metric

LOAD = (
    PARTS
    + """
param rate = 2 req/s
param n = 2 in range(1, 4)
param accel: chip = G in [G, Fast]
param part = 50% in between(10%, 90%)
chip Fast extends G { power = 3 W }
gpu[4]: accel
llm[n]: LlmEngine on gpu[*] { model = M; spare = true }
chat: Chat { llm = llm }
class gold { ttft = 1 s }
case big { n = 3 }
case small { n = 1 }
let rates = [1 req/s, 2.5 req/s]
let pairs = [(1 req/s, 1), (2 req/s, 2)]
workload w {
    pipeline = chat; arrivals = poisson(rate * part); class = gold
    prompt = 10 tok; output = 10 tok
}
"""
)


def experiment(body: str) -> Experiment:
    text = f"{LOAD}experiment e {{ workload = [w]; duration = 1 min\n{body}\n}}\n"
    return hermesdsl.compile(text).compiled.experiments["e"]


def axes(body: str) -> list[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]]:
    return [(axis.targets, axis.points) for axis in experiment(body).axes]


def test_one_path_over_a_list() -> None:
    assert axes("sweep rate in [1 req/s, 2 req/s]") == [(("rate",), (("1 req/s",), ("2 req/s",)))]


def test_several_sweeps_are_several_axes_and_a_tuple_of_paths_is_one() -> None:
    found = axes("sweep rate in [1 req/s]\nsweep (rate, n) in [(1 req/s, 1), (2 req/s, 3)]")
    assert found[1] == (("rate", "n"), (("1 req/s", "1"), ("2 req/s", "3")))


def test_computed_lists_are_written_out_to_the_last_digit() -> None:
    assert axes("sweep rate in rates") == [(("rate",), (("1.0 req/s",), ("2.5 req/s",)))]
    assert axes("sweep (rate, n) in pairs")[0][1] == (("1.0 req/s", "1"), ("2.0 req/s", "2"))
    assert axes("sweep n in range(1, 4)") == [(("n",), (("1",), ("2",), ("3",)))]


def test_without_values_the_declared_domains_are_meant() -> None:
    assert axes("sweep (n, accel, part)") == [
        (("n",), (("1",), ("2",), ("3",))),
        (("accel",), (("G",), ("Fast",))),
        (("part",), (("between(10%, 90%)",),)),
    ]


def test_cases_and_settings_of_the_experiment() -> None:
    assert axes("sweep case in [big, small]\nsweep contention in [fair, none]") == [
        (("case",), (("big",), ("small",))),
        (("e.contention",), (("fair",), ("none",))),
    ]


def test_properties_by_path() -> None:
    paths = {"gpu[*].hbm.bandwidth": "1 TB/s", "llm[0].tp": "1", "L.latency": "1 us"}
    found = axes("\n".join(f"sweep {path} in [{value}]" for path, value in paths.items()))
    assert found == [((path,), ((value,),)) for path, value in paths.items()]


@pytest.mark.parametrize(
    ("sweep", "code"),
    [
        ("rates in [1]", "HMS210"), ("rat in [1]", "HMS201"), ("rate in []", "HMS602"),
        ("rate in [1]", "HMS301"), ("rate in [1 GB]", "HMS301"), ("rate in n", "HMS602"),
        ("rate", "HMS602"), ("n in [7]", "HMS306"), ("n in range(3, 6)", "HMS306"),
        ("accel in [L]", "HMS303"), ("part in [95%]", "HMS306"),
        ("gpu[9].power in [1 W]", "HMS403"),
        ("gpu.powr in [1 W]", "HMS206"), ("gpu in [1]", "HMS210"), ("G in [1]", "HMS210"),
        ("chat.llm in [gpu]", "HMS303"), ("w.arrivals in [poisson(1 req/s)]", "HMS210"),
        ("w.prompt in [10 tok, 3 GB]", "HMS301"), ("case in [huge]", "HMS602"),
        ("(rate, n) in [1]", "HMS602"), ("(rate, n) in [(1 req/s, 9)]", "HMS306"),
        ("M.weights in [1 GB]", "HMS210"), ("horizon in [later]", "HMS201"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept(sweep: str, code: str) -> None:
    text = f"{LOAD}experiment e {{ workload = [w]; duration = 1 min\nsweep {sweep}\n}}\n"
    assert codes(text) == [code]


def test_goals_are_metrics_and_numbers_in_base_units() -> None:
    (goal,) = experiment("require p99(ttft, class = gold, workload = w) <= 500 ms").requirements
    assert goal.text == "p99(ttft, class = gold, workload = w) <= 500 ms"
    assert goal.goal.operands == (Metric("p99", "ttft", {"class": "gold", "workload": "w"}), 0.5)
    assert (goal.goal.ops, goal.goal.unit, goal.goal.scale) == (("<=",), "ms", 1e-3)


def test_goals_may_compare_points_and_read_params() -> None:
    body = """
    require p50(e2e, case = small) < p50(e2e, case = big) <= 3 s
    require goodput() >= max(rate * 0.5, 0.1 req/s)
    require max(ttft) <= 3 s
    require utilisation(llm[0]) <= 90%
    require attainment(class = gold) >= part
"""
    found = [goal.goal for goal in experiment(body).requirements]
    assert found[0].ops == ("<", "<=")
    assert found[1].operands[1] == 1.0
    assert found[2].operands[0] == Metric("max", "ttft", {})
    assert found[3].operands[0] == Metric("utilisation", "llm[0]", {})
    assert found[4].operands[1] == 0.5


def test_objectives() -> None:
    def sought(text: str) -> list[tuple[str, bool, str | None]]:
        found = experiment(text).objectives
        return [(each.text, each.up, each.metric and each.metric.name) for each in found]

    assert sought("minimize = cost_per_token") == [("cost_per_token", False, "cost_per_token")]
    assert sought("maximize = p99(ttft)") == [("p99(ttft)", True, "p99")]
    assert sought("maximize = rate") == [("rate", True, None)]
    text = f"{LOAD}experiment e {{ workload = [w]; duration = 1 min; minimize = costs }}\n"
    assert codes(text) == ["HMS604"]

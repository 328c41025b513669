"""Energy and cost of members that a pool starts and stops, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spending_systems import SaidUse, built, chip
from tiny_runs import tiny

import hermesdsl
from hermesdsl.graph.types import Container, Pool, Spec
from hermesdsl.results.bill import bill
from hermesdsl.results.energy import meter
from hermesdsl.sim.record import Run

#: Two chips that draw 100 W idle and cost 1 $/s each, an engine of one pool on each.
CHIPS = [chip(f"box.gpu[{i}]", cost=1.0) for i in range(2)]
ON = {"llm[0]": ("box.gpu[0]",), "llm[1]": ("box.gpu[1]",)}


def elastic(clients: Any = ON, cost: float | None = None) -> Any:
    system = built(CHIPS, clients, containers=[Container("box", "node", "Box", cost=cost)])
    pool = Pool("elastic", ("llm[0]", "llm[1]"), options={"autoscale": Spec("scale")})
    system.placement.graph["pools"]["elastic"] = pool
    return system


def scaled(*rows: tuple[float, float, float, float], clients: Any = ON) -> Run:
    """The tiny run of 6 s; `rows` of (client, start, ready, stop)."""
    columns = zip(*((0.0, 0.0, 0.0, 6.0), *rows), strict=True)
    names = ("client", "start_s", "ready_s", "stop_s")
    table = {name: np.array(column) for name, column in zip(names, columns, strict=True)}
    table["client"] = table["client"].astype(np.int32)
    return replace(tiny(), clients=tuple(clients), scaling=table)


def idle(run: Run, reserve: str, start: float = 0.0, end: float = 6.0, system: Any = None) -> float:
    costs = {path: SaidUse() for path in run.clients}
    found = meter(system or elastic(), run, costs=costs, services={}, reserve=reserve)
    return float(found.drawn(start, end).idle.sum())


def price(
    run: Run, reserve: str, start: float = 0.0, end: float = 6.0, system: Any = None
) -> float:
    return bill(system or elastic(), run, reserve).dollars(start, end)


#: The second member begins to load at 2, is ready at 3 and stops at 4.5.
ONCE = scaled((1.0, 2.0, 3.0, 4.5))


def test_a_member_counts_from_its_start_to_its_stop_where_only_what_is_used_counts():
    assert idle(ONCE, "used") == 100 * (6 + 2.5)
    assert price(ONCE, "used") == 6 + 2.5
    # Of 3 to 6 it is up for 1.5 s.
    assert idle(ONCE, "used", 3.0, 6.0) == 100 * (3 + 1.5)
    assert price(ONCE, "used", 3.0, 6.0) == 3 + 1.5
    assert price(ONCE, "used", 5.0, 6.0) == 1.0


def test_what_is_instantiated_counts_all_the_time_by_default():
    assert idle(ONCE, "all") == 100 * 12
    assert price(ONCE, "all") == 12


def test_a_member_that_never_starts_costs_nothing():
    assert idle(scaled(), "used") == 600
    assert price(scaled(), "used") == 6


def test_a_member_may_start_again():
    again = scaled((1.0, 0.5, 1.0, 1.5), (1.0, 4.0, 4.5, 6.0))
    assert price(again, "used") == 6 + 1 + 2


def test_a_machine_is_paid_for_while_any_member_on_it_is_up():
    assert price(ONCE, "used", system=elastic(cost=3.0)) == 18


def test_a_device_counts_always_if_somebody_else_runs_there():
    clients = {**ON, "embed": ("box.gpu[1]",)}
    run = scaled((1.0, 2.0, 3.0, 4.5), clients=clients)
    assert price(run, "used", system=elastic(clients)) == 12


def test_two_members_on_one_device_are_not_paid_for_twice():
    clients = {"llm[0]": ("box.gpu[0]",), "llm[1]": ("box.gpu[0]",)}
    assert price(ONCE, "used", system=elastic(clients)) == 6


def test_shares_of_clients_add_up_and_the_rate_is_the_mean():
    entry = bill(elastic(), ONCE, "used").summary((0.0, 6.0), 5)
    assert entry["by_client"] == {"llm[0]": 6.0, "llm[1]": 2.5}
    assert entry["total"] == 8.5
    assert entry["rate"] == pytest.approx(8.5 / 6)


@given(st.floats(0, 6), st.floats(0, 6), st.floats(0, 6))
def test_intervals_add_up(start: float, between: float, end: float):
    start, between, end = sorted((start, between, end))
    for measure in (idle, price):
        parts = measure(ONCE, "used", start, between) + measure(ONCE, "used", between, end)
        assert parts == pytest.approx(measure(ONCE, "used", start, end), abs=1e-9)


PROGRAM = """
from std.nvidia.hopper import DGX_H100
from std.models.llama  import Llama3_1_8B
box: DGX_H100 { gpu[*] { cost = $3600/h } }
llm[2]: LlmEngine on box.gpu[0:2] { model = Llama3_1_8B }
pool elastic { members = [llm]; route = jsq; autoscale = scale(min = 1, target = TARGET) }
chat: Chat { llm = elastic }
workload load {
    pipeline = chat; arrivals = poisson(rate = 20 req/s); prompt = 500 tok; output = 100 tok
}
experiment main { workload = [load]; duration = 20 s; reserve = used }
"""


@pytest.mark.parametrize("target", [1, 500])
def test_a_whole_program_pays_for_what_its_records_say_was_up(target: int):
    result = hermesdsl.run(hermesdsl.compile(PROGRAM.replace("TARGET", str(target))))
    rows = result.measures.run.scaling
    up = float((rows["stop_s"] - rows["start_s"]).sum())
    assert result.summary()["cost"]["total"] == pytest.approx(up, rel=1e-12)
    assert (up > result.measures.run.end_s) == (target == 1)

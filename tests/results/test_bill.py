"""What a run costs, by hand: prices of parts, of containers, used and reserved."""

from dataclasses import replace

import pytest
from spending_systems import built, chip
from tiny_runs import CLASSES, tiny

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Container, Goal, Metric, Part, Requirement
from hermesdsl.results import summarise
from hermesdsl.results.bill import bill

#: A node of two chips at 2 $/h each, and its processor.
NODE = [
    chip("box.gpu[0]", cost=2 / 3600), chip("box.gpu[1]", cost=2 / 3600),
    Part("box.cpu", "cpu", "Cpu"),
]  # fmt: skip
CLIENT = {"llm[0]": ("box.gpu[0]",)}


def box(cost: float | None = None, path: str = "box", kind: str = "node") -> Container:
    return Container(path, kind, "Box", cost=cost)


def test_price_integrates_over_time_used_or_not():
    found = bill(built(NODE, CLIENT, containers=[box()]), tiny())
    assert found.dollars(0.0, 3600.0) == pytest.approx(4.0)
    assert found.dollars(10.0, 10.0) == 0.0


def test_only_used_devices_are_paid_for_on_request():
    found = bill(built(NODE, CLIENT, containers=[box()]), tiny(), "used")
    assert [item.path for item in found.items] == ["box.gpu[0]"]
    assert found.rate * 3600 == pytest.approx(2.0)


def test_a_price_of_a_container_replaces_those_of_its_parts():
    found = bill(built(NODE, CLIENT, containers=[box(10 / 3600)]), tiny())
    assert found.rate * 3600 == pytest.approx(10.0)
    assert found.by_kind(0.0, 3600.0) == {"node": pytest.approx(10.0)}


def test_the_outermost_price_counts():
    rack = box(15 / 3600, "rack", "rack")
    inner = box(10 / 3600, "rack.box")
    parts = [replace(part, path=f"rack.{part.path}") for part in NODE]
    system = built(parts, {"llm[0]": ("rack.box.gpu[0]",)}, containers=[rack, inner])
    assert [item.path for item in bill(system, tiny()).items] == ["rack"]


def test_whole_machines_are_paid_for_as_soon_as_a_part_is_used():
    other = [replace(part, path=part.path.replace("box", "spare")) for part in NODE]
    priced = [box(10 / 3600), box(10 / 3600, "spare")]
    system = built([*NODE, *other], CLIENT, containers=priced)
    assert bill(system, tiny()).rate * 3600 == pytest.approx(20.0)
    assert bill(system, tiny(), "used").rate * 3600 == pytest.approx(10.0)


def test_shares_of_clients_add_up():
    system = built(
        NODE, {"llm[0]": ("box.gpu[0]",), "llm[1]": ("box.gpu[0]",)}, containers=[box(10 / 3600)]
    )
    by = bill(system, replace(tiny(), clients=("llm[0]", "llm[1]"))).by_client(0.0, 3600.0)
    # Of two chips one has two clients and the other none.
    assert by == pytest.approx({"llm[0]": 2.5, "llm[1]": 2.5, "": 5.0})


def test_cost_per_token_is_over_the_output_tokens_of_the_window():
    system = built(NODE, CLIENT, containers=[box()])
    result = summarise(tiny(), classes=CLASSES, bill=bill(system, tiny()))
    # Five tokens in 6 s at 4 $/h.
    assert result.value(Metric("cost_per_token")) == pytest.approx(4 / 600 / 5)
    entry = result.summary()["cost"]
    assert entry["total"] == pytest.approx(4 / 600)
    assert entry["by_client"] == {"llm[0]": pytest.approx(2 / 600)}
    assert entry["unassigned"] == pytest.approx(2 / 600)
    assert entry["missing"] == {"price": []}


# --- what is missing -----------------------------------------------------------------------------


def test_a_chip_without_a_price_is_named():
    parts = [NODE[0], chip("box.gpu[1]")]
    found = bill(built(parts, CLIENT, containers=[box()]), tiny())
    assert found.summary((0.0, 6.0), 5)["missing"] == {"price": ["Chip"]}


def test_nothing_with_a_price_is_no_price_of_zero():
    """A published simulator reports no GPU hours when a field is unset."""
    found = bill(built([chip("gpu")]), tiny())
    entry = found.summary((0.0, 6.0), 5)
    assert entry == {"total": None, "unit": "$", "missing": {"price": ["Chip"]}}
    result = summarise(tiny(), classes=CLASSES, bill=found)
    assert result.value(Metric("cost_per_token")) is None


def test_a_host_is_in_the_price_of_its_machine_and_not_in_that_of_another():
    host = {"llm[0]": ("box.cpu",)}
    assert bill(built(NODE, host, containers=[box()]), tiny()).unpriced == ()
    alone = [replace(NODE[2], path="host.cpu"), *NODE[:2]]
    system = built(alone, {"llm[0]": ("host.cpu",)}, containers=[box(), box(path="host")])
    assert [part.path for part in bill(system, tiny()).unpriced] == ["host.cpu"]


def test_a_requirement_on_something_undefined_is_not_met():
    goal = Requirement("cost_per_token <= 1", Goal((Metric("cost_per_token"), 1.0), ("<=",), ""))
    result = summarise(
        tiny(), classes=CLASSES, bill=bill(built([chip("gpu")]), tiny()), requirements=[goal]
    )
    assert result.requirements[0].met is None


@pytest.mark.parametrize("name", ["cost_per_token", "energy_per_token"])
def test_there_is_no_price_of_one_class(name):
    goal = Requirement("g", Goal((Metric(name, None, {"class": "gold"}), 1.0), ("<=",), ""))
    with pytest.raises(SpecError, match=f"`{name}` is of a whole run: it has no filter `class`"):
        summarise(tiny(), classes=CLASSES, requirements=[goal])


# --- in the language -----------------------------------------------------------------------------

PROGRAM = """
from std.models.llama import Llama3_1_8B

chip Gpu {
    peak.bf16 = 400 TFLOPS; power = 400 W; idle_power = 50 W; cost = $1.80/hr
    hbm: Memory { capacity = 80 GiB; bandwidth = 2 TB/s }
}
node Box { gpu[2]: Gpu }
box: Box
llm: LlmEngine on box.gpu[0] { model = Llama3_1_8B }
chat: Chat { llm = llm }
workload load {
    pipeline = chat; arrivals = constant(2 req/s); prompt = 100 tok; output = 50 tok
}
experiment main {
    workload = [load]; duration = 10 s
    require cost_per_token <= $20 / 1e6 tok
    require energy_per_token <= 100 J/tok
}
"""


def run(program: str):
    return hermesdsl.run(hermesdsl.compile(program))


def test_requirements_on_cost_and_energy_are_checked():
    result = run(PROGRAM)
    cost, energy = result.requirements
    # 2 chips · 1.80 $/h · 10 s = 0.01 $; about 20 requests of 50 tokens.
    assert (cost.met, energy.met) == (True, True)
    tokens = 0.01 / cost.value
    assert 900 < tokens <= 1000
    # Two chips idle at 50 W each, one of them at work: between 1000 J and 1000 + 3500 J.
    assert 1000 / tokens < energy.value < 4500 / tokens
    assert (cost.unit, energy.unit) == ("$/tok", "J/tok")


def test_a_reserve_of_used_devices_halves_both_where_half_are_used():
    used = run(PROGRAM.replace("duration = 10 s", "duration = 10 s; reserve = used"))
    whole = run(PROGRAM)
    assert used.requirements[0].value == pytest.approx(whole.requirements[0].value / 2)
    gap = whole.summary()["energy"]["total"] - used.summary()["energy"]["total"]
    assert gap == pytest.approx(50 * whole.summary()["simulated_s"])


def test_a_price_of_the_machine_replaces_that_of_its_chips():
    found = run(PROGRAM.replace("gpu[2]: Gpu }", "gpu[2]: Gpu; cost = $10/hr }")).summary()["cost"]
    assert found["rate"] * 3600 == pytest.approx(10.0)


def test_a_program_without_prices_says_so():
    found = run(PROGRAM.replace("; cost = $1.80/hr", ""))
    assert found.requirements[0].met is None
    assert found.summary()["cost"]["missing"] == {"price": ["2 × Gpu"]}


def test_a_price_per_joule_is_no_price_per_token():
    with pytest.raises(SpecError, match="cannot compare a"):
        run(PROGRAM.replace("$20 / 1e6 tok", "20 J/tok"))

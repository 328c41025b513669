"""Energy and cost as lines of a table."""

import pytest

from hermesdsl.cli import spending

ENERGY = {"total": 3.6e6, "idle": 1.8e6, "per_token": 4.5, "missing": {}}
COST = {"total": 1.5, "rate": 18 / 3600, "per_token": 2.5e-6, "missing": {}}


def test_energy_in_joules_and_kilowatt_hours():
    assert (
        spending.energy(ENERGY)
        == "3.600 MJ (1.000 kWh), 50.0% of it idle; 4.500 J per output token"
    )


@pytest.mark.parametrize(
    ("joules", "shown"), [(12.0, "12.00 J"), (2e3, "2.000 kJ"), (5e9, "5.000 GJ")]
)
def test_energy_has_a_unit_that_fits(joules, shown):
    text = spending.energy({"total": joules, "idle": 0.0, "per_token": None})
    assert text.startswith(f"{shown} (")
    assert text.endswith("0% of it idle")


def test_cost_per_hour_and_per_million_tokens():
    assert spending.cost(COST) == "$1.500 ($18.00 per hour); $2.500 per million output tokens"


def test_a_run_without_tokens_has_no_cost_per_token():
    assert spending.cost({**COST, "per_token": None}) == "$1.500 ($18.00 per hour)"


def test_nothing_known_is_not_nothing():
    assert spending.energy({"total": None}) == spending.cost({"total": None}) == "unknown"


def test_a_run_that_took_no_time_has_no_idle_share():
    assert spending.energy({"total": 0.0, "idle": 0.0, "per_token": None}) == "0 J (0 kWh)"


def test_what_is_missing_is_named():
    data = {
        "energy": {"missing": {"power": ["Nic", "2 × Switch"], "idle_power": ["Cpu"]}},
        "cost": {"missing": {"price": ["Chip"]}},
    }
    assert spending.missing(data) == (
        "no power of Nic, 2 × Switch; no idle power of Cpu; no price of Chip"
    )
    assert spending.missing({"energy": None, "cost": {"missing": {"price": []}}}) == ""

"""Energy of runs small enough to integrate by hand; A10: energy = ∫ power, and it adds up."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spending_systems import SaidUse, built, chip
from tiny_runs import CLASSES, columns, cut, tiny

import hermesdsl
from hermesdsl.cost.power import WEIGHTS, PowerWeights, dynamic
from hermesdsl.cost.text import TextCost
from hermesdsl.cost.types import Use
from hermesdsl.graph.types import Calibration, Draw, Metric, Part
from hermesdsl.results import summarise
from hermesdsl.results.activity import Activity, integral
from hermesdsl.results.energy import energy_rows, meter
from hermesdsl.sim.record import (
    BREAKDOWN_COLUMNS,
    OUTAGE_COLUMNS,
    PASSING_COLUMNS,
    SERVICE_COLUMNS,
    STEP_COLUMNS,
    TRANSFER_COLUMNS,
)

ROOT = Path(__file__).parents[2]

#: A switch that draws 50 W whatever passes.
SWITCH = Part("sw", "switch", "Switch", power=50.0)


def measured(system=None, run=None, *, services=None, **more):
    run = tiny() if run is None else run
    costs = {path: SaidUse() for path in run.clients}
    system = built([chip("gpu")]) if system is None else system
    return meter(system, run, costs=costs, services=services or {}, **more)


# --- power ---------------------------------------------------------------------------------------


def one(busy=0.0, compute=0.0, memory=0.0, link=0.0) -> float:
    return float(dynamic(Use(*(np.array([x]) for x in (busy, compute, memory, link))))[0])


def test_an_idle_device_draws_nothing_of_its_range_and_a_full_one_all_of_it():
    assert one() == 0.0
    assert one(1, 1, 1, 1) == 1.0


def test_weights_are_parts_of_the_range():
    assert one(busy=1.0) == WEIGHTS.busy
    assert one(busy=1.0, memory=0.5) == pytest.approx(0.2 + 0.5 * 0.5)
    assert one(busy=1.0, link=1.0) == pytest.approx(0.3)
    use = Use(*(np.array([0.5]) for _ in range(4)))
    assert dynamic(use, PowerWeights(0, 1, 0, 0))[0] == 0.5


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_shares_are_never_per_cent(busy, compute, memory, link):
    """A published tool multiplies by whole per cent and is 100 times high."""
    assert 0.0 <= one(busy, compute, memory, link) <= 1.0


def test_what_kernels_draw_comes_before_weights():
    half = np.array([0.5])
    use = Use(half, half, half, np.array([1.0]), np.array([0.7]))
    # 0.7 of the range for kernels, 0.1 for links at full rate; never more than all.
    assert dynamic(use)[0] == pytest.approx(0.8)
    assert dynamic(use._replace(drawn=np.array([0.95])))[0] == 1.0


def test_a_summary_says_whose_power_is_calibrated():
    plain = measured().summary((0.0, 6.0), 10)["basis"]
    assert plain["calibrated"] == []
    assert len(plain["datasheet"]) == 1
    own = Calibration("own", {}, power={"gemm": {"bf16": Draw(0.3, 1.0, 1.0)}})
    system = built([replace(chip("gpu"), calibration=own)])
    found = measured(system).summary((0.0, 6.0), 10)["basis"]
    assert found["datasheet"] == []
    assert found["calibrated"] == plain["datasheet"]


# --- by hand -------------------------------------------------------------------------------------


def test_energy_is_the_integral_of_power():
    # 6 s at 100 W idle; 3 s of prompts at 1.0 and 3 s of decodes at 0.4 of 600 W.
    assert measured().joules(0.0, 6.0) == pytest.approx(600 + 600 * (3 * 1.0 + 3 * 0.4))


def test_hardware_that_has_failed_draws_nothing():
    # As above, and down from 1 s to 3 s: 4 s of idle power are left, and all of its work.
    down = columns(BREAKDOWN_COLUMNS, (0, 1.0, 3.0))
    broken = tiny(things=("gpu",), breakdowns=down)
    whole, rest = measured(run=broken).joules(0.0, 6.0), 600 * (3 * 1.0 + 3 * 0.4)
    assert whole == pytest.approx(400 + rest)
    # Twice at once, and in part before the window: what is off is off once.
    twice = columns(BREAKDOWN_COLUMNS, (0, 1.0, 3.0), (1, 2.0, 4.0), (2, 0.0, 6.0))
    broken = tiny(things=("gpu", "box", "g"), breakdowns=twice)
    assert measured(run=broken).drawn(2.5, 6.0).idle.sum() == pytest.approx(300)
    boxed = built([chip("box.gpu")], {"llm[0]": ("box.gpu",)})
    assert measured(boxed, broken).drawn(0.0, 6.0).idle.sum() == pytest.approx(400)


def test_a_client_that_has_failed_leaves_its_device_idle():
    down = columns(OUTAGE_COLUMNS, (0, 1.0, 3.0, 1))
    assert measured(run=tiny(outages=down)).joules(0.0, 6.0) == measured().joules(0.0, 6.0)


def test_a_step_that_a_failure_cuts_short_has_drawn_until_then():
    # A decode step of 2 s, of which 0.5 s were run, at 0.4 of 600 W: 120 J more.
    step = columns(STEP_COLUMNS, (0, 6.0, 6.5, 1, 1, 1, 0, 1, 2.0))
    cut_short = tiny(end_s=7.0, cut_steps=step)
    more = measured(run=cut_short).joules(0.0, 7.0) - measured(run=tiny(end_s=7.0)).joules(0.0, 7.0)
    assert more == pytest.approx(0.5 * 0.4 * 600)


def test_of_part_of_the_run_only_what_falls_into_it():
    # 2 s … 4 s: one second of decodes, one of the second prompt.
    assert measured().joules(2.0, 4.0) == pytest.approx(200 + 600 * (0.4 + 1.0))


def test_a_system_that_does_nothing_draws_its_idle_power():
    run = replace(tiny(), steps={name: column[:0] for name, column in tiny().steps.items()})
    assert measured(run=run).joules(0.0, 6.0) == 600.0


def test_more_idle_time_is_more_energy():
    found = measured()
    assert found.joules(0.0, 16.0) == pytest.approx(found.joules(0.0, 6.0) + 10 * 100)


def test_two_devices_of_one_client_draw_twice_as_much():
    both = built([chip("gpu[0]"), chip("gpu[1]")], {"llm[0]": ("gpu[0]", "gpu[1]")})
    assert measured(both).joules(0.0, 6.0) == pytest.approx(2 * measured().joules(0.0, 6.0))


def test_devices_that_nobody_uses_idle_unless_only_used_ones_are_reserved():
    spare = built([chip("gpu"), chip("spare")])
    assert measured(spare).joules(0, 6) == pytest.approx(measured().joules(0, 6) + 600)
    assert measured(spare, reserve="used").joules(0, 6) == pytest.approx(measured().joules(0, 6))


def test_two_clients_on_one_device_never_draw_more_than_its_limit():
    shared = built([chip("gpu")], {"llm[0]": ("gpu",), "llm[1]": ("gpu",)})
    steps = tiny().steps
    twice = {name: np.concatenate([column, column]) for name, column in steps.items()}
    twice["client"] = np.repeat([0, 1], len(steps["client"]))
    engines = tuple(replace(tiny().engines[0], client=f"llm[{i}]") for i in (0, 1))
    run = replace(tiny(), clients=("llm[0]", "llm[1]"), steps=twice, engines=engines)
    found = measured(shared, run)
    # Prompts of both together draw 1.0 and not 2.0; decodes 0.8; the idle power counts once.
    assert found.joules(0.0, 6.0) == pytest.approx(600 + 600 * (3 * 1.0 + 3 * 0.8))
    by = found.by_client(found.drawn(0.0, 6.0))
    assert by["llm[0]"] == pytest.approx(by["llm[1]"])
    assert sum(by.values()) == pytest.approx(found.joules(0.0, 6.0), rel=1e-12)


def test_jobs_of_a_worker_pool_draw_for_their_share_of_the_cores():
    # Two of four workers at once for 2 s, each a quarter: (0.2 + 1.2) / 4 of the range per job.
    host = Part("host", "cpu", "Cpu", power=300.0, idle_power=100.0)
    system = built([host], {"llm[0]": ("host",)}, kind="WorkerPool")
    jobs = columns(SERVICE_COLUMNS, (0, 1.0, 3.0, 1, 0.25), (0, 1.0, 3.0, 1, 0.25))
    run = replace(
        tiny(), services=jobs, engines=(), steps={k: v[:0] for k, v in tiny().steps.items()}
    )
    found = measured(system, run)
    assert found.joules(0.0, 6.0) == pytest.approx(600 + 200 * 2 * (2 * 0.25 * 1.4))


def test_a_stage_with_a_cost_model_is_judged_by_it():
    class Streams(TextCost):
        def use(self, requests, seconds, share):
            return Use(share, 0 * share, share, 0 * share)

    host = Part("host", "cpu", "Cpu", power=300.0)
    system = built([host], {"llm[0]": ("host",)}, kind="WorkerPool")
    visits = {"stage": np.array([0]), "client": np.array([0]), "start_s": np.array([1.0])}
    run = replace(
        tiny(), services=columns(SERVICE_COLUMNS, (0, 1.0, 3.0, 1, 1.0)), engines=(), visits=visits,
        steps={k: v[:0] for k, v in tiny().steps.items()},
    )  # fmt: skip
    services = {("chat.answer", "llm[0]"): Streams(0.0, 0.0)}
    found = measured(system, run, services=services)
    assert found.joules(0.0, 6.0) == pytest.approx(300 * 2 * (0.2 + 0.5))


def test_a_transfer_draws_at_both_ends_for_the_links_it_fills():
    # 100 B in 2 s over a link of 100 B/s: half full, 0.1 · 0.5 of 600 W for 2 s at either end.
    system = built(
        [chip("a"), chip("b")], {"llm[0]": ("a",), "llm[1]": ("b",)}, wires=[("a", "b", 100.0)]
    )
    moved = columns(TRANSFER_COLUMNS, (0, 0, 1, 100.0, 3.0, 5.0))
    run = replace(
        tiny(), clients=("llm[0]", "llm[1]"), transfers=moved, engines=(),
        steps={k: v[:0] for k, v in tiny().steps.items()},
    )  # fmt: skip
    assert measured(system, run).joules(0, 6) == pytest.approx(1200 + 2 * 600 * 0.1 * 0.5 * 2)


def test_memory_beside_a_processor_is_used_as_its_client_reads_it():
    # 0.4 of the bandwidth for all 6 s; its own range is 10 W.
    dram = Part("dram", "memory", "Dram", power=15.0, idle_power=5.0)
    system = built([chip("gpu"), dram], memories={"llm[0]": ("dram",)})
    more = measured(system).joules(0, 6) - measured().joules(0, 6)
    assert more == pytest.approx(6 * (5 + 10 * 0.4))


# --- switches ------------------------------------------------------------------------------------


def test_a_switch_draws_its_power_whatever_passes():
    assert measured(built([chip("gpu"), SWITCH])).joules(0, 6) == pytest.approx(
        measured().joules(0, 6) + 6 * 50
    )


def test_a_switch_that_says_what_it_draws_idle_follows_its_links():
    # 120 B in the last 2 s, of 400 B that 2 directions of 100 B/s could: 0.3 of 20 W above 30 W.
    switch = replace(SWITCH, idle_power=30.0)
    system = built([chip("gpu"), switch], wires=[("gpu", "sw", 100.0)])
    rows = columns(PASSING_COLUMNS, (0, 4.0, 6.0, 120.0))
    run = replace(tiny(), passing=rows, passing_parts=("sw",))
    for start, end, above in ((0, 6, 20 * 0.6), (0, 4, 0.0), (5, 6, 20 * 0.3), (4.5, 5.5, 6.0)):
        more = measured(system, run).joules(start, end) - measured().joules(start, end)
        assert more == pytest.approx((end - start) * 30 + above)


def test_a_message_too_short_for_the_clock_counts_once():
    # 120 B of 200 B/s at one instant: 0.6 s of 20 W, in the interval in which that lies.
    switch = replace(SWITCH, idle_power=30.0)
    system = built([chip("gpu"), switch], wires=[("gpu", "sw", 100.0)])
    rows = columns(PASSING_COLUMNS, (0, 4.0, 4.0, 120.0))
    run = replace(tiny(), passing=rows, passing_parts=("sw",))
    for start, end, above in ((0, 6, 12.0), (0, 4, 0.0), (4, 6, 12.0), (4.5, 5.5, 0.0)):
        more = measured(system, run).joules(start, end) - measured().joules(start, end)
        assert more == pytest.approx((end - start) * 30 + above)


# --- conservation --------------------------------------------------------------------------------


def test_everything_adds_up_to_the_total():
    parts = [chip("gpu"), chip("spare", 300.0, 20.0), SWITCH]
    found = measured(built(parts))
    drawn = found.drawn(0.0, 6.0)
    total = found.joules(0.0, 6.0)
    assert sum(found.by_kind(drawn).values()) == pytest.approx(total, rel=1e-12)
    by = found.by_client(drawn)
    assert by[""] == pytest.approx(6 * 20 + 6 * 50)
    assert sum(by.values()) == pytest.approx(total, rel=1e-12)
    rows = energy_rows(found)
    assert rows["part"] == ["gpu", "spare", "sw"]
    assert np.sum(rows["total_j"]) == pytest.approx(total, rel=1e-12)
    assert rows["mean_w"][2] == 50.0


@given(st.lists(st.floats(0.0, 6.0), min_size=1, max_size=5))
def test_intervals_add_up(between):
    found = measured()
    ends = [0.0, *sorted(between), 6.0]
    pieces = sum(found.joules(a, b) for a, b in pairwise(ends))
    assert pieces == pytest.approx(found.joules(0.0, 6.0), rel=1e-9)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.25, 0.5, 1.0])),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_the_integral_equals_a_sum_over_seconds(rows):
    start, length, share = (np.array(column, float) for column in zip(*rows, strict=True))
    activity = Activity(start, start + length, share, share)
    by_second = sum(
        min(1.0, sum(s for a, n, s in rows if a <= second < a + n)) for second in range(20)
    )
    assert integral(activity, share, 0.0, 20.0) == pytest.approx(by_second)


@pytest.mark.parametrize("name", ["rag", "agent", "disaggregated", "parallelism"])
def test_of_whole_programs_too(name):
    """Pipelines of all servers: what is drawn lies between idle and limit, and adds up."""
    system = hermesdsl.compile(ROOT / f"examples/{name}.hms")
    result = hermesdsl.run(system)
    entry, found = result.summary()["energy"], result.measures.meter
    assert sum(entry["by_kind"].values()) == pytest.approx(entry["total"], rel=1e-9)
    by_client = sum(entry["by_client"].values()) + entry["unassigned"]
    assert by_client == pytest.approx(entry["total"], rel=1e-9)
    most = float((found.rest + found.range).sum()) * found.run.end_s
    assert entry["idle"] < entry["total"] < most
    used = {path for path, joules in entry["by_client"].items() if joules > 0}
    placed = {path for path, data in system.compiled.placement.nodes(data=True)
              if "client" in data and data["client"].group is not None}  # fmt: skip
    assert used == placed & set(found.run.clients)


# --- what is missing -----------------------------------------------------------------------------


def test_missing_figures_are_named_and_never_zero_in_silence():
    hbm = Part("gpu.hbm", "memory", "Hbm")
    parts = [
        chip("gpu", idle=0.0), hbm, Part("nic[0]", "nic", "Nic"), Part("nic[1]", "nic", "Nic"),
        Part("dram", "memory", "Dram"),
    ]  # fmt: skip
    found = measured(built(parts, inside={"gpu.hbm": "gpu"}))
    assert found.missing() == {"power": ["Dram", "2 × Nic"], "idle_power": ["Chip"]}


def test_without_any_power_figure_energy_is_undefined():
    found = measured(built([Part("gpu", "chip", "Chip")]))
    entry = found.summary((0.0, 6.0), 5)
    assert entry == {"total": None, "unit": "J", "missing": {"power": ["Chip"], "idle_power": []}}


def test_without_tokens_energy_per_token_is_undefined():
    assert measured().summary((0.0, 6.0), 0)["per_token"] is None


# --- in a result ---------------------------------------------------------------------------------


def summarised(run=None, **more):
    run = tiny() if run is None else run
    return summarise(run, classes=CLASSES, meter=measured(run=run), **more)


def test_energy_per_token_is_over_the_output_tokens_of_the_window():
    # Tokens at 1, 2, 3, 6 and 5 s; see `tiny`.
    result = summarised()
    assert result.value(Metric("energy_per_token")) == pytest.approx(3120 / 5)
    entry = result.summary()["energy"]
    assert (entry["total"], entry["idle"]) == (pytest.approx(3120), 600)
    assert entry["by_client"] == {"llm[0]": pytest.approx(3120)}
    assert entry["unassigned"] == 0.0


def test_a_window_leaves_out_energy_and_tokens_before_it():
    # 2 s … 4.5 s of the cut run: of decodes 2 s … 3 s, one token (at 3 s; that at 2 s counts too).
    run = replace(cut(), window=(2.0, 4.5))
    found = summarised(run).value(Metric("energy_per_token"))
    assert found == pytest.approx((2.5 * 100 + 600 * 0.4) / 2)


def test_a_run_without_a_meter_has_no_energy():
    result = summarise(tiny(), classes=CLASSES)
    assert result.summary()["energy"] is None
    assert result.value(Metric("energy_per_token")) is None

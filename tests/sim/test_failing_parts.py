"""Parts, containers and tiers that fail, by hand and on random systems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import TICK, clients, graph, simulated, site, stage
from cached import COST, Shelf, cached, sharing
from hand_built import MODEL, AffineCost, RankedCost, batch, generate, run, system
from hosts import hosted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_outages import at, failing, failures, with_failing
from test_reference import assert_same

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import CompiledSystem, Container, Pool, Spec
from hermesdsl.results.attribution import attribute
from hermesdsl.sim.record import Run


def in_box(built: CompiledSystem, path: str, spec: Spec) -> CompiledSystem:
    hardware = built.hardware.copy()
    box = Container(path, "node", "Box", fails=spec)
    hardware.graph["containers"] = {**hardware.graph.get("containers", {}), path: box}
    return replace(built, hardware=hardware)


def same_in_both(built: CompiledSystem, cost: Any, load: Any, **more: Any) -> Run:
    fast = simulated(built, cost, load, **more)
    slow = simulated(built, cost, load, reference=True, **more)
    assert_same(fast, slow)
    for table in ("outages", "breakdowns", "cut_steps", "services"):
        for name, column in getattr(fast, table).items():
            np.testing.assert_array_equal(column, getattr(slow, table)[name], err_msg=name)
    assert fast.tiers == slow.tiers
    attribute(fast)
    return fast


def two(route: Spec = Spec("jsq"), **options: Any) -> CompiledSystem:  # noqa: B008
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    return site(made, clients(llm=("LlmEngine", 2, {"route": route, **options})))


def test_a_device_takes_its_client_and_gives_it_back():
    # As with a client that fails at 3.5 s: what it did goes on at the other, done at 5.5 s.
    built = with_failing(two(), llm_0_gpu=at(3.5, down=1.0))
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0, 6.0], 7, 5))
    assert done.requests["finish_s"].tolist() == [5.5, 11.0]
    assert done.things == ("llm[0].gpu",)
    rows = {name: column.tolist() for name, column in done.breakdowns.items()}
    assert rows == {"thing": [0], "down_s": [3.5], "up_s": [4.5]}
    assert done.outages["client"].tolist() == [0]
    assert done.outages["lost"].tolist() == [1]
    # The step from 3 s on would have taken until 4 s.
    assert done.cut_steps["start_s"].tolist() == [3.0]
    assert done.cut_steps["end_s"].tolist() == [3.5]
    assert done.cut_steps["first_s"].tolist() == [1.0]
    assert done.cut_steps["batch"].tolist() == [1]


def test_one_dead_device_of_a_group_is_enough():
    built = two()
    placement = built.placement.copy()
    client = placement.nodes["llm[0]"]["client"]
    group = replace(client.group, devices=("llm[0].gpu", "llm[1].gpu"), tp=2)
    placement.nodes["llm[0]"]["client"] = replace(client, group=group)
    built = with_failing(replace(built, placement=placement), llm_1_gpu=at(1.5, down=1.0))
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0], 7, 2))
    # Both engines run on llm[1].gpu: both are down, and it is begun again at 2.5 s.
    assert done.outages["client"].tolist() == [0, 1]
    assert done.requests["finish_s"].tolist() == [3.5]


def test_all_in_a_node_are_down_and_up_together():
    built = in_box(two(), "llm[0]", at(3.5, down=2.0))
    both = in_box(built, "llm[1]", at(3.5, down=2.0))
    done = same_in_both(both, AffineCost(base=1.0), batch([0.0, 0.5], 7, 5))
    assert done.outages["down_s"].tolist() == [3.5, 3.5]
    assert done.outages["up_s"].tolist() == [5.5, 5.5]
    assert done.things == ("llm[0]", "llm[1]")


def rack(count: int = 4) -> CompiledSystem:
    """Engines in boxes of two: ``rack[i]`` has the devices of engines 2i and 2i + 1."""
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    built = site(made, clients(llm=("LlmEngine", count, {"route": Spec("jsq")})))
    names = {f"llm[{i}].gpu": f"rack[{i // 2}].gpu[{i % 2}]" for i in range(count)}
    hardware = nx.relabel_nodes(built.hardware, names)
    for path in names.values():
        hardware.nodes[path]["part"] = replace(hardware.nodes[path]["part"], path=path)
    placement = built.placement.copy()
    for i in range(count):
        client = placement.nodes[f"llm[{i}]"]["client"]
        group = replace(client.group, devices=(names[f"llm[{i}].gpu"],))
        placement.nodes[f"llm[{i}]"]["client"] = replace(client, group=group)
    return replace(built, hardware=hardware, placement=placement)


def test_failures_in_a_node_are_one_event():
    spec = Spec("random", {"mtbf": 6.0, "mttr": 2.0})
    done = same_in_both(in_box(rack(), "rack[0]", spec), AffineCost(base=0.5),
                        batch(np.arange(40.0), 5, 3))  # fmt: skip
    rows = done.outages
    for client in (0, 1):
        mine = rows["client"] == client
        np.testing.assert_array_equal(rows["down_s"][mine], done.breakdowns["down_s"])
        np.testing.assert_array_equal(rows["up_s"][mine], done.breakdowns["up_s"])
    assert len(done.breakdowns["thing"]) > 2
    assert set(rows["client"].tolist()) == {0, 1}
    assert done.counts["completed"] == 40


def test_two_reasons_hold_a_client_down_until_both_are_over():
    # The client fails from 1 s to 4 s, its device from 2 s to 3 s and from 3.5 s to 6 s.
    built = failing(
        with_failing(two(), llm_0_gpu=at(2.0, down=1.0)), llm_0={"fails": at(1.0, down=3.0)}
    )
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0], 7, 9))
    assert done.outages["up_s"].tolist() == [4.0]
    built = in_box(built, "llm[0]", at(3.5, down=2.5))
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0], 7, 9))
    assert done.outages["down_s"].tolist() == [1.0]
    assert done.outages["up_s"].tolist() == [6.0]


def test_a_failure_leaves_the_draws_of_everything_else():
    random = Spec("random", {"mtbf": 9.0, "mttr": 2.0})
    load = batch(np.arange(80.0), 5, 3)
    one = simulated(in_box(rack(), "rack[0]", random), AffineCost(base=0.5), load)
    both = simulated(
        in_box(in_box(rack(), "rack[0]", random), "rack[1]", random), AffineCost(base=0.5), load
    )
    end = min(one.end_s, both.end_s) - 20
    mine, other = one.breakdowns, both.breakdowns
    alone = mine["down_s"][mine["down_s"] < end]
    among = other["down_s"][(other["thing"] == 0) & (other["down_s"] < end)]
    assert len(alone) > 2
    np.testing.assert_array_equal(alone, among)
    np.testing.assert_array_equal(one.requests["arrival_s"], both.requests["arrival_s"])
    np.testing.assert_array_equal(one.requests["prompt_tokens"], both.requests["prompt_tokens"])


def with_host(spec: Spec | None = None, **outages: Any) -> CompiledSystem:
    """Two engines whose weights, 1000 B each, come over 10 B/s: 100 s, from one host memory."""
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    model = replace(MODEL, weight_bytes=1000.0)
    options = {"model": model, "route": Spec("jsq")}
    built = site(made, clients(llm=("LlmEngine", 2, options)), contention="none")
    hosted(built.hardware, ["llm[0].gpu", "llm[1].gpu"], bandwidth=10.0)
    if spec is not None:
        memory = next(p for p, d in built.hardware.nodes(data=True) if d["part"].kind == "memory")
        part = built.hardware.nodes[memory]["part"]
        built.hardware.nodes[memory]["part"] = replace(part, fails=spec)
    return failing(built, **outages)


def test_a_device_that_fails_while_weights_come_gets_them_again():
    # It fails at 3 s and loads from 8 s on; its device fails at 50 s for 10 s: again from 60 s on.
    built = with_host(llm_0={"fails": at(3.0, down=5.0)})
    built = with_failing(built, llm_0_gpu=at(50.0, down=10.0))
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0, 300.0]))
    assert done.outages["up_s"].tolist() == [pytest.approx(160.0, abs=0.1)]
    assert done.breakdowns["up_s"].tolist() == [60.0]


def test_weights_wait_for_the_memory_that_they_come_from():
    # They are on their way from 8 s on; the memory is down from 20 s to 70 s.
    built = with_host(at(20.0, down=50.0), llm_0={"fails": at(3.0, down=5.0)})
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0, 300.0]))
    assert done.outages["up_s"].tolist() == [pytest.approx(170.0, abs=0.1)]
    # The other has its weights, and goes on.
    assert set(done.outages["client"].tolist()) == {0}
    # From a memory that is down when the client is back, they come once it is there.
    built = with_host(at(5.0, down=50.0), llm_0={"fails": at(3.0, down=5.0)})
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0, 300.0]))
    assert done.outages["up_s"].tolist() == [pytest.approx(155.0, abs=0.1)]


def test_weights_that_never_come_end_the_run():
    built = with_host(llm_0={"cold_start": True}, llm_1={"cold_start": True})
    spec = Spec("random", {"mtbf": 2.0, "mttr": 1.0})
    with pytest.raises(SpecError, match=r"HMS701.*`llm\[[01]\]` never comes back"):
        simulated(in_box(in_box(built, "llm[0]", spec), "llm[1]", spec), AffineCost(base=1.0),
                  batch([0.0]))  # fmt: skip


def test_a_client_that_fails_gives_its_turn_back():
    # Passes of 4 s, one device. The first fails at 1 s and gives the device back at once: the other
    # has its pass from 1 s to 5 s. What failed comes back at 2 s and has its turn at 5 s.
    made = graph("w", [stage("w.a", "Score", "a", service=4.0)], ("input", "w.a", "output"))
    other = graph("v", [stage("v.a", "Score", "b", service=4.0)], ("input", "v.a", "output"))
    placement = clients(a=("BatchEngine", 1, {}), b=("BatchEngine", 1, {}))
    one, two_ = (placement.nodes[path]["client"] for path in ("a[0]", "b[0]"))
    placement.nodes["b[0]"]["client"] = replace(two_, group=one.group)
    built = failing(site({"w": made, "v": other}, placement), a_0={"fails": at(1.0, down=1.0)})
    done = simulated(built, AffineCost(), batch([0.0]), batch([0.5], workload="v"))
    assert done.requests["finish_s"].tolist() == [9.0, 5.0]
    assert done.services["end_s"].tolist() == [1.0, 5.0, 9.0]
    assert done.cut_services["service"].tolist() == [0]
    assert done.cut_services["whole_s"].tolist() == [4.0]
    # Whoever fails while it waits for its turn waits no longer.
    built = failing(site({"w": made, "v": other}, placement), b_0={"fails": at(1.0, down=9.0)})
    done = simulated(built, AffineCost(), batch([0.0]), batch([0.5], workload="v"))
    assert done.requests["finish_s"].tolist() == [4.0, 14.0]


def test_a_pool_starts_another_for_a_member_that_is_down():
    # Target 2 for each member. One runs; it is down from 1 s on, so the request at 2 s, the second
    # in charge, has another started, and waits for the first, which is back at 11 s. The request at
    # 3 s finds that other running.
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    built = site(made, clients(llm=("LlmEngine", 2, {})))
    placement = built.placement.copy()
    for path in ("llm[0]", "llm[1]"):
        placement.nodes[path]["client"] = replace(placement.nodes[path]["client"], model=None)
    scale = Spec("scale", {"min": 1, "max": 2, "target": 2, "idle": 99.0, "startup": 0.5})
    pools = placement.graph["pools"]
    placement.graph["pools"] = {"llm": replace(pools["llm"], options={"autoscale": scale})}
    built = failing(replace(built, placement=placement), llm_0={"fails": at(1.0, down=10.0)})
    done = same_in_both(built, AffineCost(base=0.25), batch([0.0, 2.0, 3.0], 7, 1))
    assert done.requests["finish_s"].tolist() == [0.25, 11.25, 3.25]
    assert done.requests["w.a.client"].tolist() == [0, 0, 1]


# --- caches ------------------------------------------------------------------------------------


def tier_fails(built: CompiledSystem, spec: Spec, place: int = 0) -> CompiledSystem:
    cache = built.caches["kv"]
    tiers = list(cache.tiers)
    tiers[place] = replace(tiers[place], fails=spec)
    return replace(built, caches={"kv": replace(cache, tiers=tuple(tiers))})


def test_a_tier_that_fails_forgets_everything():
    # Written by the first, found by the second, lost, missed by the third and written by it again,
    # found by the last.
    load = sharing([0.0, 20.0, 40.0, 60.0], 0)
    whole = run(cached(Shelf()), COST, load)
    assert whole.requests["cached_tokens"].tolist() == [0, 100, 100, 100]
    built = tier_fails(cached(Shelf()), at(30.0, down=1.0))
    done = run(built, COST, load)
    assert done.requests["cached_tokens"].tolist() == [0, 100, 0, 100]
    assert done.tiers[0].lost == 100
    assert done.things == ("t0",)
    # While it is down nothing is found and nothing written there.
    done = run(tier_fails(cached(Shelf()), at(30.0, down=25.0)), COST, load)
    assert done.requests["cached_tokens"].tolist() == [0, 100, 0, 0]
    assert done.tiers[0].written == 200


def test_a_memory_that_fails_is_its_store():
    built = cached(Shelf(), engines=1)
    hardware = built.hardware.copy()
    part = hardware.nodes["t0.memory[0]"]["part"]
    hardware.nodes["t0.memory[0]"]["part"] = replace(part, fails=at(30.0, down=1.0))
    done = run(replace(built, hardware=hardware), COST, sharing([0.0, 20.0, 40.0], 0))
    assert done.requests["cached_tokens"].tolist() == [0, 100, 0]
    assert done.outages["client"].tolist() == []


def test_a_tier_in_an_engines_own_memory_goes_with_it():
    built = cached(Shelf())
    placement = built.placement.copy()
    client = placement.nodes["llm[0]"]["client"]
    own = replace(client.group, memories=("t0.memory[0]",))
    placement.nodes["llm[0]"]["client"] = replace(client, group=own)
    down = {"fails": at(30.0, down=1.0)}
    load = sharing([0.0, 20.0, 40.0], 0)
    done = run(failing(replace(built, placement=placement), llm_0=down), COST, load)
    assert done.requests["cached_tokens"].tolist() == [0, 100, 0]
    # A store elsewhere is none of the engine's.
    done = run(failing(built, llm_0=down), COST, load)
    assert done.requests["cached_tokens"].tolist() == [0, 100, 100]


@pytest.mark.parametrize("overlap", [False, True])
def test_a_fetch_from_a_tier_that_fails_goes_to_the_next(overlap: bool):
    # 100 kB at 1 MB/s after 0.5 s, then 0.375 s on the link: under way from 20 s on. The first tier
    # fails at 20.3 s; blocks that left it for the second are read there.
    built = cached(Shelf(), Shelf(), overlap=overlap)
    load = sharing([0.0, 20.0], 0)
    for slow in (False, True):
        lost = run(tier_fails(built, at(20.3, down=1.0)), COST, load, reference=slow)
        # Nothing was written to the second: all 105 tokens are read.
        assert lost.requests["cached_tokens"].tolist()[0] == 0
        assert lost.steps["prefill_tokens"].sum() >= 210
        assert lost.counts["completed"] == 2
        attribute(lost)


def test_what_is_fetched_for_a_client_that_fails_is_fetched_for_another():
    built = cached(Shelf(), engines=2)
    load = sharing([0.0, 20.0], 0)
    plain = run(built, COST, load)
    served = plain.requests["chat.read.client"].tolist()[1]
    spec = {"fails": at(20.3, down=50.0)}
    built = failing(built, **{f"llm_{served}": spec})
    for slow in (False, True):
        done = run(built, COST, load, reference=slow)
        assert done.requests["chat.read.client"].tolist()[1] == 1 - served
        assert done.visits["part"].tolist().count(3) == 1
        # Looked for again at 20.3 s, behind the read that nobody waits for any more (until 20.6 s).
        late = done.requests["chat.fetch.end_s"][1] - plain.requests["chat.fetch.end_s"][1]
        assert late == pytest.approx(0.6)
        attribute(done)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 1), st.integers(1, 9)), min_size=1,
             max_size=8),
    st.booleans(), st.sampled_from([None, 15]), st.lists(failures, min_size=3, max_size=3),
    st.sets(st.sampled_from(["llm", "tier", "memory"]), min_size=1),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_caches_and_failures_agree(offer: Any, overlap: bool, room: Any, specs: Any, what: Any):
    built = cached(Shelf(room), Shelf(None, stores=2), engines=2, overlap=overlap)
    seconds = [_in_seconds(spec) for spec in specs]
    if "llm" in what:
        built = failing(built, llm_0={"fails": seconds[0]})
    if "tier" in what:
        built = tier_fails(built, seconds[1])
    if "memory" in what:
        hardware = built.hardware.copy()
        part = hardware.nodes["t1.memory[0]"]["part"]
        hardware.nodes["t1.memory[0]"]["part"] = replace(part, fails=seconds[2])
        built = replace(built, hardware=hardware)
    arrival, prefix, output = zip(*sorted(offer), strict=True)
    load = sharing([float(t) for t in arrival], list(prefix), output=list(output))
    fast, slow = run(built, COST, load), run(built, COST, load, reference=True)
    assert_same(fast, slow)
    assert fast.tiers == slow.tiers
    attribute(fast)
    assert fast.counts["completed"] == len(load)


def test_a_fetch_that_is_called_off_before_it_begins_takes_no_time() -> None:
    """Both ask the tier at 36 s; the engine fails while the second still waits for the first."""
    built = cached(Shelf(None), Shelf(None, stores=2), engines=2, overlap=True)
    built = failing(built, llm_0={"fails": Spec("at", {"times": (36.1,), "down": 1.0})})
    done = run(built, COST, sharing([0.0, 36.0, 36.0], [0, 0, 0], output=[1, 1, 1]))
    assert (done.visits["start_s"] <= done.visits["end_s"]).all()
    attribute(done)


def _in_seconds(spec: Spec) -> Spec:
    """The same failures, a tick as long as a second."""

    def seconds(value: Any) -> Any:
        return tuple(map(seconds, value)) if isinstance(value, tuple) else value / TICK

    return Spec(spec.name, {name: seconds(value) for name, value in spec.args.items()})


# --- beside other things -----------------------------------------------------------------------


offers = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 15)), min_size=1, max_size=7
)
beside = st.sampled_from(
    ["speculate", "dp", "shared", "autoscale", "convert", "layerwise", "container", "unlike"]
)


def _beside(what: str) -> CompiledSystem:
    """A system of engines `a` and `b` in which a setting is at work."""
    options: dict[str, Any] = {"block_size": 4}
    if what == "speculate":
        options["speculate"] = Spec("mtp", {"depth": 2, "accept": 0.5})
    stages = [stage("w.a", "Generate", "a")]
    if what in ("convert", "layerwise"):
        transfer = "layerwise" if what == "layerwise" else "full"
        stages = [stage("w.a", "Generate", "b", prefill="a", transfer=transfer)]
    if what == "unlike":
        stages = [stage("w.a", "Generate", "mixed")]
    made = graph("w", stages, ("input", "w.a", "output"))
    placement = clients(a=("LlmEngine", 3, options), b=("LlmEngine", 2, options))
    pools = placement.graph["pools"]
    if what == "unlike":
        other = placement.nodes["b[0]"]["client"]
        placement.nodes["b[0]"]["client"] = replace(other, model=replace(other.model, name="two"))
        pools["mixed"] = Pool("mixed", ("a[0]", "b[0]", "b[1]"), Spec("jsq"))
    if what == "dp":
        for path in pools["a"].members:
            client = placement.nodes[path]["client"]
            placement.nodes[path]["client"] = replace(client, group=replace(client.group, dp=2))
    if what == "shared":
        one, two_ = (placement.nodes[path]["client"] for path in ("a[0]", "a[1]"))
        placement.nodes["a[1]"]["client"] = replace(two_, group=one.group)
    if what == "autoscale":
        scale = Spec("scale", {"min": 1, "max": 3, "target": 1, "idle": 9 * TICK, "startup": TICK})
        for path in pools["a"].members:
            client = placement.nodes[path]["client"]
            placement.nodes[path]["client"] = replace(client, model=None)
        pools["a"] = replace(pools["a"], options={"autoscale": scale})
    if what == "convert":
        pools["b"] = replace(
            pools["b"], options={"convert": Spec("threshold", {"tokens": 20, "back": 0})}
        )
    return site(made, placement, contention="fair")


@given(beside, offers, st.lists(failures, min_size=3, max_size=3),
       st.sampled_from([64, 220, 1 << 30]), st.integers(1, 7))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_both_forms_agree_beside_everything(
    what: str, offer: Any, specs: Any, memory: int, chosen: int
):
    built = _beside(what)
    if chosen & 1:
        built = failing(built, a_0={"fails": specs[0]})
    if chosen & 2:
        built = failing(built, b_0={"fails": specs[1]})
    if chosen & 4:
        built = (
            with_failing(built, a_1_gpu=specs[2])
            if what != "shared"
            else with_failing(built, a_0_gpu=specs[2])
        )
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    cost: Any = AffineCost(kv_tokens=memory, base=TICK)
    if what in ("dp", "speculate"):
        advance = 1.75 if what == "speculate" else 1.0
        cost = RankedCost(kv_tokens=max(memory, 220), base=TICK, advance=advance)
    load = batch(np.array(arrival) * TICK, prompt, output)
    done = same_in_both(built, cost, load)
    assert done.counts["unfinished"] == 0
    assert done.counts["completed"] + done.counts["refused"] == len(load)


# --- what never ends ---------------------------------------------------------------------------


def test_a_job_that_always_loses_its_client_ends_the_run():
    made = graph("w", [stage("w.a", "Tool", "work", service=4.0)], ("input", "w.a", "output"))
    built = site(made, clients(work=("WorkerPool", 1, {"workers": 1})))
    built = failing(built, work_0={"fails": Spec("random", {"mtbf": 0.1, "mttr": 0.1})})
    with pytest.raises(SpecError, match=r"HMS701.*`w\.a` was begun 1_000 times.*takes 4 s.*`work"):
        simulated(built, AffineCost(), batch([0.0]))
    cut = replace(built, experiments={"main": replace(built.experiments["main"], horizon="cut",
                                                      duration=1000.0)})  # fmt: skip
    assert simulated(cut, AffineCost(), batch([0.0])).counts["unfinished"] == 1


def test_a_prompt_that_always_loses_its_engine_ends_the_run():
    built = failing(system(generate()), llm_0={"fails": Spec("random", {"mtbf": 0.1, "mttr": 0.1})})
    with pytest.raises(SpecError, match=r"`chat\.answer` was begun .* it reads 7 tok"):
        run(built, AffineCost(base=4.0), batch([0.0], 7, 5))


def test_unlike_members_take_over():
    # Jobs of 4 s: worker `a` fails at 1 s, and `b`, of another kind, takes it: done at 5 s.
    made = graph("w", [stage("w.a", "Score", "any", service=4.0)], ("input", "w.a", "output"))
    placement = clients(a=("WorkerPool", 1, {"workers": 1}), b=("BatchEngine", 1, {}))
    placement.graph["pools"]["any"] = Pool("any", ("a[0]", "b[0]"), Spec("jsq"))
    built = failing(site(made, placement), a_0={"fails": at(1.0, down=100.0)})
    done = simulated(built, AffineCost(), batch([0.0]))
    assert done.requests["finish_s"].tolist() == [5.0]
    assert done.requests["w.a.client"].tolist() == [1]


def test_a_member_of_another_model_lets_go_of_kv_it_cannot_use():
    # The second request has KV of the first model at llm[1] when the engine of the other model
    # loses it: llm[0] reads all of it, and what lay at llm[1] is free (conservation is checked).
    made = graph(
        "w",
        [stage("w.a", "Generate", "llm"), stage("w.b", "Generate", "models", tokens=9),
         stage("w.c", "Generate", "llm", tokens=2)],
        ("input", "w.a", "w.b", "w.c", "output"),
    )  # fmt: skip
    other = replace(MODEL, name="small")
    placement = clients(llm=("LlmEngine", 2, {}), small=("LlmEngine", 1, {"model": other}))
    placement.graph["pools"]["models"] = Pool("models", ("small[0]", "llm[0]"), Spec("jsq"))
    built = failing(site(made, placement), small_0={"fails": at(3.5, down=99.0)})
    done = same_in_both(built, AffineCost(base=1.0), batch([0.0, 0.0], 7, 2))
    assert done.counts["completed"] == 2
    lost = done.visits["part"] == 3
    assert [done.clients[c] for c in done.visits["client"][lost]] == ["small[0]"]
    assert done.clients[done.requests["w.b.client"][1]] == "llm[0]"

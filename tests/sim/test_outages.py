"""Clients that fail, restart and begin cold: by hand, in the long run, and on random pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from built_graphs import TICK, PerItem, clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch, chat, generate, run, system
from hosts import hosted
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_texts import shared
from test_patience import terms
from test_random_graphs import costs, offers, systems
from test_reference import assert_same

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import CompiledSystem, Spec
from hermesdsl.results.attribution import attribute
from hermesdsl.sim.record import COMPLETED
from hermesdsl.sim.streams import Stream


def at(*times: float, down: float) -> Spec:
    return Spec("at", {"times": times, "down": down})


def failing(built: CompiledSystem, **options: dict[str, Any]) -> CompiledSystem:
    """With options added to clients, by path with `_` for brackets: ``llm_0``."""
    built = replace(built, placement=built.placement.copy())
    for name, more in options.items():
        pool, index = name.rsplit("_", 1)
        path = f"{pool}[{index}]"
        client = built.placement.nodes[path]["client"]
        made = replace(client, options={**client.options, **more})
        built.placement.nodes[path]["client"] = made
    return built


def with_failing(built: CompiledSystem, **parts: Spec) -> CompiledSystem:
    """Parts of the hardware that fail, by path with `_` for brackets: ``llm_0_gpu``."""
    hardware = built.hardware.copy()
    for name, spec in parts.items():
        pool, index, part = name.split("_")
        path = f"{pool}[{index}].{part}"
        hardware.nodes[path]["part"] = replace(hardware.nodes[path]["part"], fails=spec)
    return replace(built, hardware=hardware)


@pytest.mark.parametrize("slow", [False, True])
def test_what_was_running_goes_on_elsewhere(slow: bool):
    # Steps of a second. It begins at engine 0, tokens at 1, 2, 3 s; that fails at 3.5 s. At engine
    # 1, idle, the text and the three tokens are read in one step: the fourth token comes at 4.5 s,
    # the fifth at 5.5 s.
    built = failing(system(generate(), engines={"llm": 2}), llm_0={"fails": at(3.5, down=10.0)})
    done = run(built, AffineCost(base=1.0), batch([0.0], 7, 5), reference=slow)
    assert done.requests["finish_s"].tolist() == [5.5]
    assert done.requests["first_token_s"].tolist() == [1.0]
    assert done.requests["generated"].tolist() == done.requests["visible"].tolist() == [5]
    assert done.steps["prefill_tokens"].tolist() == [7, 0, 10, 0]
    assert done.visits["part"].tolist() == [3, 0]
    assert done.visits["client"].tolist() == [0, 1]
    assert done.visits["end_s"].tolist() == [3.5, 5.5]
    outages = {name: column.tolist() for name, column in done.outages.items()}
    assert outages == {"client": [0], "down_s": [3.5], "up_s": [5.5], "lost": [1]}
    # 5 steps worked, the one under way at 3.5 s was for nothing.
    assert attribute(done).seconds.sum(axis=0).tolist() == [0.0, 5.0, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("slow", [False, True])
def test_a_step_that_ends_with_the_failure_has_ended(slow: bool):
    built = failing(system(chat(), engines={"llm": 2}), llm_0={"fails": at(3.0, down=1.0)})
    done = run(built, AffineCost(base=1.0), batch([0.0], 7, 5), reference=slow)
    assert done.requests["finish_s"].tolist() == [5.0]
    rows = done.visits
    assert [done.stages[s] for s in rows["stage"]] == ["chat.prefill", "chat.decode", "chat.decode"]
    assert rows["part"].tolist() == [0, 3, 0]
    assert rows["enter_s"].tolist() == [0.0, 1.0, 3.0]
    assert done.requests["chat.prefill.passes"].tolist() == [1]
    attribute(done)


def test_an_engine_alone_is_waited_for():
    # It fails at 1.5 s with one token shown, is down until 5.5 s and reads 8 tokens: 6.5 s. The one
    # that came meanwhile decodes its second token at 7.5 s.
    built = failing(system(generate()), llm_0={"fails": at(1.5, down=4.0)})
    done = run(built, AffineCost(base=1.0), batch([0.0, 3.0], 7, 2))
    assert done.requests["finish_s"].tolist() == [6.5, 7.5]
    assert done.outages["up_s"].tolist() == [5.5]


def test_routers_go_around_who_is_down():
    built = failing(system(generate(), engines={"llm": 3}), llm_1={"fails": at(0.5, down=9.0)})
    done = run(built, AffineCost(base=0.1), batch(np.arange(12) * 0.4))
    early = done.requests["arrival_s"] < 0.5
    served = done.requests["chat.answer.client"]
    assert set(served[~early].tolist()) == {0, 2}
    assert done.counts["completed"] == 12


def test_kv_that_a_later_stage_wants_is_computed_again():
    # Prefill at `a` until 1 s, a tool until 5 s; `a` fails meanwhile, and the decode reads it again
    # on its own client: 1 token from the step that reads, 2 more.
    made = graph(
        "w",
        [stage("w.read", "Prefill", "llm"), stage("w.tool", "Tool", "work", service=4.0),
         stage("w.answer", "Decode", "llm", tokens=3)],
        ("input", "w.read", "w.tool", "w.answer", "output"),
    )  # fmt: skip
    placement = clients(llm=("LlmEngine", 1, {}), work=("WorkerPool", 1, {}))
    built = failing(site(made, placement), llm_0={"fails": at(2.0, down=1.0)})
    done = simulated(built, AffineCost(base=1.0), batch([0.0], 9, 3))
    assert done.requests["finish_s"].tolist() == [8.0]
    assert done.steps["prefill_tokens"].sum() == 18
    assert done.outages["lost"].tolist() == [0]


def test_a_move_from_a_client_that_fails_is_called_off():
    # 1000 B of KV per token at 1000 B per tick: 64 tokens take 64 ticks on each of two links. The
    # source fails while they move: the target reads the prompt itself.
    made = graph("w", [stage("w.read", "Prefill", "a"), stage("w.answer", "Decode", "b", tokens=2)],
                 ("input", "w.read", "w.answer", "output"))  # fmt: skip
    placement = clients(a=("LlmEngine", 1, {}), b=("LlmEngine", 1, {}))
    plain = site(made, placement)
    cost = AffineCost(base=TICK)
    whole = simulated(plain, cost, batch([0.0], 64, 2))
    assert len(whole.transfers["bytes"]) == 1
    for slow in (False, True):
        built = failing(plain, a_0={"fails": at(4 * TICK, down=TICK)})
        done = simulated(built, cost, batch([0.0], 64, 2), reference=slow)
        assert len(done.transfers["bytes"]) == 0
        assert done.requests["finish_s"].tolist() == [5 * TICK]
        # To the target that fails, KV is moved again once it is back.
        built = failing(plain, b_0={"fails": at(4 * TICK, down=TICK)})
        done = simulated(built, cost, batch([0.0], 64, 2), reference=slow)
        delay = done.requests["finish_s"][0] - whole.requests["finish_s"][0]
        # The move began at 1 tick the first time, and at 5 ticks, when the target is back.
        assert delay == pytest.approx(4 * TICK)
        assert done.steps["prefill_tokens"].sum() == 64


def one_pool(workers: int = 1, kind: str = "WorkerPool", **options: Any) -> CompiledSystem:
    given_options = {"workers": workers} if kind == "WorkerPool" else {}
    made = graph("w", [stage("w.a", "Tool" if kind == "WorkerPool" else "Score", "work",
                             service=4.0)], ("input", "w.a", "output"))  # fmt: skip
    return site(made, clients(work=(kind, 2, {**given_options, **options})))


@pytest.mark.parametrize("kind", ["WorkerPool", "BatchEngine"])
def test_jobs_of_other_servers_begin_again_elsewhere(kind: str):
    # Jobs of 4 s at both; the one at client 0 has run for 3 s when that fails. Client 1 is free at
    # 4.5 s and serves it until 8.5 s.
    built = failing(one_pool(kind=kind), work_0={"fails": at(3.0, down=100.0)})
    done = simulated(built, AffineCost(), batch([0.0, 0.5]))
    assert done.requests["finish_s"].tolist() == [8.5, 4.5]
    assert done.services["end_s"].tolist() == [3.0, 4.5, 8.5]
    seconds = attribute(done).seconds[attribute(done).request == 0].sum(axis=0)
    assert seconds.tolist() == [1.5, 7.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["WorkerPool", "BatchEngine"])
def test_servers_that_are_all_down_are_waited_for(kind: str):
    built = failing(one_pool(kind=kind), work_0={"fails": at(1.0, down=5.0)},
                    work_1={"fails": at(1.0, down=2.0)})  # fmt: skip
    done = simulated(built, AffineCost(), batch([0.0, 2.0]))
    # Both go to client 1, which is back at 3 s.
    assert done.requests["w.a.client"].tolist() == [1, 1]
    assert done.requests["finish_s"].tolist() == ([7.0, 11.0] if kind == "WorkerPool" else [7, 7])


def test_failures_while_it_is_down_are_none():
    built = failing(one_pool(), work_0={"fails": at(1.0, 2.0, 8.0, down=5.0)})
    done = simulated(built, AffineCost(), batch(np.arange(20.0)))
    mine = done.outages["client"] == 0
    assert done.outages["down_s"][mine].tolist() == [1.0, 8.0]


def test_availability_in_the_long_run():
    # Up and down times are exponential with means 50 and 10: available 50/60 of the time. The
    # variance of the share down over a time T is 2 a b (a b) / ((a + b)^3 T)  (Takacs 1957):
    # asymptotic variance of a two-state process, 2 p q / ((1/a + 1/b) T).
    up, down, span = 50.0, 10.0, 400_000.0
    random = Spec("random", {"mtbf": up, "mttr": down})
    built = failing(one_pool(), work_0={"fails": random})
    done = simulated(built, AffineCost(), batch(np.linspace(0.0, span, 2000)))
    rows = done.outages
    share = (rows["up_s"] - rows["down_s"]).sum() / done.end_s
    p = down / (up + down)
    error = np.sqrt(2 * p * (1 - p) / ((1 / up + 1 / down) * span))
    assert abs(share - p) <= 4 * error
    assert set(rows["client"].tolist()) == {0}


def test_each_client_has_draws_of_its_own():
    random = {"fails": Spec("random", {"mtbf": 10.0, "mttr": 2.0})}
    load = batch(np.arange(100.0))
    both = simulated(failing(one_pool(), work_0=random, work_1=random), AffineCost(), load)
    one = simulated(failing(one_pool(), work_1=random), AffineCost(), load)
    end = min(both.end_s, one.end_s) - 20
    mine = (both.outages["client"] == 1) & (both.outages["down_s"] < end)
    alone = one.outages["down_s"] < end
    np.testing.assert_array_equal(both.outages["down_s"][mine], one.outages["down_s"][alone])
    first = 10.0 * Stream(1, "client.work[1]/mtbf").exponential(1)[0]
    assert one.outages["down_s"][0] == first


@pytest.mark.parametrize("slow", [False, True])
def test_a_cold_engine_serves_when_its_weights_are_there(slow: bool):
    model = replace(MODEL, weight_bytes=1000.0)
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    built = site(made, clients(llm=("LlmEngine", 2, {"model": model})), contention="fair")
    hosted(built.hardware, ["llm[0].gpu", "llm[1].gpu"], bandwidth=10.0)
    built = failing(built, llm_0={"cold_start": True})
    done = simulated(built, AffineCost(base=1.0), batch([0.0, 1.0, 200.0]), reference=slow)
    rows = done.outages
    assert rows["down_s"].tolist() == [0.0]
    # 1000 B over a link of 10 B/s, and its latency.
    assert rows["up_s"][0] == pytest.approx(100.0, abs=0.1)
    # Until then everything goes to the other.
    assert done.requests["w.a.client"].tolist() == [1, 1, 0]
    cold = failing(built, llm_1={"cold_start": True})
    done = simulated(cold, AffineCost(base=1.0), batch([0.0, 1.0]), reference=slow)
    assert (done.requests["first_token_s"] > 100.0).all()
    # After a failure, too, the weights are loaded.
    broken = failing(built, llm_1={"fails": at(3.0, down=5.0)})
    done = simulated(broken, AffineCost(base=1.0), batch([0.0, 200.0]), reference=slow)
    assert done.outages["up_s"][1] == pytest.approx(108.0, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fails": at(down=1.0)}, "names no time"),
        ({"cold_start": True}, "reaches no host memory"),
    ],
)
def test_outages_that_make_no_sense(options: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=message):
        run(failing(system(generate()), llm_0=options), AffineCost(base=1.0), batch([0.0]))


failures = st.one_of(
    st.tuples(st.lists(st.integers(0, 90), min_size=1, max_size=3), st.integers(1, 20)).map(
        lambda given: at(*(t * TICK for t in given[0]), down=given[1] * TICK)
    ),
    st.tuples(st.integers(60, 200), st.integers(1, 10)).map(
        lambda given: Spec("random", {"mtbf": given[0] * TICK, "mttr": given[1] * TICK})
    ),
)
broken = st.dictionaries(
    st.sampled_from(["llm_0", "llm_1", "other_0", "work_0", "judge_0", "small_0", "reader_0",
                     "writer_0"]),
    st.fixed_dictionaries({"fails": failures}, optional={"cold_start": st.just(True)}),
    min_size=1, max_size=4,
)  # fmt: skip


dead_parts = st.dictionaries(
    st.sampled_from(["llm_0_gpu", "other_0_gpu", "small_0_gpu", "writer_0_gpu"]), failures,
    max_size=2,
)  # fmt: skip


@given(systems(), offers, costs, st.sampled_from([220, 1 << 30]), broken, terms, st.data())
@settings(max_examples=60, deadline=None)
def test_both_forms_agree_and_all_is_conserved(
    built: Any, offer: Any, cost: Any, memory: int, outages: Any, given_terms: Any, data: Any
):
    if "timeout" not in given_terms:
        given_terms.pop("timeout_on", None)
    if not given_terms.get("retries"):
        given_terms.pop("backoff", None)
    for name in list(outages):
        pool, index = name.rsplit("_", 1)
        if f"{pool}[{index}]" not in built.placement:
            del outages[name]
        elif pool in ("work", "judge"):
            outages[name].pop("cold_start", None)
    names = {
        name: replace(workload, options={**workload.options, **given_terms})
        for name, workload in built.workloads.items()
    }
    built = failing(replace(built, workloads=names), **outages)
    built = with_failing(built, **data.draw(dead_parts, "parts"))
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    load = data.draw(shared(batch(np.array(arrival) * TICK, prompt, output), TICK), "load")
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    fast = simulated(built, cost, load, service=PerItem())
    slow = simulated(built, cost, load, service=PerItem(), reference=True)
    assert_same(fast, slow)
    for table in ("outages", "breakdowns", "cut_steps", "services", "cut_services"):
        for name, column in getattr(fast, table).items():
            np.testing.assert_array_equal(column, getattr(slow, table)[name], err_msg=name)
    attribute(fast)
    done = fast.requests["status"] == COMPLETED
    whole = fast.requests["finish_s"][done] >= fast.requests["arrival_s"][done]
    assert whole.all()

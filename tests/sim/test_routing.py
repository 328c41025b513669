"""Which client serves, and that the picks of one workload do not depend on another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import clients as clients_
from built_graphs import graph, simulated, site, stage
from hand_built import AffineCost, batch, chat, reading, run, system, wires
from hosts import hosted
from pooled import behind, in_sessions, with_pool
from test_reference import assert_same
from test_supported import refusal

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, StageNode, Workload
from hermesdsl.sim.load import merge
from hermesdsl.sim.routing import ROUTERS
from hermesdsl.sim.routing.load import Forecast
from hermesdsl.sim.routing.work import rates
from hermesdsl.sim.run import simulate

SECOND = AffineCost(base=1.0)
#: The same with little KV.
SMALL = AffineCost(400, base=1.0)
ONE_BY_ONE = {"batching": Spec("continuous"), "max_batch": 1}


def clients(route: Spec, load, n: int = 3, **more) -> list[int]:
    built = system(reading(), engines={"llm": n}, route=route, options=ONE_BY_ONE)
    return run(built, SECOND, load, **more).requests["chat.prefill.client"].tolist()


def test_round_robin_takes_turns():
    assert clients(Spec("round_robin"), batch([0.0] * 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_jsq_counts_requests_not_finished():
    # Client 0 is free again at 1, when the others are still at theirs (ending at 1.2 and 1.4).
    arrival = [0.0, 0.2, 0.4, 0.5, 1.1]
    # 0.5: all have one, the first gets it; 1.1: 0 has one left, 1 and 2 one each.
    assert clients(Spec("jsq"), batch(arrival)) == [0, 1, 2, 0, 0]


def test_jsq_counts_tokens_of_prompt_and_output():
    # After 50, 10, 10 tokens the fourth goes to client 1; it then has 30, so the fifth to 2.
    load = batch([0.0] * 5, [49, 9, 9, 19, 1])
    assert clients(Spec("jsq", {"by": "tokens"}), load) == [0, 1, 2, 1, 2]


def test_random_is_even_and_changes_with_the_seed():
    load = batch(np.arange(3000.0))
    one = clients(Spec("random"), load)
    # Binomial(3000, 1/3): standard deviation 26.
    assert all(abs(one.count(index) - 1000) < 4 * 26 for index in range(3))
    assert one == clients(Spec("random"), load)
    assert one != clients(Spec("random"), load, seed=2)


def test_random_picks_belong_to_requests_whatever_else_is_offered():
    alone = clients(Spec("random"), batch(np.arange(100.0)))
    workloads = [Workload(name, "chat", Spec("poisson")) for name in ("v", "w")]
    built = system(
        chat(), engines={"llm": 3}, route=Spec("random"), options=ONE_BY_ONE, workloads=workloads
    )
    both = run(built, SECOND, batch(np.arange(100.0)), batch(np.arange(70.0), workload="v"))
    mine = both.requests["workload"] == both.workloads.index("w")
    assert both.requests["chat.prefill.client"][mine].tolist() == alone


def test_workloads_merge_by_time_then_in_the_experiments_order():
    workloads = [Workload(name, "chat", Spec("poisson")) for name in ("v", "w")]
    built = system(chat(), options=ONE_BY_ONE, workloads=workloads)
    done = run(built, SECOND, batch([0.0, 2.0]), batch([0.0, 1.0], workload="v"))
    assert done.workloads == ("v", "w")
    assert done.requests["workload"].tolist() == [0, 1, 0, 1]
    assert done.requests["number"].tolist() == [0, 0, 1, 1]


# --- routers that look at more, each on a schedule by hand ------------------------------------


def picked(built: Any, cost: Any, load: Any, stage: str = "chat.prefill", **more: Any) -> list[int]:
    """The clients, the same in both forms."""
    fast = run(built, cost, load, **more)
    assert_same(fast, run(built, cost, load, reference=True, **more))
    return fast.requests[f"{stage}.client"].tolist()


def members(n: int, name: str, graph: Any = None, **args: Any) -> Any:
    options = {**ONE_BY_ONE, "max_batch": 8, "block_size": 1}
    return system(graph or reading(), engines={"llm": n}, route=Spec(name, args), options=options)


def test_power_of_two_takes_the_shorter_of_its_pair():
    """Of two members the pair is always the same: as `jsq`."""
    load = batch([0.0, 0.2, 0.4, 0.5, 1.1])
    pair = clients(Spec("power_of_two"), load, 2)
    assert pair == clients(Spec("jsq"), load, 2)
    assert clients(Spec("power_of_two"), load, 1) == [0] * 5


def test_power_of_two_draws_every_pair_alike():
    # Nothing is ever in charge: the first of each of three pairs serves, (0, 1), (0, 2), (1, 2).
    picks = clients(Spec("power_of_two"), batch(2.0 * np.arange(3000.0)))
    assert abs(picks.count(0) - 2000) < 4 * 26
    assert picks.count(0) + picks.count(1) == 3000


def test_kv_free_sees_the_blocks_that_a_run_of_steps_has_taken():
    """Steps of 1 s. Request 0 is read in [0, 1] and has 50 + 4 tokens of KV from second 5 on.

    Request 1 finds client 1 empty at 5.2 and takes 53 tokens there: at 5.5 client 0 has one more.
    """
    load = batch([0.0, 5.2, 5.5], [50, 53, 1], [20, 1, 1])
    assert picked(members(2, "kv_free", chat()), SMALL, load) == [0, 1, 1]


def test_kv_free_does_not_count_a_step_that_ends_as_a_request_arrives():
    # At 5.0 three steps of decoding have ended; what client 1 got then is the same 53 tokens.
    load = batch([0.0, 4.5, 5.0], [50, 53, 1], [20, 1, 1])
    assert picked(members(2, "kv_free", chat()), SMALL, load) == [0, 1, 0]


def test_kv_free_weighs_what_is_free_not_its_share():
    built = members(2, "kv_free")
    costs = {"llm[0]": AffineCost(100, base=1.0), "llm[1]": AffineCost(160, base=1.0)}
    # 160 free; then 60 against 100; then 60 against 50.
    load = batch([0.0, 0.1, 0.2], [100, 50, 5])
    done = simulate(built, "main", seed=1, costs=costs, load=[load])
    assert done.requests["chat.prefill.client"].tolist() == [1, 0, 1]


def test_rates_of_an_engine_in_closed_form():
    """p = 20, o = 10, KV of 90 tokens: b = 3 sequences of context 25."""
    cost = AffineCost(90, base=3.0, per_token=0.5, per_pair=0.01, per_context=0.002)
    load = merge([batch([0.0, 0.0], [10, 30], [5, 15])], None)
    reading_rate = (3.0 + 0.5 * 20 + 0.01 * 210) / 20
    writing_rate = (3.0 + 0.5 * 3 + 0.002 * 75) / 3
    engine = SimpleNamespace(cost=cost, max_batch=8)
    assert rates(engine, load) == pytest.approx((reading_rate, writing_rate))
    # A batch of at most 2: context 50.
    narrow = SimpleNamespace(cost=cost, max_batch=2)
    assert rates(narrow, load)[1] == pytest.approx((3.0 + 0.5 * 2 + 0.002 * 50) / 2)


def test_least_work_weighs_tokens_by_the_speed_of_each_engine():
    """Both have 100 unread tokens; client 1 needs half the time for them. Queues are equal."""
    costs = {"llm[0]": AffineCost(per_token=1.0), "llm[1]": AffineCost(per_token=0.5)}
    load = batch([0.0, 1.0, 2.0, 3.0], [100, 100, 20, 70])
    for route, expected in (("least_work", [0, 1, 1, 1]), ("jsq", [0, 1, 0, 1])):
        done = simulate(members(2, route), "main", seed=1, costs=costs, load=[load])
        # least_work: 100 against 0; 100 against 50; 100 against 60 s.
        assert done.requests["chat.prefill.client"].tolist() == expected


def test_only_the_oracle_knows_who_writes_long():
    """Client 0 owes 100 tokens and client 1 one; a router expects 34 of each: the first of equals.

    Request 2 comes when both prompts have been read and none is done: request 1 is at token 3.
    """
    load = batch([0.0, 0.1, 2.5], 1, [97, 4, 1])
    assert picked(members(2, "least_work", chat()), SECOND, load) == [0, 1, 0]
    assert picked(members(2, "oracle", chat()), SECOND, load) == [0, 1, 1]


def test_a_stage_with_tokens_of_its_own_is_expected_to_take_their_mean():
    lengths = Spec("uniform", {"low": 20, "high": 40})
    forecast = Forecast(merge([batch([0.0], 1, 7)], None))
    assert forecast.tokens(0, StageNode("a", "Decode", "llm", {"tokens": lengths})) == 30
    assert forecast.tokens(0, StageNode("b", "Decode", "llm", {"tokens": 12})) == 12
    assert forecast.tokens(0, StageNode("c", "Decode", "llm")) == 7


@pytest.mark.parametrize("route", ["least_work", "jsq", "oracle"])
def test_least_work_of_alike_worker_pools_is_the_shortest_queue(route: str):
    step = stage("w.s", "Step", "work", service=1.0)
    pools = clients_(work=("WorkerPool", 2, {"workers": 2, "route": Spec(route)}))
    built = site(graph("w", [step], ("input", "w.s", "output")), pools)
    done = simulated(built, None, batch([0.0, 0.1, 0.2, 0.3, 1.05]))
    # At 1.05, client 0 has one left of two and client 1 two.
    assert done.requests["w.s.client"].tolist() == [0, 1, 0, 1, 0]


def test_session_affinity_returns_even_to_a_longer_queue():
    load = in_sessions(batch([0.0, 0.1, 0.2, 0.3, 0.4]), 7, 7, 8, -1, 8)
    # Session 8 and the request without one find client 1, then client 2, least loaded.
    assert picked(members(3, "session_affinity"), SECOND, load) == [0, 0, 1, 2, 1]


def test_prefix_affinity_goes_where_the_text_was_sent():
    """Prefixes of 64 tokens, 16 of its own each: 0.8 of a context matches."""
    load = behind(batch([0.0, 0.1, 0.2, 0.3], 16), 64, 0, 1, 1, 0)
    assert picked(members(2, "prefix_affinity"), SECOND, load) == [0, 1, 1, 0]
    # The match is too short to count, or the queues too uneven: fewest requests in charge.
    assert picked(members(2, "prefix_affinity", match=0.9), SECOND, load) == [0, 1, 0, 1]
    assert picked(members(2, "prefix_affinity", balance=0), SECOND, load) == [0, 1, 1, 0]
    more = behind(batch([0.0, 0.1, 0.2, 0.3], 16), 64, 0, 1, 1, 1)
    assert picked(members(2, "prefix_affinity", balance=0), SECOND, more) == [0, 1, 1, 0]
    assert picked(members(2, "prefix_affinity"), SECOND, more) == [0, 1, 1, 1]


def test_a_router_remembers_no_more_text_than_the_engine_has_kv():
    """80 tokens of KV: text 1, sent to client 0 after text 0, leaves nothing of text 0 there."""
    load = behind(batch([0.0, 2.0, 4.0, 4.1, 4.2], 16), 64, 0, 1, 2, 1, 0)
    cost = AffineCost(80, base=1.0)
    # 4.0: nobody knows text 2; client 0 forgets text 1 for it. 4.1: client 1. 4.2: tie, client 0.
    assert picked(members(2, "prefix_affinity"), cost, load) == [0, 0, 0, 1, 0]
    # With room for all three texts: all known at client 0.
    wide = AffineCost(800, base=1.0)
    assert picked(members(2, "prefix_affinity"), wide, load) == [0, 0, 0, 0, 0]


def test_heavy_light_halves_the_members():
    load = batch([0.0, 0.1, 0.2, 0.3, 0.4], [10, 99, 10, 100, 10], [50, 1, 50, 1, 1])
    by_prompt = members(4, "heavy_light", by="prompt", threshold=99)
    assert picked(by_prompt, SECOND, load) == [0, 2, 1, 3, 0]
    by_output = members(4, "heavy_light", by="output", threshold=50)
    assert picked(by_output, SECOND, load) == [2, 0, 3, 1, 0]
    # 60, 100, 60, 101, 11: the median is 60, so all but the last are heavy; 2 of 3 are light.
    both = members(3, "heavy_light", by="both")
    assert picked(both, SECOND, load) == [2, 2, 2, 2, 0]
    assert picked(members(1, "heavy_light"), SECOND, load) == [0] * 5


def test_weighted_sums_scores():
    load = in_sessions(batch([0.0, 0.1, 0.2, 0.3]), 7, 7, 7, 8)
    # The session outweighs the queue (1 · 1 against 0.5 · 1), or does not.
    assert picked(members(2, "weighted", session=1, queue=0.5), SECOND, load) == [0, 0, 0, 1]
    assert picked(members(2, "weighted", session=0.5, queue=1), SECOND, load) == [0, 1, 1, 0]
    # As the routers of the same names, where one scorer is alone.
    uneven = batch([0.0, 0.2, 0.4, 0.5, 1.1], [9, 5, 3, 2, 8], [3, 9, 1, 4, 2])
    for scorer, route in (("queue", "jsq"), ("work", "least_work"), ("kv", "kv_free")):
        alone = picked(members(3, "weighted", chat(), **{scorer: 2}), SMALL, uneven)
        assert alone == picked(members(3, route, chat()), SMALL, uneven)


def test_the_prefix_scorer_counts_the_share_that_is_there():
    # Client 0 has 64 of 80 tokens: 0.8 against a queue score of 1 for client 1.
    load = behind(batch([0.0, 0.1], 16), 64, 0, 0)
    assert picked(members(2, "weighted", prefix=1.3, queue=1), SECOND, load) == [0, 0]
    assert picked(members(2, "weighted", prefix=1.2, queue=1), SECOND, load) == [0, 1]


# --- stale state --------------------------------------------------------------------------------

LOOKING = ["jsq", "least_work", "oracle", "kv_free", "power_of_two", "prefix_affinity",
           "session_affinity", "heavy_light"]  # fmt: skip


def test_stale_state_is_that_just_before_the_last_multiple():
    """One at a time, 1 s each. Until 1.0 all look idle; the state before 2.0 is 4, 5, 0.

    The first request is done at 1.0, after the state of 1.0 was taken; the second of client 0 and
    the first of client 1 at 2.0, after that of 2.0.
    """
    built = system(
        reading(), engines={"llm": 3}, route=Spec("jsq", {"staleness": 1.0}), options=ONE_BY_ONE
    )
    load = batch(np.arange(12) / 5)
    assert picked(built, SECOND, load) == [0] * 5 + [1] * 5 + [2] * 2


def test_a_look_sees_what_happened_since_even_if_nobody_came():
    built = system(
        reading(), engines={"llm": 2}, route=Spec("jsq", {"staleness": 10.0}), options=ONE_BY_ONE
    )
    # Before 10: all is done. Before 30: the three of second 11 are done as well.
    assert picked(built, SECOND, batch([0.0, 11.0, 11.0, 11.0, 35.0])) == [0] * 5


@pytest.mark.parametrize("route", LOOKING)
def test_no_staleness_is_the_present(route: str):
    rng = np.random.default_rng(3)
    load = batch(np.sort(rng.uniform(0, 20, 60)), rng.integers(1, 30, 60), rng.integers(1, 9, 60))
    fresh = picked(members(3, route, chat()), SMALL, load)
    assert picked(members(3, route, chat(), staleness=0.0), SMALL, load) == fresh
    # So fine a staleness that nothing happens between a look and a request.
    assert picked(members(3, route, chat(), staleness=1e-7), SMALL, load) == fresh


def test_stale_kv_is_as_of_the_look_whatever_steps_an_event_stands_for():
    """Client 0 has 50 + 8 tokens just before 10 (steps ended at 2 … 9), client 1 gets 57 at 9.5."""
    load = batch([0.0, 9.5, 10.2], [50, 57, 1], [40, 1, 1])
    built = members(2, "kv_free", chat(), staleness=1.0)
    assert picked(built, SMALL, load) == [0, 1, 1]
    # One token more at client 1, and client 0 has more room.
    load = batch([0.0, 9.5, 10.2], [50, 59, 1], [40, 1, 1])
    assert picked(built, SMALL, load) == [0, 1, 0]


def test_staleness_makes_the_shortest_queue_herd():
    """All requests of a period go to one member: the most that wait at once grows."""
    load = crowd(4000, 0.7, 4)
    waits = [mean_wait("jsq", load, staleness=age) for age in (0.0, 2.0, 10.0)]
    assert waits[0] < waits[1] < waits[2]
    # Worse than not to look at all (Mitzenmacher, "How useful is old information?", 1997).
    assert waits[2] > mean_wait("random", load)


# --- queueing theory ----------------------------------------------------------------------------


def crowd(n: int, load: float, servers: int) -> Any:
    """Poisson arrivals of prompts that take 1 s in the mean, exponentially distributed."""
    rng = np.random.default_rng(11)
    arrival = np.cumsum(rng.exponential(1 / (load * servers), n))
    return batch(arrival, np.maximum(np.rint(rng.exponential(1000.0, n)), 1).astype(int))


def mean_wait(route: str, load: Any, servers: int = 4, slice_: int = 50, **args: float) -> float:
    """Seconds in all beyond those of reading alone, 1 ms per token in slices, one at a time."""
    options = {"batching": Spec("chunked", {"budget": slice_}), "max_batch": 1, "block_size": 16}
    built = system(reading(), engines={"llm": servers}, route=Spec(route, args), options=options)
    columns = run(built, AffineCost(per_token=0.001), load).requests
    alone = 0.001 * columns["prompt_tokens"]
    return float((columns["finish_s"] - columns["arrival_s"] - alone).mean())


def erlang_c(servers: int, offered: float) -> float:
    """Probability to wait in M/M/c."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def test_more_knowledge_waits_less_on_the_same_draws():
    load = crowd(8000, 0.7, 4)
    names = ("least_work", "jsq", "power_of_two", "random")
    waits = [mean_wait(name, load) for name in names]
    assert waits == sorted(waits)
    assert waits[1] < 0.7 * waits[2] < 0.7 * 0.7 * waits[3]


def test_least_work_is_one_queue_before_all_servers():
    """Reading in small slices, it knows the work left: M/M/c, W = C(c, a) / (c μ − λ) · 1 s."""
    expected = erlang_c(4, 2.8) / (4 - 2.8)
    waits = mean_wait("least_work", crowd(30_000, 0.7, 4))
    assert waits == pytest.approx(expected, rel=0.06)


def test_random_makes_each_server_a_queue_of_its_own():
    """M/M/1: W = ρ / (1 − ρ) · 1 s."""
    assert mean_wait("random", crowd(30_000, 0.7, 4)) == pytest.approx(0.7 / 0.3, rel=0.1)


# --- what all routers keep to -------------------------------------------------------------------

EVERY = [Spec(name) for name in ROUTERS if name != "weighted"] + [
    Spec("weighted", {"queue": 1, "work": 1, "kv": 1, "prefix": 2, "session": 1}),
    *(Spec(name, {"staleness": 3.0}) for name in LOOKING),
]  # fmt: skip


@pytest.mark.parametrize("route", EVERY, ids=str)
def test_every_router_is_deterministic_and_the_same_in_both_forms(route: Spec):
    rng = np.random.default_rng(5)
    n = 80
    load = batch(
        np.sort(rng.integers(0, 60, n) / 2), rng.integers(1, 40, n), rng.integers(1, 20, n)
    )
    load = behind(in_sessions(load, 1, 2, 3, -1, 2), 16, 0, 1, 2)
    built = system(
        chat(), engines={"llm": 3}, route=route, options={"block_size": 4, "max_batch": 4}
    )
    cost = AffineCost(400, base=0.25, per_token=0.01)
    picks = picked(built, cost, load)
    assert picks == picked(built, cost, load)
    assert set(picks) <= {0, 1, 2}


@pytest.mark.parametrize("route", EVERY, ids=str)
def test_a_router_of_one_member_has_no_choice(route: Spec):
    built = system(chat(), route=route, options={"block_size": 4})
    assert picked(built, AffineCost(400, base=0.25), batch([0.0, 0.1, 5.0], 3, 4)) == [0] * 3


# --- what makes no sense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (Spec("telepathy"), "HMS506: `route = telepathy` of pool `llm` cannot be executed yet"),
        (Spec("weighted", {"que": 1.0}), "HMS505: unknown scorer `que`"),
        (Spec("weighted", {"speed": 1.0, "queue": 1.0}), "HMS505: unknown scorer `speed`"),
        (Spec("round_robin", {"staleness": 2.0}),
         "HMS505: `route = round_robin(staleness = 2.0)` of pool `llm` looks at nothing that could "
         "be stale"),
        (Spec("random", {"staleness": 2.0}),
         "HMS505: `route = random(staleness = 2.0)` of pool `llm` looks at nothing that could be "
         "stale"),
    ],
)  # fmt: skip
def test_routes_that_make_no_sense(route: Spec, message: str):
    assert refusal(system(chat(), route=route)) == [message]


def test_an_unknown_scorer_has_a_neighbour():
    with pytest.raises(SpecError) as caught:
        run(system(chat(), route=Spec("weighted", {"sesion": 1.0})), SECOND, batch([0.0]))
    assert caught.value.diagnostics[0].notes == ("help: did you mean `session`?",)


@pytest.mark.parametrize(
    "route",
    [Spec("kv_free"), Spec("prefix_affinity"), Spec("weighted", {"kv": 1.0}),
     Spec("weighted", {"prefix": 1.0, "queue": 1.0})],
    ids=str,
)  # fmt: skip
def test_only_engines_have_kv_to_look_at(route: Spec):
    step = stage("w.s", "Step", "work", service=1.0)
    pools = clients_(work=("WorkerPool", 2, {"route": route}))
    built = site(graph("w", [step], ("input", "w.s", "output")), pools)
    with pytest.raises(SpecError) as caught:
        simulated(built, None, batch([0.0]))
    (found,) = caught.value.diagnostics
    assert found.code == "HMS505"
    assert found.message.endswith("looks at KV, and work[0] is a WorkerPool")


def test_routers_of_pools_that_convert_see_one_stale_state():
    """Also those over sets of members that are made while the run goes on."""
    ends = [(f"{name}.gpu", "sw", 1e6, 0.0) for name in ("p[0]", "d[0]", "d[1]", "d[2]")]
    for route in ("kv_free", "least_work", "jsq"):
        made = system(
            chat("p", "d"), engines={"p": 1, "d": 3}, route=Spec(route, {"staleness": 0.7}),
            hardware=wires(*ends, switches=["sw"]), contention="none", options={"block_size": 4},
        )  # fmt: skip
        built = with_pool(made, "d", convert=Spec("threshold", {"tokens": 20, "back": 5}))
        rng = np.random.default_rng(8)
        arrival = np.sort(rng.integers(0, 40, 60) / 4)
        load = batch(arrival, rng.integers(1, 40, 60), rng.integers(1, 20, 60))
        cost = AffineCost(300, base=0.125, per_token=0.01)
        assert len(set(picked(built, cost, load))) > 1


def test_whom_admission_refuses_starts_nobody():
    devices = ["llm[0].gpu", "llm[1].gpu"]
    made = system(reading(), engines={"llm": 2}, route=Spec("jsq"), options=ONE_BY_ONE,
                  hardware=hosted(nx.MultiDiGraph(), devices), contention="none")  # fmt: skip
    scale = Spec("scale", {"target": 2})
    for limit, started in ((1, 1), (9, 2)):
        admission = Spec("queue_limit", {"n": limit})
        built = with_pool(made, autoscale=scale, admission=admission)
        done = run(built, SECOND, batch([0.0, 0.1, 0.2, 0.3]))
        assert len(done.scaling["client"]) == started

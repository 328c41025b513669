"""Members of a pool that start when there is much to do, and stop when there is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch, chat, generate, reading, run, system, wires
from hosts import hosted
from pooled import in_sessions, with_pool
from test_reference import assert_same
from test_supported import refusal

from hermesdsl.graph.types import Spec
from hermesdsl.sim.record import Run

SECOND = AffineCost(base=1.0)
ONE_BY_ONE = {"batching": Spec("continuous"), "max_batch": 1}


def scaled(n: int = 3, graph_: Any = None, route: Any = None, host: Any = None, **args: Any) -> Any:
    """A pool of `n`, one at a time in each; weights of 2 bytes load at 1 byte/s but for `host`."""
    devices = [f"llm[{i}].gpu" for i in range(n)]
    hardware = hosted(nx.MultiDiGraph(), devices, **(host or {"bandwidth": 1.0}))
    built = system(graph_ or reading(), engines={"llm": n}, route=route or Spec("jsq"),
                   options=ONE_BY_ONE, hardware=hardware, contention="none")  # fmt: skip
    return with_pool(built, autoscale=Spec("scale", args))


def both(built: Any, load: Any, cost: Any = SECOND) -> Run:
    fast, slow = run(built, cost, load), run(built, cost, load, reference=True)
    assert_same(fast, slow)
    for column in fast.scaling:
        np.testing.assert_array_equal(fast.scaling[column], slow.scaling[column])
    return fast


def served(done: Run) -> list[int]:
    return done.requests["chat.prefill.client"].tolist()


def periods(done: Run) -> list[tuple[float, ...]]:
    """(client, start, ready, stop), by start."""
    columns = [done.scaling[name].tolist() for name in ("client", "start_s", "ready_s", "stop_s")]
    return sorted(zip(*columns, strict=True), key=lambda row: (row[1], row[0]))


def test_a_member_starts_above_the_target_and_serves_once_its_weights_are_there():
    """Two requests per member. The third, at 0.2, starts client 1: 2 bytes at 1 byte/s, until 2.2.

    0, 1, 2 and 3 queue at client 0; the fourth is no more than two per member. At 2.3 client 0 has
    two left, so 4 goes to client 1.
    """
    done = both(scaled(2, target=2), batch([0.0, 0.1, 0.2, 0.3, 2.3]))
    assert served(done) == [0, 0, 0, 0, 1]
    assert periods(done) == [(0, 0.0, 0.0, 4.0), (1, 0.2, pytest.approx(2.2), 4.0)]


@pytest.mark.parametrize(
    ("host", "more", "expected"),
    [
        ({"bandwidth": 4.0}, 0.0, 0.5),
        ({"bandwidth": 4.0, "latency": 0.25}, 0.0, 0.75),
        ({"bandwidth": 4.0}, 3.0, 3.5),
    ],
)
def test_starting_takes_latency_and_bytes_over_bandwidth(host: Any, more: float, expected: float):
    """2 bytes of weights from the DRAM over one wire of 4 byte/s; `startup` comes on top."""
    done = both(scaled(2, host=host, target=1, startup=more), batch([1.0, 1.0, 9.0]))
    started = periods(done)[1]
    assert started[2] - started[1] == expected


def loading(
    *arrivals: float, contention: str = "fair", weights: float = 1e6, **args: Any
) -> dict[int, float]:
    """By member that starts: when it is ready; weights of 1 MB, DRAM and each wire of 1 MB/s."""
    built = scaled(3, host={"bandwidth": 1e6, "together": 1e6}, target=1, **args)
    for path in built.placement.graph["pools"]["llm"].members:
        node = built.placement.nodes[path]
        node["client"] = replace(node["client"], model=replace(MODEL, weight_bytes=weights))
    experiments = {"main": replace(built.experiments["main"], contention=contention)}
    done = both(replace(built, experiments=experiments), batch([*arrivals, 14.0]))
    return {int(client): ready for client, _, ready, _ in periods(done)[1:]}


def test_two_that_start_at_once_through_one_memory_take_twice_as_long():
    assert loading(0.0, 0.5) == {1: 1.5}
    assert loading(0.0, 0.5, 0.5) == {1: 2.5, 2: 2.5}
    assert loading(0.0, 0.5, 0.5, contention="none") == {1: 1.5, 2: 1.5}


def test_a_start_slows_the_one_before_it_from_then_on():
    # At 1.0 the first has 0.5 MB left: at half the bandwidth until 2.0, then 0.5 MB of the second.
    assert loading(0.0, 0.5, 1.0) == {1: 2.0, 2: 2.5}


def test_weights_that_nobody_waits_for_any_more_leave_the_links_to_others():
    """Weights of 10 MB: client 1 starts at 0.5 and 2 at 0.6, half as fast each from then on.

    5.0 finds 2 spare, so it is let go at 6.5, seen at 7.0. 7.05 needs 1, which has 6.7 MB left.
    """
    ready = loading(0.0, 0.5, 0.6, 5.0, 7.0, 7.05, weights=1e7, idle=1.5)
    assert ready == {1: pytest.approx(7.0 + 6.7), 2: 6.5}


def test_a_worker_pool_has_nothing_to_load():
    step = stage("w.s", "Step", "work", service=1.0)
    made = site(graph("w", [step], ("input", "w.s", "output")),
                clients(work=("WorkerPool", 2, {"model": None, "route": Spec("jsq")})))  # fmt: skip
    built = with_pool(made, "work", autoscale=Spec("scale", {"target": 1}))
    done = simulated(built, None, batch([0.0, 0.1]))
    assert done.requests["w.s.client"].tolist() == [0, 1]


def test_one_member_at_a_time_and_never_more_than_max():
    # Targets of one: 1 starts client 1, 2 starts client 2, and 3 nobody, for three is the most.
    done = both(scaled(4, target=1, max=3), batch([0.0, 0.1, 0.2, 0.3, 9.0]))
    assert [row[:2] for row in periods(done)] == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_min_members_run_from_the_start():
    done = both(scaled(3, min=2), batch([0.0, 0.1]))
    assert served(done) == [0, 1]
    assert [row[:3] for row in periods(done)] == [(0, 0.0, 0.0), (1, 0.0, 0.0)]


def test_the_last_member_is_let_go_when_it_was_not_needed_for_a_while():
    """Targets of one. 0.1 starts client 1, ready at 2.1. 9.0, 12.0 and 14.0 find one request each.

    So at 14.0 client 1 was not needed for 5 s, and it has nothing to finish. 20.1 starts it again;
    the run ends when client 0 has done its two, at 22.
    """
    load = batch([0.0, 0.1, 9.0, 12.0, 14.0, 20.0, 20.1])
    done = both(scaled(2, target=1, idle=5.0), load)
    assert periods(done) == [
        (0, 0.0, 0.0, 22.0),
        (1, 0.1, pytest.approx(2.1), 14.0),
        (1, 20.1, 22.0, 22.0),
    ]


def test_one_request_that_needs_it_begins_the_wait_anew():
    # 9.0 finds it spare, 12.0 not (12.05: two requests), 15.0 again: let go at 20.0, seen at 30.
    load = batch([0.0, 0.1, 9.0, 12.0, 12.05, 15.0, 30.0])
    done = both(scaled(2, target=1, idle=5.0), load)
    assert periods(done)[1][3] == 20.0


def test_members_are_let_go_one_after_the_other_even_if_nobody_comes():
    """Two more run since 2.2. 9.0 finds one request; nobody comes until 60: at 14, then at 19."""
    done = both(scaled(3, target=1, idle=5.0), batch([0.0, 0.1, 0.2, 9.0, 60.0]))
    assert {int(row[0]): row[3] for row in periods(done)} == {0: 61.0, 1: 19.0, 2: 14.0}


def test_who_is_let_go_finishes_what_it_has_and_may_be_called_back():
    """Prompts of 1 s, targets of three: 0.25 starts client 1, and client 0 is busy until 4.

    4.25 finds it spare, 4.5 goes there until 5.5, and at 4.75 it is let go.
    """
    load = [0.0, 0.1, 0.2, 0.25, 4.25, 4.5, 4.75]
    done = both(scaled(2, target=3, idle=0.5), batch([*load, 9.0]))
    assert served(done) == [0, 0, 0, 0, 0, 1, 0, 0]
    assert periods(done)[1] == (1, 0.25, 2.25, 5.5)
    # A fourth calls it back: it takes requests at once, and its weights are there.
    done = both(scaled(2, target=3, idle=0.5), batch([*load, 4.8, 4.85, 9.0]))
    assert served(done) == [0, 0, 0, 0, 0, 1, 0, 1, 0, 0]
    assert periods(done)[1:] == [(1, 0.25, 2.25, 10.0)]


def test_kept_kv_keeps_its_engine():
    """A request that is at a tool for 20 s has its KV at client 1, which is then the last."""
    stages = [stage("w.a", "Generate", "llm"), stage("w.t", "Tool", "web", service=20.0, appends=5),
              stage("w.b", "Generate", "llm")]  # fmt: skip
    chain = ("input", *(s.path for s in stages), "output")
    made = site(graph("w", stages, chain), clients(
        llm=("LlmEngine", 2, {"route": Spec("jsq"), "block_size": 4}), web=("Delay", 1, {
            "latency": 20.0})))  # fmt: skip
    hosted(made.hardware, ["llm[0].gpu", "llm[1].gpu"], bandwidth=100.0)
    built = with_pool(made, autoscale=Spec("scale", {"target": 2, "idle": 1.0}))
    load = batch([0.0, 0.001, 0.002, 0.1, 9.0, 12.0, 40.0], 4, 30)
    fast = simulated(built, AffineCost(base=0.02), load)
    assert_same(fast, simulated(built, AffineCost(base=0.02), load, reference=True))
    # Request 3 ran at client 1, was at the tool when that was let go (at 10.0), and came back.
    assert fast.requests["w.a.client"][3] == fast.requests["w.b.client"][3] == 1
    stop = fast.scaling["stop_s"][fast.scaling["client"] == 1]
    assert stop.tolist() == [fast.requests["finish_s"][3]]
    assert 20 < stop[0] < 40


def test_sessions_are_remembered_when_members_come_and_go():
    load = in_sessions(batch([0.0, 0.1, 0.2, 2.5, 3.9, 4.0]), 1, 2, 4, 3, 1, 3)
    done = both(scaled(2, route=Spec("session_affinity"), target=1), load)
    # Session 3 began at client 1, once that ran; session 1 at client 0 before it did.
    assert served(done) == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("route", ["round_robin", "random", "least_work", "kv_free",
                                   "power_of_two", "prefix_affinity", "heavy_light"])  # fmt: skip
def test_every_router_scales(route: str):
    rng = np.random.default_rng(2)
    load = batch(np.sort(rng.uniform(0, 40, 60)), rng.integers(1, 20, 60), rng.integers(1, 9, 60))
    built = scaled(3, generate(), Spec(route), target=2, idle=4.0)
    done = both(built, load)
    assert done.counts["completed"] == 60
    started = {(row[0], row[1]): row for row in periods(done)}
    for client, start in zip(
        done.requests["chat.answer.client"].tolist(),
        done.requests["chat.answer.enter_s"].tolist(),
        strict=True,
    ):
        assert any(c == client and row[2] <= start <= row[3] for (c, _), row in started.items())


def test_without_scaling_nothing_is_recorded():
    done = run(system(reading()), SECOND, batch([0.0]))
    assert len(done.scaling["client"]) == 0


# --- what makes no sense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"max": 4}, "`max = 4` of the autoscaling of pool `llm`, which has 3 members"),
        ({"min": 5}, "`min = 5` of the autoscaling of pool `llm`, which has 3 members"),
        ({"min": 3, "max": 2}, "the autoscaling of pool `llm` has `min` above `max`"),
    ],
)
def test_numbers_of_members_that_make_no_sense(args: Any, message: str):
    assert refusal(scaled(**args)) == [f"HMS505: {message}"]


def test_weights_need_somewhere_to_come_from():
    built = with_pool(system(chat(), engines={"llm": 2}), autoscale=Spec("scale"))
    assert refusal(built) == ["HMS405: llm[0] of pool `llm` scales but reaches no host memory"]


def test_an_unknown_autoscaler():
    built = with_pool(system(chat()), autoscale=Spec("magic", {"n": 2}))
    assert refusal(built) == [
        "HMS506: `autoscale = magic(n = 2)` of pool `llm` cannot be executed yet"
    ]


def test_fixed_groups_do_not_scale():
    names = ("p[0]", "p[1]", "d[0]", "d[1]")
    hardware = wires(*((f"{name}.gpu", "sw", 1e6, 0.0) for name in names), switches=["sw"])
    graph_ = chat("p", "d")
    graph_.graph["options"] = {"pairing": "local"}
    made = system(graph_, engines={"p": 2, "d": 2}, contention="none",
                  hardware=hosted(hardware, [f"{name}.gpu" for name in names]))  # fmt: skip
    assert refusal(with_pool(made, "d", autoscale=Spec("scale", {"min": 1}))) == [
        "HMS506: `autoscale = scale(min = 1)` of pool `d` with `pairing = local` cannot be "
        "executed yet"
    ]

"""A9: runs of decode steps as single events = one event per step, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
from hand_built import (
    MODEL,
    AffineCost,
    KneeCost,
    RankedCost,
    batch,
    chat,
    generate,
    reading,
    run,
    system,
    wires,
)
from hosts import classed, hosted, with_classes
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_texts import shared

from hermesdsl.graph.types import CompiledSystem, LlmModel, Spec
from hermesdsl.sim.order import ORDERS
from hermesdsl.sim.record import Run
from hermesdsl.sim.tokens import token_gaps

#: Binary fractions: sums of steps are exact, so arrivals at their multiples tie with step ends.
TICK = 1 / 1024

costs = st.sampled_from(
    [
        AffineCost(base=TICK),
        AffineCost(base=8 * TICK, per_token=TICK / 8, per_context=TICK / 256),
        AffineCost(base=0.009, per_token=5e-5, per_pair=1e-8, per_context=8e-7),
        KneeCost(base=2 * TICK, per_context=TICK / 64, knee=90.0),
        KneeCost(base=0.0071, per_token=1e-5, per_context=3.3e-6, knee=61.5, beyond=0.1),
    ]
)
policies = st.sampled_from(
    [
        Spec("continuous"),
        Spec("prefill_first"),
        Spec("mixed"),
        Spec("static", {"n": 3}),
        Spec("chunked", {"budget": 8}),
        Spec("chunked", {"budget": 24}),
        Spec("chunked", {"budget": 2048}),
    ]
)
routes = st.sampled_from(
    [
        Spec("round_robin"),
        Spec("jsq"),
        Spec("jsq", {"by": "tokens"}),
        Spec("random"),
        Spec("least_work"),
        Spec("oracle", {"staleness": 10 * TICK}),
        Spec("kv_free"),
        Spec("kv_free", {"staleness": 7 * TICK}),
        Spec("power_of_two"),
        Spec("prefix_affinity"),
        Spec("weighted", {"work": 1.0, "kv": 1.0, "staleness": 9e-4}),
    ]
)
#: (arrival in ticks, prompt, output): anything, or a crowd that runs out of KV.
offers = st.one_of(
    st.lists(
        st.tuples(st.integers(0, 80), st.integers(1, 30), st.integers(1, 40)),
        min_size=1,
        max_size=25,
    ),
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(10, 40)),
        min_size=8,
        max_size=20,
    ),
)


#: Host memories that KV is swapped to: slow or fast, plenty or for a few tokens of 1000 bytes.
hosts = st.fixed_dictionaries(
    {
        "capacity": st.sampled_from([1e9, 9e4]),
        "bandwidth": st.sampled_from([1e6, 1000.0 / TICK, 3.3e7]),
        "latency": st.sampled_from([0.0, TICK]),
    }
)


@st.composite
def settings_of_engines(draw: st.DrawFn) -> dict[str, Any]:
    batching = draw(policies)
    options: dict[str, Any] = {
        "batching": batching,
        "max_batch": draw(st.sampled_from([1, 2, 5, 256])),
        "block_size": draw(st.sampled_from([1, 4, 16])),
        "order": draw(st.sampled_from(["fcfs", *ORDERS])),
        "preemption": draw(st.sampled_from(["recompute", "swap"])),
        "prefix_cache": draw(st.booleans()),
    }
    if "budget" not in batching.args:
        options["max_tokens"] = draw(st.sampled_from([None, 16, 64]))
    return options


@st.composite
def on_links(draw: st.DrawFn, built: CompiledSystem) -> CompiledSystem:
    """The same with links shared or not; a token of KV takes a millionfold, as do the links.

    (Messages of a few kilobytes share nothing, whatever is asked for.)
    """
    if draw(st.booleans(), "contention = none"):
        main = replace(built.experiments["main"], contention="none")
        return replace(built, experiments={"main": main})
    narrow = draw(st.sampled_from([1.0, 1.0, 0.25]), "of the width")
    hub = {"left", "right", "cpu", "dram"}
    for _, data in built.placement.nodes(data=True):
        if "client" in data:
            client = data["client"]
            layers = max(draw(st.integers(1, 3)), client.model.full_layers)
            model = replace(client.model, kv_bytes_per_token=1e9, layers=layers)
            data["client"] = replace(client, model=model)
    for path, data in built.hardware.nodes(data=True):
        if path == "dram":
            data["part"] = replace(data["part"], capacity=data["part"].capacity * 1e6)
    for a, b, data in built.hardware.edges(data=True):
        data["bandwidth"] *= 1e6 * (narrow if {a, b} & hub == {a, b} else 1.0)
    return built


def windowed(layers: int, full: int, window: int) -> LlmModel:
    return replace(MODEL, layers=layers, full_layers=full, window=window)


#: All context in all layers, in none of them, or in some.
models = st.sampled_from([MODEL, windowed(1, 0, 9), windowed(1, 0, 32), windowed(3, 1, 16)])


def assert_same(one: Run, other: Run) -> None:
    for name in ("requests", "steps", "residences", "transfers", "in_system", "visits", "shown"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        for column in mine:
            np.testing.assert_array_equal(mine[column], theirs[column], err_msg=f"{name}.{column}")
    np.testing.assert_array_equal(one.gains, other.gains)
    assert one.engines == other.engines
    assert one.links == other.links
    assert one.counts == other.counts
    assert (one.makespan_s, one.end_s) == (other.makespan_s, other.end_s)


def both(built: Any, cost: Any, load: Any, seed: int = 1) -> Run:
    fast = run(built, cost, load, seed=seed)
    assert_same(fast, run(built, cost, load, seed=seed, reference=True))
    _, weights = token_gaps(fast)
    assert weights.sum() == np.maximum(fast.requests["generated"] - 1, 0).sum()
    return fast


@given(offers, costs, settings_of_engines(), routes, st.integers(1, 3), st.data())
@settings(max_examples=250, deadline=None)
def test_both_forms_agree(offer: Any, cost: Any, options: Any, route: Any, n: int, data: Any):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    tight = data.draw(st.sampled_from([40, 70, 72, 90, 120, 1 << 30]), "KV tokens")
    horizon = data.draw(st.sampled_from([{}, {"horizon": "cut", "duration": 60 * TICK}]))
    graph = data.draw(st.sampled_from([chat(), generate(), reading()]))
    hardware = hosted(nx.MultiDiGraph(), [f"llm[{i}].gpu" for i in range(n)], **data.draw(hosts))
    built = system(
        graph, engines={"llm": n}, route=route, options=options, hardware=hardware,
        model=data.draw(models), **horizon,
    )  # fmt: skip
    built = data.draw(on_links(built))
    cost = type(cost)(**{**vars(cost), "kv_tokens": tight})
    load = data.draw(shared(batch(np.array(arrival) * TICK, prompt, output), TICK), "load")
    klass = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
    both(with_classes(built), cost, classed(load, *klass))


@given(offers, costs, settings_of_engines(), st.integers(1, 2), st.integers(1, 3), st.data())
@settings(max_examples=150, deadline=None)
def test_both_forms_agree_when_prefill_and_decode_are_apart(
    offer: Any, cost: Any, options: Any, p: int, d: int, data: Any
):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    tight = data.draw(st.sampled_from([70, 72, 90, 120, 1 << 30]), "KV tokens")
    bandwidth = data.draw(st.sampled_from([1e6, 1000.0 / TICK]), "bytes per second")
    horizon = data.draw(st.sampled_from([{}, {"horizon": "cut", "duration": 60 * TICK}]))
    ends = [(f"p[{i}].gpu", "left", bandwidth, TICK) for i in range(p)]
    ends += [(f"d[{i}].gpu", "right", bandwidth, TICK) for i in range(d)]
    wired = wires(*ends, ("left", "right", bandwidth, 0.0), switches=["left", "right"])
    hardware = hosted(wired, [end for end, *_ in ends], **data.draw(hosts))
    graph = data.draw(st.sampled_from([chat("p", "d"), generate("d", prefill="p")]))
    graph.graph["options"] = {
        "transfer": data.draw(st.sampled_from(["full", "layerwise"])),
        "pairing": data.draw(st.sampled_from(["global", "local"])),
    }
    built = system(
        graph, engines={"p": p, "d": d}, options=options, hardware=hardware,
        model=data.draw(models), **horizon,
    )  # fmt: skip
    built = data.draw(on_links(built))
    cost = type(cost)(**{**vars(cost), "kv_tokens": tight})
    load = batch(np.array(arrival) * TICK, prompt, output)
    both(built, cost, data.draw(shared(load, TICK), "load"))


@given(offers, costs, settings_of_engines(), st.sampled_from([1, 1, 2, 3]), st.data())
@settings(max_examples=250, deadline=None)
def test_both_forms_agree_with_ranks_and_guesses(
    offer: Any, cost: Any, options: Any, dp: int, data: Any
):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    # No sequence is longer than 30 + 40 tokens: each fits a rank.
    tight = data.draw(st.sampled_from([80, 96, 130, 1 << 30]), "KV tokens of a rank")
    gamma = data.draw(st.integers(0, 5), "guesses")
    accept = data.draw(st.sampled_from([0.0, 0.3, 0.85, 1.0]) | st.floats(0, 1), "accept")
    drawn = {"sampled": data.draw(st.booleans(), "sampled")}
    guessing = {"speculate": Spec("mtp", {"depth": gamma, "accept": accept} | drawn)}
    horizon = data.draw(st.sampled_from([{}, {"horizon": "cut", "duration": 60 * TICK}]))
    apart = data.draw(st.booleans(), "prefill and decode apart")
    ends = [("p[0].gpu", "left", 1e6, TICK), ("d[0].gpu", "right", 1e6, TICK)]
    wired = wires(*ends, ("left", "right", 1e6, 0.0), switches=["left", "right"])
    hardware = hosted(wired, ["p[0].gpu", "d[0].gpu"], **data.draw(hosts))
    graph = data.draw(st.sampled_from([chat("d"), generate("d"), reading("d")]))
    built = system(
        chat("p", "d") if apart else graph, engines={"p": 1, "d": 1} if apart else {"d": 1},
        options=options | guessing, hardware=hardware, dp=dp, model=data.draw(models), **horizon,
    )  # fmt: skip
    ranked = RankedCost(
        dp * tight, cost.base, cost.per_token, cost.per_pair, cost.per_context,
        sum(accept**n for n in range(gamma + 1)),
    )  # fmt: skip
    load = data.draw(shared(batch(np.array(arrival) * TICK, prompt, output), TICK), "load")
    both(built, ranked, load)


def test_the_hard_cases_do_happen():
    """Tight KV preempts, and arrivals on step ends join the step that begins there."""
    options = {"batching": Spec("chunked", {"budget": 24}), "block_size": 4}
    built = system(chat(), options=options)
    cost = AffineCost(base=TICK, kv_tokens=70)
    load = batch(np.arange(20) * TICK, 12, 30)
    done = both(built, cost, load)
    assert done.engines[0].preemptions > 5
    assert done.engines[0].recomputed > 0
    started = done.requests["chat.prefill.start_s"][:2]
    np.testing.assert_array_equal(started, [0.0, TICK])


def test_many_arrivals_on_ties_with_two_engines_ending_at_once():
    options = {"batching": Spec("continuous"), "block_size": 4}
    built = system(chat(), engines={"llm": 2}, options=options)
    load = batch(np.repeat(np.arange(10) * 4 * TICK, 4), 5, 9)
    done = both(built, AffineCost(base=TICK), load)
    assert done.counts["completed"] == 40

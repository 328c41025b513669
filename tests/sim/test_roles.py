"""Role switching: decode clients read while too much waits to be read, and return."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, run, system, wires
from hosts import hosted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference import TICK, both, costs, offers, on_links, settings_of_engines

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.roles import Roles
from hermesdsl.sim.routing.load import ClientLoad

SECOND = AffineCost(base=1.0)
WHOLE = {"batching": Spec("continuous"), "block_size": 1, "max_tokens": 4}


def split(
    tokens: float, back: float = 0, *, p: int = 1, d: int = 2, options: Any = None, **pipeline: str
) -> Any:
    """p prefill and d decode clients; links of 4000 byte/s, 1000 byte per token, no latency."""
    ends = [(f"p[{i}].gpu", "sw", 4000.0, 0.0) for i in range(p)]
    ends += [(f"d[{i}].gpu", "sw", 4000.0, 0.0) for i in range(d)]
    graph = chat("p", "d")
    graph.graph["options"] = pipeline
    devices = [end for end, *_ in ends]
    wired = hosted(wires(*ends, switches=["sw"]), devices, bandwidth=9e6, latency=TICK)
    built = system(
        graph, engines={"p": p, "d": d}, options=options or WHOLE, hardware=wired,
    )  # fmt: skip
    pools = built.placement.graph["pools"]
    spec = Spec("threshold", {"tokens": tokens, "back": back})
    pools["d"] = replace(pools["d"], options={"convert": spec})
    return built


def test_a_decode_client_reads_above_the_threshold_and_returns():
    # Prompts of 4, one per step of a client. 4 pending are not more than 6; with the second, 8 are:
    # of d[0] and d[1], equals, the last is lent. Among p[0] and d[1] turns begin with p[0], which
    # reads 0-1 and 1-2; the third comes at 1.5 (4 + 4 pending, 12 are allowed) and d[1] reads it
    # 1.5-2.5. None is pending then: d[1] returns, and writes again when its KV has gone, at 3.5.
    # d[0] decodes 2-3, 3-4, and 4-5 what came at 3.5. The fourth finds all as at first.
    load = batch([0.0, 0.0, 1.5, 9.0], 4, 2)
    done = run(split(6), SECOND, load)
    assert done.requests["chat.prefill.client"].tolist() == [0, 0, 2, 0]
    assert done.requests["chat.decode.client"].tolist() == [1, 1, 1, 1]
    assert done.transfers["source"].tolist() == [0, 0, 2, 0]
    assert done.requests["finish_s"].tolist() == [3.0, 4.0, 5.0, 12.0]


def test_without_a_threshold_in_reach_nothing_changes():
    load = batch([0.0, 0.0, 0.1, 0.2], 4, 3)
    lending, plain = split(100), split(100)
    pools = plain.placement.graph["pools"]
    pools["d"] = replace(pools["d"], options={})
    one, other = run(lending, SECOND, load), run(plain, SECOND, load)
    for column in one.requests:
        np.testing.assert_array_equal(one.requests[column], other.requests[column])


def roles(tokens: float, back: float, readers: int = 1, writers: int = 3) -> Roles:
    class First:
        def __init__(self, clients: tuple[int, ...]) -> None:
            self.clients = clients

        def pick(self, request: int) -> int:
            return self.clients[-1]

    class Empty:
        waiting: tuple[int, ...] = ()

    clients = readers + writers
    return Roles(
        Spec("threshold", {"tokens": tokens, "back": back}),
        tuple(range(readers)), tuple(range(readers, clients)),
        make_reading=First, make_writing=First, prompts=[10] * 100,
        load=ClientLoad(clients), clients=[Empty()] * clients,
    )  # fmt: skip


def test_one_is_lent_per_prompt_and_one_always_writes():
    # Ten tokens each above 5 per reading client: the first prompt lends 3; 20 > 2·5 lends 2; then
    # client 1 is the last that writes.
    changing = roles(5, 0)
    assert [changing.pick(request) for request in range(4)] == [3, 2, 2, 2]
    assert changing.conversions == 2
    assert changing.writing.pick(0) == 1


def test_the_last_lent_returns_first_once_its_kv_has_gone():
    changing = roles(5, 0)
    for request in range(2):
        changing.pick(request)
    changing.read(0)
    assert changing.writing.pick(0) == 1, "ten are pending: above back"
    changing.read(1)
    assert changing.writing.pick(0) == 1, "its KV is still there"
    changing.moved(2)
    assert changing.writing.pick(0) == 2
    assert changing.pick(2) == 3, "the other is still lent"


@given(offers, costs, settings_of_engines(), st.integers(1, 2), st.integers(2, 3), st.data())
@settings(max_examples=150, deadline=None)
def test_both_forms_agree_when_roles_change(
    offer: Any, cost: Any, options: Any, p: int, d: int, data: Any
):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    built = split(
        data.draw(st.sampled_from([13, 20, 40])), data.draw(st.sampled_from([0, 12])), p=p, d=d,
        options=options, transfer=data.draw(st.sampled_from(["full", "layerwise"])),
    )  # fmt: skip
    built = data.draw(on_links(built))
    tight = data.draw(st.sampled_from([70, 72, 90, 120, 1 << 30]), "KV tokens")
    cost = type(cost)(**{**vars(cost), "kv_tokens": tight})
    both(built, cost, batch(np.array(arrival) * TICK, prompt, output))


def test_blocks_given_back_during_a_run_let_it_go_on():
    # d[2] is lent for the fifth prompt (30 tokens above 18 pending) and keeps its KV until 7685
    # ticks; at 7683 it begins to decode the third, with 70 - 2 · 30 = 10 blocks for 17 steps.
    # The KV leaves during the third step: all 17 are one run, as they are step by step.
    options = {"batching": Spec("continuous"), "max_batch": 2, "block_size": 1}
    built = split(40, d=3, options=options, transfer="layerwise")
    arrival, prompt = np.array([0, 0, 2, 3, 4, 5]) * TICK, [1, 25, 30, 12, 30, 3]
    load = batch(arrival, prompt, [2, 18, 18, 2, 18, 2])
    steps = both(built, AffineCost(base=TICK, kv_tokens=70), load).steps
    assert steps["steps"][steps["client"] == 3].tolist() == [1, 17]


def refusal(built: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        run(built, SECOND, batch([0.0]))
    return [f"{d.code}: {d.message}" for d in caught.value.diagnostics]


def test_what_cannot_be():
    spec = "`convert = threshold(tokens = 6, back = 9)` of pool `d`"
    assert refusal(split(6, 9)) == [f"HMS306: {spec} would return what it lends at once"]
    spec = "`convert = threshold(tokens = 6, back = 0)` of pool `d`"
    assert refusal(split(6, pairing="local")) == [
        f"HMS506: {spec} with `pairing = local` in pipeline `chat` cannot be executed yet"
    ]


def test_a_pool_to_which_nobody_hands_over():
    built = system(chat(), options=WHOLE)
    pools = built.placement.graph["pools"]
    spec = Spec("threshold", {"tokens": 6, "back": 0})
    pools["llm"] = replace(pools["llm"], options={"convert": spec})
    what = "`convert = threshold(tokens = 6, back = 0)` of pool `llm`"
    assert refusal(built) == [f"HMS505: {what} converts nothing: no pool hands over to it"]

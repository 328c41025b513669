"""What one step holds under each policy, by schedules worked out by hand; a step takes a second."""

from __future__ import annotations

from typing import Any

import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import AffineCost, batch, chat, reading, run, system

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.record import Run

SECOND = AffineCost(base=1.0)


def policy(name: str, **args: Any) -> dict[str, Any]:
    more = {key: args.pop(key) for key in ("max_tokens", "max_batch") if key in args}
    return {"batching": Spec(name, args), "block_size": 1, **more}


def finish(options: dict[str, Any], load: Any, cost: AffineCost = SECOND) -> list[float]:
    done: Run = run(system(chat(), options=options), cost, load)
    return done.requests["finish_s"].tolist()


def test_one_load_under_each_policy():
    # a (4 + 3 tokens) at 0, b (4 + 2) at 1.5.
    load = batch([0.0, 1.5], 4, [3, 2])
    # a alone until 3, then b reads 3-4 and decodes 4-5.
    assert finish(policy("static", n=2), load) == [3.0, 5.0]
    # b is read alone 2-3 while a stalls; both decode 3-4.
    assert finish(policy("continuous"), load) == [4.0, 4.0]
    assert finish(policy("prefill_first"), load) == [4.0, 4.0]
    # b is read beside a's last decode, 2-3.
    assert finish(policy("mixed"), load) == [3.0, 4.0]
    assert finish(policy("chunked", budget=8), load) == [3.0, 4.0]
    # Budget 3: a reads 0-1 (3), 1-2 (1), b from 2 on beside a's decodes: 2, 2; both end so.
    assert finish(policy("chunked", budget=3), load) == [4.0, 5.0]


def test_static_runs_a_set_to_its_end_before_the_next_begins():
    # a, b read 0-1; a has its 2 tokens at 2, b its 4 at 4; only then c reads 4-5.
    load = batch([0.0] * 3, 4, [2, 4, 1])
    assert finish(policy("static", n=2), load) == [2.0, 4.0, 5.0]
    # Iteration-level batching gives a's seat to c at 2, and b stalls for it: 5 instead of 4.
    assert finish(policy("continuous", max_batch=2), load) == [2.0, 5.0, 3.0]


def test_static_does_not_wait_for_a_full_set():
    assert finish(policy("static", n=8), batch([0.0, 0.5], 4, 2)) == [2.0, 4.0]


def test_static_takes_what_one_step_of_max_tokens_holds():
    # Prompts of 4 under max_tokens 9: two of the three.
    done = run(system(chat(), options=policy("static", n=8, max_tokens=9)), SECOND,
               batch([0.0] * 3, 4, 1))  # fmt: skip
    assert done.steps["prefill_tokens"].tolist() == [8, 4]


def test_a_preempted_sequence_goes_with_the_next_static_set():
    # Ten blocks of one token: b is given up at 3 with 3 + 3 tokens to read, c comes at 3.5. a ends
    # at 5; b, first in the queue, reads 5-6 (c's 3 and b's 6 fit), all end by 7.
    load = batch([0.0, 0.0, 3.5], 3, [5, 5, 1])
    cost = AffineCost(base=1.0, kv_tokens=10)
    assert finish(policy("static", n=8), load, cost) == [5.0, 7.0, 6.0]


def test_mixed_never_cuts_a_prompt():
    # a decodes from 1 on; b's five tokens are read at once, above the three that max_tokens says.
    load = batch([0.0, 1.0], [3, 5], [3, 1])
    done = run(system(chat(), options=policy("mixed", max_tokens=3)), SECOND, load)
    assert done.steps["tokens"].tolist() == [3, 6, 1]
    assert done.requests["finish_s"].tolist() == [3.0, 2.0]


def test_mixed_takes_prompts_in_order_while_they_fit_beside_the_decodes():
    # At 1: one decode and five tokens of room. b's 3 fit, c's 3 do not, and d's 1 does not pass c.
    load = batch([0.0, 1.0, 1.0, 1.0], [3, 3, 3, 1], [9, 1, 1, 1])
    done = run(system(chat(), options=policy("mixed", max_tokens=6)), SECOND, load)
    assert done.steps["tokens"].tolist()[:3] == [3, 4, 5]
    assert done.requests["first_token_s"].tolist() == [1.0, 2.0, 3.0, 3.0]


def test_decodes_that_fill_max_tokens_keep_prompts_waiting_in_mixed():
    # Two decodes are all that a step of 2 tokens holds: c is read when they end, at 3.
    load = batch([0.0, 0.0, 1.5], 1, [3, 3, 1])
    done = run(system(chat(), options=policy("mixed", max_tokens=2)), SECOND, load)
    assert done.requests["first_token_s"].tolist() == [1.0, 1.0, 4.0]


def test_prefill_only_clients_batch_under_every_policy():
    for name in ("static", "continuous", "mixed", "chunked"):
        done = run(system(reading(), options=policy(name)), SECOND, batch([0.0, 0.0], 4))
        assert done.requests["finish_s"].tolist() == [1.0, 1.0], name


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        ("static(0)", "HMS306: 0 is out of range: it must be at least 1"),
        ("mixed(512 tok)", "HMS305: too many arguments for `mixed`"),
        ("statik(4)", "HMS305: unknown batching setting `statik`"),
    ],
)
def test_settings_that_make_no_sense(batching: str, message: str):
    text = (
        "from std.nvidia.hopper import DGX_H100\nfrom std.models.llama import Llama3_1_8B\n"
        f"box: DGX_H100\nllm: LlmEngine on box.gpu[0] {{ model = Llama3_1_8B; "
        f"batching = {batching} }}\n"
    )
    with pytest.raises(SpecError) as caught:
        hermesdsl.compile(text)
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [message]


@pytest.mark.parametrize("batching", [Spec("static", {"n": 1}), Spec("continuous"), Spec("mixed")])
def test_who_waits_with_kv_goes_on_when_the_last_to_decode_has_given_way(batching: Spec):
    # 20 blocks of one token. Both answer with 2 tokens (KV of 7), then with 8 more after a tool.
    # The first to come back runs until its 13 and the other's 7 fill the memory, and gives way.
    made = graph(
        "w",
        [stage("a", "Generate", "llm", tokens=2), stage("t", "Tool", "work", service=3.0),
         stage("b", "Decode", "llm", tokens=8)],
        ("input", "a", "t", "b", "output"),
    )  # fmt: skip
    engine = {"batching": batching, "max_batch": 1, "block_size": 1}
    placement = clients(llm=("LlmEngine", 1, engine), work=("WorkerPool", 1, {"workers": 2}))
    cost = AffineCost(base=1.0, kv_tokens=20)
    done = simulated(site(made, placement), cost, batch([0.0, 0.0], 6))
    # Read 0-1, 2-3; decoded 1-2, 3-4; back at 5 and 7. From 5 on the first decodes 6 tokens and
    # gives way at 11; the other decodes 11-19; then the first reads 14 and decodes one more.
    assert done.engines[0].preemptions == 1
    assert done.requests["finish_s"].tolist() == [21.0, 19.0]

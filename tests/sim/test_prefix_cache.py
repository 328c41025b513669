"""``prefix_cache = true``: what is found, what that saves, what leaves; all worked out by hand."""

from __future__ import annotations

from array import array
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import TICK, clients, graph, simulated, site, stage
from hand_built import AffineCost, batch, chat, reading, run, system, wires
from hosts import hosted
from shared_texts import with_blocks, with_prefixes, with_sessions

import hermesdsl
from hermesdsl.graph.types import Client, Spec
from hermesdsl.sim.conservation import ConservationError
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.identity import Identities
from hermesdsl.sim.interpreter import Interpreter
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.kv import KnownBlocks
from hermesdsl.sim.load import merge
from hermesdsl.sim.record import REFUSED, Recorder

#: Every step takes a second, and a second per 1000 tokens and per million pairs.
COST = AffineCost(base=1.0, per_token=1e-3, per_pair=1e-6)


def caching(**more: Any) -> dict[str, Any]:
    return {"batching": Spec("chunked", {"budget": 2048}), "prefix_cache": True, **more}


def cached(done: Any) -> list[int]:
    found: list[int] = done.requests["cached_tokens"].tolist()
    return found


def test_a_second_turn_reads_what_is_not_in_full_blocks_of_the_first():
    # The first leaves KV of 40 + 10 - 1 = 49 tokens, three full blocks of 16. The second has a
    # context of 50 + 30 = 80: it reads 80 - 48 = 32 tokens after 48 that are there.
    load = with_sessions(batch([0.0, 0.0], [40, 30], [10, 5]), 2, delay=3.0)
    done = run(system(chat(), options=caching()), COST, load)
    assert done.requests["context_tokens"].tolist() == [40, 80]
    assert cached(done) == [0, 48]
    ttft = done.requests["first_token_s"] - done.requests["arrival_s"]
    assert ttft[1] == pytest.approx(1 + 32e-3 + (32 * 48 + 32 * 33 / 2) * 1e-6, abs=1e-12)
    engine = done.engines[0]
    assert (engine.asked, engine.hits) == (40 + 80, 48)
    assert done.steps["prefill_tokens"].sum() == 40 + 32


def test_without_it_the_second_turn_reads_everything():
    load = with_sessions(batch([0.0, 0.0], [40, 30], [10, 5]), 2, delay=3.0)
    done = run(system(chat()), COST, load)
    assert cached(done) == [0, 0]
    assert done.steps["prefill_tokens"].sum() == 40 + 80
    assert (done.engines[0].asked, done.engines[0].hits) == (0, 0)


def test_a_shared_system_prompt_is_read_once():
    # 64 + 10 tokens: four full blocks are the prefix, 10 tokens are each request's own.
    load = with_prefixes(batch([0.0, 5.0, 10.0], 10), 64, 1)
    done = run(system(reading(), options=caching()), COST, load)
    assert cached(done) == [0, 64, 64]
    assert done.steps["prefill_tokens"].tolist() == [74, 10, 10]


def test_a_prefix_that_ends_within_a_block_is_shared_up_to_that_block():
    load = with_prefixes(batch([0.0, 5.0], 100), 40, 1)
    assert cached(run(system(reading(), options=caching()), COST, load)) == [0, 32]


def test_the_last_token_of_a_prompt_is_always_computed():
    # Both blocks of the second prompt are known; without its last token there is no next one.
    load = with_blocks(batch([0.0, 5.0], 32), 16, 2)
    done = run(system(reading(), options=caching()), COST, load)
    assert cached(done) == [0, 16]


def test_what_is_read_in_one_step_is_read_twice_but_kept_once():
    # Two requests read the prefix of 64 together; from then on one copy lies there, besides two
    # blocks of each own text (64 + 17 tokens and one decoded).
    load = with_prefixes(batch([0.0, 0.0], 17, 2), 64, 1)
    done = run(system(chat(), options=caching()), COST, load)
    assert cached(done) == [0, 0]
    assert done.steps["prefill_tokens"].tolist()[0] == 2 * 81
    assert done.steps["kv_blocks"].tolist() == [12, 4 + 2 + 2]


def test_requests_of_their_own_share_nothing():
    done = run(system(reading(), options=caching()), COST, batch([0.0, 5.0], 100))
    assert cached(done) == [0, 0]
    assert done.engines[0].asked == 200


def test_ids_of_a_trace_tell_what_is_shared():
    # Blocks of 32 recorded tokens are two of 16; the first two of them are common.
    load = with_blocks(batch([0.0, 5.0], 100), 32, 2)
    assert cached(run(system(reading(), options=caching()), COST, load)) == [0, 64]


def test_recorded_blocks_that_do_not_fit_the_engines_tell_nothing():
    load = with_blocks(batch([0.0, 5.0], 100), 24, 2)
    assert cached(run(system(reading(), options=caching()), COST, load)) == [0, 0]


def four_texts(order: list[int], kv_tokens: int) -> list[int]:
    """Cached tokens of prompts of 8 + 1 tokens, each text named; blocks of 4."""
    load = with_prefixes(batch(5.0 * np.arange(len(order)), 1), 8, 1)
    load.prefix[:] = order
    cost = AffineCost(base=1.0, kv_tokens=kv_tokens)
    return cached(run(system(reading(), options=caching(block_size=4)), cost, load))


def test_the_block_let_go_longest_ago_leaves_first_and_the_deepest_of_a_text():
    # Six blocks, three for a text that is read, of which two stay. Reading text 2 takes the second
    # block of text 0; reading text 3 its first and the second of text 1, whose first stays.
    assert four_texts([0, 1, 2, 3, 1], 24) == [0, 0, 0, 0, 4]
    assert four_texts([0, 1, 2, 3, 0], 24) == [0, 0, 0, 0, 0]
    assert four_texts([0, 1, 2, 3, 2], 24) == [0, 0, 0, 0, 8]


def test_use_keeps_a_text_from_leaving():
    # Seven blocks: three texts leave one free. Text 3 takes two others: those of text 0, unless
    # that was used after text 1.
    assert four_texts([0, 1, 2, 3, 0], 28) == [0, 0, 0, 0, 0]
    assert four_texts([0, 1, 2, 3, 1], 28) == [0, 0, 0, 0, 8]
    assert four_texts([0, 1, 2, 0, 3, 0], 28) == [0, 0, 0, 8, 0, 8]
    assert four_texts([0, 1, 2, 0, 3, 1], 28) == [0, 0, 0, 8, 0, 0]


def test_cached_blocks_leave_before_anybody_is_preempted():
    # Eight blocks of 4. The first leaves seven known ones (15 + 16 - 1 = 30 tokens); the second
    # needs all eight in the end.
    cost = AffineCost(base=1.0, kv_tokens=32)
    done = run(
        system(chat(), options=caching(block_size=4)), cost, batch([0.0, 50.0], [15, 15], [16, 18])
    )
    assert done.engines[0].preemptions == 0
    assert done.counts["completed"] == 2


def test_a_prompt_longer_than_the_pool_is_refused_though_it_is_cached():
    cost = AffineCost(base=1.0, kv_tokens=64)
    load = with_sessions(batch([0.0, 0.0], [40, 30], [5, 5]), 2)
    done = run(system(chat(), options=caching()), cost, load)
    assert done.requests["status"].tolist()[1] == REFUSED
    assert done.reasons[done.requests["reason"][1]] == "needs more KV than the client has"


def test_what_was_preempted_finds_its_own_blocks_again():
    # Ten blocks of one token; see `test_engine`: at 3 the second gives up its 5 blocks, and will
    # have 6 tokens to read. The first takes two of them by its end at 5: three are found again.
    cost = AffineCost(base=1.0, kv_tokens=10)
    options = caching(block_size=1)
    done = run(system(chat(), options=options), cost, batch([0.0, 0.0], 3, 5))
    engine = done.engines[0]
    assert engine.preemptions == 1
    assert (engine.recomputed, engine.hits) == (6 - 3, 0)
    assert cached(done) == [0, 0]


def test_prefill_clients_find_prompts_and_still_move_all_of_the_kv():
    hardware = wires(("p[0].gpu", "d[0].gpu", 1e6, 0.0))
    built = system(
        chat("p", "d"), engines={"p": 1, "d": 1}, options=caching(), hardware=hardware,
        contention="none",
    )  # fmt: skip
    load = with_prefixes(batch([0.0, 9.0], 10, 4), 64, 1)
    done = run(built, COST, load)
    assert cached(done) == [0, 64]
    assert done.transfers["bytes"].tolist() == [74_000, 74_000]
    assert [(engine.asked, engine.hits) for engine in done.engines] == [(148, 64), (0, 0)]


def replicas(count: int, join: Spec = Spec("all"), **more: Any) -> Any:  # noqa: B008
    inner = graph("w.p[0]", [stage("w.p[0].g", "Generate", "llm")],
                  ("input", "w.p[0].g", "output"))  # fmt: skip
    made = graph("w", [stage("w.p", "Sub", inner=inner, replicas=count, join=join)],
                 ("input", "w.p", "output"))  # fmt: skip
    return site(made, clients(llm=("LlmEngine", 1, caching(**more))))


def test_replicas_share_the_prompt_and_not_what_they_write():
    # One after the other: the second and third find the 40 tokens of prompt but for the last 8.
    # Of the text that the others wrote (40 + 30 tokens: two more blocks) they find nothing.
    done = simulated(replicas(3, max_batch=1), COST, batch([0.0], 40, 30))
    assert cached(done) == [64]
    assert done.steps["prefill_tokens"].sum() == 40 + 8 + 8


def test_the_next_turn_finds_what_the_winner_wrote():
    # 40 tokens of prompt and 30 of the best of two answers leave KV of 69, four full blocks; the
    # next turn reads 70 + 30 - 64 in its first replica, and 4 of its last block in the second.
    load = with_sessions(batch([0.0, 0.0], [40, 30], [30, 1]), 2, delay=3.0)
    done = simulated(replicas(2, Spec("best", {"k": 1}), max_batch=1), COST, load)
    assert cached(done) == [32, 64 + 96]
    read = done.steps["prefill_tokens"]
    assert read[read > 0].tolist() == [40, 8, 36, 4]


def test_a_text_that_was_cut_is_not_found_as_what_it_was():
    # 40 tokens of prompt and 24 of an answer, cut to 40; then 24 others. A later prompt of the
    # session knows the first two blocks, and those as they are now.
    made = graph(
        "w",
        [stage("a", "Generate", "llm"), stage("t", "Truncate", "work", length=40, service=TICK),
         stage("b", "Generate", "llm")],
        ("input", "a", "t", "b", "output"),
    )  # fmt: skip
    placement = clients(llm=("LlmEngine", 1, caching()), work=("WorkerPool", 1, {}))
    load = with_sessions(batch([0.0, 0.0], [40, 30], [24, 1]), 2, delay=3.0)
    done = simulated(site(made, placement), COST, load)
    # b finds two blocks of the 40; the next turn has 64 + 30 tokens, of which b left 63 in KV.
    assert cached(done) == [32, 48 + 32]


def test_checks_that_read_a_text_of_their_own_take_no_part():
    made = graph("w", [stage("s", "Score", "llm"), stage("g", "Generate", "llm")],
                 ("input", "s", "g", "output"))  # fmt: skip
    done = simulated(site(made, clients(llm=("LlmEngine", 1, caching()))), COST, batch([0.0], 64))
    assert cached(done) == [0]
    assert done.engines[0].asked == 64


class Listening(Interpreter):
    """Notes what engines let go of."""

    heard: list[tuple[int, int, str, float]] = []  # noqa: RUF012

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        type(self).heard = []
        self.released = lambda request, tokens, engine, now: self.heard.append(
            (request, tokens, engine.path, now)
        )


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("hermesdsl.sim.run.Interpreter", Listening)
    return lambda: Listening.heard


def test_kv_that_is_let_go_is_told_once(heard: Any):
    done = run(system(chat()), AffineCost(base=1.0), batch([0.0, 10.0], 5, [3, 1]))
    assert done.counts["completed"] == 2
    # The last token of an answer has no KV.
    assert heard() == [(0, 7, "llm[0]", 3.0), (1, 5, "llm[0]", 11.0)]


def test_kv_that_moves_is_told_of_at_both_ends(heard: Any):
    hardware = wires(("p[0].gpu", "d[0].gpu", 5e3, 0.0))
    built = system(chat("p", "d"), engines={"p": 1, "d": 1}, hardware=hardware, contention="none")
    run(built, AffineCost(base=1.0), batch([0.0], 5, 3))
    # Read 0-1, moved 1-2 (5 tokens of 1000 bytes), decoded 2-4.
    assert heard() == [(0, 5, "p[0]", 2.0), (0, 7, "d[0]", 4.0)]


def test_branches_tell_only_of_the_requests_own_text(heard: Any):
    simulated(replicas(2), AffineCost(base=1.0), batch([0.0], 5, 3))
    assert [(request, tokens) for request, tokens, *_ in heard()] == [(0, 5), (0, 5)]


def test_kept_kv_is_told_of_when_no_branch_needs_it_any_more(heard: Any):
    made = graph(
        "w",
        [stage("p", "Prefill", "llm"), stage("a", "Decode", "llm"),
         stage("b", "Decode", "llm", tokens=9), stage("z", "Tool", "work", service=TICK)],
        ("input", "p", ("a", "b"), "z", "output"),
    )  # fmt: skip
    built = site(made, clients(llm=("LlmEngine", 1, {}), work=("WorkerPool", 1, {})))
    simulated(built, AffineCost(base=1.0), batch([0.0], 5, 3))
    assert heard() == [(0, 5, "llm[0]", 9.0)]


def test_refused_and_cancelled_kv_is_not_told_of(heard: Any):
    made = graph(
        "w",
        [stage("p", "Prefill", "llm"), stage("t", "Tool", "work", service=TICK),
         stage("d", "Decode", "llm")],
        ("input", "p", "t", "d", "output"),
    )  # fmt: skip
    cost = AffineCost(base=1.0, kv_tokens=16)
    built = site(made, clients(llm=("LlmEngine", 1, {}), work=("WorkerPool", 1, {})))
    done = simulated(built, cost, batch([0.0], 16, 30))
    assert done.counts["refused"] == 1
    assert heard() == []


def test_uses_that_nobody_has_are_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(KnownBlocks, "let_go", lambda self, blocks: 0)
    with pytest.raises(ConservationError, match="counts 2 uses of known KV blocks"):
        run(system(reading(), options=caching()), COST, batch([0.0], 40))


def test_known_blocks_by_hand():
    known = KnownBlocks()
    assert known.adopt([1, 2, 3]) == 0
    assert known.match([1, 2, 9], 0, 3) == 2
    assert known.use([1, 2]) == 0
    assert known.let_go([1, 2, 3]) == 1  # 1 and 2 are still used
    assert known.let_go([1, 2]) == 2
    assert list(known.idle) == [3, 2, 1]
    known.trim(2)
    assert list(known.idle) == [2, 1]
    assert known.use([1]) == 1
    assert known.adopt([2]) == 0  # an unused copy makes way for the new one
    assert known.adopt([1]) == 1  # a used one is used by both
    assert (known.users, known.idle) == ({1: 2, 2: 1}, {})
    with pytest.raises(KeyError):
        known.let_go([7])


SESSIONS = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
gpu: H100
llm: LlmEngine on gpu { model = Llama3_1_8B; prefix_cache = true }
chat: Chat { llm = llm }
workload talk {
    pipeline = chat
    arrivals = constant(6 req/min)
    prompt = 100 tok; output = 50 tok
    turns = 3; think_time = 1 s
    prefix = reuse(length = 500 tok, over = zipf(1, s = 1.0))
}
experiment talks { workload = [talk]; duration = 30 s }
"""


def test_sessions_behind_one_system_prompt_written_as_a_program():
    # Full blocks of 16 of: the prefix of 500; 600 + 49 tokens after a turn; 750 + 49 after two.
    done = hermesdsl.run(hermesdsl.compile(SESSIONS))
    turns = done.requests["cached_tokens"].to_numpy().reshape(3, 3)
    assert turns.tolist() == [[0, 640, 784], [496, 640, 784], [496, 640, 784]]


def engine_after(monkeypatch: pytest.MonkeyPatch, load: Any, options: dict[str, Any]) -> Engine:
    """The engine as it is when the run is over."""
    found: list[Engine] = []
    monkeypatch.setattr(
        "hermesdsl.sim.run.conservation.check", lambda run, engines, recorder: found.extend(engines)
    )
    run(system(chat(), options=options), COST, load)
    return found[0]


def test_what_a_router_can_ask(monkeypatch: pytest.MonkeyPatch):
    # 40 tokens of prompt and 9 of the answer: three full blocks, of a text of six.
    load = batch([0.0], 40, 10)
    text = Identities(merge([load], None)).chain(0, 100, 16)
    engine = engine_after(monkeypatch, load, caching())
    assert engine.reusable(text) == engine.reusable(text) == 48
    assert engine.reusable(text[:2]) == 32
    assert engine.reusable([]) == 0
    assert engine.reusable(text[3:]) == 0
    assert (engine.kv.used, len(engine.kv.known.idle)) == (0, 3)


def test_without_a_prefix_cache_nothing_is_reusable(monkeypatch: pytest.MonkeyPatch):
    load = batch([0.0], 40, 10)
    text = Identities(merge([load], None)).chain(0, 100, 16)
    engine = engine_after(monkeypatch, load, {})
    assert engine.reusable(text) == 0
    assert not engine.kv.known.idle


@pytest.mark.parametrize(("room", "blocks"), [(None, 10), (64, 4), (0, 0)])
def test_memory_that_something_else_takes_is_not_for_kv(room: int | None, blocks: int):
    client = Client("e", "LlmEngine", None, None, None, options={})
    engine = Engine(
        0, client, AffineCost(kv_tokens=160), Kernel(), Recorder(array("d")),
        rank=lambda _: (), reading=lambda *_: None, leave=lambda *_: None, fetch=lambda *_: None,
        kv_tokens=room,
    )  # fmt: skip
    assert engine.kv.capacity == blocks


def test_swapped_kv_comes_back_and_is_known_again():
    # As in `test_swap`: the second's KV is copied out. What it left behind is known, and so is the
    # copy when it has come back.
    hardware = hosted(nx.MultiDiGraph(), ["llm[0].gpu"], capacity=1e9, bandwidth=1e3, latency=0.0)
    options = caching(block_size=1, preemption="swap")
    built = system(chat(), options=options, hardware=hardware, contention="none")
    done = run(built, AffineCost(base=1.0, kv_tokens=10), batch([0.0, 0.0], 3, 5))
    engine = done.engines[0]
    assert (engine.preemptions, engine.swapped, engine.recomputed) == (1, 5, 0)
    assert done.counts["completed"] == 2

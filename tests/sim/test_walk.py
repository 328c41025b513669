"""Branches, forks, replicas, repetition and the request ledger, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import Branch, clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch

from hermesdsl.graph.types import Guard, Spec

ENGINE = {"batching": Spec("chunked", {"budget": 999}), "block_size": 4}
SECOND = AffineCost(base=1.0)


def work(made: nx.DiGraph, load: Any, cost: Any = SECOND, **more: Any):
    placement = clients(
        llm=("LlmEngine", 1, ENGINE),
        big=("LlmEngine", 1, ENGINE | {"model": replace(MODEL, name="big")}),
        two=("LlmEngine", 2, ENGINE), tool=("WorkerPool", 1, {"workers": 9}),
        shards=("WorkerPool", 3, {"workers": 1}),
    )  # fmt: skip
    return simulated(site(made, placement), cost, load, **more)


def seen(done: Any, *names: str) -> list[float]:
    return [done.requests[name][0] for name in names]


def tool(path: str, seconds: Any, **more: Any):
    return stage(path, "Tool", "tool", service=seconds, **more)


def fixed(value: float) -> Spec:
    return Spec("fixed", {"value": value})


# --- branches ------------------------------------------------------------------------------


def test_conditions_come_first_then_shares_of_what_is_left():
    long = Guard(">", ("prompt", 100.0))
    made = graph(
        "w", [tool("w.a", 0.0), tool("w.b", 1.0), tool("w.c", 2.0), tool("w.d", 3.0)],
        Branch("w.a", [(long, "w.b"), (0.25, "w.c"), (None, "w.d")]),
        ("input", "w.a"), (("w.b", "w.c", "w.d"), "output"),
    )  # fmt: skip
    n = 20_000
    load = batch(np.arange(n) * 1.0, np.where(np.arange(n) % 2, 101, 100))
    taken = np.round(work(made, load).requests["finish_s"] - np.arange(n))
    assert (taken[1::2] == 1).all()
    assert set(taken[::2]) == {2.0, 3.0}
    # Binomial(10000, 1/4): standard deviation 43.
    assert abs((taken == 2).sum() - 2500) < 4 * 43.3


def test_verdicts_and_classes_decide():
    judge = stage("w.j", "Score", "tool", service=1.0, **{"pass": 0.5})
    made = graph(
        "w", [judge, tool("w.b", 5.0)],
        Branch("w.j", [(Guard("==", ("verdict", "=fail")), "refused"), (None, "w.b")]),
        ("input", "w.j"), ("w.b", "output"),
    )  # fmt: skip
    done = work(made, batch(np.arange(4000.0)))
    # Binomial(4000, 1/2): standard deviation 32.
    assert abs(done.counts["refused"] - 2000) < 4 * 31.7
    refused = done.requests["status"] == 2
    assert {done.reasons[r] for r in done.requests["reason"][refused]} == {
        "refused by its pipeline"
    }


def test_a_share_takes_the_same_requests_whatever_else_there_is():
    def share(*more: str) -> np.ndarray:
        made = graph(
            "w", [tool("w.a", 0.0), tool("w.b", 1.0), *(tool(path, 0.0) for path in more)],
            Branch("w.a", [(0.5, "w.b"), (None, "output")]),
            ("input", *more, "w.a"), ("w.b", "output"),
        )  # fmt: skip
        return work(made, batch(np.arange(500.0))).requests["w.b.passes"]

    np.testing.assert_array_equal(share(), share("w.x", "w.y"))


# --- forks, joins, replicas ----------------------------------------------------------------


def test_a_fork_waits_for_all_and_adds_up_what_they_appended():
    made = graph(
        "w",
        [tool("w.a", 1.0), tool("w.b", 2.0, appends=10), tool("w.c", 5.0, appends=20),
         stage("w.g", "Prefill", "llm")],
        ("input", "w.a", ("w.b", "w.c"), "w.g", "output"),
    )  # fmt: skip
    done = work(made, batch([0.0], 7))
    # 1, then 5 s for the slower; 7 + 10 + 20 tokens are read.
    assert seen(done, "w.g.enter_s", "finish_s") == [6.0, 7.0]
    assert done.steps["prefill_tokens"].tolist() == [37]
    critical = dict(zip(done.visits["stage"].tolist(), done.visits["critical"], strict=True))
    assert critical[done.stages.index("w.b")] == 0
    assert critical[done.stages.index("w.c")] == 1


def test_replicas_on_each_member_bring_their_candidates_together():
    search = stage("w.s", "Retrieve", "shards", service=2.0, replicas=3, spread="each", top_k=20)
    rank = stage("w.r", "Rerank", "tool", service=1.0, keep=8, chunk=100)
    made = graph("w", [search, rank, stage("w.g", "Prefill", "llm")],
                 ("input", "w.s", "w.r", "w.g", "output"))  # fmt: skip
    done = work(made, batch([0.0], 50))
    assert sorted(done.clients[c] for c in done.services["client"][:3]) == [
        "shards[0]", "shards[1]", "shards[2]",
    ]  # fmt: skip
    # All at once; of 60 candidates 8 are kept, with 100 tokens each.
    assert seen(done, "w.r.enter_s", "finish_s") == [2.0, 4.0]
    assert done.steps["prefill_tokens"].tolist() == [850]


def replicas(join: Spec, n: int = 4) -> Any:
    draws = Spec("uniform", {"low": 1.0, "high": 9.0})
    return work(
        graph("w", [tool("w.t", draws, replicas=n, join=join)], ("input", "w.t", "output")),
        batch(np.arange(200) * 100.0),
    )


@pytest.mark.parametrize(
    ("join", "place"),
    [(Spec("all"), 3), (Spec("first", {"k": 1, "which": "any"}), 0),
     (Spec("first", {"k": 3, "which": "any"}), 2), (Spec("best", {"k": 1}), 3),
     (Spec("majority"), 2)],
)  # fmt: skip
def test_when_replicas_are_done(join: Spec, place: int):
    all_ = replicas(Spec("all"))
    order = np.sort(all_.visits["end_s"].reshape(200, 4), axis=1)
    np.testing.assert_array_equal(replicas(join).requests["finish_s"], order[:, place])


def tries(join: Spec, passing: float, tokens: Any = 8) -> nx.DiGraph:
    inner = graph(
        "w.t[0]",
        [stage("w.t[0].think", "Decode", "llm", tokens=tokens),
         stage("w.t[0].check", "Score", "tool", service=0.25, **{"pass": passing})],
        ("input", "w.t[0].think", "w.t[0].check", "output"),
    )  # fmt: skip
    return graph(
        "w", [stage("w.read", "Prefill", "llm"), stage("w.t", "Try", inner=inner, replicas=3,
                                                       join=join),
              stage("w.answer", "Generate", "llm")],
        ("input", "w.read", "w.t", "w.answer", "output"),
    )  # fmt: skip


def test_branches_share_the_prompts_blocks_and_copy_only_the_last():
    # 10 tokens: blocks of 4, the last half full: 3 for the prompt, 1 more for each of the three.
    done = work(tries(Spec("all"), 1.0, fixed(3)), batch([0.0], 10, 2))
    assert done.steps["kv_blocks"][1] == 3 + 3
    # Read at 1; each has its first token then, the two others at 2 and 3; checked at 3.25.
    assert seen(done, "w.t[0].think.end_s", "w.answer.enter_s") == [3.0, 3.25]
    # The answer reads what the two others wrote: 2 · 3, and the last token of the first.
    assert done.steps["prefill_tokens"].tolist() == [10, 0, 7, 0]
    assert seen(done, "generated", "visible") == [3 * 3 + 2, 2]


def test_the_first_to_pass_wins_and_the_others_leave_at_the_next_step():
    lengths = Spec(
        "formula", {"op": "*", "operands": (1.0, Spec("uniform", {"low": 2, "high": 60}))}
    )
    done = work(tries(Spec("first", {"k": 1, "which": "pass"}), 1.0, lengths), batch([0.0], 10, 2))
    ended = done.requests["w.t[0].check.end_s"][0]
    rows = done.steps
    # The losers decode until the end of the step in which the winner passed, then it alone.
    within = np.flatnonzero(rows["start_s"] > ended)
    assert (rows["batch"][within] <= 1).all()
    assert rows["batch"][1] == 3
    assert seen(done, "visible") == [2]
    assert done.requests["generated"][0] > 2


def test_the_losers_blocks_are_free_from_the_next_step_on():
    lengths = Spec("uniform", {"low": 2, "high": 60})
    done = work(tries(Spec("first", {"k": 1, "which": "pass"}), 1.0, lengths), batch([0.0], 10, 2))
    # The prompt's step brings the first token at 1 s, so an answer of n tokens is there at n s.
    (n,) = seen(done, "w.t[0].think.end_s")
    # Passed at n + 0.25: the losers' step runs to n + 1, and the next two have the answer alone: it
    # has KV of 10 + n - 1 tokens, and adds the last of them and its own first. Below lie the
    # prompt's blocks, the last of which is filled in part and was copied.
    rows = done.steps
    (place,) = np.flatnonzero(rows["start_s"] == n + 1)
    assert (rows["steps"][place], rows["batch"][place]) == (2, 1)
    assert rows["kv_blocks"][place] == -(-(10 + n + 1) // 4) + 1
    assert rows["kv_blocks"][place - 1] > rows["kv_blocks"][place]
    assert rows["batch"][place - 1] == 2


def test_nothing_passes_so_the_best_score_goes_on():
    done = work(tries(Spec("first", {"k": 1, "which": "pass"}), 0.0, fixed(3)), batch([0.0], 10, 2))
    # All three come back at 3.25; the answer goes on from one of them without reading anything.
    assert done.steps["prefill_tokens"].tolist().count(0) == len(done.steps["steps"]) - 1
    assert seen(done, "first_token_s", "last_token_s", "finish_s") == [4.25, 5.25, 5.25]


@pytest.mark.parametrize(
    ("join", "texts"), [(Spec("all"), 3), (Spec("best", {"k": 1}), 1), (Spec("majority"), 1)]
)
def test_only_the_texts_that_are_kept_are_shown(join: Spec, texts: int):
    made = tries(join, 1.0, fixed(3))
    made.remove_node("w.answer")
    made.add_edge("w.t", "output")
    done = work(made, batch([0.0], 10, 2))
    # All three write three tokens by 3 s and are checked by 3.25 s.
    assert seen(done, "generated", "visible", "finish_s") == [9, 3 * texts, 3.25]


# --- repetition ----------------------------------------------------------------------------


def test_a_fixed_number_of_times():
    made = graph(
        "w", [tool("w.t", 2.0, repeat=Spec("times", {"n": 3}))], ("input", "w.t", "output")
    )
    done = work(made, batch([0.0]))
    assert seen(done, "finish_s", "w.t.passes", "w.t.enter_s") == [6.0, 3, 4.0]
    assert done.visits["pass"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("repeat", "mean"),
    [
        # (1 - (1 - 1/4)^10) · 4, as for `geometric` of lengths.
        (Spec("geometric", {"mean": 4, "max": 10}), (1 - 0.75**10) * 4),
        # 1 + p + p²: at most three times.
        (Spec("while", {"p": 0.35, "max": 3}), 1 + 0.35 + 0.35**2),
    ],
)
def test_a_random_number_of_times(repeat: Spec, mean: float):
    made = graph("w", [tool("w.t", 1.0, repeat=repeat)], ("input", "w.t", "output"))
    passes = work(made, batch(np.arange(20_000.0))).requests["w.t.passes"]
    assert abs(passes.mean() - mean) < 4 * passes.std() / np.sqrt(20_000)


# --- KV and the ledger ---------------------------------------------------------------------


def test_an_agents_context_grows_and_only_what_is_new_is_read():
    inner = graph("w.turn", [stage("w.turn.think", "Generate", "two", tokens=fixed(3)),
                             tool("w.turn.api", 5.0, appends=6)],
                  ("input", "w.turn.think", "w.turn.api", "output"))  # fmt: skip
    made = graph("w", [stage("w.turn", "Turn", inner=inner, repeat=Spec("times", {"n": 2})),
                       stage("w.answer", "Generate", "two")],
                 ("input", "w.turn", "w.answer", "output"))  # fmt: skip
    done = work(made, batch([0.0], 10, 2))
    # 10; then 6 appended and the last of 3 tokens, whose KV is not there yet; twice.
    assert done.steps["prefill_tokens"].tolist() == [10, 0, 7, 0, 7, 0]
    assert len(set(done.visits["client"][done.visits["stage"] != 1].tolist())) == 1
    # 3 s for three tokens and 5 for the tool, twice; the answer's first token at 17.
    assert seen(done, "first_token_s", "finish_s", "visible", "generated") == [17.0, 18.0, 2, 8]
    # Its KV stays during the tool call: 10 + 3 - 1 tokens are 3 blocks.
    assert done.steps["kv_blocks"].tolist()[:2] == [3, 3]


def test_another_model_reads_everything_again():
    made = graph("w", [stage("w.a", "Generate", "llm", hidden=True),
         stage("w.b", "Generate", "big")],
                 ("input", "w.a", "w.b", "output"))  # fmt: skip
    done = work(made, batch([0.0], 10, 3))
    assert done.steps["prefill_tokens"].tolist() == [10, 0, 13, 0]
    assert seen(done, "first_token_s") == [4.0]


def cascade(hidden: bool, share: float) -> Any:
    made = graph(
        "w", [stage("w.draft", "Generate", "llm", hidden=hidden), tool("w.judge", 1.0),
              stage("w.strong", "Generate", "big"), tool("w.out", 2.0)],
        ("input", "w.draft", "w.judge"), Branch("w.judge", [(share, "w.out"), (None, "w.strong")]),
        ("w.strong", "w.out", "output"),
    )  # fmt: skip
    return work(made, batch([0.0], 10, 3))


def test_what_the_user_sees_of_a_cascade():
    # The draft takes 3 s, the judge 1, the strong model 3, the last check 2.
    assert seen(cascade(True, 1e-9), "first_token_s", "last_token_s", "visible") == [5.0, 7.0, 3]
    # Not hidden: known to be the answer once the judge has let it pass.
    assert seen(cascade(False, 1 - 1e-9), "first_token_s", "last_token_s", "visible") == [
        4.0,
        4.0,
        3,
    ]
    # Hidden, and yet all there is: seen when the request ends.
    assert seen(cascade(True, 1 - 1e-9), "first_token_s", "finish_s", "visible") == [6.0, 6.0, 3]


def test_a_decode_that_begins_without_a_prompt_shows_its_first_token_a_step_later():
    made = graph("w", [stage("w.a", "Generate", "llm", hidden=True),
         stage("w.b", "Generate", "llm")],
                 ("input", "w.a", "w.b", "output"))  # fmt: skip
    done = work(made, batch([0.0], 10, 3))
    assert seen(done, "first_token_s", "last_token_s") == [4.0, 6.0]
    assert done.residences["since_s"].tolist() == [4.0]
    assert done.steps["prefill_tokens"].tolist() == [10, 0, 0]


def test_kv_that_cannot_be_kept_any_longer_is_given_up_and_read_again():
    # Both keep 11 of 24 tokens while their tools run: neither can go on beside the other's.
    inner = [stage("w.a", "Generate", "llm"), tool("w.t", 5.0, appends=4),
             stage("w.b", "Generate", "llm")]  # fmt: skip
    made = graph("w", inner, ("input", "w.a", "w.t", "w.b", "output"))
    done = work(made, batch([0.0, 0.5], 8, 4), AffineCost(base=1.0, kv_tokens=24))
    assert done.counts["completed"] == 2
    assert done.engines[0].preemptions >= 1
    assert done.engines[0].recomputed > 0


def test_a_request_that_can_never_fit_is_refused_with_its_branches():
    made = tries(Spec("all"), 1.0, fixed(50))
    done = work(made, batch([0.0], 10, 2), AffineCost(base=1.0, kv_tokens=40))
    assert done.counts["refused"] == 1
    assert done.reasons[done.requests["reason"][0]] == "needs more KV than the client has"


# --- requests that follow others -----------------------------------------------------------


def test_a_follow_up_comes_after_a_pause_with_the_conversation_so_far():
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    load = replace(
        batch([0.0, np.inf, np.inf], [10, 5, 5], 3),
        after=np.array([-1, 0, 1]), delay=np.array([0.0, 2.0, 4.0]), grows=True,
    )  # fmt: skip
    done = work(made, load)
    # 3 s each; 10 + 3 + 5 tokens, then 18 + 3 + 5.
    assert done.requests["arrival_s"].tolist() == [0.0, 5.0, 12.0]
    assert done.requests["context_tokens"].tolist() == [10, 18, 26]
    cut = simulated(site(made, clients(llm=("LlmEngine", 1, ENGINE)), duration=12.0), SECOND, load)
    assert cut.counts["offered"] == 2


@pytest.mark.parametrize(("memory", "refused"), [(12, 0), (11, 1)])
def test_branches_that_fit_alone_are_served_one_after_the_other(memory: int, refused: int):
    # Each branch holds 10 + 3 - 1 tokens: three blocks of four, all there are. On top of the
    # prompt's three it would need a copy of the last one too, so it lets go of what it lies on.
    made = tries(Spec("all"), 1.0, fixed(3))
    made.remove_node("w.answer")
    made.add_edge("w.t", "output")
    done = work(made, batch([0.0], 10, 2), AffineCost(base=1.0, kv_tokens=memory))
    assert done.counts["refused"] == refused
    if not refused:
        assert seen(done, "generated", "visible") == [9, 9]
        assert done.engines[0].preemptions > 0
        assert done.steps["kv_blocks"].max() <= 3

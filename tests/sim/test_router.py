"""Which client serves, and that the picks of one workload do not depend on another."""

from __future__ import annotations

import numpy as np
from hand_built import AffineCost, batch, chat, reading, run, system

from hermesdsl.graph.types import Spec, Workload

SECOND = AffineCost(base=1.0)
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

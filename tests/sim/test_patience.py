"""Time-outs and retries: by hand, against queueing theory, and on random pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from built_graphs import TICK, PerItem, clients, graph, simulated, site, stage
from hand_built import AffineCost, batch, generate, run, system
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_texts import shared
from test_random_graphs import costs, offers, systems
from test_reference import assert_same

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, Workload
from hermesdsl.results.attribution import KINDS, attribute
from hermesdsl.results.metrics import Measures
from hermesdsl.sim.record import COMPLETED, TIMED_OUT
from hermesdsl.sim.streams import Stream


def fixed(seconds: float) -> Spec:
    return Spec("fixed", {"value": seconds})


def one_engine(arrival: Any, *, output: Any = 1, prompt: Any = 1, slow: bool = False, **terms: Any):
    """One at a time, every step a second: a request takes as many seconds as it has tokens."""
    built = system(
        generate(), options={"max_batch": 1}, workloads=[Workload("w", "chat", Spec("poisson"),
                                                                   options=terms)]
    )  # fmt: skip
    return run(built, AffineCost(base=1.0), batch(arrival, prompt, output), reference=slow)


@pytest.mark.parametrize("slow", [False, True])
def test_a_token_that_comes_at_the_bound_is_in_time(slow: bool):
    # The first holds the engine from 0 to 4 s; the second has its first token at 5 s.
    late = one_engine([0.0, 0.0], output=[4, 2], slow=slow, timeout=fixed(4.999))
    assert late.requests["status"].tolist() == [COMPLETED, TIMED_OUT]
    assert late.requests["left_s"][1] == 4.999
    in_time = one_engine([0.0, 0.0], output=[4, 2], slow=slow, timeout=fixed(5.0))
    assert in_time.requests["status"].tolist() == [COMPLETED, COMPLETED]
    assert in_time.requests["finish_s"].tolist() == [4.0, 6.0]


def test_time_out_on_the_finish():
    # Tokens at 1, 2, 3, 4 s; the customer leaves at 2.5 s and has seen no answer.
    terms = {"timeout": fixed(2.5), "timeout_on": "finish"}
    done = one_engine([0.0, 0.0], output=[4, 1], **terms)
    assert done.requests["status"].tolist() == [TIMED_OUT, TIMED_OUT]
    assert done.requests["visible"].tolist() == [0, 0]
    assert np.isnan(done.requests["first_token_s"]).all()
    # Cancelled at the next step boundary, 3 s: three tokens were made for nobody.
    assert done.requests["generated"].tolist() == [3, 0]
    assert done.end_s == 2.5
    assert done.counts == {"offered": 2, "admitted": 2, "completed": 0, "refused": 0,
                           "unfinished": 0, "timed_out": 2, "retries": 0}  # fmt: skip


@pytest.mark.parametrize("slow", [False, True])
def test_a_retry_begins_anew_and_is_measured_from_the_first_arrival(slow: bool):
    # The first holds the engine until 6 s. The second gives up at 0.5 + 2 = 2.5 s and comes again
    # at 4 s; gives up at 6 s, where the engine has just begun its prompt; comes again at 7.5 s.
    done = one_engine([0.0, 0.5], output=[6, 2], slow=slow,
                      timeout=fixed(2.0), retries=2, backoff=fixed(1.5))  # fmt: skip
    requests = done.requests
    assert requests["status"].tolist() == [COMPLETED, COMPLETED]
    assert requests["attempts"].tolist() == [1, 3]
    assert requests["first_token_s"][1] == 8.5
    assert requests["finish_s"][1] == 9.5
    assert requests["visible"].tolist() == [6, 2]
    assert done.counts["retries"] == 2
    measures = Measures(done, {})
    assert measures.column("ttft")[1] == 8.0
    # e2e 9 s: 2 served, 3 of pauses, the rest in attempts that were given up.
    split = attribute(done)
    total = split.seconds[split.request == 1].sum(axis=0)
    assert dict(zip(KINDS, total.tolist(), strict=True)) == {
        "queueing": 4.0, "compute": 2.0, "transfer": 0.0, "stall": 0.0, "outside": 3.0,
    }  # fmt: skip


def test_a_retry_has_the_draws_of_the_first_attempt():
    # One engine, one request at a time: whoever completes has as many tokens as without time-out.
    tokens = Spec("uniform", {"low": 1, "high": 9})
    built = system(generate(tokens=tokens), options={"max_batch": 1})
    terms = {"timeout": fixed(9.0), "retries": 3, "backoff": fixed(20.0)}
    tried = replace(built, workloads={"w": Workload("w", "chat", Spec("poisson"), options=terms)})
    load = batch(np.arange(40) * 4.0)
    plain, other = (run(each, AffineCost(base=1.0), load).requests for each in (built, tried))
    done = other["status"] == COMPLETED
    again = done & (other["attempts"] > 1)
    assert again.any()
    np.testing.assert_array_equal(other["visible"][done], plain["visible"][done])


def test_whoever_is_not_let_in_tries_again():
    # One worker for 3 s, nobody may wait. The second comes at 1, 2 and 3 s: then it is free.
    made = graph("w", [stage("w.a", "Tool", "work", service=3.0)], ("input", "w.a", "output"))
    built = site(made, clients(work=("WorkerPool", 1, {"workers": 1, "queue_limit": 0})))
    terms = {"retries": 2, "backoff": fixed(1.0)}
    built = replace(built, workloads={"w": replace(built.workloads["w"], options=terms)})
    done = simulated(built, AffineCost(), batch([0.0, 1.0]))
    assert done.requests["finish_s"].tolist() == [3.0, 6.0]
    assert done.requests["attempts"].tolist() == [1, 3]
    assert done.counts["refused"] == 0
    fewer = replace(built, workloads={"w": replace(built.workloads["w"], options={"retries": 1})})
    assert simulated(fewer, AffineCost(), batch([0.0, 1.0])).counts["refused"] == 1


def test_what_is_too_long_is_not_tried_again():
    built = system(generate(), workloads=[Workload("w", "chat", Spec("poisson"),
                                                   options={"retries": 5})])  # fmt: skip
    done = run(built, AffineCost(kv_tokens=64, base=1.0), batch([0.0], 100, 2))
    assert done.counts["refused"] == 1
    assert done.counts["retries"] == 0


@pytest.mark.parametrize(("load", "patience"), [(0.8, 2.0), (1.0, 1.0), (1.5, 3.0)])
def test_m_m_1_with_patience(load: float, patience: float):
    # A worker finishes what it has begun whether or not its customer is there, so customers leave
    # the queue at rate theta each and the worker at mu: death rate mu + (n - 1) theta with n there
    # (M/M/1+M; Palm 1957; Garnett, Mandelbaum, Reiman 2002). P(leave the queue) =
    # theta E[waiting] / lambda; of those served, theta / (theta + mu) leave meanwhile.
    theta, n = 1 / patience, 60_000
    weights = np.cumprod(np.concatenate([[1.0], load / (1.0 + np.arange(400) * theta)]))
    weights /= weights.sum()
    waiting = (weights[1:] * np.arange(400)).sum()
    abandoned = theta * waiting / load
    expected = abandoned + (1 - abandoned) * theta / (theta + 1.0)

    service = Spec("exponential", {"mean": 1.0})
    made = graph("w", [stage("w.a", "Tool", "work", service=service)], ("input", "w.a", "output"))
    built = site(made, clients(work=("WorkerPool", 1, {"workers": 1})))
    terms = {"timeout": Spec("exponential", {"mean": patience})}
    built = replace(built, workloads={"w": replace(built.workloads["w"], options=terms)})
    arrival = np.cumsum(Stream(5, "arrivals").exponential(n)) / load
    done = simulated(built, AffineCost(), batch(arrival))
    out = (done.requests["status"] == TIMED_OUT).astype(float)
    means = out.reshape(60, -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(60)
    assert abs(out.mean() - expected) <= 4 * error
    # Everybody who was served in time was served once: nothing of those who left is left behind.
    assert done.counts["completed"] + done.counts["timed_out"] == n


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"timeout": fixed(0.0)}, "`w.timeout` is 0 s"),
        ({"timeout_on": "finish"}, "`w.timeout_on` without `timeout`"),
        ({"backoff": fixed(1.0)}, "`w.backoff` without `retries`"),
        ({"patience": fixed(1.0)}, "`patience = .*` of workload `w`"),
        ({"timeout": Spec("poisson")}, "distribution"),
    ],
)
def test_settings_that_make_no_sense(terms: dict[str, Any], message: str):
    with pytest.raises(SpecError, match=message):
        one_engine([0.0], **terms)


terms = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.one_of(
            st.integers(1, 40).map(lambda n: fixed(n * TICK)),
            st.just(Spec("exponential", {"mean": 12 * TICK})),
        ),
        "timeout_on": st.sampled_from(["first_token", "finish"]),
        "retries": st.integers(0, 3),
        "backoff": st.one_of(
            st.integers(0, 9).map(lambda n: fixed(n * TICK)),
            st.just(Spec("exponential", {"mean": 4 * TICK})),
        ),
    },
)


@given(systems(), offers, costs, st.sampled_from([220, 1 << 30]), terms, st.data())
@settings(max_examples=150, deadline=None)
def test_both_forms_agree_and_all_is_conserved(
    built: Any, offer: Any, cost: Any, memory: int, given_terms: Any, data: Any
):
    if "timeout" not in given_terms:
        given_terms.pop("timeout_on", None)
    if not given_terms.get("retries"):
        given_terms.pop("backoff", None)
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    load = data.draw(shared(batch(np.array(arrival) * TICK, prompt, output), TICK), "load")
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    names = {
        name: replace(workload, options={**workload.options, **given_terms})
        for name, workload in built.workloads.items()
    }
    built = replace(built, workloads=names)
    fast = simulated(built, cost, load, service=PerItem())
    slow = simulated(built, cost, load, service=PerItem(), reference=True)
    assert_same(fast, slow)
    attribute(fast)
    requests = fast.requests
    if "attempts" in requests:
        assert (requests["attempts"] <= 1 + given_terms.get("retries", 0)).all()
        out = requests["status"] == TIMED_OUT
        assert not requests["visible"][out].any()
        assert (requests["left_s"][out] > requests["arrival_s"][out]).all()

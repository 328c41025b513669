"""Where time goes: on records made by hand, on systems with closed forms, on random loads."""

from dataclasses import replace

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, generate, pipeline, run, system, wires
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import CLASSES, VISITS, columns, tiny, with_columns

from hermesdsl.graph.types import Spec, StageNode
from hermesdsl.results.attribution import KINDS, attribute
from hermesdsl.results.breakdown import attribution, tail
from hermesdsl.results.metrics import Measures
from hermesdsl.sim.conservation import ConservationError
from hermesdsl.sim.record import COMPLETED


def split(made, request: int) -> dict[str, float]:
    """Seconds of each kind that one request spent, those with none left out."""
    found = attribute(made)
    sums = found.seconds[found.request == request].sum(axis=0)
    return {
        kind: pytest.approx(value)
        for kind, value in zip(KINDS, sums.tolist(), strict=True)
        if value
    }


def visited(*rows, **changes):
    """`tiny` with only request 0 and other visits."""
    made = with_columns(tiny(), status=np.array([COMPLETED, 2, 2], np.int8))
    return replace(made, visits=columns(VISITS, *rows), **changes)


# --- records made by hand ------------------------------------------------------------------------


def test_a_stall_beside_the_prompt_of_another():
    # Request 0: steps 0..1, 1..3 and 5..6 are its own, 3..5 is the prompt of request 1.
    assert split(tiny(), 0) == {"compute": 4.0, "stall": 2.0}
    assert split(tiny(), 1) == {"queueing": 0.5, "compute": 2.0}


def test_a_refused_request_has_no_time_to_explain():
    assert 2 not in attribute(tiny()).request


def test_waiting_for_kv_is_transfer_and_not_queueing():
    made = visited((0, 0, 0, 0, 0.0, 3.0, 6.0, 1.0, 0, 4.0, 3.0, 1))
    assert split(made, 0) == {"queueing": 2.0, "transfer": 1.0, "compute": 3.0}


def test_what_passes_between_stays_counts_as_queueing_of_the_next():
    made = visited(
        (0, 0, 0, 0, 0.5, 0.5, 2.0, 0.0, 0, 1.0, 1.5, 1),
        (0, 0, 0, 1, 3.0, 3.0, 5.0, 0.0, 0, 4.0, 2.0, 1),
    )
    found = attribute(made)
    # A door of 0.5 s, 1 s between the stays, 1 s after the last.
    assert found.seconds[:, 0].tolist() == [0.5, 2.0]
    assert split(made, 0) == {"queueing": 2.5, "compute": 3.5}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("WorkerPool", {"queueing": 1.0, "compute": 5.0}),
        ("BatchEngine", {"queueing": 1.0, "compute": 5.0}),
        ("Delay", {"queueing": 1.0, "outside": 5.0}),
    ],
)
def test_services_work_all_the_time(kind, expected):
    made = visited((0, 0, 0, 0, 0.0, 1.0, 6.0, 0.0, 0, np.nan, 5.0, 1), kinds=(kind,))
    assert split(made, 0) == expected


def test_time_at_no_client_is_transfer():
    made = visited(
        (0, 0, -1, 0, 0.0, 0.0, 2.0, 0.0, 0, np.nan, 2.0, 1),
        (0, 0, 0, 0, 2.0, 2.0, 6.0, 0.0, 0, 3.0, 4.0, 1),
    )
    assert split(made, 0) == {"transfer": 2.0, "compute": 4.0}


def test_a_fetch_from_a_cache_is_transfer_once_it_is_served():
    made = visited(
        (0, 0, 0, 0, 0.0, 0.5, 2.0, 0.0, 0, np.nan, np.nan, 1),
        (0, 0, 0, 0, 2.0, 2.0, 6.0, 0.0, 0, 3.0, 4.0, 1),
    )
    assert split(made, 0) == {"queueing": 0.5, "transfer": 1.5, "compute": 4.0}


def test_a_fetch_that_a_prefill_hides_takes_no_time():
    made = visited(
        (0, 0, 0, 0, 0.0, 0.0, 2.0, 0.0, 0, np.nan, np.nan, 1),
        (0, 0, 0, 0, 0.0, 0.5, 6.0, 0.0, 0, 3.0, 5.5, 1),
    )
    assert split(made, 0) == {"queueing": 0.5, "compute": 5.5}


def test_what_ran_beside_the_critical_path_does_not_count():
    made = visited(
        (0, 0, 0, 0, 0.0, 0.0, 6.0, 0.0, 0, 1.0, 6.0, 1),
        (0, 0, 0, 0, 0.0, 2.0, 5.0, 0.0, 0, 1.0, 3.0, 0),
    )
    assert split(made, 0) == {"compute": 6.0}


def test_a_branch_that_parted_again_and_was_overtaken_is_dropped():
    """Before a fork both ways 0..2; one parts again at 2 and is done at 4, the other comes at 6."""
    made = visited(
        (0, 0, 0, 0, 0.0, 0.0, 2.0, 0.0, 0, 1.0, 2.0, 1),
        (0, 0, 0, 0, 2.0, 2.0, 3.0, 0.0, 0, 3.0, 1.0, 1),
        (0, 0, 0, 0, 2.0, 2.5, 6.0, 0.0, 0, 3.0, 3.5, 1),
    )
    assert split(made, 0) == {"queueing": 0.5, "compute": 5.5}


def test_the_path_of_a_request_reads_from_arrival_to_end():
    made = visited(
        (0, 0, 0, 0, 0.0, 1.0, 4.0, 0.0, 0, 2.0, 2.0, 1),
        (0, 0, -1, 1, 4.0, 4.0, 6.0, 0.0, 0, np.nan, 0.0, 1),
    )
    first, second = attribute(made).path(0)
    assert (first.client, first.turn, first.seconds) == ("llm[0]", 0, (1.0, 2.0, 0.0, 1.0, 0.0))
    assert (second.client, second.turn, second.seconds) == ("", 1, (0.0, 0.0, 2.0, 0.0, 0.0))


def test_means_and_tail():
    seen = Measures(tiny(), CLASSES)
    whole = attribution(seen)
    assert (whole["mean"]["n"], whole["mean"]["e2e"]) == (2, 4.25)
    assert whole["mean"]["stages"]["chat.answer"] == {
        "queueing": 0.25, "compute": 3.0, "transfer": 0.0, "stall": 1.0, "outside": 0.0,
    }  # fmt: skip
    # The 99th percentile of 2.5 and 6 s lies above 2.5: request 0 alone.
    assert whole["p99"]["n"] == tail(seen, "max")["n"] == 1
    assert whole["p99"]["shares"]["chat.answer"]["stall"] == pytest.approx(1 / 3)
    assert tail(seen, "p50") == {**whole["p99"], "from": 4.25}


# --- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        # More work than time; KV under way for longer than the wait; before the request came.
        ([(0, 0, 0, 0, 0.0, 0.0, 6.0, 0.0, 0, 1.0, 7.0, 1)], "less than no time of stall"),
        ([(0, 0, 0, 0, 0.0, 1.0, 6.0, 2.0, 0, 1.0, 5.0, 1)], "less than no time of queueing"),
        ([(0, 0, 0, 0, -1.0, 0.0, 6.0, 1.0, 0, 1.0, 6.0, 1)], "less than no time of queueing"),
        ([(0, 0, 0, 0, 0.0, np.nan, 6.0, 0.0, 0, 1.0, 6.0, 1)], "do not sum to their end-to-end"),
        (
            [],
            "1 requests have parts that do not sum to their end-to-end time, request 0 0 s of 6 s",
        ),
    ],
)
def test_contradictions_are_faults(rows, message):
    with pytest.raises(ConservationError, match=message):
        attribute(visited(*rows))


def test_there_is_no_tail_of_nothing():
    seen = Measures(tiny(window=(100.0, None)), CLASSES)
    assert attribution(seen) is None
    assert tail(seen, "p99") is None


def test_a_level_must_be_known():
    with pytest.raises(ValueError, match="no such level: p42"):
        tail(Measures(tiny(), CLASSES), "p42")


# --- systems with closed forms -------------------------------------------------------------------

SECOND = AffineCost(base=1.0)


def options(name: str, **args) -> dict[str, Spec]:
    return {"batching": Spec(name, args)}


def test_decodes_stall_while_prompts_are_read_first():
    # a: prompt 0..1, decode 1..2; b's prompt 2..3 stalls it; decodes 3..4 and 4..5.
    built = system(generate(), options=options("continuous"))
    made = run(built, SECOND, batch([0.0, 1.5], 4, [4, 2]))
    assert split(made, 0) == {"compute": 4.0, "stall": 1.0}
    assert split(made, 1) == {"queueing": 0.5, "compute": 2.0}


def test_a_prompt_in_slices_computes_in_each():
    built = system(generate(), options=options("chunked", budget=4))
    made = run(built, SECOND, batch([0.0, 0.0], [8, 4], [1, 1]))
    # Slices 0..1 and 1..2 of the one, then 2..3 of the other, which waits for it.
    assert split(made, 0) == {"compute": 2.0}
    assert split(made, 1) == {"queueing": 2.0, "compute": 1.0}


def test_prefill_and_decode_in_one_visit_part_at_the_first_token():
    made = run(system(chat(), options=options("mixed")), SECOND, batch([0.0], 4, 3))
    found = attribute(made)
    assert found.seconds[:, 1].tolist() == [1.0, 2.0]  # prompt 0..1, decodes 1..3


def test_an_answer_elsewhere_waits_for_its_kv():
    """Prompt 0..1 on one engine; 4 tokens of 1 kB over 1 kB/s take 4 s; decodes 5..7."""
    hardware = wires(("llm[0].gpu", "far[0].gpu", 1000.0, 0.0))
    made = run(
        system(
            generate("far", prefill="llm"), engines={"llm": 1, "far": 1}, hardware=hardware,
            options=options("mixed"), contention="none",
        ),
        SECOND, batch([0.0], 4, 3),
    )  # fmt: skip
    assert split(made, 0) == {"compute": 3.0, "transfer": 4.0}
    assert [stay.client for stay in attribute(made).path(0)] == ["llm[0]", "far[0]"]
    seen = Measures(made, {})
    stage = {"stage": "chat.answer"}
    assert seen.series("e2e", stage).statistic("max") == 7.0
    assert seen.series("queue", stage).statistic("max") == 0.0
    assert seen.series("ttft", stage).statistic("max") == 1.0


def test_each_of_two_stages_has_its_own():
    stages = [StageNode(f"chat.{name}", "Generate", "llm") for name in ("think", "answer")]
    graph = pipeline("chat", *stages)
    made = run(system(graph, options=options("mixed")), SECOND, batch([0.0], 4, 3))
    # Tokens at 1, 2, 3; the answer goes on from the last with steps 3..4, 4..5, 5..6.
    found = attribute(made).by_stage(np.array([True]))
    assert found["chat.think"].tolist() == [0.0, 3.0, 0.0, 0.0, 0.0]
    assert found["chat.answer"].tolist() == [0.0, 3.0, 0.0, 0.0, 0.0]
    seen = Measures(made, {})
    assert seen.series("ttft", {"stage": "chat.think"}).statistic("max") == 1.0
    assert seen.series("ttft", {"stage": "chat.answer"}).statistic("max") == 1.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=25
    ),
    st.sampled_from([Spec("continuous"), Spec("mixed"), Spec("chunked", {"budget": 16})]),
    st.integers(80, 400),
)
def test_work_is_what_steps_and_stays_say(rows, policy, kv_tokens):
    """Decode work by the records of token times; parts are checked against the whole by itself."""
    rows.sort()
    arrival, prompt, output = zip(*rows, strict=True)
    built = system(generate(), options={"batching": policy, "block_size": 4, "max_batch": 8})
    cost = AffineCost(kv_tokens=kv_tokens, base=0.01, per_token=0.002, per_context=1e-4)
    made = run(built, cost, batch(arrival, prompt, output))
    found = attribute(made)
    seen = Measures(made, {})
    decoded = np.nan_to_num(seen.column("tpot_step")) * (
        np.bincount(made.residences["request"],
                    made.residences["last_step"] - made.residences["first_step"], len(rows))
    )  # fmt: skip
    compute = found.seconds[:, 1]
    assert (compute > decoded - 1e-9).all()  # and some prompt
    sums = found.seconds.sum(axis=1)
    np.testing.assert_allclose(sums, seen.column("e2e"), rtol=1e-9)
    np.testing.assert_allclose(found.seconds[:, 0], seen.column("queue"), atol=1e-9)
    # An engine that works for anybody works for some request: no step is lost.
    assert compute.sum() >= (made.steps["end_s"] - made.steps["start_s"]).sum() - 1e-6

"""What examples show, held to sums by hand and to closed forms."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_example_cases import EXAMPLES, of, ran

from hermesdsl.sim.record import REFUSED


def table(result: Any) -> Any:
    """The columns of a run's requests."""
    return result.measures.run.requests


def lasted(result: Any, stage: str) -> Any:
    """From start to end of a stage, seconds; NaN where it was not reached."""
    columns = table(result)
    return columns[f"{stage}.end_s"] - columns[f"{stage}.start_s"]


def visits(result: Any, stage: str) -> tuple[Any, Any, Any]:
    """(request, start, end) of all visits to a stage, those that nobody waited for included."""
    run = result.measures.run
    rows = run.visits["stage"] == run.stages.index(stage)
    return tuple(run.visits[name][rows] for name in ("request", "start_s", "end_s"))  # type: ignore[return-value]


def near(found: Any, mean: float, deviation: float) -> bool:
    """The mean of a sample is within four standard errors of `mean`."""
    return bool(abs(np.mean(found) - mean) < 4 * deviation / np.sqrt(len(found)))


def prefilled(result: Any) -> int:
    return int(result.measures.run.steps["prefill_tokens"].sum())


def recorded(file: str, column: str) -> list[float]:
    with Path(EXAMPLES / "traces" / file).open(encoding="utf-8") as lines:
        return [float(row[column]) for row in csv.DictReader(lines)]


# --- stages ------------------------------------------------------------------------------------


def test_a_filter_and_a_guard_refuse_what_fails() -> None:
    result = ran("guardrails")
    passing = 0.99 * 0.97
    refused = table(result)["status"] == REFUSED
    assert near(refused, 1 - passing, np.sqrt(passing * (1 - passing)))
    # 5 µs, and a look-up of 0.1 µs per token.
    expected = 5e-6 + 1e-7 * table(result)["context_tokens"]
    np.testing.assert_allclose(lasted(result, "Guarded.blocked"), expected, atol=1e-9)


def test_a_stage_of_ones_own_takes_its_formula_and_adds_its_text() -> None:
    result = ran("ocr_stage")
    prompt = table(result)["prompt_tokens"]
    np.testing.assert_allclose(lasted(result, "Scan.ocr"), 0.040 + 0.006 * prompt, rtol=1e-9)
    # Log-normal of median 700 and sigma 0.5: mean 700·e^(1/8), variance mean²·(e^(1/4) - 1).
    mean = 700 * np.exp(0.125)
    added = (prefilled(result) - prompt.sum()) / len(prompt)
    assert abs(added - mean) < 4 * mean * np.sqrt((np.exp(0.25) - 1) / len(prompt))


def test_a_search_takes_what_it_reads_at_the_workers_share_of_the_memory() -> None:
    # Eight workers share 80 % of 307 GB/s; seven cores of each could scan 7 · 18 GB/s.
    rate = 0.8 * 307e9 / 8
    every = ran("vector_search", "every_vector")
    assert lasted(every, "Search.find")[0] == pytest.approx(1e7 * 768 * 4 / rate, rel=1e-6)
    # Centroids; 64 of 16,384 lists of 96-byte codes; ten full vectors; the tables of distances.
    read = 4 * 16_384 * 768 + 64 * (1e7 / 16_384) * 96 + 10 * 4 * 768 + 96 * 256 * 4
    lists = ran("vector_search")
    assert lasted(lists, "Search.find")[0] == pytest.approx(read / rate, rel=1e-6)
    assert not every.met
    assert lists.met


def test_shards_are_searched_together_and_the_reranker_keeps_four_passages() -> None:
    result = ran("shards")
    columns = table(result)
    request, _, end = visits(result, "Rag.search")
    assert len(request) == 4 * len(columns["id"])
    last = np.zeros(len(columns["id"]))
    np.maximum.at(last, request, end)
    np.testing.assert_array_equal(columns["Rag.merge.enter_s"], last)
    # A quarter of 4e9 vectors per shard; 14 workers share the memory.
    read = 4 * 262_144 * 768 + 32 * (1e9 / 262_144) * 96 + 10 * 4 * 768 + 96 * 256 * 4
    np.testing.assert_allclose(lasted(result, "Rag.search"), read / (0.8 * 307e9 / 14), rtol=1e-6)
    assert prefilled(result) == (columns["prompt_tokens"] + 4 * 256).sum()


def test_two_ways_to_an_answer_are_waited_for_and_long_prompts_are_cut() -> None:
    result = ran("text_stages")
    columns = table(result)
    last = np.zeros(len(columns["id"]))
    for stage in ("Text.tokenize", "Text.clean"):
        request, _, end = visits(result, stage)
        np.maximum.at(last, request, end)
    # Then the API of the engine takes its time.
    np.testing.assert_allclose(columns["Text.answer.enter_s"], last + 6e-3, atol=1e-9)
    cut = np.minimum(columns["prompt_tokens"], 2048)
    assert prefilled(result) == cut.sum()
    # Two cores a worker; one text is one core's: 20 µs and 1 µs per token.
    request, start, end = visits(result, "Text.tokenize")
    np.testing.assert_allclose(end - start, 20e-6 + 1e-6 * cut[request], atol=1e-9)


def test_a_class_goes_to_its_model() -> None:
    result = ran("two_loads")
    columns = table(result)
    edits = columns["class"] == result.measures.run.classes.index("edit")
    np.testing.assert_array_equal(columns["Sorted.code.client"] >= 0, edits)
    np.testing.assert_array_equal(columns["Sorted.chat.client"] >= 0, ~edits)
    chat = columns["workload"] == result.measures.run.workloads.index("chat")
    assert near(edits[chat], 0.05, np.sqrt(0.05 * 0.95))
    assert edits[~chat].all()


# --- reasoning ---------------------------------------------------------------------------------


def test_thoughts_are_written_and_not_shown() -> None:
    columns = table(ran("thinking"))
    output, passes = columns["output_tokens"], columns["Reason.attempt.think.passes"]
    np.testing.assert_array_equal(columns["visible"], output)
    np.testing.assert_array_equal(columns["generated"], output * (6 * passes + 1))
    # Once, again with 1/3, again with 1/9, and no more: variance from the three shares.
    shares = {1: 2 / 3, 2: 2 / 9, 3: 1 / 9}
    mean = sum(n * p for n, p in shares.items())
    assert mean == pytest.approx(1 + 1 / 3 + 1 / 9)
    assert near(passes, mean, np.sqrt(sum(p * (n - mean) ** 2 for n, p in shares.items())))


def test_the_best_waits_for_all_a_vote_for_most_and_an_early_exit_for_one() -> None:
    best, vote, early = (ran("best_of_n", case) for case in (None, "vote", "early_exit"))
    written = {name: table(result)["generated"].sum() for name, result in
               {"best": best, "vote": vote, "early": early}.items()}  # fmt: skip
    assert written["best"] > written["vote"] > written["early"]
    assert of(best, "mean", "e2e") > of(vote, "mean", "e2e") > of(early, "mean", "e2e")
    # One of four texts is shown: a quarter of the tokens on average, whatever it was chosen for.
    share = table(best)["visible"].sum() / written["best"]
    assert share == pytest.approx(0.25, abs=0.02)
    assert (table(best)["visible"] <= np.ceil(1.5 * table(best)["output_tokens"])).all()


# --- loads -------------------------------------------------------------------------------------


def test_the_same_rate_in_five_rhythms() -> None:
    runs = {case: ran("varying_load", case) for case in (None, "even", "clumps", "on_off", "day")}
    arrivals = {case: table(result)["arrival_s"] for case, result in runs.items()}
    np.testing.assert_allclose(arrivals["even"], np.arange(1920) / 8)
    assert (arrivals["on_off"] % 60 < 30).all()
    # The rate e^(-κ cos x) of a day: more than half of it in the middle half.
    middle = (arrivals["day"] > 60) & (arrivals["day"] < 180)
    assert middle.mean() > 0.7
    waits = [of(runs[case], "p95", "ttft") for case in ("even", None, "on_off", "clumps")]
    assert waits == sorted(waits)
    assert runs[None].met
    assert not runs["clumps"].met


@pytest.mark.parametrize(("case", "users"), [(None, 40), ("crowd", 400)])
def test_users_in_a_loop_keep_the_response_time_law(case: str | None, users: int) -> None:
    """Throughput = users / (response + thinking), Denning and Buzen 1978: here within 3 %."""
    result = ran("closed_loop", case)
    columns = table(result)
    window = (columns["arrival_s"] >= 30) & (columns["arrival_s"] < 240)
    response = np.mean((columns["finish_s"] - columns["arrival_s"])[window])
    assert window.sum() / 210 == pytest.approx(users / (response + 5), rel=0.03)


def test_customers_are_burstier_than_a_crowd() -> None:
    def dispersion(case: str | None) -> float:
        times = table(ran("client_population", case))["arrival_s"]
        counts = np.histogram(times, bins=36, range=(0, 180))[0]
        return float(counts.var() / counts.mean())

    # 1 for Poisson, up to the error of 36 counts; cv² = 9 for one customer alone.
    assert dispersion("smooth") < 1 + 4 * np.sqrt(2 / 36)
    assert 3 < dispersion(None) < 12


def test_traces_are_scaled_merged_and_drawn_from() -> None:
    result = ran("merged_traces")
    columns = table(result)
    load = columns["workload"] == result.measures.run.workloads.index("load")
    times = sorted([t / 2 for t in recorded("desk.csv", "arrival_s")]
                   + recorded("code.csv", "arrival_s"))  # fmt: skip
    np.testing.assert_allclose(columns["arrival_s"][load], [t for t in times if t < 60])
    drawn = columns["prompt_tokens"][~load]
    assert set(drawn.tolist()) <= set(recorded("desk.csv", "prompt"))
    lengths = np.array(recorded("desk.csv", "prompt"))
    assert near(drawn, lengths.mean(), lengths.std())

"""A2, A10 and Little's law: the engine against queueing theory and itself."""

from __future__ import annotations

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, reading, run, system

from hermesdsl.graph.types import Spec
from hermesdsl.sim import conservation
from hermesdsl.sim.decoding import CountedDecoding
from hermesdsl.sim.streams import Stream

SERVICE = 0.037


def lindley(arrival: np.ndarray, service: float) -> np.ndarray:
    """Departures of a FCFS server: d[i] = max(a[i], d[i-1]) + D, unrolled to a running maximum."""
    index = np.arange(len(arrival))
    return np.maximum.accumulate(arrival - index * service) + (index + 1) * service


def standard_error(values: np.ndarray, batches: int = 40) -> float:
    """Of the mean of a correlated series, by batch means (Law, Simulation Modeling, ch. 9)."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(batches))


@pytest.mark.parametrize(
    ("load", "jobs", "expected"),
    [(0.5, 200_000, 1.5), (0.7, 200_000, 1 + 7 / 6), (0.8, 100_000, 3.0), (0.9, 100_000, 5.5)],
)
def test_prefill_only_is_m_d_1(load: float, jobs: int, expected: float):
    # A2. Pollaczek-Khinchine with constant service: W/D = 1 + rho / (2 (1 - rho)).
    arrival = np.cumsum(Stream(7, f"m_d_1/{load}").exponential(jobs)) * SERVICE / load
    options = {"batching": Spec("chunked", {"budget": 2048}), "max_batch": 1}
    done = run(system(reading(), options=options), AffineCost(base=SERVICE), batch(arrival, 512))
    ttft = done.requests["first_token_s"] - arrival
    np.testing.assert_allclose(ttft, lindley(arrival, SERVICE) - arrival, rtol=0, atol=1e-9)
    mean = float(ttft.mean()) / SERVICE
    assert abs(mean - expected) <= 4 * standard_error(ttft / SERVICE)
    if load <= 0.7:
        assert mean == pytest.approx(expected, rel=0.03)
    busy = done.engines[0].busy_s / done.makespan_s
    assert busy == pytest.approx(jobs * SERVICE / done.makespan_s, rel=1e-9)


def poisson_chat(n: int = 3000, kv_tokens: int = 2000, gap: float = 0.02, **options: object):
    arrival = np.cumsum(Stream(3, "arrivals").exponential(n)) * gap
    prompt = 1 + (Stream(3, "prompt").exponential(n) * 100).astype(int)
    output = 1 + (Stream(3, "output").exponential(n) * 40).astype(int)
    cost = AffineCost(
        kv_tokens=kv_tokens, base=0.004, per_token=2e-5, per_pair=1e-8, per_context=1e-7
    )
    built = system(chat(), engines={"llm": 2}, route=Spec("jsq"), options=options)
    return run(built, cost, batch(arrival, prompt, output))


@pytest.mark.parametrize("batching", ["chunked", "continuous"])
def test_littles_law_between_step_rows_and_request_columns(batching: str):
    # Time integral of the number decoding = sum of the times that requests spend decoding, which
    # is end - start of the stage (without preemption); stalls are steps without decodes.
    done = poisson_chat(kv_tokens=1 << 30, batching=Spec(batching))
    rows, columns = done.steps, done.requests
    assert done.engines[0].preemptions == 0
    spent = (columns["chat.decode.end_s"] - columns["chat.decode.start_s"]).sum()
    present = (rows["batch"] * (rows["end_s"] - rows["start_s"])).sum()
    if batching == "chunked":
        assert present == pytest.approx(spent, rel=1e-9)
    else:
        assert present < spent


def test_everything_is_conserved_under_preemption():
    # A10: requests, tokens, blocks; prompts are read once, and again for each preemption.
    done = poisson_chat(gap=0.01, max_batch=64, block_size=16)
    assert sum(engine.preemptions for engine in done.engines) > 10
    assert done.counts["completed"] == done.counts["offered"] == 3000
    np.testing.assert_array_equal(done.requests["generated"], done.requests["output_tokens"])
    read = done.steps["prefill_tokens"].sum()
    again = sum(engine.recomputed for engine in done.engines)
    assert read == done.requests["prompt_tokens"].sum() + again
    capacity = np.array([engine.capacity_blocks for engine in done.engines])
    assert (done.steps["kv_blocks"] <= capacity[done.steps["client"]]).all()


def test_first_come_first_served_keeps_its_order_at_each_client():
    done = poisson_chat(max_batch=8)
    for client in range(2):
        mine = done.requests["chat.prefill.client"] == client
        assert (np.diff(done.requests["chat.prefill.start_s"][mine]) >= 0).all()
    waits = done.requests["chat.prefill.start_s"] - done.requests["chat.prefill.enter_s"]
    assert (waits >= 0).all()


def test_steps_of_a_client_do_not_overlap():
    done = poisson_chat()
    for client in range(2):
        rows = done.steps["client"] == client
        start, end = done.steps["start_s"][rows], done.steps["end_s"][rows]
        assert (start[1:] >= end[:-1]).all()


def test_same_seed_same_bytes():
    one, other = poisson_chat(), poisson_chat()
    for column in one.requests:
        assert one.requests[column].tobytes() == other.requests[column].tobytes()


def test_a_leak_of_kv_is_found_at_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch):
    advance = CountedDecoding.advance
    monkeypatch.setattr(CountedDecoding, "advance", lambda self, n: advance(self, n) + 1)
    with pytest.raises(conservation.ConservationError, match=r"llm\[0\] ends with \d+ KV blocks"):
        run(system(chat()), AffineCost(base=1.0), batch([0.0], 4, 20))


def test_a_lost_token_is_found_at_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch):
    join = CountedDecoding.join

    def forgetful(self: CountedDecoding, sequence):
        sequence.remaining -= 1
        join(self, sequence)

    monkeypatch.setattr(CountedDecoding, "join", forgetful)
    with pytest.raises(conservation.ConservationError, match="more or fewer tokens than it asked"):
        run(system(chat()), AffineCost(base=1.0), batch([0.0], 4, 20))

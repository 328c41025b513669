"""A1: worker pools against queueing theory and Lindley's recursion; batches by hand."""

from __future__ import annotations

from heapq import heapreplace
from math import factorial
from typing import Any

import numpy as np
import pytest
from built_graphs import PerItem, clients, graph, simulated, site, stage
from hand_built import AffineCost, batch

from hermesdsl.graph.types import Spec
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.lengths import distribution
from hermesdsl.sim.load import merge
from hermesdsl.sim.streams import Stream

EXPONENTIAL = Spec("exponential", {"mean": 1.0})
#: Uniform on [0, 2]: mean 1, second moment 4/3.
UNIFORM = Spec("uniform", {"low": 0.0, "high": 2.0})


def pooled(service: Any, load: Any, **options: Any):
    work = graph("w", [stage("w.s", "Step", "work", service=service)], ("input", "w.s", "output"))
    built = site(work, clients(work=("WorkerPool", 1, options)))
    return simulated(built, AffineCost(), load)


def arrivals(jobs: int, rate: float) -> np.ndarray:
    return np.cumsum(Stream(11, f"a1/{rate}").exponential(jobs)) / rate


def lindley(arrival: np.ndarray, service: np.ndarray, workers: int) -> np.ndarray:
    """Departures of a FCFS queue: each job takes the worker free first (Kiefer, Wolfowitz)."""
    free = [0.0] * workers
    found = np.empty(len(arrival))
    for job, (come, seconds) in enumerate(zip(arrival.tolist(), service.tolist(), strict=True)):
        found[job] = max(come, free[0]) + seconds
        heapreplace(free, found[job])
    return found


def erlang_c(load: float, workers: int) -> float:
    """Chance to wait in M/M/c with `load` erlangs (Erlang 1917)."""
    top = load**workers / factorial(workers) * workers / (workers - load)
    return top / (sum(load**k / factorial(k) for k in range(workers)) + top)


def standard_error(values: np.ndarray, batches: int = 40) -> float:
    """Of the mean of a correlated series, by batch means (Law, Simulation Modeling, ch. 9)."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(batches))


@pytest.mark.parametrize(
    ("service", "workers", "rho", "sojourn"),
    [
        (EXPONENTIAL, 1, 0.5, 2.0),  # M/M/1: 1 / (1 - rho)
        (EXPONENTIAL, 1, 0.7, 1 / 0.3),
        # M/M/c: 1 + C(c, a) / (c - a)
        (EXPONENTIAL, 3, 0.7, 1 + erlang_c(2.1, 3) / 0.9),
        (1.0, 1, 0.7, 1 + 0.7 / (2 * 0.3)),  # M/D/1
        # M/G/1 (Pollaczek, Khinchine): 1 + rate E[S²] / (2 (1 - rho)), E[S²] = 4/3
        (UNIFORM, 1, 0.6, 1 + 0.6 * (4 / 3) / (2 * 0.4)),
        (EXPONENTIAL, 1, 0.9, 10.0),
    ],
)
def test_sojourn_times(service: Any, workers: int, rho: float, sojourn: float):
    jobs = 100_000
    arrival = arrivals(jobs, rho * workers)
    load = batch(arrival)
    done = pooled(service, load, workers=workers)
    spent = done.requests["finish_s"] - arrival
    seconds = np.full(jobs, 1.0)
    if isinstance(service, Spec):
        draws = Chance(1, merge([load], None)).draws("w.s/service", distribution(service).quantile)
        seconds = np.array([draws(job, 0) for job in range(jobs)])
    np.testing.assert_allclose(spent, lindley(arrival, seconds, workers) - arrival, atol=1e-9)
    assert abs(spent.mean() - sojourn) <= 4 * standard_error(spent)
    # Little: the time integral of the number served = the sum of the times in service.
    columns = done.requests
    served = (columns["w.s.end_s"] - columns["w.s.start_s"]).sum()
    rows = done.services
    assert (rows["end_s"] - rows["start_s"]).sum() == pytest.approx(served, rel=1e-9)


def test_a_full_queue_refuses():
    # One is served until 2, one waits; the third is refused, the fourth comes when one has left.
    done = pooled(2.0, batch([0.0, 0.5, 1.0, 2.5]), workers=1, queue_limit=1)
    np.testing.assert_array_equal(done.requests["finish_s"], [2.0, 4.0, np.nan, 6.0])
    assert done.reasons[done.requests["reason"][2]] == "a queue was full"
    assert done.counts["refused"] == 1


def test_the_shortest_job_goes_first_but_interrupts_nobody():
    prompts = Spec("formula", {"op": "attribute", "operands": ("prompt",)})
    done = pooled(prompts, batch([0.0, 1.0, 2.0], [4, 9, 3]), order="sjf")
    assert done.requests["finish_s"].tolist() == [4.0, 16.0, 7.0]


def batched(load: Any, cost: Any = None, service: Any = None, **options: Any):
    work = graph("w", [stage("w.e", "Embed", "e", service=service)], ("input", "w.e", "output"))
    built = site(work, clients(e=("BatchEngine", 1, options)))
    return simulated(built, AffineCost(), load, service=cost)


def test_a_batch_closes_when_it_is_full_or_has_waited():
    # Two at 0 and 0.25 wait until 1; the three at 2, 2.25, 2.5 are a full batch at 2.5.
    cost = PerItem(base=1.0, per_request=0.5, per_token=0.0)
    load = batch([0.0, 0.25, 2.0, 2.25, 2.5])
    done = batched(load, cost, max_batch=3, max_wait=1.0)
    # 1 + 1 + 2 · 0.5 = 3; the engine is busy until 3, then 3 + 1 + 3 · 0.5.
    assert done.requests["w.e.start_s"].tolist() == [1.0, 1.0, 3.0, 3.0, 3.0]
    assert done.requests["finish_s"].tolist() == [3.0, 3.0, 5.5, 5.5, 5.5]


def test_a_batch_is_full_by_its_tokens():
    cost = PerItem(base=0.0, per_request=0.0, per_token=1.0)
    done = batched(batch([0.0] * 4, [6, 6, 3, 30]), cost, max_batch=9, max_tokens=10)
    # 6; then 6 + 3; the one above the budget goes alone.
    assert done.requests["finish_s"].tolist() == [6.0, 15.0, 15.0, 45.0]


def test_a_given_service_time_is_that_of_the_slowest_of_the_batch():
    prompts = Spec("formula", {"op": "attribute", "operands": ("prompt",)})
    done = batched(batch([0.0] * 3, [1, 4, 2]), service=prompts, max_batch=2)
    assert done.requests["finish_s"].tolist() == [4.0, 4.0, 6.0]


def test_an_outside_service_serves_all_at_once():
    work = graph("w", [stage("w.t", "Tool", "web")], ("input", "w.t", "output"))
    built = site(work, clients(web=("Delay", 1, {"latency": Spec("fixed", {"value": 2.0})})))
    done = simulated(built, AffineCost(), batch([0.0, 0.5, 0.5]))
    assert done.requests["finish_s"].tolist() == [2.0, 2.5, 2.5]

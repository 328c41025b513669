"""Gaps between tokens by rows of steps, against the same worked out and sorted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hand_built import AffineCost, KneeCost, batch, chat, run, system

from hermesdsl.graph.types import Spec
from hermesdsl.results.definitions import PERCENTILES
from hermesdsl.results.gaps import GapSeries
from hermesdsl.results.series import Series
from hermesdsl.results.tokens import longest_gaps, step_means
from hermesdsl.sim.record import Run
from hermesdsl.sim.tokens import TokenTimes, step_ends

CHUNKED = {"batching": Spec("chunked", {"budget": 64})}
#: Steps that grow, that are all alike, that bend, that stop growing, and memory that runs out.
COSTS = [
    AffineCost(base=0.01, per_token=1e-4, per_context=1e-6),
    AffineCost(base=0.01),
    KneeCost(base=0.01, per_context=1e-6, knee=700.0, beyond=5.0),
    KneeCost(base=0.01, per_context=1e-5, knee=700.0, beyond=0.0),
    AffineCost(base=0.01, per_token=1e-4, per_context=1e-6, kv_tokens=2000),
]


def load(cost: AffineCost, engines: int = 2, late: float = 0.0) -> Run:
    """120 answers of very different lengths on two engines; the clock begins at `late`."""
    luck = np.random.default_rng(3)
    arrival = late + np.cumsum(luck.exponential(0.2, 120))
    output = luck.geometric(1 / 150, 120)
    built = system(chat(), engines={"llm": engines}, options=CHUNKED)
    return run(built, cost, batch(arrival, luck.integers(1, 200, 120), output))


def one_by_one(done: Run, mine: np.ndarray) -> tuple[list[float], list[np.ndarray]]:
    """All gaps that some requests saw, and those of each request, from the ends of all steps."""
    seen: list[list[float]] = [[] for _ in mine]
    last: dict[int, float] = {}
    ends = {client: step_ends(done, client) for client in range(len(done.clients))}
    shown, stays = done.shown, done.residences
    events = [(time, request, [time])
              for time, request in zip(shown["time_s"], shown["request"], strict=True)]  # fmt: skip
    for row, request in enumerate(stays["request"]):
        begin, end = stays["first_step"][row], stays["last_step"][row]
        came = ends[stays["client"][row]][begin:end]
        events.append((stays["since_s"][row], request, came.tolist()))
    for _, request, came in sorted(events, key=lambda event: event[0]):
        for time in came:
            if request in last:
                seen[request].append(time - last[request])
            last[request] = time
    every = [gap for request, gaps in enumerate(seen) if mine[request] for gap in gaps]
    return every, [np.array(gaps) for gaps in seen]


@pytest.mark.parametrize("late", [0.0, 1e5])
@pytest.mark.parametrize("cost", COSTS, ids=range(len(COSTS)))
@pytest.mark.parametrize("part", [1, 3])
def test_percentiles_are_those_of_all_gaps_sorted(cost: AffineCost, late: float, part: int):
    """The very same numbers, but for the mean: additions in another order."""
    done = load(cost, late=late)
    mine = np.arange(120) % part == 0
    every, _ = one_by_one(done, mine)
    plain = Series(np.sort(every), np.ones(len(every), np.int64))
    found = GapSeries(TokenTimes(done).gaps(mine))
    assert found.n == plain.n == int((done.requests["visible"] - 1)[mine].sum())
    for name in (*PERCENTILES, "max"):
        assert found.statistic(name) == plain.statistic(name)
    assert found.statistic("mean") == pytest.approx(plain.statistic("mean"), rel=1e-9)


@pytest.mark.parametrize("late", [0.0, 1e5])
@pytest.mark.parametrize("cost", COSTS, ids=range(len(COSTS)))
def test_the_longest_gap_of_a_request_is_one_of_its_own(cost: AffineCost, late: float):
    done = load(cost, late=late)
    _, seen = one_by_one(done, np.ones(120, bool))
    expected = [gaps.max() if len(gaps) else np.nan for gaps in seen]
    assert np.array_equal(longest_gaps(TokenTimes(done)), expected, equal_nan=True)


def test_all_places_of_the_sorted_gaps():
    """Every one, so that no cut between stretches is missed."""
    done = load(COSTS[2], engines=1)
    times = TokenTimes(done)
    plain = np.sort(one_by_one(done, np.ones(120, bool))[0])
    found = GapSeries(times.gaps())
    assert [found._at(place) for place in range(len(plain))] == plain.tolist()


def test_nothing_seen_has_no_statistics():
    done = load(COSTS[0])
    nobody = GapSeries(TokenTimes(done).gaps(np.zeros(120, bool)))
    assert nobody.n == 0
    assert nobody.statistic("p99") is None
    assert nobody.statistic("mean") is None


def test_mean_steps_are_those_of_the_rows():
    """One answer alone: steps of 10 ms + 1 us a token of context, 51 first, 299 more."""
    cost = AffineCost(base=0.01, per_context=1e-6)
    done = run(system(chat()), cost, batch([0.0], 50, 301))
    mean = 0.01 + 1e-6 * (51 + 299 / 2)
    assert step_means(TokenTimes(done)) == pytest.approx([mean], rel=1e-12)

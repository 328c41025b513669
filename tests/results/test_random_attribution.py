"""On random pipelines of forks, replicas, repeats and cancelled branches the parts still sum."""

from typing import Any

import numpy as np
from built_graphs import TICK, PerItem, simulated
from hand_built import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_graphs import costs, offers, systems

from hermesdsl.results import summarise
from hermesdsl.results.metrics import Measures
from hermesdsl.results.tokens import longest_gaps, tokens_between
from hermesdsl.sim.record import COMPLETED


@given(systems(), offers, costs, st.sampled_from([220, 400, 1 << 30]))
@settings(max_examples=100, deadline=None)
def test_parts_sum_and_visible_tokens_are_counted_once(
    built: Any, offer: Any, cost: Any, memory: int
) -> None:
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    load = batch(np.array(arrival) * TICK, prompt, output)
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    made = simulated(built, cost, load, service=PerItem())
    seen = Measures(made, {})
    done = made.requests["status"] == COMPLETED
    parts = np.zeros(len(done))
    np.add.at(parts, seen.attribution.request, seen.attribution.seconds.sum(axis=1))
    np.testing.assert_allclose(parts[done], seen.column("e2e")[done], rtol=1e-9, atol=1e-12)
    queue = np.zeros(len(done))
    np.add.at(queue, seen.attribution.request, seen.attribution.seconds[:, 0])
    known = np.nan_to_num(seen.column("queue"))
    assert (queue[done] <= known[done] + 1e-9).all()
    visible = tokens_between(seen.times, 0.0, np.inf)
    assert (visible[done] == made.requests["visible"][done]).all()
    spans = made.requests["last_token_s"] - made.requests["first_token_s"]
    longest = longest_gaps(seen.times)
    assert not (longest[done] > spans[done] + 1e-9).any()
    summarise(made, classes={})

"""The bound on throughput: above any schedule, and close to the best."""

from types import SimpleNamespace

import pytest

from hermesdsl.cost.capacity import capacity
from hermesdsl.cost.types import StepWork


def test_no_simple_schedule_beats_it(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    prompt, output, batch = 1024, 256, 64
    # Prompts one by one, then all decode together: the schedule of `continuous`.
    one = StepWork(prompt, 1, 1, prompt, prompt * (prompt + 1) / 2, float(prompt))
    run = cost.decode_run(batch, batch * (prompt + 1.0)).seconds(output - 1)
    rate = batch / (batch * cost.step(one) + run)
    bound = capacity(cost, prompt, output, batch, 2048)
    assert rate < bound.requests < 1.6 * rate
    assert bound.tokens == pytest.approx(bound.requests * (prompt + output))


def test_prompts_only(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    bound = capacity(cost, 2048, 1, 256, 2048)
    step = cost.step(StepWork(2048, 1, 1, 2048, 2048 * 2049 / 2, 2048.0))
    assert bound.requests == pytest.approx(1 / step)


def test_decodes_only(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    bound = capacity(cost, 0, 101, 64, 8192)
    assert bound.requests == pytest.approx(64 / 100 / cost.decode_run(64, 64 * 50.5).seconds(1))


def test_little_kv_limits_the_batch(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    bound = capacity(cost, 20_000, 5000, 256, 8192)
    assert bound.batch == int(cost.kv_tokens / 22_500)
    assert bound.batch < 256


def test_a_request_of_nothing_is_refused(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    with pytest.raises(ValueError, match="no capacity"):
        capacity(cost, 0, 1, 64, 2048)


def test_ranks_have_seats_and_budgets_of_their_own(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (build.engine(build.latent, build.group(h200, dp=n)) for n in (4, 1))
    # Without experts to meet at, each of four ranks does what one engine does.
    bounds = [capacity(cost, 500.0, 100.0, 32, 2048) for cost in (four, one)]
    assert bounds[0].batch == pytest.approx(4 * bounds[1].batch, abs=4)
    assert bounds[0].requests == pytest.approx(4 * bounds[1].requests, rel=0.08)

"""Arrival processes against their closed forms, and what they refuse."""

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.arrivals import arrival_times, weibull_shape
from hermesdsl.sim.streams import Stream

STREAM = Stream(11, "load.arrivals")
PROCESSES = [
    Spec("poisson", {"rate": 5.0}),
    Spec("gamma", {"rate": 5.0, "cv": 2.0}),
    Spec("gamma", {"rate": 5.0, "cv": 0.5}),
    Spec("weibull", {"rate": 5.0, "cv": 2.0}),
    Spec("weibull", {"rate": 5.0, "cv": 0.5}),
]


def names(spec: Spec) -> str:
    return str(spec)


@pytest.mark.parametrize("spec", PROCESSES, ids=names)
def test_gaps_have_the_mean_and_variation_asked_for(spec):
    n = 100_000
    gaps = np.diff(arrival_times(spec, STREAM, requests=n), prepend=0.0)
    cv = spec.args.get("cv", 1.0)
    assert (gaps >= 0).all()
    # Standard error of the mean gap: cv / rate / sqrt(n).
    assert abs(gaps.mean() - 0.2) < 4 * cv * 0.2 / np.sqrt(n)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_poisson_gaps_are_exponential():
    n = 100_000
    gaps = np.diff(arrival_times(Spec("poisson", {"rate": 5.0}), STREAM, requests=n), prepend=0.0)
    for share in (0.1, 0.5, 0.9, 0.99):
        below = (gaps < -np.log(1 - share) / 5.0).mean()
        assert abs(below - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_weibull_shape_one_is_exponential():
    assert weibull_shape(1.0) == pytest.approx(1.0, rel=1e-9)
    # Shape 1/2: E X = 2, E X^2 = 24, so cv = sqrt(24/4 - 1).
    assert weibull_shape(5**0.5) == pytest.approx(0.5, rel=1e-9)


def test_constant_starts_at_zero_and_has_no_drift():
    times = arrival_times(Spec("constant", {"rate": 3.0}), STREAM, duration=10_000.0)
    assert len(times) == 30_000
    assert times[0] == 0.0
    assert times[29_997] == 9_999.0


@pytest.mark.parametrize("spec", [*PROCESSES, Spec("constant", {"rate": 5.0})], ids=names)
def test_a_longer_run_keeps_the_arrivals_of_a_shorter_one(spec):
    long = arrival_times(spec, STREAM, duration=8_000.0)
    short = arrival_times(spec, STREAM, duration=5_000.0)
    assert len(long) > 20_000  # several blocks
    assert (short == long[long < 5_000.0]).all()
    assert (arrival_times(spec, STREAM, requests=777) == long[:777]).all()


def test_both_limits_apply():
    spec = Spec("constant", {"rate": 1.0})
    assert len(arrival_times(spec, STREAM, duration=10.0, requests=4)) == 4
    assert len(arrival_times(spec, STREAM, duration=4.0, requests=10)) == 4
    assert len(arrival_times(Spec("poisson", {"rate": 1e-9}), STREAM, duration=1.0)) == 0


@pytest.mark.parametrize(
    ("spec", "limits", "code", "message"),
    [
        (Spec("poison", {"rate": 1.0}), {"duration": 1.0}, "HMS506",
         "arrivals `poison` are not executable yet"),
        (Spec("closed", {"users": 3}), {"duration": 1.0}, "HMS506",
         "arrivals `closed` are not executable yet"),
        (Spec("poisson", {}), {"duration": 1.0}, "HMS601",
         "arrivals `poisson` need `rate`, the mean arrival rate in requests per second"),
        (Spec("poisson", {"rate": 0.0}), {"duration": 1.0}, "HMS601",
         "`rate` of arrivals `poisson` is 0, not above zero"),
        (Spec("gamma", {"rate": 1.0, "cv": float("nan")}), {"duration": 1.0}, "HMS601",
         "`cv` of arrivals `gamma` is nan, not between 0.01 and 20"),
        (Spec("gamma", {"rate": 1.0, "cv": 50.0}), {"duration": 1.0}, "HMS601",
         "`cv` of arrivals `gamma` is 50, not between 0.01 and 20"),
        (Spec("poisson", {"rate": 1.0, "cv": 2.0}), {"duration": 1.0}, "HMS601",
         "`poisson` has no argument `cv`"),
        (Spec("poisson", {"rate": 1.0}), {}, "HMS601", "arrivals `poisson` have no end"),
        (Spec("poisson", {"rate": 1e12}), {"duration": 600.0}, "HMS601",
         "the workload offers about 600,000,000,000,000 requests; the limit is 20,000,000"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_refused(spec, limits, code, message):
    with pytest.raises(SpecError) as caught:
        arrival_times(spec, STREAM, **limits)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [(code, message)]


def test_a_misspelt_process_is_offered_the_nearest():
    with pytest.raises(SpecError) as caught:
        arrival_times(Spec("poison", {"rate": 1.0}), STREAM, duration=1.0)
    assert "help: did you mean `poisson`?" in caught.value.diagnostics[0].notes

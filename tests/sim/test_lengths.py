"""Length distributions against their closed forms, and what they refuse."""

from math import exp, log, sqrt

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.lengths import DISTRIBUTIONS, distribution, mean, sample, tokens
from hermesdsl.sim.streams import Stream

STREAM = Stream(5, "load.prompt")
N = 200_000
QUARTERS = ((0, 0), (0.5, 100), (1, 1000))

#: (spec, mean, standard deviation) by the textbook formula of each.
CLOSED_FORMS = [
    (Spec("fixed", {"value": 42}), 42, 0),
    (Spec("uniform", {"low": 10, "high": 40}), 25, 30 / sqrt(12)),
    (Spec("exponential", {"mean": 300}), 300, 300),
    (Spec("normal", {"mean": 500, "std": 50}), 500, 50),
    # Log-normal: mean = median exp(s^2/2), variance = mean^2 (exp(s^2) - 1).
    (Spec("lognormal", {"median": 1000, "sigma": 0.8}), 1000 * exp(0.32),
     1000 * exp(0.32) * sqrt(exp(0.64) - 1)),
    (Spec("lognormal", {"mean": 700, "sigma": 0.5}), 700, 700 * sqrt(exp(0.25) - 1)),
    # Geometric on 1, 2, ...: p = 1/mean, variance (1 - p)/p^2.
    (Spec("geometric", {"mean": 4}), 4, sqrt(0.75) * 4),
    # Straight lines: half of the draws uniform on 0..100, half on 100..1000.
    (Spec("quantiles", {"points": QUARTERS}), 0.5 * 50 + 0.5 * 550,
     sqrt(0.5 * 100**2 / 3 + 0.5 * (1000**3 - 100**3) / 3 / 900 - 300**2)),
    # E X^2 is half of 2 · 100^2 and half of 400^2.
    (Spec("mixture", {"parts": ((0.5, Spec("exponential", {"mean": 100})), (0.5, 400))}), 250,
     sqrt(0.5 * 2 * 100**2 + 0.5 * 400**2 - 250**2)),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "average", "spread"), CLOSED_FORMS, ids=lambda v: str(v)[:40])
def test_mean_of_draws_and_stated_mean(spec, average, spread):
    values = sample(spec, STREAM, N)
    assert mean(spec) == pytest.approx(average, rel=1e-6)
    assert abs(values.mean() - average) <= 4 * spread / sqrt(N)
    assert values.std() == pytest.approx(spread, rel=0.02)


def test_lognormal_from_two_percentiles_has_both():
    spec = Spec("lognormal", {"p50": 0.9, "p99": 8.0})
    values = sample(spec, STREAM, N)
    for share, value in ((0.5, 0.9), (0.99, 8.0)):
        assert abs((values <= value).mean() - share) < 4 * sqrt(share * (1 - share) / N)


def test_lognormal_from_one_percentile_and_sigma():
    # z(0.90) = 1.2815515655446004, so median = p90 / exp(z sigma).
    spec = Spec("lognormal", {"p90": 100.0, "sigma": 0.5})
    assert mean(spec) == pytest.approx(100 * exp(-1.2815515655446004 * 0.5 + 0.125), rel=1e-12)


def test_absent_arguments_are_none_in_a_compiled_spec():
    full = {"median": 300, "sigma": 1.0, "mean": None, "p50": None, "p99": None, "max": None}
    assert mean(Spec("lognormal", full)) == pytest.approx(300 * exp(0.5))


def test_geometric_stops_at_max():
    # P(stopped count) has mean (1 - (3/4)^10) / (1/4).
    spec = Spec("geometric", {"mean": 4, "max": 10})
    values = sample(spec, STREAM, N)
    assert mean(spec) == pytest.approx((1 - 0.75**10) * 4, rel=1e-12)
    assert values.max() == 10
    assert abs(values.mean() - mean(spec)) < 4 * values.std() / sqrt(N)
    assert abs((values == 1).mean() - 0.25) < 4 * sqrt(0.25 * 0.75 / N)


def test_bounds_cut_and_the_mean_follows():
    spec = Spec("exponential", {"mean": 100.0, "max": 100.0})
    # E min(X, m) = m (1 - exp(-1)) for X exponential with mean m.
    assert mean(spec) == pytest.approx(100 * (1 - exp(-1)), rel=1e-4)
    assert sample(spec, STREAM, 1000).max() == 100.0


def test_normal_below_zero_is_zero():
    # E max(X, 0) of a standard normal is 1/sqrt(2 pi).
    assert mean(Spec("normal", {"mean": 0, "std": 1})) == pytest.approx(0.3989422804, rel=1e-4)


def test_quantiles_stay_level_outside_their_points():
    spec = Spec("quantiles", {"points": ((0.25, 10), (0.75, 20))})
    assert distribution(spec).quantile(np.array([0.1, 0.5, 0.9])).tolist() == [10, 15, 20]
    assert mean(spec) == pytest.approx(0.25 * 10 + 0.5 * 15 + 0.25 * 20)


def test_tokens_round_half_up_and_are_at_least_one():
    def drawn(value: float) -> int:
        return int(tokens(Spec("fixed", {"value": value}), STREAM, 1)[0])

    assert [drawn(v) for v in (0, 0.4, 1.49, 1.5, 2.5, 3.5)] == [1, 1, 1, 2, 3, 4]


@pytest.mark.parametrize("spec", [case[0] for case in CLOSED_FORMS], ids=lambda s: s.name)
def test_draw_r_does_not_depend_on_its_neighbours(spec):
    whole = sample(spec, STREAM, 300)
    assert (sample(spec, STREAM, 7, 93) == whole[93:100]).all()


def test_a_larger_mean_makes_every_draw_larger():
    """Common random numbers: quantiles of the same uniforms."""
    small = sample(Spec("lognormal", {"median": 100, "sigma": 1.0}), STREAM, 500)
    large = sample(Spec("lognormal", {"median": 110, "sigma": 1.0}), STREAM, 500)
    assert large == pytest.approx(1.1 * small)


def test_empirical_draws_the_values_of_a_column(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text("id,kilotokens\n1,1\n2,2\n3,4\n4,1\n")
    spec = Spec("empirical", {"file": str(file), "column": "kilotokens", "unit": 1000.0})
    values, counts = np.unique(tokens(spec, STREAM, N), return_counts=True)
    assert values.tolist() == [1000, 2000, 4000]
    assert counts / N == pytest.approx([0.5, 0.25, 0.25], abs=4 * sqrt(0.25 / N))
    assert mean(spec) == 2000


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (Spec("lognorm", {}), "HMS506", "distribution `lognorm` is not executable yet"),
        (Spec("lognormal", {"median": 3.0}), "HMS601",
         "distribution `lognormal` needs two numbers"),
        (Spec("lognormal", {"median": 3.0, "p99": 1.0}), "HMS601",
         "distribution `lognormal` has a lower percentile above a higher one"),
        (Spec("lognormal", {"median": 3.0, "p50": 1.0}), "HMS601",
         "distribution `lognormal` has both `median` and `p50`, which are the same"),
        (Spec("lognormal", {"mean": 3.0, "p99": 9.0}), "HMS601",
         "distribution `lognormal` needs two numbers"),
        (Spec("lognormal", {"median": 0.0, "sigma": 1.0}), "HMS601",
         "distribution `lognormal` has `median = 0`; it must be above zero"),
        (Spec("uniform", {"low": 5, "high": 4}), "HMS601",
         "distribution `uniform` has low 5 above high 4"),
        (Spec("uniform", {"low": 5}), "HMS601", "distribution `uniform` needs `high`"),
        (Spec("uniform", {"lo": 5, "high": 9}), "HMS601",
         "distribution `uniform` has no argument `lo`"),
        (Spec("normal", {"mean": -3, "std": 1}), "HMS601",
         "distribution `normal` has `mean = -3`, which is negative"),
        (Spec("exponential", {"mean": float("inf")}), "HMS601",
         "distribution `exponential` has `mean = inf`, which is not a finite number"),
        (Spec("exponential", {"mean": 1.0, "min": 3.0, "max": 2.0}), "HMS601",
         "distribution `exponential` has min 3 above max 2"),
        (Spec("geometric", {"mean": 0.5}), "HMS601",
         "distribution `geometric` has mean 0.5; a count of at least 1 has a mean of at least 1"),
        (Spec("quantiles", {"points": ((0.5, 1),)}), "HMS601",
         "distribution `quantiles` needs `points`: at least two pairs (share, value)"),
        (Spec("quantiles", {"points": ((0.5, 1), (0.4, 2))}), "HMS601",
         "distribution `quantiles` needs shares that rise within 0 to 1"),
        (Spec("quantiles", {"points": ((0.1, 3), (0.4, 2))}), "HMS601",
         "distribution `quantiles` needs values that are not negative and never fall"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_refused(spec, code, message):
    with pytest.raises(SpecError) as caught:
        sample(spec, STREAM, 1)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [(code, message)]


def test_every_distribution_is_listed():
    used = {case[0].name for case in CLOSED_FORMS} | {"empirical"}
    assert used == set(DISTRIBUTIONS)


def test_median_is_the_exponential_of_mu():
    values = sample(Spec("lognormal", {"median": 1000, "sigma": 0.8}), STREAM, N)
    # Standard error of log median: sigma sqrt(pi/2) / sqrt(N).
    assert abs(log(np.median(values) / 1000)) < 4 * 0.8 * sqrt(np.pi / 2) / sqrt(N)

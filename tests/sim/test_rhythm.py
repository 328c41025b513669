"""Rates that swing, against their integrals."""

from math import cos, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.arrivals import arrival_times
from hermesdsl.sim.arrivals.rhythm import peak_sharpness
from hermesdsl.sim.streams import Stream

STREAM = Stream(5, "w.arrivals")
SINE = Spec("bursty", {"rate": 20.0, "period": 60.0, "swing": 0.8, "shape": "sine"})
ON_OFF = Spec("bursty", {"rate": 20.0, "period": 60.0, "swing": 0.5, "shape": "on_off"})
DAY = Spec("diurnal", {"rate": 20.0, "peak": 3.0, "period": 600.0})


def counts(spec: Spec, bins: int, duration: float = 24_000.0) -> np.ndarray:
    """Arrivals in each equal part of a cycle, over all cycles."""
    times = arrival_times(spec, STREAM, duration=duration)
    period = spec.args["period"]
    return np.histogram(times % period, bins, (0.0, period))[0]


@pytest.mark.parametrize("spec", [SINE, ON_OFF, DAY], ids=str)
def test_the_mean_rate_is_the_one_asked_for(spec):
    # Whole cycles: a Poisson count of mean 480,000.
    total = counts(spec, 1)[0]
    assert abs(total - 480_000) < 4 * 480_000**0.5


def test_a_sine_has_its_integral_in_every_sixth():
    # Over [a, b] of a cycle: b − a + s(cos 2πa − cos 2πb)/2π of its arrivals.
    for sixth, count in enumerate(counts(SINE, 6)):
        a, b = sixth / 6, (sixth + 1) / 6
        share = b - a + 0.8 * (cos(2 * pi * a) - cos(2 * pi * b)) / (2 * pi)
        assert abs(count - 480_000 * share) < 4 * (480_000 * share) ** 0.5


def test_on_and_off_have_their_levels():
    on, off = counts(ON_OFF, 2)
    assert abs(on - 360_000) < 4 * 360_000**0.5
    assert abs(off - 120_000) < 4 * 120_000**0.5
    silent = Spec("bursty", {**ON_OFF.args, "swing": 1.0})
    assert counts(silent, 2)[1] == 0
    first, second = counts(ON_OFF, 4)[:2]
    assert abs(first - second) < 4 * 360_000**0.5


def test_a_day_peaks_in_its_middle_at_the_peak_asked_for():
    found = counts(DAY, 100) / 4_800  # a hundredth of 480,000 is the mean
    assert found.max() == pytest.approx(3.0, rel=0.05)
    assert abs(found.argmax() - 49.5) < 6
    # Von Mises: lowest / highest = e^(-2κ).
    assert found.min() == pytest.approx(3.0 * np.exp(-2 * peak_sharpness(3.0)), rel=0.3)
    assert np.abs(found - found[::-1]).max() < 0.3


def test_sharpness_solves_its_equation():
    assert peak_sharpness(1.0) == pytest.approx(0.0, abs=1e-9)
    # e^1 / I0(1) = 2.71828 / 1.26607.
    assert peak_sharpness(2.147026) == pytest.approx(1.0, rel=1e-5)
    for peak in (1.5, 3.0, 40.0):
        sharpness = peak_sharpness(peak)
        assert np.exp(sharpness) / np.i0(sharpness) == pytest.approx(peak, rel=1e-9)


def test_no_swing_is_plain_poisson():
    flat = Spec("bursty", {**SINE.args, "swing": 0.0})
    plain = arrival_times(Spec("poisson", {"rate": 20.0}), STREAM, duration=500.0)
    assert arrival_times(flat, STREAM, duration=500.0) == pytest.approx(plain)


@pytest.mark.parametrize("spec", [SINE, ON_OFF, DAY], ids=str)
def test_a_longer_run_keeps_the_arrivals_of_a_shorter_one(spec):
    long = arrival_times(spec, STREAM, duration=2_000.0)
    assert (arrival_times(spec, STREAM, duration=777.0) == long[long < 777.0]).all()
    assert (arrival_times(spec, STREAM, requests=9_000) == long[:9_000]).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 50), st.floats(1, 500), st.floats(0, 1), st.sampled_from(["sine", "on_off"]),
       st.floats(0.5, 200), st.integers(0, 5))  # fmt: skip
def test_times_rise_and_stay_inside(rate, period, swing, shape, duration, seed):
    args = {"rate": rate, "period": period, "swing": swing, "shape": shape}
    times = arrival_times(Spec("bursty", args), Stream(seed, "x"), duration=duration)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < duration)).all()
    # Never more than (1 + swing) times the mean rate, beyond six standard deviations.
    most = (1 + swing) * rate * duration
    assert len(times) <= most + 6 * most**0.5 + 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"swing": 1.2}, "`swing` of arrivals `bursty` is 1.2, not between 0 and 1"),
        ({"shape": "square"}, "`shape` of arrivals `bursty` is square, not one of sine, on_off"),
        ({"period": 0.0}, "`period` of arrivals `bursty` is 0, not above zero"),
        ({"period": None}, "arrivals `bursty` need `period`, the length of a cycle in seconds"),
    ],
)
def test_refused(change, message):
    with pytest.raises(SpecError) as caught:
        arrival_times(Spec("bursty", {**SINE.args, **change}), STREAM, duration=1.0)
    assert [d.message for d in caught.value.diagnostics] == [message]


def test_a_day_has_a_peak_above_its_mean():
    with pytest.raises(SpecError, match=r"`peak` of arrivals `diurnal` is 0\.5, not between 1 and"):
        arrival_times(Spec("diurnal", {**DAY.args, "peak": 0.5}), STREAM, duration=1.0)

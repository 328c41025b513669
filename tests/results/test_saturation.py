"""The verdict on arrivals and departures with known behaviour."""

import numpy as np
import pytest

from hermesdsl.results.saturation import mean_present, verdict

NAN = float("nan")
WINDOW = (0.0, 100.0)
ARRIVAL = np.arange(0.0, 100.0, 0.5)


def single_server(service: float) -> np.ndarray:
    """Departures of one FCFS server with constant service (Lindley)."""
    left, free = [], 0.0
    for time in ARRIVAL:
        free = max(free, time) + service
        left.append(free)
    return np.array(left)


def test_stable_when_departures_follow_arrivals():
    left = single_server(0.4)
    assert verdict(ARRIVAL, left, WINDOW, 0.4) == "stable"


def test_overloaded_when_the_server_needs_longer_than_the_gaps():
    # Service 0.6 s against gaps of 0.5 s: 5/6 of the arrivals leave, the rest pile up.
    left = single_server(0.6)
    assert verdict(ARRIVAL, left, WINDOW, 20.0) == "overloaded"


def test_just_overloaded_runs_are_backlogged_at_least():
    # 0.52 s: 96 % leave in time; 200 requests take 104 s. The drain is 4 s, below 10 % of 100 s.
    assert verdict(ARRIVAL, single_server(0.52), WINDOW, 4.0) == "stable"
    # A burst of 60 at the end of the window: 24 s to drain at 0.4 s each.
    left = single_server(0.4)
    arrival = np.append(ARRIVAL, np.full(60, 99.9))
    left = np.append(left, 99.9 + 0.4 * np.arange(1, 61))
    assert verdict(arrival, left, WINDOW, 0.4) == "backlogged"


def test_backlogged_needs_a_drain_longer_than_the_slowest_requests():
    # Everything takes 30 s: a drain of 30 s is just what requests take.
    left = ARRIVAL + 30.0
    assert verdict(ARRIVAL, left, WINDOW, 30.0) == "stable"
    assert verdict(ARRIVAL, left, WINDOW, 12.0) == "backlogged"


def test_long_requests_are_not_overload():
    # Each takes 60 s of a 100 s window, with no queue: the crowd grows until 60 s, and then stays.
    assert verdict(ARRIVAL, ARRIVAL + 60.0, WINDOW, 60.0) == "stable"


def test_a_handful_of_requests_proves_nothing():
    arrival = np.array([0.0, 2.5])
    assert verdict(arrival, np.array([6.0, 5.0]), (0.0, 4.0), 6.0) == "stable"


def test_nothing_completes():
    left = np.full(len(ARRIVAL), NAN)
    assert verdict(ARRIVAL, left, WINDOW, NAN) == "overloaded"


@pytest.mark.parametrize("window", [(0.0, 0.0), (100.0, 50.0)])
def test_an_empty_window_is_stable(window):
    assert verdict(ARRIVAL, ARRIVAL + 1, window, 1.0) == "stable"
    assert verdict(np.empty(0), np.empty(0), WINDOW, NAN) == "stable"


def test_mean_present_is_a_time_average():
    # One from 0 to 4, one from 2 on: over [1, 5) they are there 3 s and 3 s of 4.
    arrival, left = np.array([0.0, 2.0]), np.array([4.0, NAN])
    assert mean_present(arrival, left, 1.0, 5.0) == pytest.approx(6 / 4)

"""The clock: the order of events, and looks between them that are no events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.sim.kernel import ARRIVAL, DELIVERY, STEP, WAKE, Kernel


def test_events_at_one_time_are_ordered_by_priority_then_key():
    kernel, seen = Kernel(), []
    for priority, key in ((DELIVERY, 1), (STEP, 2), (STEP, 1), (ARRIVAL, 9)):
        kernel.at(1.0, priority, key, lambda now, what: seen.append(what), 10 * priority + key)
    kernel.run()
    assert seen == [9, 11, 12, 21]


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (ARRIVAL, ["came 0", "step", "key -1", "key 2", "wake", "came 1", "late"]),
        (DELIVERY, ["step", "key -1", "came 0", "key 2", "wake", "came 1", "late"]),
    ],
)
def test_arrivals_known_beforehand_come_where_events_of_their_priority_would(priority, expected):
    """Arrival i has key i: as deliveries, 0 comes after the event of key -1, before that of 2."""
    kernel, seen = Kernel(), []
    kernel.arrivals([1.0, 2.0], lambda now, i: seen.append(f"came {i}"), priority)
    events = (
        (1.0, WAKE, 0, "wake"), (1.0, DELIVERY, 2, "key 2"), (1.0, STEP, 9, "step"),
        (3.0, STEP, 0, "late"), (1.0, DELIVERY, -1, "key -1"),
    )  # fmt: skip
    for time, standing, key, what in events:
        kernel.at(time, standing, key, lambda now, i: seen.append(events[i][-1]),
                  [event[-1] for event in events].index(what))  # fmt: skip
    kernel.run()
    assert seen == expected


def test_looks_come_before_what_happens_at_their_time_and_only_the_last_of_several():
    kernel, seen = Kernel(), []
    kernel.every(2.0, lambda time: seen.append(("look", time)))
    for time in (1.0, 2.0, 3.0, 9.5, 10.0):
        kernel.at(time, STEP, 0, lambda now, _: seen.append(("event", now)))
    kernel.run()
    assert seen == [
        ("event", 1.0), ("look", 2.0), ("event", 2.0), ("event", 3.0), ("look", 8.0),
        ("event", 9.5), ("look", 10.0), ("event", 10.0),
    ]  # fmt: skip


def test_looks_keep_no_run_going():
    kernel, seen = Kernel(), []
    kernel.every(1.0, seen.append)
    kernel.at(0.5, STEP, 0, lambda now, _: None)
    kernel.run()
    assert (seen, kernel.pending) == ([], 0)


def test_a_look_that_begins_later_begins_at_the_next_multiple():
    kernel, seen = Kernel(), []
    kernel.at(2.5, STEP, 0, lambda now, _: kernel.every(1.0, seen.append))
    for time in (2.75, 3.25):
        kernel.at(time, STEP, 0, lambda now, _: None)
    kernel.run()
    assert seen == [3.0]


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30),
    st.sampled_from([0.1, 0.3, 1 / 3, 1e-3, 7.7, 250.0]),
)
def test_a_look_is_never_late_never_twice_and_never_early(times: list[float], period: float):
    kernel, seen = Kernel(), []
    kernel.every(period, seen.append)
    happened: list[float] = []

    def event(now: float, _: int) -> None:
        assert all(look <= now for look in seen)
        assert not seen or seen[-1] + period > now - 1e-9
        happened.append(now)

    for time in times:
        kernel.at(time, STEP, 0, event)
    kernel.run()
    assert seen == sorted(set(seen))
    for look in seen:
        assert look / period == pytest.approx(round(look / period))

"""How a call is timed, on a device whose times are known."""

from __future__ import annotations

import threading
import time

import pytest
from formula_device import FormulaDevice

from hermesdsl.measure.profile.grid import Case
from hermesdsl.measure.profile.timing import (
    AWAKE_S,
    BATCHES,
    FILL,
    LEAST,
    MOST,
    POWERED,
    WARM,
    awake,
    drawn,
    summary,
    timed,
)

CASE = Case("device_copy", "bf16", (1024,))


def device(seconds: float, **more: object) -> FormulaDevice:
    return FormulaDevice(formula=lambda _: seconds, **more)  # type: ignore[arg-type]


def test_the_time_is_that_of_a_warm_call_with_cold_caches() -> None:
    # Unflushed calls would read 1 ms, the first three 20 ms, and the flush itself adds 0.1 ms.
    own = device(2e-3, cold=WARM)
    found = timed(own, own.prepare(CASE))
    assert found.seconds == pytest.approx(2e-3)
    assert found.low == pytest.approx(found.high)


@pytest.mark.parametrize(("seconds", "repeats"), [(1e-6, MOST), (FILL / 11.5, 12), (0.1, LEAST)])
def test_short_calls_are_repeated_more(seconds: float, repeats: int) -> None:
    own = device(seconds)
    assert timed(own, own.prepare(CASE)).repeats == repeats


def test_an_unsteady_call_is_timed_again_but_not_for_ever() -> None:
    # A tenth apart: the quartiles are 10 % of the median from each other, over 5 %.
    own = device(0.1, noise=(1.0, 1.1))
    found = timed(own, own.prepare(CASE))
    assert found.repeats == BATCHES * LEAST
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.11)


def test_a_slow_call_is_not_timed_again() -> None:
    # Seven calls of 0.3 s and 0.33 s are 2.2 s: enough.
    own = device(0.3, noise=(1.0, 1.1))
    assert timed(own, own.prepare(CASE)).repeats == LEAST


def test_an_outlier_moves_neither_median_nor_quartiles() -> None:
    found = summary([1.0] * 9 + [50.0])
    assert (found.seconds, found.low, found.high, found.repeats) == (1.0, 1.0, 1.0, 10)


def test_power_is_the_mean_of_what_is_read() -> None:
    own = device(1e-3, watts=300.0)
    assert drawn(own, own.prepare(CASE), 1e-3, own.clock) == pytest.approx(300.0)


def test_a_slow_reading_finds_the_device_at_work() -> None:
    """As by the driver's command: the calls go on until it is there."""
    busy: list[bool] = []

    class Slow(FormulaDevice):
        def power(self) -> float | None:
            before = self.calls
            if threading.current_thread() is threading.main_thread():
                self.now += 1.0  # the first reading, which shows how long one takes
                return 0.0
            time.sleep(0.02)
            busy.append(self.calls > before)
            return 300.0

    own = Slow(formula=lambda _: 1e-3)
    assert drawn(own, own.prepare(CASE), 1e-3, own.clock) == pytest.approx(300.0)
    assert busy
    assert all(busy)


def test_a_device_is_kept_busy_until_its_clocks_have_risen() -> None:
    own = device(2e-3)
    awake(own, own.prepare(CASE), own.clock)
    assert AWAKE_S <= own.now < AWAKE_S + LEAST * 2.1e-3


@pytest.mark.parametrize(("seconds", "watts"), [(POWERED / 2, 300.0), (1e-3, None)])
def test_no_power_of_short_calls_or_silent_devices(seconds: float, watts: float | None) -> None:
    own = device(seconds, watts=watts)
    assert drawn(own, own.prepare(CASE), seconds, own.clock) is None
    assert own.calls == 0

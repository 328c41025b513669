"""What differences follow, from differences that were made."""

import numpy as np
import pytest

from hermesdsl.measure.causes import CAUSES, fitted, largest, part_of_runs, parts
from hermesdsl.measure.phases import Spent

N = 200
DRAW = np.random.default_rng(7)
STEPS = DRAW.integers(10, 300, N).astype(float)
#: Devices take 8 to 16 ms per step, the host 1 ms; prompts 5 to 80 ms on devices.
DEVICE = STEPS * DRAW.uniform(8e-3, 16e-3, N)
#: Of each step 7 ms read weights, and up to 1 ms KV.
MEMORY = STEPS * DRAW.uniform(7e-3, 8e-3, N)
PROMPT = DRAW.uniform(5e-3, 80e-3, N)
NONE = np.zeros(N)


def spent(waited: np.ndarray = NONE, api: float = 6e-3) -> Spent:
    """Each request waits for 0 steps (20 ms each) but where `waited`, then reads and decodes."""
    return Spent(
        device=np.stack([0.02 * waited, PROMPT, DEVICE]),
        host=np.stack([NONE, NONE, 1e-3 * STEPS]),
        api=np.stack([NONE + api, NONE, NONE]),
        other=np.zeros((3, N)),
        steps=np.stack([waited, NONE + 1.0, STEPS]),
        memory=np.stack([0.005 * waited, 4e-3 + 0.05 * PROMPT, MEMORY]),
    )


def phase(device: np.ndarray, memory: np.ndarray | None = None) -> Spent:
    """One phase of `STEPS` whose host takes 1 ms of each."""
    row = device[None]
    own = 0.5 * row if memory is None else memory[None]
    steps = STEPS[None][:, : len(device)]
    return Spent(row, 1e-3 * steps, 0.0 * row, 0.0 * row, steps, own)


def edges(own: Spent) -> dict[str, np.ndarray]:
    ends = np.cumsum(own.device + own.host + own.api + own.other, axis=0)
    return dict(zip(("queue", "ttft", "latency"), ends, strict=True))


def split(more: dict[str, np.ndarray], own: Spent, *, queue: bool = False):  # type: ignore[no-untyped-def]
    """The parts if each edge is measured so much later than predicted."""
    known = edges(own)
    roles = ["queue", "ttft", "latency"] if queue else ["ttft", "latency"]
    pairs = {role: (known[role] + more.get(role, NONE), known[role]) for role in roles}
    names = ["queueing", "prefill", "decode"] if queue else ["queueing and prefill", "decode"]
    found = parts(pairs, own, names)
    for name, part in found.items():
        assert sum(part.causes.values()) == pytest.approx(part.difference, abs=1e-15), name
        assert sum(part.known.values()) == pytest.approx(part.figure.predicted)
        assert tuple(part.causes) == CAUSES
    measured, predicted = pairs["latency"]
    assert sum(part.difference for part in found.values()) == pytest.approx(
        float((predicted - measured).mean()), abs=1e-12
    )
    return found


def test_no_difference_has_no_cause() -> None:
    found = split({}, spent())
    assert all(part.fit.told for part in found.values())
    assert largest(found) is None


def test_devices_a_tenth_slower_in_decoding() -> None:
    found = split({"latency": 0.1 * DEVICE}, spent())
    decode = found["decode"]
    assert decode.fit.slower == pytest.approx(0.1)
    assert decode.causes["device"] == pytest.approx(-0.1 * DEVICE.mean())
    assert decode.causes["host"] == pytest.approx(0.0, abs=1e-9)
    assert largest(found) == ("decode", "device")
    assert "1.10 x" in decode.words("device")


def test_two_milliseconds_of_the_host_in_every_step() -> None:
    found = split({"latency": 2e-3 * STEPS}, spent())
    assert found["decode"].fit.each == pytest.approx(2e-3)
    assert found["decode"].causes["host"] == pytest.approx(-2e-3 * STEPS.mean())
    assert largest(found) == ("decode", "host")
    assert found["decode"].words("host") == "the host takes 2 ms more per step"


def test_both_at_once_are_told_apart() -> None:
    found = split({"latency": 0.1 * DEVICE + 2e-3 * STEPS}, spent())["decode"]
    assert (found.fit.slower, found.fit.each) == (pytest.approx(0.1), pytest.approx(2e-3))
    assert found.fit.told


def test_an_api_that_takes_five_milliseconds_more() -> None:
    later = dict.fromkeys(("queue", "ttft", "latency"), NONE + 0.005)
    found = split(later, spent())
    assert found["queueing and prefill"].causes["host"] == pytest.approx(-5e-3)
    assert largest(found) == ("queueing and prefill", "host")
    found = split(later, spent(), queue=True)
    assert found["queueing"].causes["host"] == pytest.approx(-5e-3)
    assert found["prefill"].causes["host"] == pytest.approx(0.0, abs=1e-9)
    assert "host and its API take 5 ms more per request" in found["queueing"].words("host")


def test_prompts_that_are_read_more_slowly() -> None:
    later = dict.fromkeys(("ttft", "latency"), 0.2 * PROMPT)
    found = split(later, spent(), queue=True)
    assert found["prefill"].causes["device"] == pytest.approx(-0.2 * PROMPT.mean())
    assert largest(found) == ("prefill", "device")


def test_a_full_engine_is_neither_device_nor_host() -> None:
    """A fifth of the requests wait two seconds longer; the others say that speeds are right."""
    full = np.where(np.arange(N) % 5 == 0, 2.0, 0.0)
    found = split(dict.fromkeys(("queue", "ttft", "latency"), full), spent(), queue=True)
    assert found["queueing"].causes["rest"] == pytest.approx(-0.4)
    assert largest(found) == ("queueing", "rest")
    assert "capacity" in found["queueing"].words("rest")


def test_a_slow_device_makes_requests_wait_that_queue() -> None:
    """Half of them wait for 30 steps of 20 ms; all devices take a tenth longer."""
    waited = np.where(np.arange(N) % 2 == 0, 30.0, 0.0)
    own = spent(waited)
    later = np.cumsum(0.1 * own.device, axis=0)
    roles = ("queue", "ttft", "latency")
    found = split(dict(zip(roles, later, strict=True)), own, queue=True)
    assert found["queueing"].causes["device"] == pytest.approx(-0.1 * 0.02 * waited.mean())
    assert found["queueing"].causes["rest"] == pytest.approx(0.0, abs=1e-9)


def test_waiting_follows_the_steps_that_are_waited_for() -> None:
    """Half of them wait for 30 steps, prompts are read at half speed, steps decode as predicted:
    what is waited for beyond 2.5 steps is no slower."""
    waited = np.where(np.arange(N) % 2 == 0, 30.0, 0.0)
    own = spent(waited)
    later = {"ttft": PROMPT, "latency": PROMPT}
    found = split(later, own, queue=True)
    assert found["prefill"].causes["device"] == pytest.approx(-PROMPT.mean())
    assert found["queueing"].causes["device"] == pytest.approx(-0.5 * 2.5 * 0.02)
    assert found["queueing"].causes["rest"] == pytest.approx(0.5 * 2.5 * 0.02)


def test_steps_that_are_all_alike_tell_no_cause() -> None:
    """12 ms of device in every step: a tenth of it and 1.2 ms of the host are one."""
    gap, device = 1.2e-3 * STEPS, 12e-3 * STEPS
    found = fitted(gap, phase(device), STEPS, least=1e-3)
    assert not found.told
    assert found.slower == pytest.approx(0.1)
    own = Spent(np.stack([NONE, PROMPT, device]), *(np.zeros((3, N)) for _ in range(3)),
                np.stack([NONE, NONE + 1, STEPS]), np.zeros((3, N)))  # fmt: skip
    decode = split({"latency": gap}, own)["decode"]
    assert decode.causes["either"] == pytest.approx(-gap.mean())
    assert "do not say which" in decode.words("either")


def test_slow_memory_is_not_taken_for_the_host() -> None:
    """A third more for what memory takes: 2.5 ms in every step, and as much as KV varies."""
    exact = fitted(MEMORY / 3.0, phase(DEVICE, MEMORY), STEPS, least=1e-3)
    assert not exact.told or abs(exact.each) < 1e-4
    noisy = MEMORY / 3.0 + STEPS * DRAW.normal(0.0, 2e-4, N)
    found = fitted(noisy, phase(DEVICE, MEMORY), STEPS, least=1e-3)
    assert not found.told


def test_noise_that_hides_the_cause_is_said() -> None:
    """Device times that vary by 1 %, differences by 5 %: device or host, not one of them."""
    device = STEPS * 12e-3 * DRAW.normal(1.0, 0.01, N)
    gap = 0.1 * device * DRAW.normal(1.0, 0.05, N)
    found = fitted(gap, phase(device), STEPS, least=1e-3)
    assert not found.told
    assert found.slower == pytest.approx(0.1, rel=0.02)


def test_a_host_cannot_take_less_than_nothing() -> None:
    """3 ms less in every step, of a host that is predicted to take 1 ms: devices are faster."""
    found = fitted(-3e-3 * STEPS, phase(DEVICE), STEPS, least=1e-3)
    assert found.each >= -1e-3
    assert found.slower < 0.0


def test_three_requests_tell_no_cause() -> None:
    found = fitted(0.1 * DEVICE[:3], phase(DEVICE[:3]), STEPS[:3], least=0.0)
    assert not found.told
    assert found.slower == pytest.approx(0.1)


def test_nothing_on_devices_is_all_rest() -> None:
    found = fitted(NONE + 1.0, phase(NONE), STEPS, least=0.0)
    assert (found.each, found.slower, found.told) == (0.0, 0.0, False)


def runs(device: list[float]) -> Spent:
    """Means per step of several runs; the host takes 1 ms of each step."""
    row = np.array([device])
    same = np.ones_like(row)
    return Spent(row, 1e-3 * same, 0.0 * same, 0.0 * same, same, 0.5 * row)


def test_causes_across_runs() -> None:
    device = [8e-3, 10e-3, 13e-3, 17e-3]
    own = runs(device)
    predicted = own.device[0] + 1e-3
    calm = np.ones(4, bool)
    slower = part_of_runs(predicted + 0.1 * own.device[0], predicted, own, calm, "step")
    assert slower.causes["device"] == pytest.approx(-0.1 * np.mean(device))
    later = part_of_runs(predicted + 2e-3, predicted, own, calm, "step")
    assert later.causes["host"] == pytest.approx(-2e-3)
    assert later.fit.each == pytest.approx(2e-3)


def test_runs_that_queue_up_tell_no_speed() -> None:
    """Two of six runs overload: their seconds are not those of the host."""
    own = runs([8e-3, 10e-3, 13e-3, 17e-3, 18e-3, 19e-3])
    predicted = own.device[0] + 1e-3
    gap = np.array([2e-3] * 4 + [1.0, 2.0])
    calm = np.array([True] * 4 + [False] * 2)
    found = part_of_runs(predicted + gap, predicted, own, calm, "request")
    assert found.causes["host"] == pytest.approx(-2e-3)
    assert found.causes["rest"] == pytest.approx(-(gap.mean() - 2e-3))

"""Requests that wait for others: sessions, closed loops, replayed dialogues."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import RequestClass, Spec, Workload
from hermesdsl.sim.chains import FASTEST_TOKEN, predecessors
from hermesdsl.sim.requests import RequestBatch
from hermesdsl.sim.workload import offered, offered_rates

SESSIONS = Workload(
    name="talk",
    pipeline="Chat",
    arrivals=Spec("poisson", {"rate": 5.0}),
    prompt=Spec("lognormal", {"median": 300.0, "sigma": 0.9}),
    output=Spec("exponential", {"mean": 100.0}),
    class_mix=(("gold", 0.25), ("free", 0.75)),
    sessions=True,
    options={
        "turns": Spec("geometric", {"mean": 3.0, "max": 20}),
        "think_time": Spec("exponential", {"mean": 10.0}),
        "prefix": Spec("reuse", {"length": Spec("uniform", {"low": 100.0, "high": 900.0}),
                                 "over": Spec("zipf", {"n": 8, "s": 1.1})}),
    },
)  # fmt: skip
CLASSES = {"gold": RequestClass("gold", 10), "free": RequestClass("free", 1)}
CLOSED = Workload(
    name="loop",
    pipeline="Chat",
    arrivals=Spec("closed", {"users": 4, "think": Spec("exponential", {"mean": 5.0})}),
    prompt=Spec("fixed", {"value": 10}),
    output=Spec("fixed", {"value": 20}),
)


def made(workload: Workload, duration: float | None = 200.0, seed: int = 1) -> RequestBatch:
    return offered(workload, duration=duration, seed=seed, classes=CLASSES).batch


def check_chains(batch: RequestBatch) -> None:
    """What holds for every batch: the interpreter relies on it."""
    n = len(batch)
    follows = batch.after >= 0
    assert (batch.after < np.arange(n)).all()
    assert np.isfinite(batch.arrival[~follows]).all()
    assert np.isinf(batch.arrival[follows]).all()
    assert not follows[: n - follows.sum()].any()  # those that come by themselves are first
    assert (np.diff(batch.arrival[~follows]) >= 0).all()
    assert len(np.unique(batch.after[follows])) == follows.sum()  # one follower each
    assert (batch.delay[~follows] == 0).all()
    assert (batch.delay >= 0).all()
    for column in ("session", "klass", "prefix", "prefix_tokens"):
        if batch.grows:
            values = getattr(batch, column)
            assert (values[follows] == values[batch.after[follows]]).all()
    assert (batch.turn[follows] == batch.turn[batch.after[follows]] + 1).all() or not batch.grows


def test_sessions_are_chains_of_turns():
    batch = made(SESSIONS)
    check_chains(batch)
    assert batch.grows
    turns = np.bincount(batch.session)
    # Poisson count of sessions; mean of the stopped count: 3 (1 - (2/3)^20).
    assert abs(len(turns) - 1000) < 4 * 1000**0.5
    assert abs(turns.mean() - 3 * (1 - (2 / 3) ** 20)) < 4 * turns.std() / 1000**0.5
    assert turns.max() <= 20
    think = batch.delay[batch.after >= 0]
    assert abs(think.mean() - 10.0) < 4 * 10.0 / len(think) ** 0.5


def test_one_turn_is_a_request_without_sessions():
    single = replace(SESSIONS, options={**SESSIONS.options, "turns": Spec("fixed", {"value": 1})})
    plain = replace(SESSIONS, sessions=False,
                    options={"prefix": SESSIONS.options["prefix"]})  # fmt: skip
    one, other = made(single), made(plain)
    for column in ("arrival", "prompt", "output", "klass", "priority", "turn", "after", "delay",
                   "prefix", "prefix_tokens"):  # fmt: skip
        assert (getattr(one, column) == getattr(other, column)).all(), column
    assert (other.session == -1).all()


def test_more_turns_leave_the_draws_of_the_first_ones():
    few = made(SESSIONS)
    many = made(
        replace(SESSIONS, options={**SESSIONS.options, "turns": Spec("fixed", {"value": 9})})
    )
    place = {(s, t): row for row, (s, t) in enumerate(zip(many.session, many.turn, strict=True))}
    kept = [row for row in range(len(few)) if few.turn[row] <= 9]
    same = np.array([place[few.session[row], few.turn[row]] for row in kept])
    for column in ("prompt", "output", "delay", "klass", "prefix"):
        assert (getattr(few, column)[kept] == getattr(many, column)[same]).all(), column


def test_a_limit_keeps_whole_sessions_in_order():
    whole, cut = made(SESSIONS), made(replace(SESSIONS, requests=100), duration=None)
    assert len(cut) == 100
    check_chains(cut)
    sizes, kept = np.bincount(whole.session), np.bincount(cut.session)
    assert (kept[:-1] == sizes[: len(kept) - 1]).all()
    assert kept[-1] <= sizes[len(kept) - 1]


def test_without_think_time_turns_follow_at_once():
    at_once = replace(SESSIONS, options={"turns": Spec("fixed", {"value": 3})})
    assert (made(at_once).delay == 0).all()


def test_mean_rates_count_turns():
    rate, prompt, output = offered_rates(SESSIONS)
    turns = 3 * (1 - (2 / 3) ** 20)
    assert rate == pytest.approx(5 * turns)
    assert output == pytest.approx(rate * 100)
    assert prompt == pytest.approx(rate * 300 * np.exp(0.405))


# --- closed loops ------------------------------------------------------------------------------


def test_users_of_a_closed_loop():
    batch = made(CLOSED)
    check_chains(batch)
    assert (batch.arrival[:4] < np.inf).all()
    assert (batch.after[4:] == np.arange(len(batch) - 4)).all()
    assert not batch.grows
    assert (batch.session == -1).all()
    # Every user has enough requests to last 200 s at 1 ms per token of 20 and its think times.
    for user in range(4):
        own = np.arange(user, len(batch), 4)
        served = batch.arrival[user] + batch.delay[own].sum() + len(own) * 20 * FASTEST_TOKEN
        assert served >= 200.0


def test_users_begin_by_thinking():
    first = [made(CLOSED, seed=seed).arrival[0] for seed in range(400)]
    # The least of four exponentials of mean 5.
    assert np.mean(first) == pytest.approx(1.25, rel=0.2)
    eager = replace(CLOSED, arrivals=Spec("closed", {"users": 4}), requests=10)
    batch = made(eager)
    assert batch.arrival[:4].tolist() == [0, 0, 0, 0]
    assert len(batch) == 10


def test_a_longer_loop_keeps_the_requests_of_a_shorter_one():
    short, long = made(CLOSED, 50.0), made(CLOSED, 200.0)
    users, n = 4, len(short)
    assert (short.delay == long.delay[:n]).all()
    assert (short.arrival[:users] == long.arrival[:users]).all()


def test_users_who_come_too_late_do_not_come():
    slow = Spec("closed", {"users": 50, "think": Spec("fixed", {"value": 1000.0})})
    assert len(made(replace(CLOSED, arrivals=slow))) == 0
    few = replace(CLOSED, requests=3)
    assert len(made(few)) == 3
    check_chains(made(few))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.floats(0, 20), st.one_of(st.none(), st.floats(0.1, 60)),
       st.one_of(st.none(), st.integers(1, 60)), st.integers(0, 9))  # fmt: skip
def test_every_closed_loop_is_sound(users, think, duration, requests, seed):
    if duration is None and requests is None:
        requests = 5
    arrivals = Spec("closed", {"users": users, "think": Spec("exponential", {"mean": think + 0.1})})
    batch = made(replace(CLOSED, arrivals=arrivals, requests=requests), duration, seed)
    check_chains(batch)
    assert requests is None or len(batch) <= requests
    assert duration is None or (batch.arrival[batch.after < 0] < duration).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 9), st.floats(0.2, 8), st.one_of(st.none(), st.integers(1, 80)),
       st.integers(0, 9), st.booleans())  # fmt: skip
def test_every_set_of_sessions_is_sound(mean, rate, requests, seed, private):
    over = Spec("uniform") if private else Spec("zipf", {"n": 3, "s": 1.0})
    length = Spec("fixed", {"value": 64})
    options = {"turns": Spec("geometric", {"mean": mean}),
               "prefix": Spec("reuse", {"length": length, "over": over})}  # fmt: skip
    batch = made(replace(SESSIONS, arrivals=Spec("poisson", {"rate": rate}), requests=requests,
                         options=options), 20.0, seed)  # fmt: skip
    check_chains(batch)
    assert requests is None or len(batch) <= requests
    sessions = batch.session[batch.turn == 1]
    assert (sessions == np.arange(len(sessions))).all()


# --- dialogues of a trace ----------------------------------------------------------------------

TRACE = """arrival_s,prompt,output,session
0,10,1,a
1,20,1,b
2,30,1,a
5,40,1,
9,50,1,a
9,60,1,b
"""


def replayed(tmp_path, replay: str, text: str = TRACE) -> RequestBatch:
    file = tmp_path / "t.csv"
    file.write_text(text)
    return made(Workload("r", "Chat", Spec("trace", {"file": str(file), "replay": replay})), None)


def test_a_trace_replayed_open_keeps_its_times(tmp_path):
    batch = replayed(tmp_path, "open")
    assert batch.arrival.tolist() == [0, 1, 2, 5, 9, 9]
    assert batch.turn.tolist() == [1, 1, 2, 1, 3, 2]
    assert (batch.after == -1).all()
    assert not batch.grows


def test_a_trace_replayed_closed_waits_for_answers(tmp_path):
    batch = replayed(tmp_path, "closed")
    check_chains(batch)
    assert batch.prompt.tolist() == [10, 20, 40, 30, 50, 60]
    assert batch.arrival.tolist()[:3] == [0, 1, 5]
    assert batch.after.tolist() == [-1, -1, -1, 0, 3, 1]
    assert batch.delay.tolist() == [0, 0, 0, 2, 7, 8]
    assert batch.session.tolist() == [0, 1, -1, 0, 0, 1]
    assert not batch.grows  # a trace's prompts hold their history already


@given(st.lists(st.integers(-1, 4), max_size=40))
def test_predecessors_by_search(sessions):
    before, turn = predecessors(np.array(sessions, np.int64))
    for row, session in enumerate(sessions):
        earlier = [r for r in range(row) if sessions[r] == session] if session >= 0 else []
        assert before[row] == (earlier[-1] if earlier else -1)
        assert turn[row] == len(earlier) + 1


@pytest.mark.parametrize(
    ("workload", "duration", "message"),
    [
        (replace(SESSIONS, options={"think_time": Spec("fixed", {"value": 1})}), 9.0,
         "`talk.think_time` without `turns`: nobody comes back"),
        (replace(CLOSED, options={"turns": Spec("fixed", {"value": 2})}), 9.0,
         "`loop.turns`: arrivals `closed` do not begin sessions"),
        (replace(CLOSED, arrivals=Spec("closed", {"users": 0})), 9.0, "`closed` needs `users`"),
        (replace(CLOSED, arrivals=Spec("closed", {"users": 2, "rate": 1})), 9.0,
         "`closed` has no argument `rate`"),
        (CLOSED, None, "arrivals `closed` have no end"),
        (replace(CLOSED, output=None), 9.0, "workload `loop` has no `output` lengths"),
        (replace(CLOSED, prompt=None), 9.0, "workload `loop` has no `prompt` lengths"),
        (replace(SESSIONS, options={"turns": Spec("fixed", {"value": 1e7})}), 9.0,
         "the limit is 20,000,000"),
        (replace(CLOSED, arrivals=Spec("closed", {"users": 10**6}),
                 output=Spec("fixed", {"value": 1})), 9.0, "the limit is 20,000,000"),
    ],
    ids=range(9),
)  # fmt: skip
def test_refused(workload, duration, message):
    with pytest.raises(SpecError) as caught:
        made(workload, duration)
    assert message in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].code == "HMS601"


def test_a_trace_without_sessions_cannot_be_replayed_closed(tmp_path):
    with pytest.raises(SpecError) as caught:
        replayed(tmp_path, "closed", "arrival_s,prompt,output\n0,1,1\n")
    message = "a trace without conversations cannot be replayed `closed`"
    assert caught.value.diagnostics[0].message == message

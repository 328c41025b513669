"""What a workload offers: arrivals, lengths and classes, each independent of the others."""

from dataclasses import replace

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import RequestClass, Spec, Workload
from hermesdsl.sim.workload import offered, offered_rates

CHAT = Workload(
    name="chat",
    pipeline="Chat",
    arrivals=Spec("poisson", {"rate": 20.0}),
    prompt=Spec("lognormal", {"median": 300.0, "sigma": 0.9}),
    output=Spec("exponential", {"mean": 100.0}),
    class_mix=(("gold", 0.25), ("free", 0.75)),
)
CLASSES = {"gold": RequestClass("gold", 10), "free": RequestClass("free", 1)}
COLUMNS = ("arrival", "prompt", "output", "klass", "session", "priority")


def batch(workload: Workload = CHAT, *, duration: float | None = 100.0, seed: int = 1):
    return offered(workload, duration=duration, seed=seed, classes=CLASSES).batch


def replay(tmp_path, text: str) -> Workload:
    file = tmp_path / "t.csv"
    file.write_text(text)
    return Workload("replay", "Chat", Spec("trace", {"file": str(file)}))


def test_columns_have_one_length_and_their_ranges():
    made = batch()
    n = len(made)
    assert {len(getattr(made, name)) for name in COLUMNS} == {n}
    # Poisson count: mean 2000, standard deviation sqrt(2000).
    assert abs(n - 2000) < 4 * 2000**0.5
    assert (np.diff(made.arrival) >= 0).all()
    assert made.arrival[-1] < 100
    assert made.prompt.min() >= 1
    assert made.output.min() >= 1
    assert (made.session == -1).all()


def test_classes_are_mixed_by_share_and_bring_their_priority():
    made = batch(duration=1000.0)
    gold = made.klass == made.classes.index("gold")
    assert abs(gold.mean() - 0.25) < 4 * (0.25 * 0.75 / len(made)) ** 0.5
    assert set(made.priority[gold]) == {10}
    assert set(made.priority[~gold]) == {1}


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"arrivals": Spec("gamma", {"rate": 20.0, "cv": 2.0})}, {"arrival"}),
        ({"prompt": Spec("fixed", {"value": 7})}, {"prompt"}),
        ({"output": Spec("fixed", {"value": 7})}, {"output"}),
        ({"class_mix": (("gold", 0.9), ("free", 0.1))}, {"klass", "priority"}),
    ],
)
def test_changing_one_part_leaves_the_draws_of_the_others(change, moved):
    before, after = batch(), batch(replace(CHAT, **change))
    n = min(len(before), len(after))
    changed = {
        name for name in COLUMNS if (getattr(before, name)[:n] != getattr(after, name)[:n]).any()
    }
    assert changed == moved


def test_another_seed_or_name_draws_anew_and_the_same_does_not():
    again, other, named = batch(), batch(seed=2), batch(replace(CHAT, name="chat2"))
    assert (batch().arrival == again.arrival).all()
    assert batch().arrival[0] != other.arrival[0]
    assert batch().arrival[0] != named.arrival[0]


def test_requests_limit_keeps_the_first_ones():
    made = batch(replace(CHAT, requests=10), duration=None)
    assert len(made) == 10
    assert (made.prompt == batch().prompt[:10]).all()


def test_an_unclassed_workload_has_one_unnamed_class():
    made = batch(replace(CHAT, class_mix=()))
    assert made.classes == ("",)
    assert set(made.klass) == {0}
    assert set(made.priority) == {0}


def test_a_trace_brings_lengths_classes_and_sessions(tmp_path):
    text = "arrival_s,prompt,output,class,session\n1,10,2,free,a\n2,20,3,gold,b\n3,30,4,free,a\n"
    made = batch(replay(tmp_path, text), duration=None)
    assert made.prompt.tolist() == [10, 20, 30]
    assert [made.classes[k] for k in made.klass] == ["free", "gold", "free"]
    assert made.priority.tolist() == [1, 10, 1]
    assert made.session.tolist() == [0, 1, 0]


def test_a_workload_overrides_what_its_trace_brings(tmp_path):
    text = "arrival_s,prompt,output,class\n1,10,2,unheard\n2,20,3,of\n"
    workload = replace(
        replay(tmp_path, text),
        output=Spec("fixed", {"value": 9}),
        class_mix=(("gold", 1.0),),
    )
    made = batch(workload)
    assert made.prompt.tolist() == [10, 20]
    assert made.output.tolist() == [9, 9]
    assert made.classes == ("gold",)


def test_a_trace_is_cut_at_the_duration_and_says_so(tmp_path):
    workload = replay(tmp_path, "arrival_s,prompt,output\n0,1,1\n5,1,1\n10,1,1\n11,1,1\n")
    load = offered(workload, duration=10.0, seed=1, classes={})
    assert load.batch.arrival.tolist() == [0.0, 5.0]
    assert load.notes[-1] == "2 of 4 rows come after 10 s; left out"
    load = offered(replace(workload, requests=3), duration=None, seed=1, classes={})
    assert len(load.batch) == 3
    assert load.notes[-1] == "`replay.requests` keeps the first 3 rows"


def test_mean_rates_for_the_capacity_bound():
    rate, prompt, output = offered_rates(CHAT)
    assert rate == 20
    assert prompt == pytest.approx(20 * 300 * np.exp(0.405))
    assert output == pytest.approx(2000)
    assert offered_rates(Workload("t", "Chat", Spec("trace", {"file": "x"}))) is None


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"prompt": None}, "HMS601", "workload `chat` has no `prompt` lengths"),
        ({"requests": 0}, "HMS601", "`chat.requests` is 0; at least 1"),
        ({"class_mix": (("gold", 0.5),)}, "HMS601",
         "class shares of workload `chat` add up to 50%"),
        ({"class_mix": (("gold", 1.5), ("free", -0.5))}, "HMS601",
         "the share of class `gold` in workload `chat` is 150%"),
        ({"class_mix": (("golden", 1.0),)}, "HMS601",
         "workload `chat` mixes a class `golden` that does not exist"),
        ({"arrivals": Spec("clsoed", {"users": 3})}, "HMS506",
         "arrivals `clsoed` are not executable yet"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_refused(change, code, message):
    with pytest.raises(SpecError) as caught:
        batch(replace(CHAT, **change))
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [(code, message)]


def test_a_class_that_a_trace_names_must_exist(tmp_path):
    text = "arrival_s,prompt,output,class\n1,10,2,gold\n2,20,3,godl\n"
    with pytest.raises(SpecError) as caught:
        batch(replay(tmp_path, text))
    assert "line 3, column `class`: `godl`" in caught.value.diagnostics[0].message

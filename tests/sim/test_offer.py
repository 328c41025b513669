"""Shared prefixes, arrivals merged from several, and mixtures of lengths."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, Workload
from hermesdsl.sim.lengths import distribution, mean, tokens
from hermesdsl.sim.offer import Offer, Wanted, offer_of
from hermesdsl.sim.popularity import shared_prefixes
from hermesdsl.sim.requests import Blocks, infinite_hit_rate
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.workload import offered

STREAM = Stream(9, "w")
LENGTH = Spec("uniform", {"low": 100.0, "high": 5000.0})


def reuse(over: Spec | None = None) -> Spec:
    return Spec("reuse", {"length": LENGTH, "over": over})


# --- prefixes ----------------------------------------------------------------------------------


def test_zipf_shares():
    identity, length = shared_prefixes(reuse(Spec("zipf", {"n": 8, "s": 1.1})), STREAM, 100_000)
    weights = np.arange(1, 9) ** -1.1
    expected = 100_000 * weights / weights.sum()
    assert (np.abs(np.bincount(identity) - expected) < 4 * expected**0.5).all()
    # One length per prefix.
    assert len(set(zip(identity.tolist(), length.tolist(), strict=True))) == 8
    assert len(set(length.tolist())) == 8


def test_hotspots_spread_normally_in_their_logarithm():
    spec = reuse(Spec("hotspots", {"n": 8, "sigma": 0.75}))
    counts = np.bincount(shared_prefixes(spec, STREAM, 200_000)[0])
    logs = np.log(counts)
    # z of (k − ½)/8: ±1.534 at the ends, 0.157 between the middle two.
    assert logs[0] - logs[-1] == pytest.approx(0.75 * 2 * 1.5341, abs=0.05)
    assert logs[3] - logs[4] == pytest.approx(0.75 * 2 * 0.1573, abs=0.05)


@pytest.mark.parametrize("over", [None, Spec("uniform")])
def test_private_prefixes(over):
    identity, length = shared_prefixes(reuse(over), STREAM, 50)
    assert identity.tolist() == list(range(50))
    assert len(set(length.tolist())) > 40


def test_no_requests_have_no_prefixes():
    identity, length = shared_prefixes(reuse(Spec("zipf", {"n": 3, "s": 1.0})), STREAM, 0)
    assert len(identity) == len(length) == 0


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (reuse(Spec("zpif", {"n": 3})), "HMS506", "popularity `zpif` is not executable yet"),
        (
            reuse(Spec("zipf", {"n": 0, "s": 1.0})),
            "HMS601",
            "`n` of a popularity is 0, not a number of at least 1",
        ),
        (
            reuse(Spec("zipf", {"n": 2.5, "s": 1.0})),
            "HMS601",
            "`n` of a popularity is 2.5, not a whole number up to 10,000,000",
        ),
        (
            reuse(Spec("hotspots", {"n": 3})),
            "HMS601",
            "`sigma` of a popularity is None, not a number of at least 0",
        ),
        (Spec("reuse"), "HMS601", "`prefix` needs a length, such as `reuse(length = 512 tok)`"),
    ],
)
def test_bad_prefixes_are_refused(spec, code, message):
    with pytest.raises(SpecError) as caught:
        shared_prefixes(spec, STREAM, 5)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [(code, message)]


# --- several together --------------------------------------------------------------------------


def mooncake(tmp_path, name: str, rows: list[tuple[int, list[int]]]) -> Spec:
    file = tmp_path / f"{name}.jsonl"
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    file.write_text(
        "".join(
            json.dumps(dict(zip(keys, (ms, 512 * len(ids), 7, ids), strict=True))) + "\n"
            for ms, ids in rows
        )
    )
    return Spec("trace", {"file": str(file)})


def merge(*parts: Spec) -> Workload:
    return Workload("m", "Chat", Spec("merge", {"parts": parts}))


def test_traces_are_merged_in_time_each_at_its_speed(tmp_path):
    first = mooncake(tmp_path, "a", [(0, [0, 1]), (4000, [0, 2]), (6000, [0])])
    second = mooncake(tmp_path, "b", [(0, [0, 1]), (1500, [0])])
    fast = Spec("trace", {**first.args, "speed": 2.0})
    batch = offered(merge(fast, second), duration=None, seed=1, classes={}).batch
    assert batch.arrival.tolist() == [0.0, 0.0, 1.5, 2.0, 3.0]
    assert batch.prompt.tolist() == [1024, 1024, 512, 1024, 512]
    assert batch.blocks is not None
    rows = [batch.blocks.row(r).tolist() for r in range(5)]
    # Equal ids of different traces are different texts.
    assert rows == [[0, 1], [3, 4], [3], [0, 2], [0]]
    # Of eight references, the second trace's first block and twice the first one's come again.
    assert infinite_hit_rate(batch.blocks) == 3 / 8


def test_a_merger_has_the_arrivals_of_its_parts():
    parts = [Spec("poisson", {"rate": 3.0}), Spec("constant", {"rate": 2.0})]
    wanted = Wanted("m", 50.0, None)
    whole = offer_of(Spec("merge", {"parts": tuple(parts)}), STREAM, wanted)
    own = [offer_of(p, STREAM.child(f"part{i}"), wanted) for i, p in enumerate(parts)]
    assert (whole.time == np.sort(np.concatenate([offer.time for offer in own]))).all()
    few = offer_of(Spec("merge", {"parts": tuple(parts)}), STREAM, Wanted("m", None, 30))
    assert (few.time == whole.time[:30]).all()


def test_sessions_and_classes_of_parts_stay_apart(tmp_path):
    texts = ("arrival_s,prompt,output,class,session\n0,1,1,gold,x\n2,1,1,free,y\n",
             "arrival_s,prompt,output,class,session\n1,1,1,free,x\n3,1,1,gold,\n")  # fmt: skip
    parts = []
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.csv"
        file.write_text(text)
        parts.append(Spec("trace", {"file": str(file)}))
    batch = offered(merge(*parts), duration=None, seed=1, classes={}).batch
    assert [batch.classes[k] for k in batch.klass] == ["gold", "free", "free", "gold"]
    assert batch.session.tolist() == [0, 2, 1, -1]


def test_blocks_beside_a_process_are_empty(tmp_path):
    trace = mooncake(tmp_path, "a", [(0, [5, 6])])
    fixed = Spec("fixed", {"value": 3})
    workload = replace(merge(Spec("constant", {"rate": 1.0}), trace), prompt=fixed, output=fixed)
    batch = offered(workload, duration=2.0, seed=1, classes={}).batch
    assert [len(batch.blocks.row(r)) for r in range(3)] == [0, 2, 0]


def test_mergers_that_cannot_be(tmp_path):
    trace = mooncake(tmp_path, "a", [(0, [5, 6])])
    small = Spec("trace", {**trace.args, "blocks": Spec("column", {"name": "hash_ids",
                                                                   "unit": 16})})  # fmt: skip
    cases = [
        ((Spec("poisson", {"rate": 1.0}), trace), "part 1 of `merge` in `m` has no `prompt`"),
        ((Spec("closed", {"users": 3}),), "a closed loop cannot be merged"),
        ((Spec("trace", {**trace.args, "replay": "closed"}),), "a closed loop cannot be merged"),
        ((), "`merge` of nothing"),
        ((trace, small), "traces with blocks of 16 and 512 tokens cannot be merged"),
        ((3,), "`merge` needs a list of arrivals"),
        ((Spec("poison", {"rate": 1.0}),), "arrivals `poison` are not executable yet"),
    ]
    for parts, message in cases:
        with pytest.raises(SpecError) as caught:
            offered(merge(*parts), duration=9.0, seed=1, classes={})
        assert message in caught.value.diagnostics[0].message


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8), st.randoms())
def test_rows_of_blocks_and_offers(rows, random):
    ids = np.array([i for row in rows for i in row], np.int64)
    blocks = Blocks(ids, np.cumsum([0, *map(len, rows)]), 16)
    order = list(range(len(rows)))
    random.shuffle(order)
    offer = Offer(np.arange(len(rows), dtype=float), blocks=blocks)
    picked = offer.rows(np.array(order, np.intp))
    assert [picked.blocks.row(r).tolist() for r in range(len(rows))] == [rows[o] for o in order]
    assert picked.time.tolist() == order


# --- mixtures ----------------------------------------------------------------------------------


def mixture(*parts: object) -> Spec:
    return Spec("mixture", {"parts": parts})


def test_a_mixture_has_the_shares_and_means_of_its_parts():
    spec = mixture(
        (0.7, Spec("exponential", {"mean": 100.0})), (0.3, Spec("fixed", {"value": 9000.0}))
    )
    assert mean(spec) == pytest.approx(0.7 * 100 + 0.3 * 9000)
    drawn = tokens(spec, STREAM, 100_000)
    assert abs((drawn == 9000).mean() - 0.3) < 4 * (0.21 / 100_000) ** 0.5
    small = drawn[drawn < 9000]
    assert abs(small.mean() - 100) < 4 * 100 / len(small) ** 0.5


def test_a_mixture_of_one_is_that_one():
    part = Spec("lognormal", {"median": 50.0, "sigma": 1.0})
    u = STREAM.uniform(1000)
    assert distribution(mixture((1.0, part))).quantile(u) == pytest.approx(
        distribution(part).quantile(u)
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((0.5, 3.0),), "has shares that add up to 50%, not to 100%"),
        ((), "has shares that add up to 0%, not to 100%"),
        ((3.0,), "needs (share, distribution) pairs"),
        (((1.0, "long"),), "needs (share, distribution) pairs"),
        (((1.5, 3.0), (-0.5, 3.0)), "needs (share, distribution) pairs"),
        (((1.0, Spec("normall")),), "distribution `normall` is not executable yet"),
    ],
)
def test_bad_mixtures_are_refused(parts, message):
    with pytest.raises(SpecError) as caught:
        distribution(mixture(*parts))
    assert message in caught.value.diagnostics[0].message

"""A8: flows that share links, against networks solved by hand and a slow form without events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count, product
from math import inf

import pytest
from hand_built import wires
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.diagnostics import SpecError
from hermesdsl.sim.kernel import ARRIVAL, Kernel
from hermesdsl.sim.network.network import SMALL, Flow, Network
from hermesdsl.sim.network.sharing import Lane, Sharing
from hermesdsl.sim.network.ways import Way, Ways

MB = 1e6


class Site:
    """A network of switches ``s…`` and chips; `sent` (name → start, MB …) gives `ends` in s."""

    def __init__(self, *ends: tuple[str, str, float, float], fair: bool = True) -> None:
        switches = [path for one, other, *_ in ends for path in (one, other) if path[0] == "s"]
        wide = [(a, b, bandwidth * MB, latency) for a, b, bandwidth, latency in ends]
        self.kernel = Kernel()
        self.hardware = wires(*wide, switches=switches)
        self.network = Network(self.hardware, self.kernel, fair=fair)
        self.ends: dict[str, float] = {}
        self.flows: dict[str, Flow] = {}
        self._names: list[str] = []

    def send(self, start: float, sources: str, targets: str, size: float, **more) -> str:
        """`sources`, `targets`: paths apart by spaces; its name is ``source>target``."""
        name = f"{sources}>{targets}"
        name += "'" * sum(other.rstrip("'") == name for other in self._names)
        key = len(self._names)
        self._names.append(name)

        def begin(now: float, _: int) -> None:
            self.flows[name] = self.network.send(
                tuple(sources.split()), tuple(targets.split()), size * MB, now, key, self._end,
                **more,
            )  # fmt: skip

        self.kernel.at(start, ARRIVAL, key, begin)
        return name

    def cancel(self, time: float, name: str) -> None:
        self.kernel.at(time, ARRIVAL, 99, lambda now, _: self.network.cancel(self.flows[name], now))

    def run(self) -> dict[str, float]:
        self.kernel.run()
        assert self.network.under_way == 0
        return self.ends

    def _end(self, now: float, key: int) -> None:
        self.ends[self._names[key]] = now


def star(*chips: str, bandwidth: float = 10.0, latency: float = 0.0):
    return [(chip, "s", bandwidth, latency) for chip in chips]


# --- solved by hand ----------------------------------------------------------------------------


def test_a_flow_alone_takes_latency_plus_bytes_over_bandwidth():
    site = Site(("a", "s", 7.0, 0.1), ("s", "b", 3.0, 0.2))
    site.send(0.7, "a", "b", 1.1)
    assert site.run() == {"a>b": 0.7 + ((0.1 + 0.2) + 1.1 * MB / (3.0 * MB))}


def test_two_flows_halve_the_bottleneck_and_the_second_speeds_up_when_the_first_has_left():
    # 5 MB/s each. a has sent 5 MB at 1; b has 5 MB left, at 10 MB/s.
    site = Site(*star("a", "b", "c"))
    site.send(0.0, "a", "c", 5.0)
    site.send(0.0, "b", "c", 10.0)
    assert site.run() == {"a>c": 1.0, "b>c": 1.5}


def test_who_comes_in_mid_flow_takes_its_share_from_then_on():
    # a has sent 5 of 10 MB at 0.5; then both have 5 MB to go at 5 MB/s.
    site = Site(*star("a", "b", "c"))
    site.send(0.0, "a", "c", 10.0)
    site.send(0.5, "b", "c", 5.0)
    assert site.run() == {"a>c": 1.5, "b>c": 1.5}


def test_parking_lot():
    # Between s0 and s1 the long flow and one short; between s1 and s2 the long and two: 10/3 MB/s
    # each there, and the first short has what is left of its link, 20/3.
    site = Site(
        ("a", "s0", 100.0, 0.0), ("b", "s0", 100.0, 0.0), ("s0", "s1", 10.0, 0.0),
        ("c", "s1", 100.0, 0.0), ("d", "s1", 100.0, 0.0), ("s1", "s2", 10.0, 0.0),
        ("e", "s2", 100.0, 0.0), ("f", "s2", 100.0, 0.0),
    )  # fmt: skip
    for start, end, size in (("a", "e", 10), ("b", "c", 20), ("c", "f", 10), ("d", "e", 10)):
        site.send(0.0, start, end, size)
    assert site.run() == pytest.approx({"a>e": 3.0, "b>c": 3.0, "c>f": 3.0, "d>e": 3.0}, rel=1e-12)


def test_striped_flows_use_a_link_for_a_part_of_their_bytes():
    # A = (a0 a1) → b crosses a0's link of 10 with half its bytes, C = a0 → c with all, to c's of
    # 4 MB/s. C is stopped at 4; A grows on to 0.5 rA = 10 - 4: 12 MB/s.
    site = Site(*star("a0", "a1"), ("b", "s", 100.0, 0.0), ("c", "s", 4.0, 0.0))
    site.send(0.0, "a0 a1", "b", 24.0)
    site.send(0.0, "a0", "c", 8.0)
    assert site.run() == {"a0 a1>b": 2.0, "a0>c": 2.0}


def test_equal_rates_of_flows_with_unequal_shares():
    # As above with c as wide as b: 0.5 r + r = 10, r = 20/3 for both; then A alone at 20 MB/s.
    site = Site(*star("a0", "a1"), ("b", "s", 100.0, 0.0), ("c", "s", 100.0, 0.0))
    site.send(0.0, "a0 a1", "b", 30.0)
    site.send(0.0, "a0", "c", 10.0)
    assert site.run() == pytest.approx({"a0>c": 1.5, "a0 a1>b": 2.5}, rel=1e-12)


def test_two_directions_do_not_meet():
    site = Site(*star("a", "b"))
    site.send(0.0, "a", "b", 10.0)
    site.send(0.0, "b", "a", 20.0)
    assert site.run() == {"a>b": 1.0, "b>a": 2.0}


def test_flows_on_one_way_have_one_rate():
    # Three at 10/3 until the least has sent 10 MB at 3; then 5 MB/s each for 5 MB, then 10 for 5.
    site = Site(*star("a", "b"))
    for size in (10.0, 15.0, 20.0):
        site.send(0.0, "a", "b", size)
    assert site.run() == pytest.approx({"a>b": 3.0, "a>b'": 4.0, "a>b''": 4.5}, rel=1e-12)


def test_a_chain_of_bottlenecks_is_filled_from_below():
    # s0-s1 of 2 with flows x, y: 1 each. s1-s2 of 10 with y, z: z has 9.
    site = Site(
        ("a", "s0", 100.0, 0.0), ("s0", "s1", 2.0, 0.0), ("s1", "s2", 10.0, 0.0),
        ("b", "s1", 100.0, 0.0), ("c", "s2", 100.0, 0.0),
    )  # fmt: skip
    site.send(0.0, "a", "b", 1.0)
    site.send(0.0, "a", "c", 1.0)
    site.send(0.0, "b", "c", 9.0)
    assert site.run() == {"a>b": 1.0, "a>c": 1.0, "b>c": 1.0}


def test_the_latency_of_a_flow_keeps_no_link_busy():
    # a's last byte leaves at 1 and is there at 1.5; b, which came at 1, has the link alone.
    site = Site(("a", "s", 10.0, 0.5), ("b", "s", 10.0, 0.0), ("c", "s", 10.0, 0.0))
    site.send(0.0, "a", "c", 10.0)
    site.send(1.0, "b", "c", 10.0)
    assert site.run() == {"a>c": 1.5, "b>c": 2.0}


def test_each_link_knows_when_its_last_byte_had_left():
    # b's 5 MB leave at 0.5; the 10 MB of a share c with d's 20 from 0 on and leave at 2, d's at 3.
    site = Site(*star("a", "b", "c", "d", "e"))
    site.send(0.0, "a", "c", 10.0)
    site.send(0.0, "d", "c", 20.0)
    site.send(0.0, "b", "e", 5.0)
    site.run()
    assert {(x.source, x.target): x.last_s for x in site.network.links()} == {
        ("a", "s"): 2.0, ("b", "s"): 0.5, ("d", "s"): 3.0, ("s", "c"): 3.0, ("s", "e"): 0.5,
    }  # fmt: skip


def test_a_cancelled_flow_leaves_its_share_and_calls_nobody():
    # Each has sent 2.5 MB at 0.5; b then has 7.5 left at 10 MB/s.
    site = Site(*star("a", "b", "c"))
    site.cancel(0.5, site.send(0.0, "a", "c", 10.0))
    site.send(0.0, "b", "c", 10.0)
    assert site.run() == {"b>c": 1.25}
    assert {(x.source, x.target): x.bytes for x in site.network.links()} == {
        ("a", "s"): 2.5 * MB, ("b", "s"): 10 * MB, ("s", "c"): 12.5 * MB,
    }  # fmt: skip


def test_what_ends_or_starts_at_the_instant_of_a_cancellation_stays_right():
    # All at 5 MB/s; at 1 the first would end, is cancelled, and a third comes: 5 MB/s as before.
    site = Site(*star("a", "b", "c"))
    site.cancel(1.0, site.send(0.0, "a", "c", 5.0))
    site.send(0.0, "b", "c", 10.0)
    site.send(1.0, "a", "c", 1.0)
    assert site.run() == {"a>c'": 1.2, "b>c": pytest.approx(1.6)}


def test_the_last_layer_leaves_when_it_is_there():
    # Four layers of 10 MB, all ready at 2: 30 MB have left at 3, the last at 4; ready at 5: at 6.
    for ready, end in ((2.0, 4.25), (3.0, 4.25), (5.0, 6.25)):
        site = Site(*star("a", "b", latency=0.125))
        site.send(0.0, "a", "b", 40.0, ready=ready, layers=4)
        assert site.run() == {"a>b": end}
    alone = max(0.1 + (0.25 + 3.3 / 0.7), 2.0 + (0.25 + 3.3 / 3 / 0.7))
    site = Site(*star("a", "b", bandwidth=0.7, latency=0.125))
    site.send(0.1, "a", "b", 3.3, ready=2.0, layers=3)
    assert site.run() == {"a>b": pytest.approx(alone, rel=1e-15)}


def test_a_flow_that_waits_for_its_last_layer_takes_nothing():
    # Both at 5 MB/s until 1, when a has sent 5 of its 10 MB and waits until 2; b has sent 5 and
    # has 10 MB/s until then, 15 in all; both at 5 again: a's 5 MB are there at 3, b's 5 MB as well.
    site = Site(*star("a", "b", "c"))
    site.send(0.0, "a", "c", 10.0, ready=2.0, layers=2)
    site.send(0.0, "b", "c", 20.0)
    assert site.run() == {"a>c": 3.0, "b>c": 3.0}


def test_with_one_layer_nothing_leaves_before_it_is_there():
    site = Site(*star("a", "b"))
    site.send(0.0, "a", "b", 10.0, ready=2.0)
    assert site.run() == {"a>b": 3.0}


def test_small_messages_share_nothing():
    # 65,535 bytes at 10 MB/s beside a flow that is as fast as if alone.
    site = Site(*star("a", "b", "c"))
    site.send(0.0, "a", "c", (SMALL - 1) / MB)
    site.send(0.0, "b", "c", 10.0)
    assert site.run() == pytest.approx({"a>c": (SMALL - 1) / (10 * MB), "b>c": 1.0}, rel=1e-15)
    carried = sum(link.bytes for link in site.network.links())
    assert carried == pytest.approx(2 * (10 * MB + SMALL - 1), rel=1e-15)


def test_without_contention_each_has_its_links_alone():
    site = Site(*star("a", "b", "c"), fair=False)
    site.send(0.0, "a", "c", 10.0)
    site.send(0.0, "b", "c", 10.0)
    site.send(0.0, "b", "c", 40.0, ready=5.0, layers=4)
    assert site.run() == {"a>c": 1.0, "b>c": 1.0, "b>c'": 6.0}
    (into,) = [link for link in site.network.links() if link.target == "c"]
    assert (into.bytes, into.bandwidth, into.busy_s) == (60 * MB, 10 * MB, 6.0)


def test_within_one_part_nothing_takes_time():
    site = Site(*star("a", "b"))
    site.send(0.0, "a", "a", 10.0)
    assert site.run() == {"a>a": 0.0}
    assert site.network.links() == ()


def test_ends_at_one_instant_are_told_in_the_order_of_their_keys():
    for order in ("abd", "dba", "bda"):
        site = Site(*star("a", "b", "c", "d"))
        for chip in order:
            site.send(0.0, chip, "c", 10.0)
        assert list(site.run()) == [f"{chip}>c" for chip in order]


def test_parts_that_nothing_joins():
    site = Site(*star("a", "b"), ("c", "s9", 1.0, 0.0))
    site.send(0.0, "a", "c", 10.0)
    with pytest.raises(SpecError, match="HMS408: no route from a to c"):
        site.run()


def test_a_cut_counts_what_has_left_by_then():
    # At 1: 5 MB each; a has then sent 7.5 of 10 by 1.5, and the small message a half.
    site = Site(*star("a", "b", "c"), ("s", "d", 0.04, 0.0))
    site.send(0.0, "a", "c", 10.0)
    site.send(0.0, "b", "c", 10.0)
    site.send(1.0, "a", "d", 0.04)
    site.kernel.run(1.5)
    site.network.settle(1.5)
    into = {link.target: link.bytes for link in site.network.links() if link.source == "s"}
    assert into == pytest.approx({"c": 15 * MB, "d": 0.02 * MB})


# --- what passes through a switch whose power follows it -------------------------------------


def following(site: Site, start: float, end: float) -> float:
    """MB in and out of such switches from one moment to another."""
    rows = zip(*[iter(site.network.passing.rows)] * 4, strict=True)
    parts = (size * max(min(b, end) - max(a, start), 0.0) / (b - a) for _, a, b, size in rows)
    return sum(parts) / MB


class Metered(Site):
    """A site whose switch ``s`` says what it draws idle."""

    def __init__(self, *ends: tuple[str, str, float, float], fair: bool = True) -> None:
        super().__init__(*ends, fair=fair)
        hardware = self.hardware
        part = hardware.nodes["s"]["part"]
        hardware.nodes["s"]["part"] = replace(part, power=50.0, idle_power=30.0)
        self.network = Network(hardware, self.kernel, fair=fair)


def test_what_passes_is_known_at_every_moment():
    # 10 MB/s into c until 0.5 and from 1 on as before: a alone, a and b, b alone; and in and out.
    site = Metered(*star("a", "b", "c"))
    site.send(0.0, "a", "c", 7.5)
    site.send(0.5, "b", "c", 5.0)
    assert site.run() == {"a>c": 1.0, "b>c": 1.25}
    for start, end in ((0.0, 1.25), (0.1, 0.3), (0.4, 1.1), (1.0, 1.25), (2.0, 3.0)):
        expected = 2 * 10 * max(min(end, 1.25) - start, 0.0)
        assert following(site, start, end) == pytest.approx(expected)


@pytest.mark.parametrize("fair", [True, False])
def test_small_and_unshared_messages_pass_too(fair: bool):
    site = Metered(*star("a", "b", "c", latency=0.5), fair=fair)
    site.send(1.0, "a", "c", 0.06)
    site.send(3.0, "b", "c", 20.0)
    site.run()
    assert following(site, 0.0, 2.0) == pytest.approx(2 * 0.06)
    assert following(site, 4.0, 4.5) == pytest.approx(2 * 5.0)


def test_where_power_follows_nothing_nothing_is_written_down():
    site = Site(*star("a", "b"))
    site.send(0.0, "a", "b", 10.0)
    site.run()
    assert not site.network.passing.rows


# --- properties --------------------------------------------------------------------------------

#: A tree of switches with chips at its leaves: bandwidths in MB/s that make exact and odd ratios.
CHIPS = [f"c{i}{j}" for i in range(3) for j in range(3)]
bandwidths = st.sampled_from([1.0, 2.0, 3.0, 7.0, 10.0, 0.3])


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str, float, float]]:
    ends = [(f"s{i}", "s", draw(bandwidths), draw(st.sampled_from([0.0, 0.125]))) for i in range(3)]
    return ends + [(chip, f"s{chip[1]}", draw(bandwidths), 0.0) for chip in CHIPS]


groups = st.lists(st.sampled_from(CHIPS), min_size=1, max_size=3, unique=True)
pairs = st.tuples(groups, groups).filter(lambda pair: not set(pair[0]) & set(pair[1]))


def naive_rates(ways: Ways, flows: list[Way]) -> list[float]:
    """Max-min rates by raising all flows together, link by link, without any shortcut."""
    rates = [inf if not way.shares else -1.0 for way in flows]
    hops = {hop for way in flows for hop in way.shares}
    while -1.0 in rates:
        best = inf, None
        for hop in sorted(hops):
            known = zip(rates, flows, strict=True)
            users = [(r, way.shares[hop]) for r, way in known if hop in way.shares]
            weight = sum(share for r, share in users if r < 0)
            if weight:
                left = ways.capacity(hop) - sum(r * share for r, share in users if r >= 0)
                best = min(best, (left / weight, hop), key=lambda b: b[0])
        for i, way in enumerate(flows):
            if rates[i] < 0 and best[1] in way.shares:
                rates[i] = best[0]
    return rates


class Crowd:
    """Flows that come and go at one instant, without a clock."""

    def __init__(self, ways: Ways) -> None:
        self.lanes: dict[Way, Lane] = {}
        self._sharing = Sharing(ways.capacity)
        self._numbers = count(1)

    def change(self, way: Way, step: int) -> None:
        """So many flows more on a way, or fewer; then new rates."""
        lane = self.lanes[way] = self._sharing.lane(way)
        changed = [] if lane.band is None else [lane.band]
        for _ in range(step):
            flow = Flow(next(self._numbers), way, 1.0, 0.0, 0, lambda now, key: None)
            changed.append(self._sharing.enter(lane, flow))
        for flow in list(lane.flows.values())[: max(-step, 0)]:
            self._sharing.leave(lane, flow)
        for group in self._sharing.rates(changed):
            for band, rate in group:
                band.rate = rate

    def rates(self) -> dict[Way, float]:
        """Byte/s of each flow, by way."""
        moving = {way: lane.band for way, lane in self.lanes.items() if lane.flows}
        return {way: band.rate for way, band in moving.items() if band is not None}

    def flows(self) -> list[Way]:
        return [way for way, lane in self.lanes.items() for _ in lane.flows]


changes = st.lists(st.tuples(pairs, st.integers(-2, 3)), min_size=1, max_size=14)


@given(trees(), changes)
@settings(max_examples=200, deadline=None)
def test_rates_are_max_min_fair(tree, changes):
    """After every change: no flow can have more without taking from one that has no more."""
    ways = Site(*tree).network.ways
    crowd = Crowd(ways)
    for (sources, targets), step in changes:
        crowd.change(ways.between(tuple(sources), tuple(targets)), step)
        flows, rates = crowd.flows(), crowd.rates()
        expected = naive_rates(ways, flows)
        assert [rates[way] for way in flows] == pytest.approx(expected, rel=1e-9)
        assert_max_min(ways, flows, rates)


@given(trees(), changes, st.randoms())
@settings(max_examples=100, deadline=None)
def test_rates_do_not_depend_on_the_order_in_which_flows_came(tree, changes, random):
    ways = Site(*tree).network.ways
    found = []
    for _ in range(2):
        crowd = Crowd(ways)
        for (sources, targets), step in changes:
            crowd.change(ways.between(tuple(sources), tuple(targets)), abs(step))
        found.append(crowd.rates())
        random.shuffle(changes)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_whoever_is_held_by_one_narrow_link_alone_moves_as_one():
    # Nine ways over s0-s1 of 9 MB/s, three over each chip's 10: 1 MB/s each. What is wide enough
    # for that parts nobody: a tenth flow, within s0, has what a0 has left, and is another band.
    narrow = [(f"a{i}", "s0", 10.0, 0.0) for i in range(3)]
    narrow += [(f"b{i}", "s1", 10.0, 0.0) for i in range(3)] + [("s0", "s1", 9.0, 0.0)]
    ways = Site(*narrow).network.ways
    crowd = Crowd(ways)
    for i, j in product(range(3), range(3)):
        crowd.change(ways.between((f"a{i}",), (f"b{j}",)), 1)
    assert len({lane.band for lane in crowd.lanes.values()}) == 1
    assert set(crowd.rates().values()) == {1 * MB}
    crowd.change(ways.between(("a0",), ("a1",)), 1)
    assert sorted(crowd.rates().values()) == pytest.approx([1 * MB] * 9 + [7 * MB])
    crowd.change(ways.between(("a0",), ("a1",)), -1)
    assert {lane.band.flows for lane in crowd.lanes.values() if lane.band} == {9}


def assert_max_min(ways: Ways, flows: list[Way], rates: dict[Way, float]) -> None:
    used: dict = {}
    for way in flows:
        for hop, share in way.shares.items():
            used[hop] = used.get(hop, 0.0) + rates[way] * share
    for hop, rate in used.items():
        assert rate <= ways.capacity(hop) * (1 + 1e-9)
    full = {hop for hop, rate in used.items() if rate >= ways.capacity(hop) * (1 - 1e-9)}
    for way in flows:
        assert any(
            rates[way] >= max(rates[o] for o in flows if hop in o.shares) * (1 - 1e-9)
            for hop in full & way.shares.keys()
        )


@dataclass
class Slow:
    """Flows advanced from event to event, all rates worked out anew at each."""

    ways: Ways
    flows: dict[str, list] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    def run(self, sends: list) -> dict[str, float]:
        """`sends`: (name, way, start, size, tail, ready), tail the bytes that wait for ready."""
        moments = sorted({s[2] for s in sends} | {s[5] for s in sends})
        now = 0.0
        while moments or self.flows:
            moving = [f for f in self.flows.values() if f[1] > 0]
            rates = naive_rates(self.ways, [f[0] for f in moving])
            leave = min((f[1] / r for f, r in zip(moving, rates, strict=True)), default=inf)
            then = min([now + leave, *moments[:1]])
            for flow, rate in zip(moving, rates, strict=True):
                flow[1] -= rate * (then - now)
                flow[1] = 0.0 if flow[1] < 1e-3 else flow[1]
            now = then
            if moments and moments[0] <= now:
                moments.pop(0)
                for name, way, start, size, tail, ready in sends:
                    if start == now:
                        tail = tail if ready > now else 0.0
                        self.flows[name] = [way, size - tail, tail, ready]
            for name, flow in list(self.flows.items()):
                if flow[2] and flow[3] <= now:
                    flow[1], flow[2] = flow[1] + flow[2], 0.0
                if not flow[1] and not flow[2]:
                    self.ends[name] = now + flow[0].latency
                    del self.flows[name]
        return self.ends


sends = st.tuples(
    pairs, st.integers(0, 12), st.integers(1, 40), st.sampled_from([0, 0, 3, 11]), st.integers(1, 4)
)


@given(trees(), st.lists(sends, min_size=1, max_size=10))
@settings(max_examples=150, deadline=None)
def test_flows_end_as_in_the_slow_form_and_no_byte_is_lost(tree, offered):
    site = Site(*tree)
    slow = []
    for (sources, targets), start, size, wait, layers in offered:
        ready = (start + wait) / 4
        name = site.send(
            start / 4, " ".join(sources), " ".join(targets), size / 8, ready=ready, layers=layers
        )
        way = site.network.ways.between(tuple(sources), tuple(targets))
        tail = size / 8 * MB / layers
        slow.append((name, way, start / 4, size / 8 * MB, tail, ready))
    assert site.run() == pytest.approx(Slow(site.network.ways).run(slow), rel=1e-6)
    assert_bytes(site, [(way, size) for _, way, _, size, *_ in slow])


@given(trees(), st.lists(sends, min_size=1, max_size=8), st.integers(0, 60))
@settings(max_examples=80, deadline=None)
def test_all_that_passes_a_switch_is_written_down(tree, offered, cut):
    site = Metered(*tree)
    for (sources, targets), start, size, wait, layers in offered:
        ready = (start + wait) / 4
        site.send(
            start / 4, " ".join(sources), " ".join(targets), size / 8, ready=ready, layers=layers
        )
    site.kernel.run(cut / 4)
    site.network.settle(cut / 4)
    links = site.network.links()
    carried = sum(link.bytes for link in links if "s" in (link.source, link.target)) / MB
    assert following(site, 0.0, inf) == pytest.approx(carried, rel=1e-9, abs=1e-9)


def assert_bytes(site: Site, moved: list[tuple[Way, float]]) -> None:
    expected: dict = {}
    for way, size in moved:
        for hop, share in way.shares.items():
            expected[hop] = expected.get(hop, 0.0) + size * share
    carried = {(link.source, link.target): link.bytes for link in site.network.links()}
    assert carried == pytest.approx(expected, rel=1e-12)
    for link in site.network.links():
        assert link.busy_s == link.bytes / link.bandwidth


@given(trees(), pairs, st.integers(0, 20), st.floats(1.0, 8.0), st.data())
@settings(max_examples=100, deadline=None)
def test_more_bandwidth_never_makes_a_lone_flow_slower(tree, pair, which, factor, data):
    ends = []
    wider = list(tree)
    a, b, bandwidth, latency = wider[which % len(tree)]
    wider[which % len(tree)] = (a, b, bandwidth * factor, latency)
    for links in (tree, wider):
        site = Site(*links)
        name = site.send(0.3, " ".join(pair[0]), " ".join(pair[1]), 1.7)
        ends.append(site.run()[name])
        way = site.network.ways.between(tuple(pair[0]), tuple(pair[1]))
        assert ends[-1] == 0.3 + (way.latency + 1.7 * MB / way.bandwidth)
    assert ends[1] <= ends[0]

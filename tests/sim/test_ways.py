"""Ways between groups of parts: stripes, routes, and a memory's own joint."""

from __future__ import annotations

from math import inf

import networkx as nx
import pytest
from hand_built import wires
from hosts import hosted

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Link, Part
from hermesdsl.sim.network.ways import Ways


def test_the_narrowest_link_and_all_latencies():
    hardware = wires(("a", "sw", 100.0, 0.5), ("b", "sw", 50.0, 0.25), switches=["sw"])
    way = Ways(hardware).between(("a",), ("b",))
    assert (way.latency, way.bandwidth) == (0.75, 50.0)
    assert way.shares == {("a", "sw"): 1.0, ("sw", "b"): 1.0}


def test_striping_loads_each_link_with_its_share():
    # Two sources with links of 100 each into one target of 100: the target's link carries all.
    chips = ("a0", "a1", "b", "c0", "c1")
    hardware = wires(*((chip, "sw", 100.0, 0.0) for chip in chips), switches=["sw"])
    ways = Ways(hardware)
    assert ways.between(("a0", "a1"), ("b",)).bandwidth == 100.0
    assert ways.between(("a0", "a1"), ("c0", "c1")).bandwidth == 200.0
    assert ways.between(("b",), ("a0", "a1")).bandwidth == 100.0


def test_uneven_groups_are_striped_over_the_larger_number():
    # Three pairs: a0-b0, a0-b1, a1-b2 (source i·2//3).
    chips = ("a0", "a1", "b0", "b1", "b2")
    hardware = wires(*((chip, "sw", 60.0, 0.0) for chip in chips), switches=["sw"])
    way = Ways(hardware).between(("a0", "a1"), ("b0", "b1", "b2"))
    assert way.shares["a0", "sw"] == 2 / 3
    assert way.shares["a1", "sw"] == way.shares["sw", "b0"] == 1 / 3
    assert way.bandwidth == 60.0 / (2 / 3)


def test_the_route_of_least_latency_is_taken_whatever_its_width():
    hardware = wires(
        ("a", "near", 10.0, 0.1), ("near", "b", 10.0, 0.1),
        ("a", "far", 1e6, 1.0), ("far", "b", 1e6, 1.0), switches=["near", "far"],
    )  # fmt: skip
    way = Ways(hardware).between(("a",), ("b",))
    assert (way.latency, way.bandwidth) == (0.2, 10.0)


def test_of_routes_as_near_the_widest_is_taken():
    hardware = wires(
        ("a", "s1", 10.0, 0.1), ("s1", "b", 10.0, 0.1),
        ("a", "s2", 30.0, 0.1), ("s2", "b", 30.0, 0.1), switches=["s1", "s2"],
    )  # fmt: skip
    assert Ways(hardware).between(("a",), ("b",)).bandwidth == 30.0


def test_one_part_is_joined_to_itself():
    way = Ways(wires(("a", "b", 1.0, 1.0))).between(("a",), ("a",))
    assert (way.latency, way.bandwidth, way.shares) == (0.0, inf, {})


def test_a_memory_is_left_at_its_own_bandwidth_unless_that_is_paid_already():
    # The DRAM's joint carries 150, each chip's wire 75: of two chips, the joint is the narrower.
    hardware = hosted(nx.MultiDiGraph(), ["a", "b"], bandwidth=75.0)
    for end in (("cpu", "dram"), ("dram", "cpu")):
        hardware.edges[*end, 0]["bandwidth"] = 100.0
        hardware.edges[*end, 0]["link"] = Link("Memory", 100.0, 0.0)
    hardware.nodes["dram"]["part"] = Part("dram", "memory", "Memory", bandwidth=100.0)
    ways = Ways(hardware)
    for way in (("dram", "dram"), ("a", "b")), (("a", "b"), ("dram", "dram")):
        assert ways.between(*way).bandwidth == 100.0
        assert ways.between(*way, joints=False).bandwidth == 150.0


def test_a_wire_with_a_link_of_its_own_counts_always():
    hardware = hosted(nx.MultiDiGraph(), ["a"], bandwidth=75.0)
    way = Ways(hardware).between(("dram",), ("a",), joints=False)
    assert ("dram", "cpu") in way.shares


def test_chips_do_not_forward():
    hardware = wires(("a", "between", 10.0, 0.1), ("between", "b", 10.0, 0.1))
    with pytest.raises(SpecError, match="HMS408: no route from a to b"):
        Ways(hardware).between(("a",), ("b",))

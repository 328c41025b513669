"""Rings of several clients that meet on a link."""

from __future__ import annotations

from collections.abc import Sequence

from hermesdsl.graph.crossings import crossings
from hermesdsl.graph.hardware import Wire, build
from hermesdsl.graph.types import Group, HardwareGraph, Link, Part


def pairs_apart(trunk: float) -> HardwareGraph:
    """Two chips on either of two switches: 10 byte/s each, `trunk` byte/s between the switches."""
    chips = [Part(f"c{i}", "chip", "Chip") for i in range(4)]
    switches = [Part(f"s{i}", "switch", "Switch", forwards=True) for i in range(2)]
    wires = [Wire(f"c{i}", f"s{i // 2}", Link("own", 10.0, 1e-6)) for i in range(4)]
    wires.append(Wire("s0", "s1", Link("trunk", trunk, 1e-6)))
    graph, found = build([*chips, *switches], wires, [])
    assert found == []
    return graph


def group(*devices: str, tp: int = 2) -> Group:
    return Group(devices, Part("c", "chip", "Chip"), (), 0.0, 0.0, tp=tp)


def met(graph: HardwareGraph, *groups: Group) -> Sequence[tuple[tuple[str, str], float, float]]:
    found = crossings(graph, {f"g{i}": group for i, group in enumerate(groups)})
    return sorted((crossing.hop, crossing.demand, crossing.capacity) for crossing in found)


def test_a_trunk_too_narrow_for_two_rings():
    # Each ring sends one way and back over the trunk, at the 10 byte/s of its own links.
    across = group("c0", "c2"), group("c1", "c3")
    assert met(pairs_apart(15.0), *across) == [
        (("s0", "s1"), 20.0, 15.0),
        (("s1", "s0"), 20.0, 15.0),
    ]


def test_a_trunk_wide_enough_for_both():
    assert met(pairs_apart(20.0), group("c0", "c2"), group("c1", "c3")) == []


def test_rings_that_stay_on_their_side():
    assert met(pairs_apart(1.0), group("c0", "c1"), group("c2", "c3")) == []


def test_single_devices_have_no_ring():
    alone = [group(f"c{i}", tp=1) for i in range(4)]
    assert met(pairs_apart(1.0), *alone) == []


def test_one_client_meets_nobody():
    # Its two rings, (c0 c2) and (c1 c3), have half of the trunk each: that is in its own fabric.
    assert met(pairs_apart(10.0), group("c0", "c2", "c1", "c3")) == []

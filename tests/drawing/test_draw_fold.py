"""Which siblings are drawn once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.drawing.fold import Tie, fold


def names(groups):
    return [f"{g.name} ×{g.count}" if g.count > 1 else g.name for g in groups]


def nodes(count, value=lambda n, g: "H100"):
    """`count` nodes of four GPUs behind one switch each."""
    values, ties = {}, []
    for n in range(count):
        values[f"r.n[{n}]"] = "node"
        values[f"r.n[{n}].sw"] = "switch"
        for g in range(4):
            values[f"r.n[{n}].gpu[{g}]"] = value(n, g)
            ties.append(Tie(f"r.n[{n}].gpu[{g}]", f"r.n[{n}].sw", "nvlink", both=True))
    return {"r": "rack", **values}, ties


def test_alike_nodes_and_their_alike_parts_fold():
    _, folded = fold(*nodes(3))
    (rack,) = folded.roots
    (node,) = rack.children
    assert folded.title(node) == "n ×3"
    assert folded.title(node.children[1], "r.n[0]") == "gpu ×4"
    assert node.id == "r.n[0:3]"
    assert names(node.children) == ["sw", "gpu ×4"]
    assert node.children[1].id == "r.n[0:3].gpu[0:4]"
    assert len(folded.members["r.n[0].gpu[0]"]) == 12


def test_every_path_is_shown_by_one_of_its_own_kind():
    values, ties = nodes(3)
    _, folded = fold(values, ties)
    assert list(folded.shown) == list(values)
    assert folded.shown["r.n[2].gpu[3]"] == "r.n[0].gpu[0]"
    assert folded.group("r.n[1].sw").id == "r.n[0:3].sw"


def test_one_different_part_sets_its_whole_node_apart():
    values, ties = nodes(3, lambda n, g: "H200" if (n, g) == (1, 2) else "H100")
    _, folded = fold(values, ties)
    rack = folded.roots[0]
    assert names(rack.children) == ["n[0,2] ×2", "n[1]"]
    assert names(rack.children[1].children) == ["sw", "gpu[0:2,3] ×3", "gpu[2]"]


def test_a_missing_wire_sets_its_part_apart():
    values, ties = nodes(1)
    _, folded = fold(values, ties[1:])
    assert names(folded.roots[0].children[0].children) == ["sw", "gpu[0]", "gpu[1:4] ×3"]


def test_a_different_medium_sets_parts_apart():
    values, ties = nodes(1)
    ties[0] = Tie(ties[0].tail, ties[0].head, "pcie", both=True)
    _, folded = fold(values, ties)
    assert names(folded.roots[0].children[0].children) == ["sw", "gpu[0]", "gpu[1:4] ×3"]


def test_wiring_by_index_arithmetic_folds():
    """NIC i meets leaf i mod 2: all NICs alike, all leaves alike."""
    values = {f"nic[{i}]": "nic" for i in range(8)} | {f"leaf[{i}]": "leaf" for i in range(2)}
    ties = [Tie(f"nic[{i}]", f"leaf[{i % 2}]", both=True) for i in range(8)]
    assert names(fold(values, ties)[1].roots) == ["nic ×8", "leaf ×2"]


def test_a_ring_is_one_and_a_line_has_ends():
    values = {f"s[{i}]": "switch" for i in range(5)}
    line = [Tie(f"s[{i}]", f"s[{i + 1}]", both=True) for i in range(4)]
    ring = [*line, Tie("s[0]", "s[4]", both=True)]
    assert names(fold(values, ring)[1].roots) == ["s ×5"]
    assert names(fold(values, line)[1].roots) == ["s[0,4] ×2", "s[1:4] ×3"]


def test_a_one_way_ring_folds_but_not_with_a_reversed_edge():
    values = {f"s[{i}]": "switch" for i in range(3)}
    ring = [Tie("s[0]", "s[1]"), Tie("s[1]", "s[2]"), Tie("s[2]", "s[0]")]
    assert names(fold(values, ring)[1].roots) == ["s ×3"]
    turned = [*ring[:2], Tie("s[0]", "s[2]")]
    assert names(fold(values, turned)[1].roots) == ["s[0]", "s[1]", "s[2]"]


def test_what_hangs_on_a_single_part_follows_it():
    """Only cpu[0] has the SSD, so the memories of the two CPUs stand apart as well."""
    values = {"cpu[0]": "c", "cpu[1]": "c", "dram[0]": "m", "dram[1]": "m", "ssd": "s"}
    ties = [Tie("cpu[0]", "dram[0]"), Tie("cpu[1]", "dram[1]"), Tie("cpu[0]", "ssd")]
    assert names(fold(values, ties)[1].roots) == ["cpu[0]", "cpu[1]", "dram[0]", "dram[1]", "ssd"]
    assert names(fold(values, ties[:2])[1].roots) == ["cpu ×2", "dram ×2", "ssd"]


def test_whole_keeps_every_path():
    values, ties = nodes(2)
    _, folded = fold(values, ties, whole=True)
    assert all(first == path for path, first in folded.shown.items())
    assert names(folded.roots[0].children) == ["n[0]", "n[1]"]


def test_vectors_of_vectors_and_modules_are_siblings_by_their_local_name():
    values = {"s.a[0]": 1, "s.a[1]": 1, "t.a[0]": 1, "a[0]": 1}
    assert names(fold(values, [])[1].roots) == ["s.a ×2", "t.a[0]", "a[0]"]


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.booleans()), max_size=20),
)
def test_groups_partition_the_paths_and_hold_only_equals(kinds, pairs):
    values = {f"box.p[{i}]": kind for i, kind in enumerate(kinds)} | {"box": "box"}
    ties = [
        Tie(f"box.p[{a}]", f"box.p[{b}]", both=both)
        for a, b, both in pairs
        if a != b and max(a, b) < len(kinds)
    ]
    _, folded = fold(values, ties)
    (box,) = folded.roots
    assert sum(group.count for group in box.children) == len(kinds)
    for group in box.children:
        members = folded.members[group.first]
        assert len(members) == group.count
        assert {values[path] for path in members} == {values[group.first]}
        degrees = {sum(path in (tie.tail, tie.head) for tie in ties) for path in members}
        assert len(degrees) == 1

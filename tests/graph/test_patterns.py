from __future__ import annotations

from collections import Counter
from itertools import combinations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.graph.patterns import MAX_WIRES, PATTERNS, PatternError, expand


def names(count: int, name: str = "a") -> list[str]:
    return [f"{name}[{i}]" for i in range(count)]


def graph(pairs: list[tuple[str, str]]) -> nx.Graph:
    assert len({frozenset(pair) for pair in pairs}) == len(pairs), "a pair is wired twice"
    return nx.Graph(pairs)


def test_a_line_and_a_ring_of_four() -> None:
    line = [("a[0]", "a[1]"), ("a[1]", "a[2]"), ("a[2]", "a[3]")]
    assert expand("line", [names(4)], {}) == line
    assert expand("ring", [names(4)], {}) == [*line, ("a[3]", "a[0]")]


def test_a_ring_of_two_is_one_wire() -> None:
    assert expand("ring", [names(2)], {}) == [("a[0]", "a[1]")]


@given(st.integers(2, 12))
def test_counts_of_wires(n: int) -> None:
    assert len(expand("line", [names(n)], {})) == n - 1
    assert len(expand("all_to_all", [names(n)], {})) == n * (n - 1) // 2
    assert len(expand("fat_tree", [names(n), names(3, "s")], {})) == 3 * n


@given(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)))
def test_grids_are_networkx_grids(shape: tuple[int, int, int]) -> None:
    count = shape[0] * shape[1] * shape[2]
    if count < 2:
        return
    for name, periodic in (("mesh", False), ("torus", True)):
        ours = graph(expand(name, [names(count)], {"shape": shape}))
        theirs = nx.grid_graph(dim=shape[::-1], periodic=periodic)
        # NetworkX puts a loop on a periodic dimension of one.
        theirs.remove_edges_from(list(nx.selfloop_edges(theirs)))
        at = {p: f"a[{(p[0] * shape[1] + p[1]) * shape[2] + p[2]}]" for p in theirs}
        expected = nx.relabel_nodes(theirs, at)
        assert {frozenset(e) for e in ours.edges} == {frozenset(e) for e in expected.edges}


@pytest.mark.parametrize(("count", "wires"), [(12, 17), (16, 24), (3, 2), (2, 1)])
def test_a_mesh_is_nearly_square_by_default(count: int, wires: int) -> None:
    # 3 x 4: 3 * 3 + 2 * 4 = 17; 4 x 4: 12 + 12; 1 x 3 and 1 x 2 are lines.
    assert len(expand("mesh", [names(count)], {})) == wires


def test_rails_follow_the_index_inside_the_box() -> None:
    nics = [f"box[{b}].nic[{i}]" for b in range(2) for i in range(4)]
    pairs = expand("rails", [nics, names(2, "leaf")], {})
    assert pairs[:4] == [
        ("box[0].nic[0]", "leaf[0]"),
        ("box[0].nic[1]", "leaf[1]"),
        ("box[0].nic[2]", "leaf[0]"),
        ("box[0].nic[3]", "leaf[1]"),
    ]
    assert pairs[4:] == [(nic.replace("box[0]", "box[1]"), leaf) for nic, leaf in pairs[:4]]


def test_the_only_nic_of_a_box_is_on_the_first_rail() -> None:
    pairs = expand("rails", [["box[0].nic", "box[1].nic"], names(4, "leaf")], {})
    assert [leaf for _, leaf in pairs] == ["leaf[0]", "leaf[0]"]


@given(st.integers(1, 6), st.integers(1, 5))
def test_a_dragonfly_joins_groups_once_and_spreads_the_wires(groups: int, size: int) -> None:
    pairs = expand("dragonfly", [names(groups * size)], {"groups": groups})
    group_of = {name: i // size for i, name in enumerate(names(groups * size))}
    graph(pairs)
    between = [(u, v) for u, v in pairs if group_of[u] != group_of[v]]
    met = Counter(frozenset((group_of[u], group_of[v])) for u, v in between)
    assert met == Counter(frozenset(pair) for pair in combinations(range(groups), 2))
    ports = Counter(end for pair in between for end in pair)
    # g - 1 wires leave a group: no router carries more than its even share, rounded up.
    assert max(ports.values(), default=0) <= -(-(groups - 1) // size)


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - {"rails", "fat_tree"}))
def test_no_pattern_wires_a_part_to_itself(name: str) -> None:
    options = {"groups": 3} if name == "dragonfly" else {}
    assert all(u != v for u, v in expand(name, [names(12)], options))


@pytest.mark.parametrize(
    ("name", "groups", "options", "message"),
    [
        ("star", [names(2)], {}, "no pattern is called star; there are ring, line, mesh"),
        ("ring", [names(2), names(2, "b")], {}, "ring(ends) takes 1 selections, 2 given"),
        ("ring", [names(1)], {}, "ring needs at least 2 ends, a[0] is alone"),
        ("ring", [[]], {}, "ring: ends selects nothing"),
        ("line", [["x", "y", "x"]], {}, "line: x is given twice"),
        ("fat_tree", [["x"], ["x"]], {}, "fat_tree: x is given twice"),
        ("ring", [names(3)], {"rows": 2}, "ring has no option rows"),
        ("mesh", [names(4)], {"rows": 2}, "mesh has no option rows; it takes shape"),
        ("mesh", [names(7)], {}, "mesh: 7 ends fill no rectangle"),
        ("torus", [names(8)], {"shape": (3, 3)}, "torus: shape 3 x 3 holds 9 ends, 8 given"),
        ("torus", [names(8)], {"shape": 8}, "torus: shape is (x, y) or (x, y, z), not 8"),
        ("dragonfly", [names(8)], {}, "dragonfly needs the number of groups"),
        ("dragonfly", [names(8)], {"groups": 3}, "8 routers make no 3 equal groups"),
    ],
)
def test_wrong_shapes(name: str, groups: list[list[str]], options: dict, message: str) -> None:
    with pytest.raises(PatternError) as raised:
        expand(name, groups, options)
    assert message in str(raised.value)
    assert raised.value.code == "HMS404"


def test_the_budget_holds_before_anything_is_built() -> None:
    with pytest.raises(PatternError, match=r"all_to_all makes 12,497,500 wires") as raised:
        expand("all_to_all", [names(5000)], {})
    assert raised.value.code == "HMS410"
    assert MAX_WIRES == 5_000_000

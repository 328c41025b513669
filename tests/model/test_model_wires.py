"""`connect`: selections, lists, patterns, links with settings of their own."""

from __future__ import annotations

import pytest
from model_specs import PARTS, codes

import hermesdsl


def edges(spec: str) -> dict[tuple[str, str], list[dict[str, object]]]:
    """The wires of a text, memories inside parts left out: ends → one entry each."""
    graph = hermesdsl.compile(PARTS + spec).hardware
    found: dict[tuple[str, str], list[dict[str, object]]] = {}
    for a, b, data in graph.edges(data=True):
        if not (a.endswith(".hbm") or b.endswith(".hbm")):
            found.setdefault((a, b), []).append(data)
    return found


def test_two_selections_are_the_full_product_in_both_directions() -> None:
    found = edges("a[2]: G; b[3]: Switch\nconnect a[*] <-> b[1:3] via L")
    wanted = {(f"a[{i}]", f"b[{j}]") for i in range(2) for j in (1, 2)}
    assert set(found) == wanted | {(b, a) for a, b in wanted}


def test_one_direction() -> None:
    assert set(edges("a: G; b: Switch\nconnect a -> b via L")) == {("a", "b")}


def test_element_wise_needs_a_loop() -> None:
    found = edges("a[3]: G; b[3]: Switch\nfor i in range(3) { connect a[i] -> b[i] via L }")
    assert set(found) == {(f"a[{i}]", f"b[{i}]") for i in range(3)}


def test_lists_join_selections() -> None:
    parts = "node Box { nic[2]: Nic }\nbox[2]: Box; a: G; sw: Switch\n"
    assert len(edges(f"{parts}connect [box[*].nic[*], a] -> sw via L")) == 5


def test_a_vector_without_an_index_is_all_of_it() -> None:
    assert len(edges("a[3]: G; sw: Switch\nconnect a -> sw via L")) == 3


def test_lanes_multiply_bandwidth() -> None:
    (wire,) = edges("a: G; b: Switch\nconnect a -> b via L * 18")["a", "b"]
    assert (wire["lanes"], wire["bandwidth"], wire["latency"]) == (18, 180e9, 1e-6)


def test_lanes_may_be_computed() -> None:
    (wire,) = edges("param n = 4\na: G; b: Switch\nconnect a -> b via L * (n // 2)")["a", "b"]
    assert wire["lanes"] == 2


def test_the_block_of_a_connection_overrides_its_link_and_no_other() -> None:
    spec = """
a: G; b: Switch; c: G
connect a -> b via L { latency = 7 us }
connect c -> b via L
"""
    found = edges(spec)
    (first,), (second,) = found["a", "b"], found["c", "b"]
    assert (first["latency"], first["bandwidth"], second["latency"]) == (7e-6, 10e9, 1e-6)


def test_a_link_may_be_a_param() -> None:
    spec = """
link Fast { bandwidth = 50 GB/s }
node Box { param cable: link = L; gpu: G; sw: Switch; connect gpu -> sw via cable }
a: Box
b: Box { cable = Fast }
"""
    found = edges(spec)
    assert found["a.gpu", "a.sw"][0]["bandwidth"] == 10e9
    assert found["b.gpu", "b.sw"][0]["bandwidth"] == 50e9


def test_a_memory_brings_its_own_bandwidth_and_a_switch_does_not() -> None:
    spec = "a: G; ram: Memory { capacity = 1 GB; bandwidth = 3 GB/s }\nconnect a <-> ram"
    (wire,) = edges(spec)["a", "ram"]
    assert wire["bandwidth"] == 3e9
    assert codes(f"{PARTS}a: G; sw: Switch\nconnect a <-> sw") == ["HMS404"]


def test_the_memory_inside_a_chip_is_joined_to_it() -> None:
    graph = hermesdsl.compile(PARTS + "a: G").hardware
    assert graph.edges["a", "a.hbm", 0]["bandwidth"] == 2e12


@pytest.mark.parametrize(
    ("pattern", "wires"),
    [
        ("ring(a[*])", 4), ("line(a[*])", 3), ("all_to_all(a[*])", 6),
        ("mesh(a[*], shape = square)", 4), ("torus(a[*], shape = [2, 2])", 4),
        ("rails(a[*], b[*])", 4), ("fat_tree(b[*], c[*])", 4), ("dragonfly(a[*], groups = 2)", 3),
    ],
)  # fmt: skip
def test_patterns(pattern: str, wires: int) -> None:
    found = edges(
        f"a[4]: G; b[2]: Switch; c[2]: Switch\nlet square = [2, 2]\nconnect {pattern} via L"
    )
    assert len(found) == 2 * wires


def test_a_wire_in_a_definition_is_laid_in_every_instance() -> None:
    found = edges("node Box { a: G; b: Switch; connect a -> b via L }\nbox[3]: Box")
    assert set(found) == {(f"box[{i}].a", f"box[{i}].b") for i in range(3)}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("connect a[*] <-> none[*] via L", "HMS201"),
        ("connect a[0:9] <-> sw via L", "HMS403"),
        ("connect empty[*] <-> sw via L", "HMS402"),
        ("connect a <-> M via L", "HMS404"),
        ("connect a <-> box via L", "HMS404"),
        ("connect a <-> G via L", "HMS303"),
        ("connect a <-> sw via G", "HMS404"),
        ("connect a <-> sw via L * 0", "HMS306"),
        ("connect a <-> a via L", "HMS404"),
        ("connect spiral(a[*]) via L", "HMS404"),
        ("connect a[*] via L", "HMS404"),
        ("connect a <-> sw via L { colour = 3 }", "HMS206"),
    ],
)
def test_wires_that_cannot_be_laid(statement: str, code: str) -> None:
    spec = "node Box { g: G }\nbox: Box; a[4]: G; sw: Switch; empty[0]: G\n"
    assert codes(PARTS + spec + statement)[:1] == [code]

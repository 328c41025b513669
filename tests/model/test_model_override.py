"""The one override order: every level beats the one before it, narrower paths beat wider ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_specs import PARTS, built, codes, of, shown

import hermesdsl


def test_schema_default_is_beaten_by_the_chain_and_that_by_the_definition() -> None:
    spec = """
chip Bare { }
chip Base { power = 1 W }
chip Own extends Base { power = 2 W }
a: Bare
b: Base
c: Own
"""
    tree = built(spec)
    assert [shown(tree, f"{x}.power") for x in "abc"] == ["0 W", "1 W", "2 W"]


def test_every_level_beats_the_one_before() -> None:
    spec = (
        PARTS
        + """
chip Own extends G { power = 2 W }
node Box {
    gpu[2]: Own { power = 3 W }
    gpu[*].power = 4 W
}
node Tower { box: Box { gpu[*].power = 5 W }; box.gpu[*].power = 6 W }
tower: Tower { box { gpu[*].power = 7 W } }
tower.box.gpu[*].power = 8 W
case hot { tower.box.gpu[*].power = 9 W }
"""
    )
    lines = spec.splitlines()

    def without(*texts: str) -> str:
        kept = "\n".join(lines)
        for text in texts:
            assert text in kept
            kept = kept.replace(text, "")
        return kept

    path = "tower.box.gpu[0].power"
    assert shown(built(spec, {path: "10 W"}, "hot"), path) == "10 W"
    assert shown(built(spec, None, "hot"), path) == "9 W"
    removed: list[str] = []
    for watts, text in (
        (8, "tower.box.gpu[*].power = 8 W"),
        (7, "{ box { gpu[*].power = 7 W } }"),
        (6, "; box.gpu[*].power = 6 W"),
        (5, "{ gpu[*].power = 5 W }"),
        (4, "    gpu[*].power = 4 W\n"),
        (3, "{ power = 3 W }"),
        (2, "power = 2 W"),
    ):
        tree = built(without(*removed, "case hot { tower.box.gpu[*].power = 9 W }"))
        assert shown(tree, path) == f"{watts} W"
        removed.append(text)
    tree = built(without(*removed, "case hot { tower.box.gpu[*].power = 9 W }"))
    assert shown(tree, path) == "100 W"  # of G, which Own extends


def test_an_index_beats_a_slice_and_a_slice_beats_all() -> None:
    tree = built(PARTS + "g[4]: G\ng[0].power = 1 W\ng[0:2].power = 2 W\ng[*].power = 3 W")
    assert shown(tree, "g[*].power") == "[1 W, 2 W, 3 W, 3 W]"


def test_of_two_indexed_steps_the_outer_decides() -> None:
    spec = """
node Box { gpu[2]: G }
box[2]: Box
box[0].gpu[*].power = 1 W
box[*].gpu[0].power = 2 W
"""
    assert of(spec, "box[*].gpu[*].power") == "[1 W, 1 W, 2 W, 100 W]"


def test_negative_and_open_indices() -> None:
    spec = "g[4]: G\ng[-1].power = 1 W\ng[1:].power = 2 W\ng[:1].power = 3 W"
    assert of(spec, "g[*].power") == "[3 W, 2 W, 2 W, 1 W]"


@pytest.mark.parametrize(
    "second", ["g[0].power = 2 W", "g[-2].power = 2 W", "g { power = 2 W }\ng.power = 2 W"]
)
def test_equal_sites_are_an_error(second: str) -> None:
    first = "" if "{" in second else "g[0].power = 1 W\n"
    assert codes(f"{PARTS}g[2]: G\n{first}{second}")[0] == "HMS209"


def test_slices_that_overlap_are_equal_where_they_do() -> None:
    spec = f"{PARTS}g[4]: G\ng[0:2].power = 1 W\ng[2:4].power = 2 W"
    assert codes(spec) == []
    assert codes(spec.replace("[2:4]", "[1:4]")) == ["HMS209"]


def test_equal_sites_of_a_value_that_a_stronger_one_sets_do_not_matter() -> None:
    spec = "g[2]: G\ng[0].power = 1 W\ng[0].power = 2 W"
    assert of(spec, "g[0].power", {"g[0].power": "3 W"}) == "3 W"


def test_the_command_line_beats_itself_in_order() -> None:
    settings = {"g[*].power": "1 W", "g[0].power": "2 W", "g.power": "3 W"}
    assert of("g[2]: G", "g[*].power", settings) == "[3 W, 3 W]"


# --- definitions from outside --------------------------------------------------------------


def test_a_value_set_at_a_definition_reaches_every_instance() -> None:
    spec = "g: G\nnode Box { gpu[2]: G }\nbox: Box\nG { power = 7 W }"
    tree = built(PARTS + spec)
    assert shown(tree, "g.power") == "7 W"
    assert shown(tree, "box.gpu[*].power") == "[7 W, 7 W]"


def test_a_value_set_at_a_definition_loses_to_an_instance_block() -> None:
    assert of("g: G { power = 8 W }\nG.power = 7 W", "g.power") == "8 W"


def test_what_is_set_at_a_base_holds_for_those_that_do_not_say_otherwise() -> None:
    spec = """
chip Loud extends G { power = 9 W }
chip Quiet extends G { }
a: Loud
b: Quiet
G { power = 7 W }
"""
    tree = built(PARTS + spec)
    assert [shown(tree, f"{x}.power") for x in "ab"] == ["9 W", "7 W"]
    tree = built(PARTS + spec, {"G.power": "5 W"})
    assert [shown(tree, f"{x}.power") for x in "ab"] == ["9 W", "5 W"]


def test_members_of_a_definition_are_reopened_along_the_chain() -> None:
    spec = """
chip Next extends G { hbm { capacity = 160 GiB } }
chip Last extends Next { hbm.bandwidth = 4 TB/s }
g: Last
h: Last { hbm { capacity = 1 GiB } }
"""
    tree = built(PARTS + spec)
    assert shown(tree, "g.hbm.capacity") == "160 GiB"
    assert shown(tree, "g.hbm.bandwidth") == "4 TB/s"
    assert shown(tree, "h.hbm.capacity") == "1 GiB"
    assert shown(tree, "h.hbm.bandwidth") == "4 TB/s"


def test_a_param_declared_again_starts_anew() -> None:
    spec = """
node A { param n = 2; g[n]: G }
node B extends A { param n = 5 }
A.n = 3
a: A
b: B
"""
    tree = built(PARTS + spec)
    assert [shown(tree, f"{x}.n") for x in "ab"] == ["3", "5"]
    assert shown(tree, "len(b.g)") == "5"


def test_a_definition_further_down_the_chain_counts_in_what_the_base_expands() -> None:
    spec = """
node A { param n = 2; g[4]: G; sw: Switch; for i in range(n) { connect g[i] <-> sw via L } }
node B extends A { n = 4 }
a: A
b: B
"""
    system = hermesdsl.compile(PARTS + spec)
    wired = [path for path in ("a.sw", "b.sw") for _ in system.hardware.predecessors(path)]
    assert (wired.count("a.sw"), wired.count("b.sw")) == (2, 4)


# --- other files ---------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.hms").write_text(text, encoding="utf-8")
    return folder / "root.hms"


def test_the_importing_file_beats_the_imported_one(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        root="import site as s\ns.box.gpu[0].power = 1 W\ns.n = 4\ns.G.idle_power = 5 W",
        site=PARTS + "param n = 2\nnode Box { gpu[n]: G }\nbox: Box\nbox.gpu[*].power = 2 W",
    )
    system = hermesdsl.compile(spec)
    parts = {path: data["part"] for path, data in system.hardware.nodes(data=True)}
    gpus = [p for path, p in parts.items() if path.startswith("s.box.gpu") and p.kind == "chip"]
    assert [p.power for p in gpus] == [1, 2, 2, 2]
    assert {p.idle_power for p in gpus} == {5}


def test_what_is_imported_by_name_is_set_before_it_is_built(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        root="from site import box, n\nbox.gpu[0].power = 1 W\nn = 3",
        site=PARTS + "param n = 2\nnode Box { gpu[n]: G }\nbox: Box",
    )
    system = hermesdsl.compile(spec)
    power = [
        d["part"].power for p, d in system.hardware.nodes(data=True) if d["part"].kind == "chip"
    ]
    assert power == [1, 100, 100]


def test_the_command_line_reaches_into_imported_files(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        root="import site as s\n",
        site=PARTS + "param n = 2\nnode Box { param m = 1; gpu[m]: G }\nbox[n]: Box",
    )
    system = hermesdsl.compile(spec, set={"s.n": "3", "s.box[1].m": "2", "s.L.latency": "3 us"})
    chips = [p for p, d in system.hardware.nodes(data=True) if d["part"].kind == "chip"]
    assert chips == ["s.box[0].gpu[0]", "s.box[1].gpu[0]", "s.box[1].gpu[1]", "s.box[2].gpu[0]"]


def test_a_case_sets_links_of_the_whole_file() -> None:
    spec = (
        PARTS
        + """
param store = 3
a: G; sw: Switch
connect a <-> sw via L
let kept = store
case slow { store = 4; L.bandwidth = 1 GB/s }
"""
    )
    for case, rate, kept in ((None, 10e9, "3"), ("slow", 1e9, "4")):
        system = hermesdsl.compile(spec, case=case)
        assert system.hardware.edges["a", "sw", 0]["bandwidth"] == rate
        assert shown(system.tree, "kept") == kept
    system = hermesdsl.compile(spec, case="slow", set={"L.bandwidth": "3 GB/s"})
    assert system.hardware.edges["a", "sw", 0]["bandwidth"] == 3e9


# --- against an oracle ---------------------------------------------------------------------

# A site of `tower.box[i].gpu[j].power`: how it is written, the scope it stands in (larger: further
# out), the form within the scope, and the index texts of its steps. `None` is a step that the
# site does not have, since it stands inside it.
FORMS = {
    "body of the chip": ("chip", 0, 0, ()),
    "block in the box": ("box", 1, 0, ("",)),
    "path in the box": ("box", 1, 1, ("j",)),
    "block in the tower": ("tower", 2, 0, ("", "j")),
    "path in the tower": ("tower", 2, 1, ("i", "j")),
    "block in the file": ("file", 3, 0, ("", "i", "j")),
    "path in the file": ("file", 3, 1, ("", "i", "j")),
}
INDICES = ("*", "0:2", "1:3", "0", "1", "2")
site = st.tuples(st.sampled_from(sorted(FORMS)), st.sampled_from(INDICES), st.sampled_from(INDICES))


def matches(index: str, number: int) -> bool:
    if index == "*":
        return True
    if ":" in index:
        low, high = map(int, index.split(":"))
        return low <= number < high
    return int(index) == number


def width(index: str) -> int:
    """0 for ``[*]``, 1 for a slice, 2 for a number."""
    return 0 if index == "*" else 1 if ":" in index else 2


def oracle(sites: list[tuple[str, str, str]], i: int, j: int) -> int | None:
    """Number of the site that wins for gpu j of box i, -1 for the default; None for a conflict."""
    best: list[tuple[tuple[int, ...], int]] = []
    for number, (form, outer, inner) in enumerate(sites):
        _, scope, way, steps = FORMS[form]
        used = [outer if step == "i" else inner for step in steps if step]
        if "i" in steps and not matches(outer, i):
            continue
        if "j" in steps and not matches(inner, j):
            continue
        narrow = tuple(width(index) for index in used)
        best.append(((scope, way, *narrow), number))
    if not best:
        return -1
    best.sort()
    if len(best) > 1 and best[-1][0] == best[-2][0]:
        return None
    return best[-1][1]


def written(sites: list[tuple[str, str, str]]) -> str:
    """The specification that holds these sites."""
    bodies: dict[str, list[str]] = {name: [] for name in FORMS}
    for number, (form, outer, inner) in enumerate(sites):
        i, j = f"[{outer}]", f"[{inner}]"
        path = {
            "body of the chip": "power",
            "block in the box": "power",
            "path in the box": f"gpu{j}.power",
            "block in the tower": f"gpu{j}.power",
            "path in the tower": f"box{i}.gpu{j}.power",
            "block in the file": f"box{i}.gpu{j}.power",
            "path in the file": f"tower.box{i}.gpu{j}.power",
        }[form]
        bodies[form].append(f"{path} = {number + 1} W")
    b = {name: "; ".join(lines) for name, lines in bodies.items()}
    return f"""
chip C {{ {b["body of the chip"]} }}
node Box {{ gpu[3]: C {{ {b["block in the box"]} }}; {b["path in the box"]} }}
node Tower {{ box[3]: Box {{ {b["block in the tower"]} }}; {b["path in the tower"]} }}
tower: Tower {{ {b["block in the file"]} }}
{b["path in the file"]}
"""


@settings(max_examples=150, deadline=None)
@given(st.lists(site, max_size=7))
def test_any_set_of_sites_is_ordered_as_the_rules_say(sites: list[tuple[str, str, str]]) -> None:
    wanted = [oracle(sites, i, j) for i in range(3) for j in range(3)]
    spec = written(sites)
    if None in wanted:
        assert "HMS209" in codes(spec)
    else:
        watts = ", ".join(f"{number + 1} W" for number in wanted)  # 0 W is the schema's default
        assert shown(built(spec), "tower.box[*].gpu[*].power") == f"[{watts}]"

"""Files: how they are found, named, read once, and kept inside the folders that may be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.diagnostics import SpecError

CHIP = "chip G { power = 100 W; hbm: Memory { capacity = 1 GB; bandwidth = 1 GB/s } }\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "root.hms"


def chips(system: System) -> list[str]:
    return [p for p, data in system.hardware.nodes(data=True) if data["part"].kind == "chip"]


def failure(spec: Path, **options: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        hermesdsl.compile(spec, **options)  # type: ignore[arg-type]
    return [f"{d.code} {d.message}" for d in caught.value.diagnostics if d.is_error]


# --- names ---------------------------------------------------------------------------------


def test_a_dotted_module_is_a_file_or_the_index_of_a_folder(tmp_path: Path) -> None:
    files = {
        "root.hms": "import parts.chips as c\nfrom machines import Box\na: c.G\nb: Box",
        "parts/chips.hms": CHIP,
        "machines/index.hms": "from machines.small import Box\n",
        "machines/machines/small.hms": CHIP + "node Box { gpu: G }",
    }
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["a", "b.gpu"]


def test_a_file_beats_an_index(tmp_path: Path) -> None:
    files = {"root.hms": "import x\na: x.G", "x.hms": CHIP, "x/index.hms": "chip H { power = 1 W }"}
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["a"]


def test_an_index_passes_on_what_it_imported_and_no_other_file_does(tmp_path: Path) -> None:
    files = {
        "root.hms": "from lib import G\nimport lib as l\na: G\nb: l.G\nc: l.chips.G",
        "lib/index.hms": "from chips import G\nimport chips\n",
        "lib/chips.hms": CHIP,
        "plain.hms": "from lib import G\nnode N { g: G }",
        "wrong.hms": "from plain import G\na: G",
    }
    spec = write(tmp_path, files)
    assert chips(hermesdsl.compile(spec)) == ["a", "b", "c"]
    assert failure(tmp_path / "wrong.hms") == ["HMS201 module `plain` has no `G`"]


def test_a_renamed_import_has_only_the_new_name(tmp_path: Path) -> None:
    files = {"root.hms": "from lib import G as Gpu\na: Gpu", "lib.hms": CHIP,
             "wrong.hms": "from lib import G as Gpu\na: G"}  # fmt: skip
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["a"]
    assert failure(tmp_path / "wrong.hms") == ["HMS201 unknown name `G`"]


def test_a_file_is_read_once_and_its_instances_exist_once(tmp_path: Path) -> None:
    files = {
        "root.hms": "import left\nimport right\nimport site as s\nlet n = left.n + right.n",
        "left.hms": "import site\nsite.gpu.power = 3 W\nlet n = 1",
        "right.hms": "from site import gpu\nlet n = 1\nassert gpu.power == 3 W",
        "site.hms": CHIP + "gpu: G",
    }
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["s.gpu"]


def test_things_are_named_by_the_shortest_way_from_the_root(tmp_path: Path) -> None:
    files = {
        "root.hms": "import deep as d\nimport base as b\n",
        "deep.hms": "import base as x\nimport other as o\n",
        "base.hms": CHIP + "gpu: G",
        "other.hms": CHIP + "gpu: G",
    }
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["b.gpu", "d.o.gpu"]


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files = {
        "root.hms": "from a.site import n\nfrom b.site import m\nlet k = n + m",
        "a/site.hms": CHIP + "gpu: G\nparam n = 1",
        "b/site.hms": CHIP + "gpu: G\nparam m = 1",
    }
    assert chips(hermesdsl.compile(write(tmp_path, files))) == ["site.gpu", "site_2.gpu"]


def test_instances_of_a_library_module_do_not_exist(tmp_path: Path) -> None:
    system = hermesdsl.compile(
        write(tmp_path, {"root.hms": "import std.nvidia.hopper as h\na: h.H100"})
    )
    assert chips(system) == ["a"]


# --- folders -------------------------------------------------------------------------------


def test_further_folders(tmp_path: Path) -> None:
    write(tmp_path / "lib", {"shared/chips.hms": CHIP})
    spec = write(tmp_path / "spec", {"root.hms": "import shared.chips as c\na: c.G"})
    assert chips(hermesdsl.compile(spec, path=[str(tmp_path / "lib")])) == ["a"]
    assert failure(spec) == ["HMS203 no module `shared.chips`"]


def test_the_own_folder_comes_before_further_ones(tmp_path: Path) -> None:
    write(tmp_path / "lib", {"chips.hms": "chip H { power = 1 W }"})
    spec = write(tmp_path / "spec", {"root.hms": "import chips as c\na: c.G", "chips.hms": CHIP})
    assert chips(hermesdsl.compile(spec, path=[str(tmp_path / "lib")])) == ["a"]


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_that_leads_out_is_refused_unless_its_folder_is_given(
    tmp_path: Path, link: str
) -> None:
    write(tmp_path / "lib", {"chips.hms": CHIP})
    name = "chips" if link == "file" else "shared.chips"
    spec = write(tmp_path / "spec", {"root.hms": f"import {name} as c\na: c.G"})
    if link == "file":
        (tmp_path / "spec" / "chips.hms").symlink_to(tmp_path / "lib" / "chips.hms")
    else:
        (tmp_path / "spec" / "shared").symlink_to(tmp_path / "lib")
    assert failure(spec)[0].startswith("HMS205 module")
    assert chips(hermesdsl.compile(spec, path=[str(tmp_path / "lib")])) == ["a"]


def test_a_link_inside_the_folder_is_the_same_file(tmp_path: Path) -> None:
    spec = write(tmp_path, {"root.hms": "import one\nimport two\n", "one.hms": CHIP + "gpu: G"})
    (tmp_path / "two.hms").symlink_to(tmp_path / "one.hms")
    assert chips(hermesdsl.compile(spec)) == ["one.gpu"]


def test_a_link_to_the_specification_reads_where_the_specification_lies(tmp_path: Path) -> None:
    spec = write(tmp_path / "real", {"root.hms": "import parts as p\na: p.G", "parts.hms": CHIP})
    (tmp_path / "link.hms").symlink_to(spec)
    assert chips(hermesdsl.compile(tmp_path / "link.hms")) == ["a"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.hms").symlink_to(tmp_path / "b.hms")
    (tmp_path / "b.hms").symlink_to(tmp_path / "a.hms")
    assert failure(tmp_path / "a.hms")[0].startswith("HMS104")
    spec = write(tmp_path, {"root.hms": "import a\n"})
    assert failure(spec)[0].startswith(("HMS104", "HMS203", "HMS205"))


def test_names_no_file_system_takes(tmp_path: Path) -> None:
    long = "x" * 400
    assert failure(write(tmp_path, {"root.hms": f"import {long}\n"}))[0].startswith("HMS203")
    assert failure(tmp_path / f"{long}.hms")[0].startswith("HMS104")
    assert failure(Path("a\0b.hms"))[0].startswith("HMS104")


def test_the_folder_of_the_spec_is_not_left_by_names() -> None:
    with pytest.raises(SpecError) as caught:
        hermesdsl.compile("import ..secret as s\n")
    assert caught.value.diagnostics[0].code == "HMS101"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    spec = write(tmp_path, {"root.hms": "import parts\n", "parts.hms": CHIP})
    (tmp_path / "parts.hms").chmod(0)
    assert failure(spec)[0].startswith("HMS104 parts.hms cannot be read")


def test_files_named_in_a_spec_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    load = """
from std.models.llama import Llama3_1_8B
from std.nvidia.hopper import H100
gpu: H100
llm: LlmEngine on gpu { model = Llama3_1_8B }
chat: Chat { llm = llm }
workload w { param file = "t.csv"; pipeline = chat; arrivals = trace(file) }
"""
    spec = write(tmp_path, {"root.hms": "import sub.load as l\n", "sub/load.hms": load})
    trace = hermesdsl.compile(spec).compiled.workloads["l.w"].arrivals.args["file"]
    assert trace == str(tmp_path / "sub" / "t.csv")
    system = hermesdsl.compile(spec, set={"l.w.file": '"other/t.csv"'})
    trace = system.compiled.workloads["l.w"].arrivals.args["file"]
    assert trace == str(Path.cwd() / "other" / "t.csv")  # of the person, not of the file


# --- circles and chains --------------------------------------------------------------------


def test_a_circle_of_imports_is_printed(tmp_path: Path) -> None:
    files = {f"{a}.hms": f"import {b}\n" for a, b in ("ab", "bc", "cd", "db")}
    write(tmp_path, files)
    (found,) = failure(tmp_path / "a.hms")
    assert found.startswith("HMS204 imports go in a circle:")
    assert found.endswith("b.hms -> " + str(tmp_path / "c.hms") + " -> " + str(tmp_path / "d.hms")
                          + " -> " + str(tmp_path / "b.hms"))  # fmt: skip


def test_a_chain_of_imports_ends_somewhere(tmp_path: Path) -> None:
    chain = {f"m{i}.hms": f"import m{i + 1} as n\n" for i in range(300)}
    write(tmp_path, chain | {"m300.hms": "let x = 1"})
    assert failure(tmp_path / "m0.hms") == ["HMS105 more than 100 files that import the next"]
    assert chips(hermesdsl.compile(tmp_path / "m210.hms")) == []


def test_a_broken_file_is_told_once(tmp_path: Path) -> None:
    files = {"root.hms": "import a\nimport b\n", "a.hms": "import c\n", "b.hms": "import c\n",
             "c.hms": "let = 3"}  # fmt: skip
    assert len(failure(write(tmp_path, files))) == 1

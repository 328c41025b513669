"""Every value knows where it came from: chains of sites, and the params of a system."""

from __future__ import annotations

from pathlib import Path

from model_specs import PARTS, built

import hermesdsl
from hermesdsl.model.explain import chain, instance_at

SPEC = (
    PARTS
    + """
chip Fast extends G { power = 200 W }
node Box { param n = 2; gpu[n]: Fast { power = 300 W } }
box[3]: Box
box[*].gpu[*].power = 400 W
box[1].gpu[0].power = 500 W
Fast.power = 250 W
case hot { box.gpu.power = 600 W }
"""
)


def sites(path: str, name: str, **options: object) -> list[str]:
    tree = built(SPEC, **options)  # type: ignore[arg-type]
    instance = instance_at(tree, path)
    assert instance is not None
    return [
        f"{site.expr.span.text} {site.origin}" if site.expr is not None else site.origin
        for site in chain(tree.builder, instance, name)
    ]


def test_the_chain_of_a_value_weakest_first() -> None:
    assert sites(
        "box[1].gpu[0]", "power", settings={"box[1].gpu[0].power": "700 W"}, case="hot"
    ) == [
        "100 W definition",
        "200 W definition",
        "250 W path statement",
        "300 W instance block",
        "400 W path statement",
        "500 W path statement",
        "600 W case hot",
        "700 W --set",
    ]


def test_twins_answer_with_their_prototypes_chain() -> None:
    assert sites("box[2].gpu[1]", "power")[-1] == "400 W path statement"
    assert sites("box[0].gpu[1]", "power")[-1] == "400 W path statement"


def test_params_of_the_users_files_with_value_unit_and_origin(tmp_path: Path) -> None:
    (tmp_path / "site.hms").write_text(
        PARTS + 'param n = 2\nparam wait = 5 ms\nparam name = "a"\nparam hot = true\n'
        "param accel: chip = G\nnode Box { param m = n * 2; gpu: accel }\nbox: Box",
        encoding="utf-8",
    )
    (tmp_path / "root.hms").write_text("import site as s\ns.n = 3\n", encoding="utf-8")
    system = hermesdsl.compile(tmp_path / "root.hms", set={"s.wait": "7 us"})
    assert system.parameters == {
        "s.accel": {"value": "G", "unit": None, "origin": "default"},
        "s.box.m": {"value": 6, "unit": None, "origin": "default"},
        "s.n": {"value": 3, "unit": None, "origin": "path statement"},
        "s.name": {"value": '"a"', "unit": None, "origin": "default"},
        "s.hot": {"value": True, "unit": None, "origin": "default"},
        "s.wait": {"value": 7e-6, "unit": "us", "origin": "--set"},
    }


def test_params_of_the_library_are_those_of_the_things_made_from_it() -> None:
    system = hermesdsl.compile(
        "from std.nvidia.hopper import DGX_H100\nbox: DGX_H100 { gpus = 4 }\n"
    )
    assert system.parameters["box.gpus"] == {"value": 4, "unit": None, "origin": "instance block"}
    assert not [path for path in system.parameters if not path.startswith("box.")]

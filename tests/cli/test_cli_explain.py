"""``hermes explain``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest


def lines(text: str) -> list[list[str]]:
    """Lines as their columns."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def test_a_param_its_domain_and_its_chain(hermes: Any) -> None:
    outcome = hermes("explain", "small.hms", "n", "--set", "n=4")
    assert (outcome.code, outcome.err) == (0, "")
    assert lines(outcome.out) == [
        ["n = 4"],
        ["number, in [1, 2, 4]. How many chips there are."],
        ["1", "default", "small.hms:4"],
        [">", "4", "--set"],
    ]


def test_a_property_starts_at_the_schema(hermes: Any) -> None:
    found = lines(hermes("explain", "small.hms", "llm[0].max_batch").out)
    assert found[0] == ["llm[0].max_batch = 256 req"]
    assert found[2] == [">", "256 req", "schema default"]


def test_the_last_site_is_in_force(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "own.hms").write_text(
        "import small\nchip C { power = 2 W }\nnode N { c[2]: C { power = 3 W } }\n"
        "n: N { c[1] { power = 4 W } }\nn.c[0].power = 5 W\n"
    )
    # The override order: definition, instance block, path statements outwards.
    for place, sites in {0: ["2 W", "3 W", "5 W"], 1: ["2 W", "3 W", "4 W"]}.items():
        out = hermes("explain", "own.hms", f"n.c[{place}].power").out
        found = lines(out)
        assert found[0] == [f"n.c[{place}].power = {sites[-1]}"]
        values = [row[1] if row[0] == ">" else row[0] for row in found[2:]]
        assert values[-3:] == sites


def test_alike_values_print_once(hermes: Any) -> None:
    out = hermes("explain", "small.hms", "gpu[*].power", "--set", "n=4").out
    assert out.startswith("gpu[0].power = 350 W  and 3 more alike\n")
    assert out.count("350 W") == 2


def test_values_that_differ_print_each(hermes: Any) -> None:
    arguments = ["--set", "n=2", "--set", "gpu[1].power=400 W"]
    out = hermes("explain", "small.hms", "gpu[*].power", *arguments).out
    assert "gpu[0].power = 350 W\n" in out
    assert "gpu[1].power = 400 W\n" in out


def test_an_entry_of_a_map(hermes: Any) -> None:
    found = lines(hermes("explain", "small.hms", "gpu[0].peak.bf16").out)
    assert found[0] == ["gpu[0].peak.bf16 = 400 TFLOPS"]
    assert found[-1] == [">", "400 TFLOPS", "definition", "small.hms:7"]


def test_a_computed_value_shows_how_it_was_written(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "own.hms").write_text("param n = 2\nlet m = n * 3\n")
    assert lines(hermes("explain", "own.hms", "m").out)[0] == ["m = 6"]
    assert "n * 3" in hermes("explain", "own.hms", "m").out


def test_a_part_lists_its_values_and_members(hermes: Any) -> None:
    out = hermes("explain", "small.hms", "gpu").out
    assert out.startswith("gpu[0]: chip MyChip\n  small.hms:12\n")
    assert ["power", "350 W", "definition", "small.hms:8"] in lines(out)
    assert out.endswith("  holds hbm: Memory\n")


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("main", "main: experiment"),
        ("MyChip", "MyChip: chip"),
        ("load", "load: workload"),
        ("chat", "chat: pipeline Chat"),
        ("llm[0]", "llm[0]: client LlmEngine"),
        ("load.rate", "load.rate = 1 req/s"),
    ],
)
def test_things_of_every_sort(hermes: Any, path: str, first: str) -> None:
    outcome = hermes("explain", "small.hms", path)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == first


def test_a_module_and_what_is_in_it(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "own.hms").write_text("import small as s\n")
    assert hermes("explain", "own.hms", "s").out.startswith("s: the file small.hms\n")
    assert hermes("explain", "own.hms", "s.n").out.startswith("s.n = 1\n")


def test_a_case_shows_what_it_sets(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "own.hms").write_text("param n = 2\ncase many { n = 8 }\n")
    out = hermes("explain", "own.hms", "many").out
    assert lines(out)[0] == ["case many"]
    assert lines(out)[-1][-3:] == ["8", "case", "own.hms:2"]


def test_a_specification_with_errors_is_explained_too(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.hms").write_text("param n = 2\nassert n == 3\n")
    outcome = hermes("explain", "bad.hms", "n")
    assert outcome.code == 2
    assert outcome.out.startswith("n = 2\n")
    assert "error[HMS401]" in outcome.err


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("m", "HMS201", "unknown name `m`"),
        ("load.rat", "HMS201", "help: did you mean `rate`?"),
        ("gpu[0].peak.bf61", "HMS201", "no entry `bf61`"),
        ("gpu[7].power", "HMS403", "index 7 is out of range"),
        ("gpu.power", "HMS303", "write `gpu[*].power` for all"),
        ("gpu[0].power.x", "HMS303", "has no member `x`"),
        ("a b", "HMS607", "`a b` is no path"),
        ("n = 3", "HMS607", "`n = 3` is no path"),
        ("n; m", "HMS607", "`n; m` is no path"),
        ("n\nm", "HMS607", "`n m` is no path"),
        ("", "HMS607", "`` is no path"),
        ("2 + 2", "HMS607", "`2 + 2` is no path"),
        ("# n", "HMS607", "`# n` is no path"),
    ],
)
def test_must_fail(hermes: Any, path: str, code: str, message: str) -> None:
    outcome = hermes("explain", "small.hms", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"error[{code}]" in outcome.err
    assert message in outcome.err


def test_the_path_stands_alone_in_diagnostics(hermes: Any) -> None:
    assert "1 | load.rat\n  |      ^^^\n" in hermes("explain", "small.hms", "load.rat").err


def test_no_such_file(hermes: Any) -> None:
    outcome = hermes("explain", "nothing.hms", "n")
    assert (outcome.code, outcome.out) == (2, "")
    assert "nothing.hms does not exist" in outcome.err

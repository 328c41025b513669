"""`hermes sensitivity`: the table, JSON, and what is wrong with the arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SPEC = """\
from std.nvidia.hopper import DGX_H100
param each = 10 ms in [5 ms, 10 ms, 40 ms]
param n = 2 in [2, 4]
box: DGX_H100
desk: WorkerPool on box.cpu[0] { workers = n }
pipeline P { look: Step on desk { service = each }; input -> look -> output }
workload load {
    pipeline = P; arrivals = constant(1 req/s); requests = 4; prompt = 1 tok; output = 1 tok
}
experiment main { workload = [load]; seeds = [1, 2] }
"""


@pytest.fixture
def desk(tmp_path: Path, hermes: Any) -> Any:
    (tmp_path / "desk.hms").write_text(SPEC, encoding="utf-8")

    def call(*more: str) -> Any:
        return hermes("sensitivity", "desk.hms", "--workers", "1", *more)

    return call


def test_a_table_with_the_largest_effect_first(desk: Any) -> None:
    done = desk("--metric", "mean(e2e)", "-q")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "desk.hms  experiment main: 4 points, 2 seeds each"
    assert lines[2] == "mean(e2e)  10 ms ±0 ms as it stands"
    assert lines[5].split() == [
        "each", "10", "ms", "5", "ms", "-50.0%", "±0.0", "40", "ms", "+300.0%", "±0.0", "+1.00",
        "±0.00", "#" * 24, "350.0%", "±0.0",
    ]  # fmt: skip
    assert lines[6].split()[:3] == ["n", "2", "-"]


def test_json_in_si_units(desk: Any) -> None:
    done = desk("--metric", "p99(e2e)", "--param", "each", "--seeds", "1", "--json")
    data = json.loads(done.out)
    assert (data["metric"], data["unit"], data["seeds"]) == ("p99(e2e)", "s", [1])
    assert data["base"] == {"mean": pytest.approx(0.01), "half": None, "n": 1}
    (effect,) = data["effects"]
    assert effect["path"] == "each"
    assert effect["elasticity"]["mean"] == pytest.approx(1.0)
    assert [change["value"] for change in effect["changes"]] == [0.005, 0.04]
    assert "one seed says nothing of chance" in done.err


def test_a_change_that_cannot_be_is_said(desk: Any) -> None:
    done = desk("--metric", "mean(e2e)", "--set", "box.cpu[0].cores=3", "--param", "n")
    assert done.code == 0, done.err
    done = desk("--metric", "mean(e2e)", "--param", "box.cpu[0].cores", "--set", "n=2")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "HMS607"),
        (("--metric", "p99"), "HMS604"),
        (("--metric", "p99(e2e) + 1"), "HMS604"),
        (("--metric", "p99(e2e", "--param", "n"), "HMS102"),
        (("--metric", "mean(e2e)", "--param", "n = 3"), "HMS101"),
        (("--metric", "mean(e2e)", "--param", "desk.workers"), "HMS210"),
        (("--metric", "mean(e2e)", "--seeds", "0"), "HMS607"),
        (("--metric", "mean(e2e)", "--experiment", "mian"), "HMS602"),
        (("--metric", "mean(e2e)", "--plugin", "lost"), "HMS609"),
    ],
)
def test_arguments_that_are_wrong(arguments: tuple[str, ...], code: str, desk: Any) -> None:
    outcome = desk(*arguments)
    assert outcome.code == 2
    assert f"error[{code}]" in outcome.err
    assert "Traceback" not in outcome.err

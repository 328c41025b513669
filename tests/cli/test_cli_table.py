"""The table: golden at 80 and 120 columns and in a pipe. Numbers are made up; layout is not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hermesdsl.cli.table import blocks
from hermesdsl.results import Result, Verdict

GOLDEN = Path(__file__).parent / "golden"


def series(mean: float, n: int = 1_429) -> dict[str, Any]:
    """A series whose percentiles are simple multiples of its mean."""
    factors = {"p50": 0.9, "p90": 1.5, "p95": 1.75, "p99": 2.5, "max": 6.0}
    return {"mean": mean, **{k: mean * f for k, f in factors.items()}, "n": n, "unit": "s"}


def metrics(scale: float = 1.0) -> dict[str, Any]:
    times = {"ttft": 0.0853, "tpot": 0.0107, "itl": 0.0106, "tpot_step": 0.0107, "e2e": 2.29,
             "queue": 0.00012}  # fmt: skip
    rates = {"output_throughput": 1868.2, "request_throughput": 8.963, "goodput": 8.8632,
             "attainment": 0.9902}  # fmt: skip
    return {
        **{name: series(mean * scale) for name, mean in times.items()},
        **{name: {"value": value, "unit": ""} for name, value in rates.items()},
    }


def result(**changes: Any) -> Result:
    data = {
        "spec": "fleet.hms", "experiment": "main", "seed": 1, "wall_s": 0.25,
        "simulated_s": 612.0, "makespan_s": 611.5, "verdict": "stable", "horizon": "drain",
        "requests": {"offered": 1635, "admitted": 1635, "completed": 1630, "refused": 3,
                     "unfinished": 2},
        "tokens": {"prompt": 3_533_042, "cached": 0, "output": 340_211, "generated": 340_211},
        "metrics": metrics(),
        "stages": {}, "clients": {},
        "by": {"workload.chat": metrics(0.5), "workload.summarise_documents": metrics(2.0)},
        "provenance": {"measured": 0.0, "calibrated": 0.25, "datasheet": 0.75},
        "files": {},
    }  # fmt: skip
    verdicts = (
        Verdict("attainment(class = gold) >= 99%", False, 0.9513, 0.99, "1", "%", 0.01, "promised"),
        Verdict("p99(ttft, workload = chat) <= 500 ms", True, 0.2133, 0.5, "s", "ms", 1e-3),
        Verdict("p50(e2e, case = a) < p50(e2e, case = b)", None, None, None, "s"),
    )
    return Result({**data, **changes}, verdicts)


def printed(found: Result, width: int, *, colour: bool = False, definitions: bool = True) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, markup=False, highlight=False, force_terminal=colour,
        color_system="standard" if colour else None, legacy_windows=False,
    )  # fmt: skip
    console.print(*blocks(found, width, definitions=definitions), sep="\n")
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("width", [80, 120])
def test_golden(width: int) -> None:
    text = printed(result(), width)
    assert text == (GOLDEN / f"table_{width}.txt").read_text(encoding="utf-8")
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_pipe_is_never_wrapped() -> None:
    text = printed(result(verdict="overloaded"), 100_000)
    assert text.isascii()
    assert len([line for line in text.splitlines() if line.startswith("overloaded ")]) == 1
    assert "Offer less, or add engines." in text


def test_colour_changes_no_character() -> None:
    coloured = printed(result(), 80, colour=True)
    assert "\x1b[1;31mmissed" in coloured
    stripped = io.StringIO()
    from rich.text import Text

    for line in coloured.splitlines():
        stripped.write(Text.from_ansi(line).plain.rstrip() + "\n")
    assert stripped.getvalue() == printed(result(), 80)


@pytest.mark.parametrize("verdict", ["stable", "backlogged", "overloaded"])
def test_each_verdict_has_its_sentence(verdict: str) -> None:
    text = printed(result(verdict=verdict), 100_000)
    assert f"\n{verdict}  " in text


def test_nothing_observed_is_a_dash() -> None:
    empty = {**dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max")), "n": 0, "unit": "s"}
    none = {name: empty if "mean" in entry else {"value": None, "unit": ""}
            for name, entry in metrics().items()}  # fmt: skip
    text = printed(result(metrics=none, by={}), 100)
    row = next(line for line in text.splitlines() if line.startswith("ttft"))
    assert row.split() == ["ttft", *["-"] * 6, "ms", "0"]


def test_one_workload_is_no_group() -> None:
    assert "chat  " not in printed(result(by={"workload.chat": metrics()}), 80, definitions=False)


def test_a_class_that_is_only_some_of_them_is_shown() -> None:
    assert "  gold  " in printed(result(by={"class.gold": metrics(0.5)}), 80)


def test_names_are_literal() -> None:
    groups = {"workload.a": metrics(0.5), "workload.[red]b": metrics(2.0)}
    assert "  [red]b  " in printed(result(by=groups, spec="[bold]x.hms"), 120)


def test_a_run_that_was_cut_says_so() -> None:
    assert "10.2 min simulated (cut off there)" in printed(result(horizon="cut"), 80)


def test_definitions_can_be_left_out() -> None:
    assert "first visible token" not in printed(result(), 80, definitions=False)


def test_a_long_name_leaves_room_for_the_numbers() -> None:
    groups = {"workload.a": metrics(0.5), f"workload.{'w' * 60}": metrics(2.0)}
    text = printed(result(by=groups), 80)
    row = next(line for line in text.splitlines() if line.startswith("  www"))
    # Twice the mean of the row above, 85.3 ms.
    assert row.split()[1] == "170.6"
    assert max(len(line) for line in text.splitlines()) <= 80

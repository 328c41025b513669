"""Every case of every example compiles, is drawn and runs; what the comments claim does happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hermesdsl
from hermesdsl.api import draw
from hermesdsl.graph.types import Metric

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Between the two switches of the example on contention.
CABLE = ("tor[0]", "tor[1]")
TRACE = EXAMPLES / "../../shared/data/traces/azure_llm_2023_conv.csv.gz"


def variants() -> list[tuple[str, str | None]]:
    """(example, case) of all cases, and the example as it stands (None)."""
    found: list[tuple[str, str | None]] = []
    for file in sorted(EXAMPLES.glob("*.hms")):
        found.append((file.stem, None))
        words = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        found += [(file.stem, line[1]) for line in words if line[:1] == ["case"]]
    return found


def compiled(name: str, case: str | None = None) -> hermesdsl.System:
    given = {}
    if name == "azure_replay":
        if not TRACE.exists():
            pytest.skip("the recorded Azure trace is not part of the project")
        given = {"chat.file": f'"{TRACE.resolve()}"'}
    return hermesdsl.compile(EXAMPLES / f"{name}.hms", case=case, set=given)


def ran(name: str, case: str | None = None) -> Any:
    return hermesdsl.run(compiled(name, case))


def of(result: Any, statistic: str, series: str, **where: str) -> float:
    return float(result.value(Metric(statistic, series, where)))


@pytest.mark.parametrize(("name", "case"), variants())
def test_compiles_is_drawn_and_runs(name: str, case: str | None, tmp_path: Path) -> None:
    system = compiled(name, case)
    assert not [d for d in system.diagnostics if d.severity.value == "warning"]
    assert len(system.compiled.experiments) == 1
    for view in ("pipeline", "placement"):
        picture = draw(system, view).write(tmp_path / f"{view}.dot")
        assert "->" in picture.read_text(encoding="utf-8")
    counts = hermesdsl.run(system).summary()["requests"]
    assert counts["offered"] > 0
    ended = counts["completed"] + counts["refused"] + counts.get("timed_out", 0)
    assert ended == counts["offered"]


def test_only_chunked_prompts_keep_the_gaps_between_tokens_short() -> None:
    cases = {case: ran("batching", case) for case in (None, "whole_sets", "prompts_first")}
    gap = {case: of(result, "p99", "itl") for case, result in cases.items()}
    first = {case: of(result, "p50", "ttft") for case, result in cases.items()}
    assert gap[None] < gap["prompts_first"]
    assert first["prompts_first"] < first[None] < first["whole_sets"]


def test_priority_is_for_gold_at_the_expense_of_free() -> None:
    given, plain = ran("priority_classes"), ran("priority_classes", "in_turn")
    short = ran("priority_classes", "shortest_first")
    assert given.met
    assert not plain.met
    for result in (given, plain):
        assert of(result, "p50", "ttft", **{"class": "free"}) > 1
    assert of(plain, "p50", "ttft", **{"class": "gold"}) > 1
    assert of(short, "mean", "e2e") < of(plain, "mean", "e2e")
    assert of(short, "max", "ttft") > of(plain, "max", "ttft")


def test_layerwise_transfers_end_sooner_after_the_prompt() -> None:
    def wait(case: str | None) -> float:
        rows = ran("disaggregated", case).requests
        return float((rows["chat.answer.start_s"] - rows["chat.read.end_s"]).mean())

    assert 0 < wait(None) < wait("whole")


def test_pairs_hand_over_within_the_pair() -> None:
    moved = ran("disaggregated", "in_pairs").measures.run.transfers
    assert set(zip(moved["source"].tolist(), moved["target"].tolist(), strict=True)) == {
        (0, 2), (1, 3),
    }  # fmt: skip


def test_lent_engines_read_the_bursts() -> None:
    assert ran("role_switching").met
    fixed = ran("role_switching", "fixed_roles")
    assert not fixed.met
    assert set(fixed.measures.run.requests["chat.read.client"].tolist()) == {0}


def test_swapping_recomputes_little_and_stalls_less() -> None:
    swap, again = ran("swap"), ran("swap", "computed_again")
    one, other = swap.measures.run.engines[0], again.measures.run.engines[0]
    assert one.swapped > 0
    assert other.swapped == 0
    assert one.recomputed < 0.01 * other.recomputed
    assert swap.met
    assert not again.met


def test_transfers_that_share_a_cable() -> None:
    shared, alone = ran("contention"), ran("contention", "alone")
    assert not shared.met
    assert alone.met
    took = {}
    for name, result in (("shared", shared), ("alone", alone)):
        run = result.measures.run
        rows = run.transfers
        took[name] = rows["end_s"] - rows["start_s"]
        cable = next(link for link in run.links if (link.source, link.target) == CABLE)
        assert cable.bytes == pytest.approx(rows["bytes"].sum(), rel=1e-12)
        load = cable.busy_s / run.end_s
    # Two cables of 5 us to the switches, one between them, and PCIe at either end.
    gap = took["alone"] - run.transfers["bytes"] / 12.5e9
    assert gap.max() - gap.min() < 1e-12
    assert 15e-6 < gap.min() < 20e-6
    # Processor sharing: mean alone / (1 - load), here with few transfers at the run's two ends.
    expected = took["alone"].mean() / (1 - load)
    assert took["shared"].mean() == pytest.approx(expected, rel=0.15)

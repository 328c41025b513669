"""Stage types that cores do: the registry and the schema agree."""

from __future__ import annotations

import pytest

import hermesdsl
from hermesdsl.cost.device import worker_cores
from hermesdsl.cost.work import WORKS
from hermesdsl.graph.ledger import RULES, rule_of
from hermesdsl.schema import BUILTINS

ON_CORES = {name for name, builtin in BUILTINS.items() if builtin.on_cores}


def test_what_the_schema_puts_on_cores_has_a_cost_there_and_runs_there() -> None:
    assert {*WORKS, "Retrieve"} == ON_CORES
    for name in ON_CORES:
        assert rule_of(name).clients == ("WorkerPool", "Delay")
        assert name not in RULES


def test_any_other_stage_is_a_step() -> None:
    assert rule_of("Ocr") == rule_of("Step")
    assert rule_of("Ocr").clients == ("WorkerPool", "BatchEngine", "Delay")


@pytest.mark.parametrize(("workers", "cores"), [(1, 56.0), (14, 4.0), (112, 0.5)])
def test_workers_divide_the_cores_of_their_processor(workers: int, cores: float) -> None:
    system = hermesdsl.compile(
        "from std.nvidia.hopper import DGX_H100\nbox: DGX_H100\n"
        f"pool_: WorkerPool on box.cpu[0] {{ workers = {workers} }}\n"
        "web: Delay { latency = 1 s }\n"
    )
    clients = {path: data["client"] for path, data in system.placement.nodes(data=True)
               if "client" in data}  # fmt: skip
    assert worker_cores(clients["pool_"]) == cores
    assert worker_cores(clients["web"]) == 1.0

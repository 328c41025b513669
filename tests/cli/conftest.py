from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hermesdsl.cli.app import run

#: One chip, one engine, ten requests, one every second: nothing queues, nothing is random.
SPEC = """\
from std.models.llama import Llama3_1_8B

## How many chips there are.
param n = 1 in [1, 2, 4]

chip MyChip {
    peak.bf16 = 400 TFLOPS
    power     = 350 W
    hbm: Memory { capacity = 96 GiB; bandwidth = 2 TB/s }
}

gpu[n]: MyChip
llm[n]: LlmEngine on gpu[*] { model = Llama3_1_8B }
chat:   Chat { llm = llm }

workload load {
    pipeline = chat
    param rate = 1 req/s
    arrivals = constant(rate)
    requests = 10
    prompt   = 1000 tok
    output   = 11 tok
}

experiment main {
    workload = [load]
    seeds    = [1, 2]
    require p99(ttft) <= 10 s
    require max(e2e) <= 1 ms, "nobody is that fast"
    sweep n in [1, 2, 4]
}
"""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Hermes = Callable[..., Outcome]


@pytest.fixture
def hermes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Hermes:
    """Runs a command line in a folder that holds `small.hms` (`SPEC`)."""
    (tmp_path / "small.hms").write_text(SPEC, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR", "HERMES_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(arguments)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def files(tmp_path: Path) -> Callable[[], list[str]]:
    """The names of everything in that folder."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())

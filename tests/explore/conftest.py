from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.api import System

#: One chip, one engine; a step's time depends on `speed`, the chip's bandwidth, alone.
SPEC = """\
from std.models.llama import Llama3_1_8B

param n = 1 in [1, 2, 3]
param speed = 2 TB/s

chip MyChip {{
    peak.bf16 = 400 TFLOPS
    power     = 350 W
    cost      = $2/hr
    hbm: Memory {{ capacity = 96 GiB; bandwidth = speed }}
}}
gpu[n]: MyChip
llm[n]: LlmEngine on gpu[*] {{ model = Llama3_1_8B }}
chat:   Chat {{ llm = llm }}
assert n != 2, "two is no number of chips"

case plain {{ speed = 2 TB/s }}
case fast  {{ speed = 4 TB/s }}

workload load {{
    pipeline = chat
    param rate = 1 req/s
    arrivals = {arrivals}
    requests = 10
    prompt   = 1000 tok
    output   = 11 tok
}}
experiment main {{
    workload = [load]
    {body}
}}
"""

Compiled = Callable[..., System]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiled:
    """Compiles `SPEC` with statements of its experiment, as the file `small.hms`."""
    monkeypatch.chdir(tmp_path)

    def call(body: str, *, arrivals: str = "constant(rate)", **given: object) -> System:
        text = SPEC.format(body=body, arrivals=arrivals)
        (tmp_path / "small.hms").write_text(text, encoding="utf-8")
        return hermesdsl.compile("small.hms", **given)  # type: ignore[arg-type]

    return call

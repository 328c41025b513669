"""Every type of stage as it is written: how long it takes, and how many tokens it leaves to read.

One request with a prompt of 100 tokens and an answer of 20 comes alone. The host has 8 cores and
8 workers, so one core each; its memory is read at 18 GB/s per core (RAGO), which is less than an
eighth of 80 % of 200 GB/s. What a model does is expected as the cost model's own answer to the
work counted here by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any, NamedTuple

import pytest
from hand_built import batch

import hermesdsl
from hermesdsl.cost import bind
from hermesdsl.cost.services import bind_services
from hermesdsl.cost.types import StepWork
from hermesdsl.diagnostics import SpecError
from hermesdsl.sim.run import simulate

PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
from std.models.embedding import E5_Base

cpu Host { cores = 8; peak.fp32 = 1000 TFLOPS }
host: Host
dram: Memory { capacity = 512 GiB; bandwidth = 200 GB/s; latency = 100 ns }
connect host <-> dram
gpu[3]: H100
llm:    LlmEngine   on gpu[0] { model = Llama3_1_8B }
encoder:  BatchEngine on gpu[1] { model = E5_Base }
cores:   WorkerPool  on host   { workers = 8 }
search: WorkerPool  on gpu[2] { workers = 1 }
web:    Delay { latency = 7 ms }
index ivf {
    kind = ivf_pq(centroids = 1000, probes = 10, bytes_per_vector = 16); vectors = 1e6; dim = 128
}
index every { kind = flat; vectors = 1e6; dim = 128 }
index near { kind = hnsw(ef = 64, m = 32); vectors = 1e6; dim = 128 }
index fast { kind = gpu_flat; vectors = 1e6; dim = 128 }
index deep {
    kind = tree(scanned = 10%, levels = 3, fan_out = 100, bytes_per_vector = 16)
    vectors = 1e6; dim = 128
}
stage OCR { service = 20 ms + 3 us/tok * prompt; appends = 200 tok }
stage Cite extends Tool { appends = 30 tok }
pipeline P {
    STAGES
    read: Prefill on llm
    input -> WAY -> read -> output
}
workload w { pipeline = P; arrivals = constant(1 req/s); prompt = 100 tok; output = 20 tok }
experiment main { workload = [w]; contention = none }
"""


class Costs(NamedTuple):
    """The cost models of the engine `llm` and of the stage under test."""

    llm: Any
    stage: Any

    def reading(self, tokens: int, before: int = 0) -> float:
        """One step of a prompt slice of `tokens` after `before`, with its first token."""
        pairs = tokens * before + tokens * (tokens + 1) / 2
        return self.llm.step(StepWork(tokens, 1, 1, tokens, pairs, tokens + before))

    def one_pass(self, sequences: int, tokens: int, sampled: int = 0) -> float:
        """A pass of the encoder, which reads both ways: t² pairs per sequence of t tokens."""
        length = tokens / sequences
        work = StepWork(tokens, sampled, sequences, tokens, tokens * length, float(tokens))
        return self.stage.engine.step(work)


class Row(NamedTuple):
    """A stage `a` after those of `before`, its `seconds`; tokens that the engine reads in all."""

    stage: str
    seconds: float | Callable[[Costs], float]
    read: int = 100
    before: str = ""


CODES = 10 * 1000 * 16
SCANNED = 18e9
LEVELS = log(1e6) / log(32)
FOUND = "f: Retrieve on cores { index = ivf; top_k = 6 }"

ROWS = {
    # Read at the end: 100 tokens, and what the stage appends, pads to or cuts to; of a context with
    # KV only the last token that was produced.
    "tokenise": Row("Tokenize on cores", 20e-6 + 100 * 1e-6),
    "detokenise": Row("Detokenize on cores", 5e-6 + 100 * 2e-7),
    "detokenise an answer": Row("Detokenize on cores", 5e-6 + 20 * 2e-7, 101,
                                "f: Generate on llm"),
    "pad": Row("Pad on cores { length = 256 tok }", 5e-6 + 100 * 8 / 18e9, 256),
    "pad what is longer": Row("Pad on cores { length = 64 tok }", 5e-6 + 100 * 8 / 18e9, 100),
    "truncate": Row("Truncate on cores { length = 64 tok }", 5e-6 + 100 * 8 / 18e9, 64),
    "look up": Row("Filter on cores", 5e-6 + 100 * 1e-7),
    "classify by hand": Row("Classify on cores { service = 2 ms }", 2e-3),
    "guard by a service": Row("Guard on web", 7e-3),
    "classify by a model": Row("Classify on encoder", lambda c: c.one_pass(1, 100, 1)),
    "guard by a model": Row("Guard on encoder", lambda c: c.one_pass(1, 100, 1)),
    "reward": Row("Score on encoder", lambda c: c.one_pass(1, 100)),
    "reward by a language model": Row("Score on llm", lambda c: c.reading(100), 200),
    "guard by a language model": Row("Guard on llm", lambda c: c.reading(100), 200),
    "verify the answer": Row("Score on encoder", lambda c: c.one_pass(1, 20), 101,
                             "f: Generate on llm"),
    "embed": Row("Embed on encoder", lambda c: c.one_pass(1, 100)),
    "embed by a language model": Row("Embed on llm", lambda c: c.reading(100), 200),
    "embed in a given time": Row("Embed on encoder { service = 4 ms }", 4e-3),
    # Bytes: centroids, codes of the lists probed, vectors of the results, tables.
    "IVF-PQ": Row("Retrieve on cores { index = ivf; top_k = 4; chunk = 50 tok }",
                  (4 * 1000 * 128 + CODES + 4 * 128 * 4 + 256 * 4 * 16) / SCANNED, 300),
    "flat": Row("Retrieve on cores { index = every; top_k = 4 }", 1e6 * 128 * 4 / SCANNED),
    # ef nodes of 2m neighbours, and m neighbours on each level above: a vector and a link each.
    "HNSW": Row("Retrieve on cores { index = near; top_k = 4 }",
                (64 * 64 + LEVELS * 32) * (128 * 4 + 4) / SCANNED),
    # A scan at 80 % of 3.35 TB/s, and the launch of its kernel (`cost.constants`).
    "flat on a GPU": Row("Retrieve on search { index = fast; top_k = 4 }",
                         1e6 * 128 * 4 / (0.8 * 3.35e12) + 3.7e-6),
    # Levels of 100, 10^4 and 10^6 nodes of 16 bytes: the first whole, a tenth of the others.
    "tree": Row("Retrieve on cores { index = deep; top_k = 4 }",
                16 * (100 + 0.1 * (1e4 + 1e6)) / SCANNED),
    "search in a given time": Row(
        "Retrieve on cores { index = ivf; service = 3 ms; chunk = 5 tok }", 3e-3, 150),
    # Six candidates of 20 tokens, each read with the query of 100; two are kept.
    "rerank": Row("Rerank on encoder { keep = 2; chunk = 20 tok }",
                  lambda c: c.one_pass(6, 6 * 120), 140, FOUND),
    "rerank what there is": Row("Rerank on encoder { keep = 9; chunk = 20 tok }",
                                lambda c: c.one_pass(6, 6 * 120), 220, FOUND),
    "prefill": Row("Prefill on llm", lambda c: c.reading(100)),
    # The prompt's step has brought the first of 20 tokens; KV of the last is still to be computed.
    "decode": Row("Decode on llm { tokens = 20 tok }",
                  lambda c: c.llm.decode_run(1, 101).seconds(19), 101, "f: Prefill on llm"),
    "generate": Row("Generate on llm { tokens = 5 tok }",
                    lambda c: c.reading(100) + c.llm.decode_run(1, 101).seconds(4), 101),
    "tool": Row("Tool on cores { service = 3 ms; appends = 40 tok }", 3e-3, 140),
    "tool outside": Row("Tool on web { appends = 2 * prompt }", 7e-3, 300),
    "outside service": Row("Step on web", 7e-3),
    "generic, by expression": Row("Step on cores { service = 1 ms + 2 us/tok * (prompt + output) }",
                                  1.24e-3),
    "generic, by distribution": Row("Step on cores { service = uniform(4 ms, 4 ms) }", 4e-3),
    "a type of one's own": Row("OCR on cores", 20e-3 + 100 * 3e-6, 300),
    "a type of one's own, changed": Row("OCR on cores { appends = 7 tok }", 20.3e-3, 107),
    "a type that extends another": Row("Cite on web", 7e-3, 130),
}  # fmt: skip


def program(row: Row) -> str:
    stages = f"{row.before}\n    a: {row.stage}"
    return PROGRAM.replace("STAGES", stages).replace("WAY", "f -> a" if row.before else "a")


@pytest.mark.parametrize("name", ROWS)
def test_a_stage(name: str):
    row = ROWS[name]
    system = hermesdsl.compile(program(row)).compiled
    costs, services = bind(system.placement), bind_services(system)
    load = [batch([0.0], 100, 20)]
    done = simulate(system, "main", seed=1, costs=costs, services=services, load=load)
    visits = done.visits
    (place,) = [i for i, s in enumerate(visits["stage"]) if done.stages[s] == "P.a"]
    found = visits["end_s"][place] - visits["start_s"][place]
    model = next((services[key] for key in services if key[0] == "P.a"), None)
    seconds = row.seconds if isinstance(row.seconds, float) else None
    if seconds is None:
        seconds = row.seconds(Costs(costs["llm"], model))  # type: ignore[operator]
    assert found == pytest.approx(seconds, rel=1e-9)
    assert visits["enter_s"][place] == visits["start_s"][place]
    assert done.steps["prefill_tokens"].sum() == row.read


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("Tokenize on llm", "P.a (Tokenize) cannot run on llm (LlmEngine)"),
        ("Retrieve on encoder { index = ivf }",
         "P.a (Retrieve) cannot run on encoder (BatchEngine)"),
        ("Tool on cores", "P.a runs on cores (WorkerPool) and has no `service` time"),
        ("Retrieve on cores { index = fast }",
         "`fast` is searched on a GPU, and `cores` runs on a CPU"),
        ("Decode on llm", "P.a reads KV that is not there on every way to it"),
        ("OCR on llm", "P.a (OCR) cannot run on llm (LlmEngine)"),
        ("Guard on llm { service = 1 ms }",
         "stage `P.a` runs an LlmEngine's model and has a `service` time"),
        ("Rerank on llm", "stage `P.a` of type `Rerank` on an LlmEngine cannot be executed yet"),
    ],
)  # fmt: skip
def test_a_stage_that_cannot_be(stage: str, message: str):
    with pytest.raises(SpecError) as caught:
        hermesdsl.run(hermesdsl.compile(program(Row(stage, 0.0))))
    assert message in [d.message for d in caught.value.diagnostics]

"""From the records of a run to metrics, verdicts, a summary and files (`results.write`).

Knows no syntax and no engine; reads `hermesdsl.sim.record.Run`.
"""

from hermesdsl.results.definitions import DEFINITIONS, Definition
from hermesdsl.results.metrics import Measures
from hermesdsl.results.result import Result, summarise
from hermesdsl.results.series import Series
from hermesdsl.results.slo import Verdict, check, evaluate

__all__ = [
    "DEFINITIONS", "Definition", "Measures", "Result", "Series", "Verdict",
    "check", "evaluate", "summarise",
]  # fmt: skip

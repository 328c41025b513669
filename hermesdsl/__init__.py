"""hermesdsl: describe LLM-serving systems, and learn latency, throughput, energy and cost.

>>> import hermesdsl
>>> system = hermesdsl.compile("examples/quickstart.hms")
>>> result = hermesdsl.run(system)
>>> hermesdsl.draw(system, "hardware").write("hardware.svg")
"""

from hermesdsl.api import System, compile, draw, run, sensitivity, sweep, validate, validate_runs
from hermesdsl.diagnostics import Diagnostic, SpecError

__version__ = "0.1.0"
__all__ = [
    "Diagnostic", "SpecError", "System", "__version__", "compile", "draw", "run",
    "sensitivity", "sweep", "validate", "validate_runs",
]  # fmt: skip

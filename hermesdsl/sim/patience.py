"""Customers who do not wait for ever: time-outs, and what they do then.

Read from a workload's ``timeout``, ``timeout_on``, ``retries`` and ``backoff``. A customer has one
patience, the same for every attempt; each pause before another attempt is a draw of its own. Knows
no client and no clock; `sim.attempts` acts on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, replace
from math import inf

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.types import Spec, Value, Workload
from hermesdsl.sim.draws import Chance, Draws
from hermesdsl.sim.lengths import distribution

#: Options of a workload that are acted on here.
OPTIONS = frozenset({"timeout", "timeout_on", "retries", "backoff"})


@dataclass(frozen=True, eq=False)
class Terms:
    """Those of one workload: `timeout` and `backoff` in seconds, None for none.

    `to_finish`: the time-out is on the end of a request, not on its first visible token.
    """

    timeout: Draws | None = None
    to_finish: bool = False
    retries: int = 0
    backoff: Draws | None = None


class Patience:
    """The terms of every request, `workloads` in the order in which requests number them."""

    def __init__(self, workloads: Ordered[Workload], chance: Chance) -> None:
        self._terms = [_terms(workload, chance) for workload in workloads]
        self._workload_of = chance.offered.workload_of

    def of(self, request: int) -> Terms:
        """The terms of a request."""
        return self._terms[self._workload_of[request]]

    def timeout(self, request: int) -> float:
        """Seconds after which an attempt is given up; inf: never."""
        draws = self.of(request).timeout
        return inf if draws is None else draws(request, 0)

    def backoff(self, request: int, attempt: int) -> float:
        """Seconds before the attempt of that number (1: the second)."""
        draws = self.of(request).backoff
        return 0.0 if draws is None else draws(request, attempt - 1)


def patience_of(workloads: Ordered[Workload], chance: Chance) -> Patience | None:
    """None if everybody waits for ever and takes no for an answer."""
    if not any(OPTIONS & workload.options.keys() for workload in workloads):
        return None
    return Patience(workloads, chance)


def check(workload: Workload) -> Iterable[Diagnostic]:
    """Settings that contradict one another (HMS601)."""
    name, given = workload.name, workload.options
    timeout = given.get("timeout")
    if isinstance(timeout, Spec) and timeout.name == "fixed" and not _above(timeout):
        yield error("HMS601", f"`{name}.timeout` is 0 s: nobody can be served in no time")
    if timeout is None and "timeout_on" in given:
        note = "help: set `timeout`, such as `timeout = 10 s`"
        yield error("HMS601", f"`{name}.timeout_on` without `timeout`: everybody waits for ever",
                    notes=[note])  # fmt: skip
    if "backoff" in given and not given.get("retries"):
        note = "help: set `retries`, such as `retries = 2`"
        yield error("HMS601", f"`{name}.backoff` without `retries`: nobody tries again",
                    notes=[note])  # fmt: skip


def _above(spec: Spec) -> bool:
    value = spec.args.get("value")
    return not isinstance(value, int | float) or value > 0


def _terms(workload: Workload, chance: Chance) -> Terms:
    given = workload.options
    path = f"workload.{workload.name}"
    found = Terms(
        timeout=_draws(given.get("timeout"), f"{path}/timeout", chance),
        to_finish=given.get("timeout_on") == "finish",
        backoff=_draws(given.get("backoff"), f"{path}/backoff", chance),
    )
    retries = given.get("retries")
    return replace(found, retries=int(retries)) if isinstance(retries, int | float) else found


def _draws(spec: Value, path: str, chance: Chance) -> Draws | None:
    if isinstance(spec, int | float):
        spec = Spec("fixed", {"value": spec})
    return chance.draws(path, distribution(spec).quantile) if isinstance(spec, Spec) else None

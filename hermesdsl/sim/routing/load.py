"""What every client has in charge, counted as requests come and go.

A change is a few additions whatever is in charge, and sums are whole numbers: what came and went
leaves exactly nothing. Knows no router, engine or time but the one it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim import lengths

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermesdsl.graph.types import StageNode
    from hermesdsl.sim.load import Offered

#: What one visit puts in charge: (tokens of context and output, expected and true new tokens).
Charge: TypeAlias = tuple[int, int, int]


class ClientLoad:
    """By index of client, what it has in charge: everything sent there and not finished there.

    `requests`; `tokens` of prompt and output of each, in full from arrival to finish; `expected`
    and `true` tokens that they are there to produce, in full too. When something was finished
    there last (`left`, seconds). Of clients that are no engines, if `timed`: visits `sent` since
    the run's start, and the `seconds` of service they asked for, each by itself.
    """

    __slots__ = ("_forecast", "_watches", "expected", "left", "requests", "seconds", "sent",
                 "timed", "tokens", "true")  # fmt: skip

    def __init__(self, clients: int) -> None:
        self.requests = [0] * clients
        self.tokens = [0] * clients
        self.expected = [0] * clients
        self.true = [0] * clients
        self.sent = [0] * clients
        self.seconds = [0.0] * clients
        self.left = [0.0] * clients
        self.timed = False
        self._forecast: Forecast | None = None
        self._watches: list[Callable[[int], None]] = []

    def watch(self, shrunk: Callable[[int], None]) -> None:
        """Call `shrunk(client)` whenever a client has less requests and tokens than before."""
        self._watches.append(shrunk)

    def foresee(self, forecast: Forecast) -> None:
        """Count expected and true tokens, which runs whose routers ask for neither do not."""
        self._forecast = self._forecast or forecast

    def add(
        self, client: int, request: int, stage: StageNode, tokens: int, produces: int
    ) -> Charge:
        """A visit begins that reads or produces `tokens` in all, `produces` of them new."""
        self.requests[client] += 1
        self.tokens[client] += tokens
        if self._forecast is None or not produces:
            return tokens, 0, 0
        expected = self._forecast.tokens(request, stage)
        self.expected[client] += expected
        self.true[client] += produces
        return tokens, expected, produces

    def remove(self, client: int, charge: Charge, now: float) -> None:
        """A visit is over that put that in."""
        tokens, expected, true = charge
        self.requests[client] -= 1
        self.tokens[client] -= tokens
        self.left[client] = now
        if true:
            self.expected[client] -= expected
            self.true[client] -= true
        for shrunk in self._watches:
            shrunk(client)

    def ask(self, client: int, seconds: float) -> None:
        """A visit asks for that time of service."""
        self.sent[client] += 1
        self.seconds[client] += seconds


class Forecast:
    """How many tokens a router expects a visit to produce: never what it will really produce.

    For a stage with a distribution of `tokens` its mean; else the mean `output` of all that the
    request's workload offers, as if learnt from earlier days. Both rounded to whole tokens.
    """

    def __init__(self, offered: Offered) -> None:
        self._workload_of = offered.workload_of
        self._means = [
            _whole(float(offered.output[offered.workload == place].mean()))
            if (offered.workload == place).any()
            else 1
            for place in range(len(offered.workloads))
        ]
        self._stages: dict[str, int] = {}

    def tokens(self, request: int, stage: StageNode) -> int:
        """Tokens, at least one."""
        known = self._stages.get(stage.path)
        if known is None:
            known = self._stages[stage.path] = _of_stage(stage)
        return known or self._means[self._workload_of[request]]


def _of_stage(stage: StageNode) -> int:
    """Mean tokens that a stage says it produces; 0 if it does not say, or by a formula."""
    tokens = stage.options.get("tokens")
    if isinstance(tokens, int | float):
        return _whole(tokens)
    if not isinstance(tokens, Spec) or tokens.name == "formula":
        return 0
    try:
        return _whole(lengths.mean(tokens))
    except SpecError:
        return 0


def _whole(tokens: float) -> int:
    return max(round(tokens), 1)

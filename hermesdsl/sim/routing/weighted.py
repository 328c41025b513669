"""``weighted(scorer = weight, …)``: the member with the highest weighted sum of scores, 0 to 1.

| scorer | a member's score |
|---|---|
| `queue` | requests in charge: 1 for the fewest, 0 for the most, in proportion between |
| `work` | seconds of work as of `least_work`: 1 for the least, 0 for the most |
| `kv` | the free share of its KV |
| `prefix` | the share of the context that it has been sent before, as of `prefix_affinity` |
| `session` | 1 where the session was last, as of `session_affinity`; else 0 |

Where all have as much in charge, all score 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, TypeAlias

from hermesdsl.graph.types import Spec
from hermesdsl.sim.routing.affinity import PrefixIndex, Sessions
from hermesdsl.sim.routing.context import RouterContext, Seen, number
from hermesdsl.sim.routing.work import work


class Scorer(Protocol):
    """Scores the members of a pool."""

    def scores(self, request: int) -> list[float]:
        """One number per member, 0 to 1, in their order."""

    def put(self, request: int, client: int) -> None:
        """The request is sent to that client."""


class _Least:
    """1 for the least, 0 for the most."""

    def __init__(self, context: RouterContext, of: Seen[int] | Seen[float]) -> None:
        self._members = context.members
        self._of = of

    def scores(self, request: int) -> list[float]:
        found = [self._of(client) for client in self._members]
        low, high = min(found), max(found)
        return [(high - n) / (high - low) if high > low else 1.0 for n in found]

    def put(self, request: int, client: int) -> None:
        """Nothing to remember."""


class _Kv:
    def __init__(self, context: RouterContext) -> None:
        self._free = context.kv_free
        memories = {client: context.scene.engines[client].kv for client in context.members}
        self._all = {client: max(kv.capacity * kv.size, 1) for client, kv in memories.items()}

    def scores(self, request: int) -> list[float]:
        return [self._free(client) / tokens for client, tokens in self._all.items()]

    def put(self, request: int, client: int) -> None:
        """Nothing to remember."""


class _Prefix(PrefixIndex):
    def __init__(self, context: RouterContext) -> None:
        super().__init__(context)
        self._members = context.members

    def scores(self, request: int) -> list[float]:
        context = max(self.context(request), 1)
        return [self.tokens(request, client) / context for client in self._members]


class _Session(Sessions):
    def __init__(self, context: RouterContext) -> None:
        super().__init__(context)
        self._members = context.members

    def scores(self, request: int) -> list[float]:
        place = self.place(request)
        return [float(client == place) for client in self._members]


_Make: TypeAlias = Callable[[RouterContext], Scorer]
#: Scorers by the keyword that weighs them.
SCORERS: Mapping[str, _Make] = MappingProxyType(
    {
        "queue": lambda context: _Least(context, context.requests),
        "work": lambda context: _Least(context, work(context)),
        "kv": _Kv,
        "prefix": _Prefix,
        "session": _Session,
    }
)


class Weighted:
    """The member with the highest weighted sum of scores."""

    __slots__ = ("_members", "_scorers")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        weights = {name: number(spec, name, 0.0) for name in SCORERS}
        self._scorers = [(w, SCORERS[name](context)) for name, w in weights.items() if w]

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        total = [0.0] * len(self._members)
        for weight, scorer in self._scorers:
            for place, score in enumerate(scorer.scores(request)):
                total[place] += weight * score
        client = self._members[total.index(max(total))]
        for _, scorer in self._scorers:
            scorer.put(request, client)
        return client

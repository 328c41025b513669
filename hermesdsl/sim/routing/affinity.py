"""Routers that send a request where its text has been before.

Both go by what they have sent where, and ask the engines nothing: as routers in front of real
engines do. A pool that converts or scales keeps one memory for all its sets of members.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered

from hermesdsl.graph.types import Spec
from hermesdsl.sim.prefix import PrefixCache
from hermesdsl.sim.routing.context import RouterContext, least, number

#: Share of a context that must be there, and requests that one member may have above another.
MATCH, BALANCE = 0.5, 32


class Sessions:
    """Where the sessions were last; a request without a session has never been anywhere."""

    def __init__(self, context: RouterContext) -> None:
        self._offered = context.scene.offered
        self._places = context.remember.setdefault("sessions", {})

    def place(self, request: int) -> int:
        """The client that served the session's last request here; -1 for none."""
        found = self._places.get(self._session(request), -1)
        assert isinstance(found, int)
        return found

    def put(self, request: int, client: int) -> None:
        """A request is sent to a client."""
        session = self._session(request)
        if session is not None:
            self._places[session] = client

    def _session(self, request: int) -> tuple[int, int] | None:
        offered = self._offered
        session = offered.sessions[request]
        return (offered.workload_of[request], session) if session >= 0 else None


class PrefixIndex:
    """Which texts were sent to each engine: the full KV blocks of contexts as they arrived.

    For every engine as many blocks as its KV has, the least recently sent leaving first. What a
    request produces is not known here, so a follow-up matches the context of the turn before it.
    """

    def __init__(self, context: RouterContext) -> None:
        self._scene = context.scene
        self._caches = context.remember.setdefault("prefixes", {})
        #: (request, block size) whose chain was made last, and that chain.
        self._last = (-1, 0)
        self._blocks: Ordered[int] = ()

    def tokens(self, request: int, client: int) -> int:
        """Tokens of the context that the client has been sent before."""
        cache = self._cache(client)
        return cache.match(self._chain(request, cache.size))

    def put(self, request: int, client: int) -> None:
        """A request is sent to a client."""
        cache = self._cache(client)
        cache.insert(self._chain(request, cache.size))

    def context(self, request: int) -> int:
        """Tokens of the context on arrival."""
        return self._scene.recorder.context[request]

    def _chain(self, request: int, size: int) -> Ordered[int]:
        if self._last != (request, size):
            self._last = (request, size)
            self._blocks = self._scene.identities.chain(request, self.context(request), size)
        return self._blocks

    def _cache(self, client: int) -> PrefixCache:
        cache = self._caches.get(client)
        if cache is None:
            kv = self._scene.engines[client].kv
            cache = self._caches[client] = PrefixCache(kv.capacity, kv.size)
        assert isinstance(cache, PrefixCache)
        return cache


class SessionAffinity:
    """Where the session was last, if that is one of the members; else fewest requests in charge."""

    __slots__ = ("_members", "_of", "_sessions")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._of = context.requests
        self._sessions = Sessions(context)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        client = self._sessions.place(request)
        if client not in self._members:
            client = least(self._members, self._of)
        self._sessions.put(request, client)
        return client


class PrefixAffinity:
    """The member that has been sent the longest prefix of the context, while the pool is balanced.

    Fewest requests in charge decides instead if the fullest member has more than `balance`
    requests above the emptiest, or if no member has `match` of the context; and among members with
    equally long prefixes.
    """

    __slots__ = ("_balance", "_index", "_match", "_members", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._of = context.requests
        self._index = PrefixIndex(context)
        self._match = number(spec, "match", MATCH)
        self._balance = number(spec, "balance", BALANCE)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        client = least(self._candidates(request), self._of)
        self._index.put(request, client)
        return client

    def _candidates(self, request: int) -> Ordered[int]:
        members = self._members
        counts = [self._of(client) for client in members]
        if max(counts) - min(counts) > self._balance:
            return members
        found = [self._index.tokens(request, client) for client in members]
        longest = max(found)
        if not longest or longest < self._match * self._index.context(request):
            return members
        return [client for client, n in zip(members, found, strict=True) if n == longest]

"""Admission: who is let into a pool. Found by name.

A pool asks whenever its router would be asked, and at the same instant; whom it does not admit is
refused as a whole. Knows no router.

- ``token_bucket(rate, burst)``: a bucket of `burst` tokens, full at first, is filled at `rate`;
  everyone admitted takes one, and whoever finds less than one is refused. A bucket that lacks a
  billionth of a token is not told from one that has it: times are rounded.
- ``queue_limit(n)``: while fewer than n requests wait at the pool's clients, all together, for
  their service to begin.
- ``deadline``: unless time waited since arrival + the shortest time to read the prompt here comes
  above the bound on ``ttft`` of the request's class. That time is r × (prompt tokens that no step
  has read at a member + the request's own context on arrival), the least over the members, with r
  seconds per token as in `routing.work`. It leaves out what decodes beside it, so it refuses only
  what can no longer be met; and it lets in whoever has seen a token or has no such bound.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from hermesdsl.graph.types import Spec
from hermesdsl.sim.routing.context import Router, Scene, number
from hermesdsl.sim.routing.work import rates

#: What a router answers instead of a client.
NOBODY = -1
#: Share of a token that rounding may take from a bucket.
_ROUNDING = 1e-9


class Admission(Protocol):
    """Lets requests in."""

    def admits(self, request: int) -> bool:
        """Whether a request that comes now is let in; it is asked once."""


@dataclass(frozen=True, eq=False)
class AdmissionContext:
    """What a rule is made from: the `members` of the pool and the `scene` of the run."""

    members: tuple[int, ...]
    scene: Scene


class TokenBucket:
    """At a rate, with bursts."""

    def __init__(self, spec: Spec, context: AdmissionContext) -> None:
        self._kernel = context.scene.kernel
        self._rate = number(spec, "rate", inf)
        self._burst = number(spec, "burst", 1)
        #: When the bucket was last full, and how many tokens were taken since.
        self._full = 0.0
        self._taken = 0

    def admits(self, request: int) -> bool:
        """See `Admission`."""
        now = self._kernel.now
        level = self._burst - self._taken + self._rate * (now - self._full)
        if level >= self._burst:
            self._full, self._taken, level = now, 0, self._burst
        if level < 1 - _ROUNDING:
            return False
        self._taken += 1
        return True


class QueueLimit:
    """While the queue is short."""

    def __init__(self, spec: Spec, context: AdmissionContext) -> None:
        self._members = context.members
        self._waiting = context.scene.waiting
        self._limit = number(spec, "n", inf)

    def admits(self, request: int) -> bool:
        """See `Admission`."""
        return sum(map(self._waiting, self._members)) < self._limit


class Deadline:
    """If the class's TTFT can still be met."""

    def __init__(self, spec: Spec, context: AdmissionContext) -> None:
        scene = self._scene = context.scene
        self._reading = {
            client: rates(scene.engines[client], scene.offered)[0] for client in context.members
        }
        bounds = [
            scene.classes[name].bounds.get("ttft", inf) if name in scene.classes else inf
            for name in scene.offered.classes
        ]
        self._bounds: list[float] = [bounds[klass] for klass in scene.offered.klass.tolist()]

    def admits(self, request: int) -> bool:
        """See `Admission`."""
        scene, bound = self._scene, self._bounds[request]
        recorder = scene.recorder
        if bound == inf or recorder.visible[request]:
            return True
        waited: float = scene.kernel.now - recorder.arrival[request]
        own = recorder.context[request]
        engines = scene.engines
        soonest = min(r * (engines[c].unread + own) for c, r in self._reading.items())
        return waited + soonest <= bound


#: Rules by the name a specification gives them; ``always`` needs none; plug-ins add
#: theirs.
ADMISSIONS: MutableMapping[str, Callable[[Spec, AdmissionContext], Admission]] = ChainMap(
    {
        "token_bucket": TokenBucket,
        "queue_limit": QueueLimit,
        "deadline": Deadline,
    }
)


class Gate:
    """A router behind a rule."""

    __slots__ = ("_admission", "_router")

    def __init__(self, admission: Admission, router: Router) -> None:
        self._admission = admission
        self._router = router

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        if not self._admission.admits(request):
            return NOBODY
        return self._router.pick(request, draw)

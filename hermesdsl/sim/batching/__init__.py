"""Batching policies: what one step of an engine holds. One policy per file, found by name.

A policy is asked when a step is to begin and answers with prompt slices and whether the decodes
come along; no slices means decodes only. It acts on the engine through `make_room` and
`fill` and reads `seated` and `decoding.count`; it knows no time, cost or record.

With no slices, decodes run on until one finishes, memory runs out, or something comes that may
join (where steps are put together one ahead: until the end of the step after that in which a
request came); only then is the policy asked again. So it may leave a prompt for lack of seats,
memory or budget, but not merely for a while.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Protocol

from hermesdsl.graph.types import Spec, Value
from hermesdsl.sim.batching import chunked, continuous, mixed, static

if TYPE_CHECKING:
    from hermesdsl.sim.engine import Engine
    from hermesdsl.sim.residents import Slice


class Batching(Protocol):
    """A batching policy with its settings."""

    def plan(self, engine: Engine, now: float) -> tuple[list[Slice], bool]:
        """The prompt slices of the step that begins now, and whether all decodes come along."""


#: Policies by the name a specification gives them; each is made from (spec, engine options).
#: Plug-ins add theirs.
POLICIES: MutableMapping[str, Callable[[Spec, Mapping[str, Value]], Batching]] = ChainMap(
    {
        "chunked": chunked.make,
        "continuous": continuous.make,
        "mixed": mixed.make,
        "prefill_first": continuous.make,
        "static": static.make,
    }
)


def make(options: Mapping[str, Value]) -> Batching:
    """The policy that an engine's options name (checked by `sim.supported` before)."""
    spec = options.get("batching") or Spec("chunked")
    assert isinstance(spec, Spec)
    return POLICIES[spec.name](spec, options)

"""Which text a request shares with others, and how long it is.

An entry of `POPULARITIES` is all there is to one way of sharing. Knows no cache and no arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from hermesdsl.diagnostics import SpecError, error, nearest
from hermesdsl.graph.types import Spec, Value
from hermesdsl.sim.lengths import tokens
from hermesdsl.sim.requests import IntColumn
from hermesdsl.sim.streams import Floats, Stream, normal_quantile


def shared_prefixes(spec: Spec, stream: Stream, n: int) -> tuple[IntColumn, IntColumn]:
    """Identity and tokens of the prefix of each of `n` requests (or sessions), shape (n,).

    `spec` is ``reuse(length, over)``. Draw r chooses the prefix of request r; the length belongs
    to the prefix, so equal identities have equal lengths. Raises SpecError (HMS601, HMS506).
    """
    length, over = spec.args.get("length"), spec.args.get("over")
    if spec.name != "reuse" or not isinstance(length, Spec):
        message = "`prefix` needs a length, such as `reuse(length = 512 tok)`"
        raise SpecError([error("HMS601", message)])
    name = over.name if isinstance(over, Spec) else over or "uniform"
    if not isinstance(name, str) or (name != "uniform" and name not in POPULARITIES):
        match = nearest(str(name), (*POPULARITIES, "uniform"))
        notes = [f"help: did you mean `{match}`?"] if match else []
        raise SpecError(
            [error("HMS506", f"popularity `{name}` is not executable yet", notes=notes)]
        )
    if name == "uniform":
        identity = np.arange(n, dtype=np.int64)
    else:
        weights = POPULARITIES[name](over.args if isinstance(over, Spec) else {})
        edges = np.cumsum(weights / weights.sum())
        drawn = np.searchsorted(edges, stream.child("choice").uniform(n), side="right")
        identity = np.minimum(drawn, len(weights) - 1).astype(np.int64)
    known = int(identity.max()) + 1 if n else 0
    return identity, tokens(length, stream.child("length"), known)[identity]


def _zipf(args: Mapping[str, Value]) -> Floats:
    """Weight k^-s of the k-th of n prefixes."""
    return np.asarray(np.arange(1, _count(args) + 1) ** -_number(args, "s", 0.0))


def _hotspots(args: Mapping[str, Value]) -> Floats:
    """n weights whose logarithms are the quantiles (k − ½)/n of a normal of this `sigma`."""
    n = _count(args)
    middles = (np.arange(n) + 0.5) / n
    return np.exp(_number(args, "sigma", 0.0) * normal_quantile(middles[::-1].copy()))


def _count(args: Mapping[str, Value]) -> int:
    value = _number(args, "n", 1.0)
    if value % 1 or value > 10**7:
        message = f"`n` of a popularity is {value:g}, not a whole number up to 10,000,000"
        raise SpecError([error("HMS601", message)])
    return int(value)


def _number(args: Mapping[str, Value], name: str, least: float) -> float:
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        message = f"`{name}` of a popularity is {value}, not a number of at least {least:g}"
        raise SpecError([error("HMS601", message)])
    return float(value)


#: name → weights of the prefixes; ``uniform`` gives each request a prefix of its own.
POPULARITIES: Mapping[str, Callable[[Mapping[str, Value]], Floats]] = MappingProxyType(
    {"zipf": _zipf, "hotspots": _hotspots}
)

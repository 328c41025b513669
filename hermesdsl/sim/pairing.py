"""Which decode clients a prefill client may hand over to.

``global``: any client of the decode pool. ``local``: fixed groups, as many as the smaller of the
two pools has clients; each pool is cut into that many contiguous parts in its own order, and a
prefill client hands over within its group (4 with 2: the first two share decode client 0). What
the router of a pool is, it is in each group, with a state of its own. Knows no clock or request.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Values of the property ``pairing``.
PAIRINGS = ("global", "local")


def local_groups(sources: Sequence[int], targets: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The targets of each source, both by index of client."""
    groups = min(len(sources), len(targets))
    parts: list[list[int]] = [[] for _ in range(groups)]
    for place, target in enumerate(targets):
        parts[place * groups // len(targets)].append(target)
    return {
        source: tuple(parts[place * groups // len(sources)]) for place, source in enumerate(sources)
    }

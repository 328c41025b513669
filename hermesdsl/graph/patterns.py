"""Connection patterns: which pairs of parts a call such as ``ring(gpu[*])`` wires.

Knows paths and integers. Must not know parts, links, expressions or source positions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from math import comb, isqrt, prod
from types import MappingProxyType
from typing import TypeAlias

#: Most wires of one topology, and so of one pattern (language.md, budgets).
MAX_WIRES = 5_000_000

Pair: TypeAlias = tuple[str, str]
Option: TypeAlias = int | Sequence[int]
Options: TypeAlias = Mapping[str, Option]


class PatternError(ValueError):
    """A pattern that cannot be made of these ends; `code` is the diagnostic's code."""

    def __init__(self, message: str, code: str = "HMS404") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Pattern:
    """One named pattern.

    `arguments` names its groups of ends in order; `options` its keyword settings. `count` gives
    at least the number of wires, so that a budget is held before anything is built.
    """

    name: str
    doc: str
    arguments: tuple[str, ...]
    expand: Callable[[Sequence[Sequence[str]], Options], list[Pair]]
    count: Callable[[Sequence[Sequence[str]], Options], int]
    options: tuple[str, ...] = ()


def expand(name: str, groups: Sequence[Sequence[str]], options: Options) -> list[Pair]:
    """The pairs that pattern `name` wires, each once, in a fixed order.

    `groups` holds the paths of each argument in path order. Raises `PatternError` for an
    unknown pattern or option, a wrong number of groups, an end given twice, a shape that the
    ends do not fill, and more than `MAX_WIRES` wires.
    """
    pattern = PATTERNS.get(name)
    if pattern is None:
        raise PatternError(f"no pattern is called {name}; there are {', '.join(PATTERNS)}")
    _check_arguments(pattern, groups, options)
    wires = pattern.count(groups, options)
    if wires > MAX_WIRES:
        raise PatternError(f"{name} makes {wires:,} wires, more than {MAX_WIRES:,}", "HMS410")
    return pattern.expand(groups, options)


def _check_arguments(pattern: Pattern, groups: Sequence[Sequence[str]], options: Options) -> None:
    wanted = len(pattern.arguments)
    if len(groups) != wanted:
        form = f"{pattern.name}({', '.join(pattern.arguments)})"
        raise PatternError(f"{form} takes {wanted} selections, {len(groups)} given")
    for option in options:
        if option not in pattern.options:
            known = f"; it takes {', '.join(pattern.options)}" if pattern.options else ""
            raise PatternError(f"{pattern.name} has no option {option}{known}")
    seen: set[str] = set()
    for argument, group in zip(pattern.arguments, groups, strict=True):
        if not group:
            raise PatternError(f"{pattern.name}: {argument} selects nothing")
        for end in group:
            if end in seen:
                raise PatternError(f"{pattern.name}: {end} is given twice")
            seen.add(end)


def _line(groups: Sequence[Sequence[str]], _: Options) -> list[Pair]:
    ends = _at_least_two("line", groups[0])
    return list(pairwise(ends))


def _ring(groups: Sequence[Sequence[str]], _: Options) -> list[Pair]:
    ends = _at_least_two("ring", groups[0])
    closing = [(ends[-1], ends[0])] if len(ends) > 2 else []
    return [*pairwise(ends), *closing]


def _all_to_all(groups: Sequence[Sequence[str]], _: Options) -> list[Pair]:
    return list(combinations(_at_least_two("all_to_all", groups[0]), 2))


def _at_least_two(name: str, ends: Sequence[str]) -> Sequence[str]:
    if len(ends) < 2:
        raise PatternError(f"{name} needs at least 2 ends, {ends[0]} is alone")
    return ends


def _mesh(groups: Sequence[Sequence[str]], options: Options) -> list[Pair]:
    return _grid("mesh", groups[0], options, wrap=False)


def _torus(groups: Sequence[Sequence[str]], options: Options) -> list[Pair]:
    return _grid("torus", groups[0], options, wrap=True)


def _grid(name: str, ends: Sequence[str], options: Options, *, wrap: bool) -> list[Pair]:
    """Neighbours in a grid in row-major order, the last dimension varying fastest.

    A torus closes every dimension longer than 2 (in one of 2 both ways are the same wire).
    """
    shape = _shape(name, len(_at_least_two(name, ends)), options)
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    pairs = []
    for at, place in enumerate(product(*map(range, shape))):
        for axis, size in enumerate(shape):
            if place[axis] + 1 < size:
                pairs.append((ends[at], ends[at + strides[axis]]))
            elif wrap and size > 2:
                pairs.append((ends[at], ends[at - (size - 1) * strides[axis]]))
    return pairs


def _shape(name: str, count: int, options: Options) -> tuple[int, ...]:
    """The `shape` option, or the two factors of `count` that are nearest to each other."""
    given = options.get("shape")
    if given is None:
        rows = next(size for size in range(isqrt(count), 0, -1) if count % size == 0)
        if rows == 1 and count > 3:
            raise PatternError(
                f"{name}: {count} ends fill no rectangle; use line, ring or another number"
            )
        return rows, count // rows
    if isinstance(given, int) or len(given) not in (2, 3):
        raise PatternError(f"{name}: shape is (x, y) or (x, y, z), not {given}")
    shape = tuple(given)
    if min(shape) < 1 or prod(shape) != count:
        text = " x ".join(map(str, shape))
        raise PatternError(f"{name}: shape {text} holds {prod(shape)} ends, {count} given")
    return shape


def _fat_tree(groups: Sequence[Sequence[str]], _: Options) -> list[Pair]:
    leaves, spines = groups
    return list(product(leaves, spines))


def _rails(groups: Sequence[Sequence[str]], _: Options) -> list[Pair]:
    """NIC i of every box meets switch i modulo their number.

    i is the index of the path's last part: 3 for ``box[1].nic[3]``, and 0 for ``box[1].nic``,
    the only NIC of its box.
    """
    nics, switches = groups
    return [(nic, switches[_last_index(nic) % len(switches)]) for nic in nics]


def _last_index(path: str) -> int:
    found = re.search(r"\[(\d+)\]$", path)
    return int(found.group(1)) if found else 0


def _dragonfly(groups: Sequence[Sequence[str]], options: Options) -> list[Pair]:
    """All-to-all inside each group, and one wire between each two groups.

    Wires between groups are dealt to a group's routers in turn: seen from group i, the wire to
    group j is number (j - i - 1) mod g and sits at that router modulo the routers of a group
    (Kim et al., "Technology-Driven, Highly-Scalable Dragonfly Topology", ISCA 2008, section 3).
    """
    routers = groups[0]
    number, size = _dragonfly_shape(routers, options)
    boxes = [routers[i * size : (i + 1) * size] for i in range(number)]
    inside = [pair for box in boxes for pair in combinations(box, 2)]
    between = [
        (boxes[i][(j - i - 1) % number % size], boxes[j][(i - j - 1) % number % size])
        for i, j in combinations(range(number), 2)
    ]
    return inside + between


def _dragonfly_shape(routers: Sequence[str], options: Options) -> tuple[int, int]:
    """Number of groups and routers in each."""
    number = options.get("groups")
    if not isinstance(number, int):
        raise PatternError("dragonfly needs the number of groups: dragonfly(…, groups = 4)")
    if number < 1 or len(routers) % number:
        raise PatternError(f"dragonfly: {len(routers)} routers make no {number} equal groups")
    return number, len(routers) // number


def _count_each(groups: Sequence[Sequence[str]], _: Options) -> int:
    return len(groups[0])


def _count_grid(groups: Sequence[Sequence[str]], _: Options) -> int:
    return 3 * len(groups[0])


def _count_all(groups: Sequence[Sequence[str]], _: Options) -> int:
    return comb(len(groups[0]), 2)


def _count_product(groups: Sequence[Sequence[str]], _: Options) -> int:
    return len(groups[0]) * len(groups[1])


def _count_dragonfly(groups: Sequence[Sequence[str]], options: Options) -> int:
    number, size = _dragonfly_shape(groups[0], options)
    return number * comb(size, 2) + comb(number, 2)


#: Every pattern by its name.
PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {
        pattern.name: pattern
        for pattern in (
            Pattern("ring", "Each to the next, the last to the first.", ("ends",),
                    _ring, _count_each),
            Pattern("line", "Each to the next.", ("ends",), _line, _count_each),
            Pattern("mesh", "A grid: each to its neighbour in every dimension.", ("ends",),
                    _mesh, _count_grid, ("shape",)),
            Pattern("torus", "A grid whose rows and columns are closed to rings.", ("ends",),
                    _torus, _count_grid, ("shape",)),
            Pattern("all_to_all", "Every pair.", ("ends",), _all_to_all, _count_all),
            Pattern("rails", "NIC i of every box to switch i, modulo their number.",
                    ("nics", "switches"), _rails, _count_each),
            Pattern("fat_tree", "Every leaf to every spine.", ("leaves", "spines"),
                    _fat_tree, _count_product),
            Pattern("dragonfly", "All-to-all in each group, one wire between each two groups.",
                    ("routers",), _dragonfly, _count_dragonfly, ("groups",)),
        )
    }
)  # fmt: skip

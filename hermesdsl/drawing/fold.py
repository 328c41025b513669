"""Which siblings are alike, so that a picture shows them once.

Works on paths, a comparable value per path, and ties between paths; knows no hardware, client or
picture. Two elements of one vector (``gpu[0]`` and ``gpu[3]`` of the same parent) are alike if

- they and everything inside them have the same values,
- their inner ties are the same, and
- their ties outwards, with every index dropped from the far end, are the same.

So ``gpu[i] – pcie[i // 2]`` keeps eight GPUs together, while the one CPU that also has the SSD
stands apart. What hangs on a single sibling follows it: the memory of that CPU stands apart too.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hermesdsl.drawing.labels import indices

_INDEX = re.compile(r"\[\d+\]")
_VECTOR = re.compile(r"(?s)(.*)\[(\d+)\]")


@dataclass(frozen=True)
class Tie:
    """A connection of two paths; `key` is what must be equal for two ties to be alike.

    `both`: tail and head may be exchanged.
    """

    tail: str
    head: str
    key: Hashable = None
    both: bool = False


@dataclass(frozen=True)
class Group:
    """Alike siblings. `first` is the path that stands for all, `id` all as one selection.

    `name` is the local name: ``gpu`` for a whole vector, ``gpu[0:4]`` for a part of it. `count`
    is the number of siblings, not counting folded parents.
    """

    id: str
    name: str
    first: str
    count: int
    children: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Folded:
    """The groups, nested as their paths are, and the way from each path to its group."""

    roots: tuple[Group, ...]
    #: Path → the path that is drawn in its place.
    shown: Mapping[str, str]
    groups: Mapping[str, Group] = field(default_factory=dict)

    def group(self, path: str) -> Group:
        """The group that a path is drawn in."""
        return self.groups[self.shown[path]]

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """All paths drawn in a group, in order, by the `first` of the group."""
        found: dict[str, list[str]] = defaultdict(list)
        for path, first in self.shown.items():
            found[first].append(path)
        return {first: tuple(paths) for first, paths in found.items()}

    def title(self, group: Group, around: str = "") -> str:
        """``gpu ×8``: the name, and how many there are in one of the boxes `around` it."""
        boxes = len(self.members[around]) if around else 1
        count = len(self.members[group.first]) // boxes
        return f"{group.name} ×{count}" if count > 1 else group.name


@dataclass(frozen=True)
class Tree:
    """Paths by the nearest enclosing path among them (``a.b`` lies in ``a``, ``""`` is outside)."""

    parent: Mapping[str, str]
    children: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, paths: Iterable[str]) -> Tree:
        """The tree of the given paths; siblings keep their order."""
        parent: dict[str, str] = dict.fromkeys(paths, "")
        children: dict[str, list[str]] = defaultdict(list)
        for path in parent:
            above = path.rpartition(".")[0]
            while above and above not in parent:
                above = above.rpartition(".")[0]
            parent[path] = above
            children[above].append(path)
        return cls(parent, children)

    def local(self, path: str) -> str:
        """The path without that of its parent."""
        parent = self.parent[path]
        return path[len(parent) + 1 :] if parent else path

    def inside(self, path: str) -> list[str]:
        """The path and everything below it."""
        found = [path]
        for at in found:
            found.extend(self.children.get(at, ()))
        return found

    def chain(self, path: str) -> tuple[str, ...]:
        """The paths around a path, outermost first, itself last."""
        steps = [path]
        while above := self.parent[steps[-1]]:
            steps.append(above)
        return tuple(reversed(steps))


def fold(
    values: Mapping[str, Hashable], ties: Iterable[Tie], *, whole: bool = False
) -> tuple[Tree, Folded]:
    """Group alike siblings of the paths in `values`; `whole` keeps each path on its own."""
    tree = Tree.of(values)
    work = _Work(tree, values, whole)
    for tie in ties:
        ways = ("both", "both") if tie.both else ("out", "in")
        work.ties[tie.tail].append((tie.head, ways[0], tie.key))
        work.ties[tie.head].append((tie.tail, ways[1], tie.key))
    roots = work.level("", "")
    for path in tree.parent:
        work.show(path)
    shown = {path: work.shown[path] for path in tree.parent}
    return tree, Folded(roots, shown, work.groups)


@dataclass
class _Work:
    """State of one folding; `stands` maps a sibling to the one that stands for it."""

    tree: Tree
    values: Mapping[str, Hashable]
    whole: bool
    ties: dict[str, list[tuple[str, str, Hashable]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    stands: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def level(self, parent: str, selection: str) -> tuple[Group, ...]:
        """The groups among the children of `parent`, each with the groups inside it."""
        siblings = self.tree.children.get(parent, ())
        sizes = Counter(_base(self.tree.local(path)) for path in siblings)
        classes = self._classes(siblings)
        found = []
        for first, members in classes.items():
            self.stands.update(dict.fromkeys(members, first))
            name = local = self.tree.local(first)
            if len(members) > 1:
                base = _base(local)
                local = f"{base}[{indices(map(_index, members))}]"
                name = base if len(members) == sizes[base] else local
            inner = f"{selection}.{local}" if selection else local
            group = Group(inner, name, first, len(members), self.level(first, inner))
            self.groups[first] = group
            found.append(group)
        return tuple(found)

    def show(self, path: str) -> str:
        """The path drawn in place of `path`: each part of it replaced by what stands for it."""
        if path not in self.shown:
            parent = self.tree.parent[path]
            local = self.tree.local(path)
            moved = f"{self.show(parent)}.{local}" if parent else local
            self.shown[path] = self.stands[moved]
        return self.shown[path]

    def _classes(self, siblings: Sequence[str]) -> dict[str, list[str]]:
        """First member → members of each class of alike siblings, in order."""
        sizes = Counter(_base(self.tree.local(path)) for path in siblings)
        signs: dict[str, Hashable] = {}
        for path in siblings:
            single = self.whole or sizes[_base(self.tree.local(path))] == 1
            signs[path] = path if single else self._signature(path)
        first = _firsts(signs)
        split = {path: first[path] for path in siblings}
        for path in siblings:
            host = self._host(path)
            if host in split:
                signs[path] = (signs[path], split[host])
        classes: dict[str, list[str]] = defaultdict(list)
        for path, head in _firsts(signs).items():
            classes[head].append(path)
        return classes

    def _signature(self, path: str) -> Hashable:
        inside = self.tree.inside(path)
        cut = len(path)
        own = tuple((at[cut:], self.values[at]) for at in inside)
        within = set(inside)
        ties: Counter[Hashable] = Counter()
        for at in inside:
            for far, way, key in self.ties.get(at, ()):
                if far in within:
                    ties[at[cut:], way, key, far[cut:]] += 1
                else:
                    ties[at[cut:], way, key, _INDEX.sub("[]", far), self.values[far]] += 1
        return _base(self.tree.local(path)), own, frozenset(ties.items())

    def _host(self, path: str) -> str | None:
        """The one path that `path`, with nothing inside it, is tied to; None if not just one."""
        if self.tree.children.get(path):
            return None
        far = {other for other, _, _ in self.ties.get(path, ())}
        return next(iter(far)) if len(far) == 1 else None


def _firsts(signs: Mapping[str, Hashable]) -> dict[str, str]:
    seen: dict[Hashable, str] = {}
    return {path: seen.setdefault(sign, path) for path, sign in signs.items()}


def _base(local: str) -> str:
    match = _VECTOR.fullmatch(local)
    return match[1] if match else local


def _index(path: str) -> int:
    match = _VECTOR.fullmatch(path)
    return int(match[2]) if match else 0

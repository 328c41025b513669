"""Which devices each client runs on, and how they are joined.

Knows the hardware graph and plain requests for devices. Must not know expressions, models,
stages or time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from hermesdsl.diagnostics import Diagnostic, Label, error, warning
from hermesdsl.graph import query
from hermesdsl.graph.crossings import crossings
from hermesdsl.graph.types import Fabric, Group, HardwareGraph, Part
from hermesdsl.source import Span

#: Client types whose devices must have memory (they hold weights).
_HOLDS_WEIGHTS = frozenset({"LlmEngine", "BatchEngine"})
#: Kinds of parts that can run something.
_RUNS = frozenset({"chip", "cpu"})


@dataclass(frozen=True)
class ClientRequest:
    """One client that wants devices.

    `vector` is the path shared by the `count` clients of a vector, of which this is number
    `index`; a lone client is a vector of one. `devices` is the selection of the whole vector in
    path order, empty for a client without hardware. `spare`, `span` and `share` consent to
    devices left over, a group that crosses nodes, and devices of two clients. `span_at` is where
    the vector was written.
    """

    path: str
    vector: str
    index: int
    count: int
    type_name: str
    devices: tuple[str, ...]
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    spare: bool = False
    span: bool = False
    share: bool = False
    span_at: Span | None = None


def place(
    hardware: HardwareGraph, requests: Sequence[ClientRequest]
) -> tuple[dict[str, Group], list[Diagnostic]]:
    """The group of every client that has devices, and what forbids the others.

    Requests of one vector are alike but for `path` and `index`. An engine's group is tp·pp·dp
    devices, another client's the selection divided by `count`. Groups are cut contiguously from
    the selection. Inside a group, tp varies fastest, then dp, then pp: device
    (p·dp + d)·tp + t is tensor rank t of data rank d in pipeline stage p, so that every tensor
    group and every block of ep devices is contiguous. At most one diagnostic per vector.
    """
    vectors: dict[str, list[ClientRequest]] = defaultdict(list)
    for request in requests:
        vectors[request.vector].append(request)
    groups: dict[str, Group] = {}
    found: list[Diagnostic] = []
    for members in vectors.values():
        if not members[0].devices and members[0].type_name not in _HOLDS_WEIGHTS:
            continue
        try:
            groups |= _place_vector(hardware, members)
        except _Refused as refused:
            found.append(refused.diagnostic)
    found += _shared_devices(groups, requests)
    if not found:
        found += _shared_fabrics(hardware, groups, requests)
    return groups, found


class _Refused(Exception):
    """Carries the diagnostic of a vector that cannot be placed."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def _refuse(code: str, message: str, request: ClientRequest, *notes: str) -> _Refused:
    return _Refused(error(code, message, request.span_at, notes=notes))


def _place_vector(hardware: HardwareGraph, members: Sequence[ClientRequest]) -> dict[str, Group]:
    """The groups of one vector; raises `_Refused`."""
    request = members[0]
    _check_selection(hardware, request)
    size = _group_size(request)
    groups = {}
    for member in members:
        devices = request.devices[member.index * size : (member.index + 1) * size]
        groups[member.path] = _group(hardware, member, devices)
    return groups


def _check_selection(hardware: HardwareGraph, request: ClientRequest) -> None:
    """Devices exist, can run something, and are selected once."""
    name, devices = request.vector, request.devices
    if not devices:
        message = f"{name} runs on nothing"
        raise _refuse("HMS405", message, request, "help: write `on` and its devices")
    for path in devices:
        if path not in hardware:
            raise _refuse("HMS405", f"{name} cannot run on {path}: it is no part", request)
        part = _part(hardware, path)
        if part.kind not in _RUNS:
            message = f"{name} cannot run on {path}: {part.type_name} is a {part.kind}"
            inside = [
                v for v in query.neighbours(hardware, path) if _part(hardware, v).kind in _RUNS
            ]
            notes = (f"help: select a device such as {inside[0]}",) if inside else ()
            raise _refuse("HMS405", message, request, *notes)
    twice = [path for path, times in Counter(devices).items() if times > 1]
    if twice:
        raise _refuse("HMS405", f"{name} selects {twice[0]} twice{_more(twice)}", request)


def _group_size(request: ClientRequest) -> int:
    """Devices of each client of the vector; raises `_Refused` if the selection does not give it."""
    name, count, available = request.vector, request.count, len(request.devices)
    for ways in ("tp", "pp", "dp", "ep"):
        if getattr(request, ways) < 1:
            message = f"{name}: {ways} = {getattr(request, ways)}; 1 is the least"
            raise _refuse("HMS405", message, request)
    if request.tp * request.dp % request.ep:
        message = (
            f"{name}: ep = {request.ep} does not divide tp x dp = "
            f"{request.tp} x {request.dp} = {request.tp * request.dp}"
        )
        raise _refuse("HMS405", message, request)
    if request.type_name == "LlmEngine":
        size = request.tp * request.pp * request.dp
    else:
        size = _even_share(request)
    if count * size > available:
        message = f"{name} needs {_product(request, size)} devices, selection has {available}"
        raise _refuse("HMS405", message, request)
    left = available - count * size
    if left and not request.spare:
        message = f"{name} takes {_product(request, size)} of {available} devices and leaves {left}"
        help_ = "help: select fewer devices, or allow it with `spare = true`"
        raise _refuse("HMS406", message, request, help_)
    return size


def _even_share(request: ClientRequest) -> int:
    """Devices of a client that is no engine: the selection divided evenly, and by its ways."""
    size = max(1, len(request.devices) // request.count)
    ways = request.tp * request.pp * request.dp
    if size % ways:
        message = f"{request.vector}: tp x pp x dp = {ways} does not divide its {size} devices"
        raise _refuse("HMS405", message, request)
    return size


def _product(request: ClientRequest, size: int) -> str:
    if request.count == 1:
        return str(size)
    return f"{request.count} x {size} = {request.count * size}"


def _group(hardware: HardwareGraph, request: ClientRequest, devices: tuple[str, ...]) -> Group:
    """One client's group; raises `_Refused`."""
    if not request.span:
        _check_one_node(hardware, request, devices)
    memories = _memories(hardware, request, devices)
    _check_alike(hardware, request, memories)
    dp = len(devices) // (request.tp * request.pp)
    try:
        tp_fabric, pp_fabric, ep_fabric = _fabrics(hardware, request, devices, dp)
    except query.NoRouteError as missing:
        raise _Refused(query.no_route(hardware, missing.a, missing.b, request.span_at)) from missing
    # Devices alike that share memories (two CPUs, one DRAM) get equal parts of them.
    parts = [_part(hardware, path) for path in dict.fromkeys(chain(*memories.values()))]
    return Group(
        devices=devices,
        part=_part(hardware, devices[0]),
        memories=tuple(part.path for part in parts),
        memory_capacity=sum(part.capacity for part in parts) / len(devices),
        memory_bandwidth=sum(part.bandwidth for part in parts) / len(devices),
        tp=request.tp,
        pp=request.pp,
        dp=dp,
        ep=request.ep,
        tp_fabric=tp_fabric,
        pp_fabric=pp_fabric,
        ep_fabric=ep_fabric,
    )


def _check_one_node(
    hardware: HardwareGraph, request: ClientRequest, devices: Sequence[str]
) -> None:
    nodes = dict.fromkeys(query.container_of(hardware, path, "node") for path in devices)
    if len(nodes) > 1:
        names = [node or "outside any node" for node in nodes]
        message = f"{request.path} crosses nodes: {names[0]} and {names[1]}{_more(names[1:])}"
        help_ = "help: choose a size that fits a node, or allow it with `span = true`"
        raise _refuse("HMS406", message, request, help_)


def _memories(
    hardware: HardwareGraph, request: ClientRequest, devices: Sequence[str]
) -> dict[str, list[str]]:
    """The memories of each device; every device of an engine must have one."""
    memories = {path: query.memory_of(hardware, path) for path in devices}
    bare = [path for path, own in memories.items() if not own]
    if bare and request.type_name in _HOLDS_WEIGHTS:
        message = f"{request.path} needs memory, and {bare[0]}{_more(bare)} has none"
        help_ = "help: put a Memory inside it, or wire one to it"
        raise _refuse("HMS405", message, request, help_)
    return memories


def _check_alike(
    hardware: HardwareGraph, request: ClientRequest, memories: Mapping[str, Sequence[str]]
) -> None:
    """All devices of a group are of one type, with the same peaks and memory."""
    first, *others = memories
    model = _part(hardware, first)
    size = _sizes(hardware, memories[first])
    for path in others:
        part = _part(hardware, path)
        if part.type_name != model.type_name:
            what = f"{first} ({model.type_name}) and {path} ({part.type_name})"
        elif part.peak != model.peak or _sizes(hardware, memories[path]) != size:
            what = f"{first} and {path} differ in peak rate or memory"
        else:
            continue
        message = f"{request.path} mixes devices: {what}"
        raise _refuse("HMS405", message, request, "help: the devices of a group must be alike")


def _sizes(hardware: HardwareGraph, memories: Sequence[str]) -> list[tuple[float, float]]:
    parts = (_part(hardware, path) for path in memories)
    return [(part.capacity, part.bandwidth) for part in parts]


def _fabrics(
    hardware: HardwareGraph, request: ClientRequest, devices: Sequence[str], dp: int
) -> tuple[Fabric, Fabric, Fabric]:
    """Of tensor groups, pipeline neighbours and expert groups, each kind all at once."""
    stage = request.tp * dp
    return (
        query.fabrics(hardware, _blocks(devices, request.tp), "ring"),
        query.fabrics(hardware, [devices[rank::stage] for rank in range(stage)], "line"),
        query.fabrics(hardware, _blocks(devices, request.ep), "all_to_all"),
    )


def _blocks(devices: Sequence[str], size: int) -> list[Sequence[str]]:
    return [devices[at : at + size] for at in range(0, len(devices), size)]


def _shared_devices(
    groups: Mapping[str, Group], requests: Sequence[ClientRequest]
) -> list[Diagnostic]:
    """Devices of two clients without the consent of both: one diagnostic per pair of vectors."""
    users: dict[str, list[ClientRequest]] = defaultdict(list)
    for request in requests:
        if request.path in groups:
            for device in groups[request.path].devices:
                users[device].append(request)
    pairs: dict[tuple[str, str], list[tuple[str, ClientRequest, ClientRequest]]] = defaultdict(list)
    for device, clients in users.items():
        unwilling = [client for client in clients if not client.share]
        if len(clients) > 1 and unwilling:
            one = unwilling[0]
            other = next(client for client in clients if client is not one)
            first, second = sorted((one, other), key=clients.index)
            pairs[first.vector, second.vector].append((device, first, second))
    return [_conflict(clashes) for clashes in pairs.values()]


def _conflict(clashes: Sequence[tuple[str, ClientRequest, ClientRequest]]) -> Diagnostic:
    device, first, second = clashes[0]
    without = [client.vector for client in (first, second) if not client.share]
    needed = " and ".join(without)
    labels = () if first.span_at is None else (Label(first.span_at, "it is used here"),)
    return error(
        "HMS406",
        f"{second.path} uses {device}{_more(clashes)}, which {first.path} uses too",
        second.span_at,
        labels=labels,
        notes=(f"help: select other devices, or allow it with `share = true` on {needed}",),
    )


def _shared_fabrics(
    hardware: HardwareGraph, groups: Mapping[str, Group], requests: Sequence[ClientRequest]
) -> list[Diagnostic]:
    """Links on which the rings of two clients meet: the first of each pair of vectors."""
    by_path = {request.path: request for request in requests}
    found: dict[tuple[str, str], Diagnostic] = {}
    for crossing in crossings(hardware, groups):
        one, other = (by_path[path] for path in crossing.clients[:2])
        if set(groups[one.path].devices) & set(groups[other.path].devices):
            continue
        demand, capacity = crossing.demand / 1e9, crossing.capacity / 1e9
        notes = (
            f"note: at once they need {demand:.4g} GB/s of its {capacity:.4g} GB/s",
            "note: each is timed as if it had the link alone; transfers share it, collectives not",
            "help: select devices whose links are their own, or a smaller `tp`",
        )
        a, b = crossing.hop
        message = f"{one.path} and {other.path} all-reduce over the same link, {a} -> {b}"
        where = other.span_at or one.span_at
        found.setdefault((one.vector, other.vector), warning("HMS412", message, where, notes=notes))
    return list(found.values())


def _part(hardware: HardwareGraph, path: str) -> Part:
    part: Part = hardware.nodes[path]["part"]
    return part


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""

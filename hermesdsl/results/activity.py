"""When each client's devices worked and how hard: rows of a run turned into shares of power.

Every row says that from a start to an end the devices of a client drew a share of their range from
idle to limit. Steps and batches are judged by their cost models, transfers by the links of the
devices at both ends. Knows no watts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.cost.power import WEIGHTS, dynamic
from hermesdsl.cost.types import EngineCost, ServiceCost, StepRows, Use
from hermesdsl.cost.use import cores_use
from hermesdsl.graph.types import Client, CompiledSystem, HardwareGraph
from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.record import Run, Table

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


class Activity(NamedTuple):
    """Rows of one client: seconds, share of power, share of memory bandwidth, shape (rows,)."""

    start: Floats
    end: Floats
    power: Floats
    memory: Floats


def activities(
    system: CompiledSystem,
    run: Run,
    costs: Mapping[str, EngineCost],
    services: Mapping[tuple[str, str], ServiceCost],
) -> dict[int, Activity]:
    """The rows of every client with devices, by its number in the run."""
    found: dict[int, list[Activity]] = {}
    clients: list[Client] = [system.placement.nodes[path]["client"] for path in run.clients]
    for number, rows in (
        *_steps(run, clients, costs),
        *_services(run, clients, services),
        *_transfers(run, clients, system.hardware),
    ):
        if clients[number].group is not None:
            found.setdefault(number, []).append(rows)
    return {
        number: Activity(*(np.concatenate(column) for column in zip(*rows, strict=True)))
        for number, rows in found.items()
    }


def integral(rows: Activity, column: Floats, start: float, end: float) -> float:
    """∫ min(1, Σ column of the rows under way) dt from `start` to `end`, in seconds."""
    since, until = np.clip(rows.start, start, end), np.clip(rows.end, start, end)
    if (since[1:] >= until[:-1]).all():
        # One after the other, as the steps of an engine are: nothing adds up.
        return float((np.clip(column, 0.0, 1.0) * (until - since)).sum())
    times = np.concatenate([since, until])
    order = np.argsort(times, kind="stable")
    level = np.cumsum(np.concatenate([column, -column])[order])
    # Not `np.dot`: its last bits depend on the number of threads.
    return float((np.clip(level[:-1], 0.0, 1.0) * np.diff(times[order])).sum())


_NONE = np.empty(0, np.int64)


def _rows(use: Use, start: Floats, end: Floats) -> Activity:
    return Activity(start, end, dynamic(use), np.asarray(use.memory))


# --- engines -----------------------------------------------------------------------------------


def _steps(
    run: Run, clients: list[Client], costs: Mapping[str, EngineCost]
) -> Iterator[tuple[int, Activity]]:
    """Steps of engines; those of a vector are alike, so one cost model judges them together.

    A step that a failure cut short drew until then what all of it would have drawn.
    """
    for table in (run.steps, run.cut_steps):
        lasted = table["first_s"] if table is run.cut_steps else None
        for cost, members, mine, rows in _alike(run, clients, costs, table, lasted):
            use = of_device(cost.use(rows), clients[members[0]])
            whole = _rows(use, table["start_s"][mine], table["end_s"][mine])
            own = rows_by(table["client"][mine])
            for number in members:
                at = own.get(number, _NONE)
                yield number, Activity(*(column[at] for column in whole))


def alike_steps(
    run: Run, clients: list[Client], costs: Mapping[str, EngineCost]
) -> Iterator[tuple[EngineCost, list[int], Ints, StepRows]]:
    """Engines that are alike: their cost model, their numbers, and their rows of `run.steps`."""
    return _alike(run, clients, costs, run.steps, None)


def _alike(
    run: Run, clients: list[Client], costs: Mapping[str, EngineCost], table: Table,
    lasted: Floats | None,
) -> Iterator[tuple[EngineCost, list[int], Ints, StepRows]]:  # fmt: skip
    """The same of any table of steps; `lasted`: seconds of each step, if not those of its row."""
    sizes = {engine.client: engine.block_size for engine in run.engines}
    alike: dict[str, list[int]] = {}
    for number, path in enumerate(run.clients):
        if path in sizes and path in costs:
            alike.setdefault(clients[number].vector or path, []).append(number)
    rows = rows_by(table["client"])
    for members in alike.values():
        first = run.clients[members[0]]
        own_rows = [rows.get(number, _NONE) for number in members]
        if whole := sum(map(len, own_rows)) == len(table["client"]):
            mine = np.arange(len(table["client"]))
        else:
            mine = np.sort(np.concatenate(own_rows))
        if len(mine) or lasted is None:
            steps = table if whole else {name: column[mine] for name, column in table.items()}
            own = None if lasted is None else lasted[mine]
            yield costs[first], members, mine, _step_rows(steps, own, sizes[first])


def _step_rows(steps: Mapping[str, Any], lasted: Floats | None, block_size: int) -> StepRows:
    """Rows of steps; `lasted`: seconds of each step, if not those of its row."""
    count = np.maximum(steps["steps"], 1)
    return StepRows(
        seconds=(steps["end_s"] - steps["start_s"]) / count if lasted is None else lasted,
        batch=steps["batch"],
        tokens=steps["tokens"] / count,
        prefill_tokens=steps["prefill_tokens"] / count,
        kv_tokens=steps["kv_blocks"] * float(block_size),
    )


# --- other servers -----------------------------------------------------------------------------


def _services(
    run: Run, clients: list[Client], services: Mapping[tuple[str, str], ServiceCost]
) -> Iterator[tuple[int, Activity]]:
    rows = run.services
    if not rows or not len(rows["client"]):
        return
    whole = rows["end_s"] - rows["start_s"]
    whole[run.cut_services["service"]] = run.cut_services["whole_s"]
    for number, mine in rows_by(rows["client"]).items():
        start, end = rows["start_s"][mine], rows["end_s"][mine]
        share, requests = rows["share"][mine], rows["requests"][mine]
        stage = _stage_of(run, number, start)
        for each in np.unique(stage).tolist():
            own = stage == each
            path = run.stages[each] if each >= 0 else ""
            cost = services.get((path, clients[number].path))
            if cost is None:
                use = cores_use(share[own])
            else:
                use = cost.use(requests[own], whole[mine][own], share[own])
            yield number, _rows(of_device(use, clients[number]), start[own], end[own])


def of_device(use: Use, client: Client) -> Use:
    """What a client used of the part of its devices that is its own, as shares of them whole."""
    group = client.group
    if group is None or group.cores_share == group.memory_share == 1.0:
        return use
    cores, memory = group.cores_share, group.memory_share
    drawn = None if use.drawn is None else use.drawn * cores
    return Use(use.busy * cores, use.compute * cores, use.memory * memory, use.link, drawn)


def _stage_of(run: Run, client: int, start: Floats) -> Ints:
    """The stage that each service of a client was for; -1 where no visit says so.

    Of a batch for several stages, the one that a visit begun at its start names first.
    """
    visits = run.visits
    mine = visits["client"] == client if visits else np.zeros(0, bool)
    if not mine.any():
        return np.full(len(start), -1)
    order = np.argsort(visits["start_s"][mine], kind="stable")
    begun, stages = visits["start_s"][mine][order], visits["stage"][mine][order]
    place = np.minimum(np.searchsorted(begun, start), len(begun) - 1)
    return np.where(begun[place] == start, stages[place], -1)


# --- transfers ---------------------------------------------------------------------------------


def _transfers(
    run: Run, clients: list[Client], hardware: HardwareGraph
) -> Iterator[tuple[int, Activity]]:
    """KV on its way keeps the links of the devices at both ends busy."""
    rows = run.transfers
    lasts = rows["end_s"] > rows["start_s"]
    for end in ("source", "target"):
        for number in np.unique(rows[end][lasts]).tolist():
            group = clients[number].group
            rate = _link_rate(hardware, group.devices) if group is not None else 0.0
            if rate <= 0.0:
                continue
            mine = lasts & (rows[end] == number)
            since, until = rows["start_s"][mine], rows["end_s"][mine]
            link = np.minimum(rows["bytes"][mine] / rate / (until - since), 1.0)
            yield number, Activity(since, until, WEIGHTS.link * link, np.zeros(len(link)))


def _link_rate(hardware: HardwareGraph, devices: tuple[str, ...]) -> float:
    """Byte/s that all links of some devices carry in one direction, those to memories left out."""
    total = 0.0
    for device in devices:
        for _, target, wire in hardware.out_edges(device, data=True):
            if hardware.nodes[target]["part"].kind != "memory":
                total += wire["bandwidth"]
    return total

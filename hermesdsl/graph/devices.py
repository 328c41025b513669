"""What hardware is made of: parts, links, boxes around them, and what was calibrated of them.

Plain, frozen, in SI units. Knows no client, model or load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.schema.values import Spec, Value

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Grid:
    """Values at every combination of the knots of some axes, the last axis fastest.

    `knots` ascend. `values` are factors on the speed of a data-sheet model; `measured`: seconds
    that were measured there.
    """

    axes: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    measured: bool = False


@dataclass(frozen=True)
class Draw:
    """How much of its range from idle to limit a device draws in one sort of kernel.

    `busy`: while it runs anything; `compute` and `memory`: more at the full peak and bandwidth,
    each growing with its exponent on the share reached. `settle`: seconds; a kernel as short as
    that draws half. `spread`: exponent with which `busy` falls where a kernel has work for a share
    of the multiprocessors alone. `cost.power` has the formula.
    """

    busy: float
    compute: float
    memory: float
    compute_exponent: float = 1.0
    memory_exponent: float = 1.0
    settle: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """What kernels on a chip reach of its data sheet, and draw: by operator and dtype.

    Grids of factors multiply; a measured one comes first where a shape lies inside it. `power`:
    what was measured of the power that kernels draw.
    """

    name: str
    operators: Mapping[str, Mapping[str, tuple[Grid, ...]]]
    source: str = ""
    doc: str = ""
    power: Mapping[str, Mapping[str, Draw]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One vertex of the hardware graph (attribute ``part``).

    `kind` is ``chip``, ``cpu``, ``switch``, ``nic`` or ``memory``; `type_name` the definition
    it was made from (``H100``). `labels` are (property, text) pairs in the user's own units.
    Rates: `peak` FLOP/s by dtype, `bandwidth` byte/s and `capacity` byte (memories), `latency`
    seconds per access or hop, `power` and `idle_power` watts, `cost` dollars per second.
    `forwards`: traffic between others may pass through. `calibration`: of a chip or processor
    whose kernels were measured. `fails`: when it does, if ever.
    """

    path: str
    kind: str
    type_name: str
    doc: str = ""
    forwards: bool = False
    peak: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    capacity: float = 0.0
    latency: float = 0.0
    power: float = 0.0
    idle_power: float = 0.0
    cost: float = 0.0
    ports: int | None = None
    cores: int = 0
    sms: int = 0
    options: Mapping[str, Value] = field(default_factory=dict)
    labels: tuple[tuple[str, str], ...] = ()
    calibration: Calibration | None = None
    fails: Spec | None = None


@dataclass(frozen=True)
class Link:
    """The medium of one lane of a wire: `bandwidth` byte/s per direction, `latency` seconds."""

    name: str
    bandwidth: float
    latency: float
    label: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Container:
    """A node, rack or cluster: not a vertex, but a box around some (`path` is their prefix).

    `fails`: when all of it does, if ever.
    """

    path: str
    kind: str
    type_name: str
    doc: str = ""
    power_limit: float | None = None
    cost: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    fails: Spec | None = None


# Hardware graph: nx.MultiDiGraph
#   node  id = path of the part            part: Part
#   edge  key 0, 1, … per parallel wire    link: Link, lanes: int, bandwidth: float (all lanes,
#                                          byte/s, this direction), latency: float (s)
#   graph.graph["containers"]: dict[str, Container] in path order, outermost first
HardwareGraph: TypeAlias = "nx.MultiDiGraph[str]"

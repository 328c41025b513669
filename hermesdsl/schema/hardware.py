"""Kinds of hardware: links, chips, CPUs, memories, switches, NICs and what holds them."""

from __future__ import annotations

from hermesdsl.schema.types import (
    CONNECT,
    INSTANCE,
    BoolType,
    BuiltinType,
    ComputedType,
    Fragment,
    Kind,
    MapType,
    NumberType,
    Property,
    ReferenceType,
    SymbolType,
    props,
)
from hermesdsl.units import dimension as d

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4")

_positive_rate = NumberType(d.BANDWIDTH, above=0)
_size = NumberType(d.BYTE, above=0)
_time = NumberType(d.SECOND, minimum=0)
_watts = NumberType(d.WATT, minimum=0)
_price = NumberType(d.PRICE, minimum=0)
_count = NumberType(integer=True, minimum=1)

_POWER = Property("power", _watts, "Power limit (TDP) of the part.", 0.0)
_IDLE = Property("idle_power", _watts, "Power drawn when nothing runs.", 0.0)
_COST = Property("cost", _price, "Price per time, whether used or not.", 0.0)
_CALIBRATION = Property(
    "calibration",
    ReferenceType(("calibration",)),
    "What its kernels reach of the data sheet; class efficiencies if absent.",
)
_FAILS = Property("fails", ComputedType("fails"), "When it fails, and for how long.")
_PORTS = Property("ports", _count, "Lanes that may be connected; unlimited if absent.")


def _forwards(default: bool) -> Property:
    return Property("forwards", BoolType(), "Traffic between others may pass through.", default)


_PEAK = Property(
    "peak",
    MapType(NumberType(d.FLOPS, above=0), DTYPES),
    "Dense peak rate by dtype, without sparsity.",
)

LINK = Kind(
    "link",
    "The medium of one lane of a wire.",
    single=False,
    properties=props(
        Property("bandwidth", _positive_rate, "Rate of one lane, per direction.", required=True),
        Property("latency", _time, "Time a first byte takes.", 0.0),
    ),
)
CHIP = Kind(
    "chip",
    "A compute device with memories of its own: GPU, TPU, ASIC.",
    single=False,
    properties=props(
        _PEAK, _POWER, _IDLE, _COST, _PORTS, _forwards(False),
        Property("sms", NumberType(integer=True, minimum=0),
                 "Streaming multiprocessors or their like, for wave quantisation; 0: unknown.", 0),
        Property("family", SymbolType(("gpu", "tpu", "cpu", "asic", "near_memory")),
                 "Device class, for default efficiencies.", "gpu"),
        _CALIBRATION,
        _FAILS,
    ),
    statements=frozenset({INSTANCE}),
    holds=("memory",),
)  # fmt: skip
CPU = Kind(
    "cpu",
    "A host processor; forwards traffic between its links.",
    single=False,
    properties=props(
        _PEAK, _POWER, _IDLE, _COST, _PORTS, _forwards(True),
        Property("cores", NumberType(integer=True, minimum=1), "Physical cores.", 1),
        _CALIBRATION,
        _FAILS,
    ),
    statements=frozenset({INSTANCE}),
    holds=("memory",),
)  # fmt: skip
MEMORY = Kind(
    "memory",
    "A memory or store: HBM, DRAM, SSD.",
    single=False,
    properties=props(
        Property("capacity", _size, "Bytes it holds.", required=True),
        Property("bandwidth", _positive_rate, "Sustained rate of reading or writing.",
                 required=True),
        Property("latency", _time, "Time of one access before bytes flow.", 0.0),
        _POWER, _IDLE, _COST, _PORTS, _forwards(False), _FAILS,
    ),
)  # fmt: skip
SWITCH = Kind(
    "switch",
    "Forwards traffic between its ports.",
    single=False,
    properties=props(
        _PORTS, _POWER, _IDLE, _COST, _forwards(True),
        Property("latency", _time, "Time from port to port.", 0.0),
    ),
)  # fmt: skip
NIC = Kind(
    "nic",
    "A network interface; forwards traffic.",
    single=False,
    properties=props(
        _PORTS, _POWER, _IDLE, _COST, _forwards(True),
        Property("latency", _time, "Time through the adapter.", 0.0),
    ),
)  # fmt: skip

_CONTAINER = props(
    Property("power_limit", _watts, "The parts' power limits together must not exceed this."),
    Property("cost", _price, "Price of the whole; replaces the parts' own prices."),
    Property("fails", ComputedType("fails"), "When all that is in it fails, and for how long."),
)
_PARTS = ("chip", "cpu", "memory", "switch", "nic")
_CLIENTS = ("client", "pool", "pipeline")

NODE = Kind(
    "node",
    "A machine: parts that need no `span` to be one client.",
    single=False,
    properties=_CONTAINER,
    statements=frozenset({INSTANCE, CONNECT}),
    holds=(*_PARTS, "node"),
)
RACK = Kind(
    "rack",
    "Nodes and switches in one rack.",
    single=False,
    properties=_CONTAINER,
    statements=frozenset({INSTANCE, CONNECT}),
    holds=(*_PARTS, "node", *_CLIENTS),
)
CLUSTER = Kind(
    "cluster",
    "Anything wired together; may hold engines, pools and pipelines: a reusable fleet.",
    single=False,
    properties=_CONTAINER,
    statements=frozenset({INSTANCE, CONNECT}),
    holds=(*_PARTS, "node", "rack", "cluster", *_CLIENTS),
)

FRAGMENT = Fragment(
    kinds=(LINK, CHIP, CPU, MEMORY, SWITCH, NIC, NODE, RACK, CLUSTER),
    builtins=(
        BuiltinType("Memory", "memory", "A memory; give capacity and bandwidth.", {}),
        BuiltinType("Switch", "switch", "An ideal switch without port limit.", {}),
        BuiltinType("Nic", "nic", "An ideal network interface.", {}),
        BuiltinType("Cpu", "cpu", "A host processor; give peak and cores.", {}),
    ),
)

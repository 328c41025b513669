"""A device with its efficiencies: what every operator formula divides by.

Knows peaks, bandwidth and dtypes of one device; no model and no operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hermesdsl.cost.constants import Efficiencies, Overheads
from hermesdsl.graph.types import DTYPE_BYTES, Calibration, Client, Group

#: Where to look for a peak when a dtype has none: the same width, then wider ones. Arithmetic in
#: a wider type is always possible; the other way round is not.
WIDER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "int4": ("int8", "bf16", "fp16", "fp32"),
        "fp4": ("fp6", "fp8", "bf16", "fp16", "tf32", "fp32"),
        "fp6": ("fp8", "bf16", "fp16", "tf32", "fp32"),
        "int8": ("bf16", "fp16", "fp32"),
        "fp8": ("bf16", "fp16", "tf32", "fp32"),
        "bf16": ("fp16", "tf32", "fp32"),
        "fp16": ("bf16", "tf32", "fp32"),
        "tf32": ("fp32",),
        "fp32": (),
    }
)

#: Multiprocessors of a device that does not say how many it has: the middle of its class.
USUAL_SMS = 128


def peak_dtype(peak: Mapping[str, float], dtype: str) -> str | None:
    """The dtype whose peak serves `dtype`: itself, else the next wider; None without any."""
    for name in (dtype, *WIDER[dtype]):
        if peak.get(name, 0.0) > 0.0:
            return name
    return None


def wider_of(first: str, second: str) -> str:
    """The wider of two dtypes (the first if equal): a product is computed in it."""
    return second if DTYPE_BYTES[second] > DTYPE_BYTES[first] else first


def worker_cores(client: Client) -> float:
    """Cores of one worker: its client's divided by its workers; 1 on no known hardware."""
    group, workers = client.group, client.options.get("workers")
    if group is None or group.part.kind != "cpu" or not group.part.cores:
        return 1.0
    count = int(workers) if isinstance(workers, int | float) else 1
    return own_cores(group) / count


def own_cores(group: Group) -> float:
    """Cores of all devices of a group that are its client's own; whole where they are meant so."""
    return round(group.part.cores * len(group.devices) * group.cores_share, 9)


@dataclass(frozen=True)
class Device:
    """One device: `peak` FLOP/s for the dtype in use, `bandwidth` byte/s, `sms` (0: unknown).

    `narrow`: the products run on operands of fewer than 16 bits, of `dtype`. `calibration`: what
    was measured of its kernels, in whatever dtypes; `defaults`: what its class reaches of the
    efficiencies where nothing was (`cost.classes`). `wide`: FLOP/s in 16 bits (0: as `peak`).
    """

    peak: float
    bandwidth: float
    sms: int
    narrow: bool
    efficiencies: Efficiencies
    overheads: Overheads
    dtype: str = "bf16"
    calibration: Calibration | None = None
    defaults: Calibration | None = None
    wide: float = 0.0

    @property
    def feed(self) -> float:
        """GB/s of memory bandwidth for each multiprocessor; 20 where those are unknown."""
        return self.bandwidth / self.sms / 1e9 if self.sms else 20.0

    @property
    def rate(self) -> float:
        """TFLOP/s of one multiprocessor in 16 bits."""
        return (self.wide or self.peak) / (self.sms or USUAL_SMS) / 1e12

    @property
    def balance(self) -> float:
        """Bytes of memory bandwidth for a thousand FLOPs in 16 bits."""
        return 1e3 * self.bandwidth / (self.wide or self.peak)

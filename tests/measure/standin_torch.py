"""What a profile needs of PyTorch, by shapes alone: no number is computed, every call is noted.

It checks what PyTorch checks of shapes, dtypes and devices, as its documentation says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from types import SimpleNamespace
from typing import Any

GIB = 2**30


@dataclass
class Tensor:
    shape: tuple[int, ...]
    dtype: str
    device: str
    pinned: bool = False
    turned: bool = False

    def numel(self) -> int:
        return prod(self.shape)

    def t(self) -> Tensor:
        return Tensor(self.shape[::-1], self.dtype, self.device, turned=True)

    def to(self, dtype: str) -> Tensor:
        return Tensor(self.shape, dtype, self.device)

    def copy_(self, other: Tensor, *, non_blocking: bool) -> None:
        assert self.shape == other.shape
        assert non_blocking
        for each in (self, other):
            assert each.pinned == (each.device == "cpu")


@dataclass
class Torch:
    """A machine with one GPU; `calls` counts kernels by name, `now` is its clock in ms.

    `pace`: ms that a kernel of attention takes, by its name; nothing else but events takes time.
    """

    capability: tuple[int, int] = (9, 0)
    backend: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)
    now: float = 0.0
    pace: dict[str, float] = field(default_factory=dict)
    flushed: int = 0
    free: int = 140 * GIB
    __version__ = "2.9.0"
    int8, bfloat16, float16, float32, float8_e4m3fn = "i8", "bf16", "f16", "f32", "f8"

    def __post_init__(self) -> None:
        self.version = SimpleNamespace(cuda="13.0", hip=None)
        attend = SimpleNamespace(scaled_dot_product_attention=self._attend)
        self.nn = SimpleNamespace(functional=attend)
        self.cuda = SimpleNamespace(
            is_available=lambda: True, device_count=lambda: 1, empty_cache=lambda: None,
            get_device_capability=lambda _: self.capability, synchronize=lambda _: None,
            get_device_properties=lambda _: SimpleNamespace(
                name="NVIDIA H200", total_memory=141 * GIB, multi_processor_count=132,
                L2_cache_size=50 * 2**20,
            ),
            Event=self._event, power_draw=lambda _: 412, set_device=lambda _: None,
            mem_get_info=lambda _: (self.free, 141 * GIB), memory_reserved=lambda _: GIB // 4,
        )  # fmt: skip

    def import_module(self, name: str) -> Any:
        if name == "torch":
            return self
        if name == "torch.distributed":
            return Group(self)
        assert name == "torch.nn.attention"
        names = SimpleNamespace(FLASH_ATTENTION="flash", EFFICIENT_ATTENTION="efficient",
                                CUDNN_ATTENTION="cudnn")  # fmt: skip
        return SimpleNamespace(SDPBackend=names, sdpa_kernel=self._chosen)

    def randn(self, shape: tuple[int, ...], *, dtype: str, device: str) -> Tensor:
        if dtype == "f8":
            raise NotImplementedError("no normal values of 8 bits")
        return Tensor(shape, dtype, device)

    def empty(self, shape: int | tuple[int, ...], *, dtype: str, device: str) -> Tensor:
        return Tensor(shape if isinstance(shape, tuple) else (shape,), dtype, device)

    def ones(self, shape: tuple[int, ...], *, dtype: str, device: str) -> Tensor:
        return Tensor(shape, dtype, device)

    def tensor(self, values: list[Any], *, device: str) -> SimpleNamespace:
        return SimpleNamespace(item=lambda: values[0], tolist=lambda: values, device=device)

    def empty_like(self, other: Tensor) -> Tensor:
        return Tensor(other.shape, other.dtype, other.device)

    def zeros(
        self, shape: int | tuple[int, ...], *, dtype: str, device: str, pin_memory: bool = False
    ) -> Tensor:
        sizes = shape if isinstance(shape, tuple) else (shape,)
        return Tensor(sizes, dtype, device, pinned=pin_memory)

    def sum(self, whole: Tensor, *, dim: int, out: Tensor) -> None:
        assert (len(whole.shape), dim, out.shape) == (1, 0, ())
        assert whole.dtype == out.dtype == "f32"
        self.flushed = 4 * whole.numel()

    def mm(self, a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        self.calls.append("mm")
        assert a.shape[1] == b.shape[0]
        assert out.shape == (a.shape[0], b.shape[1])
        assert a.dtype == b.dtype == out.dtype
        return out

    def _scaled_mm(
        self, a: Tensor, b: Tensor, *, scale_a: Tensor, scale_b: Tensor, out_dtype: str,
        use_fast_accum: bool,
    ) -> Tensor:  # fmt: skip
        """Takes rows of the first and columns of the second, sizes in sixteens, in 8 bits."""
        self.calls.append("scaled_mm")
        assert use_fast_accum
        assert scale_a.numel() == scale_b.numel() == 1
        assert (a.dtype, b.dtype, scale_a.dtype, scale_b.dtype) == ("f8", "f8", "f32", "f32")
        assert not a.turned
        assert b.turned
        assert a.shape[1] == b.shape[0]
        assert not any(size % 16 for size in b.shape)
        return Tensor((a.shape[0], b.shape[1]), out_dtype, a.device)

    def _attend(
        self, query: Tensor, keys: Tensor, values: Tensor, *, is_causal: bool,
        enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        (kernel,) = self.backend
        self.calls.append(f"{kernel} {'causal' if is_causal else 'whole'}")
        assert keys.shape == values.shape
        assert (query.shape[0], query.shape[3]) == (keys.shape[0], keys.shape[3])
        assert enable_gqa == (query.shape[1] != keys.shape[1])
        assert query.shape[1] % keys.shape[1] == 0
        # A causal mask counts from the first key: with cached tokens it would leave some out.
        assert not is_causal or query.shape[2] == keys.shape[2]
        if query.shape[2] * query.shape[0] > 65536:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        generation = {"flash": (8, 0), "efficient": (5, 0), "cudnn": (8, 0)}[kernel]
        if self.capability < generation or (kernel == "efficient" and enable_gqa):
            raise RuntimeError(f"No available kernel: {kernel}")
        self.now += self.pace.get(kernel, 0.0)
        return query

    def _chosen(self, backends: list[str]) -> Any:
        torch = self

        class Chosen:
            def __enter__(self) -> None:
                torch.backend = tuple(backends)

            def __exit__(self, *_: object) -> None:
                torch.backend = ()

        return Chosen()

    def _event(self, *, enable_timing: bool) -> Any:
        assert enable_timing
        torch = self

        class Event:
            at = -1.0

            def record(self) -> None:
                torch.now += 0.25
                self.at = torch.now

            def elapsed_time(self, other: Any) -> float:
                assert 0 <= self.at <= other.at
                return float(other.at - self.at)

        return Event()


@dataclass
class Group:
    """Processes that exchange messages; the others of the group are not there."""

    torch: Torch
    members: int = 0
    ReduceOp = SimpleNamespace(MIN="min")

    def init_process_group(
        self, backend: str, *, init_method: str, rank: int, world_size: int
    ) -> None:
        assert backend == "nccl"
        assert init_method.startswith("file:///")
        assert 0 <= rank < world_size
        self.members = world_size

    def destroy_process_group(self) -> None:
        self.members = 0

    def broadcast(self, _: object, source: int) -> None:
        assert source == 0

    def all_reduce(self, data: Any, op: str = "sum") -> None:
        if op == "sum":
            self._noted("all_reduce", data)

    def all_gather_into_tensor(self, whole: Tensor, part: Tensor) -> None:
        assert whole.numel() == self.members * part.numel()
        self._noted("all_gather", whole)

    def reduce_scatter_tensor(self, part: Tensor, whole: Tensor) -> None:
        assert whole.numel() == self.members * part.numel()
        self._noted("reduce_scatter", whole)

    def all_to_all_single(self, other: Tensor, whole: Tensor) -> None:
        assert other.shape == whole.shape
        self._noted("all_to_all", whole)

    def _noted(self, name: str, whole: Tensor) -> None:
        assert self.members
        self.torch.calls.append(f"{name} {2 * whole.numel()}")

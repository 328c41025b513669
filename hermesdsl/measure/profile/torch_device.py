"""A GPU through PyTorch: buffers and calls of a case, its clock, its power, what it calls itself.

The only module that imports PyTorch, and that when a device is opened. Knows cases; no tables and
no order.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.measure.profile.grid import Case
from hermesdsl.measure.profile.nvidia import Board, facts
from hermesdsl.measure.profile.session import Unfit
from hermesdsl.measure.profile.timing import LEAST, Call, batch, summary

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn"}
#: Bytes that are read between two calls: several times the caches, and enough that the read (50 us
#: and more at 5 TB/s) outlasts the queueing of the next call by the host. Bytes that were written
#: instead would have to leave the caches during the call that is timed.
_FLUSHED = 2**28
_CACHES = 4
#: First generations of NVIDIA with units for bf16 (Ampere) and for floats of 8 bits (Ada; Hopper
#: is 9.0), as CUDA numbers them.
_WIDE, _NARROW = (8, 0), (8, 9)
#: Fused kernels of attention: of prompts and of decoding. None of them repeats the KV of a head for
#: the query heads that share it; the first shares long contexts out among the multiprocessors.
#: From Hopper on cuDNN has faster ones for prompts; it makes a plan for every shape, some 0.4 s of
#: the host's, so that it is tried where the others take longer than `_WORTH` (seconds).
_FUSED = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION")
_PLANNED, _HOPPER, _WORTH = "CUDNN_ATTENTION", (9, 0), 50e-6
#: Calls by which the fastest of them is found.
_TRIED = 3


def torch_module() -> Any:
    """PyTorch. Raises SpecError HMS607 where it is not installed or cannot be loaded."""
    try:
        return import_module("torch")
    except ImportError as problem:
        missing = problem.name == "torch"
        reason = "is not installed" if missing else f"cannot be loaded: {problem}"
        note = "help: install it for this GPU as https://pytorch.org/get-started/locally says"
        message = f"`hermes profile` times kernels with PyTorch, which {reason}"
        raise SpecError([error("HMS607", message, notes=[note])]) from None


def gpu() -> TorchDevice:
    """The first GPU of this machine.

    Raises SpecError HMS607 without PyTorch, or without a GPU that it can use.
    """
    torch = torch_module()
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        why = "it finds none" if built else "it was built without CUDA or ROCm"
        message = f"PyTorch {torch.__version__} has no GPU to time: {why}"
        note = "help: run this on the machine whose GPU is meant; `nvidia-smi` lists its GPUs"
        raise SpecError([error("HMS607", message, notes=[note])])
    try:
        return TorchDevice(torch, "cuda:0")
    except RuntimeError as problem:  # full, in use by another alone, or too new for this build
        reason = _told(problem)
        message = f"PyTorch {torch.__version__} cannot use the first GPU: {reason}"
        note = "help: CUDA_VISIBLE_DEVICES chooses another"
        raise SpecError([error("HMS607", message, notes=[note])]) from None


class TorchDevice:
    """A device of PyTorch; ``cpu`` too, whose calls end before they return."""

    def __init__(self, torch: Any, name: str) -> None:
        self._torch = torch
        self._name = name
        self._gpu = name.startswith("cuda")
        self._properties: Any = torch.cuda.get_device_properties(name) if self._gpu else None
        #: Compute capability; none for GPUs that are not NVIDIA's.
        self._generation: tuple[int, int] = (0, 0)
        if self._gpu and torch.version.cuda:
            self._generation = torch.cuda.get_device_capability(name)
        self._board = Board(torch, name, self._generation, self._uuid) if self._gpu else None
        caches = _CACHES * getattr(self._properties, "L2_cache_size", 0)
        values = max(_FLUSHED, caches) // 4 if self._gpu else 2**18
        self._scratch = torch.zeros(values, dtype=torch.float32, device=name)
        self._sum = torch.zeros((), dtype=torch.float32, device=name)

    @property
    def memory(self) -> float:
        """Bytes."""
        return float(self._properties.total_memory) if self._gpu else 2.0**30

    @property
    def count(self) -> int:
        """Devices of this sort on the machine."""
        return int(self._torch.cuda.device_count()) if self._gpu else 1

    @property
    def backend(self) -> str:
        """Of `torch.distributed`, for messages among such devices."""
        return "nccl" if self._gpu else "gloo"

    def dtypes(self) -> tuple[str, ...]:
        """Of products that it has units for, 16 bits first."""
        torch = self._torch
        if not self._gpu or not torch.version.cuda:
            return ("bf16",)
        if self._generation < _WIDE:
            return ("fp16",)
        known = hasattr(torch, _DTYPES["fp8"]) and hasattr(torch, "_scaled_mm")
        return ("bf16", "fp8") if known and self._generation >= _NARROW else ("bf16",)

    def about(self) -> dict[str, Any]:
        """What a reader of the times has to know of the machine; its name is no part of that.

        ``mark_s``: seconds between two marks without a call, which are part of every time.
        """
        torch = self._torch
        idle = summary(batch(self, lambda: None, LEAST)).seconds
        found: dict[str, Any] = {"torch": str(torch.__version__), "mark_s": float(f"{idle:.2g}")}
        if not self._gpu:
            return {"device": "cpu", **found}
        own = self._properties
        found |= {
            "device": own.name, "devices": self.count, "memory_bytes": own.total_memory,
            "multiprocessors": own.multi_processor_count, "cuda": torch.version.cuda,
        }  # fmt: skip
        return found | facts(self._uuid)

    @property
    def held(self) -> float:
        """Bytes of its memory that are in use, but for buffers of this process."""
        if not self._gpu:
            return 0.0
        free, total = self._torch.cuda.mem_get_info(self._name)
        return float(total - free - self._torch.cuda.memory_reserved(self._name))

    def flush(self) -> None:
        """Read more than the caches hold."""
        self._torch.sum(self._scratch, dim=0, out=self._sum)

    def mark(self) -> Any:
        """An event of the stream; the clock itself where calls end before they return."""
        if not self._gpu:
            return time.perf_counter()
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Until the stream is empty."""
        if self._gpu:
            self._torch.cuda.synchronize(self._name)

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks."""
        if self._gpu:
            return float(start.elapsed_time(end)) * 1e-3
        return float(end - start)

    def power(self) -> float | None:
        """Watts as the driver reports them; None where it does not."""
        return self._board.watts() if self._board is not None else None

    @property
    def _uuid(self) -> str | None:
        found = getattr(self._properties, "uuid", None)
        return None if found is None else f"GPU-{str(found).removeprefix('GPU-')}"

    def prepare(self, case: Case) -> Call:
        """Buffers of a case, and its call, which has run once. Raises `Unfit`."""
        made: dict[str, Callable[[Case], Call]] = {
            "gemm": self._gemm, "prefill": self._prefill, "decode": self._decode,
        }  # fmt: skip
        try:
            call = made.get(case.operator, self._copy)(case)
            call()
            self.wait()
        except (RuntimeError, TypeError, ImportError) as problem:  # no memory or kernel; too old
            if self._gpu:
                self._torch.cuda.empty_cache()
            raise Unfit(_told(problem)) from None
        return call

    def _gemm(self, case: Case) -> Call:
        """C[m, n] = A[m, k] · B[k, n], with B as layers hold their weights: n rows of k."""
        torch = self._torch
        m, n, k = case.sizes
        if case.dtype == "fp8":
            one = torch.ones((), device=self._name, dtype=torch.float32)
            narrow = getattr(torch, _DTYPES["fp8"])
            left = self._random(torch.bfloat16, m, k).to(narrow)
            right = self._random(torch.bfloat16, n, k).to(narrow)
            wide = torch.bfloat16
            # One scale for each factor, and sums as engines take them.
            return lambda: torch._scaled_mm(left, right.t(), scale_a=one, scale_b=one,
                                            out_dtype=wide, use_fast_accum=True)  # fmt: skip
        own = self._dtype(case)
        a, b = self._random(own, m, k), self._random(own, n, k)
        out = torch.empty((m, n), dtype=own, device=self._name)
        return lambda: torch.mm(a, b.t(), out=out)

    def _prefill(self, case: Case) -> Call:
        new, _, count, heads, kv_heads, width = case.sizes
        return self._attention(case, (count, heads, kv_heads, width), new, new, causal=True)

    def _decode(self, case: Case) -> Call:
        context, count, heads, kv_heads, width = case.sizes
        return self._attention(case, (count, heads, kv_heads, width), 1, context, causal=False)

    def _attention(
        self, case: Case, shape: tuple[int, ...], new: int, held: int, *, causal: bool
    ) -> Call:
        """`new` queries of every sequence over `held` keys, by the fastest of the fused kernels."""
        attend = self._torch.nn.functional.scaled_dot_product_attention
        count, heads, kv_heads, width = shape
        own = self._dtype(case)
        query = self._random(own, count, heads, new, width)
        keys, values = (self._random(own, count, kv_heads, held, width) for _ in range(2))
        more = {"enable_gqa": True} if heads != kv_heads else {}
        if not self._gpu:
            return lambda: attend(query, keys, values, is_causal=causal, **more)
        choice = import_module("torch.nn.attention")

        def by(kernel: Any) -> Call:
            def call() -> object:
                with choice.sdpa_kernel([kernel]):
                    return attend(query, keys, values, is_causal=causal, **more)

            return call

        names = (*_FUSED, _PLANNED) if causal and self._generation >= _HOPPER else _FUSED
        kernels = {name: getattr(choice.SDPBackend, name, None) for name in names}
        known = {name: by(kernel) for name, kernel in kernels.items() if kernel is not None}
        return self._fastest(known)

    def _fastest(self, calls: Mapping[str, Call]) -> Call:
        """The fastest of kernels by name. Raises what the first says if none works."""
        found: list[tuple[float, Call]] = []
        reasons: list[RuntimeError] = []
        for name, call in calls.items():
            if name == _PLANNED and found and min(found, key=_seconds)[0] < _WORTH:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of kernels that do not take the shape
                    call()
                self.wait()
                found.append((min(batch(self, call, _TRIED)), call))
            except RuntimeError as problem:
                reasons.append(problem)
        if not found:
            raise reasons[0]
        return min(found, key=_seconds)[1]

    def _copy(self, case: Case) -> Call:
        """Bytes from one buffer to another: of the device, or pinned memory of the host."""
        torch = self._torch
        size = case.size("bytes")
        where = [self._name, self._name]
        if case.operator != "device_copy":
            where[0 if case.operator == "host_to_device" else 1] = "cpu"
        source, target = (
            torch.zeros(size, dtype=torch.int8, device=each,
                        pin_memory=self._gpu and each == "cpu")
            for each in where
        )  # fmt: skip
        return lambda: target.copy_(source, non_blocking=True)

    def _random(self, dtype: Any, *shape: int) -> Any:
        """Values around zero: power depends on how many bits change."""
        return self._torch.randn(shape, dtype=dtype, device=self._name)

    def _dtype(self, case: Case) -> Any:
        return getattr(self._torch, _DTYPES[case.dtype])


def _seconds(pair: tuple[float, Call]) -> float:
    return pair[0]


def _told(problem: Exception) -> str:
    """What PyTorch says, without its hints for those who debug kernels."""
    text = " ".join(str(problem).partition("\nCUDA kernel errors might")[0].split())
    return text[:200] or type(problem).__name__

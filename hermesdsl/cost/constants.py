"""The constants between a data sheet and a clock: named, with units and sources, replaceable.

`Efficiencies` belong to a class of device, `Overheads` to an engine profile. A calibration
replaces fields (`dataclasses.replace`); nothing else in the cost models holds a fitted number.

Sources, by the short names used below.
- [aic] kernel times in vLLM of NVIDIA AIConfigurator, ai-dynamo/aiconfigurator @ 095f58a51c4c:
  A100 (vLLM 0.14.0), H100, H200, B200 (0.24.0). One value for all four devices, by coordinate
  search on mean absolute log error, then rounded: an accelerator without measurements starts from
  the middle of its class.
- [aic, by eye] the same tables, value chosen by hand from medians or slopes, not searched.
- [closed] closed-loop serving samples of the same commit (vLLM; Qwen3-32B bf16 on H100, Llama-3.1
  70B fp8 on H200): by hand, from what TPOT leaves over the operators.
- [runs] vLLM 0.15.1 on H100, inference-sim/sim-to-real-accuracy-validation @ dcec3fd4711c.
- [assumed] no measurement: common practice, to be replaced by a calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf

from hermesdsl.graph.types import DTYPE_BYTES, Part


@dataclass(frozen=True)
class Efficiencies:
    """What kernels on a class of device reach of its data sheet.

    Fractions of peak (0..1) unless said otherwise. GEMM:
    - `memory`, `compute`: of memory bandwidth and of peak FLOP/s, over what tile and wave
      quantisation costs already. [aic] GEMM, bf16.
    - `memory_narrow`, `compute_narrow`: the same for operands of fewer than 16 bits; a kernel
      before the product brings each row of the input to that width: on one multiprocessor it
      takes `quantise_row` seconds and `quantise_value` for each value. [aic] GEMM, fp8; a search
      on two devices gives what the third has (compute 0.69 to 0.74, row 0.72 to 0.78 us, value
      0.26 to 0.28 ns).
    - `grouped`, `grouped_narrow`: FLOP/s of the grouped products of experts, as a fraction of
      single ones. [aic] MoE, one value for all dtypes but fp8 with one factor per tensor, from a
      handful tried.
    - `sm_bandwidth`: bandwidth of one SM from the caches, as a multiple of its share of memory
      bandwidth; bounds narrow tiles. [aic] GEMM, bf16.
    - `tile_prologue`: depth (elements of k) that filling and draining a tile costs. [aic].
    - `smooth_compute`, `smooth_rows`, `smooth_columns`: for devices with an unknown number of
      SMs: fraction of peak, and rows and columns of padding that a GEMM pays on average
      instead of counted tiles. [aic].
    Attention, [aic] context and generation attention; each the geometric mean of what a search on
    A100, on H100 and H200, and on B200 alone gives:
    - `prefill_compute`, `prefill_narrow`: of peak over pairs of query and key, head width 128, with
      KV of 16 bits and of fewer; narrower heads reach (width/128)^`head_exponent` of it.
    - `prefill_tile`: seconds that each tile of 128 query rows costs a multiprocessor beside;
      `prefill_stream`: of bandwidth for queries and outputs; `prefill_ragged`: part of the longest
      tile for which some multiprocessors wait at the end.
    - `kv_write`, `kv_write_narrow`: how often new KV (counted with 16 bits) could stream at full
      bandwidth while it is written and read back; with one KV head per query head
      `kv_write_own` of that.
    - `decode_memory`, `decode_narrow`: KV streaming of bandwidth, 16 bits and fewer;
      `decode_extra_tokens`: KV per sequence read in vain by partial blocks (tokens);
      `decode_stream`: of bandwidth for queries and outputs; `decode_compute`: of peak, where many
      query heads share few KV heads; `decode_alone`: bandwidth that one sequence draws for a KV
      head with a single query head, as a multiple of one multiprocessor's share.
    Links:
    - `link`: of link bandwidth in ring collectives of many members; n members reach
      1 − `link_few`/n of it. `link_fill`: how far latency and transfer fail to overlap, 0..1.
      `pair`, `pair_fill`: the same of a message to one neighbour. `cost.classes` has rings over
      NVLink by class. `direct`, `direct_one`: of it in two-shot and one-shot all-reduces.
      Search as above on NCCL 2.27/2.29 (all-reduce, all-gather, reduce-scatter, all-to-all) and
      the all-reduce of vLLM, 2 to 8 GPUs, 256 bytes to 1 GiB.
    """

    memory: float
    memory_narrow: float
    compute: float
    compute_narrow: float
    quantise_row: float
    quantise_value: float
    grouped: float
    grouped_narrow: float
    sm_bandwidth: float
    tile_prologue: float
    smooth_compute: float
    smooth_rows: float
    smooth_columns: float
    prefill_compute: float
    prefill_narrow: float
    head_exponent: float
    prefill_tile: float
    prefill_stream: float
    prefill_ragged: float
    kv_write: float
    kv_write_narrow: float
    kv_write_own: float
    decode_memory: float
    decode_narrow: float
    decode_compute: float
    decode_extra_tokens: float
    decode_stream: float
    decode_alone: float
    link: float
    link_few: float
    link_fill: float
    pair: float
    pair_fill: float
    direct: float
    direct_one: float


@dataclass(frozen=True)
class Overheads:
    """Seconds that do not shrink with the work.

    On the device:
    - `kernel`: start and end of one kernel inside a captured graph. [aic] GEMM.
    - `split`: reduction after a GEMM split along k. [aic] GEMM.
    - `quantise`: per GEMM of fewer than 16 bits: the kernel that quantises its input. [closed].
    - `attention`: one attention call with its metadata. [aic] context, generation attention.
    - `attention_head`: of one multiprocessor per sequence and KV head in decode, however short the
      context; `attention_ramp`: until requests in flight fill the memory. [aic].
    - `moe`: sorting tokens to experts and back, per MoE layer. [aic, by eye] MoE.
    - `collective`: one NCCL call beside its hops; `direct` and `direct_sync`: one one-shot
      all-reduce, and the second barrier of a two-shot one. [aic, by eye] NCCL, vLLM all-reduce.
    - `layer`: per layer, kernels too small to be listed. [assumed] none.
    On the host, from an engine profile (`graph.types.EngineProfile`, where each is explained):
    `step`, `workers`, `sequence`, `token`, `overlap` (a share), `gap`, `request`, `graph_limit`
    (tokens), `eager`, `eager_prompt`; and `answer`, which is no part of a step.
    """

    kernel: float
    split: float
    quantise: float
    attention: float
    attention_head: float
    attention_ramp: float
    moe: float
    collective: float
    direct: float
    direct_sync: float
    layer: float
    step: float = 0.0
    workers: float = 0.0
    sequence: float = 0.0
    token: float = 0.0
    overlap: float = 0.0
    gap: float = 0.0
    request: float = 0.0
    graph_limit: float = inf
    eager: float = 0.0
    eager_prompt: float = 0.0
    answer: float = 0.0


@dataclass(frozen=True)
class Kernels:
    """What an engine's kernels do otherwise than those that were measured, from its profile.

    `passes`: how often more the activations of a layer (tokens · hidden · 16 bit, whole on every
    device) pass through memory; `churn`: bytes per second at which buffers of all-reduces are
    allocated anew once those of a step outgrow the memory left free (inf: never); `direct`:
    one-shot and two-shot all-reduces; `sort`, `sort_start`: seconds per logit and per step at which
    logits are sorted before a token is chosen (0: they are not).
    """

    passes: float = 0.0
    churn: float = inf
    direct: bool = True
    sort: float = 0.0
    sort_start: float = 0.0


@dataclass(frozen=True)
class Reserve:
    """Memory that is neither weights nor KV, per device (bytes); see `memory.activation_reserve`.

    `runtime`: driver context, captured graphs and the part of the nominal capacity that the
    driver keeps; `communicator`: buffers once a device talks to another; `logits`: bytes per
    sequence and vocabulary entry at the sampler (fp32 logits, sorted copy, indices,
    probabilities). [runs], by hand on the KV block counts of eight dense configurations: within
    0.4 GB of each, but 0.8 GB too much at 8192 tokens per step, where the log shows no more than
    at 2048.
    """

    runtime: float
    communicator: float
    logits: float


@dataclass(frozen=True)
class Profile:
    """A serving engine as cost models see it: its fixed costs and its memory habits.

    `step_tokens`: prompt tokens per step assumed where the engine sets no limit; `reserved`:
    places of a batch that no request can take.
    """

    name: str
    overheads: Overheads
    reserve: Reserve
    step_tokens: int
    reserved: int = 0
    kernels: Kernels = Kernels()


#: Data-center GPUs and other accelerators.
ACCELERATOR = Efficiencies(
    memory=0.80,
    memory_narrow=0.75,
    compute=0.85,
    compute_narrow=0.71,
    quantise_row=0.73e-6,
    quantise_value=0.27e-9,
    grouped=0.48,
    grouped_narrow=0.48,
    sm_bandwidth=5.6,
    tile_prologue=177.0,
    smooth_compute=0.80,
    smooth_rows=63.0,
    smooth_columns=54.0,
    prefill_compute=0.645,
    prefill_narrow=0.72,
    head_exponent=0.35,
    prefill_tile=2.35e-6,
    prefill_stream=1.0,
    prefill_ragged=0.5,
    kv_write=7.5,
    kv_write_narrow=15.0,
    kv_write_own=0.56,
    decode_memory=0.90,
    decode_narrow=0.80,
    decode_compute=0.25,
    decode_extra_tokens=60.0,
    decode_stream=0.50,
    decode_alone=8.0,
    link=0.94,
    link_few=0.60,
    link_fill=0.62,
    pair=0.94,
    pair_fill=0.31,
    direct=0.76,
    direct_one=0.60,
)

#: Server CPUs with matrix units: vendor libraries stream at about 80 % of memory bandwidth and
#: reach about 60 % of the vendor's matrix peak in large products. [assumed]
CPU = Efficiencies(
    memory=0.80,
    memory_narrow=0.80,
    compute=0.60,
    compute_narrow=0.60,
    quantise_row=0.0,
    quantise_value=0.0,
    grouped=0.65,
    grouped_narrow=0.65,
    sm_bandwidth=4.0,
    tile_prologue=64.0,
    smooth_compute=0.60,
    smooth_rows=16.0,
    smooth_columns=16.0,
    prefill_compute=0.40,
    prefill_narrow=0.40,
    head_exponent=0.0,
    prefill_tile=0.0,
    prefill_stream=0.80,
    prefill_ragged=0.0,
    kv_write=2.0,
    kv_write_narrow=2.0,
    kv_write_own=1.0,
    decode_memory=0.70,
    decode_narrow=0.70,
    decode_compute=0.30,
    decode_extra_tokens=16.0,
    decode_stream=0.70,
    decode_alone=8.0,
    link=0.75,
    link_few=0.0,
    link_fill=0.0,
    pair=0.75,
    pair_fill=0.0,
    direct=0.65,
    direct_one=0.65,
)

#: The same where products run on a CPU's vector units (operands of 32 bits and more): plain FMA
#: pipes without tiles to fill stay closer to their peak, which is counted at base clock. LINPACK
#: and vendor SGEMM reach 75 to 90 % of such peaks. [assumed]
CPU_VECTOR = replace(CPU, compute=0.80, smooth_compute=0.80)

#: What kernels cost on the device under every profile, and no host at all: profiles of the
#: language add theirs (`cost.profiles`).
DEVICE = Overheads(
    kernel=3.7e-6,
    split=2.0e-6,
    quantise=2.0e-6,
    attention=12e-6,
    attention_head=2.2e-6,
    attention_ramp=5e-6,
    moe=15e-6,
    collective=6.0e-6,
    direct=3.8e-6,
    direct_sync=5.0e-6,
    layer=0.0,
)

#: An accelerator as kernels were measured on it: fixed costs of kernels, no host, vLLM's memory.
VLLM = Profile(
    name="vllm",
    overheads=DEVICE,
    reserve=Reserve(runtime=0.9e9, communicator=0.36e9, logits=50.0),
    step_tokens=8192,
)

#: No host and no fixed costs at all: what the devices alone would take.
NONE = Profile(
    name="none",
    overheads=Overheads(**{f.name: 0.0 for f in fields(Overheads) if f.name != "graph_limit"}),
    reserve=Reserve(runtime=0.0, communicator=0.0, logits=0.0),
    step_tokens=8192,
)


def efficiencies_of(part: Part, dtype: str = "bf16") -> Efficiencies:
    """The efficiencies of the class a device belongs to, computing in `dtype`."""
    if part.kind != "cpu":
        return ACCELERATOR
    return CPU_VECTOR if DTYPE_BYTES[dtype] >= 4.0 else CPU

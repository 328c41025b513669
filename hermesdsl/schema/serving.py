"""Models, engines and other servers, caches, indexes and pools."""

from __future__ import annotations

from typing import Any

from hermesdsl.schema.hardware import DTYPES
from hermesdsl.schema.profile import PROFILES
from hermesdsl.schema.types import (
    FLOW,
    INSTANCE,
    BoolType,
    BuiltinType,
    Computed,
    ComputedType,
    Fragment,
    Getter,
    Kind,
    ListType,
    NumberType,
    Property,
    ReferenceType,
    SymbolType,
    TextType,
    props,
)
from hermesdsl.units import dimension as d

#: Bytes per value.
BYTES = {"fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0,
         "fp6": 0.75, "fp4": 0.5, "int8": 1.0, "int4": 0.5}  # fmt: skip

_count = NumberType(integer=True, minimum=1)
_natural = NumberType(integer=True, minimum=0)
_tokens = NumberType(d.TOKEN, integer=True, minimum=1)
_share = NumberType(minimum=0, maximum=1)
_dtype = SymbolType(DTYPES)


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _weights(get: Getter) -> float:
    """Bytes of all weights: parameters × bytes per value."""
    return _whole(get("parameters") * BYTES[get("dtype")])


def _kv_per_token(get: Getter) -> float:
    """Bytes of KV per token over all layers.

    2 · kv_heads · head_dim values per layer; with latent attention, kv_lora_rank + rope_head_dim
    (DeepSeek-V2, arXiv 2405.04434 §2.1).
    """
    width = (
        get("kv_lora_rank") + get("rope_head_dim")
        if get("kv_lora_rank")
        else 2 * get("kv_heads") * get("head_dim")
    )
    return _whole(get("layers") * width * BYTES[get("kv_dtype")])


def _active(get: Getter) -> float:
    """Parameters a token passes: all but the experts that are not chosen."""
    experts, chosen = get("experts"), get("experts_active")
    if not experts:
        return float(get("parameters"))
    moe_layers = get("layers") - get("dense_layers")
    one = (3 if get("gated") else 2) * get("hidden") * get("expert_ffn")
    return float(get("parameters") - moe_layers * (experts - chosen) * one)


def _activation(get: Getter) -> str:
    """Activations follow the weights where hardware multiplies like by like; else bf16."""
    return str(get("dtype")) if get("dtype") in ("fp32", "fp16", "fp8") else "bf16"


MODEL = Kind(
    "model",
    "A transformer; sizes per layer, parameters in all.",
    single=True,
    properties=props(
        Property("layers", _count, "Transformer layers.", required=True),
        Property("hidden", _count, "Width of the residual stream.", required=True),
        Property("ffn", _natural, "Width of the MLP.", required=True),
        Property("vocab", _count, "Vocabulary size.", required=True),
        Property("heads", _count, "Query heads.", required=True),
        Property("kv_heads", _count, "Key/value heads.", lambda get: get("heads")),
        Property("head_dim", _count, "Width of a head.", lambda get: get("hidden") // get("heads")),
        Property("parameters", NumberType(above=0), "Weights in all.", required=True),
        Property("active_parameters", NumberType(above=0), "Weights one token passes.", _active),
        Property("dtype", _dtype, "Type of the weights.", "bf16"),
        Property("kv_dtype", _dtype, "Type of the KV cache.", lambda get: get("dtype")),
        Property("activation_dtype", _dtype, "Type of activations.", _activation),
        Property("gated", BoolType(), "The MLP has gate and up projections.", True),
        Property("tied_embeddings", BoolType(), "LM head and embedding share weights.", False),
        Property("experts", _natural, "Routed experts per layer; 0: dense.", 0),
        Property("experts_active", _natural, "Experts a token is routed to.", 0),
        Property("expert_ffn", _natural, "Width of one expert.", 0),
        Property("shared_experts", _natural, "Experts every token passes.", 0),
        Property("dense_layers", _natural, "Leading layers without experts.", 0),
        Property("q_lora_rank", _natural, "Latent width of queries.", 0),
        Property("kv_lora_rank", _natural, "Latent width of keys and values; 0: no MLA.", 0),
        Property("rope_head_dim", _natural, "Rotary part of a latent key.", 0),
        Property("value_head_dim", _natural, "Width of a value head.", lambda get: get("head_dim")),
        Property("scaling", SymbolType(("tensor", "block")),
                 "Factors of narrow weights: one per tensor, or per block of 128 x 128.", "tensor"),
        Property("window", NumberType(d.TOKEN, integer=True, minimum=0),
                 "Sliding attention window; 0: none.", 0),
        Property("full_layers", _natural, "Layers that see all of the context beside a window.",
                 0),
        Property("max_context", NumberType(d.TOKEN, integer=True, minimum=1),
                 "Longest context it was trained for."),
        Property("kind", SymbolType(("decoder", "encoder")), "Causal or bidirectional.", "decoder"),
        Property("weights", NumberType(d.BYTE), "Bytes of all weights.", _weights, derived=True,
                 inputs=("parameters", "dtype")),
        Property("kv_per_token", NumberType(d.Dimension(byte=1, token=-1)),
                 "Bytes of KV per token, all layers.", _kv_per_token, derived=True,
                 inputs=("layers", "kv_heads", "head_dim", "kv_lora_rank", "rope_head_dim",
                         "kv_dtype")),
    ),
)  # fmt: skip

_SHARING = (
    Property(
        "share",
        BoolType(),
        "Its devices may serve another client too; engines take turns, a step each.",
        False,
    ),
    Property("spare", BoolType(), "Devices may be left over.", False),
    Property("span", BoolType(), "A group may cross nodes.", False),
)
_ROUTE = Property("route", ComputedType("route"), "Which member of a vector or pool serves.",
                  "round_robin")  # fmt: skip
_ORDER = Property("order", SymbolType(("fcfs", "priority", "sjf", "least_work_left", "edf")),
                  "Order of the waiting queue.", "fcfs")  # fmt: skip

_FAILS = Property("fails", ComputedType("fails"), "When it fails, and for how long.")
_COLD = Property("cold_start", BoolType(),
                 "It begins with loading its weights from host memory, and serves after that.",
                 False)  # fmt: skip

CLIENT = Kind(
    "client",
    "A server: a scheduler on hardware.",
    single=False,
    properties=props(_ROUTE, *_SHARING),
)

ENGINE = BuiltinType(
    "LlmEngine",
    "client",
    "Iteration-level batching with paged KV on tp × pp × dp devices.",
    props(
        Property("model", ReferenceType(("model",)), "The model it serves.", required=True),
        Property("tp", _count, "Tensor-parallel ways.", 1),
        Property("pp", _count, "Pipeline-parallel stages.", 1),
        Property("micro_batches", _count,
                 "Micro-batches of a step over its stages; the fastest if absent."),
        Property("ep", _count, "Expert-parallel ways; divides tp × dp.", 1),
        Property("dp", _count, "Data-parallel attention ranks.", 1),
        Property("attention", SymbolType(("tp", "dp")), "How attention is split.",
                 lambda get: "dp" if get("dp") > 1 else "tp"),
        Property("experts", SymbolType(("tp", "ep")), "How experts are split.",
                 lambda get: "ep" if get("ep") > 1 else "tp"),
        Property("batching", ComputedType("batching"), "What one step holds.", "chunked"),
        Property("max_batch", NumberType(d.REQUEST, integer=True, minimum=1),
                 "Most sequences in a batch (per data-parallel rank).", 256),
        Property("max_tokens", _tokens,
                 "Most tokens in one step (per data-parallel rank); `chunked(b)` sets it."),
        Property("block_size", _tokens, "Tokens per KV block.", 16),
        Property("memory_rule", ComputedType("memory_rule"), "How much memory KV gets.",
                 "of_device"),
        Property("dtype", _dtype, "Type of the weights; the model's own if absent.",
                 lambda get: None),
        Property("kv_dtype", _dtype, "Type of the KV cache; the model's own if absent."),
        Property("prefix_cache", BoolType(),
                 "Keep full KV blocks by their text, and reuse them for equal prefixes.", False),
        _ORDER,
        Property("preemption", SymbolType(("recompute", "swap")),
                 "What happens to a sequence that must give up its KV.", "recompute"),
        Property("role", SymbolType(("both", "prefill", "decode")),
                 "What it serves: prompts and checks, or tokens from KV that is there. A pool of "
                 "both sorts sends each stage to those that serve it.", "both"),
        Property("profile", SymbolType(PROFILES, ("profile",)),
                 "Host and memory habits of the serving engine: one of the library or your own.",
                 "vllm"),
        Property("measured", ComputedType("measured"),
                 "Times of this model's layers on this chip; the data sheet alone if absent."),
        Property("speculate", ComputedType("speculate"), "Speculative decoding.", "off"),
        _FAILS,
        _COLD,
    ),
)  # fmt: skip

BATCH_ENGINE = BuiltinType(
    "BatchEngine",
    "client",
    "Closes a batch at a budget or after max_wait; one forward pass. Embedding, rerank, guards.",
    props(
        Property("model", ReferenceType(("model",)), "The model it runs.", required=True),
        Property("tp", _count, "Tensor-parallel ways.", 1),
        Property("max_batch", NumberType(d.REQUEST, integer=True, minimum=1),
                 "Most requests in a batch.", 64),
        Property("max_tokens", _tokens, "Most tokens in a batch.", 16_384),
        Property("max_wait", NumberType(d.SECOND, minimum=0),
                 "Longest a request waits for others.", 0.0),
        Property("dtype", _dtype, "Type of the weights; the model's own if absent."),
        Property("profile", SymbolType(PROFILES, ("profile",)),
                 "Host and memory habits of the serving engine: one of the library or your own.",
                 "vllm"),
        _ORDER,
        _FAILS,
        _COLD,
    ),
)  # fmt: skip
WORKER_POOL = BuiltinType(
    "WorkerPool",
    "client",
    "c workers with one queue: search, tools, tokenising, filters.",
    props(
        Property("workers", _count, "Requests served at once.", 1),
        Property("queue_limit", _natural, "Longest queue; more are refused."),
        _ORDER,
        _FAILS,
    ),
)
DELAY = BuiltinType(
    "Delay",
    "client",
    "An outside service: a delay without queue.",
    props(
        Property("latency", ComputedType("distribution", d.SECOND, literal=True),
                 "Time it takes.", required=True),
    ),
)  # fmt: skip
KV_TIER = BuiltinType(
    "KvTier",
    "client",
    "One tier of a KV cache, in memories of the hardware.",
    props(
        Property(
            "scope",
            SymbolType(("device", "client", "node", "rack", "all")),
            "Whose memories form one store.",
            "client",
        ),
        Property("capacity", NumberType(d.BYTE, above=0), "Bytes taken of each memory."),
        Property("bandwidth", NumberType(d.BANDWIDTH, above=0), "Instead of the memory's own."),
        Property("latency", NumberType(d.SECOND, minimum=0), "Instead of the memory's own."),
        Property("hit_rate", _share, "A fixed hit rate: an explicit approximation."),
        _FAILS,
    ),
)

#: Orders in which blocks leave a full tier.
_EVICTIONS = (
    "lru",
    "lfu",
)
CACHE = Kind(
    "cache",
    "An ordered hierarchy of KV tiers: `hbm -> dram -> recompute`.",
    single=True,
    properties=props(
        Property("eviction", SymbolType(_EVICTIONS), "What leaves a full tier.", "lru"),
        Property(
            "write",
            SymbolType(("on_release", "on_evict", "none")),
            "When KV enters the first tier.",
            "on_release",
        ),
        Property("overlap", BoolType(), "A fetch overlaps prefill, layer by layer.", False),
        # 256 tokens: the chunk of LMCache (Liu et al., "LMCache", 2025, its default chunk_size).
        Property("block", _tokens, "Tokens kept, found and moved together.", 256),
    ),
    statements=frozenset({INSTANCE, FLOW}),
    holds=("client",),
)
INDEX = Kind(
    "index",
    "A vector index for retrieval.",
    single=True,
    properties=props(
        Property("kind", ComputedType("index"), "Search structure.", required=True),
        Property("vectors", NumberType(above=0), "Vectors in all.", required=True),
        Property("dim", _count, "Width of a vector.", required=True),
        Property("shards", _count, "Parts it is cut into.", 1),
        Property("dtype", _dtype, "Type of a stored vector.", "fp32"),
    ),
)
POOL = Kind(
    "pool",
    "Several clients behind one name.",
    single=True,
    properties=props(
        Property("members", ListType(ReferenceType(("client",), many=True)),
                 "Clients, vectors or selections.", required=True),
        _ROUTE,
        Property("admission", ComputedType("admission"), "Who is let in.", "always"),
        Property("convert", ComputedType("convert"),
                 "When decode clients read prompts for the pool that hands over to them."),
        Property("autoscale", ComputedType("autoscale"), "How many members run."),
    ),
)  # fmt: skip


def _setting(name: str, family: str, doc: str, *parameters: Property, **more: Any) -> Computed:
    return Computed(name, family, doc, parameters, **more)


_staleness = Property("staleness", NumberType(d.SECOND, minimum=0), "Age of the state seen.")
_sampled = Property(
    "sampled",
    BoolType(),
    "Draw how many guesses are right, instead of counting those expected.",
    False,
)
_weight = NumberType(minimum=0)
_by = Property("by", SymbolType(("requests", "tokens")), "What is counted.", "requests")

COMPUTED = (
    _setting("static", "batching", "A batch runs until all of it has finished.",
             Property("n", NumberType(d.REQUEST, integer=True, minimum=1), "Batch size.", 8)),
    _setting("continuous", "batching", "Whole prompts first; decodes stall meanwhile."),
    _setting("prefill_first", "batching", "Another name for continuous."),
    _setting("mixed", "batching", "Whole prompts together with all decodes."),
    _setting("chunked", "batching", "Decodes first, the rest of the budget in prompt slices.",
             Property("budget", _tokens, "Tokens per step.", 2048)),
    _setting("of_device", "memory_rule", "f × capacity − weights − activation reserve.",
             Property("f", NumberType(above=0, maximum=1), "Share of the device.", 0.9)),
    _setting("after_weights", "memory_rule", "f × (capacity − weights).",
             Property("f", NumberType(above=0, maximum=1), "Share of what weights leave.", 0.95)),
    _setting("round_robin", "route", "In turn."),
    _setting("random", "route", "At random."),
    _setting("jsq", "route", "Shortest queue: least in charge.", _by, _staleness),
    _setting("least_work", "route", "Least outstanding work in expected seconds.", _staleness),
    _setting("kv_free", "route", "Most free KV.", _staleness),
    _setting("prefix_affinity", "route", "Longest prefix sent before, while balanced.",
             Property("match", _share, "Least share of the context; else shortest queue.", 0.5),
             Property("balance", NumberType(d.REQUEST, integer=True, minimum=0),
                      "Requests that one member may have above another.", 32), _staleness),
    _setting("session_affinity", "route", "Where the session was; else shortest queue.",
             _staleness),
    _setting("power_of_two", "route", "The shorter queue of two at random.", _staleness),
    _setting("oracle", "route", "Least work, with true output lengths.", _staleness),
    _setting("heavy_light", "route", "Long and short requests on halves of the members.",
             Property("by", SymbolType(("prompt", "output", "both")), "What is long.", "prompt"),
             Property("threshold", _tokens, "From here on a request is heavy; else the median."),
             _staleness),
    _setting("weighted", "route", "Highest weighted sum of scores from 0 to 1.",
             Property("queue", _weight, "Weight of few requests in charge."),
             Property("work", _weight, "Weight of little work in expected seconds."),
             Property("kv", _weight, "Weight of the free share of KV."),
             Property("prefix", _weight, "Weight of the share of the context sent before."),
             Property("session", _weight, "Weight of where the session was."),
             _staleness, needs_one_of=("queue", "work", "kv", "prefix", "session")),
    _setting("always", "admission", "Everyone."),
    _setting("token_bucket", "admission", "At a rate, with bursts.",
             Property("rate", NumberType(d.PER_SECOND, above=0), "Let in per second.",
                      required=True),
             Property("burst", _count, "Let in at once, after a pause.", 1)),
    _setting("queue_limit", "admission", "While few wait at all members together.",
             Property("n", NumberType(d.REQUEST, integer=True, minimum=1),
                      "Refused are those who find so many.", required=True)),
    _setting("deadline", "admission", "If the class's TTFT can still be met."),
    _setting("threshold", "convert", "By pending prompt tokens per reading client.",
             Property("tokens", _tokens, "Above this, one more client reads.", required=True),
             Property("back", NumberType(d.TOKEN, integer=True, minimum=0),
                      "At this or below, the client lent last returns.", 0)),
    _setting("scale", "autoscale", "Between min and max members.",
             Property("min", _count, "Fewest.", 1), Property("max", _count, "Most."),
             Property("target", NumberType(above=0), "Outstanding requests per member.", 8),
             Property("idle", NumberType(d.SECOND, minimum=0),
                      "A member that is not needed for so long is let go.", 60.0),
             Property("startup", NumberType(d.SECOND, minimum=0),
                      "Time to start beside the loading of weights.", 0.0)),
    _setting("at", "fails", "At set times.",
             Property("times", ListType(NumberType(d.SECOND, minimum=0)),
                      "When it fails, unless it is down then.", required=True),
             Property("down", NumberType(d.SECOND, above=0),
                      "How long it is down; an engine then loads its weights.", required=True)),
    _setting("random", "fails", "At random: up and down times are exponential.",
             Property("mtbf", NumberType(d.SECOND, above=0),
                      "Mean time it serves between failures.", required=True),
             Property("mttr", NumberType(d.SECOND, above=0),
                      "Mean time it is down; an engine then loads its weights.", required=True)),
    _setting("layers", "measured",
             "Tables tpN_dense, tpN_per_sequence and tpN_attention, .csv or .csv.gz.",
             Property("file", TextType(), "The folder that holds them.", required=True)),
    _setting("off", "speculate", "No speculation."),
    _setting("mtp", "speculate", "Multi-token prediction heads.",
             Property("depth", _count, "Tokens guessed.", 1),
             Property("accept", _share, "Chance that a guess is right.", 0.8), _sampled),
    _setting("draft", "speculate", "A draft model.",
             Property("model", ReferenceType(("model",)), "The draft.", required=True),
             Property("gamma", _count, "Tokens guessed.", 4),
             Property("accept", _share, "Chance that a guess is right.", 0.7), _sampled),
    _setting("ivf_pq", "index", "Inverted lists of product-quantised codes.",
             Property("centroids", _count, "Lists.", 65_536),
             Property("probes", _count, "Lists read per query.", 64),
             Property("bytes_per_vector", _count, "Code size.", 96)),
    _setting("flat", "index", "Every vector."),
    _setting("hnsw", "index", "A navigable graph.",
             Property("ef", _count, "Candidates kept.", 64),
             Property("m", _count, "Neighbours per node.", 32)),
    _setting("gpu_flat", "index", "Every vector, on a GPU."),
    _setting("tree", "index", "A tree of quantised vectors, a share of each level scanned (RAGO).",
             Property("scanned", _share, "Share of each level below the root.", 0.001),
             Property("levels", _count, "Levels; the last holds the vectors.", 3),
             Property("fan_out", NumberType(integer=True, minimum=2), "Children per node.", 4096),
             Property("bytes_per_vector", _count, "Code size.", 96)),
)  # fmt: skip

FRAGMENT = Fragment(
    kinds=(MODEL, CLIENT, CACHE, INDEX, POOL),
    builtins=(ENGINE, BATCH_ENGINE, WORKER_POOL, DELAY, KV_TIER),
    computed=COMPUTED,
)

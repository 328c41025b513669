"""Kind of engine profiles: what a serving engine's host takes, and the memory it keeps, as data."""

from __future__ import annotations

from hermesdsl.schema.types import (
    BoolType,
    Fragment,
    Kind,
    NumberType,
    Property,
    TextType,
    props,
)
from hermesdsl.units import dimension as d

#: Profiles that a word names: those of stdlib/engines/profiles.hms, and `none`.
PROFILES = (
    "vllm",
    "vllm_top_p",
    "vllm_sync",
    "vllm_2023",
    "vllm_2023_a100",
    "sglang",
    "trtllm",
    "none",
)

_seconds = NumberType(d.SECOND, minimum=0)
_bytes = NumberType(d.BYTE, minimum=0)

PROFILE = Kind(
    "profile",
    "What the host of a serving engine takes, and what memory it keeps from KV. "
    "A step lasts max(devices, overlap × host) + (1 − overlap) × host + gap, where "
    "host = step + workers + sequence × sequences + token × prompt tokens.",
    single=True,
    properties=props(
        Property("step", _seconds, "Host time of a step: scheduling, inputs, sampling.", 0.0),
        Property("workers", _seconds,
                 "More of it where the engine spans several devices: calls to their processes.",
                 0.0),
        Property("sequence", _seconds,
                 "The same for each sequence in it, detokenising included.", 0.0),
        Property("token", _seconds, "The same for each prompt token in it.", 0.0),
        Property("overlap", NumberType(minimum=0, maximum=1),
                 "Share of host time beside the devices' work (asynchronous scheduling).", 0.0),
        Property("gap", _seconds, "Time between two steps that nothing hides.", 0.0),
        Property("request", _seconds,
                 "From a request's arrival until an engine may schedule it: API, tokenising.",
                 0.0),
        Property("graph_limit", NumberType(d.TOKEN, integer=True, minimum=0),
                 "Most tokens of a step that a captured graph starts; all if absent."),
        Property("eager", _seconds,
                 "Host time to start the kernels of one layer without a graph: steps beyond "
                 "`graph_limit` take no less than this for each layer.", 0.0),
        Property("eager_prompt", _seconds,
                 "More of it for each layer where the step reads prompts.", 0.0),
        Property("passes", NumberType(minimum=0),
                 "How often more than with today's kernels the activations of a layer, whole on "
                 "every device, pass through its memory.", 0.0),
        Property("churn", NumberType(d.BANDWIDTH, above=0),
                 "Rate at which the buffers of all-reduces are allocated anew in steps whose "
                 "buffers outgrow the memory that the engine leaves free; never if absent."),
        Property("direct", BoolType(),
                 "Small all-reduces go straight between devices, not round a ring.", True),
        Property("sort", _seconds,
                 "Of each step, for each sequence and entry of the vocabulary: logits sorted to "
                 "choose among the likeliest tokens (top-p); nothing is sorted if 0.", 0.0),
        Property("sort_start", _seconds, "The same of each step, whatever its size.", 0.0),
        Property("answer", _seconds,
                 "Time of the front end for each token that goes out to a user: one server behind "
                 "the engine, which tokens wait for where it is slower.", 0.0),
        Property("reserved", NumberType(d.REQUEST, integer=True, minimum=0),
                 "Places of `max_batch` that no request can take.", 0),
        Property("runtime", _bytes, "Memory of driver, graphs and libraries, per device.", 0.0),
        Property("communicator", _bytes, "Buffers once a device talks to others.", 0.0),
        Property("logits", _bytes, "Per sequence and vocabulary entry at the sampler.", 0.0),
        Property("step_tokens", NumberType(d.TOKEN, integer=True, minimum=1),
                 "Prompt tokens of the largest step where the engine sets no limit.", 8192),
        Property("source", TextType(), "What was measured, and with what software.", ""),
    ),
)  # fmt: skip

FRAGMENT = Fragment(kinds=(PROFILE,))

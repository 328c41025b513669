"""Why the cases that fail worst do, as far as it is known: of the public tables, by part."""

from __future__ import annotations

from collections.abc import Mapping

CAUSES: Mapping[str, tuple[str, ...]] = {
    "gemm": (
        "fp8: the library under vLLM changes its tiles in steps of the number of tokens, so that "
        "times of B200 even fall with more tokens, by over 30 % at one step in twenty. A smooth "
        "surface passes between such steps.",
        "Device left out: how far kernels for a new chip have come is not on its data sheet.",
    ),
    "prefill": (
        "Few new tokens of many prompts: launches, the last tiles and the writing of KV outweigh "
        "the arithmetic, and the fit follows steps between them only roughly.",
    ),
    "decode": (
        "Short contexts of many sequences: how the kernel shares out a context is no part of "
        "the model, and partial blocks are read in vain.",
        "Device left out: fp8 KV is read by other kernels on Hopper than on Blackwell, at very "
        "different parts of bandwidth; each misleads about the other.",
    ),
    "moe": (
        "One dtype can hold several kernels, between which vLLM chooses by shape and ways; one "
        "surface is fitted to all of them.",
        "fp8 with one factor per tensor on Hopper runs on a kernel (FlashInfer CUTLASS) that is "
        "slower than bf16: no data sheet says so, and without a calibration times are too short.",
    ),
    "messages": (
        "The largest and the smallest message of a series have no neighbour to one side once they "
        "are held out; at 8 MiB the model changes from direct to ring all-reduce, so that a "
        "message held out there is guessed from the other sort.",
    ),
    "power": (
        "A draw is one smooth function of three shares; clocks that a board lowers near its limit, "
        "and what it draws between short kernels, are not in it.",
    ),
    "splitwise": (
        "The engine of 2023 spent some 20 ms of host time in every step; its constants are fitted "
        "to other models and ways, and do not fit each alike.",
    ),
    "rtx": (
        "The queue is saturated: TTFT is mostly waiting, so that an error of one per cent in the "
        "speed of service adds up over all requests before.",
    ),
    "open_loop": (
        "Llama-4-Scout: no table holds its layers of experts, and the engine's log tells of fewer "
        "KV blocks than its attention layers would need.",
        "TTFT at these rates is 20 to 140 ms, a good part of it the API: its time is taken from "
        "the other models' runs and does not fit each alike.",
    ),
    "closed_loop": (
        "Llama-3.1-8B on vLLM 0.12: by Little's law up to 118,000 prompt tokens a second and "
        "device were read, nearly the FLOPs of its data sheet, beside all decoding: prompts came "
        "again and were kept, which the rule does not say. With 100 prompts that come again "
        "(`known`) both figures are met.",
        "TensorRT-LLM without a version (Llama-3.1-70B): steps are 2.4 ms (8 devices) to 3.7 ms "
        "(one) shorter than predicted, 30 µs per layer, as if small kernels were part of others; "
        "1.0.0rc3 shows no such thing. With 1024 tokens out its TTFT on 1, 2 and 4 devices is 19 "
        "steps longer than with 8192, and on 8 it is not; no column tells the two apart.",
        "Saturated engines (TTFT above 10 s): TensorRT-LLM admits what is sure to fit to its last "
        "token, and we admit what fits now.",
        "Order within a group: at equal lengths TTFT is decided by how many end together, within "
        "a step or two. `between` shows how far measured neighbours agree with each other: where "
        "they do not order points better, nor can a model that is smooth.",
    ),
}

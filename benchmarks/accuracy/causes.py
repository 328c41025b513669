"""Why the cases that fail worst do, as far as it is known: of the public tables, by part."""

from __future__ import annotations

from collections.abc import Mapping

CAUSES: Mapping[str, tuple[str, ...]] = {
    "gemm": (
        "fp8: the library under vLLM changes its tiles in steps of the number of tokens, so that "
        "times of B200 even fall with more tokens, by over 30 % at one step in twenty. A smooth "
        "surface passes between such steps.",
        "Device left out: how far kernels for a new chip have come is not on its data sheet. fp4 "
        "was measured on B200 alone: without it four bits are told from eight as those from "
        "sixteen.",
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
        "Device left out, A100: how far it stays below its bandwidth is told from H200, which has "
        "much for its FLOP/s as well.",
    ),
    "moe": (
        "One dtype can hold several kernels, between which vLLM chooses by shape and ways; one "
        "surface is fitted to all of them.",
        "Rows and experts touched are means over draws of the spread that a row names: which one "
        "was drawn when it was timed, no table says.",
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
        "Decoding, and all kernels below some 20 µs: readings hold what ran before. One sequence "
        "with one head over two tokens reads 930 W on B200 in fp8 and two sequences 280 W; the "
        "same short shape in bf16 and fp8 on H200 differs by 23 % in the median, and the middle "
        "of the eight nearest shapes misses by 19 % (by 9 % on B200 in fp8, where neighbours may "
        "hold the same).",
    ),
    "splitwise": (
        "Llama-2-70B on two A100, decode: the chip's table of products has none between 16,384 "
        "and 65,536 columns, and its calibration takes 0.37 ms for one row times 8192 × 28,672, "
        "where Vidur measured 0.28: 7 ms in a step of 55. The rows themselves lie in two groups "
        "9 % apart (55 ms in some runs, 60 in all others) that nothing in the table explains.",
        "BLOOM-176B on eight H100, decode: 36 ms against 30. Weights stream in 15 ms, and launches "
        "of as many layers of Llama take 17; no other model in the table says what its steps wait "
        "for.",
        "Steps of more than 2,048 to 4,096 prompt tokens: repeats of one row differ by up to 30 %, "
        "below by 1 or 2 %. Llama-2-70B on four A100 is the worst: 8,192 tokens of 16 prompts take "
        "2.9 s and those of one 2.3 s, which no term here follows.",
        "One number for all that grows with activations (`passes`) stands for unfused kernels and "
        "NCCL of the year together: with one hidden width per model the table cannot tell them "
        "apart.",
    ),
    "rtx": (
        "The queue is saturated: TTFT is mostly waiting, so that an error of one per cent in the "
        "speed of service adds up over all requests before.",
    ),
    "open_loop": (
        "That engines sort for top-p where a model's generation config asks for it was found while "
        "looking at these runs; what it takes is from elsewhere. Without it TPOT is 6.4 %, TTFT "
        "5.8 % and E2E 6.4 % in the median, and the mean of TPOT 5.7 % instead of 7.3 %.",
        "Llama-4-Scout: no table holds its layers of experts. Of the 4.3 GB that its log has less "
        "for KV than weights and reserve leave, 2.7 are the table of its ten million positions; "
        "1.6, as of its part for pictures, are not accounted for.",
        "Runs with 1448 tokens out: TTFT is longer than predicted by what reading the whole prompt "
        "takes (Scout, Llama-2-7B) or half of it (Qwen), as if those prompts were not kept, though "
        "23 prompts that come again fit. No column says so.",
        "Llama-2-7B codegen: decode attention of 32 KV heads over short contexts is predicted at "
        "two thirds of the bandwidth; over the long contexts of its other run the figure fits.",
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

"""Times of kernels on the machine at hand: which shapes, how they are timed, where rows are kept.

Knows tables and data sheets; only `torch_device` knows PyTorch, and only once it is asked.
"""

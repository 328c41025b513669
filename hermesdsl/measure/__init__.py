"""Measurements: tables of kernels and of served requests, what is fitted to them, and how far off.

Knows the cost models and results; never the command line.
"""

"""Attention kernels of HSTU: a plain reference, bucketed, compiled and triton versions."""

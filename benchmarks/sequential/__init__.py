"""Benchmarks of sequential models: quality, speed, scaling and optimisers."""

"""Benchmarks of rankers and of the loader that feeds them."""

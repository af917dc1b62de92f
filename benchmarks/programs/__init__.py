"""Benchmarks of programs of semantic variables and of their scheduler."""

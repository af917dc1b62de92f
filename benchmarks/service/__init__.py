"""Benchmarks of the HTTP service and of its store."""

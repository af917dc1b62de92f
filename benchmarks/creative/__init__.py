"""Benchmarks of authoring: what is written, how well, and at what cost."""
